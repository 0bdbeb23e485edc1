"Files from strangers: no path leaves the folder, nothing is believed that is not so."

import math
import os
import shutil
import warnings
from dataclasses import replace
from pathlib import Path

import pytest

from faults import LONG
from faults.forge import forge, read, write
from faults.leases import quick
from faults.small import Log, check, finished, hurry, limits, make_plan, train, undisturbed
from flops_fit.errors import ContractError, FitWarning
from flops_fit.planner.plan import SweepPlan
from flops_fit.trainer.progress import SweepProgress
from flops_fit.trainer.run import Run, RunTable
from flops_fit.trainer.store import Beat, RunStore
from models import outcome

OUTSIDE = [
    "../victim",
    "x/../../../victim",
    "/tmp/victim",
    "..",
    ".",
    "",
    "a/b",
    "a\\b",
    "a\0b",
    "x" * 65,
    "trunk\n",
    "<b>",
    "ü",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    path = tmp_path_factory.mktemp("trained") / "s"
    train(path)
    return path


@pytest.fixture
def path(trained, tmp_path):
    "A finished sweep, beside a folder that is none of its business."
    shutil.copytree(trained, tmp_path / "s")
    for place in (tmp_path / "victim", tmp_path / "s" / "victim"):
        place.mkdir()
        (place / "diary").write_text("dear diary")
    return tmp_path / "s"


def unharmed(path):
    return all((p / "victim" / "diary").read_text() == "dear diary" for p in (path, path.parent))


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "bare"])
@pytest.mark.parametrize("field", ["trunk", "experiment_id"])
def test_a_plan_whose_names_leave_the_folder_is_refused_by_name(field, sealed, path):
    file = path / "plan.json"
    content, _ = read(file)
    for name in OUTSIDE:
        content["experiments"][0][field] = name
        write(file, content, sealed)
        before = sorted(path.parent.rglob("*"))
        with pytest.raises(ContractError, match="plan.json"):
            pytest.fail(f"{name!r} was read: {SweepPlan.load(file)}")
        assert before == sorted(path.parent.rglob("*"))
    assert unharmed(path)


@pytest.mark.parametrize("field", ["trunk", "experiment_id"])
def test_a_plan_in_memory_is_held_to_the_same(field, path):
    first, *rest = make_plan().experiments
    for name in OUTSIDE:
        evil = replace(make_plan(), experiments=[replace(first, **{field: name}), *rest])
        with limits(), pytest.raises(ContractError):
            pytest.fail(f"{name!r} was trained: {train(path.parent / 'other', evil)}")
        assert not (path.parent / "other").exists()
    assert unharmed(path)


LIES = [math.nan, math.inf, -math.inf, -1, 0, "0.5", None, 1e308, 1e30, True, [0.5], {}, 10**400]


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed", "bare"])
@pytest.mark.parametrize("loss", LIES, ids=lambda v: repr(v)[:8])
def test_a_loss_that_is_no_loss_is_made_again(loss, sealed, path, tmp_path):
    file = sorted((path / "runs").glob("*.json"))[0]
    forge(file, sealed, final_loss=loss)
    with pytest.warns(UserWarning, match="aside|again"):
        assert file.stem not in RunStore(path).finished()
    check(path, tmp_path / "log")


OTHERS = [
    ("actual_flops", -1.0),
    ("actual_flops", 1.0),
    ("actual_flops", math.nan),
    ("own_steps", 0),
    ("num_steps", 10),
    ("num_params", 7),
    ("batch_size", "8"),
    ("status", "finished"),
    ("status", "failed"),
    ("experiment_id", "../x"),
    ("trunk", "../../victim"),
    ("curve", "../../victim/diary"),
    ("loss_se", -1),
    ("loss_se", "small"),
    ("stranger", 1),
]


@pytest.mark.parametrize("field, value", OTHERS, ids=lambda v: str(v)[:12])
def test_a_run_that_disagrees_with_itself_or_its_plan_is_made_again(field, value, path, tmp_path):
    file = sorted((path / "runs").glob("*.json"))[0]
    forge(file, **{field: value})
    check(path, tmp_path / "log")
    assert unharmed(path)


@pytest.mark.parametrize("swap", [("lr", 0.1), ("seed", 3), ("num_tokens", 5)])
def test_a_run_of_another_plan_under_this_ones_name_is_no_answer(swap, path):
    "It is made again, or refused by name; its loss is not this plan's."
    field, value = swap
    file = sorted((path / "runs").glob("*.json"))[0]
    forge(file, **{field: value})
    try:
        assert outcome(train(path)) == undisturbed()
    except ContractError as error:
        assert file.stem in str(error)


