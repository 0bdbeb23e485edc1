"""What a repeated image is worth: vision transformers on 500 to 50,000 images of CIFAR-10, for a
fraction of an epoch to 30 epochs,
as the images are and augmented (moved and mirrored).

Trains the runs (a few minutes on two cores), unless they are in the table already, then fits four
laws on a part of them and predicts
the rest: Chinchilla's, the coupled one, and each with repeats discounted.

    python benchmarks/vit_repeats.py [--data ../shared/data/cifar10] [--output-dir
    outputs/vit_repeats] [--table benchmarks/results/vit_repeats.csv]
"""

import argparse, warnings
from contextlib import nullcontext
from pathlib import Path
import numpy as np
import pandas as pd
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.repeats import fit_repeats

HERE = Path(__file__).resolve().parent
WIDTHS = [8, 16, 32]
SETS = [
    (False, u, [4000, 10_000, 30_000]) for u in (1000, 3000, 50_000)
] + [  # augmented?, unique images, images seen
    (True, 500, [5000, 15_000]),
    (True, 1000, [4000, 10_000, 30_000]),
    (True, 2000, [4000, 10_000, 20_000, 60_000]),
    (True, 6000, [6000, 20_000, 60_000]),
    (True, 50_000, [6000, 20_000, 50_000]),
]


def train(root, output_dir, workers):
    "The runs, a trunk a width and set of images."
    from flops_fit.planner.contract import make_task
    from flops_fit.examples import CIFAR10Dataset, VisionTransformer, vit_loss_fn
    from flops_fit.examples.vit import accuracy
    from flops_fit.planner.flops import exact_flops
    from flops_fit.planner.sweep_design import plan_sweep
    from flops_fit.planner.recipe import Recipe
    from flops_fit.trainer.sweep import TrainingRunner, device_executor

    test, rows = CIFAR10Dataset(root, train=False), []
    with device_executor(workers) if workers > 1 else nullcontext() as executor:
        for augment, unique, seen in SETS:
            task = make_task(
                VisionTransformer,
                "d_model",
                dict(patch_size=8, num_layers=2),
                CIFAR10Dataset(root, augment=augment, num_images=unique),
                vit_loss_fn,
                eval_dataset=test,
                metrics=dict(accuracy=accuracy),
            )
            budgets = {exact_flops(task, w).exact * d * 1.0001: [w] for w in WIDTHS for d in seen}
            plan = plan_sweep(
                task,
                compute_budgets=list(budgets),
                sizes=budgets,
                flops="exact",
                recipe=Recipe(lr=0.002, batch_tokens=32, weight_decay=0.0, min_steps=50),
            )
            runs = TrainingRunner(
                output_dir=Path(output_dir) / f"{unique}{'-augmented' if augment else ''}",
                executor=executor,
            ).run_sweep(plan, task)
            rows += [
                dict(
                    augmented=augment,
                    d_model=r.size_param_value,
                    num_params=r.num_params,
                    num_tokens=r.num_tokens,
                    unique_tokens=unique,
                    epochs=r.epochs,
                    flops=r.flops,
                    loss=r.final_loss,
                    loss_se=r.loss_se,
                    accuracy=r.metrics["accuracy"],
                    train_loss=r.train_loss,
                    trunk=r.trunk,
                    status=r.status,
                )
                for r in runs
            ]
    return pd.DataFrame(rows)


def laws(df):
    "The four laws, fitted to these runs."
    coupled = fit_parametric(
        df.num_params, df.num_tokens, df.loss, law="coupled", compute=df.flops, groups=df.trunk
    )
    constrained = fit_parametric(
        df.num_params,
        df.num_tokens,
        df.loss,
        law="data_constrained",
        compute=df.flops,
        unique_tokens=df.unique_tokens,
    )
    return dict(
        chinchilla=coupled.plain,
        data_constrained=constrained,
        coupled=coupled,
        repeats=fit_repeats(coupled, df.unique_tokens),
    )


def held_out_errors(df):
    "Errors in log of runs that the fit did not see, by law and by how they were left out."
    df, rows = df.reset_index(drop=True), []
    splits = [("the most images seen, from the rest", df.num_tokens > df.num_tokens.max() / 1.5)]
    splits += [
        (
            "one width and set of images, from the others",
            (df.d_model == w) & (df.unique_tokens == u),
        )
        for w, u in df.groupby(["d_model", "unique_tokens"]).groups
    ]
    for how, out in splits:
        a, b = df[~out], df[out]
        for law, fit in laws(a).items():
            p = fit.predict(
                b.num_params.values,
                b.num_tokens.values,
                unique_tokens=b.unique_tokens.values if fit.law.needs_unique else None,
            )
            rows += [
                dict(
                    how=how,
                    law=law,
                    d_model=r.d_model,
                    unique_tokens=r.unique_tokens,
                    num_tokens=r.num_tokens,
                    epochs=r.epochs,
                    error=np.log(q / r.loss),
                )
                for q, r in zip(p, b.itertuples())
            ]
    return pd.DataFrame(rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--data", default=HERE.parent.parent / "shared" / "data" / "cifar10")
    p.add_argument("--output-dir", default="outputs/vit_repeats")
    p.add_argument("--table", default=HERE / "results" / "vit_repeats.csv")
    p.add_argument("--workers", type=int, default=2)
    args = p.parse_args()
    if not Path(args.table).exists():
        Path(args.table).parent.mkdir(parents=True, exist_ok=True)
        train(args.data, args.output_dir, args.workers).round(6).to_csv(args.table, index=False)
    df = pd.read_csv(args.table)
    rms = lambda x: np.sqrt(np.mean(x**2))
    df = df[df.status == "completed"]
    # a run that does worse than a shorter one of its trunk is past the point where anyone would
    # stop, and no law of these forms follows a loss that rises
    rising = (
        df.sort_values("num_tokens")
        .groupby(["augmented", "trunk"])
        .loss.transform(lambda l: l > l.cummin())
        .reindex(df.index)
    )
    for name, runs in {
        "as they are": df[~df.augmented],
        "as they are, until the loss rises": df[~df.augmented & ~rising],
        "augmented": df[df.augmented],
    }.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            e, fit = held_out_errors(runs), laws(runs)["repeats"]
        e["repeated"] = np.where(e.epochs > 4, "over 4 epochs", "up to 4 epochs")
        print(
            (
                f"\n{name}: {len(runs)} runs of {runs.epochs.min():.2g} to "
                f"{runs.epochs.max():.0f} epochs, R_D = {fit.params['R_D']:.3g}; RMS error in "
                "log of runs left out:"
            )
        )
        print(
            e.pivot_table(
                index=["how", "repeated"],
                columns="law",
                values="error",
                aggfunc=rms,
                margins=True,
                margins_name="all",
            )
            .drop(columns="all")[[*laws(runs)]]
            .round(4)
            .to_string()
        )


if __name__ == "__main__":
    main()
