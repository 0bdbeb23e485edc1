"Each diagnostic fires on the fault it is for, and keeps quiet where there is none"

import numpy as np, pytest
from flops_fit.fitter.laws import CHINCHILLA, COUPLED
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.coupled import lack_of_fit
from flops_fit.fitter.diagnostics import (
    design_warnings,
    diagnose,
    grid_edges,
    next_step,
    parabola_bias,
)
from flops_fit.fitter.select import held_out, influence
from flops_fit.text import flop, human
from flops_fit.fitter.analyzer import ScalingLawAnalyzer

truth = dict(E=1.7, A=400.0, B=600.0, alpha=0.33, beta=0.3)


skew = dict(
    E=1.7, A=2e4, B=150.0, alpha=0.55, beta=0.22
)  # a valley much steeper on the side of small models


def sweep(
    law=CHINCHILLA,
    noise=0.003,
    seed=0,
    budgets=5,
    sizes=9,
    width=2.0,
    shift=0.0,
    truth=truth,
    **extra,
):
    C = np.repeat(np.geomspace(1e18, 1e20, budgets), sizes)
    lnN = (
        COUPLED.best_on_budget(COUPLED.work({**truth, "g": extra.get("g", 1.0)})[None], np.log(C))[
            0
        ][0]
        + shift
        + np.tile(np.linspace(-width, width, sizes), budgets)
    )
    N = np.exp(lnN)
    D = C / 6 / N
    return (
        N,
        D,
        law(N, D, **truth, **extra) * np.exp(np.random.default_rng(seed).normal(0, noise, len(N))),
        C,
    )


def test_numbers_for_people():
    assert [human(v) for v in (999.6, 1e3, 1.2345e9, 2.5e12, 3e15, np.inf, np.nan)] == [
        "1K",
        "1K",
        "1.23B",
        "2.5T",
        "3.00e15",
        "∞",
        "–",
    ]
    assert [flop(v) for v in (1e18, 4.8e11, 1.2345e21)] == ["1e18", "4.8e11", "1.23e21"]


def test_designs_that_cannot_answer():
    N, D, loss, C = sweep()
    assert design_warnings(N, D, C) == []
    code = lambda *a: [w.code for w in design_warnings(*a)]
    assert code(N[:9], 20 * N[:9], 120 * N[:9] ** 2) == ["one_ratio"]
    assert "one_budget" in code(N[C == C[0]], D[C == C[0]], C[C == C[0]])
    assert code(np.full(5, 1e8), np.geomspace(1e9, 1e10, 5), np.geomspace(6e17, 6e18, 5)) == [
        "one_size"
    ]
    assert "one_data_size" in code(
        np.geomspace(1e8, 1e9, 5), np.full(5, 1e10), np.geomspace(6e18, 6e19, 5)
    )


@pytest.mark.parametrize("shift, side", [(3.0, "smallest"), (-3.0, "largest")])
def test_grid_edge(shift, side):
    N, D, loss, C = sweep(noise=0.0005, shift=shift)
    edges = grid_edges(N, loss, C)
    assert len(edges) == 5 and set(edges.side) == {side}
    assert len(grid_edges(*(sweep(noise=0.0005)[i] for i in (0, 2, 3)))) == 0


