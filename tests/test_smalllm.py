"""smalllm: a tokenizer that loses nothing, and a training run that stops, resumes and accumulates
as it should."""

import csv, shutil
import pytest, torch
from flops_fit.planner.dataset import ContractError
from flops_fit.examples.generate import generate
from flops_fit.examples.gpt import GPT, GPTConfig
from flops_fit.examples.smalllm import load_lm, train_lm, train_tokenizer
from flops_fit.examples.tinystories import TinyStoriesDataset, load_tokenizer
from flops_fit.planner.recipe import Recipe

stories = [
    f"Once there was a {a} who saw a {b}.\n\"Hello, {b}!\" said the {a}."
    for a in ("cat", "dog", "girl", "boy")
    for b in ("tree", "bird", "ball", "moon")
] * 8
config = GPTConfig.smalllm(vocab_size=256, d_model=32, num_layers=2, num_heads=2, max_seq_len=16)
recipe = Recipe(schedule="cosine", eval_tokens=512)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    for split, some in (("train", stories[:100]), ("valid", stories[100:])):
        (folder / f"{split}.txt").write_text("\n<|endoftext|>\n".join(some))
    return [
        TinyStoriesDataset(s, 16, folder / "cache", "bytes", path=folder)
        for s in ("train", "validation")
    ]


def run(data, folder, **kwargs):
    return train_lm(
        config,
        *data,
        folder,
        **{
            **dict(num_tokens=16 * 8 * 24, batch_size=8, evals=6, recipe=recipe, device="cpu"),
            **kwargs,
        },
    )


def test_text_comes_back_exactly(tmp_path):
    pytest.importorskip("sentencepiece", reason="train_tokenizer needs sentencepiece")
    tok = load_tokenizer(train_tokenizer(stories, tmp_path / "t.model", vocab_size=300))
    assert tok.vocab_size == 300
    for text in (stories[3], "  two  spaces\n\n\nÀ 猫 \U0001f408\ttab ", "x"):
        assert tok.decode(tok.encode(text)) == text
    assert len(tok.encode(stories[0])) < 0.7 * len(stories[0])
    assert 0 <= tok.end < 300 and tok.end not in tok.encode("".join(stories[:3]))
    again = train_tokenizer(stories, tmp_path / "u.model", vocab_size=300)
    assert again.read_bytes() == (tmp_path / "t.model").read_bytes()
    with pytest.raises(ValueError, match="smaller vocab_size"):
        train_tokenizer(["abc"], tmp_path / "v.model", 5000)
    with pytest.raises(ValueError, match=".model"):
        train_tokenizer(stories, tmp_path / "v.txt", 300)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.model", "u.model"]


def test_it_learns_and_keeps_the_best(data, tmp_path):
    lm = run(data, tmp_path / "lm", num_tokens=16 * 8 * 60)
    losses = [r["valid_loss"] for r in lm.history]
    assert lm.ended == "finished" and lm.history[-1]["step"] == 60 and losses[-1] < losses[0] - 0.3
    assert lm.best["valid_loss"] == min(losses)
    with open(tmp_path / "lm" / "history.csv", newline="") as f:
        assert [float(r["valid_loss"]) for r in csv.DictReader(f)] == losses
    model, tok = load_lm(tmp_path / "lm", device="cpu")
    x = torch.arange(16)[None]
    with torch.no_grad():
        assert torch.equal(model(x)[0], lm.model(x)[0])
    assert generate(model, "Once", 5, seed=0, tokenizer=tok).startswith("Once")


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_interrupted_and_taken_up_again_it_ends_the_same(data, tmp_path, dropout):
    cfg = GPTConfig.smalllm(
        vocab_size=256, d_model=32, num_layers=2, num_heads=2, max_seq_len=16, dropout=dropout
    )
    kw = dict(num_tokens=16 * 8 * 24, batch_size=8, evals=6, recipe=recipe, device="cpu")
    whole = train_lm(cfg, *data, tmp_path / "a", **kw)

    class Killed(Exception):
        pass

    def kill(row):
        if row["step"] == 12:
            raise Killed

    with pytest.raises(Killed):
        train_lm(cfg, *data, tmp_path / "b", report=kill, **kw)
    resumed = train_lm(cfg, *data, tmp_path / "b", **kw)
    pick = lambda lm: [(r["step"], r["train_loss"], r["valid_loss"]) for r in lm.history]
    assert pick(resumed) == pick(whole) and len(pick(whole)) == 6
    for a, b in zip(whole.model.parameters(), resumed.model.parameters()):
        assert torch.equal(a, b)


