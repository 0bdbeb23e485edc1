"TinyStories: prepared once, packed without loss, from text on disk or from a hub."

import io, json, os, pickle, subprocess, sys, threading
from pathlib import Path
import numpy as np
import pytest, torch
from flops_fit.examples import tinystories
from flops_fit.examples.tinystories import TinyStoriesDataset, load_tokenizer

stories = [f"Once upon a time, story {i} was told to {i % 7} cats.\n\nThe end." for i in range(300)]


@pytest.fixture
def folder(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    (text / "train.txt").write_text("\n<|endoftext|>\n".join(stories))
    (text / "valid.txt").write_text("\n<|endoftext|>\n".join(s.upper() for s in stories[:50]))
    return text


def make(folder, split="train", seq_len=32, **kwargs):
    return TinyStoriesDataset(
        split,
        seq_len,
        **{
            **dict(cache_dir=folder.parent / "cache", tokenizer_name="bytes", path=folder),
            **kwargs,
        },
    )


def test_making_one_touches_nothing_and_imports_nothing_heavy(tmp_path):
    code = (
        "import sys, socket, torch; socket.socket = None; from "
        "flops_fit.examples.tinystories import TinyStoriesDataset; "
        f"repr(TinyStoriesDataset(cache_dir={str(tmp_path / 'c')!r})); "
        "assert not {'datasets', 'transformers', 'tokenizers', 'sentencepiece', 'pandas'} & "
        "set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert not (tmp_path / "c").exists()


def test_all_stories_are_packed_in_order_without_padding(folder):
    data = make(folder)
    xs, ys = data.batch(range(len(data)))
    row = b"\0".join(s.encode() for s in stories) + b"\0"
    assert (
        bytes(xs.flatten().tolist()) == row[: xs.numel()]
        and bytes(ys.flatten().tolist()) == row[1 : ys.numel() + 1]
    )
    assert len(row) - 1 - xs.numel() < 32
    assert data.unique_tokens == xs.numel() and data.tokens_per_sample == 32
    assert xs.dtype == torch.int64 and data[3][0].shape == (32,)


def test_splits_of_a_folder_and_of_a_file(folder):
    end = lambda data: (
        set(
            bytes(np.fromfile(data._file(), dtype=data._about["dtype"]).astype(np.uint8)).split(
                b"\0"
            )
        )
        - {b""}
    )
    train, valid = (end(make(folder, s).prepare_data()) for s in ("train", "validation"))
    assert train == {s.encode() for s in stories} and valid == {
        s.upper().encode() for s in stories[:50]
    }
    train, valid = (
        end(make(folder, s, path=folder / "train.txt").prepare_data())
        for s in ("train", "validation")
    )
    assert train | valid == {s.encode() for s in stories} and not train & valid and len(valid) > 3


def test_prepared_once_and_again_only_for_other_settings(folder, monkeypatch):
    written = []
    real = TinyStoriesDataset._write
    monkeypatch.setattr(
        TinyStoriesDataset, "_write", lambda self, *a: (written.append(1), real(self, *a))
    )
    make(folder).prepare_data()
    make(folder).prepare_data()
    make(folder, seq_len=16).prepare_data()
    assert len(written) == 1
    make(folder, "validation").prepare_data()
    assert len(written) == 2
    (folder / "train.txt").write_text("\n<|endoftext|>\n".join(stories[::-1]))
    assert make(folder).prepare_data()[0][0].tolist() != make(folder, "validation")[0][0].tolist()
    assert len(written) == 3  # the text has changed


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interruption_leaves_nothing(folder, monkeypatch, error):
    data = make(folder)

    def torn(self):
        def batches():
            yield stories[:10]
            raise error

        return batches(), 300

    with monkeypatch.context() as m:
        m.setattr(TinyStoriesDataset, "_stories", torn)
        with pytest.raises(error):
            data.prepare_data()
    assert not list((folder.parent / "cache").iterdir())
    assert len(data) == len(make(folder))


def test_a_row_without_its_description_is_made_again(folder):
    data = make(folder).prepare_data()
    whole = data._file().read_bytes()
    data._file().with_suffix(".json").unlink()
    data._file().write_bytes(whole[:100])
    assert len(make(folder)) == len(data) and data._file().read_bytes() == whole


def test_two_at_once_agree(folder):
    sets = [make(folder) for _ in range(4)]
    threads = [threading.Thread(target=d.prepare_data) for d in sets]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({len(d) for d in sets}) == 1
    assert sorted(p.suffix for p in (folder.parent / "cache").iterdir()) == [".bin", ".json"]


def test_a_file_that_another_process_takes_away_meanwhile_is_no_trouble(folder):
    data = make(folder)
    data.cache_dir.mkdir()
    gone = data.cache_dir / "half.bin.tmp"
    gone.symlink_to(folder / "nowhere")  # it is listed, and not there
    assert len(data.prepare_data()) > 0


def test_it_travels_as_its_settings(folder):
    data = make(folder).prepare_data()
    blob = pickle.dumps(data)
    assert len(blob) < 2000 and torch.equal(pickle.loads(blob)[5][1], data[5][1])


def test_gpt2_tokens_of_real_stories(shared_data, tmp_path):
    pytest.importorskip("tokenizers", reason="GPT-2's tokenizer needs the tokenizers package")
    name = shared_data / "gpt2_tokenizer"
    tok = load_tokenizer(name)
    assert (
        tok.encode("Hello world") == [15496, 995] and tok.vocab_size == 50257 and tok.end == 50256
    )
    text = "Once upon a time, Lily said: \"Où est  mon chat?\"\n 猫"
    assert tok.decode(tok.encode(text)) == text
    data = TinyStoriesDataset("validation", 128, tmp_path, name, path=shared_data / "tinystories")
    assert len(data) > 1000 and data.vocab_size == 50257 and data._about["dtype"] == "uint16"
    read = tok.decode(data.batch(range(len(data)))[0].flatten().tolist())
    assert read in (shared_data / "tinystories" / "tinystories_valid_sample.txt").read_text()
    about = json.loads(data._file().with_suffix(".json").read_text())
    assert about["num_tokens"] * 2 == data._file().stat().st_size


def test_the_wrong_vocabulary_is_named(folder):
    from flops_fit.examples.gpt import GPT

    model = GPT(vocab_size=100, d_model=16, num_layers=1, max_seq_len=32)
    with pytest.raises(ValueError, match="knows 0 to 99.*vocab_size"):
        model(*make(folder).batch([0]))


def test_the_public_name_through_a_loopback_hub(shared_data, tmp_path):
    pytest.importorskip("datasets", reason="loading from a hub needs the datasets package")
    import pyarrow as pa, pyarrow.parquet as pq, tokenizers as tk
    from hub import serve_hub

    def parquet(texts):
        out = io.BytesIO()
        pq.write_table(pa.table({"text": texts}), out)
        return out.getvalue()

    local = lambda split: list(tinystories._local_stories(shared_data / "tinystories", split))
    gpt2 = [str(shared_data / "gpt2_tokenizer" / f) for f in ("vocab.json", "merges.txt")]
    tok = tk.Tokenizer(tk.models.BPE.from_file(*gpt2))
    tok.pre_tokenizer, tok.decoder = (
        tk.pre_tokenizers.ByteLevel(add_prefix_space=False),
        tk.decoders.ByteLevel(),
    )
    tok.add_special_tokens(["<|endoftext|>"])
    repos = {
        "models/gpt2": {"tokenizer.json": tok.to_str().encode()},
        "datasets/roneneldan/TinyStories": {
            f"data/{s}-00000-of-00001.parquet": parquet(local(s)) for s in ("train", "validation")
        },
    }
    code = (
        "from flops_fit.examples.tinystories import TinyStoriesDataset as T; import sys; d = "
        "T('train', 128, sys.argv[1]).prepare_data(); "
        "print(len(d), d._about['num_stories'], d[7][0].tolist())"
    )
    with serve_hub(repos) as (endpoint, seen):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        env |= dict(
            HF_ENDPOINT=endpoint,
            HF_HOME=str(tmp_path / "hf"),
            HF_HUB_DISABLE_TELEMETRY="1",
            no_proxy="127.0.0.1",
        )
        run = lambda: (
            subprocess.run(
                [sys.executable, "-c", code, str(tmp_path / "cache")],
                env=env,
                check=True,
                capture_output=True,
                text=True,
            ).stdout
        )
        first, asked = run(), len(seen)
        assert run() == first and len(seen) == asked  # what is prepared needs no hub
    direct = TinyStoriesDataset(
        "train",
        128,
        tmp_path / "direct",
        shared_data / "gpt2_tokenizer",
        path=shared_data / "tinystories",
    )
    assert first.split(" ", 2) == [
        str(len(direct)),
        str(len(local("train"))),
        f"{direct[7][0].tolist()}\n",
    ]


def test_a_small_sweep_by_the_public_name(shared_data, tmp_path):
    pytest.importorskip("datasets", reason="loading from a hub needs the datasets package")
    pytest.importorskip("sentencepiece", reason="training a tokenizer needs sentencepiece")
    import pyarrow as pa, pyarrow.parquet as pq
    from hub import serve_hub

    def parquet(split):
        out = io.BytesIO()
        pq.write_table(
            pa.table(
                {"text": list(tinystories._local_stories(shared_data / "tinystories", split))}
            ),
            out,
        )
        return out.getvalue()

    repos = {
        "datasets/roneneldan/TinyStories": {
            f"data/{s}-00000-of-00001.parquet": parquet(s) for s in ("train", "validation")
        }
    }
    code = """
import json, sys
from pathlib import Path
from flops_fit.cli import main
from flops_fit.core import Recipe, find_optimal
from flops_fit.examples.gpt import byte_gpt, gpt_loss_fn
from flops_fit.examples.tinystories import TinyStoriesDataset
work = Path(sys.argv[1])
tokenizer = str(work/"stories.model")
main(["prepare", "--tokenizer", tokenizer, "--vocab-size", "512", "--seq-len", "32",
      "--cache-dir", str(work)])
train, valid = (TinyStoriesDataset(s, 32, work, tokenizer) for s in ("train", "validation"))
recipe = Recipe(batch_tokens=256, lr=.01, min_steps=20, eval_tokens=4096)
result = find_optimal(byte_gpt, "d_model", dict(vocab_size=512, max_seq_len=32), train, gpt_loss_fn,
                      [5e8, 1e9, 2e9], sizes=[8, 16, 24], output_dir=work/"sweep",
                      eval_dataset=valid, recipe=recipe, progress=False)
t = result.to_dataframe()
print(json.dumps(dict(loss=t.loss.tolist(), flops=t.flops.tolist(),
                      budget=t.compute_budget.tolist(), unique=int(t.unique_tokens.iloc[0]),
                      answer=dict(result.predict(4e9)))))
"""
    with serve_hub(repos) as (endpoint, seen):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_"))}
        env |= dict(
            HF_ENDPOINT=endpoint,
            HF_HOME=str(tmp_path / "hf"),
            HF_HUB_DISABLE_TELEMETRY="1",
            no_proxy="127.0.0.1",
            PYTHONWARNINGS="ignore",
        )
        out = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)], env=env, capture_output=True, text=True
        )
    assert out.returncode == 0, out.stderr[-3000:]
    assert any("roneneldan/TinyStories" in s for s in seen)
    got = json.loads(out.stdout.splitlines()[-1])
    assert len(got["loss"]) == 9 and got["unique"] > 500_000
    assert np.allclose(got["flops"], got["budget"], rtol=0.1)
    by_budget = np.reshape(got["loss"], (3, 3)).min(1)
    assert (
        np.log(512) > by_budget[0] > by_budget[1] > by_budget[2] > 2
    )  # more compute, better stories; all below knowing nothing
    assert (
        got["answer"]["optimal_params_lower"]
        < got["answer"]["optimal_params"]
        < got["answer"]["optimal_params_upper"]
    )
    assert got["answer"]["expected_loss"] < by_budget[2] * 1.02


