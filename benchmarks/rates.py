"""Does one learning rate serve every width? The GPT with u-muP and, beside it, with the usual
parametrization, at rates a factor of 1.41 apart.

Every run is real: two layers on the source code of Python, 512 tokens a step, the same number of
tokens at every width, rate brought down over the last fifth.
The best rate of a width is the lowest point of a parabola in log rate through the losses near the
best one, means over the seeds.

    OMP_NUM_THREADS=1 python benchmarks/rates.py     # some minutes on one core; runs that are in
    the table already are not made again

Writes benchmarks/results/rates.csv, a row a run, and rates.md.
"""

import math
from pathlib import Path
import numpy as np, pandas as pd

RESULTS = Path(__file__).resolve().parent / "results"
WIDTHS, STEPS, BATCH_TOKENS = (16, 32, 64, 128), 400, 512
RATES = {
    "u-mup": [0.005, 0.00707, 0.01, 0.0141, 0.02, 0.0283],
    "sp": [0.00125, 0.0025, 0.005, 0.01, 0.02],
}
SEEDS = {"u-mup": (0, 1), "sp": (0,)}


def best_rate(rates, losses, near=2.05):
    """(rate, loss) at the lowest point of a parabola in log rate through all rates within a factor
    of `near` of the best."""
    rates, losses = np.log(np.asarray(rates, float)), np.asarray(losses, float)
    at = np.abs(rates - rates[losses.argmin()]) < math.log(near)
    a, b, c = np.polyfit(rates[at], losses[at], 2) if at.sum() > 2 else (0, 0, 0)
    if a <= 0:
        return math.exp(rates[losses.argmin()]), losses.min()
    x = float(np.clip(-b / 2 / a, rates[at].min(), rates[at].max()))
    return math.exp(x), a * x * x + b * x + c


def best_rates(table):
    """A row a width and parametrization: the best rate, its loss, and what the rule of `Recipe`
    gives."""
    from flops_fit.planner.recipe import lr_rule

    means = table.groupby(["parametrization", "width", "lr"], as_index=False).loss.mean()
    rows = [
        dict(
            parametrization=p,
            width=w,
            best=best_rate(g.lr, g.loss)[0],
            loss=best_rate(g.lr, g.loss)[1],
        )
        for (p, w), g in means.groupby(["parametrization", "width"])
    ]
    out = pd.DataFrame(rows).sort_values(
        ["parametrization", "width"], ascending=[False, True], ignore_index=True
    )
    return out.assign(rule=lr_rule(1e5, BATCH_TOKENS, True))


def train(done):
    "A row a run; the table is written after each."
    from flops_fit.planner.contract import make_task
    from flops_fit.examples.corpus import PythonCorpus
    from flops_fit.examples.gpt import byte_gpt, gpt_loss_fn
    from flops_fit.planner.sweep_design import plan_sweep
    from flops_fit.planner.recipe import Recipe
    from flops_fit.trainer.train import train_trunk

    train, held_out, rows = PythonCorpus(), PythonCorpus(split="test"), done.to_dict("records")
    have = {(r["parametrization"], r["width"], r["lr"], r["seed"]) for r in rows}
    for kind in RATES:
        task = make_task(
            byte_gpt, "d_model", dict(parametrization=kind), train, gpt_loss_fn, held_out
        )
        for width in WIDTHS:
            n = task.build(width, "meta").num_params()
            for seed in SEEDS[kind]:
                for lr in RATES[kind]:
                    if (kind, width, lr, seed) in have:
                        continue
                    recipe = Recipe(lr=lr, batch_tokens=BATCH_TOKENS, weight_decay=0.0)
                    plan = plan_sweep(
                        task,
                        compute_budgets=[6 * n * STEPS * BATCH_TOKENS],
                        sizes=[width],
                        recipe=recipe,
                        seeds=(seed,),
                    )
                    (run,) = train_trunk(task, plan.experiments, recipe, "cpu")
                    if run.status != "completed":
                        raise RuntimeError(f"{kind}, width {width}, rate {lr}: {run.error_message}")
                    rows.append(
                        dict(
                            parametrization=kind,
                            width=width,
                            num_params=n,
                            lr=lr,
                            seed=seed,
                            num_tokens=run.num_tokens,
                            loss=run.final_loss,
                            loss_se=run.loss_se,
                        )
                    )
                    print(*rows[-1].values(), f"{run.wall_time_seconds:.1f} s", flush=True)
                    pd.DataFrame(rows).to_csv(
                        RESULTS / "rates.csv", index=False, float_format="%.10g"
                    )
    return pd.DataFrame(rows)


def write(table):
    best = best_rates(table)
    lines = [
        "# One learning rate for all widths",
        "",
        (
            f"GPTs of two layers on the source code of Python: {STEPS} steps of {BATCH_TOKENS} "
            "tokens at every width, held-out loss in nats a byte, means over "
            f"{len(SEEDS['u-mup'])} seeds with u-muP and {len(SEEDS['sp'])} without. Made by "
            "`benchmarks/rates.py`."
        ),
        "",
    ]
    for kind, name in (("u-mup", "u-muP"), ("sp", "the usual parametrization")):
        rates, b = (
            sorted(table[table.parametrization == kind].lr.unique()),
            best[best.parametrization == kind].set_index("width"),
        )
        means = table[table.parametrization == kind].groupby(["width", "lr"]).loss.mean()
        lines += [
            (
                f"With {name}, the best rates of all widths lie within a factor of "
                f"{b.best.max() / b.best.min():.2f}:"
            ),
            "",
            "| width | best rate | " + " | ".join(f"{r:.3g}" for r in rates) + " |",
            "| --- " * (len(rates) + 2) + "|",
        ]
        lines += [
            f"| {w} | {b.best[w]:.4f} | "
            + " | ".join(
                f"**{means[w, r]:.3f}**" if means[w, r] == means[w].min() else f"{means[w, r]:.3f}"
                for r in rates
            )
            + " |"
            for w in b.index
        ] + [""]
    (RESULTS / "rates.md").write_text("\n".join(lines))


if __name__ == "__main__":
    write(
        train(
            pd.read_csv(RESULTS / "rates.csv")
            if (RESULTS / "rates.csv").exists()
            else pd.DataFrame()
        )
    )
    print((RESULTS / "rates.md").read_text())
