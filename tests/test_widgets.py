"The explorers: their callbacks in plain Python, and what a kernel makes of them."

import io, re, time
import nbformat, numpy as np, pandas as pd, pytest
from flops_fit.core import ContractError, Result, Run, SweepPlan, TrainingRunner, plan_sweep
from flops_fit.fitter.laws import LAWS
from conftest import root
from models import BUDGETS, RECIPE, SIZES, xor_task
from test_analyzer import steep


@pytest.fixture(scope="module")
def runs():
    rng = np.random.default_rng(0)
    C = np.repeat(np.geomspace(1e18, 1e20, 5), 7)
    N = np.sqrt(C / 120) * np.tile(np.geomspace(1 / 5, 5, 7), 5)
    loss = LAWS["coupled"](
        N, C / 6 / N, E=1.7, A=110.0, B=400.0, alpha=0.31, beta=0.33, g=0.6
    ) * np.exp(0.005 * rng.normal(size=len(C)))
    return pd.DataFrame(
        dict(num_params=N, num_tokens=C / 6 / N, compute_budget=C, loss=loss, simulated=True)
    )


@pytest.fixture(scope="module")
def result(runs):
    return Result.from_runs(runs)


@pytest.fixture(scope="module")
def plan():
    return plan_sweep(xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE)


def pixels(fig):
    out = io.BytesIO()
    fig.savefig(out, format="raw")
    return out.getvalue()


CHANGES = dict(
    result=dict(
        budget=1e22, inference_tokens=1e11, unique_tokens=1e9, times=2.0, device="a100", price=9.0
    ),
    analysis=dict(approach="parabola", law="chinchilla", fixed_E=1.6, without=(0, 5)),
    plan=dict(
        lowest=1.5e6,
        highest=2e7,
        budgets=2,
        sizes=2,
        band=(0.0, 3.0),
        device="t4",
        devices=4,
        price=3.0,
    ),
)


@pytest.fixture
def explorer(request, result, plan):
    return dict(result=result, analysis=result.analysis, plan=plan)[request.param].explore(
        *([xor_task()] if request.param == "plan" else [])
    )


@pytest.mark.parametrize(
    "explorer, name, value",
    [(kind, n, v) for kind, changes in CHANGES.items() for n, v in changes.items()],
    indirect=["explorer"],
)
def test_a_control_moves_numbers_and_picture(explorer, name, value):
    explorer.box
    numbers, picture = explorer.numbers.value, explorer.picture.value
    control = explorer.controls[name]
    if name == "without":
        for i in value:
            control.boxes[i].value = False
    else:
        control.value = (
            value
            if not hasattr(control, "options")
            else min((v for _, v in control.options), key=lambda v: abs(v - value))
            if isinstance(value, float)
            else value
        )
    assert "Not possible" not in explorer.numbers.value, explorer.numbers.value
    assert explorer.numbers.value != numbers
    if name not in ("price", "device", "devices"):
        assert explorer.picture.value != picture


@pytest.mark.parametrize("explorer", CHANGES, indirect=True)
def test_every_control_has_a_label_a_tooltip_and_the_keyboard(explorer):
    for name, c in explorer.controls.items():
        for w in getattr(c, "boxes", [c]):
            assert len(w.description) > 4 and len(w.tooltip) > 10 and w.tabbable is not False, name
    assert 'alt="' in explorer._repr_mimebundle_()["text/html"]


@pytest.mark.parametrize("explorer", CHANGES, indirect=True)
def test_figure_is_the_picture_of_the_values(explorer):
    change = {
        k: v
        for k, v in list(
            CHANGES[
                "result"
                if "inference_tokens" in explorer.controls
                else "analysis"
                if "law" in explorer.controls
                else "plan"
            ].items()
        )[:2]
    }
    before = pixels(explorer.figure())
    moved = pixels(explorer.figure(**change))
    assert before != moved and before == pixels(explorer.figure())  # drawing changed no control
    with pytest.raises(ValueError, match="not a control"):
        explorer.figure(colour="red")


def test_result_explorer_tells_what_predict_tells(result):
    table, told = result.explore().table(budget=3e21), result.predict(3e21)
    for row, name in (
        ("parameters N", "optimal_params"),
        ("training tokens D", "optimal_tokens"),
        ("tokens per parameter", "tokens_per_param"),
        ("held-out loss", "expected_loss"),
    ):
        np.testing.assert_allclose(
            table.loc[row], [told[name], told[name + "_lower"], told[name + "_upper"]]
        )
    assert table.estimate["training FLOPs"] == pytest.approx(3e21)


