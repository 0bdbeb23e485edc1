"""The coupled law under a ceiling: its form, what it gains on small sweeps, what it refuses, and
where it answers."""

import numpy as np, pandas as pd, pytest
from hypothesis import given, settings, strategies as st
from flops_fit.fitter.analyzer import ScalingLawAnalyzer
from flops_fit.fitter.ceiling import ceiling_evidence, ceiling_suits, fit_bounded
from flops_fit.fitter.laws import BOUNDED, BOUNDED_REPEATS, COUPLED
from flops_fit.errors import FitError
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.result import Result
from conftest import root

truth = dict(E=0.9, A=9.0, B=14.0, alpha=0.32, beta=0.33, g=0.5, L0=np.log(256))


def small(seed=0, noise=0.004, **changed):
    "A first sweep: four budgets of six sizes, near the loss of a model that knows nothing"
    C = np.repeat(np.geomspace(3e9, 8e10, 4), 6)
    N = np.sqrt(C / 6 / 20) * np.tile(np.geomspace(0.25, 4, 6), 4)
    D = C / 6 / N
    rng = np.random.default_rng(seed)
    return N, D, BOUNDED(N, D, **truth | changed) * np.exp(rng.normal(0, noise, len(N)))


@settings(max_examples=60, deadline=None)
@given(
    theta=st.tuples(
        *[st.floats(*ends) for ends in ((-1, 1), (0, 8), (0, 8), (-3, 0), (-3, 0), (-2, 0.5))]
    ),
    x=st.floats(0, 30),
    y=st.floats(0, 35),
)
def test_slopes_are_those_of_the_form_also_where_data_repeat(theta, x, y):
    theta, x, y = np.array([[*theta, 3.0]]), np.array([x]), np.array([y])
    for law, extra, u in ((BOUNDED, [], None), (BOUNDED_REPEATS, [2.7, 1.7], y - 1.0)):
        full = np.c_[theta, [extra]] if extra else theta
        L, J = law.evaluate(full, x, y, u)
        step = 1e-5 * np.eye(full.shape[1])
        up, down = (
            np.array([law.evaluate(full + s * e, x, y, u)[0] for e in step]) for s in (1, -1)
        )
        assert np.allclose(J[0], (up - down)[:, 0] / 2e-5, rtol=1e-4, atol=1e-6 * L.max())
        assert np.exp(full[0, 0]) * (1 - 1e-9) <= L[0, 0] <= np.exp(3.0) * (1 + 1e-9) or (
            full[0, 0] > 3.0
        )


def test_the_optimum_is_where_the_loss_is_least():
    theta = BOUNDED.work(truth)[None]
    s, y, best = BOUNDED.best_on_budget(theta, [np.log(1e12)])
    for move in (-0.05, 0.05):
        assert BOUNDED.loss(theta, s[0] + move, y[0] - move)[0, 0] > best[0, 0]


def test_far_above_the_runs_it_is_better_than_the_law_without_a_ceiling():
    missed = []
    for seed in range(6):
        coupled = fit_parametric(*small(seed), law="coupled")
        fits = coupled, fit_bounded(coupled, truth["L0"])
        best = fits[1].optimum(2.4e12)
        true = BOUNDED(best.optimal_params, best.optimal_tokens, **truth)
        missed.append(
            [abs(np.log(f.predict(best.optimal_params, best.optimal_tokens) / true)) for f in fits]
        )
        assert best.expected_loss_lower < true < best.expected_loss_upper
    without, bounded = np.mean(missed, 0)
    assert bounded < 0.6 * without


@pytest.mark.parametrize("times", [0.7, 1.5])
def test_a_ceiling_that_is_known_roughly_is_enough(times):
    coupled = fit_parametric(*small(), law="coupled")
    exact, rough = (fit_bounded(coupled, t * truth["L0"]).optimum(2.4e12) for t in (1, times))
    assert abs(np.log(rough.expected_loss / exact.expected_loss)) < 0.05


def test_large_runs_feel_no_ceiling():
    C = np.repeat(np.geomspace(1e18, 1e20, 4), 6)
    N = np.sqrt(C / 120) * np.tile(np.geomspace(0.25, 4, 6), 4)
    free = dict(E=1.7, A=400.0, B=600.0, alpha=0.33, beta=0.3, g=0.5)
    loss = COUPLED(N, C / 6 / N, **free)
    loss = loss * np.exp(np.random.default_rng(0).normal(0, 0.003, len(N)))
    coupled = fit_parametric(N, C / 6 / N, loss, law="coupled")
    a, b = (f.optimum(1e21) for f in (coupled, fit_bounded(coupled, np.log(50_000))))
    assert abs(np.log(a.expected_loss / b.expected_loss)) < 0.02
    assert abs(np.log(a.optimal_params / b.optimal_params)) < 0.2


