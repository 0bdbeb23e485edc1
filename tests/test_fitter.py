"Fits: recovery, robustness, constraints, refusals, warnings, and that what is saved comes back."

import json
import numpy as np, pandas as pd, pytest
from hypothesis import assume, example, given, settings, strategies as st
from flops_fit.errors import FitError
from flops_fit.fitter.answers import LawFit
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.laws import CHINCHILLA, COUPLED, DATA_CONSTRAINED, KAPLAN, Law

truth = dict(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def grid(n_budgets=5, n_sizes=9, width=6, top=1e21):
    "N, D of an isoFLOP design around the optimum of `truth`"
    C = np.repeat(np.geomspace(top / 1e3, top, n_budgets), n_sizes)
    N = np.exp(CHINCHILLA.best_on_budget(CHINCHILLA.work(truth)[None], np.log(C))[0][0]) * np.tile(
        np.geomspace(1 / width, width, n_sizes), n_budgets
    )
    return N, C / 6 / N


def noisy(sigma=0.005, seed=0, **kw):
    N, D = grid(**kw)
    return (
        N,
        D,
        CHINCHILLA(N, D, **truth) * np.exp(sigma * np.random.default_rng(seed).normal(size=len(N))),
    )


@settings(max_examples=25, deadline=None)
@given(
    E=st.floats(0.3, 3),
    A=st.floats(50, 5e3),
    B=st.floats(50, 5e3),
    alpha=st.floats(0.15, 0.6),
    beta=st.floats(0.15, 0.6),
)
def test_recovers_chinchilla_without_noise(E, A, B, alpha, beta):
    p = dict(E=E, A=A, B=B, alpha=alpha, beta=beta)
    N, D = grid(width=10)
    got = fit_parametric(N, D, CHINCHILLA(N, D, **p)).params
    for k in p:
        assert got[k] == pytest.approx(p[k], rel=1e-6), k


@pytest.mark.parametrize("objective", ["huber", "log", "linear"])
def test_every_objective_recovers(objective):
    N, D = grid()
    got = fit_parametric(N, D, CHINCHILLA(N, D, **truth), objective=objective).params
    for k in truth:
        assert got[k] == pytest.approx(truth[k], rel=1e-6)


def test_recovers_other_laws():
    N, D = grid(width=20)
    p = dict(A=2000.0, B=3000.0, alpha=0.3, beta=0.25, g=0.4)
    got = fit_parametric(N, D, KAPLAN(N, D, **p), law="kaplan").params
    assert got["E"] == 0
    for k in p:
        assert got[k] == pytest.approx(p[k], rel=1e-6), k
    U = D / np.tile([1, 1, 3, 9, 30], 9)
    p = dict(truth, R_D=12.0, R_N=6.0)
    got = fit_parametric(
        N, D, DATA_CONSTRAINED(N, D, U, **p), law="data_constrained", unique_tokens=U
    ).params
    for k in p:
        assert got[k] == pytest.approx(p[k], rel=1e-6), k
    mine = Law.from_function(
        lambda N, D, E, A, alpha, drift: E + A / N**alpha + drift * np.log(D), real=("drift",)
    )
    p = dict(E=2.0, A=400.0, alpha=0.3, drift=-0.02)
    got = fit_parametric(N, D, mine(N, D, **p), law=mine).params
    for k in p:
        assert got[k] == pytest.approx(p[k], rel=1e-5), k


def test_coupled_without_priors_recovers():
    "The same form as a law without priors: its gradient and starts are enough"
    from dataclasses import replace

    N, D = grid(width=20)
    p = dict(E=1.6, A=300.0, B=900.0, alpha=0.3, beta=0.28, g=0.5)
    got = fit_parametric(N, D, COUPLED(N, D, **p), law=replace(COUPLED, name="free")).params
    for k in p:
        assert got[k] == pytest.approx(p[k], rel=1e-6), k


def test_diverged_runs_hardly_matter():
    N, D, loss = noisy()
    spoiled = loss.copy()
    spoiled[[3, 17, 40]] *= [2, 1.4, 3]
    clean, robust = (fit_parametric(N, D, l).optimum(1e23).optimal_params for l in (loss, spoiled))
    assert abs(np.log(robust / clean)) < 0.1
    assert (
        abs(
            np.log(
                fit_parametric(N, D, spoiled, objective="log").optimum(1e23).optimal_params / clean
            )
        )
        > 0.1
    )


def test_fixed_tied_bounded():
    N, D, loss = noisy()
    fit = fit_parametric(N, D, loss, fixed={"E": 1.8, "A": 480.0}, tied={"beta": "alpha"})
    assert (
        fit.params["E"] == 1.8
        and fit.params["A"] == pytest.approx(480)
        and fit.params["alpha"] == fit.params["beta"]
    )
    assert fit.conf_int().loc["a"].tolist() == [0.5, 0.5] and fit.conf_int().loc["E"].tolist() == [
        1.8,
        1.8,
    ]
    fit = fit_parametric(N, D, loss, bounds={"E": (None, 1.5)})
    assert fit.params["E"] == pytest.approx(1.5) and "at_bound" in [w.code for w in fit.warnings]
    assert fit_parametric(N, D, loss, fixed={"E": 0}).params["E"] == 0


@pytest.mark.parametrize("law", ["chinchilla", "coupled"])
@pytest.mark.parametrize("method", ["delta", "profile", "bootstrap"])
def test_intervals_hold_the_estimate(law, method):
    fit = fit_parametric(*noisy(), law=law)
    ci = fit.conf_int(method=method, n_boot=300)
    assert list(ci.columns) == ["lower", "upper"] and set("E A B alpha beta a b".split()) <= set(
        ci.index
    )
    assert ("g" in ci.index) == (law == "coupled")
    for k, v in fit.params.items():
        assert ci.loc[k, "lower"] < v < ci.loc[k, "upper"]
    wider = fit.conf_int(0.99, method, n_boot=300)
    assert (wider.upper - wider.lower > ci.upper - ci.lower).all()


@pytest.mark.parametrize("seed", range(4))
def test_groups_widen(seed):
    "Twelve sizes, each with an error that all its runs share: as many trunks, not 60 runs"
    rng = np.random.default_rng(seed)
    trunk = np.tile(np.arange(12), 5)
    N = np.geomspace(5e7, 2e9, 12)[trunk]
    D = np.repeat(np.geomspace(3e18, 3e20, 5), 12) / 6 / N
    noise = rng.normal(0, 0.01, 12)[trunk] + rng.normal(0, 0.0005, 60)
    loss = CHINCHILLA(N, D, **truth) * np.exp(noise)
    alone, grouped = fit_parametric(N, D, loss), fit_parametric(N, D, loss, groups=trunk)
    assert (alone.df, grouped.df) == (55, 11)
    width = [np.ptp(f.conf_int().loc["alpha"]) for f in (alone, grouped)]
    assert width[1] > 1.5 * width[0]
    with pytest.raises(FitError, match="groups"):
        fit_parametric(N, D, loss, groups=np.zeros(60))


def test_loss_se_weighs():
    N, D = grid()
    se = np.where(np.arange(45) % 2, 0.0005, 0.05)
    rng = np.random.default_rng(0)
    err = []
    for w in (None, se):
        rng = np.random.default_rng(0)
        err.append(
            np.mean(
                [
                    np.log(
                        fit_parametric(
                            N,
                            D,
                            CHINCHILLA(N, D, **truth) * np.exp(se * rng.normal(size=45)),
                            loss_se=w,
                            objective="log",
                        ).params["alpha"]
                        / 0.35
                    )
                    ** 2
                    for _ in range(8)
                ]
            )
        )
    assert err[1] < 0.5 * err[0]


def test_optimum_penalty_and_budget_agree():
    fit = fit_parametric(*noisy())
    for kw in ({}, dict(unique_tokens=1e10), dict(inference_tokens=1e11)):
        best = fit.optimum(1e22, **kw)
        assert best.optimal_params_lower < best.optimal_params < best.optimal_params_upper
        assert best.expected_loss_lower < best.expected_loss < best.expected_loss_upper
        assert fit.predict(
            best.optimal_params, best.optimal_tokens, kw.get("unique_tokens")
        ) == pytest.approx(best.expected_loss, rel=1e-6)
        assert fit.budget_for(best.expected_loss, **kw).compute == pytest.approx(1e22, rel=2e-3)
    paid = fit.penalty(1e22, 3)
    assert (
        paid.penalty == pytest.approx(paid.loss - fit.optimum(1e22).expected_loss)
        and paid.penalty_lower < paid.penalty < paid.penalty_upper
    )
    many = fit.optimum([1e21, 1e22])
    assert many.optimal_params.shape == (2,) and list(many.to_dataframe().target_compute) == [
        1e21,
        1e22,
    ]
    assert isinstance(fit.optimum(1e22).optimal_params, float)


def test_predict_frames():
    fit = fit_parametric(*noisy(), law="coupled")
    assert isinstance(fit.predict(1e9, 1e10), float)
    c, p = (fit.predict([1e9, 2e9], 1e11, interval=i) for i in ("confidence", "prediction"))
    assert list(c.columns) == ["num_params", "num_tokens", "loss", "lower", "upper"]
    assert (
        (p.lower < c.lower) & (c.lower < c.loss) & (c.loss < c.upper) & (c.upper < p.upper)
    ).all()


@pytest.mark.parametrize("law", ["chinchilla", "coupled"])
def test_saved_and_loaded(law):
    fit = fit_parametric(*noisy(), law=law, fixed={"E": 1.7} if law == "chinchilla" else None)
    again = LawFit.from_dict(json.loads(json.dumps(fit.to_dict())))
    assert again.params == fit.params and again.optimum(1e23) == fit.optimum(1e23)
    pd.testing.assert_frame_equal(again.conf_int(method="profile"), fit.conf_int(method="profile"))
    assert again.summary() == fit.summary() and again._repr_html_() == fit._repr_html_()


good = noisy()


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(N=[np.nan, *good[0][1:]]), "N: expected positive, finite"),
        (dict(D=-good[1]), "D: expected positive"),
        (dict(loss=[0, *good[2][1:]]), "loss: expected positive"),
        (dict(N=["big"] * 45), "N: expected numbers"),
        (dict(N=["1e6"] * 45), "N: expected numbers"),
        (dict(N=np.full(45, 1e8)), "N: expected several model sizes"),
        (dict(D=np.full(45, 1e9)), "D: expected several token counts"),
        (dict(loss=np.full(45, 2.0)), "loss: expected runs that differ"),
        (dict(law="coupled", delta=1e-3), "coupled law with priors sets its own"),
        (dict(D=good[1][:7]), "D: expected 45 values"),
        (dict(N=good[0][:5], D=good[1][:5], loss=good[2][:5]), "more runs than the 5 free"),
        (dict(N=good[0][:1], D=good[1][:1], loss=good[2][:1]), "several runs, got 1"),
        (dict(N=good[0].reshape(5, 9)), "one value a run"),
        (dict(law="chinchila"), "expected a Law or one of"),
        (dict(law="data_constrained"), "unique_tokens"),
        (dict(objective="l1"), "objective"),
        (dict(delta=-1), "delta"),
        (dict(fixed={"F": 1}), "not parameters"),
        (dict(fixed={"alpha": 0}), "fixed"),
        (dict(tied={"beta": "gamma"}), "tied"),
        (dict(bounds={"E": (2, 1)}), "lower < upper"),
        (dict(weights=-np.ones(45)), "weights"),
        (dict(loss_se=np.zeros(45)), "loss_se"),
        (dict(groups=np.arange(9)), "groups"),
        (dict(compute=np.zeros(45)), "compute"),
        (dict(law="coupled", N=good[0][:5], D=good[1][:5], loss=good[2][:5]), "at least 6"),
    ],
)
def test_refusals_say_why(change, message):
    with pytest.raises(FitError, match=message):
        fit_parametric(**{**dict(N=good[0], D=good[1], loss=good[2]), **change})


