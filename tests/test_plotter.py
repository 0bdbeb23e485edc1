"Plots: they draw what they say, label what is simulated, and leave pyplot alone"

import subprocess, sys
import numpy as np, pandas as pd, pytest
import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from flops_fit.fitter.laws import COUPLED, FitError
from flops_fit.fitter.analyzer import ScalingLawAnalyzer
from flops_fit.plotter.plots import (
    ScalingVisualizer,
    plot_isoflops,
    plot_loss,
    plot_residuals,
    plot_scaling_laws,
    plot_tokens_per_param,
)


def table(simulated=False):
    C = np.repeat(3e10 * 2.0 ** np.arange(5), 6)
    N = np.sqrt(C / 120) * np.tile(np.geomspace(0.25, 4, 6), 5)
    return pd.DataFrame(
        dict(
            num_params=N,
            num_tokens=C / 6 / N,
            compute_budget=C,
            simulated=simulated,
            loss=COUPLED(N, C / 6 / N, E=0.6, A=16.0, B=40.0, alpha=0.33, beta=0.3, g=0.5)
            * np.exp(np.random.default_rng(0).normal(0, 0.005, len(N))),
        )
    )


plots = [plot_isoflops, plot_scaling_laws, plot_tokens_per_param, plot_loss, plot_residuals]


@pytest.fixture(scope="module")
def analysis():
    return ScalingLawAnalyzer(table()).analyze()


@pytest.fixture(autouse=True)
def close():
    yield
    plt.close("all")


def text(ax):
    return " ".join(
        [
            ax.get_title(),
            *(t.get_text() for t in ax.texts),
            *(t.get_text() for t in (ax.get_legend().get_texts() if ax.get_legend() else [])),
        ]
    )


@pytest.mark.parametrize("plot", plots)
def test_draws_on_the_axes_it_is_given_or_makes_its_own(analysis, plot):
    ax = plt.figure().add_subplot()
    assert (
        plot(analysis, ax) is ax
        and ax.has_data()
        and ax.get_xlabel()
        and ax.get_ylabel()
        and ax.get_title()
    )
    assert isinstance(plot(analysis), Axes)


def test_simulated_losses_are_labelled(analysis):
    made_up = ScalingLawAnalyzer(table(True)).analyze()
    for plot in plots:
        assert (
            "SIMULATED" in text(plot(made_up)) and "simulated" not in text(plot(analysis)).lower()
        )


def test_isoflops_show_every_run_and_budget(analysis):
    ax = plot_isoflops(analysis)
    dots = [
        l
        for l in ax.lines
        if l.get_marker() == "o" and l.get_markersize() < 4 and len(l.get_xdata()) == 6
    ]
    assert len(dots) == 5 and sum(len(l.get_xdata()) for l in dots) == 30
    assert (
        len({tuple(np.round(matplotlib.colors.to_rgb(l.get_color()), 4)) for l in dots}) == 5
    )  # a colour each
    assert "4.8e11" in text(ax) and ax.get_xscale() == "log"
    law = [l for l in ax.lines if len(l.get_xdata()) == 80][0]
    assert np.allclose(
        law.get_ydata(), analysis.law.predict(law.get_xdata(), 3e10 / 6 / law.get_xdata())
    )


def test_ticks_are_read_by_people(analysis):
    ax = plot_isoflops(analysis)
    ax.figure.canvas.draw()
    labels = [t.get_text() for t in ax.get_xticklabels() if t.get_text()]
    lo, hi = ax.get_xlim()
    shown = [
        l
        for l, v in zip([t.get_text() for t in ax.get_xticklabels()], ax.get_xticks())
        if lo <= v <= hi
    ]
    assert len(shown) >= 3 and all(l.endswith("K") for l in shown), labels


def test_laws_reach_the_target_and_mark_where_data_end(analysis):
    ax = plot_scaling_laws(analysis, C=1e20)
    assert ax.get_xlim()[1] == pytest.approx(1e20) and "beyond the sweep" in text(ax)
    line = ax.lines[0]
    assert line.get_ydata()[-1] == pytest.approx(analysis.predict(1e20)["optimal_params"], rel=1e-6)


def test_residuals_are_those_of_the_law(analysis):
    for against in ("num_params", "num_tokens", "flops"):
        ax = plot_residuals(analysis, against=against)
        assert np.allclose(
            ax.collections[-1].get_offsets()[:, 1], 100 * np.expm1(analysis.law.residuals)
        )
    with pytest.raises(FitError, match="against"):
        plot_residuals(analysis, against="lr")


def test_visualizer_saves_without_pyplot(analysis, tmp_path):
    figures = ScalingVisualizer(analysis).plot_all(tmp_path / "new" / "plots")
    assert [f.get_label() for f in figures] == [
        "isoflops",
        "scaling_laws",
        "tokens_per_param",
        "loss",
        "residuals",
    ] and not plt.get_fignums()
    assert {p.name for p in (tmp_path / "new/plots").iterdir()} == {
        f"{f.get_label()}.png" for f in figures
    }
    assert all(
        p.read_bytes()[:4] == b"\x89PNG" and p.stat().st_size > 5000
        for p in (tmp_path / "new/plots").iterdir()
    )
    for f in ("plot_isoflops", "plot_scaling_laws", "plot_tokens_per_param"):
        assert isinstance(getattr(ScalingVisualizer(analysis), f)(), Axes)


def test_visualizer_opens_a_folder(tmp_path):
    table().to_json(tmp_path / "results.json", orient="records")
    assert len(ScalingVisualizer(tmp_path).plot_all()) == 5


def test_few_runs_are_drawn_without_a_law():
    few = ScalingLawAnalyzer(table().iloc[:4]).analyze()
    assert plot_isoflops(few).has_data() and len(ScalingVisualizer(few).plot_all()) == 1
    one = ScalingLawAnalyzer(table().iloc[:1]).analyze()
    assert plot_isoflops(one).has_data()
    for plot in plots[1:]:
        with pytest.raises(FitError, match="6 are needed"):
            plot(few)


def test_clouds_without_budgets(shared_data):
    a = ScalingLawAnalyzer(shared_data / "runs/gemstones/wandb_df_for_fitting_hot.jsonl").analyze()
    assert (
        "compute levels" in plot_isoflops(a).get_title()
        and len(ScalingVisualizer(a).plot_all()) == 5
    )


def test_importing_loads_no_matplotlib():
    code = (
        "import sys, flops_fit.plotter.plots; bad = {'torch', 'matplotlib', 'scipy.stats', "
        "'scipy.optimize', 'IPython'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
