"A worker that ends costs its own trunk alone; workers end with their parent."

import contextlib
import json
import os
import signal
from dataclasses import replace

import pytest

from faults import LONG
from faults.mortals import Slow, mortal
from faults.processes import children, gone, wait
from faults.small import RECIPE, Log, end, finished, hurry, make_plan, start, train
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.sweep import TrainingRunner, device_executor
from models import outcome, xor_task

SIZES = (4, 6, 8, 10, 12, 14)


def wide():
    "Twelve runs of six trunks."
    return make_plan((1e5, 2e5), SIZES)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    "What comes of them undisturbed."
    runs = train(tmp_path_factory.mktemp("good") / "s", wide())
    assert {r.status for r in runs} == {"completed"} and len(runs) == 12
    return outcome(runs)


@pytest.fixture(scope="module")
def pool():
    with hurry(), device_executor(2) as pool:
        yield pool


@pytest.mark.parametrize("how", ["exit", "SIGKILL", "SIGSEGV", "SIGABRT"] if LONG else ["exit"])
def test_a_worker_that_dies_once_costs_nothing(how, pool, good, tmp_path):
    log = Log(tmp_path / "log", tmp_path / "s")
    task = mortal(xor_task(), how=how, mark=tmp_path / "mark")
    runs = train(tmp_path / "s", wide(), [log], task, executor=pool)
    assert (tmp_path / "mark").exists()
    assert outcome(runs) == good
    assert not log.count("again") and set(log.count("ended").values()) == {1}


def test_a_trunk_that_kills_its_workers_fails_alone(pool, good, tmp_path):
    log = Log(tmp_path / "log", tmp_path / "s")
    runs = train(tmp_path / "s", wide(), [log], mortal(xor_task()), executor=pool)
    bad = {r.experiment_id for r in runs if r.size_param_value == 8}
    assert {r.experiment_id for r in runs if r.status == "failed"} == bad
    assert all("lost" in r.error_message for r in runs if r.status == "failed")
    assert outcome(r for r in runs if r.status == "completed") == {
        k: v for k, v in good.items() if k not in bad
    }
    begun = log.count("began")
    assert sum(begun[k] for k in bad) <= 2 * len(bad) and set(log.count("ended").values()) == {1}

    mended = train(tmp_path / "s", wide(), executor=pool)  # the cause is gone
    assert outcome(mended) == good


def limited(seconds):
    plan = wide()
    return replace(plan, recipe=replace(RECIPE, step_timeout=seconds))


@pytest.mark.parametrize("where", ["workers", "here"])
def test_a_step_that_hangs_ends_by_its_time_limit(where, pool, good, tmp_path):
    task = mortal(xor_task(), how="hang")
    settings = {"executor": pool} if where == "workers" else {}
    runs = train(tmp_path / "s", limited(1.0), [], task, **settings)
    bad = {r.experiment_id for r in runs if r.size_param_value == 8}
    assert {r.experiment_id for r in runs if r.status == "failed"} == bad
    assert outcome(r for r in runs if r.status == "completed") == {
        k: v for k, v in good.items() if k not in bad
    }
    if where == "here":
        assert all("step_timeout" in r.error_message for r in runs if r.status == "failed")
    assert outcome(train(tmp_path / "s", wide())) == good


def pooled(path, log, step_seconds, said=None):
    "A sweep in a pool, in a process group of its own, whose standard error goes to a file."
    os.setsid()
    if said is not None:
        os.dup2(os.open(said, os.O_CREAT | os.O_WRONLY), 2)
    runner = TrainingRunner(
        output_dir=path,
        progress=said is not None,
        on_step=[log, Slow(step_seconds)],
        executor=device_executor(2),
    )
    with runner.executor:
        runner.run_sweep(wide(), xor_task())


@pytest.fixture
def parent(tmp_path):
    "A sweep in a pool, some runs on: (process, pids of its workers)."
    log = Log(tmp_path / "log", tmp_path / "s")
    process = start(pooled, tmp_path / "s", log, 0.02, tmp_path / "said")
    wait(lambda: len(finished(tmp_path / "s")) >= 2 or not process.is_alive(), 120)
    assert process.is_alive() and len(finished(tmp_path / "s")) < 12
    workers = {int(pid) for _, _, pid in log.lines()}
    family = children(process.pid)
    assert workers <= family
    yield process, family
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def none_failed(path, said):
    "Nothing that did not fail is told or recorded as failed."
    assert {r.status for r in RunStore(path).runs().values()} <= {"completed"}
    assert "failed" not in said.read_text()
    if (path / "results.json").exists():
        told = [r["status"] for r in json.loads((path / "results.json").read_text())]
        assert set(told) <= {"completed", "skipped"}


CODES = {signal.SIGTERM: {143, -15}, signal.SIGINT: {1, 130, -2}, signal.SIGHUP: {129, -1}}
SENT = [("group", signal.SIGTERM), ("parent", signal.SIGINT)]
if LONG:
    SENT = [(to, number) for to in ("group", "parent") for number in CODES]


@pytest.mark.parametrize("to, number", SENT)
def test_a_signal_stops_all_and_fails_none(to, number, parent, good, tmp_path):
    process, family = parent
    (os.killpg if to == "group" else os.kill)(process.pid, number)
    assert end(process) in CODES[number]
    wait(lambda: gone(family))
    none_failed(tmp_path / "s", tmp_path / "said")
    assert len(finished(tmp_path / "s")) < 12
    assert outcome(train(tmp_path / "s", wide())) == good


ENDS = [signal.SIGKILL, signal.SIGSEGV, signal.SIGHUP] if LONG else [signal.SIGKILL]


@pytest.mark.parametrize("number", ENDS)
def test_workers_end_with_their_parent(number, parent, good, tmp_path):
    process, family = parent
    os.kill(process.pid, number)
    end(process)
    wait(lambda: gone(family), 30)
    assert outcome(train(tmp_path / "s", wide())) == good


def test_workers_that_are_told_to_stop_leave_their_runs_to_others(parent, good, tmp_path):
    "SIGTERM to every worker alone, as a machine that runs short of memory does it."
    process, family = parent
    for pid in {int(pid) for _, _, pid in Log(tmp_path / "log", tmp_path / "s").lines()}:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    assert end(process) == 0
    wait(lambda: gone(family))
    assert outcome(train(tmp_path / "s", wide())) == good


def test_a_pool_that_is_closed_leaves_no_process():
    before = children(os.getpid())
    with device_executor(1) as pool:
        assert pool.submit(os.getpid).result() in children(os.getpid())
    wait(lambda: not resident(children(os.getpid()) - before))


def resident(pids):
    "Those that are not multiprocessing's own housekeeper, which stays."

    def command(pid):
        try:
            return open(f"/proc/{pid}/cmdline").read()
        except OSError:
            return ""

    return {p for p in pids if "resource_tracker" not in command(p) and not gone({p})}
