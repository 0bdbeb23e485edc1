"Rates that are searched for: found, kept, carried on, and checked."

import math
from dataclasses import replace
import pytest, torch.nn.functional as F
from hypothesis import given, strategies as st
import flops_fit.trainer.calibration
from flops_fit.result import Result
from flops_fit.trainer.calibration import _searched, calibrate
from flops_fit.trainer.found_rates import Calibration, rate_error
from flops_fit.trainer.rate_check import check_rates
from flops_fit.trainer.rates import best_rate, fit_rates, rate_spread
from flops_fit.core import find_optimal
from flops_fit.planner.dataset import ContractError
from flops_fit.planner.plan import SweepPlan, stable_hash
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.planner.recipe import MACHINE, PowerRate, Recipe
from flops_fit.trainer.store import RunStore
from models import BUDGETS, Net, RECIPE, SIZES, xor_data, xor_task

ASKED = replace(RECIPE, lr="calibrate")
BIG = [2e7, 4e7, 8e7]


@given(st.floats(-9, -2), st.floats(0.01, 1), st.floats(1, 9))
def test_the_vertex_of_a_parabola_is_found(centre, bend, floor):
    rates = [math.exp(centre + d) for d in (-1.6, -0.9, -0.2, 0.5, 1.2)]
    rate, edge = best_rate({r: floor + bend * (math.log(r) - centre) ** 2 for r in rates})
    assert not edge and math.log(rate) == pytest.approx(centre, abs=1e-4)


@given(st.floats(-1, 0.2), st.floats(-8, -3))
def test_a_power_law_is_found(exponent, at_a_million):
    law = PowerRate(math.exp(at_a_million), exponent)
    assert fit_rates([(n, law(n)) for n in (1e4, 3e4, 1e5)], sd=1e4)(1e7) == pytest.approx(
        law(1e7), rel=1e-3
    )


@given(st.floats(-1, 0.2), st.floats(-0.5, 0.5), st.floats(-8, -3))
def test_the_horizon_is_told_from_the_size(exponent, horizon, at_a_million):
    law = PowerRate(math.exp(at_a_million), exponent, horizon)
    at = [(n, 20 * n, law(n, 20 * n)) for n in (1e4, 3e4, 1e5)] + [(1e4, 2e6, law(1e4, 2e6))]
    found = fit_rates(at, sd=1e4, noise=1e-4)
    assert found.horizon == pytest.approx(horizon, abs=1e-3)
    assert found(1e6, 3e7) == pytest.approx(law(1e6, 3e7), rel=1e-2)
    pairs = [(n, rate) for n, _, rate in at[:3]]
    assert fit_rates(pairs).horizon == 0  # nothing was seen of it


def test_how_sure_a_rate_is():
    """Against what the best rates of many searches scatter, whose true exponents are drawn from
    the priors."""
    import numpy as np

    rng, runs = np.random.default_rng(0), [(1e4, 2e5), (1e4, 16e5), (3e4, 6e5), (1e5, 2e6)]
    N, D, off = 1e6, 6e7, []
    for _ in range(2000):
        along, horizon = rng.normal(-1 / 3, 0.2), rng.normal(-0.25, 0.1)
        law = PowerRate(0.003, along - horizon, horizon)
        seen = [(n, d, law(n, d) * math.exp(0.3 * rng.normal())) for n, d in runs]
        off.append(math.log(fit_rates(seen)(N, D) / law(N, D)))
    assert np.std(off) == pytest.approx(rate_spread(seen, N, D), rel=0.08)
    assert rate_spread(seen, 10 * N, 10 * D) > rate_spread(seen, N, D)


def test_what_a_rate_costs_is_what_the_parabolas_say():
    """Losses whose logarithm is an exact parabola of curvature .05."""
    best = [(n, d, 0.01) for n, d in ((1e4, 2e5), (1e4, 16e5), (4e4, 8e5))]
    rows, rates = [], (0.005, 0.01, 0.02)
    for n, d, _ in best:
        for r in rates:
            loss = 2 * math.exp(0.025 * math.log(r / 0.01) ** 2)
            rows.append(dict(size=n, num_params=n, num_tokens=d, lr=r, loss=loss))
    rest = [dict(size=n, num_params=n, num_tokens=d, lr=lr, edge=False) for n, d, lr in best]
    found = Calibration(rows, rest, fit_rates(best), Recipe())
    s = rate_spread(best, 1e6, 2e7)
    assert found.spread(1e6, 2e7) == s
    assert found.cost(1e6, 2e7) == pytest.approx(0.05 * s**2 / 2, rel=0.02)


