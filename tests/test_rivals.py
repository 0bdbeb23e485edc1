"""The benchmarks' own arithmetic: rivals find the truths they can express, scores are what they
say, and the tables that the page how_true_is_it reads belong together."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flops_fit.errors import FitError
from flops_fit.fitter.laws import CHINCHILLA

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
CLASSIC = dict(E=1.7, A=400.0, B=600.0, alpha=0.33, beta=0.3)


@pytest.fixture
def rivals(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import rivals

    return rivals


def sweep(loss_of, budgets=5, unique=False):
    "Runs on an isoFLOP grid over two decades, without noise"
    C = np.repeat(np.geomspace(1e18, 1e20, budgets), 8)
    N = np.sqrt(C / 6 / 20) * np.tile(np.geomspace(1 / 5, 5, 8), budgets)
    D = C / 6 / N
    U = D / np.tile([1, 5, 20, 60], len(N) // 4) if unique else D
    loss = loss_of(N, D, U)
    columns = dict(num_params=N, num_tokens=D, flops=C, loss=loss, unique_tokens=U)
    return pd.DataFrame(columns)


def saturating(N, D, U, c=0.0):
    x, y, u = np.log(N / 1e8), np.log(D / 2e9), np.log(U / 2e9)
    h = 0.2 * np.exp(-0.3 * x) + 0.25 * np.exp(-0.35 * y) + c * np.exp(0.4 * x - 0.6 * u)
    return 1.8 + (10.8 - 1.8) * h / (1 + h)


def farseer(N, D, U):
    x, y = np.log(N / 1e8), np.log(D / 2e9)
    floor = 0.8 - 0.07 * np.expm1(0.1 * x) / 0.1
    B = -1.0 + 0.05 * np.expm1(0.2 * x) / 0.2
    power = -1.1 - 0.04 * np.expm1(-0.1 * x) / -0.1
    return np.exp(np.logaddexp(floor, B - np.exp(power) * y))


def test_each_form_finds_the_truth_it_can_express(rivals):
    far = 1e9, 2e11, 2e11
    fit = rivals.fit_saturating(sweep(saturating), 6.0, L0=10.8)
    assert fit.predict(*far[:2]) == pytest.approx(saturating(*far), rel=1e-4)

    fit = rivals.fit_farseer(sweep(farseer), 6.0)
    assert fit.predict(*far[:2]).loss[0] == pytest.approx(farseer(*far), rel=1e-3)

    over = lambda N, D, U: saturating(N, D, U, c=0.02)
    fit = rivals.fit_overfitting(sweep(over, unique=True), 6.0, L0=10.8)
    often = 1e9, 2e11, 4e9
    assert fit.predict(*often).loss[0] == pytest.approx(over(*often), rel=1e-3)
    assert over(*often) > 1.02 * over(*far)  # repeats cost something here


def test_a_power_law_runs_along_the_best_of_each_budget(rivals):
    truth = lambda N, D, U: CHINCHILLA(N, D, **CLASSIC)
    runs = sweep(truth)
    fit = rivals.fit_along_optimum(runs, 6.0)
    best = runs.loc[runs.groupby("flops").loss.idxmin()]
    assert fit.predict(best.num_params, best.num_tokens).loss.to_numpy() == pytest.approx(
        best.loss.to_numpy(), rel=2e-3
    )
    assert np.isnan(fit.optimum(1e21).optimal_params)


def test_a_form_searches_the_optimum_that_the_law_has_in_closed_form(rivals):
    form = rivals.Form(lambda N, D, U: CHINCHILLA(N, D, **CLASSIC), 6.0)
    exact = np.exp(CHINCHILLA.best_on_budget(CHINCHILLA.work(CLASSIC)[None], np.log([1e21]))[0])
    assert form.optimum(1e21).optimal_params == pytest.approx(exact[0, 0], rel=0.01)
    falling = rivals.Form(lambda N, D, U: 1 / N, 6.0)  # no optimum on any budget
    assert np.isnan(falling.optimum(1e21).optimal_params)


def test_what_a_rival_cannot_fit_it_refuses(rivals):
    runs = sweep(farseer)
    with pytest.raises(FitError, match="8 runs are too few for 9 parameters"):
        rivals.fit_rival("farseer", runs, np.arange(len(runs)) < 8)
    with pytest.raises(FitError, match="needs L0"):
        rivals.fit_rival("saturating", runs, np.ones(len(runs), bool))


def test_scores_count_what_they_say(rivals):
    import held_out

    p = pd.DataFrame(dict(C=[1e18, 1.01e18, 1e19, 1e19], measured=[3.0, 3.2, 2.0, 2.5]))
    p = p.assign(predicted=p.measured * [1, 2, 1, 2], lower=2.9, upper=4.0)
    found = held_out.missed(p)
    assert held_out.best_of_each(p.C, p.measured).tolist() == [2, 0]
    assert found["rms_best"] == 0 and found["rms"] == pytest.approx(np.log(2) / 2**0.5)
    assert found["coverage"] == 0.5
    assert np.isnan(held_out.missed(p.assign(lower=np.nan))["coverage"])


def test_pooled_compares_a_law_with_ours_on_the_splits_it_answered(rivals):
    import held_out

    rows = [
        dict(set=s, source=s, h=8.0, law=law, rms=rms, rms_best=rms, n_error=0.1)
        for s, law, rms in (("a", "coupled", 0.01), ("b", "coupled", 0.5), ("a", "x", 0.02))
    ]
    missing = dict(coverage=np.nan, half_width=np.nan, n_inside=np.nan, n_half_width=np.nan)
    out = held_out.pooled(pd.DataFrame(rows).assign(**missing))
    assert out.over_coupled[8.0, "x"] == pytest.approx(2)  # b, which it left out, is not counted
    assert out.over_coupled[8.0, "coupled"] == pytest.approx(1)


def test_the_runs_of_the_pictures_are_those_of_the_tables():
    runs = pd.read_csv(BENCHMARKS / "results" / "held_out_runs.csv")
    runs["miss"] = np.log(runs.measured / runs.predicted)
    by = runs.groupby(["set", "h", "law"]).miss
    table = pd.read_csv(BENCHMARKS / "results" / "ceiling.csv").query(
        "law in ('chinchilla', 'ours')"
    )
    table = table.set_index(["set", "h", "law"]).sort_index()
    assert by.size().to_dict() == table.held.to_dict()
    rms = by.apply(lambda v: np.sqrt((v**2).mean()))
    assert rms.to_numpy() == pytest.approx(table.rms.to_numpy(), abs=2e-5)
