"""What goes wrong in a sweep ends as it should: the rest goes on, nothing is lost, and the summary
tells."""

import json, os, pickle
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import replace
import pytest, torch, torch.nn.functional as F
from flops_fit.planner.contract import make_task
from flops_fit.trainer.feed import Feed
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.result import Result
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.orders import Stop
from flops_fit.trainer.sweep import TrainingRunner, device_executor
from flops_fit.trainer.train import train_trunk
from models import Net, RECIPE, outcome, xor_data, xor_task


def test_one_broken_size_spoils_no_other(plan, undisturbed, tmp_path):
    class Fragile(Net):
        def forward(self, x):
            if self.layers[0].out_features == 16 and self.training:
                raise RuntimeError("size 16 is cursed")
            return super().forward(x)

    task = xor_task()
    task.model_cls = Fragile
    runs = TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(plan, task)
    failed = [r for r in runs if r.size_param_value == 16]
    assert {r.status for r in failed} == {"failed"} and {r.final_loss for r in failed} == {None}
    assert all(
        "size 16 is cursed" in r.error_message and "Traceback" in r.error_message for r in failed
    )
    good = {k: v for k, v in outcome(runs).items() if v[0] == "completed"}
    assert good == {k: undisturbed[k] for k in good} and len(good) == len(runs) - len(failed)
    mended = TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(
        plan, xor_task()
    )  # the cause is gone: only those are made
    assert outcome(mended) == undisturbed


def test_a_worker_that_dies_is_a_failed_run(plan, tmp_path):
    task = xor_task()
    task.model_cls = Suicidal
    with device_executor(1) as ex:
        runs = TrainingRunner(output_dir=tmp_path / "s", executor=ex, progress=False).run_sweep(
            plan, task
        )
    assert {r.status for r in runs} == {"failed"} and "worker was lost" in runs[0].error_message


class Suicidal(Net):
    def forward(self, x):
        import multiprocessing

        if self.training and multiprocessing.parent_process() is not None:
            os._exit(9)
        return super().forward(x)


def test_divergence_is_told_and_has_no_loss(plan, tmp_path):
    e = next(iter(plan.trunks.values()))[0]
    (run,) = train_trunk(xor_task(), [replace(e, lr=1e30, warmup_steps=0)], replace(RECIPE, clip=0))
    assert (run.status, run.final_loss) == (
        "diverged",
        None,
    ) and "lower Recipe(lr=...)" in run.error_message


class Cursed(Net):
    "At width 16 something is wrong while it trains, as `what` says; `cure` it for the next sweep."

    what = None

    def forward(self, x):
        out = super().forward(x)
        if self.layers[0].out_features != 16 or not self.training:
            return out
        if self.what == "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return out * float("nan")


def told(runs, plan, path, task):
    "What the summary says of a sweep in which something failed."
    result = Result.from_sweep(plan, runs, path, task, progress=False)
    assert [r["status"] for r in json.loads((path / "results.json").read_text())] == [
        r.status for r in runs
    ]
    return result.summary()


@pytest.mark.parametrize(
    "what, status, message, where",
    [
        ("memory", "failed", "out of memory", "workers"),
        ("nan", "diverged", "lower Recipe(lr=...)", "here"),
    ],
)
def test_one_size_that_cannot_be_trained_stops_no_other(
    what, status, message, where, wide, tmp_path
):
    plan, good = wide
    task = xor_task()
    task.model_cls = type("Cursed", (Cursed,), dict(what=what))
    with device_executor(2) if where == "workers" else nullcontext() as ex:
        runs = TrainingRunner(output_dir=tmp_path / "s", executor=ex, progress=False).run_sweep(
            plan, task
        )
    bad = [r for r in runs if r.size_param_value == 16]
    assert {r.status for r in bad} == {status} and all(
        message in r.error_message and r.final_loss is None for r in bad
    )
    assert outcome(r for r in runs if r.size_param_value != 16) == {
        k: v for k, v in good.items() if k not in {r.experiment_id for r in bad}
    }
    assert f"{len(bad)} of {len(runs)} runs are left out: {len(bad)} {status}" in told(
        runs, plan, tmp_path / "s", task
    )


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    "A plan with sizes to spare, and what comes of it undisturbed."
    plan = plan_sweep(
        xor_task(), compute_budgets=[1e6, 2e6, 4e6], sizes=[4, 8, 16, 24, 32], recipe=RECIPE
    )
    return plan, outcome(
        TrainingRunner(output_dir=tmp_path_factory.mktemp("w") / "s", progress=False).run_sweep(
            plan, xor_task()
        )
    )


class Rotten(torch.utils.data.Dataset):
    "A sample that cannot be read, far into the data: the short runs never come to it."

    tokens_per_sample = 1

    def __init__(self, bad):
        (self.x, self.y), self.bad = xor_data(), bad

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        if i == self.bad:
            raise OSError("bad sector")
        return self.x[i], self.y[i]


