"""Every kind of file, damaged in every way: the sweep ends as if nothing were, or names the file.

CI takes one damage in STRIDE for each kind of file, each kind beginning with another.
"""

import json
import os
import shutil
import signal
import time
import warnings
from dataclasses import replace

import pytest

from faults import LONG
from faults.damage import DAMAGES, done_to, remove
from faults.leases import quick
from faults.small import (
    Log,
    StopAt,
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
from flops_fit.trainer.calibration import Calibration
from flops_fit.errors import ContractError
from flops_fit.planner.recipe import PowerRate, Recipe
from models import outcome

KINDS = {
    "plan": "plan.json",
    "run": "runs/*.json",
    "curve": "curves/*.csv",
    "results": "results.json",
    "trunk": "checkpoints/**/trunk.safetensors",
    "branch": "checkpoints/**/branch.safetensors",
    "claim": "locks/**/owner.json",
    "beat": "progress/*.json",
    "weights": "weights/**/*.safetensors",
    "calibration": "calibration.json",
    "stop": "stop",
}
STRIDE = 1 if LONG else 5
WORST = {"zero", "huge", "fifo"}  # these once hung or killed the reader


def cases():
    for i, kind in enumerate(KINDS):
        for j, damage in enumerate(DAMAGES):
            if (i + j) % STRIDE == 0 or damage in WORST and kind in ("run", "trunk"):
                yield pytest.param(kind, damage, id=f"{kind}-{damage}")


def half_done(path, plan):
    "A sweep that is killed in the midst of a cooldown, with one of everything in its folder."
    first, second = plan.trunks.values()
    train(path, plan, [StopAt(path, first[0].experiment_id, 5)], weights=True, save_every=0.0)
    found = Calibration(
        [dict(size=4, num_params=78, num_tokens=856, lr=0.005, loss=0.69)],
        [dict(size=4, num_params=78, lr=0.005, edge=False)],
        PowerRate(0.005, -0.3),
        Recipe(),
        "key",
    )
    found.save(path / "calibration.json")
    last = second[-1]
    kill = Kill((last.experiment_id, last.num_steps - 2))
    train(path, plan, [kill], weights=True, save_every=0.0)


class Kill:
    "A listener that ends its process at a step, once it is sure to have said how far it is."

    def __init__(self, at):
        self.at = at

    def __call__(self, step):
        here = step.experiment.experiment_id, step.step
        if here == (self.at[0], self.at[1] - 1):
            time.sleep(0.4)
        if here == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    "(a sweep, another one with other runs of the same shape), both killed half-way."
    folder = tmp_path_factory.mktemp("half")
    other = make_plan()
    rows = [
        replace(e, experiment_id=e.experiment_id[::-1], trunk=e.trunk[::-1], seed=1) for e in other
    ]
    other = replace(other, experiments=rows)
    for name, plan in (("mine", make_plan()), ("other", other)):
        assert end(start(half_done, folder / name, plan)) == -signal.SIGKILL
        for kind, pattern in KINDS.items():
            assert list((folder / name).glob(pattern)), f"the template has no {kind}"
    return folder / "mine", folder / "other"


@pytest.mark.parametrize("kind, damage", list(cases()))
def test_the_end_is_the_same_or_the_file_is_named(kind, damage, template, tmp_path):
    path = tmp_path / "s"
    shutil.copytree(template[0], path, symlinks=True)
    file = sorted(path.glob(KINDS[kind]))[0]
    other = sorted(template[1].glob(KINDS[kind]))[0]
    whole = {k: v for k, v in files(path).items() if k in finished(path) and k != file.stem}

    with quick(), hurry(), limits(30), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with done_to(file, damage, other):
            if kind == "calibration":
                return calibrated(file, template[0])
            try:
                runs = train(path, None, [Log(tmp_path / "log", path)], weights=True)
            except ContractError as error:
                assert named(file, path, str(error))
                runs = None

    assert {k: v for k, v in files(path).items() if k in whole} == whole, "other runs were touched"
    if runs is not None:
        assert outcome(runs) == undisturbed()
        assert not set(Log(tmp_path / "log", path).count("began")) & set(whole)
        results = path / "results.json"
        if not results.is_dir():  # one cannot be replaced: a warning says so
            assert len(json.loads(results.read_text())) == len(runs)
        return

    remove(file)  # as the refusal advises
    with quick(), hurry(), limits(30):
        check(path, tmp_path / "again", weights=True)


def named(file, path, error):
    "Is it this file that the refusal is about, or what it stands in?"
    return file.name in error or file.relative_to(path).parts[0] in error


def calibrated(file, original):
    "The search for rates is read whole or not at all."
    try:
        found = Calibration.load(file)
    except ContractError as error:
        assert "calibration.json" in str(error)
        return
    assert found is None or found == Calibration.load(original / "calibration.json")