def test_a_search_of_an_earlier_version_is_not_made_again(tmp_path, monkeypatch):
    "Its file has no horizons, and no power in its recipe."
    found = calibrate(xor_task(), BIG, ASKED, tmp_path, progress=False, longer=1)
    assert found.suggestion.horizon == 0
    best = [{k: v for k, v in b.items() if k != "num_tokens"} for b in found.best]
    rule = {k: v for k, v in _searched(ASKED).to_dict().items() if k not in (*MACHINE, "power")}
    describes = xor_task().describe()
    key = stable_hash("calibration", describes, rule, BIG[0], 6, [0.25, 0.5, 1.0, 2.0, 4.0])
    replace(found, best=best, key=key).save(tmp_path / "calibration.json")

    monkeypatch.setattr(
        flops_fit.trainer.calibration, "try_rates", lambda *a, **k: pytest.fail("searched again")
    )
    again = calibrate(xor_task(), BIG, ASKED, tmp_path, progress=False)
    assert again.suggestion == found.suggestion and again.spread(1e5) > 0
    again.plot()


def test_uncertain_rates_widen_what_is_claimed(tmp_path):
    "By the cost of the rates ten times beyond the sweep, and the loss alone."
    kw = dict(
        dataset=xor_data(),
        loss_fn=F.cross_entropy,
        compute_budgets=BIG,
        sizes=[8, 16, 32, 64],
        recipe=ASKED,
        progress=False,
    )
    result = find_optimal(Net, "width", output_dir=tmp_path, **kw)
    found = Calibration.load(tmp_path / "calibration.json")
    (tmp_path / "calibration.json").rename(tmp_path / "elsewhere.json")
    without = Result.load(tmp_path)
    (tmp_path / "elsewhere.json").rename(tmp_path / "calibration.json")
    assert Result.load(tmp_path).law.form == result.law.form
    assert without.law.theta == pytest.approx(result.law.theta)

    error = rate_error(tmp_path, result.plan, result.runs)
    assert error > 0 and result.law.form[1] == without.law.form[1]
    assert result.law.form[0] == pytest.approx(math.hypot(without.law.form[0], error))
    elsewhere = replace(result.plan, recipe=replace(result.plan.recipe, lr=0.01))
    assert rate_error(tmp_path, elsewhere, result.runs) == 0  # other rates than those
    top = max(r.compute_budget for r in result.runs)
    best = min((r for r in result.runs if r.compute_budget == top), key=lambda r: r.final_loss)
    beyond = found.cost(best.num_params * 10**0.5, best.num_tokens * 10**0.5)
    assert error * (1 + math.log(10)) == pytest.approx(math.sqrt(3) * beyond)


def test_diverged_rates_and_edges():
    assert best_rate({0.1: 3.0, 0.2: 2.0, 0.4: None}) == (0.2, False)
    assert best_rate({0.1: None, 0.2: 2.0, 0.4: 1.0}) == (0.4, True)
    with pytest.raises(ValueError):
        best_rate({0.1: None})


def test_it_is_made_once_and_kept(tmp_path, monkeypatch):
    found = calibrate(xor_task(), BIG, ASKED, tmp_path, progress=False)
    small, longer, *others = found.best
    sizes = [b["num_params"] for b in (small, *others)]
    assert 2 <= len(sizes) <= 3 and sizes == sorted(sizes)
    ratio = [b["num_tokens"] / b["num_params"] for b in (small, *others)]
    assert max(ratio) / min(ratio) < 1.5  # all at one number of tokens per parameter
    assert longer["num_params"] == small["num_params"]  # but the smallest once more
    assert longer["num_tokens"] == pytest.approx(8 * small["num_tokens"], rel=0.02)
    runs = RunStore(tmp_path / "calibration").runs()
    at = [r for r in runs.values() if r.num_params == small["num_params"]]
    assert len({r.trunk for r in at}) < len(at)  # both lengths on one trunk
    assert (
        found.recipe == replace(ASKED, lr=found.suggestion)
        and Recipe.from_dict(found.recipe.to_dict()) == found.recipe
    )
    kept = Calibration.load(tmp_path / "calibration.json")
    assert kept == found
    import flops_fit.trainer.train

    monkeypatch.setattr(
        flops_fit.trainer.train, "train_trunk", lambda *a, **k: pytest.fail("searched again")
    )
    assert (
        calibrate(
            xor_task(), BIG, replace(ASKED, micro_batch=8), tmp_path, progress=False
        ).suggestion
        == found.suggestion
    )
    (tmp_path / "calibration.json").write_text("{")  # torn: its runs are still there
    assert calibrate(xor_task(), BIG, ASKED, tmp_path, progress=False) == found


