"""Shared fixtures. Data that is not in the project is read from ../shared/data; where it is missing
a test skips and says so."""

import os
from pathlib import Path
import pytest
from hypothesis import settings

root = Path(__file__).resolve().parents[1]
settings.register_profile(
    "ci", derandomize=True
)  # the same examples each time; at home they are new ones
if os.environ.get("CI"):
    settings.load_profile("ci")


@pytest.fixture(scope="session")
def published():
    "Small tables of published runs, which live in the project: tests/data/README.md"
    return Path(__file__).parent / "data"


@pytest.fixture(scope="session")
def shared_data():
    path = root.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"the shared data folder is not at {path}: this check needs real runs or text")
    return path


@pytest.fixture(scope="session")
def plan():
    "Nine runs of three trunks."
    from flops_fit.planner.sweep_design import plan_sweep
    from models import BUDGETS, RECIPE, SIZES, xor_task

    return plan_sweep(xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE)


@pytest.fixture(scope="session")
def undisturbed(plan, tmp_path_factory):
    "What comes of `plan` when nothing goes wrong: {experiment_id: (status, loss, L0)}."
    from flops_fit.trainer.sweep import TrainingRunner
    from models import outcome, xor_task

    runs = TrainingRunner(output_dir=tmp_path_factory.mktemp("u") / "s", progress=False).run_sweep(
        plan, xor_task()
    )
    assert {r.status for r in runs} == {"completed"}
    return outcome(runs)