def things(path):
    "What may stand in a file's place: (name, function that puts it there)."
    return {
        "folder": lambda: path.mkdir(),
        "full folder": lambda: (
            (path / "x").mkdir(parents=True),
            (path / "x" / "y").write_text("z"),
        ),
        "fifo": lambda: os.mkfifo(path),
        "loop": lambda: path.symlink_to(path.name),
        "zero": lambda: path.symlink_to("/dev/zero"),
        "link outside": lambda: path.symlink_to(path.parent.parent.parent / "victim" / "diary"),
        "nowhere": lambda: path.symlink_to("nowhere"),
    }


@pytest.mark.parametrize("thing", things(Path("x")))
def test_what_is_no_file_hangs_nobody_and_is_made_again(thing, path, tmp_path):
    file = sorted((path / "runs").glob("*.json"))[0]
    file.unlink()
    things(file)[thing]()
    with limits():
        assert file.stem not in finished(path)
        check(path, tmp_path / "log")
    assert unharmed(path)


def places():
    "Names in a sweep's folder that may be links to elsewhere."
    trunk, es = next(iter(make_plan().trunks.items()))
    return [
        "runs",
        "curves",
        "checkpoints",
        "weights",
        "locks",
        "progress",
        f"locks/{trunk}",
        f"locks/{trunk}/7",
        f"locks/{trunk}/7/claim",
        f"checkpoints/trunk-{trunk}",
        f"weights/{es[-1].experiment_id}",
        "plan.json",
        "results.json",
        "stop",
    ]


def belongings(folder):
    "What somebody has who never heard of sweeps, under names that a sweep uses too."
    trunk, es = next(iter(make_plan().trunks.items()))
    run = es[0].experiment_id
    names = [
        "diary",
        "1/diary",
        "7/diary",
        "7/claim/owner.json",
        "claim/diary",
        "owner.json",
        f"{trunk}/7/claim/diary",
        f"{trunk}.json",
        f"{run}.json",
        f"{run}.csv",
        f".{trunk}.json.123",
        f"trunk-{trunk}/trunk.safetensors",
        "trunk.safetensors",
        "branch.safetensors",
        f"{run}/state.safetensors",
        "state.safetensors",
        "package.json",
    ]
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"mine: {name}")
        os.utime(folder / name, (10**9, 10**9))
    for p in sorted(folder.rglob("*"), reverse=True):
        os.utime(p, (10**9, 10**9))
    return contents(folder)


def contents(folder):
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() if p.is_file() else None
        for p in folder.rglob("*")
    }


@pytest.mark.parametrize("place", places())
def test_a_link_in_the_folder_leads_nobody_out_of_it(place, tmp_path):
    "Nothing behind it is read as ours, written, moved or removed; a refusal names it."
    path, home = tmp_path / "s", tmp_path / "home"
    before = belongings(home)
    (path / place).parent.mkdir(parents=True)
    (path / place).symlink_to(home / "diary" if "." in place or place == "stop" else home)
    with quick(), limits():
        try:
            runs = train(path, weights=True)
        except ContractError as error:
            assert place.split("/")[0] in str(error)
        else:
            assert outcome(runs) == undisturbed()
    assert contents(home) == before


