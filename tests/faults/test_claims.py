"A trunk has one holder at a time, whatever becomes of it; an unreadable claim holds nobody up."

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings

import pytest

from faults.injection import Tap
from faults.leases import BEAT, STALE, quick
from faults.processes import state, wait
from faults.small import (
    Log,
    append,
    check,
    end,
    files,
    finished,
    hurry,
    limits,
    make_plan,
    start,
    train,
    undisturbed,
)
from flops_fit.trainer.store import RunStore
from models import outcome


class At:
    "A listener that does something, once, at a step of a run."

    def __init__(self, run, step, act):
        self.at, self.act = (run, step), act

    def __call__(self, step):
        if (step.experiment.experiment_id, step.step) == self.at:
            self.act()


def holder(path, log, told, act, where, tap=None):
    "A sweep in which something happens at a step; what it warns of goes to a file."
    with quick(), hurry(), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with tap or warnings.catch_warnings():
            train_aloud(path, [log, At(*where, act)])
        for warning in heard:
            append(told, str(warning.message).replace("\n", " "))


def train_aloud(path, listeners):
    from flops_fit.trainer.sweep import TrainingRunner
    from models import xor_task

    runner = TrainingRunner(output_dir=path, progress=False, on_step=listeners)
    return runner.run_sweep(make_plan(), xor_task())


def middle():
    "(run, step): in the cooldown of the first trunk's second run."
    e = next(iter(make_plan().trunks.values()))[1]
    return e.experiment_id, e.num_steps - 2


def stop_myself():
    os.kill(os.getpid(), signal.SIGSTOP)


@pytest.mark.parametrize("where", ["second run", "last step of all"])
def test_an_owner_that_was_stopped_for_long_and_goes_on_writes_nothing(where, tmp_path):
    path, log, told = tmp_path / "s", Log(tmp_path / "log", tmp_path / "s"), tmp_path / "told"
    last = next(iter(make_plan().trunks.values()))[-1]
    at = middle() if where == "second run" else (last.experiment_id, last.num_steps)
    owner = start(holder, path, log, told, stop_myself, at)
    wait(lambda: state(owner.pid) == "T")
    try:
        time.sleep(2 * STALE)
        with quick(), hurry(), limits(60):
            runs = train(path, None, [Log(tmp_path / "other", path)])
        assert outcome(runs) == undisturbed()
        before = snapshot(path)
    finally:
        os.kill(owner.pid, signal.SIGCONT)

    assert end(owner) == 0
    after = snapshot(path)
    assert {k: v for k, v in after.items() if k not in ("results.json", "plan.json")} == {
        k: v for k, v in before.items() if k not in ("results.json", "plan.json")
    }
    assert "taken over" in told.read_text()
    assert outcome(RunStore(path).runs().values()) == undisturbed()


def snapshot(path):
    "Every file of a sweep but those that only say who is at work: {name: content}."
    return {
        p.relative_to(path).as_posix(): p.read_bytes()
        for p in path.rglob("*")
        if p.is_file() and p.relative_to(path).parts[0] not in ("locks", "progress")
    }


class WeakPulse(Tap):
    "The first beats cannot be written."

    def __init__(self, folder, times):
        super().__init__(folder)
        self.args, self.times = (folder, times), times

    def call(self, kind, paths, act, data=None):
        if kind == "utime" and self.times:
            self.times -= 1
            raise OSError(errno.EIO, "Input/output error", paths[-1])
        return act()


def rest():
    "As long as three claims without a beat would last."
    time.sleep(0.1)  # the sleeps of this process are cut short: this one is many of them
    until = time.monotonic() + 3 * STALE
    while time.monotonic() < until:
        time.sleep(0.02)


@pytest.mark.parametrize("times", [1, 3])
def test_a_beat_that_fails_is_tried_again(times, tmp_path):
    path, log, told = tmp_path / "s", Log(tmp_path / "log", tmp_path / "s"), tmp_path / "told"
    pulse = WeakPulse(path, times)
    owner = start(holder, path, log, told, rest, middle(), pulse)
    wait(lambda: middle()[0] in log.count("began") or not owner.is_alive())
    with quick(), hurry(), limits(60):
        runs = train(path, None, [Log(log.file, path)])

    assert end(owner) == 0
    assert outcome(runs) == undisturbed()
    assert not log.shared() and not log.count("again")
    assert set(log.count("ended").values()) == {1}, "a run was made twice"


ELSEWHERE = """
import sys
sys.path[:0] = sys.argv[3].split(":")
from faults.small import *
with hurry():
    runs = train(sys.argv[1], None, [Log(sys.argv[2], sys.argv[1])])
assert outcome(runs) == undisturbed()
"""


