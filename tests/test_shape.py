"""What a table mixes is seen before it is fitted, and ordinary sweeps are left alone"""

import numpy as np, pandas as pd, pytest
from flops_fit.errors import FitError
from flops_fit.fitter.analyzer import ScalingLawAnalyzer
from flops_fit.fitter.laws import COUPLED
from flops_fit.fitter.parametric import fit_parametric
from flops_fit.fitter.reach import (
    annealing_warnings,
    bracketing_runs,
    fall_in_trunks,
    missing_side,
    side_warnings,
    widened,
)
from flops_fit.fitter.shape import (
    best_of_settings,
    explained_by,
    label_warnings,
    labels,
    settings_tried,
)
from flops_fit.fitter.table import columns_beside

truth = dict(E=1.7, A=400.0, B=600.0, alpha=0.33, beta=0.3, g=0.5)
new = {"settings_tried", "label_explains", "not_annealed", "one_sided_runs"}


def noise(n, sd=0.003, seed=0):
    return np.exp(np.random.default_rng(seed).normal(0, sd, n))


def sweep(sizes=9, width=2.0, seed=0):
    "Five budgets from 1e18 to 1e20 FLOPs"
    C = np.repeat(np.geomspace(1e18, 1e20, 5), sizes)
    N = np.sqrt(C / 120) * np.exp(np.tile(np.linspace(-width, width, sizes), 5))
    loss = COUPLED(N, C / 6 / N, **truth) * noise(len(N), seed=seed)
    return pd.DataFrame(dict(num_params=N, num_tokens=C / 6 / N, compute_budget=C, loss=loss))


def codes(a):
    return {w.code for w in a.warnings}


def analyse(table, **how):
    return ScalingLawAnalyzer(table, **how).analyze()


def tried(table, **columns):
    "The table once for each value of a column, at a cost in loss: column=[(value, cost), ...]"
    (name, values), out = next(iter(columns.items())), []
    for i, (value, cost) in enumerate(values):
        again = table.assign(**{name: value}, loss=table.loss * (1 + cost))
        out.append(again.assign(loss=again.loss * noise(len(table), 0.001, seed=i)))
    return pd.concat(out, ignore_index=True)


# settings


@pytest.mark.parametrize(
    "name, values",
    [
        ("lr", [(0.001, 0.02), (0.003, 0.0), (0.01, 0.03)]),
        ("batch_size", [(64, 0.0), (256, 0.01)]),
        ("recipe", [("old", 0.04), ("new", 0.0)]),
    ],
)
def test_of_several_settings_the_best_is_fitted(name, values):
    table = sweep()
    mixed = tried(table, **{name: values})
    a = analyse(mixed)
    assert "settings_tried" in codes(a) and len(a.runs) == len(table)
    (w,) = [w for w in a.warnings if w.code == "settings_tried"]
    assert f"{len(mixed) - 45} of {len(mixed)} rows" in w.message and name in w.message
    best = analyse(table).predict(1e21)
    assert a.predict(1e21).optimal_params == pytest.approx(best.optimal_params, rel=0.05)
    worst = fit_parametric(mixed.num_params, mixed.num_tokens, mixed.loss, law="coupled")
    assert a.law.sigma < 0.7 * worst.sigma


def test_seeds_are_replicates_and_stay():
    by_seed = tried(sweep(), seed=[(0, 0.0), (1, 0.002), (2, 0.0)])
    a = analyse(by_seed)
    assert len(a.runs) == len(by_seed) and not codes(a) & new
    unnamed = by_seed.drop(columns="seed")  # the same, and nobody says why they differ
    assert len(analyse(unnamed).runs) == len(by_seed)


def test_the_best_rate_keeps_all_its_seeds():
    rates = tried(sweep(), lr=[(0.001, 0.02), (0.003, 0.0)])
    both = pd.concat([rates.assign(seed=s, loss=rates.loss * f) for s, f in ((0, 1), (1, 1.001))])
    a = analyse(both)
    assert len(a.runs) == 90 and "settings_tried" in codes(a)