def test_warnings():
    codes = lambda f: {w.code for w in f.warnings}
    N, D, loss = good
    assert "duplicated_rows" in codes(fit_parametric(*(np.r_[v, v[:3]] for v in good)))
    assert "few_runs" in codes(fit_parametric(N[::5], D[::5], loss[::5]))
    one = CHINCHILLA(N, 20 * N, **truth) * np.exp(0.003 * np.random.default_rng(0).normal(size=45))
    assert "rank_deficient" in codes(fit_parametric(N, 20 * N, one))
    assert "few_groups" in codes(fit_parametric(N, D, loss, groups=np.arange(45) % 5))
    assert not codes(fit_parametric(N, D, loss))
    assert not codes(
        fit_parametric(N, D, CHINCHILLA(N, D, **truth))
    )  # no noise is no reason to warn
    assert "repeats_ignored" in codes(fit_parametric(N, D, loss, unique_tokens=D / 4))


def test_uneven_noise_is_noticed_and_allowed_for():
    N, D = grid(n_budgets=10, n_sizes=12)
    even, uneven = [], []
    for i in range(12):
        z = np.random.default_rng(i).normal(size=120)
        even.append(fit_parametric(N, D, CHINCHILLA(N, D, **truth) * np.exp(0.005 * z)))
        uneven.append(
            fit_parametric(
                N, D, CHINCHILLA(N, D, **truth) * np.exp(0.005 * z * np.geomspace(4, 0.5, 120))
            )
        )
    warned = lambda fits: np.mean(["uneven_noise" in [w.code for w in f.warnings] for f in fits])
    assert warned(even) < 0.2 and warned(uneven) > 0.8


