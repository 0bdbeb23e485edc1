"""Which objective, and what the coupled law costs and gains: errors at 100 times the largest
budget, on simulated runs.

    python benchmarks/objectives.py [--sets 400]       (writes benchmarks/results/objectives.csv)

45 runs on an isoFLOP grid (5 budgets over three decades, 9 sizes within six times the optimum), .5%
noise. RMSE of ln N* and of ln loss against the truth.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import argparse, sys
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from pathlib import Path
import numpy as np, pandas as pd

sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parent)]
from coverage import design, noise, truths
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.laws import COUPLED

truths = {
    **truths,
    "llama": dict(E=0.60467, A=59.14, B=155.11, alpha=0.31001, beta=0.31364, g=1.0),
    "kaplan": dict(E=1e-12, A=8.8e13**0.076, B=5.4e13**0.095, alpha=0.076, beta=0.095, g=0.095),
    "no_floor": dict(E=1e-12, A=20.0, B=30.0, alpha=0.12, beta=0.13, g=0.5),
}
fits = {
    "least squares of log": dict(objective="log"),
    "Huber 1e-3": dict(delta=1e-3),
    "Huber 1.345 sigma": {},
    "coupled": dict(law="coupled"),
}


def cell(number, truth, kind, sets):
    p = truths[truth]
    N, D = design(p, 45)
    C = 100 * (6 * N * D).max()
    n, _, loss = (v[0, 0] for v in COUPLED.best_on_budget(COUPLED.work(p)[None], np.log([C])))
    L, err = COUPLED(N, D, **p), {k: [] for k in fits}
    for i in range(sets):
        y = L * np.exp(noise(kind, 45, np.random.default_rng([number, i])))
        for k, kw in fits.items():
            best = fit_parametric(N, D, y, **kw).optimum(C)
            err[k].append([np.log(best.optimal_params) - n, np.log(best.expected_loss / loss)])
    return [
        dict(
            truth=truth,
            noise=kind,
            fit=k,
            rmse_N=np.sqrt(np.mean(np.square(e)[:, 0])),
            rmse_loss=np.sqrt(np.mean(np.square(e)[:, 1])),
            bias_N=np.mean(e, 0)[0],
            sets=sets,
            seed=number,
        )
        for k, e in ((k, np.array(e)) for k, e in err.items())
    ]


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--sets", type=int, default=400)
    ap.add_argument("--jobs", type=int, default=2)
    args = ap.parse_args()
    todo = [
        *product(["symmetric", "asymmetric"], ["gaussian", "t3", "outliers"]),
        *product(["llama", "coupled", "kaplan", "no_floor"], ["gaussian"]),
    ]
    with ProcessPoolExecutor(args.jobs) as pool:
        rows = pool.map(cell, range(len(todo)), *zip(*todo), [args.sets] * len(todo))
    table = pd.DataFrame([r for cells in rows for r in cells])
    print(
        table.pivot_table(
            index=["truth", "noise"], columns="fit", values=["rmse_N", "rmse_loss"], sort=False
        ).to_string(float_format="{:.4f}".format)
    )
    out = Path(__file__).parent / "results"
    out.mkdir(exist_ok=True)
    table.to_csv(out / "objectives.csv", index=False, float_format="%.5g")