def test_a_dataset_that_raises_in_the_middle(tmp_path):
    def task(bad):
        return make_task(
            Net,
            "width",
            dataset=Rotten(bad),
            eval_dataset=xor_data(500, 1),
            loss_fn=F.cross_entropy,
        )

    made = plan_sweep(
        task(-1),
        compute_budgets=[1e5, 2e5, 4e5],
        sizes=[4, 8, 16, 24, 32],
        recipe=replace(RECIPE, min_steps=10),
    )
    late = next(es for es in made.trunks.values() if es[-1].num_samples < 4000)[-1]
    order = Feed(task(-1).train, late.batch_size, late.seed, "cpu")
    bad = int(
        order.indices(late.num_steps // 2)[0]
    )  # in the middle of one run, and wherever the others come to it
    good = outcome(
        TrainingRunner(output_dir=tmp_path / "u", progress=False).run_sweep(made, task(-1))
    )
    runs = TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(made, task(bad))
    failed = {r.experiment_id for r in runs if r.status == "failed"}
    assert (
        late.experiment_id in failed
        and len(failed) < len(runs)
        and all("bad sector" in r.error_message for r in runs if r.status == "failed")
    )
    assert outcome(r for r in runs if r.experiment_id not in failed) == {
        k: v for k, v in good.items() if k not in failed
    }
    assert f"{len(failed)} of {len(runs)} runs are left out: {len(failed)} failed" in told(
        runs, made, tmp_path / "s", task(bad)
    )
    assert (
        outcome(TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(made, task(-1)))
        == good
    )  # read at last


@pytest.fixture
def disk(tmp_path, monkeypatch):
    "A disk that can be filled: nothing comes to its place in the folder while it is full."
    state = type("Disk", (), dict(full=False))()

    def full(real):
        def move(a, b):
            if state.full and str(b).startswith(str(tmp_path / "s")) and "/locks/" not in str(b):
                raise OSError(28, "No space left on device", str(b))
            return real(a, b)

        return move

    for name in ("replace", "rename", "link"):
        monkeypatch.setattr(os, name, full(getattr(os, name)))
    return state


class Here:
    "An engine as plain as can be, in this process."

    def submit(self, fn, *args):
        f = Future()
        f.set_result(fn(*args))
        return f


@pytest.mark.parametrize("executor", [None, Here()])
@pytest.mark.filterwarnings("ignore:no checkpoint")
def test_a_disk_that_fills_loses_nothing(executor, plan, undisturbed, disk, tmp_path, monkeypatch):
    def fill(step):
        disk.full = disk.full or len(list((tmp_path / "s" / "runs").glob("*.json"))) > 2

    runner = TrainingRunner(
        output_dir=tmp_path / "s",
        executor=executor,
        progress=False,
        on_step=Share(fill),
        save_every=0.01,
    )
    with pytest.warns(UserWarning, match="6 of 9 runs could not be written"):
        runs = runner.run_sweep(plan, xor_task())
    assert (
        outcome(runs) == undisturbed and len(RunStore(tmp_path / "s").runs()) == 3
    )  # trained, known, not on disk
    disk.full = False
    import flops_fit.trainer.train

    monkeypatch.setattr(
        flops_fit.trainer.train, "train_trunk", lambda *a, **k: pytest.fail("trained again")
    )
    assert (
        outcome(runner.run_sweep(plan, xor_task()))
        == outcome(RunStore(tmp_path / "s").runs().values())
        == undisturbed
    )


class Share:
    "A listener that stays in this process: it travels by name."

    kept = {}

    def __init__(self, fn):
        Share.kept[id(fn)] = fn
        self.key = id(fn)

    def __call__(self, step):
        Share.kept[self.key](step)


def test_a_checkpoint_that_cannot_be_written_costs_a_warning(plan, undisturbed, tmp_path):
    es = next(iter(plan.trunks.values()))
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="no checkpoint") as heard:
        runs = train_trunk(xor_task(), es, RECIPE, folder=tmp_path / "file" / "c", save_every=0.01)
    assert len(heard) == 1
    assert all(undisturbed[k] == v for k, v in outcome(runs).items())


def test_a_trunk_that_cannot_be_claimed_stops_no_other(plan, undisturbed, tmp_path, monkeypatch):
    first, real = next(iter(plan.trunks)), os.rename

    def full(a, b):
        if f"locks/{first}" in str(b):
            raise OSError(28, "No space left on device")
        return real(a, b)

    monkeypatch.setattr(os, "rename", full)
    runs = TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(plan, xor_task())
    assert {r.trunk for r in runs if r.status == "skipped"} == {first}  # it was never begun
    assert all("No space left" in r.error_message for r in runs if r.status == "skipped")
    made = {k: v for k, v in outcome(runs).items() if v[0] == "completed"}
    assert made == {e.experiment_id: undisturbed[e.experiment_id] for e in plan if e.trunk != first}


def test_a_full_disk_is_told_before_anything_is_trained(plan, disk, tmp_path):
    disk.full = True
    with pytest.raises(OSError, match="No space left"):
        TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(plan, xor_task())


@pytest.mark.parametrize("executor", [None, Here()])
def test_a_stop_from_elsewhere(executor, plan, undisturbed, tmp_path):
    def stop(step):
        if len(list((tmp_path / "s" / "runs").glob("*.json"))) == 4 and step.step > 20:
            (tmp_path / "s" / "stop").touch()

    runs = TrainingRunner(
        output_dir=tmp_path / "s", executor=executor, progress=False, on_step=Share(stop)
    ).run_sweep(plan, xor_task())
    assert [r.status for r in runs].count("completed") == 4 and [r.status for r in runs].count(
        "skipped"
    ) == 5
    again = TrainingRunner(output_dir=tmp_path / "s", progress=False).run_sweep(
        plan, xor_task()
    )  # an old request asks for nothing
    assert outcome(again) == undisturbed


def test_one_process_that_is_interrupted_stops_no_other(tmp_path):
    store = RunStore(tmp_path / "s").prepare()
    mine, other = Stop(store), Stop(store)
    there = pickle.loads(pickle.dumps(mine))  # as a worker has it
    mine.ask()
    assert mine() and there() and not other()
    (tmp_path / "s" / "stop").touch()
    assert other() and not Stop(store)()
