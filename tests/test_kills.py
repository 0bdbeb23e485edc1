"Sweeps that are killed at any moment, interrupted, or shared by several processes."

import multiprocessing, os, random, shutil, signal, time
import pytest
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.sweep import TrainingRunner
from models import RECIPE, outcome, sweep, xor_task


@pytest.fixture(scope="module")
def big():
    return plan_sweep(
        xor_task(), compute_budgets=[4e6, 8e6, 1.6e7], sizes=[8, 16, 24, 32, 48, 64], recipe=RECIPE
    )


@pytest.fixture(scope="module")
def expected(big, tmp_path_factory):
    return outcome(
        TrainingRunner(output_dir=tmp_path_factory.mktemp("u") / "s", progress=False).run_sweep(
            big, xor_task()
        )
    )


@pytest.fixture(scope="module")
def begin(big):
    """Starts a sweep in a process that is forked from a server which has imported everything and
    computed nothing: as good as fresh, and at work at once."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["torch._dynamo", "safetensors.torch", "flops_fit.trainer.sweep", "flops_fit.trainer.train"]
    )  # dynamo: optimizers import it with their first step

    def begin(path):
        p = context.Process(target=sweep, args=(path, big))
        p.start()
        return p

    return begin


def test_killed_at_twenty_random_moments_two_processes_end_the_same(big, expected, begin, tmp_path):
    """Two processes share a folder; one of them, at random, is killed and started again, until
    twenty kills have fallen while a trunk was in training, one of them in a cooldown."""
    rng, seen, killed, training, cooling = random.Random(0), {}, [], 0, 0
    assert max(map(len, big.trunks.values())) == 3  # trunks with branches
    ps = [begin(tmp_path / "s"), begin(tmp_path / "s")]
    while (training < 20 or not cooling) and len(killed) < 100:
        i = rng.randrange(2)
        time.sleep(0.02 + rng.random() * 0.25)
        if not ps[
            i
        ].is_alive():  # it came to its end before its turn: the sweep begins again in a new folder
            for p in ps:
                p.join(120)
                assert p.exitcode == 0
            assert outcome(RunStore(tmp_path / "s").runs().values()) == expected
            shutil.rmtree(tmp_path / "s")
            seen, ps = {}, [begin(tmp_path / "s"), begin(tmp_path / "s")]
            continue
        ps[i].kill()
        ps[i].join()
        if ps[i].exitcode == 0:
            continue  # it ended between the look and the kill
        assert ps[i].exitcode == -signal.SIGKILL
        killed.append(f'"pid":{ps[i].pid},')
        held = [f.parents[2].name for f in claims(tmp_path / "s") if killed[-1] in said(f)]
        training += bool(held)
        cooling += any(
            (tmp_path / "s" / "checkpoints" / f"trunk-{t}" / "branch.safetensors").exists()
            for t in held
        )
        for f in (tmp_path / "s" / "runs").glob("*.json"):
            assert (
                seen.setdefault(f.name, f.read_bytes()) == f.read_bytes()
            )  # a finished run is never made again
        ps[i] = begin(tmp_path / "s")
    for p in ps:
        p.join(120)
        assert p.exitcode == 0
    assert outcome(RunStore(tmp_path / "s").runs().values()) == expected
    for name, content in seen.items():
        assert (tmp_path / "s" / "runs" / name).read_bytes() == content
    # one killed between its last run and giving back leaves a claim that nobody waits for
    assert all(any(pid in said(f) for pid in killed) for f in claims(tmp_path / "s"))
    assert training >= 20 and cooling, (
        f"of {len(killed)} kills {training} fell in training, {cooling} in a cooldown"
    )


def claims(folder):
    "Claims that somebody holds."
    try:
        return list((folder / "locks").glob("*/*/*/owner.json"))
    except FileNotFoundError:  # a claim was given back while we looked
        return claims(folder)


def said(file):
    try:
        return file.read_text()
    except FileNotFoundError:
        return ""


def wait_for(path, pattern):
    until = time.monotonic() + 60
    while not list(path.glob(pattern)):
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 1), (signal.SIGTERM, 143)])
def test_signals_save_and_stop(number, status, expected, begin, tmp_path):
    p = begin(tmp_path / "s")
    wait_for(tmp_path / "s", "runs/*.json")
    os.kill(p.pid, number)
    p.join(60)
    assert p.exitcode == status and 0 < len(RunStore(tmp_path / "s").runs()) < len(expected)
    assert not claims(tmp_path / "s")
    q = begin(tmp_path / "s")
    q.join(120)
    assert q.exitcode == 0 and outcome(RunStore(tmp_path / "s").runs().values()) == expected


def test_two_processes_share_a_folder(expected, begin, tmp_path):
    ps = [begin(tmp_path / "s") for _ in range(2)]
    for p in ps:
        p.join(120)
        assert p.exitcode == 0
    assert outcome(RunStore(tmp_path / "s").runs().values()) == expected


def test_a_file_stops_every_process(expected, begin, tmp_path):
    ps = [begin(tmp_path / "s") for _ in range(2)]
    wait_for(tmp_path / "s", "runs/*.json")
    (tmp_path / "s" / "stop").touch()
    for p in ps:
        p.join(60)
        assert p.exitcode == 0
    assert 0 < len(RunStore(tmp_path / "s").runs()) < len(expected)
    p = begin(tmp_path / "s")
    p.join(120)  # the file is still there, and old
    assert p.exitcode == 0 and outcome(RunStore(tmp_path / "s").runs().values()) == expected
