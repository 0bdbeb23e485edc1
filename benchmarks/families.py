"""Six families of small models with their data: what our own sweeps are made of.

Nothing is fetched. PythonCorpus reads the running Python's library, the teacher's samples are
computed from their number, and TinyStories and CIFAR-10 lie in ../shared/data.
"""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from flops_fit.planner.contract import make_task

ROOT = Path(__file__).resolve().parents[1]
DATA, CACHE = ROOT.parent / "shared" / "data", ROOT / "outputs" / "families"


# ---- a teacher's answers, without end


def uniform(
    index,  # of samples (n,)
    columns,  # numbers a sample
    key,  # of the stream
):  # (n, columns), in (0, 1)
    "Random numbers that follow from a sample's number alone (splitmix64)"
    i = index[:, None].astype(np.uint64) * np.uint64(columns) + np.arange(columns, dtype=np.uint64)
    z = (i + np.uint64(key << 40)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)).astype(np.float64) / 2**53 + 2**-54


def normal(index, columns, key):  # (n, columns)
    "Standard normal numbers (Box and Muller)"
    u = uniform(index, 2 * columns, key)
    radius, angle = np.sqrt(-2 * np.log(u[:, :columns])), 2 * np.pi * u[:, columns:]
    return torch.from_numpy((radius * np.cos(angle)).astype(np.float32))


class Taught(torch.utils.data.Dataset):
    """What a fixed random network of 512 hidden units says of 32 normal numbers: one of 10 classes
    drawn from the softmax of its outputs, of standard deviation 2; or one output, of standard
    deviation 1, plus noise of .3."""

    def __init__(self, kind="classes", num_samples=2**23, first=0):
        self.kind, self.num_samples, self.first = kind, num_samples, first
        g = torch.Generator().manual_seed(7)
        self.hidden = torch.randn(32, 512, generator=g) / 4
        self.out = torch.randn(512, 10 if kind == "classes" else 1, generator=g)
        says = F.relu(normal(np.arange(2**15), 32, 9) @ self.hidden) @ self.out
        self.mean, self.sd = says.mean(0), says.std(0)

    def _says(self, x):  # standardised, output by output
        return (F.relu(x @ self.hidden) @ self.out - self.mean) / self.sd

    def __len__(self):
        return self.num_samples

    def batch(self, idx):
        index = np.asarray(idx) + self.first
        x = normal(index, 32, 1)
        says = self._says(x)
        if self.kind == "answers":
            return x, says + 0.3 * normal(index, 1, 2)
        u = torch.from_numpy(uniform(index, 10, 2).astype(np.float32))
        return x, (2 * says - torch.log(-torch.log(u))).argmax(1)  # Gumbel's way to draw a class

    def __getitem__(self, i):
        x, y = self.batch(np.array([i]))
        return x[0], y[0]


class MLP(nn.Module):
    "Two hidden layers of one width"

    def __init__(self, width=64, outputs=10):
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(32, width),
            nn.GELU(),
            nn.Linear(width, width),
            nn.GELU(),
            nn.Linear(width, outputs),
        )

    def forward(self, x):
        return self.body(x)

    def num_params(self):
        return sum(p.numel() for p in self.parameters())


# ---- a recurrent network


class Recurrent(nn.Module):
    "A byte, an embedding, a GRU, and a guess at the next byte"

    def __init__(self, width=64):
        super().__init__()
        self.embed = nn.Embedding(256, width)
        self.gru = nn.GRU(width, width, batch_first=True)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, 256, bias=False)
        nn.init.zeros_(self.head.weight)  # knows nothing: ln 256

    def forward(self, x):
        return self.head(self.norm(self.gru(self.embed(x))[0]))

    def num_params(self):  # without the embedding, which is looked up
        return sum(p.numel() for p in self.parameters()) - self.embed.weight.numel()


def byte_loss(logits, targets):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


# ---- the families


def gpt_python():
    "The demo's: two-layer byte-level GPTs on the running Python's library"
    from flops_fit.examples.demo import demo_task

    return demo_task()


def tinystories():
    "The same family on the 2 MiB head of TinyStories, in 1,024 tokens trained on that text"
    from flops_fit.examples.gpt import byte_gpt, gpt_loss_fn
    from flops_fit.examples.smalllm import train_tokenizer
    from flops_fit.examples.tinystories import TinyStoriesDataset

    text, kept = DATA / "tinystories", CACHE / "tinystories_1024.model"
    if not kept.exists():
        stories = (text / "TinyStories-train.first2MiB.txt").read_text(errors="replace")
        stories = [s.strip() for s in stories.split("<|endoftext|>")]
        kept.parent.mkdir(parents=True, exist_ok=True)
        train_tokenizer(stories, kept, 1024)
    splits = (
        TinyStoriesDataset(split, 64, CACHE, kept, text).prepare_data()
        for split in ("train", "validation")
    )
    train, held_out = splits
    gpt = partial(byte_gpt, vocab_size=1024)
    return make_task(gpt, "d_model", {}, train, gpt_loss_fn, held_out)


