"""Small sweeps of our own, fitted below Cmax/h and asked above, with and without a ceiling; and
what the ceiling costs on published runs of text.

    python benchmarks/ceiling.py        (writes benchmarks/results/ceiling.csv and .md)

The sweeps lie in benchmarks/results: made with flops_fit on two cores, one seed each. Judged as in
extrapolate.py: runs above Cmax/h whose N lies within a factor of 4 of the optimum. Two h that leave
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
sys.path.insert(0, str(HERE.parent))
sys.path.insert(0, str(HERE))
import extrapolate

from flops_fit.fitter.ceiling import fit_bounded
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.table import read_runs

OWN = {  # table -> what it is, L0
    "gpt_python": ("a GPT on Python's source code", np.log(256)),
    "mlp_classification": ("classes drawn by a teacher", np.log(10)),
    "mlp_regression": ("answers of a teacher, squared error", 1.09),
    "tinystories_1024": ("a GPT on TinyStories", np.log(1024)),
    "vit_cifar": ("a vision transformer on CIFAR-10", np.log(10)),
}
VOCABULARY = dict(chinchilla=32000, gemstones=50432, olmo=100278, datablations=50257, steplaw=65536)
LAWS = ("chinchilla", "coupled", "bounded")


def fits(runs, low, L0):
    "law -> LawFit"
    a = runs[low]
    k = float((runs.flops / runs.num_params / runs.num_tokens).median())
    options = dict(compute=a.flops, flops_factor=k, groups=extrapolate.groups_of(runs, low))
    out = {
        law: fit_parametric(a.num_params, a.num_tokens, a.loss, law=law, **options)
        for law in ("chinchilla", "coupled")
    }
    out["bounded"] = out["coupled"] if L0 is None else fit_bounded(out["coupled"], L0)
    return out


def judged(name, source, runs, h, L0):
    "A row a law, or none where too few runs lie on either side"
    parts = extrapolate.split(runs, h)
    if parts is None:
        return []
    low, test, opt = parts
    what = dict(set=name, source=source, h=h, fitted=int(low.sum()), held=int(test.sum()))
    by_law = fits(runs, low, L0).items()
    return [
        dict(what, law=law, **extrapolate.scores(fit, runs, test, opt, h)) for law, fit in by_law
    ]


def own():
    "Rows of our own sweeps"
    rows = []
    for name, (_, L0) in OWN.items():
        runs = read_runs(pd.read_csv(HERE / "results" / f"{name}.csv"))
        for h in (2, 3, 4, 5, 8, 10, 20, 30):
            rows += judged(name, name, runs, h, L0)
    return pd.DataFrame(rows).drop_duplicates(["set", "law", "fitted", "held"])


def published():
    "Rows of the published sets"
    rows = []
    for name, (source, runs) in extrapolate.sets().items():
        words = VOCABULARY.get(source)
        for h in (2.5, 8, 30):
            rows += judged(name, source, runs, h, words and np.log(words))
    return pd.DataFrame(rows)


def by_sweep(df):
    "Geometric mean of rms, means of the rest, for each sweep and all of them"
    df = pd.concat([df, df.assign(set="all")])
    by = df.assign(rms=np.log(df.rms)).groupby(["set", "law"], sort=False)
    out = by[["rms", "mean", "coverage", "half_width"]].mean().assign(rms=lambda d: np.exp(d.rms))
    return out.assign(splits=by.size())


if __name__ == "__main__":
    ours, theirs = own(), published()
    sweeps, text = by_sweep(ours), extrapolate.pooled(theirs)
    print(sweeps.round(4).to_string(), text.round(4).to_string(), sep="\n\n")
    pd.concat([ours, theirs]).round(6).to_csv(HERE / "results" / "ceiling.csv", index=False)
    (HERE / "results" / "ceiling.md").write_text(
        "# Under a ceiling\n\nMade by `python benchmarks/ceiling.py`; what is judged and how is "
        "written at its top. mean is of ln(measured/predicted): negative where a law promises too "
        f"little.\n\nOur own small sweeps:\n\n{extrapolate.markdown(sweeps)}\n\n"
        f"Published runs of text:\n\n{extrapolate.markdown(text)}\n"
    )
