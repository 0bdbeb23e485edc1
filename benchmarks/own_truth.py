"""Sweeps of our own over 2.5 decades and more: six families, each with a valley at every budget.

    python benchmarks/own_truth.py gru_python            makes what its table lacks
    python benchmarks/own_truth.py --check               the cheapest runs of every table once more
    python benchmarks/own_truth.py --rates               searched rates beside the rule's

Tables lie in benchmarks/results, a row a run; what a table has is not made again, so a sweep that
was stopped goes on. A sweep of a GPT to 1e13 FLOPs takes hours on two cores, one of the small
networks minutes. What the laws make of them, `ceiling.py` says. --rates writes own/rates.md.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
import argparse
import math
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
from families import FAMILIES
from held_out import markdown

from flops_fit.planner.recipe import Recipe
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.trainer.calibration import calibrate
from flops_fit.trainer.sweep import TrainingRunner, device_executor

RESULTS, FOLDER = HERE / "results" / "own", HERE.parent / "outputs" / "own_truth"


def table_of(name):
    file = RESULTS / f"{name}.csv"
    return pd.read_csv(file) if file.exists() else pd.DataFrame()


def planned(name, task, sizes):
    "The plan of {budget: sizes}, rates searched for where the family has no rule"
    family = FAMILIES[name]
    recipe = family.recipe
    if recipe.lr == "calibrate":
        found = calibrate(task, list(family.sizes), recipe, FOLDER / name, flops=family.flops)
        print(found)
        recipe = found.recipe
    return plan_sweep(
        task, compute_budgets=list(sizes), sizes=sizes, recipe=recipe, flops=family.flops
    )


def row_of(run):
    "What a table keeps of a run"
    names = (
        "compute_budget num_params num_tokens unique_tokens flops loss_se trunk lr batch_size "
        "epochs baseline_loss experiment_id"
    )
    return {n: getattr(run, n) for n in names.split()} | dict(loss=run.final_loss)


def missing(name, task):
    "{budget: sizes} that the table lacks"
    family, have = FAMILIES[name], table_of(name)
    counts = {s: task.build(s, "meta").num_params() for ss in family.sizes.values() for s in ss}
    seen = set() if have.empty else {(f"{c:.4g}", n) for c, n in
                                     zip(have.compute_budget, have.num_params)}  # fmt: skip
    left = {c: [s for s in ss if (f"{c:.4g}", counts[s]) not in seen]
            for c, ss in family.sizes.items()}  # fmt: skip
    return {c: ss for c, ss in left.items() if ss}


def make(name, workers):
    "Train what the table lacks, and add it"
    task, have = FAMILIES[name].task(), table_of(name)
    if not (left := missing(name, task)):
        print(f"{name}: nothing is missing")
        return have
    plan = planned(name, task, left)
    with device_executor(workers, plan) as executor:
        runs = TrainingRunner(output_dir=FOLDER / name, executor=executor).run_sweep(plan, task)
    new = pd.DataFrame([row_of(r) for r in runs if r.status == "completed"])
    table = pd.concat([have, new], ignore_index=True)
    table = table.sort_values(["compute_budget", "num_params"], ignore_index=True)
    table.to_csv(RESULTS / f"{name}.csv", index=False, float_format="%.10g")
    return table


def check(name):
    "The cheapest budget of a table once more: measured then and now"
    task, kept = FAMILIES[name].task(), table_of(name)
    cheapest = {c: ss for c, ss in FAMILIES[name].sizes.items() if c == min(FAMILIES[name].sizes)}
    plan = planned(name, task, cheapest)
    with tempfile.TemporaryDirectory() as d:
        runs = TrainingRunner(output_dir=d, progress=False).run_sweep(plan, task)
    for r in runs:
        near = np.isclose(kept.compute_budget, r.compute_budget, rtol=1e-3)
        for before in kept.loss[near & (kept.num_params == r.num_params)]:
            off = math.log(r.final_loss / before)
            print(
                f"{name}: N = {r.num_params:,}: {r.final_loss:.4f}, kept {before:.4f}, {off:+.2%}"
            )


def rates(names):
    "What a search for rates says beside the sweep's own, at the largest N that was searched"
    rows = []
    for name in names:
        family, task = FAMILIES[name], FAMILIES[name].task()
        asked = replace(family.recipe, lr="calibrate")
        found = calibrate(task, list(family.sizes), asked, FOLDER / name, flops=family.flops)
        at = max(found.best, key=lambda b: (b["num_params"], -b["num_tokens"]))
        N, D, searched = at["num_params"], at["num_tokens"], found.suggestion
        scaled = callable(getattr(task.build(at["size"], "meta"), "param_groups", None))
        fixed = Recipe() if family.lr == "calibrate" else family.recipe
        used = fixed.peak_lr(N, D, family.batch_tokens, scaled)
        bend = 2 * found.cost(N, D) / found.spread(N, D) ** 2
        rows.append(
            {
                "family": name,
                "N": N,
                "D": D,
                "rule": used,
                "searched": searched(N, D),
                "rule costs": bend * math.log(used / searched(N, D)) ** 2 / 2,
                "power of N": searched.exponent,
                "power of D": searched.horizon,
                "costs at 30 N": found.cost(30 * N, 30 * D),
            }
        )
    return pd.DataFrame(rows).set_index("family")


def write_rates(table):
    (RESULTS / "rates.md").write_text(
        "# Searched rates beside the rule's\n\n"
        "At the smallest budget of each family, by `calibrate`. *Rule* is the rate that the sweep "
        "used, or where that was searched for, the rule's; what it costs, in ln loss, follows from "
        "the bend of the losses. The last column is what the searched rate costs on average "
        "further out, because it is not known better. Made by `benchmarks/own_truth.py --rates`."
        f"\n\n{markdown(table)}\n"
    )


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("names", nargs="*", metavar="name", help=", ".join(FAMILIES))
    p.add_argument("--check", action="store_true", help="make the cheapest runs again and compare")
    p.add_argument("--rates", action="store_true", help="search for rates and compare")
    p.add_argument("--workers", type=int, help="processes; default: one a core or GPU")
    args = p.parse_args()
    names = args.names or [*FAMILIES]
    if unknown := {*names} - {*FAMILIES}:
        p.error(f"no family is called {', '.join(unknown)}: there are {', '.join(FAMILIES)}")
    if args.rates:
        write_rates(rates(names))
    for name in [] if args.rates else names:
        check(name) if args.check else make(name, args.workers)
