"Files that are torn, foreign, claimed or gone."
import json, os, socket, subprocess, sys, time, warnings
import pytest, torch
from flops_fit.dataset import ContractError
from flops_fit.run import Run
from flops_fit.planner import plan_sweep
from flops_fit.store import RunStore, load_checkpoint, save_checkpoint, write_atomic
from models import Net

E = plan_sweep(Net, "width", compute_budgets=[1e9, 2e9]).experiments


@pytest.fixture
def store(tmp_path): return RunStore(tmp_path/"sweep").prepare()


def test_runs_come_back_as_they_were(store):
    runs = [Run.of(e, status="completed", final_loss=2.5, metrics={"accuracy": .5}) for e in E]
    for r in runs: store.save_run(r)
    assert store.runs() == {r.experiment_id: r for r in runs}


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"experiment_id": "x"}', '{"status": "completed"}', "\x00\x01"])
def test_torn_and_foreign_files_are_set_aside(store, content):
    store.save_run(Run.of(E[0], status="completed", final_loss=1.))
    bad = store.path/"runs"/"bad.json"
    bad.write_text(content)
    with pytest.warns(UserWarning, match="set aside"): assert list(store.runs()) == [E[0].experiment_id]
    assert not bad.exists() and bad.with_name("bad.json.set-aside").read_text() == content
    with warnings.catch_warnings():
        warnings.simplefilter("error"); store.runs()


def test_a_run_under_anothers_name_is_foreign(store):
    store.save_run(Run.of(E[0], status="completed", final_loss=1.)).rename(store.path/"runs"/f"{E[1].experiment_id}.json")
    with pytest.warns(UserWarning, match="set aside"): assert store.runs() == {}


def test_failed_runs_are_not_finished(store):
    for e, s in zip(E, ("completed", "diverged", "failed")): store.save_run(Run.of(e, status=s))
    assert {r.status for r in store.finished().values()} == {"completed", "diverged"}


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    write_atomic(tmp_path/"f", "old")
    def full(*a): raise OSError(28, "No space left on device")
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError): write_atomic(tmp_path/"f", "new")
    assert (tmp_path/"f").read_text() == "old" and os.listdir(tmp_path) == ["f"]


def test_a_folder_that_cannot_be_made_leaves_no_trace(tmp_path):
    (tmp_path/"file").write_text("")
    with pytest.raises(ContractError, match="another output_dir"): RunStore(tmp_path/"file"/"sweep").prepare()
    assert os.listdir(tmp_path) == ["file"]


def test_only_one_of_many_processes_holds_a_claim(store):
    code = ("import sys, time; from flops_fit.store import RunStore\n"
            "with RunStore(sys.argv[1]).claim('t') as mine:\n    print(mine, flush=True)\n    if mine: time.sleep(8)")
    ps = [subprocess.Popen([sys.executable, "-c", code, str(store.path)], stdout=subprocess.PIPE, text=True) for _ in range(4)]
    try: assert sorted(p.stdout.readline().strip() for p in ps) == ["False"]*3 + ["True"]
    finally:
        for p in ps: p.kill(); p.communicate()
    with store.claim("t") as mine: assert mine        # the holder was killed: its claim is void at once


def test_a_claim_from_another_machine_lasts_while_it_is_touched(store):
    lock = store.path/"locks"/"t.lock"; lock.parent.mkdir()
    lock.write_text(json.dumps(dict(host="another-machine", pid=1, id="x")))
    with store.claim("t") as mine: assert not mine
    os.utime(lock, (time.time() - 120,)*2)
    with store.claim("t") as mine: assert mine
    assert not lock.exists()


def test_checkpoints_survive_a_crash_between_renames(tmp_path):
    m = torch.nn.Linear(2, 2)
    save_checkpoint(tmp_path/"c", m, step=3)
    os.rename(tmp_path/"c", tmp_path/".c.old")
    assert load_checkpoint(tmp_path/"c")[0]["step"] == 3


def test_a_torn_checkpoint_counts_as_none(tmp_path):
    m = torch.nn.Linear(2, 2)
    save_checkpoint(tmp_path/"c", m, step=3)
    f = tmp_path/"c"/"state.safetensors"; f.write_bytes(f.read_bytes()[:20])
    with pytest.warns(UserWarning, match="set aside"): assert load_checkpoint(tmp_path/"c", m) == (None, None)


def test_tied_weights_stay_tied(tmp_path):
    class Tied(torch.nn.Module):
        def __init__(self):
            super().__init__(); self.a = torch.nn.Linear(3, 3, bias=False); self.b = torch.nn.Linear(3, 3, bias=False); self.b.weight = self.a.weight
    m, n = Tied(), Tied()
    save_checkpoint(tmp_path/"c", m); load_checkpoint(tmp_path/"c", n)
    assert torch.equal(m.a.weight, n.b.weight) and n.a.weight is n.b.weight