@pytest.mark.parametrize("who", ["claims", "holds"])
def test_another_pid_namespace_with_this_hostname_is_another_machine(who, tmp_path):
    "Its process ids mean nothing here: who is alive there looks dead from here, and the reverse."
    apart = ["unshare", "--pid", "--fork", "--kill-child"]
    can = shutil.which("unshare") and subprocess.run([*apart, "true"], capture_output=True)
    if not can or can.returncode:
        pytest.skip("no PID namespace can be made here")

    path, log, go = tmp_path / "s", Log(tmp_path / "log", tmp_path / "s"), tmp_path / "go"
    paths = ":".join(p for p in sys.path if p)
    run, step = middle()
    code = (
        ELSEWHERE
        if who == "claims"
        else ELSEWHERE.replace(
            "Log(sys.argv[2], sys.argv[1])]",
            f"Log(sys.argv[2], sys.argv[1]), Held({run!r}, {step}, {str(go)!r})]",
        )
    )
    command = [*apart, sys.executable, "-c", code, path, log.file, paths]
    other = lambda: subprocess.Popen(command)
    ours = lambda: start(sweep_held, path, log, run, step, str(go))
    here = lambda: start(sweep_held, path, log, None, 0, str(go))
    owner = ours() if who == "claims" else other()
    wait(lambda: run in log.count("began"))
    guest = other() if who == "claims" else here()
    try:
        others = {e.experiment_id for e in make_plan()} - {
            e.experiment_id for e in next(iter(make_plan().trunks.values()))
        }
        wait(lambda: others <= finished(path))  # all that is free is done: it looks at what is held
        time.sleep(2)
        assert log.count("began")[run] == 1, "it was taken from its owner, who is alive"
    finally:
        go.touch()
        codes = [p.wait(120) if isinstance(p, subprocess.Popen) else end(p) for p in (owner, guest)]

    assert codes == [0, 0]
    assert not log.shared() and not log.count("again")
    assert set(log.count("ended").values()) == {1}, "a run was made twice"


def sweep_held(path, log, run, step, go):
    from faults.small import Held

    with hurry():
        train(path, None, [log, *([Held(run, step, go)] if run else [])])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b'{"host": "a',
        b"[1]",
        b"null",
        b"\xff\x00",
        b'{"host": 3, "pid": "x"}',
        b'{"host": "a", "pid": -1}',
        b'{"host": "a", "pid": 1e99}',
        b"9" * 5000,
        None,
    ],
)
@pytest.mark.parametrize("old", [True, False], ids=["long ago", "just now"])
def test_a_claim_that_cannot_be_read_holds_nobody_up(content, old, tmp_path):
    path = tmp_path / "s"
    owner = start(
        holder, path, Log(tmp_path / "log", path), tmp_path / "told", kill_myself, middle()
    )
    assert end(owner) == -signal.SIGKILL
    spoilt = 0
    for file in sorted(p for p in (path / "locks").rglob("*") if p.is_file()):
        spoilt += 1
        if content is None:  # a folder in its place
            file.unlink()
            file.mkdir()
        else:
            file.write_bytes(content)
        if old:
            os.utime(file, (time.time() - 3600,) * 2)
            os.utime(file.parent, (time.time() - 3600,) * 2)
    assert spoilt

    with quick(), hurry(), limits(60):
        check(path, tmp_path / "again")


def kill_myself():
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_claim_of_a_machine_with_another_boot_is_void(tmp_path):
    "A machine that was started again: its process ids are others' now, and its owners are gone."
    path = tmp_path / "s"
    owner = start(
        holder, path, Log(tmp_path / "log", path), tmp_path / "told", kill_myself, middle()
    )
    assert end(owner) == -signal.SIGKILL
    changed = 0
    for file in (p for p in (path / "locks").rglob("*") if p.is_file()):
        said = json.loads(file.read_text())
        for key in said:
            if "boot" in key:
                said[key], changed = "0" * len(str(said[key])), changed + 1
            if key == "pid":
                said[key] = os.getpid()  # alive
        file.write_text(json.dumps(said))
        os.utime(file, (time.time() - 2 * STALE,) * 2)
    assert changed, "no claim names the boot it was made in"
    for folder in (p for p in (path / "locks").rglob("*") if p.is_dir()):
        os.utime(folder, (time.time() - 2 * STALE,) * 2)

    with quick(), hurry(), limits(60):
        check(path, tmp_path / "again")


@pytest.mark.parametrize("ahead", [-3600, 0, 3600])
def test_another_machines_claim_turns_stale_whatever_its_clock_says(ahead, tmp_path):
    path = tmp_path / "s"
    owner = start(
        holder, path, Log(tmp_path / "log", path), tmp_path / "told", kill_myself, middle()
    )
    assert end(owner) == -signal.SIGKILL
    when = (time.time() + ahead,) * 2
    for file in (p for p in (path / "locks").rglob("*") if p.is_file()):
        file.write_text(json.dumps({**json.loads(file.read_text()), "host": "another-machine"}))
        os.utime(file, when)
    for folder in (p for p in (path / "locks").rglob("*") if p.is_dir()):
        os.utime(folder, when)

    with quick(), hurry(), limits(60):
        check(path, tmp_path / "again")


def test_a_process_id_that_was_given_again_holds_nothing(tmp_path):
    "The owner is dead, and its number is another's, who lives."
    path = tmp_path / "s"
    owner = start(
        holder, path, Log(tmp_path / "log", path), tmp_path / "told", kill_myself, middle()
    )
    assert end(owner) == -signal.SIGKILL
    for file in (p for p in (path / "locks").rglob("*") if p.is_file()):
        said = json.loads(file.read_text())
        assert "pid" in said
        file.write_text(json.dumps({**said, "pid": os.getpid()}))

    with hurry(), limits(30):  # at once, not after the sixty seconds of a claim without beats
        check(path, tmp_path / "again")


def test_nothing_is_left_of_claims_when_a_sweep_has_ended(tmp_path):
    path = tmp_path / "s"
    owner = start(
        holder, path, Log(tmp_path / "log", path), tmp_path / "told", kill_myself, middle()
    )
    assert end(owner) == -signal.SIGKILL
    train(path)
    assert not [p for p in (path / "locks").rglob("*") if p.is_file()], "claims are left"
    assert set(files(path)) == set(undisturbed())
    assert BEAT < STALE
