"Where data repeat: the law, which law answers, and what predictions say of data that run out"

import json
import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from flops_fit.fitter.analyzer import ScalingLawAnalyzer
from flops_fit.fitter.select import held_out
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.laws import COUPLED, FitError
from flops_fit.fitter.lawfit import LawFit
from flops_fit.fitter.laws import COUPLED_REPEATS
from flops_fit.fitter.repeats import fit_repeats
from flops_fit.result import Result
from conftest import root

truth = dict(E=1.7, A=400.0, B=600.0, alpha=0.33, beta=0.3, g=0.5, R_D=15.0, R_N=5.0)


def runs(most=30.0, noise=0.003, seed=0, one_U=False, **other):
    "Sizes around the optimum at six budgets, on data that the largest runs see `most` times."
    C = np.repeat(np.geomspace(3e17, 1e20, 6), 6)
    N = np.sqrt(C / 120) * np.tile(np.geomspace(0.2, 5, 6), 6)
    D = C / 6 / N
    U = np.full(len(D), D.max() / most) if one_U else D / np.tile(np.geomspace(1, most, 4), 9)
    loss = COUPLED_REPEATS(N, D, unique_tokens=np.minimum(U, D), **{**truth, **other}) * np.exp(
        np.random.default_rng(seed).normal(0, noise, len(N))
    )
    return pd.DataFrame(
        dict(num_params=N, num_tokens=D, compute_budget=C, unique_tokens=U, loss=loss)
    )


