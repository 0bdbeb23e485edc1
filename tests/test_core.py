"The facade: its names, what it imports, what it returns, what it refuses."

import os, subprocess, sys
import pytest, torch, torch.nn.functional as F
import flops_fit, flops_fit.core
from flops_fit.core import ContractError, Result, SweepPlan, find_optimal
from flops_fit.planner.recipe import Recipe
from models import BUDGETS, Net, RECIPE, SIZES, Stuck, Uncounted, xor_data

NAMES = {
    "find_optimal",
    "plan_sweep",
    "make_task",
    "create_model",
    "create_models_at_sizes",
    "validate_model_contract",
    "validate_dataset",
    "validate_loss_fn",
    "wrap_dataset",
    "Recipe",
    "TrainingRunner",
    "device_executor",
    "Experiment",
    "SweepPlan",
    "Run",
    "fit_parametric",
    "fit_power_law",
    "PowerLawFit",
    "ScalingLawAnalyzer",
    "ScalingAnalysis",
    "ScalingVisualizer",
    "Result",
    "ContractError",
    "FitError",
}


def test_star_import_gives_these_names_and_no_others():
    space = {}
    exec("from flops_fit.core import *", space)
    assert set(space) - {"__builtins__"} == NAMES == set(flops_fit.core.__all__)


def test_every_name_at_the_top_is_there():
    for name in flops_fit.__all__:
        assert getattr(flops_fit, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        flops_fit.nonsense


@pytest.mark.parametrize(
    "line, absent",
    [
        ("import flops_fit", "torch matplotlib numpy pandas"),
        ("from flops_fit.core import *", "torch matplotlib IPython ipywidgets nbdev"),
        ("import flops_fit.cli", "torch matplotlib pandas"),
        ("import flops_fit.examples", "torch"),
    ],
)
def test_imports_stay_light(line, absent):
    out = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys\n{line}\nprint([m for m in '{absent}'.split() if m in sys.modules])",
        ],
        capture_output=True,
        text=True,
    )
    assert out.stdout.strip() == "[]", out.stdout + out.stderr


def test_the_package_does_not_need_nbdev():
    code = (
        "import sys; sys.modules['nbdev'] = None\nimport flops_fit.core, flops_fit.cli, "
        "flops_fit.trainer.train, flops_fit.plotter.plots, flops_fit.examples.demo"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def call(tmp_path, **kw):
    return find_optimal(
        **{
            **dict(
                model_cls=Net,
                model_size_param="width",
                dataset=xor_data(),
                loss_fn=F.cross_entropy,
                compute_budgets=BUDGETS,
                sizes=SIZES,
                recipe=RECIPE,
                output_dir=tmp_path / "s",
                progress=False,
            ),
            **kw,
        }
    )


def test_what_it_returns(tmp_path):
    assert isinstance(call(tmp_path, train=False), SweepPlan)
    assert isinstance(call(tmp_path, dataset=None, loss_fn=None), SweepPlan)
    assert os.listdir(tmp_path) == []
    result = call(tmp_path)
    assert isinstance(result, Result) and not result.simulated and len(result.runs) == 9
    assert call(tmp_path).predict(1e8) == result.predict(1e8)


def test_mock_is_labelled_everywhere_and_touches_no_data(tmp_path):
    class Untouchable:
        tokens_per_sample = 64

        def __len__(self):
            raise AssertionError("touched")

        __getitem__ = __iter__ = __len__

    r = call(
        tmp_path,
        mode="mock",
        dataset=Untouchable(),
        compute_budgets=[1e15, 1e16, 1e17],
        sizes=None,
        recipe=Recipe(),
    )
    assert all(x.simulated for x in r.runs) and r.simulated
    for text in (
        repr(r),
        r.summary(),
        r.chinchilla_table(),
        r._repr_html_(),
        repr(r.verify(1e18)),
        (r.save() / "summary.txt").read_text(),
    ):
        assert "simulated" in text.lower()


@pytest.mark.parametrize(
    "kw, says",
    [
        (dict(model_cls=Uncounted), "num_params"),
        (dict(model_cls=Stuck), "grows with it"),
        (dict(loss_fn=lambda o, t: F.cross_entropy(o, t, reduction="none")), "scalar"),
        (dict(loss_fn=None), "loss_fn"),
        (dict(dataset=(torch.zeros(0, 16), torch.zeros(0).long())), "at least one sample"),
        (dict(dataset=xor_data(10)), "at least one batch"),
        (dict(compute_budgets=[-1e6]), "positive"),
        (dict(compute_budgets=[float("nan")]), "positive"),
        (dict(compute_budgets=[1e3]), "some size can use"),
        (dict(mode="cloud"), "mode"),
        (dict(executor="fast"), "executor"),
        (dict(model_size_param="depth"), "argument"),
    ],
)
def test_refusals_name_the_fix_and_write_nothing(tmp_path, kw, says):
    with pytest.raises(ContractError, match=says) as e:
        call(tmp_path, **kw)
    assert "fix:" in str(e.value) and os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ContractError, match="can be written"):
        call(tmp_path, output_dir=tmp_path / "file" / "s")
    assert os.listdir(tmp_path) == ["file"] and (tmp_path / "file").read_text() == "mine"


def test_nothing_to_fit_is_an_error_not_a_number(tmp_path):
    class Broken(Net):
        def forward(self, x):
            if self.training and x.shape[0] > 2:
                raise RuntimeError("broken for good")
            return super().forward(x)

    with pytest.raises(RuntimeError, match="(?s)none of 9 runs completed.*broken for good"):
        call(tmp_path, model_cls=Broken)