def test_it_stops_when_the_held_out_loss_turns(data, tmp_path):
    train, valid = data
    few = torch.utils.data.Subset(train, range(2))  # learnt by heart at once
    lm = run((few, valid), tmp_path / "lm", num_tokens=16 * 8 * 600, evals=100, patience=3)
    losses = [r["valid_loss"] for r in lm.history]
    assert lm.ended == "early stopping" and len(losses) < 100
    assert min(losses) == losses[-4]  # the best, then three without a new one
    again = run((few, valid), tmp_path / "lm", num_tokens=16 * 8 * 600, evals=100, patience=3)
    assert again.history == lm.history
    best, _ = load_lm(tmp_path / "lm", device="cpu")
    last, _ = load_lm(tmp_path / "lm", "last", device="cpu")
    assert not torch.equal(best.embed.weight, last.embed.weight)


@pytest.mark.parametrize("micro_batch", [1, 3])
def test_a_batch_in_parts_is_the_batch(data, micro_batch, tmp_path, monkeypatch):
    widest = []
    forward = GPT.forward
    monkeypatch.setattr(
        GPT,
        "forward",
        lambda self, x, *a, **k: (
            (widest.append(len(x)) if self.training else None) or forward(self, x, *a, **k)
        ),
    )
    whole, parts = (
        run(data, tmp_path / "a", evals=2),
        run(data, tmp_path / "b", evals=2, micro_batch=micro_batch),
    )
    assert widest[0] == 8 and max(widest[24:]) == micro_batch
    for a, b in zip(whole.history, parts.history):
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-3) and a[
            "valid_loss"
        ] == pytest.approx(b["valid_loss"], abs=1e-3)


def test_the_other_micro_batch_may_go_on(data, tmp_path):
    class Killed(Exception):
        pass

    def kill(row):
        raise Killed

    with pytest.raises(Killed):
        run(data, tmp_path / "lm", micro_batch=4, report=kill)
    assert run(data, tmp_path / "lm", micro_batch=2).ended == "finished"


def test_other_settings_in_the_same_folder_are_refused(data, tmp_path):
    run(data, tmp_path / "lm")
    before = (tmp_path / "lm" / "config.json").read_text()
    with pytest.raises(ContractError, match="seed"):
        run(data, tmp_path / "lm", seed=1)
    assert (tmp_path / "lm" / "config.json").read_text() == before


def test_a_trained_folder_may_move(data, tmp_path):
    pytest.importorskip("sentencepiece", reason="train_tokenizer needs sentencepiece")
    text = data[0].path
    tokenizer = train_tokenizer(stories, tmp_path / "t.model", vocab_size=300)
    sets = [
        TinyStoriesDataset(s, 16, tmp_path / "cache", tokenizer, path=text)
        for s in ("train", "validation")
    ]
    cfg = GPTConfig.smalllm(vocab_size=300, d_model=32, num_layers=1, num_heads=2, max_seq_len=16)
    train_lm(
        cfg,
        *sets,
        tmp_path / "lm",
        num_tokens=16 * 8 * 5,
        batch_size=8,
        evals=1,
        recipe=recipe,
        device="cpu",
    )
    shutil.move(tmp_path / "lm", tmp_path / "elsewhere")
    tokenizer.unlink()
    model, tok = load_lm(tmp_path / "elsewhere", device="cpu")
    assert tok.decode(tok.encode("Hello, cat")) == "Hello, cat" and model.config.vocab_size == 300


def test_an_empty_folder_has_no_model(tmp_path):
    with pytest.raises(FileNotFoundError, match="train one there"):
        load_lm(tmp_path)
