"""How often do the intervals hold the truth? Simulated runs of known laws, many data sets a cell.

    python benchmarks/coverage.py [--sets 400] [--jobs 2]      (writes
    benchmarks/results/coverage.csv)

Each cell: a truth, a noise, a number of runs on an isoFLOP grid; the interval is for ln N* and for
the loss at 100 times
the largest budget, or for the exponent a. Seeds are those of the cell's number, so any cell can be
made again alone.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import argparse, sys, time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
import numpy as np, pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.laws import COUPLED

truths = {  # Epoch's refit of Chinchilla; an asymmetric law; and one that couples N and D
    "symmetric": dict(E=1.82, A=482.0, B=2085.0, alpha=0.348, beta=0.366, g=1.0),
    "asymmetric": dict(E=1.7, A=2000.0, B=250.0, alpha=0.45, beta=0.25, g=1.0),
    "coupled": dict(E=1.75, A=180.0, B=280.0, alpha=0.28, beta=0.26, g=0.5),
}
designs = {12: (3, 4), 16: (4, 4), 20: (4, 5), 45: (5, 9), 240: (10, 24)}  # budgets x sizes
top, sigma = 1e21, 0.005


def design(truth, n):
    """N, D of n runs on isoFLOP curves over three decades, sizes six times to either side of the
    optimum"""
    budgets, sizes = designs[n]
    C = np.repeat(np.geomspace(top / 1e3, top, budgets), sizes)
    best = np.exp(COUPLED.best_on_budget(COUPLED.work(truth)[None], np.log(C))[0][0])
    N = best * np.tile(np.geomspace(1 / 6, 6, sizes), budgets)
    return N, C / 6 / N


def clustered(truth, trunks, branches=4):
    """N, D of one trunk a size, branched at a quarter to sixteen times the optimal tokens, and
    which trunk each run belongs to"""
    C = np.geomspace(top / 1e4, top / 16, trunks)
    N = np.exp(COUPLED.best_on_budget(COUPLED.work(truth)[None], np.log(C))[0][0])
    times = 4.0 ** np.arange(-1, branches - 1)
    return (
        np.repeat(N, branches),
        (C / 6 / N)[:, None].repeat(branches, 1).ravel() * np.tile(times, trunks),
        np.repeat(np.arange(trunks), branches),
    )


def noise(kind, n, rng, group=None):
    if kind == "gaussian":
        return sigma * rng.normal(size=n)
    if kind == "t3":
        return sigma * rng.standard_t(3, size=n) / np.sqrt(3) * 1.2
    if kind == "outliers":
        return sigma * rng.normal(size=n) * np.where(rng.uniform(size=n) < 0.05, 10, 1)
    if kind == "trunks":
        return sigma * (
            np.sqrt(0.8) * rng.normal(size=group.max() + 1)[group]
            + np.sqrt(0.2) * rng.normal(size=n)
        )
    if kind == "uneven":
        return sigma * rng.normal(size=n) * np.geomspace(3, 0.5, n)  # small runs are noisier
    raise ValueError(kind)


def cell(number, truth_name, kind, n, law, method, sets):
    truth, group = truths[truth_name], None
    if kind == "trunks":
        N, D, group = clustered(truth, n)
    else:
        N, D = design(truth, n)
    C = 100 * (6 * N * D).max()
    ln_n, _, loss = (
        v[0, 0] for v in COUPLED.best_on_budget(COUPLED.work(truth)[None], np.log([C]))
    )
    true = np.array([np.exp(ln_n), loss, truth["beta"] / (truth["alpha"] + truth["beta"])])
    L, rows, start = COUPLED(N, D, **truth), [], time.perf_counter()
    for i in range(sets):
        rng = np.random.default_rng([number, i])
        fit = fit_parametric(
            N,
            D,
            L * np.exp(noise(kind, len(N), rng, group)),
            law=law,
            groups=group if method != "ungrouped" else None,
        )
        if method in ("delta", "ungrouped"):
            best, a = fit.optimum(C), fit.conf_int().loc["a"]
            ci = np.array(
                [
                    [best[f"{k}_lower"], best[f"{k}_upper"]]
                    for k in ("optimal_params", "expected_loss")
                ]
                + [[a.lower, a.upper]]
            )
            est = best.optimal_params
        else:
            ci = (
                fit.conf_int(method=method, n_boot=400, C=C)
                .loc[["optimal_params", "expected_loss", "a"]]
                .to_numpy()
            )
            est = fit.optimum(C).optimal_params
        rows.append(
            [
                *((ci[:, 0] <= true) & (true <= ci[:, 1])),
                *(np.log(ci[:2, 1] / ci[:2, 0]) / 2),
                np.log(est / true[0]),
                bool(fit.warnings),
            ]
        )
    r = np.array(rows, float)
    return dict(
        truth=truth_name,
        noise=kind,
        runs=len(N),
        trunks=n if group is not None else np.nan,
        law=law,
        method=method,
        cover_N=r[:, 0].mean(),
        cover_loss=r[:, 1].mean(),
        cover_a=r[:, 2].mean(),
        half_N=np.median(r[:, 3]),
        half_loss=np.median(r[:, 4]),
        rmse_N=np.sqrt(np.mean(r[:, 5] ** 2)),
        warned=r[:, 6].mean(),
        sets=sets,
        seed=number,
        seconds=time.perf_counter() - start,
    )


def cells():
    for n in designs:
        for truth in ("symmetric", "asymmetric"):
            for kind in ("gaussian", "t3", "outliers"):
                yield truth, kind, n, "chinchilla", "delta"
    for trunks in (8, 12, 16, 24):
        for truth in ("symmetric", "asymmetric"):
            yield truth, "trunks", trunks, "chinchilla", "delta"
    yield "symmetric", "trunks", 16, "chinchilla", "ungrouped"
    for n in (12, 20, 45):
        for method in ("profile", "bootstrap"):
            yield "symmetric", "t3", n, "chinchilla", method
    for n in (20, 45):
        yield "symmetric", "uneven", n, "chinchilla", "delta"
    for n in (12, 20, 45, 240):
        for truth in ("symmetric", "coupled"):
            yield truth, "gaussian", n, "coupled", "delta"


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--sets", type=int, default=400)
    p.add_argument("--jobs", type=int, default=2)
    p.add_argument(
        "--only",
        default="",
        help="run cells whose description holds this, and keep the rest of the table",
    )
    p.add_argument("--out", default=str(Path(__file__).parent / "results" / "coverage.csv"))
    args = p.parse_args()
    todo = [
        (i, *c, args.sets * (2 if c[3:] == ("chinchilla", "delta") else 1))
        for i, c in enumerate(cells())
        if args.only in str(c)
    ]  # the default interval to a finer count
    with ProcessPoolExecutor(args.jobs) as pool:
        table = pd.DataFrame(pool.map(cell, *zip(*todo)))
    print(table.drop(columns=["sets", "seed"]).to_string(index=False, float_format="{:.3g}".format))
    inside = lambda c: ((c >= 0.93) & (c <= 0.97)).mean()
    d = table[
        (table.law == "chinchilla")
        & (table.method == "delta")
        & table.noise.isin(["gaussian", "t3", "outliers"])
    ]
    print(
        (
            f"{len(d)} cells of the default interval: N* within 93 to 97% in "
            f"{inside(d.cover_N):.0%}, loss in {inside(d.cover_loss):.0%}; pooled "
            f"{d.cover_N.mean():.4f}, {d.cover_loss.mean():.4f}"
        )
    )
    Path(args.out).parent.mkdir(exist_ok=True)
    if args.only and Path(args.out).exists():
        table = (
            pd.concat([table, pd.read_csv(args.out)]).drop_duplicates("seed").sort_values("seed")
        )  # other cells keep what was measured before
    table.to_csv(args.out, index=False, float_format="%.5g")
