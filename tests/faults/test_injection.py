"""Every k-th call of every kind goes wrong, in every way: nothing is lost, made up or made twice.

`make faults` counts k up until no new call is reached. CI counts the calls of one sweep's life and
takes SAMPLES of each kind, which lie elsewhere for each fault; each test prints which.
"""

import itertools
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from faults import LONG
from faults.injection import FAULTS, KINDS, Carried, Count, Fault, Injector
from faults.leases import PATIENT, quick
from faults.small import (
    Log,
    Partner,
    StopAt,
    check,
    end,
    finished,
    hurry,
    live,
    make_plan,
    start,
    stops,
    train,
    undisturbed,
)
from flops_fit.errors import ContractError
from flops_fit.trainer.sweep import device_executor
from models import outcome

SAMPLES = 2
ERRORS = [what for what in FAULTS if what != "kill"]


def pairs(faults, every=1):
    "(kind, fault, its number); CI takes one pair in `every`."
    both = [p for p in itertools.product(KINDS, faults) if Fault(p[0], 1, p[1]).possible]
    return [
        pytest.param(kind, what, i, id=f"{kind}-{what}")
        for i, (kind, what) in enumerate(both)
        if LONG or i % every == 0
    ]


@pytest.fixture(scope="module")
def calls(tmp_path_factory):
    "How often each kind is called in the sweep's life: {kind: times}."
    folder = tmp_path_factory.mktemp("count")
    with Count(folder) as count, quick(PATIENT):
        live(folder / "s")
    return count.seen


@pytest.fixture(autouse=True)
def short_leases():
    "A process that is killed while it gives a claim back leaves one that has to turn stale."
    with quick(PATIENT):
        yield


class Case:
    "One fault in one folder: the sweep is in `path`; log and mark lie outside the disk."

    def __init__(self, fault, folder):
        self.fault, self.folder, self.disk = fault, folder, folder / "disk"
        self.path, self.mark = self.disk / "s", folder / "mark"
        self.disk.mkdir(parents=True)
        self.log, self.tap = Log(folder / "log", self.path), Injector(self.disk, fault, self.mark)

    @property
    def hit(self):
        "Has it happened, in whatever process?"
        return self.mark.exists()

    def own_steps(self):
        "How many runs this process has begun or ended; a partner writes into the same log."
        return sum(int(pid) == os.getpid() for *_, pid in self.log.lines())

    def part(self, *listeners, **settings):
        """One call of `run_sweep`, with the fault in this process.

        An error comes out of it at its very start or not at all, and what it gives is true.
        """
        seen, self.log.last = self.own_steps(), None
        try:
            with self.tap:
                runs = train(self.path, None, [self.log, *listeners], **settings)
        except (OSError, ContractError) as error:
            assert str(error), "an error without a word"
            assert self.own_steps() == seen, f"out of a sweep that had trained came {error!r}"
            return None

        for run in runs:
            if run.status == "completed":
                assert outcome([run]).items() <= undisturbed().items()
            else:
                assert run.status in ("skipped", "failed"), run
            assert run.status != "failed" or self.excuses(run), run.error_message
        return runs

    def excuses(self, run):
        "A run may fail where its trunk could not be claimed; never where a checkpoint is missed."
        if "save_checkpoint" in run.error_message or not self.hit:
            return False

        return self.fault.what == "full" or not missed(self.mark.read_text())

    def unwritten(self):
        """The run whose file could not be written, if any.

        Its runner keeps it in memory and writes it at the end, when another may be training it.
        """
        stem = Path(self.mark.read_text()).stem if self.hit else ""
        return {e.experiment_id for e in make_plan().experiments if stem.endswith(e.experiment_id)}

    def verify(self):
        "Undisturbed, the sweep ends as if nothing had been."
        there = finished(self.path)
        lost = self.log.saved() - there
        if self.fault.what != "full":  # of a full disk the sweep said what is in memory alone
            assert not lost, "a run whose save had returned is not there"
        again = set(self.log.count("again")) - self.unwritten()
        assert not again, "a finished run was trained again"
        check(self.path, self.folder / "again")


