"""Small sweeps of our own, fitted below Cmax/h and asked above, with and without a ceiling; and
what the ceiling costs on published runs of text.

    python benchmarks/ceiling.py        (writes benchmarks/results/ceiling.csv and .md, and every
    held-out run of every set in held_out_runs.csv, for the page how_true_is_it)

The sweeps lie in benchmarks/results/own: made by own_truth.py on two cores, one seed each. `ours`
is the law that an analysis answers with: the bounded one, unless the coupled one fits clearly
better. Judged as in
held_out.py: runs above Cmax/h whose N lies within a factor of 4 of the optimum. Two h that leave
the same runs count once. L0 of a published set is ln of its vocabulary; Llama's losses are
normalised, so there the coupled law answers.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
from families import FAMILIES
from held_out import flops_factor, groups_of, markdown, pooled, predictions, scores, split
from published import baseline_loss, sets

from flops_fit.fitter.ceiling import ceiling_suits, fit_bounded
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.table import read_runs

LAWS = ("chinchilla", "coupled", "bounded", "ours")


def fits(runs, low, L0):
    "law -> LawFit"
    a = runs[low]
    options = dict(compute=a.flops, flops_factor=flops_factor(runs), groups=groups_of(runs, low))
    out = {
        law: fit_parametric(a.num_params, a.num_tokens, a.loss, law=law, **options)
        for law in ("chinchilla", "coupled")
    }
    out["bounded"] = out["coupled"] if L0 is None else fit_bounded(out["coupled"], L0)
    suits = L0 is not None and ceiling_suits(out["bounded"], out["coupled"])
    return out | dict(ours=out["bounded" if suits else "coupled"])


def judged(name, source, runs, h, L0):
    "Scores, a row a law, and the held-out runs, a row a law and run; none where runs are few"
    parts = split(runs, h)
    if parts is None:
        return [], []
    low, test, opt = parts
    what = dict(set=name, source=source, h=h, fitted=int(low.sum()), held=int(test.sum()))
    by_law = fits(runs, low, L0).items()
    rows = [dict(what, law=law, **scores(fit, runs, test, opt, h)) for law, fit in by_law]
    shown = [
        predictions(fit, runs, test).assign(**what, law=law, largest=runs.flops[low].max())
        for law, fit in by_law
    ]
    return rows, shown


def own():
    "Our own sweeps: name, source, runs, the h to try, L0"
    for name, family in FAMILIES.items():
        table = HERE / "results" / "own" / f"{name}.csv"
        if not table.exists():
            continue
        runs = read_runs(pd.read_csv(table))
        yield name, name, runs, (2, 3, 4, 5, 8, 10, 20, 30), family.baseline_loss


def published():
    "The published sets, likewise"
    for name, (source, runs) in sets().items():
        yield name, source, runs, (2.5, 8, 30), baseline_loss(source)


def judge_all(some):
    "Tables of scores and of held-out runs"
    rows, shown, seen = [], [], set()
    for name, source, runs, hs, L0 in some:
        for h in hs:
            scored, runs_shown = judged(name, source, runs, h, L0)
            if not scored or (key := (name, scored[0]["fitted"], scored[0]["held"])) in seen:
                continue
            seen.add(key)
            rows += scored
            shown += runs_shown
    return pd.DataFrame(rows), pd.concat(shown)


def by_sweep(df):
    "Geometric mean of rms, means of the rest, for each sweep and all of them"
    df = pd.concat([df, df.assign(set="all")])
    by = df.assign(rms=np.log(df.rms)).groupby(["set", "law"], sort=False)
    out = by[["rms", "mean", "coverage", "half_width"]].mean().assign(rms=lambda d: np.exp(d.rms))
    return out.assign(splits=by.size())


def for_pictures(shown):
    "The held-out runs by Chinchilla's form and by ours; `largest` is the largest budget fitted"
    shown = shown[shown.law.isin(["chinchilla", "ours"])]
    columns = "source set law h largest N D C measured predicted lower upper".split()
    return shown[columns]


if __name__ == "__main__":
    (ours, our_runs), (theirs, their_runs) = judge_all(own()), judge_all(published())
    sweeps, text = by_sweep(ours), pooled(theirs)
    print(sweeps.round(4).to_string(), text.round(4).to_string(), sep="\n\n")

    results = HERE / "results"
    pd.concat([ours, theirs]).round(6).to_csv(results / "ceiling.csv", index=False)
    runs = for_pictures(pd.concat([our_runs.assign(source="own"), their_runs]))
    runs.to_csv(results / "held_out_runs.csv", index=False, float_format="%.6g")
    (results / "ceiling.md").write_text(
        "# Under a ceiling\n\nMade by `python benchmarks/ceiling.py`; what is judged and how is "
        "written at its top. mean is of ln(measured/predicted): negative where a law promises too "
        f"little.\n\nOur own small sweeps:\n\n{markdown(sweeps)}\n\n"
        f"Published runs of text:\n\n{markdown(text)}\n"
    )
