"""CIFAR-10 in memory: what a batch is, that augmentation follows the seed, that runs resume to the
bit, that the committed sweep is what the code makes."""

import pickle, subprocess, sys
from functools import lru_cache
import pytest, torch
from flops_fit.planner.contract import make_task
from flops_fit.examples import cifar
from flops_fit.examples.cifar import CIFAR10Dataset, _gather
from flops_fit.examples.vit import VisionTransformer, accuracy, vit_loss_fn
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.planner.recipe import Recipe
from flops_fit.trainer.train import Stopped, train_trunk


@pytest.fixture
def noise(monkeypatch):
    "Noise in the place of images, a bright column on the left of each."

    @lru_cache(4)
    def read(root, train, download):
        g = torch.Generator().manual_seed(int(train))
        x = torch.randint(200, (600, 32, 32, 3), dtype=torch.uint8, generator=g)
        x[:, :, 0] = 255
        return x, torch.randint(10, (600,), generator=g)

    monkeypatch.setattr(cifar, "_read", read)


def test_a_batch_is_its_samples_normalised(noise):
    d = CIFAR10Dataset("x")
    x, y = d.batch(torch.tensor([5, 7]))
    assert x.shape == (2, 3, 32, 32) and x.dtype == torch.float32 and y.dtype == torch.int64
    assert torch.equal(x[1], d[7][0]) and y[1] == d[7][1]
    back = (
        x * torch.tensor(cifar._STD)[:, None, None] + torch.tensor(cifar._MEAN)[:, None, None]
    ) * 255
    torch.testing.assert_close(
        back.permute(0, 2, 3, 1), d.images[[5, 7]].float(), atol=1e-3, rtol=0
    )
    with pytest.raises(IndexError):
        d[600]


def test_augmentation_only_moves_and_mirrors(noise):
    d = CIFAR10Dataset("x")
    torch.manual_seed(0)
    x = _gather(d.images, torch.arange(600), True)
    left, right = (x[..., 0] == 255).all((1, 2)), (x[..., -1] == 255).all((1, 2))
    # no shift, or one to the right, keeps the bright edge (5 of 9); half of those are mirrored
    assert 0.2 < left.float().mean() < 0.36 and 0.2 < right.float().mean() < 0.36
    for i in range(20):  # every pixel is one of the image's own
        assert set(map(tuple, x[i].permute(1, 2, 0).flatten(0, 1).tolist())) <= set(
            map(tuple, d.images[i].flatten(0, 1).tolist())
        )


def test_augmentation_follows_the_seed_and_stops_for_measuring(noise):
    d, i = CIFAR10Dataset("x", augment=True), torch.arange(8)
    torch.manual_seed(3)
    first, second = d.batch(i)[0], d.batch(i)[0]
    torch.manual_seed(3)
    assert torch.equal(d.batch(i)[0], first) and not torch.equal(first, second)
    with torch.no_grad():
        assert torch.equal(d.batch(i)[0], CIFAR10Dataset("x").batch(i)[0])


def test_a_dataset_travels_light_and_is_told_apart(noise):
    d = CIFAR10Dataset("x", augment=True, num_images=100)
    sent = pickle.dumps(d)
    assert len(sent) < 500
    back = pickle.loads(sent)
    assert torch.equal(back.images, d.images) and back.augment
    prints = {
        CIFAR10Dataset("x", train=t, augment=a, num_images=n).fingerprint
        for t in (True, False)
        for a in (True, False)
        for n in (100, None)
    }
    assert len(prints) == 8 and d.fingerprint == back.fingerprint


@pytest.mark.parametrize("n", [0, 601, -1])
def test_more_images_than_there_are_is_refused(noise, n):
    with pytest.raises(ValueError, match="num_images must be from 1 to 600"):
        CIFAR10Dataset("x", num_images=n)


