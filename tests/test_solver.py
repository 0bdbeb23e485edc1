"""The batched solver: one optimum from everywhere, bounds, weights, priors, and what it says of the
problem."""

import numpy as np, pytest
from flops_fit.fitter.laws import CHINCHILLA
from flops_fit.fitter.solver import Problem, condition, huber, reached, solve

truth = np.log([1.8, 0.5, 0.4, 0.34, 0.28])


@pytest.fixture
def runs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(0, 1.5, (2, 60))
    return x, y, np.log(CHINCHILLA.loss(truth[None], x, y)[0]) + 0.005 * rng.standard_t(3, 60)


def starts(n, seed=0):
    rng = np.random.default_rng(seed)
    return np.c_[rng.uniform(-2, 2, (n, 3)), rng.uniform(-3, 0.5, (n, 2))]


def test_huber():
    np.testing.assert_allclose(huber(np.array([0, 0.5, -2]), 1), [0, 0.125, 1.5])
    np.testing.assert_allclose(huber(np.array([3.0]), np.inf), [4.5])


@pytest.mark.parametrize("delta", [1e-3, 0.005, np.inf])
def test_every_start_finds_one_optimum(runs, delta):
    sol = solve(Problem(CHINCHILLA, *runs), starts(100), delta)
    assert sol.converged.all()
    assert np.ptp(sol.objective) < 1e-6 * sol.objective.min()
    assert reached(sol.objective) == 1


def test_no_worse_than_scipy(runs):
    from scipy.optimize import minimize

    problem = Problem(CHINCHILLA, *runs)
    f = lambda p: float(huber(problem(p[None])[0], 0.003).sum())
    ours = solve(problem, starts(1), 0.003)
    theirs = min(
        minimize(
            f,
            s,
            method="Nelder-Mead",
            options=dict(maxiter=20000, maxfev=20000, xatol=1e-10, fatol=1e-14),
        ).fun
        for s in (truth, ours.phi[0])
    )
    assert ours.objective[0] <= theirs * (1 + 1e-9)


def test_weights_are_repetitions(runs):
    x, y, t = runs
    w = np.random.default_rng(1).integers(0, 3, 60)
    weighted = solve(
        Problem(CHINCHILLA, x, y, t), starts(3), 0.004, w.astype(float), rows=np.zeros(3, int)
    )
    i = np.repeat(np.arange(60), w)
    repeated = solve(Problem(CHINCHILLA, x[i], y[i], t[i]), starts(3), 0.004)
    np.testing.assert_allclose(weighted.objective, repeated.objective, rtol=1e-7)


def test_many_targets_at_once_equal_one_by_one(runs):
    x, y, t = runs
    many = t + 0.01 * np.random.default_rng(2).normal(size=(7, 60))
    together = solve(Problem(CHINCHILLA, x, y, many), np.repeat(truth[None], 7, 0), 0.004)
    for i in range(7):
        alone = solve(Problem(CHINCHILLA, x, y, many[i]), truth[None], 0.004)
        assert together.objective[i] == pytest.approx(alone.objective[0], rel=1e-8)


def test_threads_and_chunks_change_nothing(runs):
    problem, w = (
        Problem(CHINCHILLA, *runs),
        np.random.default_rng(0).multinomial(60, np.ones(60) / 60, 900).astype(float),
    )
    a, b = (solve(problem, np.repeat(truth[None], 900, 0), 0.004, w, chunk=c) for c in (100, 1000))
    np.testing.assert_allclose(a.phi, b.phi, rtol=1e-6)


def test_bounds_hold(runs):
    problem = Problem(CHINCHILLA, *runs)
    sol = solve(problem, starts(5), 0.005, lower=np.array([np.log(1.9), -9, -9, -9, -9]))
    assert (sol.phi[:, 0] == np.log(1.9)).all() and sol.converged.all()
    held = Problem(CHINCHILLA, *runs, M=np.eye(5)[:, 1:], c=np.r_[np.log(1.9), 0, 0, 0, 0])
    assert sol.objective.min() == pytest.approx(
        solve(held, starts(5)[:, 1:], 0.005).objective.min(), rel=1e-8
    )


def test_a_strong_prior_wins(runs):
    problem = Problem(
        CHINCHILLA,
        *runs,
        prior_mean=np.log([1, 1, 1, 0.5, 0.5]),
        prior_root=np.array([0, 0, 0, 1e3, 0.0]),
    )
    sol = solve(problem, starts(4), np.r_[np.full(60, 0.005), np.inf], rows=np.zeros(4, int))
    np.testing.assert_allclose(np.exp(sol.phi[:, 3]), 0.5, rtol=1e-3)


def test_noise_free_is_exact():
    x, y = np.random.default_rng(0).normal(0, 1, (2, 9))
    sol = solve(
        Problem(CHINCHILLA, x, y, np.log(CHINCHILLA.loss(truth[None], x, y)[0])), starts(20)
    )
    np.testing.assert_allclose(sol.phi[sol.objective.argmin()], truth, atol=1e-7)


def test_condition_tells_an_unidentified_law(runs):
    x, y, t = runs
    free, tied = (Problem(CHINCHILLA, x, v, t)(truth[None])[1][0] for v in (y, x))
    assert condition(free) < 100 < condition(tied) * 1e-1
    assert condition(np.zeros((2, 5))) == np.inf
