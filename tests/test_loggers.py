"Loggers write what they hear, travel to workers, and say what they lack."

import pickle, sys, types
import pytest
from flops_fit.planner.dataset import ContractError
from flops_fit.trainer.loggers import TensorBoardLogger, WandbLogger
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.trainer.sweep import TrainingRunner, device_executor
from flops_fit.trainer.train import train_trunk
from models import BUDGETS, RECIPE, xor_task


@pytest.fixture(scope="module")
def plan():
    return plan_sweep(xor_task(), compute_budgets=BUDGETS[:2], sizes=[8], recipe=RECIPE)


def test_tensorboard_gets_a_folder_a_run_from_workers(plan, tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with device_executor(1) as ex:
        TrainingRunner(
            output_dir=tmp_path / "s",
            executor=ex,
            progress=False,
            on_step=TensorBoardLogger(tmp_path / "tb"),
        ).run_sweep(plan, xor_task())
    for e in plan:
        seen = EventAccumulator(str(tmp_path / "tb" / f"{e.trunk}-{e.experiment_id}")).Reload()
        assert (
            seen.Scalars("train/loss")[-1].step == e.num_steps
            and seen.Scalars("train/tokens")[-1].value == e.num_tokens
        )


def test_wandb_gets_a_run_for_each_run(plan, monkeypatch):
    runs = []

    class Fake:
        def __init__(self, kw):
            self.kw, self.logged, self.ended = kw, [], 0

        def log(self, values, step):
            self.logged.append((step, values))

        def finish(self):
            self.ended += 1

    def init(**kw):
        runs.append(Fake(kw))
        return runs[-1]

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    train_trunk(xor_task(), plan.experiments, RECIPE, on_step=WandbLogger("mine", mode="offline"))
    assert len(runs) == len(plan) and all(r.ended == 1 for r in runs)
    assert {r.kw["project"] for r in runs} == {"mine"} and {r.kw["mode"] for r in runs} == {
        "offline"
    }
    assert (
        runs[-1].logged[-1][0] == plan.experiments[-1].num_steps
        and runs[0].kw["config"]["num_params"] == plan.experiments[0].num_params
    )


def test_what_is_missing_is_named_and_training_goes_on(plan, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ContractError, match="pip install wandb"):
        WandbLogger("p")._start("n", plan.experiments[0])
    with pytest.warns(UserWarning, match="pip install wandb"):
        runs = train_trunk(xor_task(), plan.experiments[:1], RECIPE, on_step=WandbLogger("p"))
    assert runs[0].status == "completed"


def test_what_is_open_stays_behind():
    logger = WandbLogger("p")
    logger.open, logger.name = lambda: 0, "x"
    there = pickle.loads(pickle.dumps(logger))
    assert there.open is None and there.name is None and there.project == "p"
