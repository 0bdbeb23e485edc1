"Power laws of one variable, isoFLOP minima and envelopes."

import numpy as np, pytest
from hypothesis import given, settings, strategies as st
from flops_fit.fitter.curves import fit_envelope, fit_isoflop, fit_power_law
from flops_fit.fitter.laws import CHINCHILLA, FitError


def test_power_laws():
    x = np.geomspace(1e17, 1e21, 9)
    fit = fit_power_law(x, 3 * x**0.5)
    assert (fit.coefficient_k, fit.exponent_a, fit.l_inf) == (
        pytest.approx(3, rel=1e-8),
        pytest.approx(0.5, rel=1e-9),
        0,
    )
    fit = fit_power_law(x, 1.7 + 900 * x**-0.16, floor=True)
    assert (fit.l_inf, fit.exponent_a) == (
        pytest.approx(1.7, rel=1e-6),
        pytest.approx(-0.16, rel=1e-6),
    )
    fit = fit_power_law(x, 1.7 + 900 * x**-0.16, floor=1.7)
    assert (fit.l_inf, fit.exponent_a) == (pytest.approx(1.7), pytest.approx(-0.16, rel=1e-7))
    inside = [
        f.a_ci[0] < 0.5 < f.a_ci[1]
        for f in (
            fit_power_law(x, x**0.5 * np.exp(0.05 * np.random.default_rng(i).normal(size=9)))
            for i in range(100)
        )
    ]
    assert np.mean(inside) > 0.88
    for bad in ((x[:1], x[:1]), (x, -x), (x, x[:3])):
        with pytest.raises(FitError):
            fit_power_law(*bad)


def test_isoflop_cubic_is_less_biased():
    p = dict(E=1.7, A=400.0, B=900.0, alpha=0.45, beta=0.3)
    C = np.repeat(np.geomspace(1e18, 1e21, 5), 11)
    best = np.exp(CHINCHILLA.best_on_budget(CHINCHILLA.work(p)[None], np.log(C[::11]))[0][0])
    N = np.repeat(best, 11) * np.tile(np.geomspace(1 / 10, 10, 11), len(best))
    D = C / 6 / N
    off = [
        np.abs(
            np.log(
                fit_isoflop(N, D, CHINCHILLA(N, D, **p), budgets=C, degree=d).minima.num_params
                / best
            )
        ).max()
        for d in (2, 3)
    ]
    assert off[1] < 0.5 * off[0]
    with pytest.raises(FitError, match="at least 2"):
        fit_isoflop(N[:2], D[:2], N[:2])


def test_envelope():
    n, d = (
        v.ravel()
        for v in np.meshgrid(
            np.geomspace(1e6, 1e8, 16), np.geomspace(1e9, 3e12, 120), indexing="ij"
        )
    )
    fit = fit_envelope(n, d, 1.7 + 400 / n**0.45 + 900 / d**0.3)
    assert fit.n_opt.exponent_a == pytest.approx(
        0.4, abs=0.05
    ) and fit.n_opt.exponent_a + fit.d_opt.exponent_a == pytest.approx(1, abs=0.01)
    with pytest.raises(FitError):
        fit_envelope(n[:3], d, d)


def test_floor_interval_holds_the_floor():
    x, inside = np.geomspace(1e17, 1e21, 12), []
    for i in range(60):
        fit = fit_power_law(
            x,
            (1.7 + 900 * x**-0.16) * np.exp(0.002 * np.random.default_rng(i).normal(size=12)),
            floor=True,
        )
        inside.append(fit.l_inf_ci[0] < 1.7 < fit.l_inf_ci[1])
    assert np.mean(inside) > 0.85


def test_isoflop_says_what_it_left_out():
    C = np.repeat([1e18, 1e19, 1e20, 1e21], 6)
    N = 1e8 * (C / 1e18) ** 0.5 * np.tile(np.geomspace(0.2, 5, 6), 4)
    D = C / 6 / N
    loss = 2 + 0.1 * np.log(N / (1e8 * (C / 1e18) ** 0.5)) ** 2 + 0.3 * (1e18 / C) ** 0.2
    loss[:6] = 3 - 0.1 * np.log(N[:6] / 1e8)  # the first budget only falls
    keep = np.r_[:6, 6:8, 12:24]  # and the second has two sizes
    fit = fit_isoflop(N[keep], D[keep], loss[keep], C[keep])
    assert {w.code for w in fit.warnings} == {"no_valley", "thin_budget"} or {
        w.code for w in fit.warnings
    } >= {"thin_budget"}
    assert fit.n_opt.exponent_a == pytest.approx(0.5, abs=1e-6)
    assert fit.curve(1e21, N[18:]) == pytest.approx(loss[18:], rel=1e-6)
    same = fit_isoflop(N[12:], D[12:], loss[12:])  # budgets found from N and D
    assert list(same.minima.compute_budget) == pytest.approx([1e20, 1e21], rel=1e-6)


@settings(max_examples=40, deadline=None)
@given(k=st.floats(1e-3, 1e3), a=st.floats(-0.6, 0.8), share=st.floats(0.05, 0.9))
def test_recovers_power_laws_without_noise(k, a, share):
    x = np.geomspace(1e17, 1e21, 9)
    fit = fit_power_law(x, k * x**a)
    assert (fit.coefficient_k, fit.exponent_a) == (
        pytest.approx(k, rel=1e-6),
        pytest.approx(a, abs=1e-8),
    )
    if abs(a) < 0.05:
        return  # a flat line and a floor cannot be told apart
    floor = share * (k * x**a).max()
    fit = fit_power_law(x, k * x**a + floor, floor=True)
    assert (fit.l_inf, fit.exponent_a) == (
        pytest.approx(floor, rel=1e-5),
        pytest.approx(a, rel=1e-4),
    )
