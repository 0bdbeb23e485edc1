"Rates that are searched for: found, kept, carried on, and checked."

import math
from dataclasses import replace
import pytest, torch.nn.functional as F
from hypothesis import given, strategies as st
from flops_fit.trainer.calibration import Calibration, calibrate
from flops_fit.trainer.rate_check import check_rates
from flops_fit.trainer.rates import best_rate, fit_rates
from flops_fit.core import find_optimal
from flops_fit.planner.dataset import ContractError
from flops_fit.planner.plan import SweepPlan
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.planner.recipe import PowerRate, Recipe
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


def test_diverged_rates_and_edges():
    assert best_rate({0.1: 3.0, 0.2: 2.0, 0.4: None}) == (0.2, False)
    assert best_rate({0.1: None, 0.2: 2.0, 0.4: 1.0}) == (0.4, True)
    with pytest.raises(ValueError):
        best_rate({0.1: None})


def test_it_is_made_once_and_kept(tmp_path, monkeypatch):
    found = calibrate(xor_task(), BIG, ASKED, tmp_path, progress=False)
    sizes = [b["num_params"] for b in found.best]
    assert 2 <= len(sizes) <= 3 and sizes == sorted(sizes)
    ratio = [r["num_tokens"] / r["num_params"] for r in found.tried]
    assert max(ratio) / min(ratio) < 1.5  # all at one number of tokens per parameter
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
    assert all(e.lr == pytest.approx(law(e.num_params)) for e in result.plan)
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