def vit_cifar():
    "Two-layer vision transformers over patches of 8 pixels, moved and mirrored images"
    from flops_fit.examples.cifar import CIFAR10Dataset
    from flops_fit.examples.vit import VisionTransformer, vit_loss_fn

    images = (CIFAR10Dataset(DATA / "cifar10", train=t, augment=t) for t in (True, False))
    train, held_out = images
    shape = dict(patch_size=8, num_layers=2)
    return make_task(VisionTransformer, "d_model", shape, train, vit_loss_fn, held_out)


def taught(kind):
    "MLPs taught by a fixed network; 65,536 of its answers are held out"
    train, held_out = Taught(kind), Taught(kind, 2**16, first=2**40)
    if kind == "classes":
        return make_task(MLP, "width", {}, train, F.cross_entropy, held_out)
    return make_task(MLP, "width", dict(outputs=1), train, F.mse_loss, held_out)


def gru_python():
    "Recurrent networks on the bytes of the running Python's library"
    from flops_fit.examples.corpus import PythonCorpus

    corpora = (PythonCorpus(split) for split in ("train", "test"))
    train, held_out = corpora
    return make_task(Recurrent, "width", {}, train, byte_loss, held_out)


@dataclass(frozen=True)
class FamilyOf:
    "One family, how it is trained, and the sweep that shows its law"

    what: str
    task: object  # a function that gives the `Task`
    baseline_loss: float  # L0, of a model that knows nothing
    sizes: dict  # budget, FLOPs: values of the size parameter
    batch_tokens: int = 512
    lr: object = None  # as in `Recipe`
    weight_decay: float = 0.0
    flops: object = 6  # as in `plan_sweep`

    @property
    def recipe(self):
        from flops_fit.planner.recipe import Recipe

        return Recipe(lr=self.lr, batch_tokens=self.batch_tokens, weight_decay=self.weight_decay)


def grid(first, factor, *sizes):
    "{budget: sizes}, budgets a factor apart"
    return {float(f"{first * factor**i:.7g}"): list(s) for i, s in enumerate(sizes)}


GPT_WIDTHS = ([8, 16, 24, 32], [16, 24, 32, 48], [16, 24, 32, 48, 64], [24, 32, 48, 64, 80])
MLP_WIDTHS = (
    [4, 6, 8, 12, 16, 24, 40],
    [6, 8, 12, 16, 24, 40, 64],
    [8, 12, 16, 24, 40, 64, 96],
    [16, 24, 40, 64, 96, 128, 160],
    [24, 40, 64, 96, 128, 160, 224],
    [40, 64, 96, 128, 160, 224, 320],
    [64, 96, 128, 160, 224, 320, 448],
)
FAMILIES = {
    "gpt_python": FamilyOf(
        "a GPT on Python's source code",
        gpt_python,
        float(np.log(256)),
        {
            3e10: [12, 16, 24, 32],
            6e10: [16, 24, 32, 48],
            1.2e11: [16, 24, 32, 48, 64],
            2.4e11: [24, 32, 48, 64],
            4.8e11: [24, 32, 48, 64, 80],
            2.4e12: [32, 48, 64, 80],
            9.6e12: [64, 80, 96],
        },
    ),
    "gpt_tinystories": FamilyOf(
        "a GPT on TinyStories",
        tinystories,
        float(np.log(1024)),
        grid(7.5e9, 2, [8, 16, 24], [8, 16, 24, 32], *GPT_WIDTHS, [24, 32, 48, 64, 80])
        | {2.4e12: [48, 72, 96]},
        lr=0.01,
        weight_decay=0.1,
    ),
    "vit_cifar": FamilyOf(
        "a vision transformer on CIFAR-10",
        vit_cifar,
        float(np.log(10)),
        {
            6e9: [4, 8, 12, 16],
            2e10: [4, 8, 12, 16, 24, 32],
            6e10: [8, 12, 16, 24, 32, 48],
            1.8e11: [8, 12, 16, 24, 32, 48, 64],
            5.4e11: [12, 16, 24, 32, 48, 64],
            1.62e12: [16, 24, 32, 48],
        },
        batch_tokens=32,
        lr=0.002,
        flops="exact",
    ),
    "mlp_classification": FamilyOf(
        "classes drawn by a teacher",
        partial(taught, "classes"),
        float(np.log(10)),
        grid(3e8, 10**0.5, *MLP_WIDTHS),
        batch_tokens=128,
        lr="calibrate",
    ),
    "mlp_regression": FamilyOf(
        "answers of a teacher, squared error",
        partial(taught, "answers"),
        1.09,
        grid(3e8, 10**0.5, *MLP_WIDTHS),
        batch_tokens=128,
        lr="calibrate",
    ),
    "gru_python": FamilyOf(
        "a recurrent network on Python's source code",
        gru_python,
        float(np.log(256)),
        grid(
            3e9,
            10**0.5,
            [6, 8, 12, 16, 24],
            [8, 12, 16, 24, 32],
            [12, 16, 24, 32, 48],
            [16, 24, 32, 48, 64],
            [24, 32, 48, 64, 96],
            [32, 48, 64, 96, 128],
        ),
        lr="calibrate",
    ),
}
