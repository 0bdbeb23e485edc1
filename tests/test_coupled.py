"""The coupled law with weak priors: what it gains, what it costs, and what it does when its priors
do not suit."""

import numpy as np, pytest
from flops_fit.fitter.coupled import near_optimal_weights
from flops_fit.fitter.posterior import scale
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.laws import COUPLED

chinchilla = dict(E=1.82, A=482.0, B=2085.0, alpha=0.348, beta=0.366, g=1.0)
bent = dict(E=1.75, A=180.0, B=280.0, alpha=0.28, beta=0.26, g=0.5)
no_floor = dict(E=1e-9, A=20.0, B=30.0, alpha=0.12, beta=0.13, g=0.5)


def runs(p, n_budgets=5, n_sizes=9, seed=0, sigma=0.005):
    C = np.repeat(np.geomspace(1e18, 1e21, n_budgets), n_sizes)
    N = np.exp(COUPLED.best_on_budget(COUPLED.work(p)[None], np.log(C))[0][0]) * np.tile(
        np.geomspace(1 / 6, 6, n_sizes), n_budgets
    )
    return (
        N,
        C / 6 / N,
        COUPLED(N, C / 6 / N, **p)
        * np.exp(sigma * np.random.default_rng(seed).normal(size=len(C))),
    )


def errors(p, C=1e23, sets=8):
    "RMS error of ln N* and ln loss at C, of the plain and the coupled law"
    n, _, loss = (v[0, 0] for v in COUPLED.best_on_budget(COUPLED.work(p)[None], np.log([C])))
    out = []
    for i in range(sets):
        fit = fit_parametric(*runs(p, seed=i), law="coupled")
        out.append(
            [
                [np.log(b.optimal_params) - n, np.log(b.expected_loss / loss)]
                for b in (f.optimum(C) for f in (fit.plain, fit))
            ]
        )
    return np.sqrt(np.mean(np.square(out), 0))


def test_gains_where_the_truth_couples():
    plain, coupled = errors(bent)
    assert coupled[1] < 0.4 * plain[1]


def test_costs_little_where_chinchilla_is_true():
    plain, coupled = errors(chinchilla, sets=24)
    assert coupled[0] < 1.15 * plain[0] and coupled[1] < 1.9 * plain[1]


def test_guard_sets_aside_priors_that_do_not_suit():
    codes = lambda f: {w.code for w in f.warnings}
    for i in range(4):
        unlike_text = fit_parametric(*runs(no_floor, seed=i, sigma=0.002), law="coupled")
        assert "priors_do_not_suit" in codes(unlike_text)
        assert "priors_do_not_suit" not in codes(fit_parametric(*runs(bent, seed=i), law="coupled"))
        assert "priors_do_not_suit" not in codes(
            fit_parametric(*runs(chinchilla, seed=i), law="coupled")
        )
    assert errors(no_floor, sets=4)[1][1] < 0.06


def test_plain_is_the_plain_fit():
    N, D, loss = runs(bent)
    fit = fit_parametric(N, D, loss, law="coupled")
    assert fit.plain.params == fit_parametric(N, D, loss).params and fit.law is COUPLED
    assert "beside it" in fit.summary() and "Beside it" in fit._repr_html_()


def test_disagreement_is_said_at_the_target():
    assert not fit_parametric(*runs(chinchilla), law="coupled").warnings_at(2e21)
    fit = fit_parametric(*runs(bent), law="coupled")
    assert [w.code for w in fit.warnings_at(2e21)] == ["forms_disagree_loss"]
    assert "far_extrapolation" in [w.code for w in fit.warnings_at(1e25)]


def test_interval_widens_with_distance():
    fit = fit_parametric(*runs(bent), law="coupled")
    best = fit.optimum([1e21, 1e23, 1e25])
    assert (np.diff(best.expected_loss_upper / best.expected_loss) > 0).all() and (
        np.diff(best.optimal_params_upper / best.optimal_params) > 0
    ).all()