def codes(a):
    return {w.code for w in a.warnings}


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_gradient_is_the_slope(seed):
    rng = np.random.default_rng(seed)
    theta = COUPLED_REPEATS.work({k: v * np.exp(rng.normal(0, 0.3)) for k, v in truth.items()})[
        None
    ]
    x, u = rng.uniform(16, 24, 12), rng.uniform(18, 25, 12)
    y = u + rng.uniform(0.1, 4, 12)
    J = COUPLED_REPEATS.evaluate(theta, x, y, u)[1]
    slope = np.stack(
        [
            (
                COUPLED_REPEATS.evaluate(theta + e, x, y, u, False)[0]
                - COUPLED_REPEATS.evaluate(theta - e, x, y, u, False)[0]
            )
            / 2e-6
            for e in 1e-6 * np.eye(8)
        ],
        1,
    )
    assert np.allclose(J, slope, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(N=st.floats(1e6, 1e10), U=st.floats(1e8, 1e11), looks=st.floats(1, 1000))
def test_repeats_help_but_less_than_new_tokens(N, U, looks):
    plain = {k: truth[k] for k in COUPLED.params}
    again = COUPLED_REPEATS(N, U * looks, unique_tokens=U, **truth)
    assert COUPLED(N, U * looks, **plain) <= again * (1 + 1e-12) and again <= COUPLED_REPEATS(
        N, U, unique_tokens=U, **truth
    ) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("one_U", [False, True])
def test_many_repeats_ask_for_the_repeats_law(seed, one_U):
    a = ScalingLawAnalyzer(runs(seed=seed, one_U=one_U)).analyze()
    assert a.law is a.repeats and {"repeats_law"} == codes(a) & {"repeats_law", "repeated_data"}
    assert (
        a.held_out.rms["repeats"] < 0.9 * a.held_out.rms["coupled"]
        and a.approaches().index[-1] == "repeats"
    )


@pytest.mark.parametrize("seed", range(4))
def test_few_repeats_leave_the_coupled_law(seed):
    a = ScalingLawAnalyzer(runs(1.9, seed=seed)).analyze()
    assert (
        a.law is a.coupled
        and a.repeats is not None
        and "costs next to nothing"
        in next(w.message for w in a.warnings if w.code == "repeated_data")
    )
    assert a.approaches().index[-1] == "coupled" and a.as_new == pytest.approx(1.9)


@pytest.mark.parametrize("seed", range(4))
def test_repeats_that_cost_nothing_leave_the_coupled_law(seed):
    t = runs(seed=seed).drop(columns="loss")
    t["loss"] = COUPLED(
        t.num_params, t.num_tokens, **{k: truth[k] for k in COUPLED.params}
    ) * np.exp(np.random.default_rng(seed).normal(0, 0.003, len(t)))
    a = ScalingLawAnalyzer(t).analyze()
    assert a.law is a.coupled and "repeated_data" in codes(a) and a.as_new == pytest.approx(30)


def test_too_few_runs_to_hold_some_out_are_judged_by_their_fit():
    few = runs(seed=1).iloc[[6, 7, 9, 10, 12, 15, 17, 18, 21]]
    a = ScalingLawAnalyzer(few).analyze()
    assert not len(a.held_out) and "too few to hold some out" in next(
        w.message for w in a.warnings if w.code in ("repeats_law", "repeated_data")
    )


def test_without_repeats_nothing_is_said():
    for t in (runs(1.0), runs().drop(columns="unique_tokens"), runs().assign(unique_tokens=np.nan)):
        a = ScalingLawAnalyzer(t).analyze()
        assert (
            a.repeats is None
            and a.law is a.coupled
            and not codes(a) & {"repeats_law", "repeated_data", "limited_data"}
        )
        assert a.unique_tokens is None or a.unique_tokens > 0
    some = runs()
    some.loc[:5, "unique_tokens"] = np.nan  # unknown: taken as new
    assert ScalingLawAnalyzer(some).analyze().repeats is not None


def test_the_committed_runs_decide_as_their_errors_say():
    r = pd.read_csv(root / "benchmarks/results/vit_repeats.csv")
    past = (
        r.sort_values("num_tokens")
        .groupby(["augmented", "trunk"])
        .loss.transform(lambda l: l > l.cummin())
        .reindex(r.index)
    )
    plain = ScalingLawAnalyzer(r[~r.augmented & ~past]).analyze()
    assert (
        plain.law is plain.repeats
        and plain.held_out.rms["repeats"] < 0.85 * plain.held_out.rms["coupled"]
    )
    assert ScalingLawAnalyzer(r[~r.augmented]).analyze().law.law is COUPLED_REPEATS
    moved = ScalingLawAnalyzer(r[r.augmented]).analyze()
    assert (
        moved.law is moved.coupled
        and moved.repeats.params["R_D"] > 2 * plain.repeats.params["R_D"]
        and moved.as_new == pytest.approx(30, abs=0.1)
    )
    sweep = ScalingLawAnalyzer(root / "benchmarks/results/vit_cifar.csv").analyze()
    assert (
        sweep.law is sweep.coupled
        and sweep.unique_tokens == 50_000
        and "limited_data" in codes(sweep)
    )


def test_the_repeated_data_papers_runs(published):
    a = ScalingLawAnalyzer(published / "repeated.csv").analyze()
    assert len(a.runs) == 296 and a.law is a.repeats
    ci = a.law.conf_int(level=0.99)  # theirs is an estimate too
    for name, published in (("R_D", 15.387756), ("R_N", 5.309743)):
        assert ci.lower[name] < published < ci.upper[name], name
    U = a.runs.unique_tokens.to_numpy()
    for h in (2.5, 8):
        held = held_out(a.coupled, h, np.inf, U)
        assert held.rms["repeats"] < 0.65 * held.rms["coupled"] and held.inside["repeats"] > 0.9
    low = a.runs[
        a.runs.flops <= a.max_compute / 8
    ]  # Chinchilla's form with repeats, as published, is further off
    theirs = fit_parametric(
        low.num_params,
        low.num_tokens,
        low.loss,
        law="data_constrained",
        unique_tokens=low.unique_tokens,
    )
    rest = a.runs.drop(low.index)
    miss = np.log(rest.loss / theirs.predict(rest.num_params, rest.num_tokens, rest.unique_tokens))
    assert held.rms["repeats"] < 0.8 * np.sqrt((miss**2).mean())


def test_predictions_know_how_much_data_there_is():
    a = ScalingLawAnalyzer(runs(one_U=True)).analyze()
    U, C = a.unique_tokens, 1e22
    ours, fresh = a.predict(C), a.predict(C, unique_tokens=None)
    assert (
        "epochs" not in fresh
        and ours["unique_tokens"] == U
        and ours["epochs"] == pytest.approx(ours["optimal_tokens"] / U)
    )
    assert ours["epochs"] > 1 and ours["expected_loss"] > fresh["expected_loss"]
    assert ours["expected_loss"] == pytest.approx(
        a.repeats.optimum(C, unique_tokens=U).expected_loss
    )
    assert a.predict(C, 2 * U)["expected_loss"] < ours["expected_loss"] and a.predict(C, 1e20)[
        "expected_loss"
    ] == pytest.approx(fresh["expected_loss"])
    assert (
        a.n_opt_fit.predict(C) == pytest.approx(fresh["optimal_params"])
        and a.predict_optimal_size(C) == ours["optimal_params"]
    )
    several = a.predict([1e18, C])
    assert (
        np.allclose(several["expected_loss"], [a.predict(c)["expected_loss"] for c in (1e18, C)])
        and len(several.to_dataframe()) == 2
    )
    for bad in ("all", -1, 0, float("nan")):
        with pytest.raises(FitError, match="unique_tokens"):
            a.predict(C, unique_tokens=bad)


def test_what_the_law_says_of_repeats_is_near_the_truth():
    a = ScalingLawAnalyzer(runs(one_U=True, noise=0.001)).analyze()
    best = COUPLED_REPEATS.best_on_budget(
        COUPLED_REPEATS.work(truth)[None], np.log([1e21]), u=np.log(a.unique_tokens)
    )
    got = a.predict(1e21)
    assert (
        got["expected_loss_lower"] < best[2][0, 0] < got["expected_loss_upper"]
        and abs(np.log(got["optimal_tokens"]) - best[1][0, 0]) < 0.25
    )


def test_the_table_shows_epochs_only_where_data_are_short():
    a = ScalingLawAnalyzer(runs(one_U=True)).analyze()
    short, fresh = (
        a.chinchilla_table([1e20, 1e22]),
        a.chinchilla_table([1e20, 1e22], unique_tokens=None),
    )
    assert (
        "| Epochs |" in short
        and "unique tokens" in short
        and "Epochs" not in fresh
        and "unique" not in fresh
    )
    plenty = ScalingLawAnalyzer(runs(1.0).assign(unique_tokens=1e15)).analyze()
    assert (
        plenty.chinchilla_table()
        == ScalingLawAnalyzer(runs(1.0).drop(columns="unique_tokens")).analyze().chinchilla_table()
    )
    assert (
        Result(a).chinchilla_table([1e20], None) == a.chinchilla_table([1e20], None)
        and Result(a).predict(1e22, 1e15)["epochs"] < 1
    )


def test_repeats_that_looked_new_do_so_as_far_as_they_were_seen():
    t = runs(one_U=True)
    t["loss"] = COUPLED(
        t.num_params, t.num_tokens, **{k: truth[k] for k in COUPLED.params}
    ) * np.exp(np.random.default_rng(0).normal(0, 0.003, len(t)))
    a = ScalingLawAnalyzer(t).analyze()
    assert a.law is a.coupled and a.as_new == pytest.approx(30)
    inside = a.predict(1e19)
    assert 1 < inside["epochs"] < 30 and inside["expected_loss"] == pytest.approx(
        a.predict(1e19, None)["expected_loss"]
    )
    far, e = a.predict(1e22), 30
    looks = e + 15.387756 * (
        1 - np.exp(-(far["epochs"] - e) / 15.387756)
    )  # those after the thirtieth as for text
    assert far["epochs"] > 40 and a._loss(1e6, far["optimal_tokens"]) == pytest.approx(
        a.coupled.predict(1e6, looks * a.unique_tokens)
    )
    assert far["expected_loss"] > a.predict(1e22, None)["expected_loss"]
    wide, known = (
        np.log(p["expected_loss_upper"] / p["expected_loss_lower"])
        for p in (far, a.predict(1e22, None))
    )
    assert wide > known  # nobody has seen them


def test_words_and_pictures_tell_of_repeats(tmp_path):
    from flops_fit.plotter.plots import ScalingVisualizer, plot_scaling_laws

    a = ScalingLawAnalyzer(runs(one_U=True)).analyze()
    s, html = a.summary(), a._repr_html_()
    for text in (s, html):
        for word in ("repeats_law", "limited_data", "repeats law off by", "coupled"):
            assert word in text
    assert len(ScalingVisualizer(a).plot_all(tmp_path)) == 5
    legend = " ".join(t.get_text() for t in plot_scaling_laws(a, C=1e23).get_legend().get_texts())
    assert "unique tokens" in legend and "while data are new" in legend


def test_a_repeats_law_is_saved_and_read():
    t = runs()
    fit = fit_repeats(
        fit_parametric(t.num_params, t.num_tokens, t.loss, law="coupled"), t.unique_tokens
    )
    again = LawFit.from_dict(fit.to_dict(), law=COUPLED_REPEATS)
    assert again.predict(1e9, 1e11, 1e10) == pytest.approx(
        fit.predict(1e9, 1e11, 1e10)
    ) and again.optimum(1e22, 1e10) == pytest.approx(fit.optimum(1e22, 1e10))


def test_inside_the_runs_the_coupled_law_answers_as_it_was_fitted():
    a = ScalingLawAnalyzer(runs(1.9, one_U=True)).analyze()
    N, D = a.runs.num_params.to_numpy(), a.runs.num_tokens.to_numpy()
    assert a.law is a.coupled and np.allclose(a._loss(N, D), a.coupled.predict(N, D))
    pd.testing.assert_frame_equal(
        a._loss(N, D, interval="prediction"), a.coupled.predict(N, D, interval="prediction")
    )
    assert a._loss(N[-1], 100 * D.max()) > a.coupled.predict(N[-1], 100 * D.max())


def test_fit_parametric_knows_it_by_name(published):
    df = pd.read_csv(published / "repeated.csv").query("unique_tokens == 1e8")
    columns = (df.N, df.D, df.loss)
    fit = fit_parametric(*columns, law="repeats", unique_tokens=df.unique_tokens)
    assert (
        fit.params == fit_repeats(fit_parametric(*columns, law="coupled"), df.unique_tokens).params
    )
    assert LawFit.from_dict(json.loads(json.dumps(fit.to_dict()))).predict(
        1e9, 1e11, 1e8
    ) == pytest.approx(fit.predict(1e9, 1e11, 1e8))
    with pytest.raises(FitError, match="fixed"):
        fit_parametric(*columns, law="repeats", unique_tokens=df.unique_tokens, fixed={"E": 1.5})
    with pytest.raises(FitError, match="unique_tokens"):
        fit_parametric(*columns, law="repeats", unique_tokens=df.unique_tokens[:5])
    with pytest.raises(FitError, match="unique_tokens"):
        fit_parametric(*columns, law="repeats")
