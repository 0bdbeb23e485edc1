"""From a table of runs to an analysis: approaches side by side, predictions, tables, and honest
refusals"""

import re
import numpy as np, pandas as pd, pytest
from flops_fit.fitter.laws import CHINCHILLA, COUPLED, FitError
from flops_fit.fitter.analyzer import ScalingLawAnalyzer
from flops_fit.fitter.table import read_runs

truth = dict(E=1.7, A=400.0, B=600.0, alpha=0.33, beta=0.3)


def table(noise=0.003, seed=0, budgets=5, sizes=7, law=CHINCHILLA, low=1e18, high=1e20, **extra):
    C = np.repeat(np.geomspace(low, high, budgets), sizes)
    lnN = COUPLED.best_on_budget(
        COUPLED.work({**truth, "g": extra.get("g", 1.0)})[None], np.log(C)
    )[0][0] + np.tile(np.linspace(-1.8, 1.8, sizes), budgets)
    N = np.exp(lnN)
    return pd.DataFrame(
        dict(
            num_params=N,
            num_tokens=C / 6 / N,
            compute_budget=C,
            loss=law(N, C / 6 / N, **truth, **extra)
            * np.exp(np.random.default_rng(seed).normal(0, noise, len(N))),
        )
    )


def codes(a):
    return {w.code for w in a.warnings}


@pytest.fixture(scope="module")
def analysis():
    return ScalingLawAnalyzer(table()).analyze()


def test_finds_the_truth(analysis):
    best = CHINCHILLA.best_on_budget(CHINCHILLA.work(truth)[None], np.log([1e21]))
    got = analysis.predict(1e21)
    assert got["optimal_params_lower"] < np.exp(best[0][0, 0]) < got["optimal_params_upper"]
    assert abs(got["expected_loss"] / best[2][0, 0] - 1) < 0.02
    assert got["optimal_params"] * got["optimal_tokens"] * 6 == pytest.approx(1e21)
    assert got["target_compute"] == 1e21


def test_the_power_laws_say_what_the_predictions_say(analysis):
    for C in (1e18, 1e20, 1e24):
        p = analysis.predict(C)
        assert (
            analysis.n_opt_fit.predict(C)
            == pytest.approx(p["optimal_params"], rel=1e-6)
            == analysis.predict_optimal_size(C)
        )
        assert analysis.d_opt_fit.predict(C) == pytest.approx(p["optimal_tokens"], rel=1e-6)
        assert analysis.l_opt_fit.predict(C) == pytest.approx(p["expected_loss"], rel=1e-6)
    ci = analysis.law.conf_int().loc["a"]
    assert (
        np.allclose(analysis.n_opt_fit.a_ci, ci, atol=0.02) and analysis.n_opt_fit.r_squared > 0.98
    )
    assert analysis.l_opt_fit.l_inf == pytest.approx(analysis.law.params["E"])
    assert analysis.optimal_ratio == pytest.approx(
        analysis.predict(analysis.max_compute)["tokens_per_param"]
    )


def test_approaches_side_by_side(analysis):
    t = analysis.approaches(1e21)
    assert (
        list(t.index) == ["parabola", "cubic", "Chinchilla", "coupled"]
        and "envelope" in analysis.skipped
    )
    for c in ("a", "b", "num_params", "num_tokens", "loss"):
        assert (t[c + "_lower"] <= t[c]).all() and (t[c] <= t[c + "_upper"]).all()
    assert np.allclose(t.a + t.b, 1, atol=1e-6)
    assert t.loc["coupled", "num_params"] == pytest.approx(analysis.predict(1e21)["optimal_params"])
    assert t.loc["parabola", "num_params"] == pytest.approx(analysis.isoflop.n_opt.predict(1e21))


def test_a_sweep_without_faults_raises_no_alarm(analysis):
    assert not codes(analysis) & {
        "grid_edge",
        "one_ratio",
        "one_budget",
        "lack_of_fit",
        "approaches_disagree",
        "unfinished_runs",
        "flops_factor",
        "influential_run",
    }
    assert analysis.next_step.startswith("Verify")


def test_the_table(analysis):
    md = analysis.chinchilla_table()
    rows = [l for l in md.splitlines() if l.startswith("|")][2:]
    assert len(rows) == 9 and rows[0].startswith("| 1e18 |") and rows[-1].startswith("| 1e22 |")
    assert all(r.count(" to ") == 4 for r in rows) and all(len(r.split("|")) == 8 for r in rows)
    assert "inside" in rows[0] and "100×" in rows[-1] and "simulated" not in md.lower()
    one = analysis.chinchilla_table(1e26)
    assert "1M×" in one and "beyond the largest run" in one
    with pytest.raises(FitError, match="positive"):
        analysis.chinchilla_table([1e18, -1])
    with pytest.raises(FitError, match="positive"):
        analysis.chinchilla_table([float("nan")])