@pytest.mark.parametrize("C", [1e21, 1e23, 1e25])
def test_draws_spread_as_the_intervals_say(C):
    fit = fit_parametric(*runs(bent), law="coupled")
    best, draws = fit.optimum(C), fit.optimum_draws([C], 4000)
    for name in ("optimal_params", "optimal_tokens", "expected_loss"):
        ends = np.log(np.quantile(draws[name], [0.025, 0.975]) / best[name])
        assert ends == pytest.approx(
            np.log([best[f"{name}_lower"] / best[name], best[f"{name}_upper"] / best[name]]),
            rel=0.15,
        )
    assert draws["optimal_params"] * draws["optimal_tokens"] * 6 == pytest.approx(C)


def test_a_drawn_law_fits_the_runs():
    "The parameters lie on a curved ridge: a straight step along it would leave the runs"
    N, D, loss = runs(bent)
    fit = fit_parametric(N, D, loss, law="coupled")
    miss = np.log(np.array([COUPLED(N, D, **p) for p in fit.draws(400).to_dict("records")]) / loss)
    assert np.sqrt((miss**2).mean(1)).max() < 2.5 * fit.sigma


def test_survives_a_diverged_run():
    N, D, loss = runs(bent)
    clean = fit_parametric(N, D, loss, law="coupled").optimum(1e22)
    loss[11] *= 1e4
    spoiled = fit_parametric(N, D, loss, law="coupled").optimum(1e22)
    assert abs(np.log(spoiled.expected_loss / clean.expected_loss)) < 0.01
    assert np.log(spoiled.optimal_params_upper / spoiled.optimal_params_lower) < 2 * np.log(
        clean.optimal_params_upper / clean.optimal_params_lower
    )


def test_shared_trunks_widen(monkeypatch):
    import flops_fit.fitter.coupled

    monkeypatch.setattr(
        flops_fit.fitter.coupled, "lack_of_fit", lambda fit: dict(p=np.nan)
    )  # taken for independent, the trunks' common noise looks like a wrong form
    rng, (N, D, _) = np.random.default_rng(0), runs(bent, n_budgets=4, n_sizes=40)
    trunk = np.arange(160) // 16  # many rows of few runs
    loss = COUPLED(N, D, **bent) * np.exp(
        0.005 * rng.normal(size=10)[trunk] + 0.001 * rng.normal(size=160)
    )
    alone, together = (
        fit_parametric(N, D, loss, law="coupled", groups=g).conf_int().loc["a"]
        for g in (np.arange(160), trunk)
    )
    assert together.upper - together.lower > 1.2 * (alone.upper - alone.lower)


def test_constraints():
    N, D, loss = runs(bent)
    assert fit_parametric(N, D, loss, law="coupled", fixed={"E": 1.75}).params[
        "E"
    ] == pytest.approx(1.75)
    fit = fit_parametric(N, D, loss, law="coupled", tied={"beta": "alpha"})
    assert (
        fit.params["alpha"] == fit.params["beta"]
        and fit.plain.params["alpha"] == fit.plain.params["beta"]
    )
    assert fit_parametric(N, D, loss, law="coupled", fixed={"g": 1.0}).params["g"] == 1
    assert fit_parametric(N, D, loss, law="coupled", loss_se=0.01).params["g"] == pytest.approx(
        0.5, abs=0.25
    )


def test_weights_prefer_large_and_near_optimal_runs():
    args = np.array([1e18, 1e21, 1e21]), np.array([3.0, 2.0, 2.6])
    w, by_compute = near_optimal_weights(*args), near_optimal_weights(*args, power=0.3)
    assert w[0] == w[1] > 5 * w[2] and w.mean() == pytest.approx(1)
    assert by_compute[1] > 5 * by_compute[0] and by_compute[1] > 5 * by_compute[2]


