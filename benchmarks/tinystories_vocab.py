"""What a vocabulary costs a small model: GPTs of two layers on TinyStories at one budget, from
bytes to GPT-2's 50,257 tokens, compared per byte of text.

Trains the runs that are not in the table yet, some two minutes on a quiet core for all of them.

    python benchmarks/tinystories_vocab.py [--data ../shared/data] [--cache outputs/tinystories]
    [--table benchmarks/results/tinystories_vocab.csv]
"""

import argparse
from dataclasses import replace
from pathlib import Path
import pandas as pd

HERE = Path(__file__).resolve().parent
BUDGET = 1.2e11  # FLOPs of one run
WIDTHS = {
    "bytes": [16, 24, 32],
    512: [24, 32],
    1024: [24, 32, 48],
    2048: [24, 32],
    4096: [16, 24, 32],
    "gpt2": [8, 16],
}  # vocabulary -> widths


def one_run(task, width, recipe):
    """The run of a width. A plan refuses fewer tokens than a tenth of the parameters, which is what
    GPT-2's vocabulary leaves; then it is a longer run cut short."""
    from flops_fit.planner.dataset import ContractError
    from flops_fit.planner.sweep_design import plan_sweep

    try:
        return plan_sweep(task, compute_budgets=[BUDGET], sizes=[width], recipe=recipe).experiments[
            0
        ]
    except ContractError:
        e = plan_sweep(
            task, compute_budgets=[4 * BUDGET], sizes=[width], recipe=recipe
        ).experiments[0]
    d, tps = BUDGET / e.flops_per_token, task.train.tokens_per_sample
    batch = max(1, recipe.batch_size(e.num_params, d, tps))
    steps = round(d / (batch * tps))
    return replace(
        e,
        compute_budget=BUDGET,
        batch_size=batch,
        num_steps=steps,
        num_samples=steps * batch,
        num_tokens=steps * batch * tps,
        flops=steps * batch * tps * e.flops_per_token,
        warmup_steps=recipe.warmup_steps(e.num_params, d, batch * tps, steps),
    )


def train(data, cache, done):
    "A row a run."
    from flops_fit.planner.contract import make_task
    from flops_fit.examples.gpt import byte_gpt, gpt_loss_fn
    from flops_fit.examples.smalllm import train_tokenizer
    from flops_fit.examples.tinystories import TinyStoriesDataset
    from flops_fit.planner.recipe import Recipe
    from flops_fit.trainer.train import train_trunk

    text, cache, rows = data / "tinystories", Path(cache), done.to_dict("records")
    texts = {
        split: [
            s.strip()
            for f in sorted(text.glob(f"*{split}*.txt"))
            for s in f.read_text(encoding="utf-8", errors="replace").split("<|endoftext|>")
        ]
        for split in ("train", "valid")
    }
    size = sum(len(s.encode()) for s in texts["valid"] if s)
    recipe = Recipe(batch_tokens=512, lr=0.01)
    for vocab, widths in WIDTHS.items():
        widths = (
            [w for w in widths if not ((done.tokenizer == str(vocab)) & (done.d_model == w)).any()]
            if len(done)
            else widths
        )
        if not widths:
            continue
        name = (
            vocab
            if vocab == "bytes"
            else data / "gpt2_tokenizer"
            if vocab == "gpt2"
            else train_tokenizer(texts["train"], cache / f"ts{vocab}.model", vocab)
        )
        train, valid = (
            TinyStoriesDataset(s, 64, cache, name, text).prepare_data()
            for s in ("train", "validation")
        )
        about = valid._about
        bytes_per_token = (size + about["num_stories"]) / about[
            "num_tokens"
        ]  # the end of a story counts as a byte
        task = make_task(
            byte_gpt,
            "d_model",
            dict(vocab_size=train.vocab_size),
            dataset=train,
            eval_dataset=valid,
            loss_fn=gpt_loss_fn,
        )
        for w in widths:
            (run,) = train_trunk(task, [one_run(task, w, recipe)], recipe, "cpu")
            if run.status != "completed":
                raise RuntimeError(f"{vocab}, width {w}: {run.error_message}")
            rows.append(
                dict(
                    tokenizer=str(vocab),
                    vocab_size=train.vocab_size,
                    d_model=w,
                    num_params=run.num_params,
                    embedding_params=train.vocab_size * w,
                    num_tokens=run.num_tokens,
                    flops=run.flops,
                    loss=run.final_loss,
                    loss_se=run.loss_se,
                    bytes_per_token=bytes_per_token,
                    nats_per_byte=run.final_loss / bytes_per_token,
                )
            )
            print(rows[-1], flush=True)
    return pd.DataFrame(rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument(
        "--data",
        default=HERE.parents[1] / "shared" / "data",
        type=Path,
        help="folder with tinystories and gpt2_tokenizer",
    )
    p.add_argument("--cache", default="outputs/tinystories", help="where tokenized text is kept")
    p.add_argument(
        "--table",
        default=HERE / "results" / "tinystories_vocab.csv",
        type=Path,
        help="where to write the runs",
    )
    args = p.parse_args()
    train(
        args.data, args.cache, pd.read_csv(args.table) if args.table.exists() else pd.DataFrame()
    ).to_csv(args.table, index=False, float_format="%.10g")


if __name__ == "__main__":
    main()