def test_fit_parametric_knows_it_by_name_and_asks_for_the_ceiling():
    N, D, loss = small()
    by_name = fit_parametric(N, D, loss, law="bounded", baseline_loss=truth["L0"])
    direct = fit_bounded(fit_parametric(N, D, loss, law="coupled"), truth["L0"])
    assert by_name.params == direct.params
    with pytest.raises(FitError, match="baseline_loss"):
        fit_parametric(N, D, loss, law="bounded")
    with pytest.raises(FitError, match="above the lowest"):
        fit_parametric(N, D, loss, law="bounded", baseline_loss=loss.min())
    with pytest.raises(FitError, match="bounded law takes its"):
        fit_parametric(N, D, loss, law="bounded", baseline_loss=5.5, fixed={"E": 1.0})


@pytest.mark.parametrize(
    "table, L0", [("tinystories_1024.csv", np.log(1024)), ("vit_cifar.csv", np.log(10))]
)
def test_on_our_own_sweeps_it_predicts_the_held_out_top_best(table, L0):
    runs = pd.read_csv(root / "benchmarks" / "results" / table)
    analysis = ScalingLawAnalyzer(runs.assign(baseline_loss=L0)).analyze()
    assert analysis.law is analysis.bounded and analysis.approaches().index[-1] == "bounded"
    rms = analysis.held_out.rms
    assert rms["bounded"] < 0.6 * rms[["coupled", "chinchilla"]].min()
    limited, fresh = (analysis.predict(1e13, unique_tokens=u) for u in (1e5, None))
    assert limited["expected_loss"] > fresh["expected_loss"] > 0
    assert ScalingLawAnalyzer(runs).analyze().bounded is None
    by_argument = Result.from_runs(runs, baseline_loss=L0)
    assert by_argument.predict(1e13) == analysis.predict(1e13)
    with pytest.raises(FitError, match="baseline_loss"):
        Result.from_runs(runs, baseline_loss=-1)


def made(law, seed, n=6, **truth):
    "Coupled and bounded fit to losses of a law, near a ceiling of 6"
    rng = np.random.default_rng(seed)
    C = np.repeat(np.geomspace(3e9, 8e10, 5), n)
    N = np.sqrt(C / 6 / 20) * np.tile(np.geomspace(0.25, 4, n), 5)
    loss = law(N, C / 6 / N, **truth) * np.exp(rng.normal(0, 0.004, len(N)))
    coupled = fit_parametric(N, C / 6 / N, loss, law="coupled", compute=C)
    return coupled, fit_bounded(coupled, 6.0)


def test_the_runs_say_whether_there_is_a_ceiling():
    """Under one, the evidence is for it; where losses come down from far above it as powers do,
    it is against. Never twice for the wrong law in ten."""
    under = dict(E=0.9, A=9.0, B=14.0, alpha=0.32, beta=0.33, g=0.5, L0=6.0)
    free = dict(E=0.9, A=60.0, B=200.0, alpha=0.32, beta=0.33, g=0.5)
    with_one = [ceiling_suits(b, c) for c, b in (made(BOUNDED, s, **under) for s in range(10))]
    without = [ceiling_evidence(b, c) for c, b in (made(COUPLED, s, **free) for s in range(10))]
    assert sum(with_one) >= 9
    assert sum(e < 2 for e in without) >= 9  # nothing speaks clearly for it

    coupled, bounded = made(BOUNDED, 0, **under)
    for wrong in coupled, None:
        with pytest.raises(FitError, match="ceiling"):
            ceiling_evidence(wrong, coupled)


def test_where_losses_do_not_bend_under_it_the_coupled_law_answers():
    """The table of benchmarks/results/own/mlp_classification.csv up to a tenth of its largest
    budget: classes drawn by a teacher, whose shares are learned at once."""
    own = pd.read_csv(root / "benchmarks" / "results" / "own" / "mlp_classification.csv")
    low = own[own.flops < 0.11 * own.flops.max()].drop(columns="baseline_loss")
    top = own[own.flops > 0.11 * own.flops.max()]
    a = ScalingLawAnalyzer(low, baseline_loss=float(np.log(10))).analyze()
    assert a.law is a.coupled and a.bounded is not None
    assert "no_ceiling" in {w.code for w in a.warnings}
    assert {"coupled", "bounded"} < set(a.approaches().index)
    off = {
        name: np.log(top.loss / fit.predict(top.num_params, top.num_tokens)).abs().mean()
        for name, fit in (("coupled", a.coupled), ("bounded", a.bounded))
    }
    assert off["coupled"] < off["bounded"]