def test_measurements_are_no_settings():
    rng, table = np.random.default_rng(0), tried(sweep(), seed=[(0, 0.0), (1, 0.0)])
    table["train_loss"] = table.loss - 0.1
    table["wall_time_seconds"] = rng.uniform(1, 9, len(table))
    table["gpus"] = 8
    table["host"] = rng.choice(["a", "b"], len(table))
    assert len(analyse(table).runs) == len(table)


def test_two_rows_that_happen_to_meet_are_no_search():
    table = sweep().assign(width=np.tile([256, 512, 768], 15))
    met = pd.concat([table, table[:2].assign(width=999)], ignore_index=True)
    assert settings_tried(met, met[["width"]]) == []
    assert settings_tried(met, met[["width"]].rename(columns=dict(width="lr"))) == ["lr"]


def test_losses_on_other_data_are_not_compared():
    two = tried(sweep(), dataset=[("wiki", 0.0), ("code", -0.3)])
    assert settings_tried(two, two[["dataset"]]) == []
    a = analyse(two)
    assert len(a.runs) == 90 and "label_explains" in codes(a) and "'dataset'" in a.summary()
    unique = tried(sweep(), lr=[(0.1, 0.0), (0.2, 0.1)])
    unique["unique_tokens"] = np.repeat([1e12, 1e13], 45)
    assert len(analyse(unique).runs) == 90


def test_large_random_tables_do_not_melt_into_one_cell():
    rng = np.random.default_rng(0)
    N, D = (np.exp(rng.uniform(a, a + 5, 4000)) for a in (18, 21))
    runs = pd.DataFrame(dict(num_params=N, num_tokens=D, loss=COUPLED(N, D, **truth)))
    kept, _ = best_of_settings(runs, pd.DataFrame(dict(lr=rng.choice([0.1, 0.2], 4000))))
    assert kept.mean() > 0.99


def test_rates_of_step_law(shared_data):
    a = ScalingLawAnalyzer(shared_data / "runs/steplaw_lr_bs/dense_lr_bs_loss.csv")
    kept, (warning,) = best_of_settings(a.table, a.others)
    assert kept.sum() == 17 and "1894 of 1911 rows" in warning.message and "lr, bs" in str(warning)


# labels


@pytest.mark.parametrize("values", [("adamw", "muon"), (1, 2), (True, False)])
def test_a_label_that_explains_the_residuals_is_named(values):
    table, second = sweep(), np.random.default_rng(1).permutation(np.arange(45) % 2 == 1)
    table["kind"] = np.where(second, *values)
    table["group"] = np.random.default_rng(2).choice(["x", "y", "z"], 45)
    assert not codes(analyse(table)) & new
    table["loss"] *= np.where(second, 0.96, 1.0)
    a = analyse(table)
    (w,) = [w for w in a.warnings if w.code == "label_explains"]
    assert "'kind'" in w.message and "groupby('kind')" in w.remedy
    assert a.next_step == w.remedy and "'kind'" in a.chinchilla_table([1e21])


def test_labels_that_only_say_the_size_are_passed_over():
    table = sweep()
    table["loss"] *= np.where(table.num_params > 3e8, 1.05, 1.0)
    beside = pd.DataFrame(
        dict(
            size=np.where(table.num_params > 3e8, "large", "small"),
            name=[f"run {i}" for i in range(45)],
            seed=np.arange(45) % 2,
            constant="a",
            holes=[None] * 9 + ["a", "b", "c", "d"] * 9,
        )
    )
    fit = fit_parametric(table.num_params, table.num_tokens, table.loss, law="coupled")
    assert labels(fit, beside) == {} and label_warnings(fit, beside) == []


def test_a_label_of_trunks_is_tested_over_trunks():
    table, rng = sweep(8), np.random.default_rng(3)
    trunk = np.tile(np.arange(8), 5)
    loss = table.loss * np.exp(rng.normal(0, 0.02, 8))[trunk]
    fit = fit_parametric(table.num_params, table.num_tokens, loss, law="coupled", groups=trunk)
    label = np.array([0, 1, 1, 0, 1, 0, 0, 1])[trunk]
    assert explained_by(fit, label)["df2"] < 8
    alone = fit_parametric(table.num_params, table.num_tokens, loss, law="coupled")
    assert explained_by(alone, label)["df2"] > 20