@pytest.mark.parametrize("p, power", [(0.3, 0), (0.01, 0.3), (1e-5, 1), (np.nan, 0)])
def test_the_worse_the_form_fits_the_more_compute_weighs(monkeypatch, p, power):
    import flops_fit.fitter.coupled

    monkeypatch.setattr(flops_fit.fitter.coupled, "lack_of_fit", lambda fit: dict(p=p))
    N, D, loss = runs(bent)
    fit = fit_parametric(N, D, loss, law="coupled")
    want = near_optimal_weights(6 * N * D, loss, power)
    assert fit.data["weights"] == pytest.approx(want / want.mean()) and (
        "local_fit" in {w.code for w in fit.warnings}
    ) == (power == 1)
    fit = fit_parametric(
        N, D, loss, law="coupled", groups=np.arange(45) // 3
    )  # no test: the cautious middle
    want = near_optimal_weights(6 * N * D, loss, 0.3)
    assert fit.data["weights"] == pytest.approx(want / want.mean())


def test_scale_counts_tails_but_not_an_outlier():
    r = 0.01 * np.random.default_rng(0).normal(size=500)
    assert scale(np.r_[r, 1e5]) == pytest.approx(scale(r), rel=0.05)


@pytest.mark.parametrize("n", [6, 7, 8, 10, 12])
def test_coupled_with_few_runs(n):
    N, D, loss = runs(chinchilla, n_budgets=3, n_sizes=4)
    pick = np.random.default_rng(n).permutation(12)[:n]
    fit = fit_parametric(N[pick], D[pick], loss[pick], law="coupled")
    best = fit.optimum(1e22)
    assert all(np.isfinite(v) for v in best.values())
    if n < 12:
        assert "few_runs" in {w.code for w in fit.warnings}


def test_penalty_of_the_optimum_is_nothing_and_grows_less_sure_beyond_the_runs():
    fit = fit_parametric(*runs(bent), law="coupled")
    near, far = fit.penalty(1e21, [1, 2, 4]), fit.penalty(1e24, [1, 2, 4])
    for p in (near, far):
        assert (
            p.penalty[0] == p.penalty_lower[0] == p.penalty_upper[0] == 0
            and (np.diff(p.penalty) > 0).all()
        )
    wide = lambda p: np.log(p.penalty_upper[1:] / p.penalty_lower[1:])
    assert (wide(far) > 2 * wide(near)).all() and wide(far)[0] > wide(far)[
        1
    ]  # the form's error in N* weighs more on a near miss


def width(fit, what, C=1e22):
    best = fit.optimum(C)
    return np.log(best[f"{what}_upper"] / best[f"{what}_lower"])


def test_runs_far_from_the_optimum_may_scatter_as_they_like():
    C = np.repeat(np.geomspace(1e18, 1e21, 5), 13)
    best = COUPLED.best_on_budget(COUPLED.work(bent)[None], np.log(C))[0][0]
    N = np.exp(best) * np.tile(np.geomspace(1 / 60, 60, 13), 5)
    rng, truth = np.random.default_rng(0), COUPLED(N, C / 6 / N, **bent)
    far = near_optimal_weights(C, truth) < 0.3
    noise = rng.normal(size=len(C))
    calm, odd = (
        fit_parametric(N, C / 6 / N, truth * np.exp(noise * s), law="coupled")
        for s in (0.005, np.where(far, 0.04, 0.005))
    )
    assert 0.2 < far.mean() < 0.6
    assert scale(odd.residuals) > 2.5 * scale(calm.residuals)
    assert odd.sigma < 2 * calm.sigma and "noisy" not in {w.code for w in odd.warnings}
    assert width(odd, "expected_loss") < 1.5 * width(calm, "expected_loss")


def test_intervals_allow_for_the_form_from_the_largest_run_on():
    fit = fit_parametric(*runs(bent, sigma=1e-5), law="coupled")  # nothing else is uncertain
    top = fit.max_compute
    loss, size = fit.form_error(np.array([top / 10, top, top * np.e, top * np.exp(3)]))
    np.testing.assert_allclose(loss / fit.form[0], [1, 1, 2, 4])
    np.testing.assert_allclose(size / fit.form[1], [1, 1, 2, 4])
    for times, grown in ((1, 1), (np.exp(3), 4)):
        np.testing.assert_allclose(
            width(fit, "expected_loss", top * times), 2 * 1.96 * grown * fit.form[0], rtol=0.1
        )
