"A disk that is full, or has no room for one kind of file: what was trained is not lost."

import errno
import json
import os
import warnings

import pytest

from faults.injection import Tap
from faults.small import Log, check, finished, make_plan, undisturbed
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.sweep import TrainingRunner
from models import outcome, xor_task


class NoRoom(Tap):
    "Files whose names hold a word cannot be made or moved to, from a moment on."

    def __init__(self, folder, *words, after=0):
        super().__init__(folder)
        self.words, self.after, self.refused = words, after, 0

    def call(self, kind, paths, act, data=None):
        makes = kind in ("write", "save_file", "rename", "link", "mkdir", "fsync")
        makes = makes or kind == "open" and (data or 0) & os.O_CREAT
        runs = os.path.join(self.folder, "runs")
        full = self.after == 0 or os.path.isdir(runs) and len(os.listdir(runs)) >= self.after
        if makes and full and any(w in os.path.relpath(paths[-1], self.folder) for w in self.words):
            self.refused += 1
            number = errno.ENOSPC
            if kind == "save_file":
                from safetensors import SafetensorError

                raise SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")
            raise OSError(number, os.strerror(number), paths[-1])
        return act()


def runner(path, log, **settings):
    return TrainingRunner(
        output_dir=path, progress=False, on_step=[log], save_every=0.0, **settings
    )


@pytest.mark.parametrize(
    "words",
    [
        ("safetensors",),
        ("weights",),
        ("checkpoints",),
        ("curves", ".csv"),
        ("progress",),
        ("results",),
        ("weights", "checkpoints", "curves", "progress", "results"),
    ],
    ids="+".join,
)
def test_what_cannot_be_written_beside_the_runs_costs_no_run(words, tmp_path):
    path = tmp_path / "s"
    with NoRoom(path, *words) as disk, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        sweep = runner(path, Log(tmp_path / "log", path), weights=True)
        runs = sweep.run_sweep(make_plan(), xor_task())

    assert disk.refused
    assert outcome(runs) == undisturbed() == outcome(RunStore(path).runs().values())
    if words[0] not in ("progress", "curves"):
        assert any("No space left" in str(w.message) for w in heard), "nobody was told"
    check(path, tmp_path / "again")


def test_a_disk_that_is_full_from_the_second_run_on_loses_nothing(tmp_path):
    path, log = tmp_path / "s", Log(tmp_path / "log", tmp_path / "s")
    sweep = runner(path, log, weights=True)
    with NoRoom(path, "", after=2), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        runs = sweep.run_sweep(make_plan(), xor_task())
    done = {k: v for k, v in outcome(runs).items() if v[0] == "completed"}

    assert len(finished(path)) == 2
    assert done.items() <= undisturbed().items()
    assert len(done) == 3, "what was trained when the disk was full is not in hand"
    assert any("could not be written" in str(w.message) for w in heard)
    assert not [r for r in runs if r.status == "failed" and "safetensors" in r.error_message]

    before = log.count("ended")
    runs = sweep.run_sweep(make_plan(), xor_task())  # there is room again
    assert outcome(runs) == undisturbed() == outcome(RunStore(path).runs().values())
    after = log.count("ended")
    assert all(after[k] == before[k] for k in done), "what was in memory was trained again"
    assert [r["status"] for r in json.loads((path / "results.json").read_text())] == [
        "completed"
    ] * 6
