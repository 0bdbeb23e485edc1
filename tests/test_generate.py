"Generation: the cache changes nothing, sampling follows its distribution, and long texts go on."

import pytest, torch
from scipy import stats
from flops_fit.examples.generate import _window_start, generate, token_probs
from flops_fit.examples.gpt import GPT


@pytest.fixture(
    scope="module",
    params=[
        dict(),
        dict(
            norm="layernorm", mlp="gelu", tie_embeddings=False, parametrization="sp", base_std=0.3
        ),
    ],
    ids=["llama", "gpt2"],
)
def model(request):
    torch.manual_seed(0)
    return GPT(vocab_size=40, d_model=32, num_layers=3, max_seq_len=24, **request.param)


@pytest.mark.parametrize("length", [1, 2, 23, 24, 25, 70])
def test_cached_equals_uncached_under_greedy_decoding(model, length):
    prompt = torch.randint(40, (length,), generator=torch.Generator().manual_seed(length)).tolist()
    a, b = (generate(model, prompt, 60, temperature=0, use_cache=c) for c in (True, False))
    assert a.tolist() == b.tolist() and len(a) == length + 60 and a[:length].tolist() == prompt


def test_greedy_takes_the_best_token_of_what_is_in_sight(model):
    ids = generate(model.eval(), [5, 6, 7], 50, temperature=0)
    for n in range(3, 53):
        start = _window_start(n, 24)
        with torch.no_grad():
            assert ids[n] == model(ids[None, start:n])[0][0, -1].argmax()


def test_the_window_is_never_too_long_nor_shorter_than_half():
    for context in (1, 2, 7, 24):
        starts = [_window_start(n, context) for n in range(1, 200)]
        assert all(1 <= n - s <= context for n, s in zip(range(1, 200), starts))
        assert all(n - s >= context / 2 for n, s in zip(range(context, 200), starts[context - 1 :]))
        assert starts == sorted(starts)


def test_several_new_tokens_after_a_cache_equal_one_reading(model):
    x = torch.randint(40, (2, 20))
    cache = [[] for _ in model.blocks]
    with torch.no_grad():
        parts = [model(p, cache=cache)[0] for p in (x[:, :5], x[:, 5:12], x[:, 12:13], x[:, 13:])]
        torch.testing.assert_close(torch.cat(parts, 1), model(x)[0], rtol=1e-4, atol=1e-4)


def reference(logits, temperature, top_k, top_p):
    "The same distribution by a plain loop over sorted tokens."
    p = (logits.double() / temperature).softmax(0).tolist()
    order = sorted(range(len(p)), key=lambda i: -p[i])[:top_k]
    total, mass, kept = sum(p[i] for i in order), 0.0, []
    for i in order:
        if top_p is not None and mass >= top_p:
            break
        kept.append(i)
        mass += p[i] / total
    z = sum(p[i] for i in kept)
    return [p[i] / z if i in kept else 0.0 for i in range(len(p))]


@pytest.mark.parametrize(
    "temperature, top_k, top_p",
    [(1.0, None, None), (0.7, 5, None), (1.3, None, 0.8), (0.9, 8, 0.6), (2.0, 3, 1.0)],
)
def test_samples_follow_the_reference_distribution(temperature, top_k, top_p):
    logits = torch.randn(12, generator=torch.Generator().manual_seed(3)) * 1.5
    expected = torch.tensor(reference(logits, temperature, top_k, top_p), dtype=torch.float64)
    torch.testing.assert_close(
        token_probs(logits, temperature, top_k, top_p), expected.float(), rtol=1e-4, atol=1e-6
    )

    class Constant(
        torch.nn.Module
    ):  # the same scores whatever was read, so every token drawn is one draw
        def __init__(self):
            super().__init__()
            self.w, self.blocks = torch.nn.Parameter(logits), []
            self.config = type("Config", (), dict(vocab_size=12, max_seq_len=8))

        def forward(self, x, cache=None):
            return self.w.expand(*x.shape, 12), None

    n = 4000
    drawn = generate(Constant(), [0], n, temperature, top_k, top_p, seed=11)[1:]
    counts, kept = torch.bincount(drawn, minlength=12), expected > 0
    assert counts[~kept].sum() == 0
    assert (
        stats.chisquare(counts[kept].numpy(), (expected[kept] * n / expected.sum()).numpy()).pvalue
        > 0.001
    )


def test_the_seed_decides(model):
    a, b, c = (generate(model, [1, 2], 40, seed=s).tolist() for s in (1, 1, 2))
    assert a == b != c
    state = torch.random.get_rng_state()
    generate(model, [1], 5, seed=1)
    assert torch.equal(
        state, torch.random.get_rng_state()
    )  # a seed leaves torch's own generator alone


def test_it_stops_at_the_end_token(model):
    free = generate(model, [3], 30, seed=5).tolist()
    assert (
        generate(model, [3], 30, seed=5, stop=free[10]).tolist() == free[: free.index(free[10], 1)]
    )


def test_text_in_text_out():
    torch.manual_seed(0)
    model = GPT(vocab_size=256, d_model=16, num_layers=1, max_seq_len=16)
    text = generate(model, "Hé", 30, seed=0)
    assert isinstance(text, str) and text.startswith("Hé")

    class Shift:  # a tokenizer of letters
        def encode(self, text):
            return [ord(c) - 97 for c in text]

        def decode(self, ids):
            return "".join(chr(i % 26 + 97) for i in ids)

    assert generate(model, "abc", 10, seed=0, tokenizer=Shift())[:3] == "abc"


def test_the_model_is_left_as_it_was(model):
    for mode in (True, False):
        model.train(mode)
        generate(model, [1], 2, seed=0)
        assert model.training is mode
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    "prompt, kwargs, says",
    [
        ([], {}, "empty"),
        ([40], {}, "0 to 39"),
        ([-1], {}, "0 to 39"),
        ([1], dict(temperature=-1), "temperature"),
        ([1], dict(top_k=0), "top_k"),
        ([1], dict(top_p=1.5), "top_p"),
        ([1], dict(temperature=float("nan")), "temperature"),
    ],
)
def test_bad_input_is_refused(model, prompt, kwargs, says):
    with pytest.raises(ValueError, match=says):
        generate(model, prompt, 3, **kwargs)