def test_simulated_runs_say_so_everywhere():
    a = ScalingLawAnalyzer(table().assign(simulated=True)).analyze()
    assert a.simulated
    for text in (repr(a), a.summary(), a._repr_html_(), a.chinchilla_table()):
        assert "simulated" in text.lower()
    mixed = table()
    mixed["simulated"] = [True] + [False] * 34
    assert "mixed_simulated" in codes(ScalingLawAnalyzer(mixed).analyze())


def test_words(analysis):
    assert re.match(
        r"ScalingAnalysis\(35 runs to 1e20 FLOPs: N\* ∝ C\^0\.\d+", repr(analysis)
    ) and "\n" not in repr(analysis)
    s, html = analysis.summary(), analysis._repr_html_()
    for word in ("35 runs", "parabola", "coupled", "Next:"):
        assert word in s
    assert "<table" in html and "Next" in html and "<script" not in html


def test_text_from_a_table_cannot_become_html():
    rows = table().to_dict("records")
    for i, r in enumerate(rows):
        r["experiment_id"] = f"<b>{i}</b>"
    rows[34]["loss"] *= 1.08
    assert "<b>34" not in ScalingLawAnalyzer(rows).analyze()._repr_html_()


def test_only_completed_runs_are_fitted():
    t = table()
    t["status"] = "completed"
    bad = pd.concat(
        [
            t,
            pd.DataFrame(
                [
                    dict(num_params=1e8, num_tokens=1e9, loss=99.0, status="diverged"),
                    dict(num_params=1e8, num_tokens=1e9, loss=np.nan, status="failed"),
                ]
            ),
        ],
        ignore_index=True,
    )
    a, b = ScalingLawAnalyzer(bad).analyze(), ScalingLawAnalyzer(t).analyze()
    assert (
        a.unfinished == 2
        and a.law.params == b.law.params
        and "2 of 37 runs" in next(w.message for w in a.warnings if w.code == "unfinished_runs")
    )
    with pytest.raises(FitError, match="completed"):
        ScalingLawAnalyzer(bad.iloc[-2:]).analyze()


@pytest.mark.parametrize("n", [1, 2, 4, 5])
def test_too_few_runs_give_no_number(n):
    a = ScalingLawAnalyzer(table().iloc[:n]).analyze()
    assert (
        a.law is None
        and "no law" in repr(a)
        and a.warnings
        and a._repr_html_()
        and "Next" in a.summary()
    )
    for ask in (lambda: a.predict(1e20), lambda: a.predict_optimal_size(1e20), a.chinchilla_table):
        with pytest.raises(FitError, match="at least 6"):
            ask()
    assert np.isnan(a.optimal_ratio) and a.n_opt_fit is None


def test_six_runs_are_fitted_and_warned_of():
    a = ScalingLawAnalyzer(table(budgets=2, sizes=3)).analyze()
    assert a.law is not None and "few_runs" in codes(a)
    assert a.cubic is None and "5 sizes" in a.skipped["cubic"] and a.isoflop is not None


def test_one_budget_says_that_growth_is_not_seen():
    a = ScalingLawAnalyzer(table(budgets=1, sizes=15, low=1e19)).analyze()
    assert (
        {"one_budget", "no_isoflop"} <= codes(a)
        and a.isoflop is None
        and list(a.optimal_points.source) == ["best run"]
    )
    assert (
        "nothing says how the optimum moves" in a.next_step
        and "how the optimum moves" in a.chinchilla_table([1e20])
    )


def test_one_ratio_of_tokens_to_parameters_is_refused_or_warned_of():
    N = np.geomspace(1e8, 1e10, 12)
    a = ScalingLawAnalyzer(
        dict(
            N=N,
            D=20 * N,
            loss=CHINCHILLA(N, 20 * N, **truth)
            * np.exp(np.random.default_rng(0).normal(0, 0.002, 12)),
        )
    ).analyze()
    assert (
        "one_ratio" in codes(a)
        and "ratio" in a.next_step
        and "cannot be told apart" in a.chinchilla_table([1e22])
    )


def test_exact_flops_set_the_factor():
    t = table()
    t["flops"] = 8 * t.num_params * t.num_tokens
    a = ScalingLawAnalyzer(t.drop(columns="compute_budget")).analyze()
    assert a.flops_factor == pytest.approx(8) and "flops_factor" in codes(a)
    p = a.predict(1e21)
    assert p["optimal_params"] * p["optimal_tokens"] * 8 == pytest.approx(1e21)