def test_a_hub_out_of_reach_says_what_to_do(tmp_path):
    pytest.importorskip("datasets", reason="loading from a hub needs the datasets package")
    code = (
        "from flops_fit.examples.tinystories import TinyStoriesDataset as T; import sys; "
        "T('train', cache_dir=sys.argv[1], tokenizer_name='bytes').prepare_data()"
    )
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "hf"),
    }
    out = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "cache")],
        env=env,
        capture_output=True,
        text=True,
    )
    assert (
        "ConnectionError: TinyStoriesDataset: roneneldan/TinyStories could not be read"
        in out.stderr
        and "path=" in out.stderr
    )
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(
    "kwargs, error, says",
    [
        (dict(split="test"), ValueError, "'train' or 'validation'"),
        (dict(seq_len=0), ValueError, "seq_len"),
        (dict(path="/no/such"), FileNotFoundError, "/no/such"),
        (dict(seq_len=10**6), ValueError, "smaller seq_len"),
    ],
)
def test_bad_settings_are_refused(folder, kwargs, error, says):
    with pytest.raises(error, match=says):
        make(folder, **kwargs).prepare_data()


def test_a_folder_without_the_split_is_refused(folder):
    (folder / "valid.txt").unlink()
    with pytest.raises(FileNotFoundError, match="'valid' in its name"):
        make(folder, "validation").prepare_data()


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="tokenizer.json"):
        load_tokenizer(tmp_path)


