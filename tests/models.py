"Small models and data that several test files use."

import torch, torch.nn as nn, torch.nn.functional as F
from flops_fit.planner.contract import make_task
from flops_fit.planner.recipe import Recipe


class Net(nn.Module):
    def __init__(self, width, out=2):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(16, width), nn.ReLU(), nn.Linear(width, out))

    def forward(self, x):
        return self.layers(x)

    def num_params(self):
        return sum(p.numel() for p in self.parameters())


class Uncounted(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.l = nn.Linear(16, width)


class Stuck(Net):
    "A model whose size argument does nothing."

    def __init__(self, width):
        super().__init__(8)


def xor_data(n=4000, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 16, generator=g)
    return x, ((x[:, 0] > 0) ^ (x[:, 1] > 0)).long()


RECIPE = Recipe(min_steps=40, batch_tokens=32, eval_tokens=400)
BUDGETS = [1e6, 2e6, 4e6]
SIZES = [8, 16, 32]


def xor_task(**kw):
    return make_task(
        Net, "width", dataset=xor_data(), loss_fn=F.cross_entropy, eval_tokens=400, **kw
    )


def outcome(runs):
    return {r.experiment_id: (r.status, r.final_loss, r.baseline_loss) for r in runs}


def sweep(path, plan):
    "A sweep in a process of its own."
    from flops_fit.trainer.sweep import TrainingRunner

    torch.set_num_threads(1)
    TrainingRunner(output_dir=path, progress=False, save_every=0.02).run_sweep(plan, xor_task())