def missed(path):
    "A checkpoint, a curve, a beat: what cannot be written there is missed, and no run fails."
    parts = Path(path).parts
    return any(p in ("checkpoints", "curves", "progress") or ".safetensors" in p for p in parts)


def cases(kind, what, number, calls, tmp_path, samples=SAMPLES, misses=1):
    """A case for each call, until its call was not reached so often in turn; or a sample of them.

    Of two processes the other one may do most of the work: one miss does not say that it is over.
    """
    past, total = 0, max(1, calls[kind])
    spread = sorted({(7 * number + i * total // samples) % total + 1 for i in range(samples)})
    for at in itertools.count(1) if LONG else spread:
        print(f"call {at} of {total}")
        case = Case(Fault(kind, at, what), tmp_path / f"{at}")
        yield case
        past = 0 if case.hit else past + 1
        if LONG and past == misses:
            return
        shutil.rmtree(case.folder)


@pytest.mark.parametrize("kind, what, number", pairs(ERRORS))
def test_an_error_in_one_runner(kind, what, number, calls, tmp_path):
    for case in cases(kind, what, number, calls, tmp_path):
        for stop in stops():
            case.part(StopAt(case.path, *stop))
        case.part()
        case.verify()


def doomed(case):
    "The sweep's whole life, in a process that ends in the midst of it."
    with quick(PATIENT):
        for stop in stops():
            case.part(StopAt(case.path, *stop))
        case.part()


@pytest.mark.parametrize("kind, what, number", pairs(["kill"]))
def test_one_runner_is_killed(kind, what, number, calls, tmp_path):
    for case in cases(kind, what, number, calls, tmp_path):
        code = end(start(doomed, case))
        assert code == (-signal.SIGKILL if case.hit else 0)
        case.verify()


@pytest.fixture(scope="module")
def partner():
    partner = Partner()
    yield partner
    partner.close()


@pytest.mark.parametrize("kind, what, number", pairs(ERRORS, 3))
def test_an_error_in_one_of_two_runners(kind, what, number, calls, tmp_path, partner):
    for case in cases(kind, what, number, calls, tmp_path, 1, 6):
        partner.begin(case.path, case.log)
        with hurry():
            case.part()
        assert partner.wait() == undisturbed()
        assert not case.log.shared(), "two runners trained one run at a time"
        case.verify()


def doomed_beside(case):
    "A sweep beside another's, in a process that ends in the midst of it."
    with hurry(), quick(PATIENT):
        case.part()


@pytest.mark.parametrize("kind, what, number", pairs(["kill"]))
def test_one_of_two_runners_is_killed(kind, what, number, calls, tmp_path, partner):
    for case in cases(kind, what, number, calls, tmp_path, 1, 6):
        process = start(doomed_beside, case)
        while process.is_alive() and not case.path.exists():
            time.sleep(0.001)
        partner.begin(case.path, case.log)
        code = end(process)
        assert partner.wait() == undisturbed()
        assert code == (-signal.SIGKILL if case.hit else 0)
        case.verify()


@pytest.fixture(scope="module")
def pool():
    "A pool that stays."
    with hurry(), device_executor(2) as pool:
        yield pool


@pytest.mark.parametrize("kind, what, number", pairs(ERRORS, 6))
def test_an_error_in_a_worker(kind, what, number, calls, tmp_path, pool):
    for case in cases(kind, what, number, calls, tmp_path, 1, 6):
        runs = train(case.path, None, [case.log, carried(case)], executor=pool)
        assert all(r.status in ("completed", "failed", "skipped") for r in runs)
        assert all(undisturbed()[k] == v for k, v in outcome(runs).items() if v[0] == "completed")
        assert all(case.excuses(r) for r in runs if r.status == "failed"), runs
        assert not case.log.shared(), "two workers trained one run at a time"
        case.verify()


@pytest.mark.parametrize("kind, what, number", pairs(["kill"], 4))
def test_a_worker_is_killed(kind, what, number, calls, tmp_path, pool):
    for case in cases(kind, what, number, calls, tmp_path, 1, 6):
        runs = train(case.path, None, [case.log, carried(case)], executor=pool)
        assert outcome(runs) == undisturbed()
        case.verify()


def carried(case):
    return Carried(case.disk, case.fault, case.mark)
