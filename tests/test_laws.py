"Laws: values, gradients, optima and the repeats of data."

import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from flops_fit.fitter.laws import CHINCHILLA, COUPLED, DATA_CONSTRAINED, KAPLAN, LAWS, FitError, Law

hoffmann = dict(E=1.69, A=406.4, B=410.7, alpha=0.34, beta=0.28)


def test_value_matches_the_formula_and_broadcasts():
    N, D = np.array([1e8, 1e9])[:, None], np.array([1e10, 1e11, 1e12])
    L = CHINCHILLA(N, D, **hoffmann)
    assert L.shape == (2, 3)
    np.testing.assert_allclose(L, 1.69 + 406.4 / N**0.34 + 410.7 / D**0.28, rtol=1e-12)


@pytest.mark.parametrize("law", LAWS.values(), ids=list(LAWS))
def test_gradient_agrees_with_differences(law):
    rng = np.random.default_rng(3)
    x, y = rng.normal(0, 2, (2, 11))
    theta = rng.normal(-0.5, 0.4, (3, len(law.params)))
    u = y - rng.uniform(0, 3, 11)
    _, J = law.evaluate(theta, x, y, u)
    for i, h in enumerate(1e-6 * np.eye(len(law.params))):
        numeric = (law.evaluate(theta + h, x, y, u)[0] - law.evaluate(theta - h, x, y, u)[0]) / 2e-6
        np.testing.assert_allclose(J[:, i], numeric, rtol=1e-5, atol=1e-8 * np.abs(J).max())


@settings(max_examples=60, deadline=None)
@given(
    E=st.floats(0.1, 3),
    A=st.floats(10, 1e4),
    B=st.floats(10, 1e4),
    alpha=st.floats(0.1, 0.8),
    beta=st.floats(0.1, 0.8),
    g=st.floats(0.2, 1.5),
    logC=st.floats(16, 26),
)
def test_optimum_is_the_least_loss_on_the_budget(E, A, B, alpha, beta, g, logC):
    theta = COUPLED.work(dict(E=E, A=A, B=B, alpha=alpha, beta=beta, g=g))[None]
    n, d, loss = (v[0, 0] for v in COUPLED.best_on_budget(theta, np.array([logC * np.log(10)])))
    around = n + np.array([-0.5, -0.05, 0.05, 0.5])
    assert (
        COUPLED.loss(theta, around, logC * np.log(10) - np.log(6) - around)[0] >= loss * (1 - 1e-13)
    ).all()
    np.testing.assert_allclose(n + d, logC * np.log(10) - np.log(6), rtol=1e-12)


def test_search_agrees_with_the_closed_form():
    theta, C = CHINCHILLA.work(hoffmann)[None], np.log([1e20, 1e24])
    closed, searched = (
        CHINCHILLA.best_on_budget(theta, C),
        CHINCHILLA.best_on_budget(theta, C, inference_tokens=1e-6),
    )
    np.testing.assert_allclose(closed[0], searched[0], atol=1e-6)


def test_inference_budget_pays_for_both():
    theta, T = CHINCHILLA.work(hoffmann)[None], 1e13
    n, d, _ = (
        np.exp(v[0, 0])
        for v in CHINCHILLA.best_on_budget(theta, np.log([1e24]), inference_tokens=T)
    )
    assert 6 * n * d + 2 * n * T == pytest.approx(1e24, rel=1e-6)
    assert n < np.exp(CHINCHILLA.best_on_budget(theta, np.log([1e24]))[0][0, 0])


def test_repeats_follow_muennighoff():
    p = dict(
        E=np.exp(0.6254804),
        A=np.exp(6.255414),
        B=np.exp(7.3049974),
        alpha=0.3526596,
        beta=0.3526596,
        R_D=15.387756,
        R_N=5.309743,
    )
    N, D, U = 2.8e9, 5.5e10, 5e9
    G = (p["alpha"] * p["A"] / (p["beta"] * p["B"])) ** (1 / (p["alpha"] + p["beta"]))
    un = min(N, (U * G) ** (p["beta"] / p["alpha"]) * G)
    n = un + un * p["R_N"] * (1 - np.exp(-(N / un - 1) / p["R_N"]))
    d = U + U * p["R_D"] * (1 - np.exp(-(D / U - 1) / p["R_D"]))
    assert DATA_CONSTRAINED(N, D, U, **p) == pytest.approx(
        p["E"] + p["A"] / n ** p["alpha"] + p["B"] / d ** p["beta"], rel=1e-12
    )
    plain = {k: v for k, v in p.items() if k[0] != "R"}
    assert CHINCHILLA(N, D, U, **plain) == pytest.approx(DATA_CONSTRAINED(N, D, U, **p), rel=1e-12)
    assert CHINCHILLA(N, D, **plain) < CHINCHILLA(N, D, U, **plain)


def test_kaplan_is_coupled_without_a_floor():
    p = dict(A=400.0, B=900.0, alpha=0.3, beta=0.25, g=0.4)
    assert KAPLAN(1e9, 1e10, **p) == pytest.approx(
        ((400 / 1e9**0.3) ** 2.5 + (900 / 1e10**0.25) ** 2.5) ** 0.4, rel=1e-12
    )


def test_a_law_of_ones_own():
    law = Law.from_function(
        lambda N, D, E, A, c: E + A / N**0.3 + c * np.log(D), name="mine", real=("c",)
    )
    assert law.params == ("E", "A", "c") and law.name == "mine"
    assert law(1e6, 1e9, E=1.0, A=50.0, c=-0.01) == pytest.approx(
        1 + 50 / 1e6**0.3 - 0.01 * np.log(1e9)
    )
    with pytest.raises(FitError, match="named parameter"):
        Law.from_function(lambda N, D: N)
    with pytest.raises(FitError, match="spelling"):
        Law.from_function(lambda N, D, E: E, real=("F",))
