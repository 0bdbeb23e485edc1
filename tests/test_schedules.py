"A rate that falls as a power of the tokens seen: one trunk, whatever its branches' lengths."

from dataclasses import replace
import pytest
from hypothesis import given, strategies as st
from flops_fit.planner.dataset import ContractError
from flops_fit.planner.plan import fork_of
from flops_fit.planner.recipe import HOLD, PowerRate, Recipe
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.sweep import TrainingRunner
from flops_fit.trainer.train import Stopped, train_trunk
from models import BUDGETS, RECIPE, SIZES, xor_task

POWER = replace(RECIPE, schedule="power", power=0.5)


def planned(recipe, budgets=BUDGETS):
    return plan_sweep(xor_task(), compute_budgets=budgets, sizes=SIZES, recipe=recipe)


@given(st.integers(50, 3000), st.integers(1, 40), st.integers(1, 2000), st.floats(0, 1), st.data())
def test_the_share_of_the_peak(num_steps, warmup, hold, power, data):
    recipe = Recipe(schedule="power", power=power)
    step = data.draw(st.integers(0, num_steps - 1))
    constant = Recipe().lr_factor(step, num_steps, warmup)
    factor = recipe.lr_factor(step, num_steps, warmup, hold)
    seen = (step + 1) / hold  # tokens, in units of those for which the rate is held
    assert factor == pytest.approx(constant * (seen**-power if seen > 1 else 1))
    if step < fork_of(num_steps, recipe):  # up to its cooldown, a longer run is the same run
        assert factor == recipe.lr_factor(step, 2 * num_steps, warmup, hold)


def test_the_power_is_what_the_search_saw_of_horizons():
    seen = PowerRate(0.01, -0.2, -0.4)
    assert Recipe(lr=seen, schedule="power").fall == 0.4
    assert Recipe(lr=seen, schedule="power", power=0.1).fall == 0.1
    assert Recipe(lr=PowerRate(0.01, -0.2, 0.3), schedule="power").fall == 0.3  # it never rises
    assert Recipe(lr=0.01, schedule="power").fall == 0.3
    for wrong in -0.1, 3, "half", float("nan"):
        with pytest.raises(ContractError, match="power"):
            Recipe(power=wrong)


def test_the_rate_held_is_right_where_it_begins_to_fall():
    law = PowerRate(0.01, -0.2, -0.4)
    recipe = replace(RECIPE, lr=law, schedule="power")
    for e in planned(recipe):
        hold = recipe.hold_steps(e.num_params, e.tokens_per_step)
        assert hold == pytest.approx(HOLD * e.num_params / e.tokens_per_step, abs=1)
        assert e.lr == pytest.approx(law(e.num_params, HOLD * e.num_params))
        step = 3 * hold  # of a run that is long enough
        rate = e.lr * recipe.lr_factor(step - 1, 100 * hold, 1, hold)
        assert rate == pytest.approx(law(e.num_params, step * e.tokens_per_step), rel=0.02)


def test_a_longer_budget_leaves_the_trunks_as_they_are():
    "So that nothing is trained twice; the recipe of the rates decides, and so does the power."
    longer = planned(POWER, [*BUDGETS, 4 * BUDGETS[-1]])
    trunks = {t.trunk for t in planned(POWER)}
    assert trunks == {e.trunk for e in longer if e.compute_budget <= BUDGETS[-1]}
    shared = [t for t in longer.trunks.values() if t[0].size_param_value == SIZES[1]]
    assert len(shared) == 1 and len(shared[0]) == len(BUDGETS) + 1
    others = replace(POWER, power=0.4), replace(POWER, schedule="cooldown")
    for other in others:
        assert not trunks & {e.trunk for e in planned(other)}
    given = replace(POWER, lr=lambda N, D: 0.01 * (D / 1e5) ** -0.3)  # asked at one D a size
    assert all(len({e.lr for e in t}) == 1 for t in planned(given).trunks.values())
    assert len(planned(given).trunks) == len(SIZES)


def test_a_branch_is_the_run_it_would_be_alone_and_killed_it_goes_on(tmp_path):
    es = max(planned(POWER).trunks.values(), key=lambda t: t[-1].tokens_per_param)
    assert es[-1].num_steps > POWER.hold_steps(es[0].num_params, es[0].tokens_per_step)
    together = train_trunk(xor_task(), es, POWER)
    alone = [train_trunk(xor_task(), [e], POWER)[0] for e in es]
    losses = [r.final_loss for r in together]
    assert losses == [r.final_loss for r in alone]
    constant = train_trunk(xor_task(), es, replace(POWER, schedule="cooldown"))
    assert losses[-1] != constant[-1].final_loss

    calls = iter(range(10_000))
    with pytest.raises(Stopped):
        train_trunk(xor_task(), es, POWER, folder=tmp_path, should_stop=lambda: next(calls) > 30)
    resumed = train_trunk(xor_task(), es, POWER, folder=tmp_path)
    kept = {r.experiment_id: r.final_loss for r in together}
    assert resumed and all(kept[r.experiment_id] == r.final_loss for r in resumed)


def test_a_sweep_of_it_is_kept_and_read_back(tmp_path):
    plan = planned(replace(POWER, lr=PowerRate(0.02, -0.1, -0.3), power=None))
    runner = TrainingRunner(output_dir=str(tmp_path), progress=False)
    runs = runner.run_sweep(plan, xor_task())
    assert {r.status for r in runs} == {"completed"}
    assert Recipe.from_dict(runs[0].recipe) == plan.recipe
    assert {e.experiment_id for e in plan} == set(RunStore(tmp_path).finished())
    again = runner.run_sweep(plan, xor_task())
    assert [r.timestamp for r in again] == [r.timestamp for r in runs]  # not trained twice
