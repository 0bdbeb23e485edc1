"What happens between a look at a file and what is done about it."

import warnings

import pytest

from faults.injection import REAL, Tap, real_open
from faults.small import make_plan, train, undisturbed
from flops_fit.trainer.run import Run
from flops_fit.trainer.store import RunStore
from models import outcome


class Meanwhile(Tap):
    "Just before a file is renamed to, or away from, a name, somebody else puts theirs there."

    def __init__(self, path, content):
        super().__init__(path.parent)
        self.path, self.content = str(path), content

    def call(self, kind, paths, act, data=None):
        if kind in ("rename", "link") and self.path in paths and self.content is not None:
            theirs, self.content = self.content, None
            with real_open(f"{self.path}.theirs", "wb") as f:
                f.write(theirs)
            REAL["rename"](f"{self.path}.theirs", self.path)
        return act()


@pytest.fixture
def run(tmp_path):
    "A finished run: (its file, its content)."
    train(tmp_path / "s")
    file = sorted((tmp_path / "s" / "runs").glob("*.json"))[0]
    return file, file.read_bytes()


@pytest.mark.parametrize("bad", [b"", b"{", b"torn"])
def test_a_run_that_came_while_a_torn_one_was_looked_at_is_not_set_aside(bad, run, tmp_path):
    "One process reads a torn file; before it can set it aside another has made the run again."
    file, good = run
    file.write_bytes(bad)
    with Meanwhile(file, good) as tap, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        RunStore(tmp_path / "s").runs()
        assert tap.content is None, "nothing was set aside"
    assert file.exists() and file.read_bytes() == good, "a finished run was set aside: it is lost"


def test_a_finished_run_is_never_replaced(run, tmp_path):
    "Another process finishes the run between our look and our write: the first stays."
    file, good = run
    file.unlink()
    mine = Run.from_json(good)
    with Meanwhile(file, good):
        RunStore(tmp_path / "s").save_run(Run.of(mine, **{**changed(mine), "final_loss": 0.123}))
    assert file.read_bytes() == good, "a finished run was replaced"
    assert outcome(RunStore(tmp_path / "s").runs().values()) == undisturbed()


def changed(run):
    "What came of a run, without its plan."
    planned = make_plan().experiments[0].to_dict()
    return {k: v for k, v in run.to_dict().items() if k not in planned}