def test_branches_and_resumed_runs_agree_to_the_bit_on_augmented_images(noise, tmp_path):
    task = make_task(
        VisionTransformer,
        "d_model",
        dict(patch_size=16, num_layers=1),
        CIFAR10Dataset("x", augment=True, num_images=300),
        vit_loss_fn,
        eval_dataset=CIFAR10Dataset("x", train=False),
        metrics=dict(accuracy=accuracy),
    )
    recipe = Recipe(lr=0.003, batch_tokens=16, min_steps=20)
    plan = plan_sweep(task, compute_budgets=[2e8, 4e8], sizes=[8], recipe=recipe, flops="exact")
    ((_, es),) = plan.trunks.items()
    assert es[-1].epochs > 4 and any(w.code == "repeats_many" for w in plan.warnings)
    whole = train_trunk(task, es, recipe, "cpu")
    alone = train_trunk(task, [es[-1]], recipe, "cpu")
    assert alone[0].final_loss == whole[-1].final_loss
    calls, got = iter(range(10_000)), []
    with pytest.raises(Stopped):
        train_trunk(
            task,
            es,
            recipe,
            "cpu",
            folder=tmp_path / "c",
            should_stop=lambda: next(calls) > 60,
            done=lambda r, curve: got.append(r),
        )
    left = [e for e in es if e.experiment_id not in {r.experiment_id for r in got}]
    again = got + train_trunk(task, left, recipe, "cpu", folder=tmp_path / "c")
    assert [(r.final_loss, r.metrics) for r in again] == [(r.final_loss, r.metrics) for r in whole]


def test_nothing_of_torchvision_is_imported_before_it_is_needed():
    code = (
        "import sys, flops_fit.examples.cifar; assert not [m for m in sys.modules if "
        "m.startswith('torchvision')]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_real_images(shared_data):
    root = shared_data / "cifar10"
    if not root.is_dir():
        pytest.skip(f"no CIFAR-10 at {root}")
    train, test = CIFAR10Dataset(root, augment=True), CIFAR10Dataset(root, train=False)
    assert (len(train), len(test)) == (50_000, 10_000)
    assert torch.bincount(test.labels).tolist() == [1000] * 10
    with torch.no_grad():
        x, _ = train.batch(torch.arange(0, 50_000, 25))
    assert (
        x.mean((0, 2, 3)).abs().max() < 0.03 and (x.std((0, 2, 3)) - 1).abs().max() < 0.03
    )  # as the constants say
    with pytest.raises(FileNotFoundError, match="download=True"):
        CIFAR10Dataset(shared_data / "nowhere")


def test_a_part_of_the_committed_sweep_comes_out_again(shared_data, tmp_path):
    """The two shortest runs of benchmarks/results/vit_cifar.csv, trained again: the same
    experiment, the same loss and accuracy."""
    import pandas as pd
    from conftest import root as project
    from flops_fit.examples.example_vit_cifar import vit_recipe

    root = shared_data / "cifar10"
    if not root.is_dir():
        pytest.skip(f"no CIFAR-10 at {root}")
    kept = pd.read_csv(project / "benchmarks" / "results" / "vit_cifar.csv").set_index(
        "experiment_id"
    )
    valleys = kept.groupby("compute_budget")
    assert valleys.ngroups >= 3
    for (
        _,
        g,
    ) in (
        valleys
    ):  # a true valley at every budget: the best size is neither the smallest nor the largest
        assert g.num_params.min() < g.num_params[g.loss.idxmin()] < g.num_params.max()
    task = make_task(
        VisionTransformer,
        "d_model",
        dict(patch_size=8, num_layers=2),
        CIFAR10Dataset(root, augment=True),
        vit_loss_fn,
        eval_dataset=CIFAR10Dataset(root, train=False),
        metrics=dict(accuracy=accuracy),
    )
    plan = plan_sweep(
        task, compute_budgets=[2e10], sizes=[24, 32], flops="exact", recipe=vit_recipe()
    )
    for e in plan.experiments:
        (run,) = train_trunk(task, [e], plan.recipe, "cpu")
        assert run.status == "completed", run.error_message
        assert run.final_loss == pytest.approx(
            kept.loss[e.experiment_id], abs=0.03
        )  # other machines round otherwise
        assert run.metrics["accuracy"] == pytest.approx(kept.accuracy[e.experiment_id], abs=0.02)