@settings(max_examples=15, deadline=None)
@given(
    E=st.floats(0.5, 3),
    A=st.floats(50, 2e3),
    B=st.floats(50, 2e3),
    alpha=st.floats(0.2, 0.5),
    beta=st.floats(0.2, 0.5),
    g=st.floats(0.35, 0.9),
)
def test_recovers_coupled_without_noise(E, A, B, alpha, beta, g):
    "With its priors: they weigh nothing where there is no noise"
    p = dict(E=E, A=A, B=B, alpha=alpha, beta=beta, g=g)
    C = np.repeat(np.geomspace(1e18, 1e21, 5), 9)
    N = np.exp(COUPLED.best_on_budget(COUPLED.work(p)[None], np.log(C))[0][0]) * np.tile(
        np.geomspace(1 / 10, 10, 9), 5
    )
    got = fit_parametric(N, C / 6 / N, COUPLED(N, C / 6 / N, **p), law="coupled").params
    for k in p:
        assert got[k] == pytest.approx(p[k], rel=1e-6), k


@settings(max_examples=15, deadline=None)
@given(
    A=st.floats(20, 2e3),
    B=st.floats(20, 2e3),
    alpha=st.floats(0.1, 0.5),
    beta=st.floats(0.1, 0.5),
    g=st.floats(0.2, 0.9),
)
def test_recovers_kaplan_without_noise(A, B, alpha, beta, g):
    p = dict(A=A, B=B, alpha=alpha, beta=beta, g=g)
    C = np.repeat(np.geomspace(1e18, 1e21, 5), 9)
    N = np.exp(KAPLAN.best_on_budget(KAPLAN.work(dict(p, E=0.0))[None], np.log(C))[0][0]) * np.tile(
        np.geomspace(1 / 10, 10, 9), 5
    )
    assume((C / 6 / N).min() > 1e-6)  # a count that is none is refused
    got = fit_parametric(N, C / 6 / N, KAPLAN(N, C / 6 / N, **p), law="kaplan").params
    for k in p:
        assert got[k] == pytest.approx(p[k], rel=1e-6), k


