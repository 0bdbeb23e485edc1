"Published runs that the benchmarks judge laws on, read from ../shared/data/runs"

import sys
from pathlib import Path

import numpy as np
import pandas as pd

from flops_fit.fitter.table import read_runs

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data" / "runs"
GEMSTONES = (
    "hot",
    "cool_end",
    "cool_begin",
    "lr_ablation_hot",
    "hot_sampled_like_chinchilla",
    "slim_chinchilla",
)
# tokens of the vocabulary, by source: a model that knows nothing has a loss of its logarithm.
# Llama's published losses are normalised, so there it is not known
VOCABULARY = dict(chinchilla=32000, gemstones=50432, olmo=100278, datablations=50257, steplaw=65536)


def sets():
    "name -> (source, runs): every token new, one recipe a set"
    if not DATA.exists():
        sys.exit(f"{DATA} is missing: this benchmark judges fits on published runs")
    out = {}
    runs = read_runs(DATA / "epoch_chinchilla/svg_extracted_data.csv")
    out["chinchilla"] = "chinchilla", runs[runs.loss < runs.loss.nlargest(5).min()]
    out["llama3"] = "llama3", read_runs(DATA / "llama3_isoflop/isoflops_points.csv")
    for name in GEMSTONES:
        runs = read_runs(DATA / f"gemstones/wandb_df_for_fitting_{name}.jsonl")
        out[f"gemstones {name}"] = "gemstones", runs

    ladder = pd.read_csv(DATA / "olmo_ladder/runs_final.csv")
    ladder = ladder[ladder["mode"].isin(["train", "held"])]  # the ladder and its 3B runs
    for loss in ("c4_en", "pile", "dolma_wiki"):
        columns = dict(loss=f"{loss}-validation/CrossEntropyLoss", trunk="run")
        out[f"olmo {loss}"] = "olmo", read_runs(ladder, columns=columns)

    runs = pd.read_csv(DATA / "datablations/runs.csv")
    runs = runs[(runs.D <= 1.001 * runs.unique_tokens) & (runs.D > 1e9)]  # no repeats
    runs = read_runs(runs.groupby(["N", "D"], as_index=False).loss.mean())
    out["datablations unique"] = "datablations", runs

    # the best learning rate and batch of each N and D
    runs = pd.read_csv(DATA / "steplaw_lr_bs/dense_lr_bs_loss.csv")
    out["steplaw best"] = "steplaw", read_runs(runs.groupby(["N", "D"], as_index=False).loss.min())
    return out


def first_sets():
    "As `sets`, the first of each source alone"
    out, seen = {}, set()
    for name, (source, runs) in sets().items():
        if source not in seen:
            out[name] = source, runs
        seen.add(source)
    return out


def baseline_loss(source):
    "L0 of a source's runs, or None where it is not known"
    return np.log(VOCABULARY[source]) if source in VOCABULARY else None


def repeated_sets():
    "name -> (runs with their unique tokens, L0): tokens seen up to thousands of times"
    text = read_runs(pd.read_csv(DATA / "datablations/runs.csv"))
    images = pd.read_csv(ROOT / "benchmarks" / "results" / "vit_repeats.csv")
    plain = images[~images.augmented]
    return {
        "datablations": (text, baseline_loss("datablations")),
        "images, to 10 epochs": (read_runs(plain[plain.epochs < 11]), np.log(10)),
        "images, to 30 epochs": (read_runs(plain), np.log(10)),
        "augmented images": (read_runs(images[images.augmented]), np.log(10)),
    }