def test_lack_of_fit_has_its_level_and_sees_coupling():
    p = [lack_of_fit(fit_parametric(*sweep(seed=s)[:3]))["p"] for s in range(60)]
    assert (
        np.mean(np.array(p) < 0.05) < 0.15 and 0.38 < np.mean(p) < 0.62
    )  # uniform under a true law
    assert lack_of_fit(fit_parametric(*sweep(COUPLED, g=0.5)[:3]))["p"] < 1e-4
    assert np.isnan(lack_of_fit(fit_parametric(*sweep()[:3], groups=np.arange(45) // 3))["p"])


def test_lack_of_fit_ignores_far_outliers():
    N, D, loss, C = sweep(seed=3)
    loss[7] *= 1.5
    assert lack_of_fit(fit_parametric(N, D, loss))["p"] > 0.001


@pytest.mark.parametrize("law", ["chinchilla", "coupled"])
def test_influence_equals_refitting_without_the_run(law):
    N, D, loss, C = sweep(noise=0.005)
    fit = (
        fit_parametric(N, D, loss, law="chinchilla", objective="log")
        if law == "chinchilla"
        else fit_parametric(N, D, loss, law="coupled")
    )
    table = influence(fit, 1e21)
    assert sorted(i for r in table.rows for i in r) == list(range(45))
    if law == "coupled":
        return  # its weights and scale move too when refitted
    row = table.iloc[0]
    keep = np.arange(45) != row.rows[0]
    again = fit_parametric(N[keep], D[keep], loss[keep], objective="log")
    assert np.isclose(
        np.log(again.optimum(1e21).optimal_params / fit.optimum(1e21).optimal_params),
        row.shift_params,
        atol=1e-4,
    )


def test_influence_leaves_out_whole_trunks():
    N, D, loss, C = sweep()
    table = influence(fit_parametric(N, D, loss, groups=np.tile(np.arange(9), 5)), 1e21)
    assert len(table) == 9 and all(len(r) == 5 for r in table.rows)


def test_one_bad_run_is_named():
    N, D, loss, C = sweep(seed=1, noise=0.002)
    loss[44] *= 0.93
    fit = fit_parametric(N, D, loss, objective="log")
    assert influence(fit, 1e21).rows[0] == (44,) and "influential_run" in {
        w.code for w in diagnose(fit)
    }


def test_held_out_predicts_a_law_that_is_true_and_reports_one_that_is_not():
    N, D, loss, C = sweep(noise=0.002)
    good = held_out(fit_parametric(N, D, loss, law="coupled"), 8)
    assert (
        good.loc["chinchilla", "rms"] < 0.006
        and good.loc["coupled", "inside"] >= 0.8
        and good.fitted.iloc[0] == 27
    )
    bent = held_out(fit_parametric(*sweep(COUPLED, noise=0.002, g=0.4)[:3], law="coupled"), 8)
    assert bent.loc["chinchilla", "rms"] > 2 * bent.loc["coupled", "rms"]
    assert (
        len(held_out(fit_parametric(N[:9], D[:9], loss[:9]))) == 0
    )  # one budget: nothing to hold out


def test_parabolas_are_biased_by_wide_grids_and_cubics_less():
    N, D, loss, C = sweep(noise=0.0005, width=2.5, truth=skew)
    law = fit_parametric(N, D, loss)
    quad, cubic = (abs(parabola_bias(law, N, C, 1e21, degree)) for degree in (2, 3))
    assert quad > 0.15 and cubic < quad / 2
    N, _, _, C = sweep(width=0.4, truth=skew)
    assert abs(parabola_bias(law, N, C, 1e21)) < 0.05
    assert np.isnan(parabola_bias(law, N[:2], C[:2], 1e21))


def test_disagreement_is_told_with_the_parabolas_known_bias():
    a = ScalingLawAnalyzer(
        dict(zip(("N", "D", "loss", "compute_budget"), sweep(noise=0.0005, width=3.0, truth=skew)))
    ).analyze()
    found = [w for w in a.warnings if w.code == "approaches_disagree" and "parabola" in w.message]
    assert found and "even without noise" in found[0].message and "parabola" in a.disagreement
    calm = ScalingLawAnalyzer(
        dict(zip(("N", "D", "loss", "compute_budget"), sweep(noise=0.004, width=1.0)))
    ).analyze()
    assert "approaches_disagree" not in {w.code for w in calm.warnings}


def test_next_step_names_the_most_pressing_thing():
    step = lambda **kw: next_step(
        ScalingLawAnalyzer(dict(zip(("N", "D", "loss", "compute_budget"), sweep(**kw)))).analyze()
    )
    assert step().startswith("Verify: train") and "five times the largest run" in step()
    assert "above" in step(shift=-3.0, noise=0.0005) and "below" in step(shift=3.0, noise=0.0005)
    assert "budget" in step(budgets=1, sizes=15) and "5 are completed" not in step(
        budgets=1, sizes=15
    )
    N, D, loss, C = sweep()
    few = ScalingLawAnalyzer(dict(N=N[:4], D=D[:4], loss=loss[:4])).analyze()
    assert "4 are completed" in next_step(few)
    rows = [
        dict(N=n, D=d, loss=l, compute_budget=c, status="completed")
        for n, d, l, c in zip(N, D, loss, C)
    ] + [dict(N=1e8, D=1e9, compute_budget=6e17, status="failed")]
    assert next_step(ScalingLawAnalyzer(rows).analyze()).startswith("Run the 1 run again")