@settings(max_examples=10, deadline=None)
@given(
    R_D=st.floats(4, 40),
    R_N=st.floats(2, 20),
    alpha=st.floats(0.25, 0.45),
    beta=st.floats(0.25, 0.45),
)
@example(
    R_D=4.0, R_N=2.0, alpha=0.40625, beta=0.25
)  # nearly all models larger than their data: the parameters are lost in rounding
@example(R_D=4.0, R_N=2.0, alpha=0.4375, beta=0.25)
def test_recovers_repeats_without_noise(R_D, R_N, alpha, beta):
    p = dict(truth, alpha=alpha, beta=beta, R_D=R_D, R_N=R_N)
    N, D = grid(width=20)
    U = D / np.tile([1, 1, 3, 9, 30], 9)
    fit = fit_parametric(
        N, D, DATA_CONSTRAINED(N, D, U, **p), law="data_constrained", unique_tokens=U
    )
    if "rank_deficient" in {w.code for w in fit.warnings}:
        return  # said, not hidden
    for k in p:
        assert fit.params[k] == pytest.approx(p[k], rel=1e-5), k


@pytest.mark.parametrize("law", ["chinchilla", "coupled"])
def test_limited_data_far_beyond_the_runs(law):
    """Where data are spent the loss is flat to the last digit, but the optimum and its interval
    stay numbers that mean something"""
    N, D, loss = noisy()
    fit = fit_parametric(N, D, loss, law=law)
    best = fit.optimum(np.geomspace(1e22, 1e28, 7), unique_tokens=1e10)
    assert (
        (np.diff(np.log(best.optimal_params)) > 0.5).all()
        and (np.diff(np.log(best.epochs)) > 0.5).all()
        and (np.diff(best.expected_loss) <= 0).all()
    )
    assert (np.log(best.optimal_params_upper / best.optimal_params_lower) < 6).all()
    assert "data_spent" in {
        w.code for w in fit.warnings_at(1e26, unique_tokens=1e10)
    } and "data_spent" not in {w.code for w in fit.warnings_at(1e22, unique_tokens=1e13)}


def test_names_alone_do_not_make_a_law_of_the_family():
    "A user's law may call its parameters A, B, alpha and beta and mean something else by them"
    other = Law.from_function(
        lambda N, D, E, A, B, alpha, beta: E + A * N**-alpha + B * D**-beta + 3 * (N / D) ** 0.5,
        name="bent",
    )
    p = dict(E=1.7, A=400.0, B=400.0, alpha=0.34, beta=0.28)
    n, d, loss = (v[0, 0] for v in other.best_on_budget(other.work(p)[None], np.log([1e21])))
    around = other(np.exp(n) * np.array([0.9, 1, 1.1]), np.exp(d) / np.array([0.9, 1, 1.1]), **p)
    assert loss == pytest.approx(around[1]) and around.argmin() == 1
