"Sweeps that are killed, shared, interrupted, refused or made in other processes."
import json, multiprocessing, os, random, shutil, signal, subprocess, sys, time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
import pytest, torch, torch.nn.functional as F
from flops_fit.contract import make_task
from flops_fit.dataset import ContractError
from flops_fit.planner import plan_sweep
from flops_fit.recipe import Recipe
from flops_fit.store import RunStore
from flops_fit.sweep import MOCK_LAW, TrainingRunner, device_executor
from flops_fit.trainer import train_trunk
from models import BUDGETS, Net, RECIPE, SIZES, xor_data, xor_task

HERE = Path(__file__).parent


def outcome(runs): return {r.experiment_id: (r.status, r.final_loss) for r in runs}


@pytest.fixture(scope="module")
def plan(): return plan_sweep(xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE)


@pytest.fixture(scope="module")
def undisturbed(plan, tmp_path_factory):
    runs = TrainingRunner(output_dir=tmp_path_factory.mktemp("u")/"s", progress=False).run_sweep(plan, xor_task())
    assert {r.status for r in runs} == {"completed"}
    return outcome(runs)


def test_branches_equal_separate_runs(plan):
    es = next(iter(plan.trunks.values()))
    together = outcome(train_trunk(xor_task(), es, RECIPE))
    assert together == {k: v for e in es for k, v in outcome(train_trunk(xor_task(), [e], RECIPE)).items()}


def test_branches_equal_separate_runs_with_dropout(plan):
    class Drop(Net):
        def __init__(self, width): super().__init__(width); self.layers.insert(2, torch.nn.Dropout(.2))
    task = xor_task(); task.model_cls = Drop
    es = next(iter(plan.trunks.values()))
    assert outcome(train_trunk(task, es, RECIPE)) == {k: v for e in es for k, v in outcome(train_trunk(task, [e], RECIPE)).items()}


def test_the_trunk_costs_what_it_says(plan):
    es = next(iter(plan.trunks.values()))
    assert sum(r.actual_flops for r in train_trunk(xor_task(), es, RECIPE)) == pytest.approx(plan._cost(es))


def test_processes_give_the_same_losses(plan, undisturbed, tmp_path):
    with device_executor(2) as ex: runs = TrainingRunner(output_dir=tmp_path/"s", executor=ex, progress=False).run_sweep(plan, xor_task())
    assert outcome(runs) == undisturbed


def test_any_executor_with_submit_will_do(plan, undisturbed, tmp_path):
    class Plain:
        "As little as an engine can be: no Executor, no cancel."
        def submit(self, fn, *args):
            f = Future(); f.set_result(fn(*args))
            return type("Ticket", (), dict(done=lambda s: f.done(), result=lambda s: f.result()))()
    assert outcome(TrainingRunner(output_dir=tmp_path/"s", executor=Plain(), progress=False).run_sweep(plan, xor_task())) == undisturbed


def test_a_second_start_trains_nothing(plan, tmp_path, monkeypatch):
    first = TrainingRunner(output_dir=tmp_path/"s", progress=False).run_sweep(plan, xor_task())
    before = {f: f.stat().st_mtime_ns for f in (tmp_path/"s"/"runs").iterdir()}
    import flops_fit.trainer
    monkeypatch.setattr(flops_fit.trainer, "train_trunk", lambda *a, **k: pytest.fail("trained again"))
    assert TrainingRunner(output_dir=tmp_path/"s", progress=False).run_sweep(plan, xor_task()) == first
    assert before == {f: f.stat().st_mtime_ns for f in (tmp_path/"s"/"runs").iterdir()}
    assert json.loads((tmp_path/"s"/"results.json").read_text())[0]["experiment_id"] == first[0].experiment_id


SCRIPT = f"""
import sys; sys.path.insert(0, {str(HERE)!r})
from models import *
from flops_fit.planner import plan_sweep
from flops_fit.sweep import TrainingRunner
plan = plan_sweep(xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE)
print("go", flush=True)
TrainingRunner(output_dir=sys.argv[1], progress=False, save_every=.05).run_sweep(plan, xor_task())
"""


