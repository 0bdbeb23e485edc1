"Files that are torn, foreign, claimed or gone."

import json
import os
import socket
import subprocess
import sys
import time
import warnings
from dataclasses import replace

import pytest
import torch

from flops_fit.trainer import lease as lease_module
from flops_fit.errors import ContractError
from flops_fit.planner.plan import SweepPlan
from flops_fit.files import NewerFormat, Unreadable, make_folder, read_regular, seal, unseal
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.trainer.run import Run
from flops_fit.trainer.store import RunStore, load_checkpoint, save_checkpoint, write_atomic
from models import Net

PLAN = plan_sweep(Net, "width", compute_budgets=[1e9, 2e9])
E = PLAN.experiments


def done(e, loss=2.5, **more):
    "A run that completed, with the cost its steps have."
    flops = e.num_steps * e.tokens_per_step * e.flops_per_token
    return Run.of(
        e, status="completed", final_loss=loss, own_steps=e.num_steps, actual_flops=flops, **more
    )


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "sweep").prepare()


def test_runs_come_back_as_they_were(store):
    runs = [done(e, metrics={"accuracy": 0.5, "odd": None}) for e in E]
    for r in runs:
        store.save_run(r)
    assert store.runs() == store.runs(PLAN) == {r.experiment_id: r for r in runs}
    assert RunStore(store.path).runs() == store.runs()


FOREIGN = [
    "",
    "{",
    "[]",
    "null",
    '{"experiment_id": "x"}',
    '{"status": "completed"}',
    "\x00\x01",
    "[" * 100_000,
]


@pytest.mark.parametrize("content", FOREIGN, ids=range(len(FOREIGN)))
def test_torn_and_foreign_files_are_set_aside(store, content):
    store.save_run(done(E[0]))
    bad = store.path / "runs" / "bad.json"
    bad.write_text(content)
    with pytest.warns(UserWarning, match="Set aside"):
        assert list(store.runs()) == [E[0].experiment_id]
    assert not bad.exists() and bad.with_name("bad.json.set-aside").read_text() == content
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        store.runs()


WRONG = [dict(final_loss=v) for v in (-1.0, 0.0, 1e308, "0.5", None, True)] + [
    dict(actual_flops=-1.0),
    dict(actual_flops=None),
    dict(own_steps=0),
    dict(own_steps=10**9),
    dict(status="done"),
    dict(num_tokens=7),
    dict(num_params=-3),
    dict(curve="../../victim"),
    dict(experiment_id="../../victim"),
    dict(flops=1.0),
    dict(lr=0.0),
    dict(size_param_value="wide"),
    dict(metrics={"a": "b"}),
]


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_numbers_that_cannot_be_a_runs_are_neither_written_nor_believed(store, wrong):
    fields = done(E[0]).to_dict() | wrong
    with pytest.raises(ContractError):
        store.save_run(Run(**fields))
    file = make_folder(store.path / "runs") / f"{E[0].experiment_id}.json"
    file.write_text(seal(fields))
    with pytest.warns(UserWarning, match="Set aside"):
        assert store.finished() == {}