def test_trunks_widen_what_is_claimed():
    t = table(budgets=6, sizes=6)
    t["num_params"] = np.tile(np.geomspace(5e7, 1e9, 6), 6)
    t["num_tokens"] = t.compute_budget / 6 / t.num_params
    shared = np.repeat(np.random.default_rng(1).normal(0, 0.01, 6)[None], 6, 0).ravel()
    t["loss"] = CHINCHILLA(t.num_params, t.num_tokens, **truth) * np.exp(
        shared + np.random.default_rng(2).normal(0, 0.0005, 36)
    )
    t["trunk"] = [f"size {i}" for i in np.tile(np.arange(6), 6)]
    a = ScalingLawAnalyzer(t).analyze()
    assert a.law.data.get("groups") is not None and "few_groups" in codes(a)
    alone = ScalingLawAnalyzer(t.assign(trunk=range(36))).analyze()
    assert alone.law.data.get("groups") is None  # a trunk each: nothing is shared
    for name in ("E", "a"):
        wide, narrow = (np.ptp(x.plain.conf_int().loc[name]) for x in (a, alone))
        assert wide > 2 * narrow, name
    for name in ("optimal_params", "expected_loss"):
        wide, narrow = (
            np.log(p[f"{name}_upper"] / p[f"{name}_lower"])
            for p in (x.predict(1e21) for x in (a, alone))
        )
        assert wide > narrow, name


def test_repeated_data_are_warned_of():
    assert "repeated_data" in codes(ScalingLawAnalyzer(table().assign(unique_tokens=1e8)).analyze())
    assert "repeated_data" not in codes(
        ScalingLawAnalyzer(table().assign(unique_tokens=1e15)).analyze()
    )


def test_order_and_units_of_rows_do_not_matter(analysis):
    shuffled = ScalingLawAnalyzer(table().sample(frac=1, random_state=1)).analyze()
    assert shuffled.predict(1e22)["optimal_params"] == pytest.approx(
        analysis.predict(1e22)["optimal_params"], rel=1e-4
    )
    t = table()
    t["num_params"] /= 1e6
    t["num_tokens"] /= 1e9
    t["compute_budget"] /= 1e15
    scaled = ScalingLawAnalyzer(t).analyze()
    assert scaled.predict(1e7)["optimal_params"] * 1e6 == pytest.approx(
        analysis.predict(1e22)["optimal_params"], rel=1e-4
    )


def test_many_warnings_of_a_kind_are_merged():
    t = table(budgets=9, sizes=6)
    t["loss"] = 3 - 0.1 * np.log(t.num_params / 1e8)  # ever falling: no valley anywhere
    a = ScalingLawAnalyzer(t).analyze()
    assert all(sum(w.code == c for w in a.warnings) <= 2 for c in codes(a))


def test_training_curves_give_an_envelope_too(shared_data):
    a = ScalingLawAnalyzer(shared_data / "runs/gemstones/wandb_df_for_fitting_hot.jsonl").analyze()
    assert a.envelope is not None and "envelope" in a.approaches().index and "parabola" in a.skipped
    assert a.held_out.loc["coupled", "rms"] < 0.6 * a.held_out.loc["chinchilla", "rms"]


def test_published_runs(published):
    epoch = read_runs(published / "chinchilla.csv")
    a = ScalingLawAnalyzer(epoch[epoch.loss < epoch.loss.nlargest(5).min()]).analyze()
    assert a.plain.params["E"] == pytest.approx(1.8172, abs=0.0257) and a.plain.table().estimate[
        "a"
    ] == pytest.approx(0.513, abs=0.02)
    assert a.law.num_runs == 240 and len(a.isoflop.minima) >= 6 and len(a.held_out)


def test_refuses_what_is_no_table():
    for bad in (None, 3, [], "nowhere.csv"):
        with pytest.raises(FitError):
            ScalingLawAnalyzer(bad)


def steep(seed, alpha=1.4, noise=0.15):
    "Losses of no text: a wall on the side of small models, and much noise"
    rng = np.random.default_rng(seed)
    C = np.repeat([8e6, 1.6e7, 3.2e7], 5)
    N = np.tile([153, 229, 305, 457, 609], 3).astype(float)
    loss = 0.12 + (60 / N) ** alpha * 2.5 + 75 / (C / 6 / N) ** 0.6
    return dict(num_params=N, num_tokens=C / 6 / N, loss=loss * np.exp(rng.normal(0, noise, 15)))


def test_chinchillas_law_answers_where_priors_do_not_suit():
    said = 0
    for seed in range(8):
        a = ScalingLawAnalyzer(steep(seed)).analyze()
        codes = [w.code for w in a.warnings]
        assert ("plain_law" in codes) == (a.law.law.name == "chinchilla")
        if "plain_law" not in codes:
            continue
        said += 1
        assert a.law.theta is a.plain.theta and a.law.form == a.coupled.form
        wide, narrow = (f.predict([400.0], [2e5], interval="prediction") for f in (a.law, a.plain))
        assert wide.upper[0] > narrow.upper[0]
    assert said
