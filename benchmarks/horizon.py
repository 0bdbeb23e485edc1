"""How does the best rate move with the horizon, and does a rate that falls with the tokens seen do
better than a constant one? Small models of four families, each trained at rates a factor apart on
trunks with branches at one, four and sixteen times the shortest run.

    python benchmarks/horizon.py        (an hour on two cores; runs that are in the table already
    are not made again)

Writes benchmarks/results/horizon.csv, a row a run, and horizon.md. The power of a schedule is 0
where the rate is constant; else the rate is held until the shortest run ends and falls from there.
"""

import math
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import sys
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
from held_out import markdown

RESULTS = HERE / "results"
POWERS = (0.0, 0.3, 0.5)
LENGTHS = (1, 4, 16)  # of the shortest run
SETTINGS = {  # widths, tokens a batch, tokens of the shortest run, lowest rate, step, weight decay
    "mlp_classification": ((32, 128), 128, 40_000, 0.0012, 2.0, 0.0),
    "gpt_python": ((24,), 512, 125_000, 0.004, 1.7, 0.0),
    "gru_python": ((48,), 512, 125_000, 0.002, 2.0, 0.0),
    "vit_cifar": ((24,), 32, 12_500, 0.0005, 2.0, 0.1),
}


def train_one(task, width, recipe, tokens):
    "The runs of one trunk, held until the shortest of them ends"
    from flops_fit.planner import recipe as rules
    from flops_fit.planner.sweep_design import plan_sweep
    from flops_fit.trainer.train import train_trunk

    n = task.build(width, "meta").num_params()
    rules.HOLD = tokens / n
    budgets = [6 * n * times * tokens for times in LENGTHS]
    plan = plan_sweep(task, compute_budgets=budgets, sizes=[width], recipe=recipe)
    return train_trunk(task, plan.experiments, recipe, "cpu")


def train(done):
    "A row a run; the table is written after each trunk"
    import torch

    from families import FAMILIES
    from flops_fit.planner.recipe import Recipe

    torch.set_num_threads(1)
    rows = done.to_dict("records")
    have = {(r["family"], r["width"], r["power"], r["lr"]) for r in rows}
    for name, (widths, batch, tokens, lowest, step, decay) in SETTINGS.items():
        rates = [float(f"{lowest * step**i:.4g}") for i in range(5)]
        wanted = [(name, w, p, r) for w in widths for p in POWERS for r in rates]
        wanted = [key for key in wanted if key not in have]
        task = FAMILIES[name].task() if wanted else None
        for _, width, power, rate in wanted:
            recipe = Recipe(
                lr=rate,
                batch_tokens=batch,
                weight_decay=decay,
                warmup_tokens=50 * batch,
                schedule="power" if power else "cooldown",
                power=power or None,
            )
            for run in train_one(task, width, recipe, tokens):
                about = dict(family=name, width=width, num_params=run.num_params, power=power)
                about |= dict(lr=rate, num_tokens=run.num_tokens, loss=run.final_loss)
                rows.append(about)
            print(*rows[-1].values(), flush=True)
            pd.DataFrame(rows).to_csv(RESULTS / "horizon.csv", index=False)
    return pd.DataFrame(rows)


def summed_up(table):
    "A row a family, width and power: the best rates, and what one trunk gets"
    from flops_fit.trainer.rates import Parabola

    rows = []
    for (name, width, power), g in table.groupby(["family", "width", "power"], sort=False):
        by = g.pivot(index="lr", columns="num_tokens", values="loss").sort_index()
        found = [Parabola.around(by[d].to_dict()) for d in by]
        rates = [p.best if p and p.best else by[d].idxmin() for p, d in zip(found, by)]
        fall = math.log(rates[-1] / rates[0]) / math.log(by.columns[-1] / by.columns[0])
        one = by.loc[np.log(by).mean(axis=1).idxmin()]
        bends = [p.curvature for p in found if p]
        what = dict(family=name, width=width, power=power, rates=rates, fall=fall)
        rows.append(what | dict(lr=one.name, one=[*one], bend=float(np.median(bends))))
    out = pd.DataFrame(rows)
    constant = out[out.power == 0].set_index(["family", "width"]).one
    gains = [np.log(constant[f, w]).mean() - np.log(o).mean() for f, w, o in
             zip(out.family, out.width, out.one)]  # fmt: skip
    return out.assign(gain=gains)


def write(table):
    rows = summed_up(table)
    for name, form in (("rates", "{:.4f}"), ("one", "{:.3f}")):
        rows[name] = [", ".join(map(form.format, found)) for found in rows[name]]
    names = dict(rates="best peak rates", bend="bend of ln loss", one="one trunk")
    shown = rows[["family", "width", "power", "rates", "fall", "bend", "one", "gain"]]
    table = markdown(shown.rename(columns=names).set_index("family"))
    (RESULTS / "horizon.md").write_text(
        "# Rates and horizons\n\n"
        "Held-out losses on trunks with branches at 1, 4 and 16 times the shortest run, at five "
        "rates each. Power 0 is a constant rate; else the rate is held until the shortest run "
        "ends and falls as that power of the tokens. *Fall* is the power of D by which the best "
        "peak falls; *one trunk* the losses at the one rate that is best for all three lengths; "
        "*gain* how much lower they are than a constant rate's, in ln loss, on average. Made by "
        f"`benchmarks/horizon.py`.\n\n{table}\n"
    )


if __name__ == "__main__":
    file = RESULTS / "horizon.csv"
    write(train(pd.read_csv(file) if file.exists() else pd.DataFrame()))
    print((RESULTS / "horizon.md").read_text())