def test_inference_is_paid_from_the_budget(result):
    t = result.explore().table(budget=3e21, inference_tokens=1e11).estimate
    assert t["training FLOPs"] + t["inference FLOPs"] == pytest.approx(3e21)
    best = result.law.optimum(3e21, inference_tokens=1e11)
    assert t["parameters N"] == pytest.approx(best.optimal_params) and t[
        "held-out loss"
    ] == pytest.approx(best.expected_loss)


def test_what_a_smaller_model_costs_agrees_with_the_law(result):
    for times in (1.5, 4.0):
        paid = result.explore().table(budget=1e21, times=times).loc["loss above the optimum's"]
        told = result.law.penalty(1e21, times)
        assert (
            paid.estimate == pytest.approx(told.penalty, rel=0.25)
            and paid.lower < told.penalty < paid.upper
        )


def test_a_refusal_is_told_and_leaves_no_number(result):
    e = result.analysis.explore()
    e.box
    for box in e.controls["without"].boxes[4:]:
        box.unobserve_all()
    e.controls["without"].value = tuple(range(32))
    assert (
        "Not possible" in e.numbers.value
        and e.picture.value == ""
        and "estimate" not in e.numbers.value
    )
    e.controls["without"].value = ()
    assert "estimate" in e.numbers.value and e.picture.value


def test_many_runs_are_ticked_by_the_budget(runs):
    many = pd.concat([runs.assign(loss=runs.loss * (1 + 0.001 * i)) for i in range(4)])
    e = Result.from_runs(many).analysis.explore()
    assert len(e.controls["without"].boxes) == 5
    assert e.compute(**e.values(without=(0,))).keep.sum() == 112


def test_plan_explorer_gives_plans_that_run(plan, tmp_path):
    e = plan.explore()
    assert e.plan.to_dict() == plan.to_dict()
    new = e.compute(**e.values(budgets=2, sizes=3)).plan
    assert len(new.compute_budgets) == 2 and new.experiments
    assert SweepPlan.load(new.save(tmp_path / "plan.json")).to_dict() == new.to_dict()
    runs = TrainingRunner("mock", tmp_path / "s", progress=False).run_sweep(new)
    assert {r.status for r in runs} == {"completed"}
    e.more[0].click()
    assert e.chosen.to_dict() == plan.to_dict()


def test_monitor_stops_and_resumes_to_the_same_losses(plan, tmp_path):
    whole = TrainingRunner(output_dir=tmp_path / "whole", progress=False).run_sweep(
        plan, xor_task()
    )
    m = TrainingRunner(output_dir=tmp_path / "parts", progress=False, save_every=0.1).monitor(
        plan, xor_task(), every=0.2
    )
    m.go.click()
    while m.running and not any((tmp_path / "parts" / "runs").glob("*.json")):
        time.sleep(0.02)
    m.halt.click()
    m.wait(60)
    assert not m.running and any(r.status == "skipped" for r in m.runs())
    assert 'role="alert"' not in m._repr_html_()
    m.go.click()
    runs = m.wait(120)
    assert [(r.experiment_id, r.final_loss) for r in runs] == [
        (r.experiment_id, r.final_loss) for r in whole
    ]
    html = m._repr_html_()
    assert (
        html.count("completed</td>") == len(plan) and "<img alt=" in html and "widget" not in html
    )
    m.figure()


def test_a_stop_that_comes_before_the_sweep_has_begun_is_heard(plan, tmp_path):
    m = TrainingRunner(output_dir=tmp_path / "s", progress=False).monitor(
        plan, xor_task(), every=0.1
    )
    m.go.click()
    m.halt.click()
    runs = m.wait(30)
    assert not m.running and m.error is None and any(r.status == "skipped" for r in runs)


def test_a_table_of_runs_marks_statuses_by_shape_and_colour_and_folds_detail(plan):
    made = [
        Run.of(e, status=s, final_loss=l, loss_se=0.01, error_message=w)
        for e, (s, l, w) in zip(
            plan,
            [
                ("completed", 1.5, None),
                ("completed", 1.4, None),
                ("diverged", None, "loss was nan <b>"),
                ("failed", None, "Traceback\nOSError: bad sector"),
            ],
        )
    ]
    from flops_fit.trainer.run import RunTable

    shown = RunTable(made)._repr_html_()
    marks = dict(re.findall(r'color:(#\w+)" aria-hidden="true">(.)</span>', shown))
    assert len(marks) == 3 == len(set(marks.values()))
    assert all(
        1.05 / (luminance(c) + 0.05) > 3
        and (luminance(c) + 0.05) / (luminance("#111111") + 0.05) > 3
        for c in marks
    )  # WCAG's contrast of graphics, on white and on black
    seen = shown[: shown.index("<details>")]
    assert (
        "1.4000 ± 0.0100" in seen
        and "1.5000" not in seen
        and "bad sector" in shown
        and "<b>" not in shown[shown.index("what went wrong") :]
    )