def test_another_question_is_another_search(tmp_path):
    a = calibrate(xor_task(), BIG, ASKED, tmp_path, progress=False)
    b = calibrate(xor_task(), BIG, replace(ASKED, weight_decay=0.0), tmp_path, progress=False)
    assert a.key != b.key and len(RunStore(tmp_path / "calibration").runs()) > len(a.tried)


def test_a_search_without_an_outcome_says_so(tmp_path):
    def broken(outputs, targets):
        return outputs.mean() if len(outputs) < 3 else 1 / 0

    task = xor_task()
    task.loss_fn = broken
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        calibrate(task, BIG, ASKED, tmp_path, progress=False)
    with pytest.raises(ContractError):
        calibrate(xor_task(), [10.0], ASKED, tmp_path, progress=False)


def test_find_optimal_settles_rates_before_it_plans(tmp_path):
    kw = dict(
        dataset=xor_data(),
        loss_fn=F.cross_entropy,
        compute_budgets=BIG,
        sizes=[8, 16, 32, 64],
        output_dir=tmp_path / "s",
        recipe=ASKED,
        progress=False,
    )
    pending = find_optimal(Net, "width", train=False, **kw)
    assert "rates_pending" in {w.code for w in pending.warnings} and not (tmp_path / "s").exists()
    result = find_optimal(Net, "width", **kw)
    law = Calibration.load(tmp_path / "s" / "calibration.json").suggestion
    shortest = {}  # D of each size, for which the rate of its trunk is right
    for e in result.plan:
        shortest[e.num_params] = min(e.num_tokens, shortest.get(e.num_params, 1e30))
    for e in result.plan:
        assert e.lr == pytest.approx(law(e.num_params, shortest[e.num_params]), rel=0.01)
    assert all(len({e.lr for e in t}) == 1 for t in result.plan.trunks.values())
    assert SweepPlan.load(tmp_path / "s" / "plan.json").recipe.lr == law
    assert (
        find_optimal(Net, "width", mode="mock", **{**kw, "output_dir": tmp_path / "m"})
        .runs[0]
        .simulated
    )


def test_rates_are_checked(tmp_path):
    good = plan_sweep(
        xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=replace(RECIPE, lr=0.01)
    )
    bad = plan_sweep(
        xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=replace(RECIPE, lr=1e-5)
    )
    check = check_rates(xor_task(), bad, tmp_path, progress=False)
    assert (
        not check.ok
        and {w.code for w in check.warnings} == {"rate_at_fault"}
        and len(check.tried) > 6
    )
    assert {r["size"] for r in check.tried} == {8, 32}
    assert (
        check_rates(xor_task(), good, tmp_path / "good", progress=False).tried[0]["num_params"]
        == good.experiments[0].num_params
    )


def test_plots_show_every_size(tmp_path):
    import matplotlib

    matplotlib.use("Agg")
    rows = [
        dict(size=s, num_params=s * 100, num_tokens=1, lr=r, loss=l)
        for s in (8, 16)
        for r, l in ((0.001, 2.0), (0.002, 1.0), (0.004, None))
    ]
    found = Calibration(
        rows,
        [dict(size=s, num_params=s * 100, lr=0.002, edge=False) for s in (8, 16)],
        PowerRate(0.01, -0.3),
        Recipe(),
    )
    left, right = found.plot()
    assert (
        len(left.get_legend_handles_labels()[0]) == 2
        and right.get_xscale() == right.get_yscale() == "log"
    )


def test_a_run_that_is_short_for_its_size_gets_no_higher_rate():
    """One search of a regression said D^-.8 of its two horizons; carried to the large models of
    its shortest budgets, at two tokens a parameter, that would have been ten times their rate."""
    seen = [(247, 11055, 0.0177), (247, 88275, 0.0035), (507, 22600, 0.0226), (817, 36480, 0.0107)]
    law = fit_rates(seen)
    assert -0.45 < law.horizon < -0.25  # one pair of short runs does not decide
    assert law(2e5, 4e5) == law(2e5) == law(2e5, 20 * 2e5) > law(2e5, 40 * 2e5)
    assert law(2e5) < 0.01