# schedules


def schedule(down, ratios=(20, 60), points=12, sd=0.003, seed=0):
    "Eight sizes; `down` of the run's last part brings the rate, and 3% of the loss, down"
    s = np.tile(np.arange(1, points + 1) / points, 8 * len(ratios))
    N = np.repeat(np.geomspace(5e7, 2e9, 8), points * len(ratios))
    D = s * N * np.tile(np.repeat(ratios, points), 8)
    above = 0.03 * np.minimum(1, (1 - s) / down) if down else 0.0
    loss = COUPLED(N, D, **truth) * (1 + above) * noise(len(N), sd, seed)
    trunk = np.repeat(np.arange(8 * len(ratios)), points)
    return pd.DataFrame(dict(num_params=N, num_tokens=D, loss=loss, trunk=trunk))


@pytest.mark.parametrize("down", [0.2, 0.5, 1.0])
def test_points_of_schedules_that_were_not_brought_down(down):
    a, calm = analyse(schedule(down)), analyse(schedule(0))
    (w,) = [w for w in a.warnings if w.code == "not_annealed"]
    assert "16 trunks" in w.message and "idxmax" in w.remedy and a.next_step == w.remedy
    assert "not_annealed" not in codes(calm)
    ends = schedule(down).pipe(lambda t: t.loc[t.groupby("trunk").num_tokens.idxmax()])
    assert "not_annealed" not in codes(analyse(ends))


def test_their_intervals_are_widened():
    t = schedule(0.2)
    a = analyse(t)
    fit = fit_parametric(t.num_params, t.num_tokens, t.loss, law="coupled", groups=t.trunk)
    wide = widened(fit, fall_in_trunks(fit)["fall"])
    for fitted in (a.law, wide):
        for name in ("optimal_params", "expected_loss"):
            before, after = (
                np.log(p[f"{name}_upper"] / p[f"{name}_lower"])
                for p in (fit.optimum(1e22), fitted.optimum(1e22))
            )
            assert after > 1.3 * before
    assert a.law is a.coupled and a.law.params == fit.params
    with pytest.raises(FitError, match="fall"):
        widened(fit, np.nan)


def test_cooled_branches_of_shared_trunks_are_finished_runs():
    "As our own sweeps make them: a trunk a size, a branch at each budget, factors of 2"
    C = np.tile(3e10 * 2.0 ** np.arange(6), 7)
    N = np.repeat(np.geomspace(5e3, 8e4, 7), 6)
    law = dict(E=0.9, A=40.0, B=300.0, alpha=0.4, beta=0.4, g=0.5)
    shared = np.repeat(noise(7, 0.01), 6)
    loss = COUPLED(N, C / 6 / N, **law) * shared * noise(42, 0.004, seed=5)
    loss[5::6] *= 0.985  # whatever the longest branches do
    a = analyse(
        dict(
            num_params=N,
            num_tokens=C / 6 / N,
            compute_budget=C,
            loss=loss,
            trunk=np.repeat(np.arange(7), 6),
        )
    )
    assert "not_annealed" not in codes(a)
    assert fall_in_trunks(a.law)["trunks"] == 0


def test_without_trunks_nothing_is_said():
    t = schedule(0.2)
    fit = fit_parametric(t.num_params, t.num_tokens, t.loss, law="coupled")
    assert annealing_warnings(fit) == [] and np.isnan(fall_in_trunks(fit)["p"])


# one side of the valley


def one_side(side, least=0.5):
    t = sweep(13, 2.4)
    fit = fit_parametric(t.num_params, t.num_tokens, t.loss, law="coupled")
    assert missing_side(fit) is None and side_warnings(fit) == []
    return t[side * fit.off_valley > least]


@pytest.mark.parametrize("side, missing", [(1, "smaller"), (-1, "larger")])
def test_runs_on_one_side_say_what_would_bracket_the_valley(side, missing):
    a = analyse(one_side(side))
    (w,) = [w for w in a.warnings if w.code == "one_sided_runs"]
    assert missing in w.message and a.next_step.startswith("Bracket the valley: at 1e18 FLOPs")
    todo, cheap = bracketing_runs(a.law), a.runs[a.runs.compute_budget == 1e18].num_params
    nearest = cheap.min() / np.r_[2, 4] if side > 0 else cheap.max() * np.r_[2, 4]
    assert np.allclose(todo.num_params, nearest)
    assert np.allclose(6 * todo.num_params * todo.num_tokens, 1e18)
    assert a.predict(1e21).optimal_params > 0  # near enough to be answered, with its interval


