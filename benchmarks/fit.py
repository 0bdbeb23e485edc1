"""One fit, fifty random starts and 4000 bootstrap refits of the 240 Chinchilla points, with
chinchilla 0.2.0 in the same run.

    python benchmarks/fit.py [--skip-chinchilla]       (writes benchmarks/results/fit.json)

chinchilla 0.2.0 (PyPI) gets a virtual environment of its own under build/, made on the first run.
Both fit the same rows, on the same machine, one after
the other; both objectives are the sum of Huber(1e-3) of log residuals, recomputed here from the
parameters each returns.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import argparse, json, sys, time
from pathlib import Path
import numpy as np, pandas as pd

root = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(root))
import peer
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.laws import CHINCHILLA
from flops_fit.fitter.solver import huber

theirs = '''
import json, sys, tempfile, time
import numpy as np, pandas as pd
from chinchilla import Chinchilla
from chinchilla._metrics import log_huber, asymmetric_mae
class Picked(dict): pass
def fit(df, loss_fn):
    exponents = np.linspace(.1, .7, 5)
    grid = dict(e=np.log(np.linspace(1.2, 2.4, 5)), a=np.linspace(3, 9, 5),
                b=np.linspace(3, 12, 5), alpha=exponents, beta=exponents)
    cc = Chinchilla(tempfile.mkdtemp(), param_grid=grid,
                    seed_ranges=dict(C=(1e18, 1e21), N_to_D=(5, 100)),
                    loss_fn=loss_fn, log_level=40)
    cc.database.df = df
    cc.visualizer.optim = lambda *a, **k: None   # time the fit, not the picture
    start = time.perf_counter()
    cc.fit()
    params = {k: float(v) for k, v in cc.get_params().items()}
    return dict(seconds=time.perf_counter() - start, **params)
df = pd.read_csv(sys.argv[1])
out = dict(huber=fit(df, lambda y, p: log_huber(y, p, 1e-3)))
if sys.argv[2] == "all": out["default"] = fit(df, asymmetric_mae)
print("RESULT" + json.dumps(out))
'''


def points():
    path = root / "tests" / "data" / "chinchilla.csv"
    if not path.exists():
        sys.exit(
            (
                f"{path} is missing: this benchmark fits the points Epoch AI read off the "
                "Chinchilla paper's figure 4"
            )
        )
    df = pd.read_csv(path).sort_values("loss").head(240)
    N, C = df["Model Size"].to_numpy(), df["Training FLOP"].to_numpy()
    return N, C / 6 / N, df.loss.to_numpy()


def objective(p, N, D, loss):
    return float(huber(np.log(CHINCHILLA(N, D, **p)) - np.log(loss), 1e-3).sum())


def timed(f, n):
    t = []
    for _ in range(n):
        start = time.perf_counter()
        out = f()
        t.append(time.perf_counter() - start)
    return float(np.median(t)), float(np.min(t)), out


def chinchilla(N, D, loss, which):
    peer.python()
    csv = peer.ENV / "points.csv"
    pd.DataFrame(dict(C=6 * N * D, N=N, D=D, loss=loss)).to_csv(csv, index=False)
    return json.loads(peer.answer(theirs, csv, which))


if __name__ == "__main__":
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--skip-chinchilla", action="store_true")
    ap.add_argument(
        "--default", action="store_true", help="also chinchilla's default objective (a minute more)"
    )
    args = ap.parse_args()
    N, D, loss = points()
    fit_parametric(N, D, loss, delta=1e-3)
    seconds, fastest, fit = timed(lambda: fit_parametric(N, D, loss, delta=1e-3), 15)
    adaptive, _, _ = timed(lambda: fit_parametric(N, D, loss), 15)
    coupled, _, _ = timed(lambda: fit_parametric(N, D, loss, law="coupled"), 5)
    rng = np.random.default_rng(0)
    starts = [
        dict(
            E=rng.uniform(0.3, 3),
            A=np.exp(rng.uniform(2, 10)),
            B=np.exp(rng.uniform(2, 12)),
            alpha=rng.uniform(0.05, 1.2),
            beta=rng.uniform(0.05, 1.2),
        )
        for _ in range(50)
    ]
    each = [
        objective(fit_parametric(N, D, loss, delta=1e-3, starts=s).params, N, D, loss)
        for s in starts
    ]
    boot, boot_fastest, draws = timed(lambda: fit.bootstrap(4000, "cases"), 3)
    out = dict(
        one_fit_seconds=seconds,
        one_fit_fastest=fastest,
        objective=objective(fit.params, N, D, loss),
        params=fit.params,
        default_fit_seconds=adaptive,
        coupled_fit_seconds=coupled,
        worst_of_50_random_starts=max(each),
        bootstrap_4000_seconds=boot,
        bootstrap_4000_fastest=boot_fastest,
        bootstrap_sd=draws.std().to_dict(),
        cpus=os.cpu_count(),
        load_before=os.getloadavg()[0],
    )
    print(
        (
            f"one fit, 16 starts:        {seconds * 1e3:.1f} ms (fastest {fastest * 1e3:.1f}), "
            f"objective {out['objective']:.12f}   (default objective {adaptive * 1e3:.1f} ms, "
            f"coupled law {coupled * 1e3:.0f} ms)"
        )
    )
    print(f"50 random starts:          worst objective {max(each):.12f}")
    print(
        (
            f"4000 bootstrap refits:     {boot:.2f} s (fastest {boot_fastest:.2f}) on "
            f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
        )
    )
    if not args.skip_chinchilla:
        for name, r in chinchilla(N, D, loss, "all" if args.default else "huber").items():
            took, p = r.pop("seconds"), {k: r[k] for k in ("E", "A", "B", "alpha", "beta")}
            out[f"chinchilla_{name}"] = dict(
                seconds=took,
                params=p,
                objective=objective(p, N, D, loss),
                times_slower=took / seconds,
            )
            print(
                (
                    f"chinchilla 0.2.0, {name:<8} {took:.1f} s, objective "
                    f"{out[f'chinchilla_{name}']['objective']:.12f}: {took / seconds:.0f} times "
                    f"slower; 4000 refits would take {took * 4000 / 3600:.0f} h"
                )
            )
    results = Path(__file__).parent / "results"
    results.mkdir(exist_ok=True)
    (results / "fit.json").write_text(json.dumps(out, indent=1))
