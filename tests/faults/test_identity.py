"A loss belongs to its run: no checkpoint of another trunk, step or content may give it."

import json
import re
import shutil

import pytest
import torch

from faults import LONG
from faults.small import RECIPE, StopAt, check, make_plan, train, undisturbed
from flops_fit.errors import ContractError
from flops_fit.result import Result
from flops_fit.trainer.store import RunStore, load_checkpoint, save_checkpoint
from flops_fit.trainer.trunk import make_optimizer
from models import outcome, xor_task

GONE = "gone"
LATE = (2e5, 4e5)  # without the shortest budget, the trunks are the same


@pytest.fixture
def path(tmp_path):
    return tmp_path / "s"


def longest(plan):
    return next(iter(plan.trunks.values()))[-1]


def stop_in_longest(path, plan, step):
    e = longest(plan)
    train(path, plan, [StopAt(path, e.experiment_id, step)])
    assert e.experiment_id not in RunStore(path).runs()
    assert list((path / "checkpoints").rglob("*.safetensors"))
    return e


def test_a_run_added_to_a_trunk_that_is_past_it_gets_its_own_loss(path):
    late = make_plan(LATE)
    assert late.trunks.keys() == make_plan().trunks.keys()
    stop_in_longest(path, late, longest(late).num_steps // 2)

    runs = train(path)

    assert outcome(runs) == undisturbed()
    assert all(r.actual_flops > 0 for r in runs)


@pytest.mark.parametrize("where", ["trunk", "cooldown"])
def test_a_run_whose_file_is_torn_gets_its_own_loss_again(where, path, tmp_path):
    steps = longest(make_plan()).num_steps
    stop_in_longest(path, make_plan(), steps // 2 if where == "trunk" else steps - 2)
    for file in (path / "runs").glob("*.json"):
        file.write_bytes(file.read_bytes()[:100])

    check(path, tmp_path / "log")


def test_a_checkpoint_under_another_trunks_name_is_not_taken_up(path, tmp_path):
    one, two = make_plan().trunks
    stop_in_longest(path, make_plan(), longest(make_plan()).num_steps // 2)
    folder = path / "checkpoints"
    shutil.copytree(folder / f"trunk-{one}", folder / f"trunk-{two}", dirs_exist_ok=True)

    check(path, tmp_path / "log")


@pytest.mark.parametrize("by", [-20, -1, 1, 20])
def test_a_checkpoint_whose_step_was_changed_gives_no_loss(by, path, tmp_path):
    step = longest(make_plan()).num_steps // 2
    stop_in_longest(path, make_plan(), step)
    changed = 0
    for file in (path / "checkpoints").rglob("*"):
        if file.is_file():
            data = file.read_bytes()
            new = re.sub(rb'(\\?"step\\?": ?\\?"?)%d\b' % step, b"\\g<1>%d" % (step + by), data)
            changed += new != data
            file.write_bytes(new)
    assert changed

    check(path, tmp_path / "log")


def test_a_checkpoint_of_another_recipe_is_not_taken_up(path):
    "The same trunk's name, as a stranger might give it, on a checkpoint trained at another rate."
    from dataclasses import replace

    plan = make_plan()
    other = replace(plan, experiments=[replace(e, lr=e.lr * 2) for e in plan])
    stop_in_longest(path, other, longest(other).num_steps // 2)
    shutil.rmtree(path / "runs")

    assert outcome(train(path)) == undisturbed()


JUNK = [
    ("step", "x"),
    ("step", None),
    ("step", -3),
    ("step", 1.5),
    ("step", 10**9),
    ("step", []),
    ("curve", "x"),
    ("curve", [[1, 2]]),
    ("curve", [["a", "b", "c", "d"]]),
    ("curve", None),
    ("count", "x"),
    ("count", -1),
    ("sum", "x"),
    ("sum", None),
    ("micro", 0),
    ("micro", "x"),
    ("start", 10**9),
    ("start", "x"),
    ("spent", "x"),
    ("spent", -1e300),
    ("experiment", 3),
    ("step", GONE),
    ("curve", GONE),
    ("experiment", GONE),
    ("rng", GONE),
]


BOTH = [(*junk, which) for junk in JUNK for which in ("trunk", "branch")]


@pytest.mark.parametrize("field, value, which", BOTH if LONG else BOTH[::3], ids=str)
def test_a_checkpoint_that_says_nonsense_is_not_taken_up(field, value, which, path, tmp_path):
    "Its checksum fits, as that of whoever wrote it by hand would."
    steps = longest(make_plan()).num_steps
    e = stop_in_longest(path, make_plan(), steps // 2 if which == "trunk" else steps - 2)
    file = next((path / "checkpoints").rglob(f"{which}.safetensors"))
    model = xor_task().build(e.size_param_value)
    opt = make_optimizer(model, e.lr, RECIPE, torch.device("cpu"))
    info, rng = load_checkpoint(file, model, opt)
    if value is GONE:
        info.pop(field, None)
        rng = None if field == "rng" else rng
    else:
        info[field] = value
    save_checkpoint(file, model, opt, rng, **info)

    check(path, tmp_path / "log")


@pytest.fixture(scope="module")
def kept(plan, tmp_path_factory):
    "A sweep with a model that `result.train` has trained: (its folder, the model's weights)."
    path = tmp_path_factory.mktemp("kept") / "s"
    train(path, plan)
    return path, result(path).train(5e6).state_dict()


def result(path):
    return Result.load(path, xor_task(), progress=False)


@pytest.mark.parametrize("damage", ["torn", "empty", "zeroed", "flipped", "gone"])
def test_damaged_weights_never_give_an_untrained_model(damage, kept, tmp_path):
    path = shutil.copytree(kept[0], tmp_path / "s")
    for file in (path / "models").rglob("*.safetensors"):
        data = file.read_bytes()
        middle = len(data) * 3 // 4
        flipped = data[:middle] + bytes([data[middle] ^ 64]) + data[middle + 1 :]
        file.write_bytes(
            {
                "torn": data[: len(data) // 2],
                "empty": b"",
                "zeroed": bytes(len(data)),
                "flipped": flipped,
                "gone": b"",
            }[damage]
        )
        if damage == "gone":
            file.unlink()

    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = result(path).train(5e6)
        except ContractError as error:
            assert "safetensors" in str(error) or "weights" in str(error)
            return

    got = model.state_dict()
    assert all(torch.equal(got[k], v) for k, v in kept[1].items())


def test_what_a_run_says_of_itself_agrees_with_its_plan(path):
    "FLOPs are what the run's own steps cost; together they are what the plan says."
    runs, plan = train(path), make_plan()

    assert sum(r.actual_flops for r in runs) == pytest.approx(plan.spent_flops)
    for run in runs:
        per_step = run.flops / run.num_steps
        assert run.actual_flops == pytest.approx(run.own_steps * per_step)
        assert 1 <= run.own_steps <= run.num_steps
    assert json.loads((path / "results.json").read_text())