@pytest.mark.parametrize("side, run", [(1, "larger"), (-1, "smaller")])
def test_an_optimum_far_from_every_run_is_refused(side, run):
    t = one_side(side)
    if side > 0:  # losses fall with the tokens alone: smaller models would be ever better
        loss = 1.7 + 600 / t.num_tokens**0.3
    else:  # and with the parameters alone: larger ones
        loss = 1.7 + 400 / t.num_params**0.33
    a = analyse(t.assign(loss=loss))
    assert a.law.too_far
    questions = (
        lambda: a.predict(1e21),
        lambda: a.predict_optimal_size(1e19),
        lambda: a.law.optimum([1e19, 1e20]),
        lambda: a.law.penalty(1e20),
        lambda: a.law.optimum_draws([1e20], 9),
    )
    for ask in questions:
        with pytest.raises(FitError, match=f"times {run} than the best"):
            ask()
    rows = [l for l in a.chinchilla_table([1e20, 1e22]).splitlines() if l.startswith("| 1e2")]
    assert len(rows) == 2 and all(r.count("not determined") == 4 for r in rows)
    assert np.isnan(a.approaches(1e21).num_params["coupled"]) and np.isnan(a.optimal_ratio)
    assert "not determined" in repr(a) and "do not determine" in a.summary()
    assert a.next_step.startswith("Bracket the valley") and "N* grows" not in a._repr_html_()
    assert not codes(a) & {"influential_run", "forms_disagree_params"}


def test_a_step_toward_the_valley_is_no_step_into_nothing():
    "Sizes that are proposed lie within a factor of 4 of those that were run"
    t = one_side(1)
    a = analyse(t.assign(loss=1.7 + 600 / t.num_tokens**0.3))
    cheap = a.runs[a.runs.flops < 1.3 * a.runs.flops.min()].num_params.min()
    assert (bracketing_runs(a.law).num_params >= cheap / 4 * 0.999).all()


# strange tables


def test_ordinary_sweeps_raise_none_of_these():
    for seed in range(3):
        assert not codes(analyse(sweep(seed=seed))) & new


@pytest.mark.parametrize(
    "column",
    [
        [np.nan] * 45,
        [{"a": 1}, [2], None] * 15,
        np.full(45, 1e300),
        [np.inf, -np.inf, np.nan] * 15,
        pd.date_range("2026-01-01", periods=45),
        ["é", "", "<b>"] * 15,
        [1 + 2j] * 45,
    ],
    ids=["nan", "objects", "1e300", "inf", "dates", "text", "complex"],
)
def test_strange_columns_change_nothing(column):
    table = sweep()
    beside = pd.DataFrame({name: column for name in ("lr", "optimizer", "notes", 7)})
    twice = pd.concat([beside, beside[["lr", 7]]], axis=1)  # two columns of one name
    kept, warnings = best_of_settings(pd.concat([table] * 2), pd.concat([twice] * 2))
    assert kept.all() and warnings == []
    a = analyse(pd.concat([table, twice], axis=1))
    assert len(a.runs) == 45 and not codes(a) & new


def test_tables_that_do_not_belong_together_are_refused():
    table = sweep()
    fit = fit_parametric(table.num_params, table.num_tokens, table.loss)
    with pytest.raises(FitError, match="one a run"):
        labels(fit, table[:3])
    with pytest.raises(FitError, match="one a run"):
        settings_tried(table, table[:3])
    with pytest.raises(FitError, match="DataFrame"):
        best_of_settings(table, None)


def test_columns_beside_the_runs():
    table = sweep().assign(lr=0.1, tokens=1.0, metrics=[{}] * 45)
    assert [*columns_beside(table)] == ["lr"]
    assert [*columns_beside(table, dict(loss="lr"))] == []