def test_a_run_of_the_committed_sweep_comes_out_the_same(shared_data, tmp_path):
    pytest.importorskip("sentencepiece", reason="training a tokenizer needs sentencepiece")
    import pandas as pd
    from flops_fit.planner.contract import make_task
    from flops_fit.examples.gpt import byte_gpt, gpt_loss_fn
    from flops_fit.examples.smalllm import train_tokenizer
    from flops_fit.planner.sweep_design import plan_sweep
    from flops_fit.planner.recipe import Recipe
    from flops_fit.trainer.train import train_trunk

    table = pd.read_csv(
        Path(__file__).parents[1] / "benchmarks" / "results" / "tinystories_1024.csv"
    )
    then = table[(table.compute_budget == 3e10) & (table.d_model == 24)].iloc[0]
    text = shared_data / "tinystories"
    tokenizer = train_tokenizer(
        tinystories._local_stories(text, "train"), tmp_path / "ts.model", vocab_size=1024
    )
    train, valid = (
        TinyStoriesDataset(s, 64, tmp_path, tokenizer, text) for s in ("train", "validation")
    )
    task = make_task(
        byte_gpt,
        "d_model",
        dict(vocab_size=1024),
        dataset=train,
        eval_dataset=valid,
        loss_fn=gpt_loss_fn,
    )
    recipe = Recipe(batch_tokens=512, lr=0.01)
    plan = plan_sweep(task, compute_budgets=[3e10], sizes=[24], recipe=recipe)
    (run,) = train_trunk(task, plan.experiments, recipe, "cpu")
    assert run.status == "completed", run.error_message
    assert (run.num_params, run.num_tokens, run.unique_tokens) == (
        then.num_params,
        then.num_tokens,
        then.unique_tokens,
    )
    assert abs(run.final_loss - then.loss) < 0.02
