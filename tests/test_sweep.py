"Sweeps in one process and in many, made once, simulated, refused."

import json, os
from concurrent.futures import Future
from dataclasses import replace
import pytest, torch, torch.nn.functional as F
from flops_fit.planner.contract import make_task
from flops_fit.planner.dataset import ContractError
from flops_fit.trainer.sweep import TrainingRunner, device_executor
from flops_fit.trainer.train import train_trunk
from models import Net, RECIPE, outcome, xor_data, xor_task


def test_branches_equal_separate_runs(plan):
    es = next(iter(plan.trunks.values()))
    together = outcome(train_trunk(xor_task(), es, RECIPE))
    assert together == {
        k: v for e in es for k, v in outcome(train_trunk(xor_task(), [e], RECIPE)).items()
    }


def test_branches_equal_separate_runs_with_dropout(plan):
    class Drop(Net):
        def __init__(self, width):
            super().__init__(width)
            self.layers.insert(2, torch.nn.Dropout(0.2))

    task = xor_task()
    task.model_cls = Drop
    es = next(iter(plan.trunks.values()))
    assert outcome(train_trunk(task, es, RECIPE)) == {
        k: v for e in es for k, v in outcome(train_trunk(task, [e], RECIPE)).items()
    }


def test_the_trunk_costs_what_it_says(plan):
    es = next(iter(plan.trunks.values()))
    assert sum(r.actual_flops for r in train_trunk(xor_task(), es, RECIPE)) == pytest.approx(
        plan.cost(es)
    )


def test_processes_give_the_same_losses(plan, undisturbed, tmp_path):
    with device_executor(2) as ex:
        runs = TrainingRunner(output_dir=tmp_path / "s", executor=ex, progress=False).run_sweep(
            plan, xor_task()
        )
    assert outcome(runs) == undisturbed


def test_any_executor_with_submit_will_do(plan, undisturbed, tmp_path):
    class Plain:
        "As little as an engine can be: no Executor, no cancel."

        def submit(self, fn, *args):
            f = Future()
            f.set_result(fn(*args))
            return type("Ticket", (), dict(done=lambda s: f.done(), result=lambda s: f.result()))()

    assert (
        outcome(
            TrainingRunner(output_dir=tmp_path / "s", executor=Plain(), progress=False).run_sweep(
                plan, xor_task()
            )
        )
        == undisturbed
    )


def test_a_second_start_trains_nothing(plan, tmp_path, monkeypatch):
    first = TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(plan, xor_task())
    before = {f: f.stat().st_mtime_ns for f in (tmp_path / "s" / "runs").iterdir()}
    import flops_fit.trainer.train

    monkeypatch.setattr(
        flops_fit.trainer.train, "train_trunk", lambda *a, **k: pytest.fail("trained again")
    )
    assert (
        TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(plan, xor_task())
        == first
    )
    assert before == {f: f.stat().st_mtime_ns for f in (tmp_path / "s" / "runs").iterdir()}
    assert (
        json.loads((tmp_path / "s" / "results.json").read_text())[0]["experiment_id"]
        == first[0].experiment_id
    )


def test_weights_are_kept_where_they_are_asked_for(plan, tmp_path):
    from flops_fit.trainer.evaluation import evaluate
    from flops_fit.trainer.store import load_checkpoint

    runs = {
        r.experiment_id: r
        for r in TrainingRunner(output_dir=tmp_path / "s", progress=False, weights=True).run_sweep(
            plan, xor_task()
        )
    }
    assert {f.name for f in (tmp_path / "s" / "weights").iterdir()} == {
        es[-1].experiment_id for es in plan.trunks.values()
    }
    for f in (tmp_path / "s" / "weights").iterdir():
        run, task = runs[f.name], xor_task()
        model = task.build(run.size_param_value)
        load_checkpoint(f, model)
        assert evaluate(model, task.held_out, task.loss_fn, RECIPE.eval_tokens)[0] == run.final_loss


def test_streams_train_and_branch(plan):
    class Flow(torch.utils.data.IterableDataset):
        def __iter__(self):
            yield from zip(*xor_data())

    task = make_task(Net, "width", dataset=Flow(), loss_fn=F.cross_entropy, eval_tokens=400)
    es = next(iter(plan.trunks.values()))
    assert outcome(train_trunk(task, es, RECIPE)) == {
        k: v for e in es for k, v in outcome(train_trunk(task, [e], RECIPE)).items()
    }


def test_mock_runs_say_so_and_stay_in_range(plan, tmp_path):
    runs = TrainingRunner("mock", tmp_path / "s", progress=False).run_sweep_from_plan(plan)
    assert all(r["simulated"] and 1.5 <= r["final_loss"] <= 15 for r in runs)
    assert all(r["simulated"] for r in json.loads((tmp_path / "s" / "results.json").read_text()))
    for mode, out in (("local", "s"), ("mock", "t")):
        if out == "t":
            TrainingRunner(output_dir=tmp_path / out, progress=False).run_sweep(plan, xor_task())
        with pytest.raises(ContractError, match="another output_dir"):
            TrainingRunner(mode, tmp_path / out, progress=False).run_sweep(plan, xor_task())


def test_refusals_leave_the_folder_alone(plan, tmp_path):
    for make in (
        lambda: TrainingRunner("cloud", tmp_path / "s"),
        lambda: TrainingRunner(executor=3, output_dir=tmp_path / "s"),
        lambda: TrainingRunner(output_dir=tmp_path / "s").run_sweep(plan),
        lambda: TrainingRunner(output_dir=tmp_path / "s").run_sweep(
            replace(plan, experiments=[]), xor_task()
        ),
        lambda: TrainingRunner(output_dir=tmp_path / "s").run_sweep_from_plan(plan),
        lambda: TrainingRunner(output_dir=tmp_path / "s").run_sweep(
            plan, replace(xor_task(), model_kwargs=dict(out=5))
        ),
    ):
        with pytest.raises(ContractError):
            make()
    assert os.listdir(tmp_path) == []


@pytest.fixture
def gpus(monkeypatch):
    def pretend(n, given=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
        monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6), raising=False)
        monkeypatch.delenv(
            "CUDA_VISIBLE_DEVICES", raising=False
        ) if given is None else monkeypatch.setenv("CUDA_VISIBLE_DEVICES", given)

    return pretend


def asked(ex):
    "(GPU, processes on it) of each worker."
    with ex:
        return [(slot.device, slot.share) for slot in ex.slots]


def test_workers_and_gpus(gpus, plan):
    gpus(0)
    assert asked(device_executor()) == [(None, 1)] * 6
    gpus(2)
    assert asked(device_executor()) == [("0", 1), ("1", 1)]
    gpus(2)
    assert asked(device_executor(5)) == [("0", 3), ("1", 3), ("0", 3), ("1", 3), ("0", 3)]
    gpus(2, "3,GPU-8a")
    assert asked(device_executor()) == [("3", 1), ("GPU-8a", 1)]  # a scheduler's choice holds
    gpus(1)
    assert (
        asked(device_executor(plan=plan)) == [("0", 3)] * 3
    )  # three trunks of small models on one GPU
    large = replace(plan, experiments=[replace(e, num_params=20_000_000) for e in plan])
    gpus(2)
    assert asked(device_executor(plan=large)) == [("0", 1), ("1", 1)]


def test_a_worker_sees_its_gpu_alone(gpus):
    gpus(1, "7")
    with device_executor(2) as ex:
        assert {
            f.result() for f in [ex.submit(os.getenv, "CUDA_VISIBLE_DEVICES") for _ in range(4)]
        } == {"7"}