@pytest.mark.parametrize("place", ["runs", "curves", "progress", "locks"])
def test_who_only_reads_moves_nothing_behind_a_link(place, tmp_path):
    "A folder that is looked at, by `Result.load` or a monitor, is not to be prepared first."
    path, home = tmp_path / "s", tmp_path / "home"
    before = belongings(home)
    path.mkdir()
    (path / place).symlink_to(home)
    store, e = RunStore(path), make_plan().experiments[0]
    looks = [
        store.runs,
        store.finished,
        lambda: store.runs(make_plan()),
        store.beats,
        lambda: store.curve(e.experiment_id),
        store.clear_beats,
        lambda: store.clear_beats(e.trunk),
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for look in looks:
            try:
                look()
            except ContractError as error:
                assert place in str(error)
    assert contents(home) == before


ODD = ["²", "٣", "-1", "0", "007", "9" * 18, "9" * 255, ".new", "x", " 1"]
ODD = [(name, what) for name in ODD for what in ("folder", "full folder", "file")]


@pytest.mark.parametrize("name, what", ODD if LONG else ODD[1::4], ids=lambda v: ascii(v)[:12])
def test_odd_names_among_the_claims_hold_nobody_up(name, what, tmp_path):
    path, trunk = tmp_path / "s", next(iter(make_plan().trunks))
    place = path / "locks" / trunk / name
    place.parent.mkdir(parents=True)
    if what == "file":
        place.write_text("x")
    else:
        place.mkdir()
        if what == "full folder":
            (place / "owner").mkdir()
        os.utime(place, (10**9, 10**9))
    with quick(), hurry(), limits():
        assert outcome(train(path)) == undisturbed()


EVIL = "<script>alert(1)</script>"


def clean(html):
    return "<script" not in html and "alert(1)" in html


def test_ids_and_messages_are_escaped_in_tables_of_runs():
    e = replace(make_plan().experiments[0], experiment_id=EVIL)
    told = RunTable([Run.of(e, status="failed", error_message=EVIL)])
    assert clean(told._repr_html_())
    worse = RunTable([Run.of(e, status=EVIL, error_message=EVIL)])
    assert clean(worse._repr_html_())


def test_warnings_and_ids_are_escaped_in_plans():
    plan = make_plan()
    evil = FitWarning(EVIL, EVIL, EVIL)
    first, *rest = plan.experiments
    for changed in (
        replace(plan, warnings=[evil]),
        replace(plan, size_param=EVIL, warnings=[evil]),
        replace(plan, experiments=[replace(first, experiment_id=EVIL), *rest]),
        replace(plan, experiments=[replace(first, trunk=EVIL), *rest]),
    ):
        assert clean(changed._repr_html_())


@pytest.fixture
def shown(monkeypatch):
    "What a notebook is shown."
    import IPython
    import IPython.display

    kernel = type("ZMQInteractiveShell", (), {})()
    out = []
    handle = type("Handle", (), {"update": lambda self, html: out.append(html.data)})()

    def display(html, **kwargs):
        out.append(html.data)
        return handle

    monkeypatch.setattr(IPython, "get_ipython", lambda: kernel)
    monkeypatch.setattr(IPython.display, "display", display)
    return out


def test_ids_are_escaped_in_the_progress_table(tmp_path):
    "A plan with such ids is refused; should one come this far all the same, it shows as text."
    e = replace(make_plan().experiments[0], experiment_id=EVIL)
    run = Run.of(e, status=EVIL, error_message=EVIL)
    beat = Beat(EVIL, 3, 27, 0.5)
    progress = SweepProgress(make_plan(), RunStore(tmp_path / "s"))
    assert clean(progress.html(EVIL, [run], {EVIL: beat}, {EVIL: 60.0}, 0.5).data)


@pytest.mark.parametrize(
    "said",
    [
        "null",
        "[]",
        "3",
        '"x"',
        '{"step": "x", "num_steps": null}',
        '{"experiment_id": []}',
        (
            '{"experiment_id": "ID", "step": NaN, "num_steps": 27, "loss": '
            '"<script>alert(1)</script>"}'
        ),
        '{"experiment_id": "ID", "step": 1e999, "num_steps": 0, "loss": null}',
    ],
)
def test_a_beat_that_is_none_ends_no_sweep(said, shown, tmp_path):
    path = tmp_path / "s"
    first = make_plan().experiments[0]

    def spoil(step):
        (path / "progress").mkdir(exist_ok=True)
        said_of = said.replace("ID", first.experiment_id)
        (path / "progress" / f"{first.trunk}.json").write_text(said_of)

    log = Log(tmp_path / "log", path)
    from flops_fit.trainer.sweep import TrainingRunner
    from models import xor_task

    runner = TrainingRunner(output_dir=path, on_step=[spoil, log])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert outcome(runner.run_sweep(make_plan(), xor_task())) == undisturbed()
    assert shown and all("<script" not in html for html in shown)


def test_a_plan_in_the_folder_that_is_not_this_ones_is_replaced_or_refused(path):
    "What stands in plan.json decides nothing about a sweep whose plan is in hand."
    (path / "plan.json").write_text("{")
    try:
        assert outcome(train(path)) == undisturbed()
    except ContractError as error:
        assert "plan.json" in str(error)
        return
    assert SweepPlan.load(path / "plan.json").experiments == make_plan().experiments
