"""The sweep that faults are tried on: six runs of two trunks, a tenth of a second in all.

Its life has three parts, so that every kind of checkpoint is written and read: it is stopped in a
cooldown, goes on, is stopped in a trunk, and goes on to its end.
"""

import contextlib
import multiprocessing
import os
import resource
import signal
import tempfile
import time
import warnings
from collections import Counter
from functools import lru_cache
from pathlib import Path

import torch

from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.planner.recipe import Recipe
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.sweep import TrainingRunner
from models import outcome, xor_task

# batch and warmup are fixed, so that a budget that is added changes no trunk
RECIPE = Recipe(min_steps=12, batch_tokens=8, warmup_tokens=16, eval_tokens=400)
BUDGETS = (1e5, 2e5, 4e5)


@lru_cache
def make_plan(budgets=BUDGETS, sizes=(4, 8)):
    "The plan: the runs of a size are one trunk."
    return plan_sweep(xor_task(), compute_budgets=budgets, sizes=sizes, recipe=RECIPE)


def train(path, plan=None, listeners=(), task=None, **settings):
    "Run the sweep in a folder, without a word. Gives its runs."
    torch.set_num_threads(1)
    runner = TrainingRunner(output_dir=path, progress=False, on_step=list(listeners), **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return runner.run_sweep(plan or make_plan(), task or xor_task())


@lru_cache
def undisturbed():
    "What comes of the plan when nothing goes wrong: {experiment_id: (status, loss, L0)}."
    with tempfile.TemporaryDirectory() as folder:
        runs = train(Path(folder) / "s")

    assert {r.status for r in runs} == {"completed"}
    return outcome(runs)


def stops():
    "Where the life's two stops fall: (experiment_id, step) in a cooldown, then in a trunk."
    first, second = make_plan().trunks.values()
    cooling, trunk = first[1], second[-1]
    middle = trunk.num_steps // 2
    return (cooling.experiment_id, cooling.num_steps - 2), (trunk.experiment_id, middle)


def live(path, listeners=(), **settings):
    "The sweep's whole life. Gives the runs of each of its three parts."
    parts = [train(path, None, [*listeners, StopAt(path, *stop)], **settings) for stop in stops()]
    return [*parts, train(path, None, listeners, **settings)]


# The functions as they are before anything is put in their place.
_open, _write, _close, _utime = os.open, os.write, os.close, os.utime


def append(file, line):
    "Add a line to a file, whatever else is made to fail; whole, though many processes write."
    fd = _open(file, os.O_CREAT | os.O_APPEND | os.O_WRONLY)
    try:
        _write(fd, f"{line}\n".encode())
    finally:
        _close(fd)


class StopAt:
    "A listener that stops the sweep, once, when a run comes to a step."

    def __init__(self, path, experiment_id, step):
        self.file, self.at = str(Path(path) / "stop"), (experiment_id, step)

    def __call__(self, step):
        if (step.experiment.experiment_id, step.step) == self.at:
            _close(_open(self.file, os.O_CREAT | os.O_WRONLY))
            _utime(self.file)


class Log:
    """A listener that notes, outside the folder, which runs were begun and ended, and by whom.

    A run that is begun although its folder has it already is noted as made `again`.
    """

    def __init__(self, file, path):
        self.file, self.path, self.last = str(file), str(path), None

    def __call__(self, step):
        e, me = step.experiment, os.getpid()
        if e.experiment_id != self.last:
            append(self.file, f"began {e.experiment_id} {me}")
            if is_finished(f"{self.path}/runs/{e.experiment_id}.json"):
                append(self.file, f"again {e.experiment_id} {me}")
        if step.step == e.num_steps:
            append(self.file, f"ended {e.experiment_id} {me}")
        self.last = e.experiment_id

    def lines(self):
        "(what, run, pid) of each note."
        text = Path(self.file).read_text() if Path(self.file).exists() else ""
        return [tuple(line.split()) for line in text.splitlines()]

    def count(self, what):
        "{run: how often it was begun, ended or made again}."
        return Counter(run for w, run, _ in self.lines() if w == what)

    def saved(self):
        "Runs whose save had returned: the same process began another one afterwards."
        out, ended = set(), {}
        for what, run, pid in self.lines():
            if what == "began":
                out |= ended.pop(pid, set())
            elif what == "ended":
                ended.setdefault(pid, set()).add(run)
        return out

    def shared(self):
        "Runs that one process began before another, which had begun them too, had ended them."
        out, holder = set(), {}
        for what, run, pid in self.lines():
            if what == "began" and holder.setdefault(run, pid) != pid:
                out.add(run)
            if what == "ended" and holder.get(run) == pid:
                del holder[run]
        return out


def is_finished(file):
    "Does this file hold a run that need not be made again?"
    try:
        fd = _open(file, os.O_RDONLY)
    except OSError:
        return False

    try:
        said = os.read(fd, 2**20)
    finally:
        _close(fd)
    return b'"completed"' in said or b'"diverged"' in said


def files(path):
    "Run files of a folder as they lie there: {experiment_id: bytes}."
    return {f.stem: f.read_bytes() for f in (Path(path) / "runs").glob("*.json") if f.is_file()}


def finished(path):
    "Ids of the runs that a folder has; reading them may warn."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return set(RunStore(path).finished())


def check(path, log_file, **settings):
    "Run the sweep once more, undisturbed: nothing is lost, made up, or made again."
    kept = finished(path)
    before = {k: v for k, v in files(path).items() if k in kept}
    log = Log(log_file, path)
    runs = train(path, None, [log], **settings)

    assert outcome(runs) == undisturbed()
    assert outcome(RunStore(path).runs().values()) == undisturbed()
    after = files(path)
    assert {k: after.get(k) for k in before} == before, "a finished run's file has changed"
    assert not set(log.count("began")) & kept, "a finished run was trained again"
    assert max(log.count("ended").values(), default=1) == 1, "a run was trained twice"


@lru_cache
def context():
    "Processes forked from a server that has imported everything and computed nothing."
    context = multiprocessing.get_context("forkserver")
    needed = [
        "torch._dynamo",
        "safetensors.torch",
        "flops_fit.trainer.sweep",
        "flops_fit.trainer.train",
    ]
    context.set_forkserver_preload([*needed, "faults.small", "faults.injection"])
    return context


def start(function, *args):
    "Begin `function(*args)` in a process of its own, without a core file if it dies."
    process = context().Process(target=_quietly, args=(function, args))
    process.start()
    return process


def _quietly(function, args):
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    torch.set_num_threads(1)
    try:
        function(*args)
    except KeyboardInterrupt:
        raise SystemExit(1) from None


def end(process, seconds=120):
    "Wait for a process; gives how it ended."
    process.join(seconds)
    if process.is_alive():
        process.kill()
        process.join()
        raise AssertionError(f"the process was still at work after {seconds} s")

    return process.exitcode


@contextlib.contextmanager
def limits(seconds=20, gigabytes=2):
    "What is done in here takes no longer and no more memory: a hang is an error, not a wait."

    def late(number, frame):
        raise TimeoutError(f"still at work after {seconds} s")

    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    resource.setrlimit(resource.RLIMIT_AS, (used + gigabytes * 2**30, hard))
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextlib.contextmanager
def hurry(longest=0.02):
    "Nobody sleeps long: sweeps that wait for each other, or for a pool, look again at once."
    real, wait = time.sleep, TrainingRunner._wait
    time.sleep = lambda seconds: real(min(seconds, longest))
    TrainingRunner._wait = lambda runner, stop: real(longest)
    try:
        yield
    finally:
        time.sleep, TrainingRunner._wait = real, wait


class Partner:
    "A process that stays, and runs the sweep in any folder it is told of."

    def __init__(self):
        self.ours, theirs = context().Pipe()
        self.process = start(_serve, theirs)
        self.at_work = False

    def begin(self, path, log):
        "Begin; where a test ended without waiting, its sweep is over first."
        if self.at_work:
            self.wait()
        self.ours.send((path, log))
        self.at_work = True

    def wait(self, seconds=600):
        "The outcome, or the error."
        assert self.ours.poll(seconds), f"the other runner was still at work after {seconds} s"
        self.at_work = False
        return self.ours.recv()

    def close(self):
        self.ours.close()
        end(self.process)


def _serve(pipe):
    from faults.leases import PATIENT, quick

    with hurry(), quick(PATIENT):
        while True:
            try:
                path, log = pipe.recv()
            except (EOFError, ConnectionResetError):
                return

            log.last = None
            try:
                pipe.send(outcome(train(path, None, [log])))
            except Exception as error:
                pipe.send(repr(error))


class Held:
    "A listener that waits at a step of a run until a file is there."

    def __init__(self, run, step, file):
        self.at, self.file = (run, step), file

    def __call__(self, step):
        if (step.experiment.experiment_id, step.step) == self.at:
            while not os.path.exists(self.file):
                time.sleep(0.02)
