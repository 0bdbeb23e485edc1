"""The power goes after any call of a sweep's life, and the disk keeps what it had to keep, no more.

The life is recorded once; then every state that a cut may leave is built anew and opened, and the
sweep is resumed in some of them: one in RESUME. CI takes CUTS of the calls, spread evenly.
"""

import os
import pickle
import shutil
import warnings

import pytest

from faults import LONG
from faults.replay import Cut, Recorder, build
from faults.small import check, end, live, make_plan, start, undisturbed
from flops_fit.planner.plan import SweepPlan
from flops_fit.trainer.store import RunStore, load_checkpoint
from models import outcome, xor_task

CUTS, RESUME = (None, 1) if LONG else (16, 25)
PARTS = 8  # of the life, so that a report comes now and then


def record(disk, file):
    "A sweep's life, recorded, in a process that is gone when it is replayed."
    with Recorder(disk) as recorder:
        live(disk / "s", [Promises(recorder, disk / "s")], weights=True)
        Promises(recorder, disk / "s")()
    file.write_bytes(pickle.dumps((recorder.root, recorder.ops)))


class Promises:
    "A listener that notes what it finds saved: the sweep goes on, so it must be safe."

    def __init__(self, recorder, path):
        self.recorder, self.runs, self.last = recorder, path / "runs", None

    def __call__(self, step=None):
        names = os.listdir(self.runs) if os.path.isdir(self.runs) else []
        there = {name[:-5] for name in names if name.endswith(".json") and name[0] != "."}
        if there != self.last:
            self.recorder.say(there)
        self.last = there


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("life")
    (folder / "disk").mkdir()
    assert end(start(record, folder / "disk", folder / "record")) == 0
    return pickle.loads((folder / "record").read_bytes())


def test_the_record_is_true(recorded, tmp_path):
    "Without a cut, the folder that is rebuilt is the one that was trained, with all its runs."
    root, ops = recorded
    _, tree = next(Cut(root, ops).states())
    build(tree, tmp_path / "disk")

    assert outcome(RunStore(tmp_path / "disk" / "s").runs().values()) == undisturbed()
    assert len([op for op in ops if op.what == "said"]) == len(undisturbed()) + 1
    assert {op.what for op in ops} == {"enter", "leave", "data", "sync", "said"}


@pytest.mark.parametrize("part", range(PARTS))
def test_whatever_a_cut_leaves_is_opened(part, recorded, tmp_path):
    root, ops = recorded
    cuts = range(len(ops), 0, -(len(ops) // CUTS if CUTS else 1))
    opened = 0
    for cut in cuts[part::PARTS]:
        at = Cut(root, ops[:cut])
        for told, tree in at.states():
            opened += 1
            build(tree, tmp_path / "disk")
            try:
                look(tmp_path / "disk" / "s", at)
                if opened % RESUME == 0:
                    check(tmp_path / "disk" / "s", tmp_path / f"log{opened}-{cut}")
            except BaseException as error:
                error.add_note(f"power cut after {cut} of {len(ops)} operations: {told}")
                raise

            shutil.rmtree(tmp_path / "disk")
    assert opened


def look(path, cut):
    "Every run there is true, and those that had been promised are there."
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        store = RunStore(path)
        runs, finished = store.runs(), store.finished()

    promised = cut.promised[-1] if cut.promised else set()
    assert outcome(runs.values()).items() <= undisturbed().items(), "a run was made up"
    assert promised <= set(finished), "a run was lost"
    if cut.promised:
        assert SweepPlan.load(path / "plan.json").experiments == make_plan().experiments
    for e in (es[-1] for es in make_plan().trunks.values()):
        if e.experiment_id in finished:
            model = xor_task().build(e.size_param_value)
            info, _ = load_checkpoint(path / "weights" / e.experiment_id, model)
            assert info is not None, "a run is there without the weights that were asked for"
