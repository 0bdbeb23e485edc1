"""A sweep of thousands of trunks: what is done for each of them does not grow with their number.

CI counts what is asked of the disk, which is the same on a busy machine; `make faults` takes times
too, and makes a sweep of 5,000 trunks.
"""

import os
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import replace

import pytest

import flops_fit.trainer.train
from faults import LONG
from faults.small import make_plan
from flops_fit.planner.plan import own_steps
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.run import Run
from flops_fit.trainer.sweep import TrainingRunner
from models import xor_task

ASKED = ("open", "stat", "lstat", "rename", "unlink", "mkdir", "rmdir", "fsync", "utime")


def many(trunks):
    "A plan of so many trunks, with two runs each."
    template = make_plan((1e5, 2e5), (4,))
    rows = [
        replace(e, experiment_id=f"{i:06d}{e.experiment_id[:6]}", trunk=f"trunk{i:06d}", seed=i)
        for i in range(trunks)
        for e in template
    ]
    return replace(template, experiments=rows)


def quick_trunk(task, experiments, recipe, device=None, done=None, **rest):
    "A trainer of no time: what `train_trunk` is asked, without a model."
    es = sorted(experiments, key=lambda e: e.num_steps)
    runs = []
    for e, steps in zip(es, own_steps(es, recipe)):
        cost = steps * e.tokens_per_step * e.flops_per_token
        runs.append(
            Run.of(
                e,
                status="completed",
                final_loss=1.0 + 1 / e.num_steps,
                own_steps=steps,
                actual_flops=cost,
                recipe=recipe.to_dict(),
            )
        )
        done(runs[-1], [(1, 8, 0.005, 0.7)])
    return runs


@pytest.fixture(autouse=True)
def no_training(monkeypatch):
    monkeypatch.setattr(flops_fit.trainer.train, "train_trunk", quick_trunk)


@contextmanager
def asked(monkeypatch):
    "Counts what is asked of the disk, and the names that listings gave."
    count = Counter()

    def counted(name, real):
        def call(*args, **kwargs):
            count[name] += 1
            return real(*args, **kwargs)

        return call

    def listed(real):
        def call(*args):
            names = real(*args)
            count["listed"] += len(names)
            return names

        return call

    with monkeypatch.context() as m:
        for name in ASKED:
            m.setattr(os, name, counted(name, getattr(os, name)))
        m.setattr(os, "listdir", listed(os.listdir))
        yield count


def sweep(path, plan, runner=None):
    runner = runner or TrainingRunner(output_dir=path, progress=False)
    runs = runner.run_sweep(plan, xor_task())
    assert {r.status for r in runs} == {"completed"} and len(runs) == len(plan)
    return runs


@pytest.mark.parametrize("phase", ["from nothing", "half done", "all done"])
def test_what_is_asked_of_the_disk_grows_with_the_trunks_alone(phase, tmp_path, monkeypatch):
    counts = {}
    for n in (50, 100):
        plan, path = many(n), tmp_path / f"{n}"
        if phase != "from nothing":
            share = n if phase == "all done" else n // 2
            sweep(path, many(share))
        with asked(monkeypatch) as count:
            sweep(path, plan)
        counts[n] = count

    for what in counts[100]:
        assert counts[100][what] <= 2.1 * counts[50][what] + 20, (what, counts)
    assert sum(counts[100].values()) <= 100 * 200, "more than two hundred calls a trunk"
    print({k: v / 100 for k, v in counts[100].items()})


def test_looking_at_progress_reads_no_run_twice(tmp_path, monkeypatch):
    "What a monitor asks once a second must not read every file each time."
    from flops_fit.trainer.progress import SweepProgress

    plan = many(100)
    sweep(tmp_path / "s", plan)
    progress = SweepProgress(plan, RunStore(tmp_path / "s"), show=False)
    progress.work()
    with asked(monkeypatch) as count:
        progress.work()
    assert count["open"] <= 5


def seconds(path, plan):
    begun = time.process_time()
    sweep(path, plan)
    return time.process_time() - begun


@pytest.mark.skipif(not LONG, reason="takes times: make faults")
def test_time_grows_with_the_trunks_alone(tmp_path):
    sweep(tmp_path / "warm", many(50))
    times = {
        n: min(seconds(tmp_path / f"{n}-{i}", many(n)) for i in range(2)) for n in (1000, 2000)
    }
    print(times)
    assert times[2000] <= 2.6 * times[1000], times


@pytest.mark.skipif(not LONG, reason="a sweep of 5,000 trunks: make faults")
def test_five_thousand_trunks(tmp_path):
    plan = many(5000)
    first = seconds(tmp_path / "s", plan)
    again = seconds(tmp_path / "s", plan)
    print(f"5,000 trunks: {first:.1f} s, and {again:.1f} s to find that nothing is left to do")
    assert first < 300 and again < first / 2
