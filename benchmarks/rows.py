"""Time and memory of `Result.from_runs` against the number of rows in the table.

    python benchmarks/rows.py [--most 6]       (writes benchmarks/results/rows.md)

The tables are simulated: Chinchilla's law with .5% noise, ten budgets from 1e18 to 1e22 FLOPs, N
within a factor of 4.5 of 20 tokens a parameter, no budget column. Each row count has a process of
its own, on one thread; seconds are of the processor, since others may use this machine, and memory
is what the analysis adds to the peak of the process before it.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import argparse, json, resource, subprocess, sys, time
from pathlib import Path
import numpy as np, pandas as pd

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root))


def table(n, seed=0):
    "n runs around ten budgets"
    rng = np.random.default_rng(seed)
    budgets = np.geomspace(1e18, 1e22, 10)[np.arange(n) % 10]
    C = budgets * np.exp(rng.normal(0, 0.02, n).clip(-0.04, 0.04))
    N = np.sqrt(C / 120) * np.exp(rng.uniform(-1.5, 1.5, n))
    D = C / 6 / N
    loss = 1.8172 + 482.01 / N**0.3478 + 2085.43 / D**0.3658
    return pd.DataFrame(dict(N=N, D=D, loss=loss * np.exp(0.005 * rng.normal(size=n))))


def measured(n):
    "Seconds, MB and what came of one table, in this process"
    from flops_fit.result import Result

    Result.from_runs(table(60)).predict(1e23)  # imports are no part of it
    runs = table(n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    result = Result.from_runs(runs)
    seconds = time.process_time() - start
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    best = result.predict(1e23)
    return dict(
        rows=n,
        fitted=len(result.analysis.runs),
        seconds=seconds,
        MB=added / 1024,
        params=[best[f"optimal_params{end}"] for end in ("", "_lower", "_upper")],
    )


def written(rows):
    "The table in Markdown"
    lines = [
        "# Rows of a table, and what they cost",
        "",
        "`Result.from_runs` on simulated tables without a budget column, every approach and every "
        "diagnosis included; one thread. Above 50,000 rows an even share of them is fitted, and "
        "the result says so. Made by `benchmarks/rows.py`.",
        "",
        "| rows | fitted | processor seconds | memory added (MB) | N* at 1e23 FLOPs |",
        "| ---: | ---: | ---: | ---: | :--- |",
    ]
    for r in rows:
        N, low, high = (v / 1e9 for v in r["params"])
        lines.append(
            f"| {r['rows']:,} | {r['fitted']:,} | {r['seconds']:.2f} | {r['MB']:.0f} | "
            f"{N:.1f}B ({low:.1f} to {high:.1f}) |"
        )
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=6, help="the largest table has 10^most rows")
    parser.add_argument("--one", type=int, help="measure one table here, and print it")
    args = parser.parse_args()
    if args.one:
        return print(json.dumps(measured(args.one)))
    rows = []
    for n in [10**i for i in range(2, args.most + 1)]:
        command = [sys.executable, __file__, "--one", str(n)]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append(json.loads(out.splitlines()[-1]))
        print(rows[-1], flush=True)
    (root / "benchmarks" / "results" / "rows.md").write_text(written(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
