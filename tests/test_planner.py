"Plans: what is in them, what is refused, and that they cost no weights."

import pytest, torch
from hypothesis import given, settings, strategies as st
from flops_fit.planner.dataset import ContractError
from flops_fit.planner.plan import SweepPlan
from flops_fit.planner.flops import count_params, exact_flops
from flops_fit.planner.sweep_design import guess_optimum, plan_optimum, plan_sweep
from flops_fit.planner.recipe import Recipe
from flops_fit.planner.contract import Task
from models import Net, RECIPE, Stuck, Uncounted, xor_task


@given(
    exponents=st.lists(st.integers(70, 240), min_size=1, max_size=5, unique=True),
    num_sizes=st.integers(2, 9),
)
@settings(max_examples=25, deadline=None)
def test_plans_keep_their_promises(exponents, num_sizes):
    budgets = [10 ** (e / 10) for e in exponents]
    plan = plan_sweep(Net, "width", compute_budgets=budgets, num_sizes=num_sizes)
    assert {e.compute_budget for e in plan} == set(budgets)
    assert len({e.experiment_id for e in plan}) == len(plan)
    for e in plan:
        assert (
            e.num_tokens >= 0.9 * e.num_params / 10 and e.num_steps >= 0.9 * plan.recipe.min_steps
        )
        assert (
            e.num_tokens == e.num_steps * e.batch_size and 0 < e.warmup_steps <= e.num_steps / 4 + 1
        )
        assert abs(e.flops / e.compute_budget - 1) < 0.01  # whole steps, no more rounding than that
        assert e.flops == pytest.approx(6 * e.num_params * e.num_tokens)
    for es in plan.trunks.values():
        assert (
            len({(e.size_param_value, e.lr, e.batch_size, e.warmup_steps, e.seed) for e in es}) == 1
        )
    assert plan.spent_flops <= plan.total_flops * (1 + 1e-9)


def test_json_round_trip(tmp_path):
    plan = plan_sweep(xor_task(), compute_budgets=[1e6, 4e6], recipe=RECIPE)
    assert SweepPlan.load(plan.save(tmp_path / "plan.json")) == plan


def test_ids_are_stable_and_follow_what_decides():
    a = [e.experiment_id for e in plan_sweep(Net, "width", compute_budgets=[1e9, 1e10])]
    assert a == [e.experiment_id for e in plan_sweep(Net, "width", compute_budgets=[1e9, 1e10])]
    for change in (
        dict(recipe=Recipe(lr=0.001)),
        dict(seeds=(1,)),
        dict(model_kwargs=dict(out=3)),
        dict(recipe=Recipe(weight_decay=0)),
    ):
        assert not set(a) & {
            e.experiment_id for e in plan_sweep(Net, "width", compute_budgets=[1e9, 1e10], **change)
        }


def test_a_larger_budget_keeps_the_runs_that_are_there():
    sizes = [64, 128, 256]
    few = {
        e.experiment_id for e in plan_sweep(Net, "width", compute_budgets=[1e9, 4e9], sizes=sizes)
    }
    assert few < {
        e.experiment_id
        for e in plan_sweep(Net, "width", compute_budgets=[1e9, 4e9, 16e9], sizes=sizes)
    }


def test_models_that_refuse_sizes_are_planned_around():
    class Picky(Net):
        def __init__(self, width):
            if width % 24:
                raise ValueError("width must be a multiple of 24")
            super().__init__(width)

    plan = plan_sweep(Picky, "width", compute_budgets=[1e9, 1e10], size_multiple=24)
    assert {e.size_param_value % 24 for e in plan} == {0} and len(
        {e.size_param_value for e in plan}
    ) > 3


def test_an_optimum_is_planned_at_the_nearest_size():
    plan = plan_optimum(Task(Net, "width"), 1e12, [19 * 64 + 2])
    assert [e.size_param_value for e in plan] == [64]


def test_exact_counting_is_kept_with_the_plan():
    task = xor_task()
    c = exact_flops(task, 32)
    assert c.exact == 6 * (16 * 32 + 32 * 2) - 2 * 16 * 32  # no gradient flows to the data
    plan = plan_sweep(task, compute_budgets=[1e6, 4e6], flops="exact", recipe=RECIPE)
    assert all(
        e.flops == pytest.approx(exact_flops(task, e.size_param_value).exact * e.num_tokens)
        for e in plan
    )
    assert any(w.code == "flops_counted" for w in plan.warnings)


def test_a_model_may_count_for_itself():
    class Counts(Net):
        def flops_per_sample(self, batch):
            return 12345.0

    task = xor_task()
    task.model_cls = Counts
    assert exact_flops(task, 8).exact == 12345


def test_embeddings_are_counted_both_ways():
    class Table(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.e = torch.nn.Embedding(10, 4)
            self.h = torch.nn.Linear(4, 10, bias=False)
            self.h.weight = self.e.weight
            self.m = torch.nn.Linear(4, 4)

    assert count_params(Table()) == dict(num_params=60, total=60, non_embedding=20)


def test_repeats_are_flagged():
    few = {
        w.code
        for w in plan_sweep(xor_task(), compute_budgets=[2e5, 4e5, 8e5], recipe=RECIPE).warnings
    }
    many = {
        w.code
        for w in plan_sweep(xor_task(), compute_budgets=[1e8, 4e8, 1.6e9], recipe=RECIPE).warnings
    }
    assert "repeats_many" not in few and "repeats_many" in many


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(compute_budgets=[-1e9]), "positive"),
        (dict(compute_budgets=[float("nan")]), "positive"),
        (dict(compute_budgets=[float("inf")]), "positive"),
        (dict(compute_budgets=[]), "list of FLOPs"),
        (dict(compute_budgets=None), "list of FLOPs"),
        (dict(compute_budgets="lots"), "list of FLOPs"),
        (dict(compute_budgets=[10.0]), "some size can use"),
        (dict(flops="approx"), "flops"),
        (dict(flops=-6), "flops"),
        (dict(sizes=[]), "sizes"),
        (dict(num_sizes=1), "num_sizes"),
        (dict(model_cls=Stuck), "grows with it"),
        (dict(model_cls=Uncounted), "num_params"),
        (dict(model_size_param="depth"), "an argument named|can be built"),
    ],
)
def test_refusals(kwargs, says):
    with pytest.raises(ContractError, match=says):
        plan_sweep(
            **{**dict(model_cls=Net, model_size_param="width", compute_budgets=[1e9]), **kwargs}
        )


def test_the_first_guess_is_chinchillas():
    assert guess_optimum(5.88e23) == pytest.approx(
        7e10, rel=0.3
    )  # Chinchilla itself: 70B parameters on 1.4T tokens
    assert guess_optimum(6e20, tokens_per_param=100) == pytest.approx(1e9)