@pytest.mark.parametrize("literal", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_what_is_no_number_is_no_loss(store, literal):
    file = store.save_run(done(E[0], 2.5))
    file.write_text(file.read_text().replace("2.5", literal))
    with pytest.warns(UserWarning, match="Set aside"):
        assert store.runs() == {}


def test_a_digit_that_was_changed_is_found(store):
    file = store.save_run(done(E[0], 2.5))
    file.write_text(file.read_text().replace("2.5", "2.6"))
    with pytest.warns(UserWarning, match="checksum"):
        assert store.runs() == {}


def test_a_later_versions_files_are_refused_and_stay(store, tmp_path):
    file = store.save_run(done(E[0]))
    later = file.read_text().replace('"format": 1', '"format": 2')
    file.write_text(later)
    with pytest.raises(NewerFormat, match="upgrade"):
        store.runs()
    assert file.read_text() == later
    plan = PLAN.save(tmp_path / "plan.json")
    plan.write_text(plan.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(ContractError, match="upgrade"):
        SweepPlan.load(plan)
    save_checkpoint(tmp_path / "c", torch.nn.Linear(2, 2))
    file = tmp_path / "c" / "state.safetensors"
    file.write_bytes(file.read_bytes().replace(b'"format":"1"', b'"format":"2"'))
    with pytest.raises(NewerFormat, match="upgrade"):
        load_checkpoint(tmp_path / "c")


def test_runs_from_before_there_were_seals_are_read(store):
    fields = done(E[0]).to_dict()
    del fields["own_steps"]
    file = make_folder(store.path / "runs") / f"{E[0].experiment_id}.json"
    file.write_text(json.dumps(fields))
    assert store.runs() == {E[0].experiment_id: done(E[0])}
    file.write_text(json.dumps(fields | dict(actual_flops=-fields["actual_flops"])))
    with pytest.warns(UserWarning, match="Set aside"):
        assert store.runs() == {}


def test_a_run_under_anothers_name_is_foreign(store):
    store.save_run(done(E[0])).rename(store.path / "runs" / f"{E[1].experiment_id}.json")
    with pytest.warns(UserWarning, match="Set aside"):
        assert store.runs() == {}


def test_a_run_that_is_not_the_planned_one_is_made_again(store):
    store.save_run(done(E[0]))
    other = replace(E[0], lr=E[0].lr * 2)
    assert store.runs([E[0]])
    with pytest.warns(UserWarning, match="does not agree with its plan in lr"):
        assert store.runs([other]) == {}


def test_a_run_is_told_in_the_accounting_of_the_plan_that_asks(store):
    store.save_run(done(E[0]))
    exact = replace(
        E[0], compute_budget=9e9, flops_per_token=2 * E[0].flops_per_token, flops=2 * E[0].flops
    )
    run = store.runs([exact])[E[0].experiment_id]
    assert (
        run.compute_budget == 9e9 and run.actual_flops == pytest.approx(exact.flops) and run.check()
    )


def test_a_finished_run_is_never_replaced(store):
    store.save_run(Run.of(E[0], status="failed", error_message="for now"))
    first = store.save_run(done(E[0], 2.5)).read_bytes()
    store.save_run(done(E[0], 2.4))
    store.save_run(Run.of(E[0], status="failed"))
    assert (store.path / "runs" / f"{E[0].experiment_id}.json").read_bytes() == first


def test_failed_runs_are_not_finished(store):
    store.save_run(done(E[0]))
    for e, s in zip(E[1:], ("diverged", "failed")):
        store.save_run(Run.of(e, status=s))
    assert {r.status for r in store.finished().values()} == {"completed", "diverged"}


@pytest.mark.parametrize("trunk", ["x/../../../victim", "..", "", "a" * 65, "a.b", "a\n"])
def test_no_id_leads_out_of_the_folder(store, trunk, tmp_path):
    (tmp_path / "victim").mkdir()
    with pytest.raises(ContractError, match="letters, digits"), store.claim(trunk):
        pass
    with pytest.raises(ContractError, match="letters, digits"):
        store.beat(trunk, step=1)
    with pytest.raises(ContractError, match="letters, digits"):
        store.save_curve(trunk, [])
    with pytest.raises(ContractError):
        replace(PLAN, experiments=[replace(E[0], trunk=trunk)]).check()
    with pytest.raises(ContractError):
        replace(PLAN, experiments=[replace(E[0], experiment_id=trunk)]).check()
    assert (tmp_path / "victim").is_dir()


def stand_in(path, kind):
    "Something else in the place of a file."
    path.unlink(missing_ok=True)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "loop":
        path.symlink_to(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "huge":
        path.touch(), os.truncate(path, 2**40)


@pytest.mark.parametrize("kind", ["fifo", "folder", "loop", "device", "huge"])
def test_what_is_no_file_neither_hangs_nor_kills(store, kind, tmp_path):
    file = store.save_run(done(E[0]))
    try:
        stand_in(file, kind)
    except OSError:
        pytest.skip("this disk holds no file that large")
    with pytest.raises(Unreadable):
        read_regular(file)
    with pytest.warns(UserWarning, match="Set aside"):
        assert store.runs() == {}
    store.save_run(done(E[0]))
    assert store.runs()
    stand_in(tmp_path / "plan.json", kind)
    with pytest.raises(ContractError, match="plan again"):
        SweepPlan.load(tmp_path / "plan.json")
    make_folder(tmp_path / "c")
    stand_in(tmp_path / "c" / "state.safetensors", kind)
    with pytest.warns(UserWarning, match="Set aside"):
        assert load_checkpoint(tmp_path / "c") == (None, None)


def test_a_disk_that_does_not_let_a_run_be_read_is_told(store, monkeypatch):
    file, real = store.save_run(done(E[0])), os.open

    def refuse(path, *a, **k):
        if str(path) == str(file):
            raise PermissionError(13, "Permission denied")
        return real(path, *a, **k)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(ContractError, match="permissions") as err:
        RunStore(store.path).runs()
    assert str(file) in str(err.value) and file.exists()


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomic(tmp_path / "f", "old")

    def full(*a):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError):
        write_atomic(tmp_path / "f", "new")
    assert (tmp_path / "f").read_text() == "old" and os.listdir(tmp_path) == ["f"]


def test_short_writes_and_interruptions_are_gone_on_from(tmp_path, monkeypatch):
    real, calls = os.write, []

    def slow(fd, data):
        calls.append(1)
        if len(calls) % 3 == 0:
            raise InterruptedError
        return real(fd, data[:2])

    monkeypatch.setattr(os, "write", slow)
    assert (
        write_atomic(tmp_path / "f", "a whole sentence").read_text() == "a whole sentence"
        and len(calls) > 8
    )


def test_a_folder_that_cannot_be_made_leaves_no_trace(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ContractError, match="another output_dir"):
        RunStore(tmp_path / "file" / "sweep").prepare()
    assert os.listdir(tmp_path) == ["file"]


def test_only_one_of_many_processes_holds_a_claim(store):
    code = (
        "import sys, time; from flops_fit.trainer.store import RunStore\n"
        "with RunStore(sys.argv[1]).claim('t') as mine:\n"
        "    print(mine is not None, flush=True)\n    if mine: time.sleep(60)"
    )
    args = [sys.executable, "-c", code, str(store.path)]
    ps = [subprocess.Popen(args, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try:
        assert sorted(p.stdout.readline().strip() for p in ps) == ["False"] * 3 + ["True"]
    finally:
        for p in ps:
            p.kill()
            p.communicate()
    with store.claim("t") as mine:
        assert mine.number == 2  # its holder was killed: it is void at once


def foreign_claim(store, content):
    "A claim as somebody else's machine, or a power cut, has left it."
    owner = make_folder(store.path / "locks" / "t" / "3" / "abc") / "owner.json"
    owner.write_text(content)
    return owner


FAR = json.dumps(dict(host="far", boot="b", pids="pid:[1]", pid=1, started="5"))
NEAR = json.dumps(
    dict(host=socket.gethostname(), boot="b", pids="pid:[1]", pid=2**22 + 1, started="5")
)


@pytest.mark.parametrize(
    "content", [FAR, NEAR, "", "{}", '{"host": "a', "[1]", "null", "\x00" * 50]
)
def test_a_claim_lasts_while_it_is_touched_and_no_longer(store, content):
    owner = foreign_claim(store, content)
    with store.claim("t") as mine:
        assert mine is None
    os.utime(owner, (time.time() - 2 * lease_module.STALE,) * 2)
    with store.claim("t") as mine:
        assert mine.number == 4
    assert not owner.exists()


def test_a_beat_from_the_future_does_not_hold_for_ever(store, monkeypatch):
    owner = foreign_claim(store, FAR)
    os.utime(owner, (time.time() + 10**6,) * 2)
    with store.claim("t") as mine:
        assert mine is None
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 2 * lease_module.STALE)
    with store.claim("t") as mine:
        assert mine.number == 4


def test_a_beat_that_fails_is_tried_again(store, monkeypatch):
    monkeypatch.setattr(lease_module, "BEAT", 0.01)
    real, calls = os.utime, []

    def flaky(*a, **k):
        calls.append(1)
        if len(calls) < 4:
            raise OSError(5, "Input/output error")
        return real(*a, **k)

    with store.claim("t") as mine:
        monkeypatch.setattr(os, "utime", flaky)
        while len(calls) < 8:
            time.sleep(0.01)
        assert mine.held


def test_checkpoints_are_replaced_in_one_step(tmp_path, monkeypatch):
    m = torch.nn.Linear(2, 2)
    save_checkpoint(tmp_path / "c", m, step=3)

    def crash(*a):
        raise OSError("the power is gone")

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(OSError):
        save_checkpoint(tmp_path / "c", m, step=4)
    assert load_checkpoint(tmp_path / "c")[0]["step"] == 3
    assert os.listdir(tmp_path / "c") == ["state.safetensors"]


def test_a_torn_checkpoint_counts_as_none(tmp_path):
    m = torch.nn.Linear(2, 2)
    save_checkpoint(tmp_path / "c", m, step=3)
    whole, before = (tmp_path / "c" / "state.safetensors").read_bytes(), m.weight.clone()
    for cut in range(0, len(whole), 7):
        (tmp_path / "c" / "state.safetensors").write_bytes(whole[:cut])
        with pytest.warns(UserWarning, match="Set aside"):
            assert load_checkpoint(tmp_path / "c", m) == (None, None)
    assert torch.equal(m.weight, before)


def test_every_bit_of_a_checkpoint_counts(tmp_path):
    m = torch.nn.Linear(2, 2)
    save_checkpoint(tmp_path / "c", m, step=3)
    file = tmp_path / "c" / "state.safetensors"
    whole = file.read_bytes()
    for i in range(len(whole)):
        file.write_bytes(whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                info, _ = load_checkpoint(tmp_path / "c", m)
            except NewerFormat:
                continue  # the bit that made a 1 of the format another digit
        # the header ends in spaces, and bits of the digest's case are none of the content's
        if info is not None:
            assert info["step"] == 3 and whole[i : i + 1].isspace()


def test_a_checkpoint_of_another_model_is_refused_whole(tmp_path):
    m, n = torch.nn.Linear(2, 2), torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    save_checkpoint(tmp_path / "c", m)
    before = n[0].weight.clone()
    with pytest.warns(UserWarning, match="not those of this model"):
        load_checkpoint(tmp_path / "c", n)
    assert torch.equal(n[0].weight, before)


def test_tied_weights_stay_tied(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.a = torch.nn.Linear(3, 3, bias=False)
            self.b = torch.nn.Linear(3, 3, bias=False)
            self.b.weight = self.a.weight

    m, n = Tied(), Tied()
    save_checkpoint(tmp_path / "c", m)
    load_checkpoint(tmp_path / "c", n)
    assert torch.equal(m.a.weight, n.b.weight) and n.a.weight is n.b.weight


def test_plans_whose_rows_do_not_agree_are_refused(tmp_path):
    for wrong in (
        dict(num_tokens=1),
        dict(flops=1.0),
        dict(tokens_per_param=3.0),
        dict(num_samples=1),
    ):
        with pytest.raises(ContractError, match="follows from"):
            replace(PLAN, experiments=[replace(E[0], **wrong)]).check()
    with pytest.raises(ContractError, match="twice"):
        replace(PLAN, experiments=[E[0], E[0]]).check()
    twin = replace(E[0], experiment_id="twin", lr=2 * E[0].lr)
    with pytest.raises(ContractError, match="one lr for all its runs"):
        replace(PLAN, experiments=[E[0], twin]).check()
    assert unseal(PLAN.save(tmp_path / "p").read_bytes())[1] == 1
