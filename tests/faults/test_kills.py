"""Sweeps whose processes get signals at random moments: every signal, in parents and in workers.

`make faults` sends at least 200; CI a sample. Which moments is drawn from a seed that is printed.
"""

import os
import random
import shutil
import signal
import time

import pytest

from faults import LONG
from faults.leases import PATIENT, quick
from faults.mortals import Slow
from faults.processes import children, gone, state, wait
from faults.small import Log, end, files, finished, hurry, make_plan, start, train
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.sweep import device_executor
from models import outcome

SIGNALS = [
    signal.SIGKILL,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGSTOP,
    signal.SIGSEGV,
    signal.SIGABRT,
    signal.SIGHUP,
]
PARENTS, WORKERS = (160, 60) if LONG else (9, 5)


def plan():
    "Eighteen runs of six trunks."
    return make_plan(sizes=(4, 6, 8, 10, 12, 14))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    runs = train(tmp_path_factory.mktemp("good") / "s", plan())
    assert {r.status for r in runs} == {"completed"} and len(runs) == 18
    return outcome(runs)


def alone(path, log, plan):
    with quick(PATIENT), hurry():
        train(path, plan, [log, Slow(0.003)], save_every=0.02)


def with_workers(path, log, plan):
    with quick(PATIENT), hurry(), device_executor(2) as pool:
        train(path, plan, [log, Slow(0.01)], executor=pool, save_every=0.02)


def send(pid, number):
    "Whether it got it: a process may end between our look and our signal."
    if state(pid) in (None, "Z"):
        return False
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    if number == signal.SIGSTOP:
        time.sleep(random.random() * 0.3)
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    return True


def nothing_changed(path, seen, log):
    "A run that is there stays as it is, and is never begun again."
    there = finished(path)
    for run, content in files(path).items():
        if run in there:
            assert seen.setdefault(run, content) == content, "a finished run was made again"
    assert set(seen) <= there, "a finished run was lost"
    assert not log.count("again"), "a finished run was trained again"


def draw(name):
    seed = random.randrange(10**6) if LONG else 11
    print(f"{name}: seed {seed}")
    return random.Random(seed)


def test_signals_to_runners_that_share_a_folder(good, tmp_path):
    "Two runners; one at random gets a signal at a random moment, and is begun again if it ended."
    rng, sent, rounds = draw("runners"), 0, 0
    todo = [SIGNALS[i % len(SIGNALS)] for i in range(PARENTS)]
    rng.shuffle(todo)
    while todo:
        rounds += 1
        assert rounds < 20 * PARENTS
        path = tmp_path / f"{rounds}" / "s"
        log, seen = Log(tmp_path / f"log{rounds}", path), {}
        runners = [start(alone, path, log, plan()) for _ in range(2)]
        while todo and any(r.is_alive() for r in runners):
            time.sleep(0.05 + rng.random() * 0.4)
            i = rng.randrange(2)
            if not send(runners[i].pid, todo[-1]):
                continue
            number, sent = todo.pop(), sent + 1
            if number != signal.SIGSTOP:
                end(runners[i])
                runners[i] = start(alone, path, log, plan())
            nothing_changed(path, seen, log)

        for runner in runners:
            assert end(runner) == 0
        nothing_changed(path, seen, log)
        assert outcome(RunStore(path).runs().values()) == good
        shutil.rmtree(path)
    assert sent == PARENTS


def test_signals_to_workers_and_their_parents(good, tmp_path):
    "A pool; its parent or one of its workers gets a signal. The sweep is begun again until done."
    rng, sent, rounds = draw("workers"), 0, 0
    todo = [SIGNALS[i % len(SIGNALS)] for i in range(WORKERS)]
    rng.shuffle(todo)
    while todo:
        rounds += 1
        assert rounds < 20 * WORKERS
        path = tmp_path / f"{rounds}" / "s"
        log, seen = Log(tmp_path / f"log{rounds}", path), {}
        while todo and finished(path) != set(good):
            sent += one_pool(path, log, todo, rng)
            nothing_changed(path, seen, log)

        assert outcome(train(path, plan())) == good
        nothing_changed(path, seen, log)
        shutil.rmtree(path)
    assert sent == WORKERS


def one_pool(path, log, todo, rng):
    "One life of a pool, with signals until its parent has ended. Gives how many were sent."
    sent, lines = 0, len(log.lines())
    parent = start(with_workers, path, log, plan())
    wait(lambda: len(log.lines()) > lines or not parent.is_alive(), 120)
    family = children(parent.pid)
    while todo and parent.is_alive():
        time.sleep(0.05 + rng.random() * 0.5)
        family |= children(parent.pid)
        workers = [int(pid) for _, _, pid in log.lines()[lines:]]
        target = parent.pid if rng.random() < 0.3 or not workers else rng.choice(workers)
        if not send(target, todo[-1]):
            continue
        number, sent = todo.pop(), sent + 1
        if target == parent.pid and number != signal.SIGSTOP:
            break
    end(parent)
    wait(lambda: gone(family - {parent.pid}), 60)
    return sent
