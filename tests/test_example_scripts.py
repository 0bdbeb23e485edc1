"The example scripts, as users run them."

import subprocess, sys
import pytest
from flops_fit.planner.plan import SweepPlan
from flops_fit.trainer.store import RunStore


def script(name, *args):
    run = subprocess.run(
        [sys.executable, "-m", f"flops_fit.examples.{name}", *map(str, args)],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    return run.stdout


@pytest.mark.parametrize(
    "name, flags",
    [
        ("example_programmatic", ()),
        (
            "example_cli_wrapper",
            (
                "--layers",
                3,
                "--heads",
                2,
                "--seq-len",
                128,
                "--budgets",
                "1e16,3e16,1e17",
                "--cache-dir",
                "cache",
            ),
        ),
    ],
)
def test_mock_runs_print_a_table_save_plots_and_say_what_they_are(name, flags, tmp_path):
    flags = [tmp_path / f if f == "cache" else f for f in flags]
    out = script(name, *flags, "--output-dir", tmp_path)
    assert "| Compute" in out and "simulated" in out.lower()
    assert len(list((tmp_path / "mock" / "plots").glob("*.png"))) >= 3
    assert all(r.simulated for r in RunStore(tmp_path / "mock").runs().values())
    if flags:
        plan = SweepPlan.load(tmp_path / "mock" / "plan.json")
        assert plan.compute_budgets == [1e16, 3e16, 1e17]
        assert plan.task["model_kwargs"] == dict(
            vocab_size=50257, num_layers=3, num_heads=2, max_seq_len=128
        )
        assert not (tmp_path / "cache").exists()  # a simulation reads no text


def test_real_runs_on_text_of_ones_own(tmp_path):
    words = "the cat sat on a mat and saw the dog who ran to the big red ball in the park".split()
    text = "\n<|endoftext|>\n".join(
        " ".join(words[(i * j + j) % len(words)] for j in range(60)) for i in range(1500)
    )
    (tmp_path / "text.txt").write_text(text)
    out = script(
        "example_cli_wrapper",
        "--real",
        "--layers",
        1,
        "--heads",
        2,
        "--seq-len",
        32,
        "--tokenizer",
        "bytes",
        "--text",
        tmp_path / "text.txt",
        "--budgets",
        "4e8,8e8,1.6e9",
        "--cache-dir",
        tmp_path / "cache",
        "--output-dir",
        tmp_path / "out",
    )
    assert "| Compute" in out and "simulated" not in out.lower()
    runs = RunStore(tmp_path / "out" / "real").runs().values()
    assert len(runs) > 5 and all(
        r.status == "completed" and not r.simulated and r.final_loss < 5.6 for r in runs
    )


def test_prepare_train_one_generate(tmp_path, capsys):
    pytest.importorskip("sentencepiece", reason="training a tokenizer needs sentencepiece")
    import argparse
    from flops_fit.examples.commands import add_commands

    (tmp_path / "text.txt").write_text(
        "\n<|endoftext|>\n".join(
            f"Once there was a cat who saw {i % 9} birds and {i % 7} trees." for i in range(900)
        )
    )

    def run(*flags):
        p = argparse.ArgumentParser()
        add_commands(p.add_subparsers(required=True))
        args = p.parse_args([*map(str, flags)])
        args.run(args)
        return capsys.readouterr().out

    data = (
        "--text",
        tmp_path / "text.txt",
        "--cache-dir",
        tmp_path / "cache",
        "--tokenizer",
        tmp_path / "own.model",
        "--vocab-size",
        300,
        "--seq-len",
        32,
    )
    assert "vocabulary 300" in run("prepare", *data)
    shape = (
        "--width",
        32,
        "--layers",
        1,
        "--heads",
        2,
        "--tokens",
        2e4,
        "--batch-size",
        8,
        "--micro-batch",
        4,
        "--evals",
        2,
        "--dropout",
        0.1,
    )
    lm = ("--output-dir", tmp_path / "lm", "--device", "cpu")
    assert "finished" in run("train-one", *data, *shape, *lm)
    say = ("generate", *lm, "--prompt", "Once", "--max-new-tokens", 20, "--seed", 1)
    assert run(*say).startswith("Once there") and run(*say) == run(*say)