def start(path): return subprocess.Popen([sys.executable, "-c", SCRIPT, str(path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_killed_at_twenty_random_moments_two_processes_end_the_same(plan, tmp_path_factory):
    """Forked from here, a sweep starts at once. Two share the folder; one of them, at random, is killed and started again, twenty times."""
    tmp, rng, seen = tmp_path_factory.mktemp("k"), random.Random(0), {}
    big = plan_sweep(xor_task(), compute_budgets=[4e6, 8e6, 1.6e7], sizes=[8, 16, 24, 32, 48, 64], recipe=RECIPE)
    expected = outcome(TrainingRunner(output_dir=tmp/"u", progress=False).run_sweep(big, xor_task()))
    context = multiprocessing.get_context("fork")
    def begin():
        p = context.Process(target=_sweep, args=(tmp/"s", big)); p.start()
        return p
    ps, kills = [begin(), begin()], 0
    while kills < 20:
        i = rng.randrange(2)
        time.sleep(.02 + rng.random()*.25)
        if not ps[i].is_alive(): # it came to its end before its turn: the sweep begins again in a new folder
            for p in ps: p.join(120); assert p.exitcode == 0
            assert outcome(RunStore(tmp/"s").runs().values()) == expected
            shutil.rmtree(tmp/"s"); seen, ps = {}, [begin(), begin()]
            continue
        ps[i].kill(); ps[i].join(); kills += 1
        for f in (tmp/"s"/"runs").glob("*.json"): assert seen.setdefault(f.name, f.read_bytes()) == f.read_bytes() # a finished run is never made again
        ps[i] = begin()
    for p in ps:
        p.join(120); assert p.exitcode == 0
    assert outcome(RunStore(tmp/"s").runs().values()) == expected
    for name, content in seen.items(): assert (tmp/"s"/"runs"/name).read_bytes() == content
    assert not list((tmp/"s"/"locks").glob("*.lock"))


def _sweep(path, plan):
    torch.set_num_threads(1)
    TrainingRunner(output_dir=path, progress=False, save_every=.05).run_sweep(plan, xor_task())


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_signals_save_and_stop(number, status, undisturbed, tmp_path):
    p = start(tmp_path/"s"); p.stdout.readline(); time.sleep(.5)
    p.send_signal(number); p.communicate(timeout=60)
    assert p.returncode in (status, -number, 0)
    q = start(tmp_path/"s"); q.communicate(timeout=120)
    assert q.returncode == 0 and outcome(RunStore(tmp_path/"s").runs().values()) == undisturbed
    assert not list((tmp_path/"s"/"locks").glob("*.lock")) and not (tmp_path/"s"/"stop").exists()


def test_two_processes_share_a_folder(undisturbed, tmp_path):
    ps = [start(tmp_path/"s") for _ in range(2)]
    for p in ps:
        _, err = p.communicate(timeout=120)
        assert p.returncode == 0, err
    assert outcome(RunStore(tmp_path/"s").runs().values()) == undisturbed


def test_one_broken_size_spoils_no_other(plan, undisturbed, tmp_path):
    class Fragile(Net):
        def forward(self, x):
            if self.layers[0].out_features == 16 and self.training: raise RuntimeError("size 16 is cursed")
            return super().forward(x)
    task = xor_task(); task.model_cls = Fragile
    runs = TrainingRunner(output_dir=tmp_path/"s", progress=False).run_sweep(plan, task)
    failed = [r for r in runs if r.size_param_value == 16]
    assert {r.status for r in failed} == {"failed"} and {r.final_loss for r in failed} == {None}
    assert all("size 16 is cursed" in r.error_message and "Traceback" in r.error_message for r in failed)
    good = {k: v for k, v in outcome(runs).items() if v[0] == "completed"}
    assert good == {k: undisturbed[k] for k in good} and len(good) == len(runs) - len(failed)
    mended = TrainingRunner(output_dir=tmp_path/"s", progress=False).run_sweep(plan, xor_task())   # the cause is gone: only those are made
    assert outcome(mended) == undisturbed


def test_a_worker_that_dies_is_a_failed_run(plan, tmp_path):
    task = xor_task(); task.model_cls = Suicidal
    with device_executor(1) as ex: runs = TrainingRunner(output_dir=tmp_path/"s", executor=ex, progress=False).run_sweep(plan, task)
    assert {r.status for r in runs} == {"failed"} and "worker was lost" in runs[0].error_message


class Suicidal(Net):
    def forward(self, x):
        import multiprocessing
        if self.training and multiprocessing.parent_process() is not None: os._exit(9)
        return super().forward(x)


def test_divergence_is_told_and_has_no_loss(plan, tmp_path):
    e = next(iter(plan.trunks.values()))[0]
    run, = train_trunk(xor_task(), [replace(e, lr=1e30, warmup_steps=0)], replace(RECIPE, clip=0))
    assert (run.status, run.final_loss) == ("diverged", None) and "lower Recipe(lr=...)" in run.error_message


def test_a_dataset_that_raises_in_the_middle(plan, tmp_path):
    class Rotten(torch.utils.data.Dataset):
        x, y = xor_data()
        tokens_per_sample = 1
        def __len__(self): return len(self.x)
        def __getitem__(self, i):
            if i == 2345: raise OSError("bad sector")
            return self.x[i], self.y[i]
    task = make_task(Net, "width", dataset=Rotten(), eval_dataset=xor_data(500, 1), loss_fn=F.cross_entropy)
    made = plan_sweep(task, compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE)
    runs = TrainingRunner(output_dir=tmp_path/"s", progress=False).run_sweep(made, task)
    assert "failed" in {r.status for r in runs} and all("bad sector" in r.error_message for r in runs if r.status == "failed")


def test_streams_train_and_branch(plan):
    class Flow(torch.utils.data.IterableDataset):
        def __iter__(self): yield from zip(*xor_data())
    task = make_task(Net, "width", dataset=Flow(), loss_fn=F.cross_entropy, eval_tokens=400)
    es = next(iter(plan.trunks.values()))
    assert outcome(train_trunk(task, es, RECIPE)) == {k: v for e in es for k, v in outcome(train_trunk(task, [e], RECIPE)).items()}


def test_mock_runs_say_so_and_stay_in_range(plan, tmp_path):
    runs = TrainingRunner("mock", tmp_path/"s", progress=False).run_sweep_from_plan(plan)
    assert all(r["simulated"] and 1.5 <= r["final_loss"] <= 15 for r in runs)
    assert all(r["simulated"] for r in json.loads((tmp_path/"s"/"results.json").read_text()))
    for mode, out in (("local", "s"), ("mock", "t")):
        if out == "t": TrainingRunner(output_dir=tmp_path/out, progress=False).run_sweep(plan, xor_task())
        with pytest.raises(ContractError, match="another output_dir"): TrainingRunner(mode, tmp_path/out, progress=False).run_sweep(plan, xor_task())


def test_refusals_leave_the_folder_alone(plan, tmp_path):
    for make in (lambda: TrainingRunner("cloud", tmp_path/"s"), lambda: TrainingRunner(executor=3, output_dir=tmp_path/"s"), lambda: TrainingRunner(output_dir=tmp_path/"s").run_sweep(plan),
                 lambda: TrainingRunner(output_dir=tmp_path/"s").run_sweep(replace(plan, experiments=[]), xor_task()), lambda: TrainingRunner(output_dir=tmp_path/"s").run_sweep_from_plan(plan),
                 lambda: TrainingRunner(output_dir=tmp_path/"s").run_sweep(plan, replace(xor_task(), model_kwargs=dict(out=5)))):
        with pytest.raises(ContractError): make()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_told(plan, tmp_path, monkeypatch):
    runner = TrainingRunner(output_dir=tmp_path/"s", progress=False)
    import flops_fit.store as store
    real = store.write_atomic
    def full(path, content):
        if "runs" in str(path): raise OSError(28, "No space left on device")
        return real(path, content)
    monkeypatch.setattr(store, "write_atomic", full)
    with pytest.raises(OSError, match="No space left"): runner.run_sweep(plan, xor_task())
    monkeypatch.setattr(store, "write_atomic", real)
    assert {r.status for r in runner.run_sweep(plan, xor_task())} == {"completed"}
