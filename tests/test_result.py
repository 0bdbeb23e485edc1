"Answers: from published runs, from folders, and checked beyond the sweep."

import json, shutil
import numpy as np, pandas as pd, pytest, torch
from flops_fit.core import find_optimal
from flops_fit.planner.dataset import ContractError
from flops_fit.fitter.laws import FitError
from flops_fit.fitter.curves import fit_isoflop
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.result import Result
import torch.nn.functional as F
from models import BUDGETS, Net, RECIPE, SIZES, xor_data, xor_task


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    return find_optimal(
        Net,
        "width",
        dataset=xor_data(),
        loss_fn=F.cross_entropy,
        compute_budgets=BUDGETS,
        sizes=SIZES,
        recipe=RECIPE,
        output_dir=tmp_path_factory.mktemp("r") / "s",
        progress=False,
    )


def test_epochs_refit_of_chinchilla(published, tmp_path):
    df = pd.read_csv(published / "chinchilla.csv")
    df = df.nsmallest(len(df) - 5, "loss")
    assert len(df) == 240
    df.to_csv(tmp_path / "runs.csv", index=False)
    result = Result.from_runs(
        tmp_path / "runs.csv"
    )  # "Model Size", "Training FLOP" and "loss" are recognised
    p, ci = result.analysis.plain.params, result.analysis.plain.conf_int()
    # Besiroglu et al. (2404.10102) table 1: estimate (standard error)
    for name, value, se in (
        ("E", 1.8172, 0.0257),
        ("A", 482.01, 124.5),
        ("B", 2085.43, 1293),
        ("alpha", 0.3478, 0.0154),
        ("beta", 0.3658, 0.0206),
    ):
        assert abs(p[name] - value) < se, name
        assert ci.loc[name, "lower"] < value < ci.loc[name, "upper"], name
    assert abs(p["beta"] / (p["alpha"] + p["beta"]) - 0.513) < 0.020


def test_llama_3(published):
    result = Result.from_runs(published / "llama3.csv")
    p = result.analysis.isoflop
    # published (arXiv 2407.21783, section 3.2.1, least squares through the minima): a = .4632, b =
    # .5368, 393B parameters on 16.1T tokens at 3.8e25 FLOPs
    for fit, exponent, at_target in ((p.n_opt, 0.4632, 393e9), (p.d_opt, 0.5368, 16.1e12)):
        assert (
            abs(fit.exponent_a - exponent) < (fit.a_ci[1] - fit.a_ci[0]) / 4
        )  # within our standard error
        row = fit.predict(3.8e25, interval=True).iloc[0]
        assert (
            row.lower < at_target < row.upper
            and abs(np.log(row.y / at_target)) < np.log(row.upper / row.lower) / 4
        )
    df = result.to_dataframe()
    same = fit_isoflop(
        df.num_params, df.num_tokens, df.loss, df.compute_budget, weighted=False
    )  # their way, to the digit
    assert same.n_opt.exponent_a == pytest.approx(0.4632, abs=1e-4) and same.d_opt.predict(
        3.8e25
    ) == pytest.approx(16.1e12, rel=0.005)
    fit = fit_parametric(df.num_params, df.num_tokens, df.loss, objective="linear").params
    for name, value in dict(E=0.60467, A=59.14, B=155.11, alpha=0.31001, beta=0.31364).items():
        assert fit[name] == pytest.approx(value, rel=0.02), name


def test_predictions_carry_intervals(swept):
    p = swept.predict(1e8)
    assert {"target_compute", "optimal_params", "optimal_tokens", "expected_loss"} <= set(p)
    for k in ("optimal_params", "optimal_tokens", "expected_loss"):
        assert p[f"{k}_lower"] <= p[k] <= p[f"{k}_upper"]
    assert p["optimal_params"] * p["optimal_tokens"] * 6 == pytest.approx(1e8, rel=1e-6)
    json.dumps({k: float(v) for k, v in p.items()})


@pytest.mark.parametrize("bad", [-1, 0, float("nan"), float("inf"), "much", None])
def test_bad_budgets_never_give_a_number(swept, bad):
    with pytest.raises((FitError, ContractError)):
        swept.predict(bad)


def test_the_table_has_a_row_a_budget(swept):
    rows = [l for l in swept.chinchilla_table().splitlines() if l.startswith("|")]
    assert len(rows) == 2 + 9  # header, rule, logspace(18, 22, 9)
    assert "imulated" not in swept.chinchilla_table()


def test_saved_and_loaded_it_answers_the_same(swept, tmp_path):
    again = Result.load(swept.save(tmp_path / "copy"))
    assert again.predict(1e8) == swept.predict(1e8) and again.runs == swept.runs


