"""L0, the loss of the untrained model: measured by hand, the same after a stop, one a trunk, and
what the analysis makes of it."""

import json
import os
from dataclasses import replace
import numpy as np, pandas as pd, pytest, torch, torch.nn.functional as F
from flops_fit.cli import main
from flops_fit.errors import FitError
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.result import Result
from flops_fit.trainer.checkpoint import load_checkpoint, peek, save_checkpoint
from flops_fit.trainer.device import settled
from flops_fit.trainer.run import Run
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.sweep import TrainingRunner, mock_run
from flops_fit.trainer.train import Stopped, train_trunk
from flops_fit.trainer.trunk import Trunk
from flops_fit.trainer.watch import Checkpoint
from models import BUDGETS, Net, RECIPE, SIZES, xor_task

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def plan():
    return plan_sweep(xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE)


@pytest.fixture(scope="module")
def es(plan):
    return next(iter(plan.trunks.values()))


@pytest.fixture(scope="module")
def sweep(plan, tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "s"
    runs = TrainingRunner(output_dir=path, progress=False).run_sweep(plan, xor_task())
    return path, runs


def by_hand(e, task):
    "The loss of the model as it is built, on its first batch."
    with settled(CPU, e.num_params, e.seed):
        t = Trunk(task, e, RECIPE, CPU)
        x, y = t.feed(0)
        with torch.no_grad():
            return len(x), float(task.loss_fn(t.model(x), y))


def test_it_is_the_untrained_models_loss_on_its_first_batch(plan, sweep):
    L0 = {}
    for e, r in zip(plan.experiments, sweep[1]):
        size, loss = by_hand(e, xor_task())
        assert size == e.batch_size and r.baseline_loss == pytest.approx(loss, rel=1e-6)
        L0.setdefault(e.trunk, set()).add(r.baseline_loss)
    assert len(L0) == len(SIZES) and all(len(one) == 1 for one in L0.values())  # one a trunk
    assert len(set.union(*L0.values())) == len(SIZES)  # and each its own


def test_a_batch_in_parts_is_the_whole_batch(es):
    (whole,) = train_trunk(xor_task(), es[:1], RECIPE)
    (parts,) = train_trunk(xor_task(), es[:1], replace(RECIPE, micro_batch=5))
    assert parts.baseline_loss == pytest.approx(whole.baseline_loss, rel=1e-6)


@pytest.mark.parametrize("schedule", ["cooldown", "cosine"])
@pytest.mark.parametrize("notes", [1, 60, 150])
def test_it_survives_a_stop_bit_for_bit(notes, schedule, tmp_path):
    recipe = replace(RECIPE, schedule=schedule)
    plan = plan_sweep(xor_task(), compute_budgets=BUDGETS, sizes=SIZES[:1], recipe=recipe)
    for es in plan.trunks.values():
        whole = train_trunk(xor_task(), es, recipe)
        ended, calls, folder = [], iter(range(10_000)), tmp_path / es[0].experiment_id
        how = dict(folder=folder, done=lambda r, c: ended.append(r))
        try:
            train_trunk(xor_task(), es, recipe, should_stop=lambda: next(calls) >= notes, **how)
        except Stopped:
            pass
        left = es[len(ended) :]
        assert left or schedule == "cosine"  # it was stopped before its end
        if left:
            train_trunk(xor_task(), left, recipe, **how)
        assert [r.baseline_loss for r in ended] == [r.baseline_loss for r in whole]
        assert [r.final_loss for r in ended] == [r.final_loss for r in whole]


def test_a_checkpoint_of_before_has_none(es, tmp_path):
    calls = iter(range(10_000))
    with pytest.raises(Stopped):
        train_trunk(xor_task(), es, RECIPE, folder=tmp_path, should_stop=lambda: next(calls) > 30)
    path, t = tmp_path / "trunk.safetensors", Trunk(xor_task(), es[0], RECIPE, CPU)
    assert peek(path, kind=Checkpoint).baseline_loss > 0
    info, rng = load_checkpoint(path, t.model, t.opt)
    del info["baseline_loss"]
    save_checkpoint(path, t.model, t.opt, rng, **info)

    runs = train_trunk(xor_task(), es, RECIPE, folder=tmp_path)
    resumed = [r for r in runs if r.experiment_id == info["experiment"]]
    assert resumed and resumed[0].baseline_loss is None and resumed[0].status == "completed"


@pytest.mark.parametrize("wrong", ["5.5", -1.0, 0, 1e31, True, [1.0]])
def test_a_checkpoint_or_a_run_with_a_wrong_one_is_refused(wrong, es, sweep, tmp_path):
    run = sweep[1][0]
    with pytest.raises(ValueError):
        Run.from_dict(run.to_dict() | dict(baseline_loss=wrong))
    t = Trunk(xor_task(), es[0], RECIPE, CPU)
    t.save(tmp_path / "trunk.safetensors", experiment="x", start=0, spent=0.0)
    t.baseline_loss = wrong
    t.save(tmp_path / "wrong.safetensors", experiment="x", start=0, spent=0.0)
    assert peek(tmp_path / "trunk.safetensors", kind=Checkpoint) is not None
    assert peek(tmp_path / "wrong.safetensors", kind=Checkpoint) is None


class Late(Net):
    "Breaks in its second step, or from its first."

    good = 1

    def __init__(self, width):
        super().__init__(width)
        self.n = 0

    def forward(self, x):
        self.n += self.training
        return super().forward(x) * (1.0 if self.n <= self.good else float("nan"))


class AtOnce(Late):
    good = 0


def test_runs_without_one(es):
    "A first step that is no number, a model that raises, a loss that is negative, a simulation."
    task = xor_task()
    task.model_cls = Late
    (late,) = train_trunk(task, es[:1], RECIPE)
    assert late.status == "diverged" and late.baseline_loss > 0  # its first step was good
    task.model_cls = AtOnce
    (run,) = train_trunk(task, es[:1], RECIPE)
    assert (run.status, run.baseline_loss) == ("diverged", None)

    def broken(outputs, targets):
        raise RuntimeError("no")

    (run,) = train_trunk(replace(xor_task(), loss_fn=broken), es[:1], RECIPE)
    assert (run.status, run.baseline_loss) == ("failed", None)

    def negative(outputs, targets):
        return F.cross_entropy(outputs, targets) - 2

    (run,) = train_trunk(replace(xor_task(), loss_fn=negative), es[:1], RECIPE)
    assert (run.status, run.baseline_loss) == ("failed", None)
    assert mock_run(es[0]).baseline_loss is None


def test_files_of_before_are_read(sweep, tmp_path):
    path, runs = sweep
    store = RunStore(path)
    assert store.runs()[runs[0].experiment_id] == runs[0]
    old = RunStore(tmp_path).prepare()
    plain = runs[0].to_dict()
    del plain["baseline_loss"]
    assert Run.from_dict(plain) == replace(runs[0], baseline_loss=None)
    unsealed = tmp_path / "runs" / f"{runs[0].experiment_id}.json"  # as the first version wrote it
    unsealed.parent.mkdir(exist_ok=True)
    unsealed.write_text(json.dumps(plain))
    assert old.runs()[runs[0].experiment_id].baseline_loss is None
    assert os.path.exists(unsealed)


def test_the_bounded_law_answers_on_a_sweep_of_our_own(sweep):
    path, runs = sweep
    result = Result.load(path)
    assert "baseline_loss" in runs.to_dataframe() and "baseline_loss" in result.to_dataframe()
    a, table = result.analysis, result.runs.to_dataframe()
    assert a.law is a.bounded and a.law.law.name == "bounded" and "bounded" not in a.skipped
    L0 = float(np.median([r.baseline_loss for r in runs]))
    assert (
        f"The bounded law answers: L0 = {L0:.3f}, the loss of a model that knows nothing."
        in a.summary()
    )
    assert f"L0 = {L0:.3f}" in result._repr_html_()

    for again in (table, table.to_dict("records"), path):
        assert Result.from_runs(again).analysis.law.params == a.law.params
    none = Result.from_runs(table.drop(columns="baseline_loss"))
    assert none.law is none.analysis.coupled and none.analysis.bounded is None


def test_the_command_that_fits_a_folder_says_so(sweep, capsys):
    assert main(["fit", "--output-dir", str(sweep[0])]) == 0
    L0 = float(np.median([r.baseline_loss for r in sweep[1]]))
    assert f"The bounded law answers: L0 = {L0:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize("share", [0.5, 0.0, -1.0, np.inf, 1e300])
def test_a_baseline_that_cannot_be_one_leaves_the_coupled_law(share, sweep):
    "Say, because the held-out loss is another measure than the training loss."
    table = sweep[1].to_dataframe()
    odd = table.assign(baseline_loss=share * table.final_loss.min())
    a = Result.from_runs(odd).analysis
    assert a.law is a.coupled and a.bounded is None
    assert "baseline_loss" in a.skipped["bounded"] and "Not made: bounded" in a.summary()
    assert a.law.params == Result.from_runs(table.drop(columns="baseline_loss")).law.params

    with pytest.raises(FitError, match="baseline_loss"):  # asked for outright, it is refused
        Result.from_runs(table, baseline_loss=share * table.final_loss.min())


def test_some_runs_may_have_none(sweep):
    table = sweep[1].to_dataframe()
    some = table.assign(baseline_loss=table.baseline_loss.where(table.index > 2))
    assert Result.from_runs(some).law.law.name == "bounded"
    none = table.assign(baseline_loss=pd.Series([None] * len(table), dtype=object))
    assert Result.from_runs(none).law.law.name == "coupled"
    with pytest.raises(FitError, match="baseline_loss"):
        Result.from_runs(table.assign(baseline_loss="high"))


def test_a_command_takes_it_for_a_table(sweep, tmp_path, capsys):
    table = sweep[1].to_dataframe().drop(columns="baseline_loss")
    table.to_csv(tmp_path / "runs.csv", index=False)
    assert main(["fit", str(tmp_path / "runs.csv"), "--baseline-loss", "2"]) == 0
    assert "The bounded law answers: L0 = 2" in capsys.readouterr().out
    assert main(["fit", "--output-dir", str(sweep[0]), "--baseline-loss", "2"]) == 2
    assert "a sweep records" in capsys.readouterr().err