def luminance(color):
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        w * (v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4)
        for w, v in zip((0.2126, 0.7152, 0.0722), parts)
    )


def test_monitor_says_what_went_wrong(plan, tmp_path):
    task = xor_task()
    task.loss_fn = lambda o, t: o
    m = (
        TrainingRunner(output_dir=tmp_path / "s", progress=False)
        .monitor(plan, task, every=0.2)
        .start()
    )
    with pytest.raises(ContractError, match="scalar"):
        m.wait(60)
    assert "The sweep stopped" in m._repr_html_()


def test_without_ipywidgets_the_way_out_is_told(monkeypatch, result):
    import sys

    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match="notebooks"):
        result.explore()


def test_a_kernel_shows_the_widget_and_a_page_without_one_the_picture(runs, tmp_path):
    """nbclient: a control set in one cell changes what the widget of another shows; the monitor's
    last state is plain HTML"""
    from nbclient import NotebookClient

    runs.to_csv(tmp_path / "runs.csv", index=False)
    nb = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(c)
            for c in (
                (
                    "from flops_fit.core import *\nresult = Result.from_runs('runs.csv')\ne = "
                    "result.explore()\ne"
                ),
                (
                    "before = e.picture.value, e.numbers.value\ne.controls['budget'].value = "
                    "1e22\nassert before[0] != e.picture.value and before[1] != e.numbers.value"
                ),
                "import torch.nn as nn\nclass Net(nn.Linear):\n    def __init__(self, w): "
                "super().__init__(w, w)\n    def num_params(self): return sum(p.numel() for "
                "p in self.parameters())\n"
                "plan = plan_sweep(Net, 'w', compute_budgets=[1e12, 3e12, 1e13], "
                "tokens_per_sample=8)\nm = TrainingRunner('mock', 'out', "
                "progress=False).monitor(plan)\nm",
                "runs = m.start().wait()",
            )
        ]
    )
    client = NotebookClient(nb, timeout=600, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    shown = nb.cells[0].outputs[0].data
    assert "application/vnd.jupyter.widget-view+json" in shown and "<img alt=" in shown["text/html"]
    state = nb.metadata.widgets["application/vnd.jupyter.widget-state+json"]["state"]
    assert any(
        isinstance(v := w["state"].get("value"), str) and "1e22" in v or "held-out loss" in str(v)
        for w in state.values()
    )
    last = nb.cells[2].outputs[-1].data
    assert last["text/html"].count("completed, simulated") == len(
        last["text/html"].split("<tr>")
    ) - 2 and "widget-view" not in str(list(last))


def test_result_explorer_starts_from_the_data_the_runs_had():
    "As `predict` does: with 50,000 images there are no more"
    result = Result.from_runs(root / "benchmarks" / "results" / "vit_cifar.csv")
    e, far = result.explore(), 2 * result.max_compute
    assert (
        e.values()["unique_tokens"] == 50_000
        and "50K, as in the runs" in e.controls["unique_tokens"].label
    )
    for given, asked in ((50_000.0, "data"), (1e5, 1e5), (0.0, None)):
        table, told = (
            e.table(budget=far, unique_tokens=given),
            result.predict(far, unique_tokens=asked),
        )
        for row, name in (("parameters N", "optimal_params"), ("held-out loss", "expected_loss")):
            np.testing.assert_allclose(table.loc[row].dropna()[:1], told[name], rtol=1e-6)


def test_the_bounded_law_is_offered_where_its_ceiling_is_known(runs, result):
    assert "bounded" not in result.analysis.explore().controls["law"].options
    bounded = Result.from_runs(runs, baseline_loss=10.8).analysis
    e = bounded.explore()
    e.box
    assert e.controls["law"].value == "bounded" and e.controls["fixed_E"].disabled
    fit = e.compute(**e.values()).fit
    assert fit.params == pytest.approx(bounded.law.params)


def test_the_law_that_answers_is_shown_first():
    plain = next(
        a
        for a in (Result.from_runs(steep(seed)).analysis for seed in range(8))
        if a.law.law.name == "chinchilla"
    )
    e = plain.explore()
    e.box
    assert e.controls["law"].value == "chinchilla" and not e.controls["objective"].disabled


def test_a_control_that_changes_nothing_is_off():
    e = Result.from_runs(root / "benchmarks" / "results" / "vit_cifar.csv").analysis.explore()
    e.box
    for law, off in dict(
        chinchilla=set(),
        coupled={"objective", "delta"},
        repeats={"objective", "delta", "fixed_E"},
        kaplan={"fixed_E"},
    ).items():
        e.controls["law"].value = law
        assert {n for n in ("objective", "delta", "fixed_E") if e.controls[n].disabled} == off, law