def test_pictures_are_written(swept):
    figures = swept.plot()
    assert len(figures) >= 4
    names = {f.name for f in (swept.output_dir / "plots").glob("*.png")}
    assert {"isoflops.png", "scaling_laws.png"} <= names and all(
        (swept.output_dir / "plots" / n).stat().st_size > 5000 for n in names
    )


def test_verify_sets_measured_beside_predicted_and_costs_once(swept, monkeypatch):
    v = swept.verify(1.2e7, neighbours=2)
    assert len(v.table) >= 2 and (v.table.measured > 0).all()
    r = v.table.iloc[0]
    assert v.error == pytest.approx(r.predicted / r.measured - 1) and v.inside == (
        r.lower <= r.measured <= r.upper
    )
    import flops_fit.trainer.train

    monkeypatch.setattr(
        flops_fit.trainer.train, "train_trunk", lambda *a, **k: pytest.fail("trained again")
    )
    pd.testing.assert_frame_equal(swept.verify(1.2e7, neighbours=2).table, v.table)


def test_train_gives_the_model_and_keeps_it(swept, monkeypatch):
    model = swept.train(1.1e7)
    x, y = xor_data(500, seed=1)
    with torch.no_grad():
        loss = float(F.cross_entropy(model(x), y))
    assert loss < 0.69 and not model.training
    (kept,) = (swept.output_dir / "models" / "1.100e+07" / "weights").iterdir()
    assert (kept / "state.safetensors").exists()
    import flops_fit.trainer.train

    with monkeypatch.context() as m:
        m.setattr(
            flops_fit.trainer.train, "train_trunk", lambda *a, **k: pytest.fail("trained again")
        )
        again = swept.train(1.1e7)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values())
    )
    shutil.rmtree(kept)  # weights that are gone are made again, and on a CPU they are the same
    again = swept.train(1.1e7)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values())
    )


def test_what_verify_trained_is_not_trained_again(swept, monkeypatch):
    measured = swept.verify(1.2e7).runs[0].final_loss
    import flops_fit.trainer.train

    monkeypatch.setattr(
        flops_fit.trainer.train, "train_trunk", lambda *a, **k: pytest.fail("trained again")
    )
    from flops_fit.trainer.evaluation import evaluate

    model = swept.train(1.2e7)
    assert evaluate(model, swept.task.held_out, F.cross_entropy, swept.plan.recipe.eval_tokens)[
        0
    ] == pytest.approx(measured, rel=1e-6)


def test_other_measures_are_kept_in_every_table(tmp_path):
    from flops_fit.planner.sweep_design import plan_sweep
    from flops_fit.trainer.sweep import TrainingRunner

    right = lambda o, t: (o.argmax(-1) == t).float().mean()
    plan = plan_sweep(xor_task(), compute_budgets=BUDGETS[:1], sizes=SIZES[:2], recipe=RECIPE)
    rows = TrainingRunner(output_dir=tmp_path / "m", progress=False).run_sweep_from_plan(
        plan, Net, dataset=xor_data(), loss_fn=F.cross_entropy, metrics=dict(accuracy=right)
    )
    kept = [
        r["metrics"]["accuracy"] for r in json.loads((tmp_path / "m" / "results.json").read_text())
    ]
    assert [r["metrics"]["accuracy"] for r in rows] == kept == Result.load(
        tmp_path / "m"
    ).to_dataframe().accuracy.tolist() and all(0.3 < a <= 1 for a in kept)


def test_limited_data_in_what_a_result_answers(swept):
    ours, fresh = swept.predict(1e9), swept.predict(1e9, unique_tokens=None)
    assert (
        ours["unique_tokens"] == swept.runs[0].unique_tokens
        and ours["epochs"] > 1
        and ours["expected_loss"] > fresh["expected_loss"]
    )
    assert "Epochs" in swept.chinchilla_table([1e9]) and "Epochs" not in swept.chinchilla_table(
        [1e9], unique_tokens=None
    )
    v = swept.verify(1.2e7).table.iloc[0]
    assert v.predicted == pytest.approx(
        swept.analysis._loss(v.num_params, v.num_tokens, ours["unique_tokens"])
    )


def test_refusals(swept, tmp_path):
    with pytest.raises(ContractError, match="beyond the sweep"):
        swept.verify(BUDGETS[0])
    with pytest.raises(ContractError, match="task"):
        Result.load(swept.output_dir).verify(1e8)
    with pytest.raises(ContractError, match="saved plan"):
        Result.load(tmp_path)
    with pytest.raises(FitError):
        Result.from_runs(pd.DataFrame(dict(colour=["red"])))
    with pytest.raises(FitError, match="6 completed runs"):
        Result.from_runs(swept.to_dataframe().head(3)).predict(1e8)
