"Intervals: against textbook answers, against each other, and where they must be wide."

import numpy as np, pytest
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.intervals import covariance_root, quantile, robust_scale, share_inside, spread
from flops_fit.fitter.laws import CHINCHILLA

truth = dict(E=1.8, A=480.0, B=2100.0, alpha=0.35, beta=0.37)


def line(n, seed=0):
    x = np.random.default_rng(seed).normal(size=n)
    return np.stack([np.ones(n), x - x.mean()])


def fitted(n_budgets=5, n_sizes=9, seed=0, **kw):
    C = np.repeat(np.geomspace(1e18, 1e21, n_budgets), n_sizes)
    N = np.exp(CHINCHILLA.best_on_budget(CHINCHILLA.work(truth)[None], np.log(C))[0][0]) * np.tile(
        np.geomspace(1 / 6, 6, n_sizes), n_budgets
    )
    return fit_parametric(
        N,
        C / 6 / N,
        CHINCHILLA(N, C / 6 / N, **truth)
        * np.exp(0.005 * np.random.default_rng(seed).normal(size=len(C))),
        **kw,
    )


def test_least_squares_is_the_textbook():
    J, r = line(40), 0.1 * np.random.default_rng(1).normal(size=40)
    R, df = covariance_root(J, r, np.inf)
    np.testing.assert_allclose(
        R @ R.T, (r**2).sum() / 38 * np.linalg.inv(J @ J.T), rtol=1e-10, atol=1e-15
    )
    assert df == 38


def test_hc3_is_the_textbook():
    J, r = line(40), 0.1 * np.random.default_rng(1).normal(size=40)
    R, _ = covariance_root(J, r, np.inf, np.ones(40))
    bread = np.linalg.inv(J @ J.T)
    h = np.einsum("qn,qr,rn->n", J, bread, J)
    np.testing.assert_allclose(R @ R.T, bread @ (J * (r / (1 - h)) ** 2) @ J.T @ bread, rtol=1e-4)


def test_cr3_is_the_jackknife_over_groups():
    "CR3 is leaving each group out in turn: exactly so for a linear model"
    rng, J, g = np.random.default_rng(2), line(40), np.repeat(np.arange(10), 4)
    y = rng.normal(size=40) + rng.normal(size=10)[g]
    beta = np.linalg.solve(J @ J.T, J @ y)
    R, df = covariance_root(J, y - beta @ J, np.inf, groups=g)
    out = np.array(
        [
            np.linalg.solve(J[:, g != i] @ J[:, g != i].T, J[:, g != i] @ y[g != i])
            for i in range(10)
        ]
    )
    np.testing.assert_allclose(R @ R.T, 0.9 * (out - beta).T @ (out - beta), rtol=1e-3)
    assert df == 9


def test_spread_matches_the_chain_rule():
    R = np.array([[0.1, 0], [0.05, 0.2]])
    se = spread(
        lambda t: np.stack([np.exp(t[:, 0]), t[:, 0] * t[:, 1]], 1), np.array([1.0, 2.0]), R
    )
    G = np.array([[np.e, 0], [2, 1]])
    np.testing.assert_allclose(se, np.sqrt(np.diag(G @ R @ R.T @ G.T)), rtol=1e-5)


def test_share_inside_of_a_tiny_delta_is_a_density():
    r = np.random.default_rng(0).normal(size=20000)
    for delta in (1e-6, 0.01, 0.1):
        assert share_inside(r, delta, np.ones(20000)) == pytest.approx(2 * delta * 0.3989, rel=0.05)
    assert (
        share_inside(r, 1.345, np.ones(20000)) == pytest.approx(0.8214, abs=0.01)
        and share_inside(r, np.inf, np.ones(20000)) == 1
    )


def test_quantile():
    assert quantile(0.95) == pytest.approx(1.959964, abs=1e-6)
    assert quantile(0.95, 10, small=False) == pytest.approx(2.228139, abs=1e-6) and quantile(
        0.95, 10
    ) == pytest.approx(2.228139 * 1.1, abs=1e-6)


def test_robust_scale_ignores_outliers():
    r = np.random.default_rng(0).normal(size=4000)
    assert robust_scale(np.r_[r, np.full(200, 1e3)], 0) == pytest.approx(1, abs=0.1)


def test_methods_agree_when_runs_are_many():
    fit = fitted(10, 24)
    ci = {m: np.log(fit.conf_int(method=m, C=1e23)) for m in ("delta", "profile", "bootstrap")}
    for m in ("profile", "bootstrap"):
        for row in ("alpha", "beta", "a", "optimal_params", "expected_loss"):
            width = ci["delta"].loc[row, "upper"] - ci["delta"].loc[row, "lower"]
            np.testing.assert_allclose(
                ci[m].loc[row], ci["delta"].loc[row], atol=0.2 * width, err_msg=f"{m} {row}"
            )


def test_profile_ends_where_the_objective_has_risen():
    "The definition, checked by fixing alpha at the interval's ends and fitting the rest"
    fit = fitted()
    ends = fit.conf_int(method="profile").loc["alpha"]
    d = fit.data
    rise = [
        fit_parametric(d["N"], d["D"], d["loss"], delta=fit.delta, fixed={"alpha": v}).objective
        - fit.objective
        for v in ends
    ]
    assert rise[0] == pytest.approx(rise[1], rel=0.1) and rise[0] > 0


def test_conf_int_at_a_budget_is_the_optimum():
    fit = fitted()
    ci, best = fit.conf_int(C=1e23), fit.optimum(1e23)
    for k in ("optimal_params", "optimal_tokens", "expected_loss"):
        assert ci.loc[k].tolist() == pytest.approx([best[f"{k}_lower"], best[f"{k}_upper"]])


def test_an_unidentified_law_has_wide_intervals():
    rng = np.random.default_rng(0)
    N = np.exp(rng.uniform(16, 21, 40))
    fit = fit_parametric(
        N, 20 * N, CHINCHILLA(N, 20 * N, **truth) * np.exp(0.005 * rng.normal(size=40))
    )
    best = fit.optimum(1e24)
    assert best.optimal_params_upper > 100 * best.optimal_params_lower and "rank_deficient" in [
        w.code for w in fit.warnings
    ]


@pytest.mark.parametrize("n_budgets, n_sizes", [(3, 4), (4, 5)])
def test_coverage_of_small_sweeps(n_budgets, n_sizes):
    "A quick look; benchmarks/coverage.py counts properly"
    C = np.log([1e23])
    true = CHINCHILLA.best_on_budget(CHINCHILLA.work(truth)[None], C)[0][0, 0]
    best = [fitted(n_budgets, n_sizes, seed=i).optimum(1e23) for i in range(120)]
    assert (
        np.mean(
            [np.log(b.optimal_params_lower) < true < np.log(b.optimal_params_upper) for b in best]
        )
        > 0.88
    )
