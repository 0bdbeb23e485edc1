"""The vision transformer: shapes, counts, rates; and how far learning curves of vision models can
be read ahead."""

import importlib.util, math, time, warnings
import pytest, torch
from torch.nn import functional as F
from flops_fit.planner.contract import (
    ContractError,
    check_task,
    create_model,
    make_task,
    validate_model_contract,
)
from flops_fit.examples import VisionTransformer, vit_loss_fn
from flops_fit.examples.vit import accuracy, patchify
from flops_fit.planner.flops import exact_flops
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.planner.recipe import Recipe
from flops_fit.trainer.sweep import TrainingRunner
from conftest import root


def blobs(n=256, seed=0):
    "Images whose class is their mean brightness."
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(10, (n,), generator=g)
    return torch.randn(n, 3, 32, 32, generator=g) * 0.3 + (y / 5 - 1)[:, None, None, None], y


@pytest.mark.parametrize("pool", ["mean", "token"])
@pytest.mark.parametrize("parametrization", ["u-mup", "sp"])
def test_logits_come_straight_from_forward(pool, parametrization):
    model = VisionTransformer(
        16, patch_size=8, num_layers=1, pool=pool, parametrization=parametrization
    )
    x, y = blobs(4)
    logits = model(x)
    assert torch.is_tensor(logits) and logits.shape == (4, 10)
    assert vit_loss_fn(logits, y).item() == pytest.approx(math.log(10), abs=1e-5)


def test_patches_are_those_of_a_strided_convolution():
    x, w = (
        torch.randn(2, 3, 32, 32, dtype=torch.double),
        torch.randn(7, 3, 8, 8, dtype=torch.double),
    )
    torch.testing.assert_close(
        F.linear(patchify(x, 8), w.flatten(1)), F.conv2d(x, w, stride=8).flatten(2).transpose(1, 2)
    )


@pytest.mark.parametrize("d,p,L", [(16, 8, 1), (48, 4, 3), (20, 16, 2)])
def test_parameters_add_up(d, p, L):
    blocks = L * (12 * d * d + 4 * d)
    assert (
        VisionTransformer(d, patch_size=p, num_layers=L).num_params()
        == 3 * p * p * d + (32 // p) ** 2 * d + blocks + 2 * d + 10 * d + 10
    )


def test_exact_flops_are_the_sum_of_the_products():
    d, p, L, T = 32, 8, 2, 16
    task = make_task(
        VisionTransformer, "d_model", dict(patch_size=p, num_layers=L), blobs(), vit_loss_fn
    )
    forward = 2 * T * (3 * p * p * d + L * 12 * d * d) + L * 4 * T * T * d + 2 * 10 * d
    first = 2 * T * 3 * p * p * d  # no gradient is needed with respect to the pixels
    assert exact_flops(task, d).exact == pytest.approx(3 * forward - first, rel=1e-6)


def test_construction_warns_of_nothing_and_is_cheap_on_meta():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        VisionTransformer(64)
        began = time.perf_counter()
        n = create_model(
            VisionTransformer, "d_model", 8192, dict(num_layers=24), "meta"
        ).num_params()
    assert n > 1e10 and time.perf_counter() - began < 2
    validate_model_contract(VisionTransformer, "d_model", sizes=(8, 12, 16, 64))


def test_every_parameter_has_one_rate_that_follows_the_width():
    for d in (16, 64):
        model = VisionTransformer(d)
        groups = model.param_groups(lr=0.01, weight_decay=0.1)
        assert sorted(id(p) for g in groups for p in g["params"]) == sorted(
            map(id, model.parameters())
        )
        rate = {id(p): g["lr"] for g in groups for p in g["params"]}
        assert rate[id(model.blocks[0].up.weight)] == pytest.approx(0.01 * 32 / d)
        assert rate[id(model.norm.weight)] == 0.01
        hidden = groups[0]
        assert hidden["lr"] * hidden["weight_decay"] == pytest.approx(
            0.001
        )  # decay a step is the same at every width
    assert {g["lr"] for g in VisionTransformer(64, parametrization="sp").param_groups(lr=0.01)} == {
        0.01
    }


@pytest.mark.parametrize(
    "kwargs,told",
    [
        (dict(patch_size=5), "patches of 5"),
        (dict(num_heads=3), "multiple"),
        (dict(pool="max"), "'token'"),
        (dict(num_layers=0), "num_layers"),
        (dict(parametrization="mup"), "'sp'"),
    ],
)
def test_what_cannot_be_built_is_refused(kwargs, told):
    with pytest.raises(ValueError, match=told):
        VisionTransformer(32, **kwargs)


def test_wrong_images_are_refused():
    with pytest.raises(ValueError, match="image_size"):
        VisionTransformer(16)(torch.zeros(1, 3, 28, 28))


def test_accuracy_is_recorded_beside_the_loss(tmp_path):
    task = make_task(
        VisionTransformer,
        "d_model",
        dict(patch_size=16, num_layers=1),
        blobs(2000),
        vit_loss_fn,
        eval_dataset=blobs(500, 1),
        metrics=dict(accuracy=accuracy),
    )
    plan = plan_sweep(
        task,
        compute_budgets=[3e8],
        sizes=[8, 16],
        flops="exact",
        recipe=Recipe(lr=0.01, batch_tokens=16, min_steps=20, weight_decay=0.0),
    )
    runs = TrainingRunner(output_dir=tmp_path, progress=False).run_sweep(plan, task)
    assert all(r.status == "completed" for r in runs), runs[0].error_message
    assert all(0.3 < r.metrics["accuracy"] <= 1 for r in runs)  # brightness is not hard to see
    again = TrainingRunner(output_dir=tmp_path, progress=False).store.runs()
    assert {r.metrics["accuracy"] for r in again.values()} == {r.metrics["accuracy"] for r in runs}
    assert all(r.epochs == r.num_samples / 2000 and r.unique_tokens == 2000 for r in runs)


def test_a_metric_that_is_no_number_is_refused_before_training():
    task = make_task(
        VisionTransformer,
        "d_model",
        dict(patch_size=16),
        blobs(),
        vit_loss_fn,
        metrics=dict(right=lambda o, t: o.argmax(-1) == t),
    )
    with pytest.raises(ContractError, match="one number"):
        check_task(task, 16)


def test_curves_of_vision_models_are_read_ahead(shared_data):
    """72 curves of ViT, BiT and MLP-Mixer: a floor extrapolates with a median error of .063 in log,
    or better."""
    spec = importlib.util.spec_from_file_location(
        "vision_curves", root / "benchmarks" / "vision_curves.py"
    )
    bench = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bench)
    rows = bench.all_errors(shared_data / "runs" / "colpret_vision")
    with_floor, without = (
        rows[rows.law == law].rms for law in ("power law with a floor", "power law")
    )
    assert len(with_floor) == 72
    assert with_floor.median() < 0.063 < without.median()
