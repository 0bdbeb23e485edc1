"The GPT: what it computes, how it is counted, and that its parametrization does what it says."

import math, subprocess, sys
import pytest, torch
from hypothesis import given, settings, strategies as st
from flops_fit.examples.gpt import (
    GPT,
    GPTConfig,
    byte_gpt,
    create_model_for_scaling,
    estimate_model_flops,
    estimate_params_from_config,
    gpt_loss_fn,
)

tiny = dict(vocab_size=64, d_model=32, num_layers=2, max_seq_len=16)
shapes = [
    dict(),
    dict(norm="layernorm", mlp="gelu"),
    dict(tie_embeddings=False),
    dict(parametrization="sp"),
    dict(num_heads=1, d_ff=17),
]


def tokens(*shape, vocab=64):
    return torch.randint(vocab, shape, generator=torch.Generator().manual_seed(1))


def build(seed=0, **kwargs):
    torch.manual_seed(seed)
    return GPT(**{**tiny, **kwargs})


@pytest.mark.parametrize("kwargs", shapes)
def test_a_position_sees_only_what_came_before(kwargs):
    model, x = build(**kwargs), tokens(2, 16)
    y = x.clone()
    y[:, 9:] = (y[:, 9:] + 1) % 64
    with torch.no_grad():
        a, b = model(x)[0], model(y)[0]
    torch.testing.assert_close(a[:, :9], b[:, :9])
    assert (a[:, 9:] - b[:, 9:]).abs().max() > 1e-3


@pytest.mark.parametrize("kwargs", shapes)
def test_the_loss_is_the_cross_entropy_of_the_next_token(kwargs):
    model, x, y = build(**kwargs), tokens(2, 16), tokens(2, 16).roll(1, 0)
    logits, loss = model(x, y)
    expected = -logits.log_softmax(-1).gather(-1, y[..., None]).mean()
    torch.testing.assert_close(loss, expected)
    assert model(x)[1] is None
    torch.testing.assert_close(gpt_loss_fn((logits, None), y), loss)
    torch.testing.assert_close(gpt_loss_fn(logits, y), loss)
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_labels_of_minus_100_are_left_out():
    logits, y = torch.randn(2, 5, 7), tokens(2, 5, vocab=7)
    half = y.clone()
    half[1] = -100
    torch.testing.assert_close(gpt_loss_fn(logits, half), gpt_loss_fn(logits[:1], y[:1]))


@pytest.mark.parametrize("kwargs", shapes)
@pytest.mark.parametrize("non_embedding", [False, True])
def test_the_estimate_is_the_count(kwargs, non_embedding):
    model = build(**kwargs)
    assert estimate_params_from_config(model.config, non_embedding) == model.num_params(
        non_embedding
    )


def test_a_tied_embedding_is_counted_once():
    tied, untied = build(), build(tie_embeddings=False)
    assert untied.num_params() - tied.num_params() == 64 * 32
    assert tied.num_params() == sum(p.numel() for p in set(tied.parameters()))
    assert tied.num_params(non_embedding=True) == untied.num_params(non_embedding=True)


@settings(max_examples=40, deadline=None)
@given(
    st.floats(4, 11), st.sampled_from([("rmsnorm", "swiglu"), ("layernorm", "gelu")]), st.booleans()
)
def test_a_model_comes_within_5_percent_of_its_target(exponent, kind, tie):
    target = 10**exponent
    with torch.device("meta"):
        model = create_model_for_scaling(target, norm=kind[0], mlp=kind[1], tie_embeddings=tie)
    assert abs(model.num_params() / target - 1) <= 0.05
    assert {p.device.type for p in model.parameters()} == {"meta"}
    cfg = model.config
    assert 1 <= cfg.d_model / cfg.num_layers <= 400  # neither a needle nor a pancake


@pytest.mark.parametrize("target", [2e6, 1e7, 1.24e8, 7e10])
def test_a_model_of_a_given_size_with_a_large_vocabulary(target):
    with torch.device("meta"):
        model = create_model_for_scaling(target, vocab_size=50257)
    assert abs(model.num_params() / target - 1) <= 0.05


def test_a_target_that_cannot_be_met_is_refused():
    with pytest.raises(ValueError, match="smaller vocab_size"):
        create_model_for_scaling(1e5, vocab_size=50257)


def test_planning_a_hundred_billion_parameters_takes_no_memory():
    with torch.device("meta"):
        model = GPT(d_model=12288, num_layers=96, max_seq_len=2048)
    assert model.num_params() > 1.7e11 and model.embed.weight.device.type == "meta"


def test_weights_follow_from_the_seed():
    a, b, c = build(3), build(3), build(4)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters()))
    assert not torch.equal(a.embed.weight, c.embed.weight)


@pytest.mark.parametrize("par", ["u-mup", "sp"])
def test_param_groups_hold_each_parameter_once(par):
    model = build(d_model=64, parametrization=par)
    groups = model.param_groups(lr=0.1, weight_decay=0.5)
    assert sorted(id(p) for g in groups for p in g["params"]) == sorted(
        id(p) for p in model.parameters()
    )
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    embed, gain, hidden = (
        rates[id(p)]
        for p in (model.embed.weight, model.norm.weight, model.blocks[1].mlp.proj.weight)
    )
    if par == "u-mup":
        assert hidden == (0.1 * 32 / 64, 0.5 * 64 / 1024) and gain == (0.1, 0)
        assert embed == (0.1 * 8 * (32 / 64) ** 0.5, 0)
        narrow = build(parametrization=par).param_groups(0.1, 0.5)[0]
        assert math.isclose(
            narrow["lr"] * narrow["weight_decay"], hidden[0] * hidden[1]
        )  # decay a step is the same at every width
    else:
        assert hidden == embed == (0.1, 0.5) and gain == (0.1, 0)


def coordinates(width, par, steps=5, lr=0.02):
    """Root mean square of each block's output, of what each adds, and of the logits, after a few
    steps."""
    torch.manual_seed(0)
    model = GPT(
        d_model=width,
        num_heads=width // 16,
        vocab_size=64,
        num_layers=2,
        max_seq_len=16,
        parametrization=par,
    )
    opt, x = torch.optim.AdamW(model.param_groups(lr)), tokens(4, 17)
    for _ in range(steps):
        loss = model(x[:, :-1], x[:, 1:])[1]
        opt.zero_grad()
        loss.backward()
        opt.step()
    seen = {}
    for name, m in model.named_modules():
        if name.endswith(("attn", "mlp")) or name in ("blocks.0", "blocks.1"):
            m.register_forward_hook(
                lambda m, i, o, name=name: seen.update({name: o.square().mean().sqrt().item()})
            )
    seen["logits"] = model(x[:, :-1])[0].std().item()
    return seen


def test_activations_keep_their_size_from_width_32_to_1024():
    small, large = coordinates(32, "u-mup"), coordinates(1024, "u-mup")
    for name in small:
        assert 0.4 < large[name] / small[name] < 2.5, (name, small[name], large[name])


def test_the_usual_parametrization_fails_the_same_check():
    small, large = coordinates(32, "sp"), coordinates(1024, "sp")
    assert max(large[name] / small[name] for name in small) > 5


def test_checkpointing_saves_memory_and_changes_nothing_else():
    x, y = tokens(2, 16), tokens(2, 16).roll(1, 1)
    grads, saved = [], []
    for on in (False, True):
        model, held = build(gradient_checkpointing=on, num_layers=4), []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: held.append(t.numel()) or t, lambda t: t
        ):
            loss = model(x, y)[1]
        loss.backward()
        grads.append([p.grad for p in model.parameters()])
        saved.append(sum(held))
    for a, b in zip(*grads):
        torch.testing.assert_close(a, b)
    assert saved[1] < saved[0] / 3, saved


def test_accumulated_micro_batches_are_the_full_batch():
    x, y = tokens(8, 16), tokens(8, 16).roll(1, 1)
    whole, parts = build(), build()
    whole(x, y)[1].backward()
    for i in range(0, 8, 2):
        (parts(x[i : i + 2], y[i : i + 2])[1] / 4).backward()
    for a, b in zip(whole.parameters(), parts.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=1e-4, atol=1e-6)


def test_a_checkpoint_gives_the_same_logits(tmp_path):
    from safetensors.torch import load_model, save_model

    a, b, x = build(1), build(2), tokens(2, 16)
    save_model(a, str(tmp_path / "m.safetensors"))
    load_model(b, str(tmp_path / "m.safetensors"))
    with torch.no_grad():
        assert torch.equal(a(x)[0], b(x)[0])


@pytest.mark.parametrize("kwargs", shapes)
def test_flops_agree_with_torch(kwargs):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    model, x = build(**kwargs), tokens(2, 16)
    # the counter does not know CPU flash attention, so attention is made of plain products here
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x, x)[1].backward()
    assert counter.get_total_flops() == estimate_model_flops(model.config, x.numel())


@pytest.mark.parametrize("kind", ["llama", "untied"])
def test_logits_equal_those_of_transformers_llama(kind, monkeypatch):
    # a torchvision that does not match torch would break transformers' import, and Llama needs none
    monkeypatch.setitem(sys.modules, "torchvision", None)
    transformers = pytest.importorskip(
        "transformers", reason="the reference implementation needs transformers"
    )
    transformers.utils.import_utils.is_torchvision_available.cache_clear()
    cfg = GPTConfig(
        vocab_size=96,
        d_model=48,
        num_layers=3,
        num_heads=6,
        d_ff=72,
        max_seq_len=32,
        parametrization="sp",
        base_std=0.3,
        tie_embeddings=kind == "llama",
    )
    torch.manual_seed(0)
    ours = GPT(cfg).eval()
    theirs = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=96,
            hidden_size=48,
            intermediate_size=72,
            num_hidden_layers=3,
            num_attention_heads=6,
            max_position_embeddings=32,
            rms_norm_eps=1e-5,
            tie_word_embeddings=cfg.tie_embeddings,
        )
    ).eval()
    weights = {
        "model.embed_tokens.weight": ours.embed.weight,
        "model.norm.weight": ours.norm.weight,
        "lm_head.weight": ours.embed.weight if ours.head is None else ours.head.weight,
    }
    for i, b in enumerate(ours.blocks):
        q, k, v = b.attn.qkv.weight.chunk(3)
        for name, w in {
            "self_attn.q_proj": q,
            "self_attn.k_proj": k,
            "self_attn.v_proj": v,
            "self_attn.o_proj": b.attn.proj.weight,
            "mlp.gate_proj": b.mlp.gate.weight,
            "mlp.up_proj": b.mlp.up.weight,
            "mlp.down_proj": b.mlp.proj.weight,
            "input_layernorm": b.norm1.weight,
            "post_attention_layernorm": b.norm2.weight,
        }.items():
            weights[f"model.layers.{i}.{name}.weight"] = w
    theirs.load_state_dict({k: v.detach().clone() for k, v in weights.items()})
    x = tokens(3, 32, vocab=96)
    with torch.no_grad():
        a, b = ours(x)[0], theirs(x).logits
    assert a.std() > 0.5  # so that agreement means something
    torch.testing.assert_close(a, b, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "kwargs, says",
    [
        (dict(parametrization="mup"), "u-mup"),
        (dict(norm="batch"), "layernorm"),
        (dict(mlp="relu"), "gelu"),
        (dict(d_model=30, num_heads=4), "multiple of 8"),
        (dict(num_layers=0), "num_layers"),
        (dict(vocab_size=-1), "vocab_size"),
        (dict(d_model=2.5), "d_model"),
        (dict(d_model=33), "even size"),
    ],
)
def test_a_shape_that_cannot_be_built_is_refused(kwargs, says):
    with pytest.raises(ValueError, match=says):
        GPTConfig(**kwargs)


def test_too_long_a_sequence_is_refused():
    with pytest.raises(ValueError, match="context of 16"):
        build()(tokens(1, 17))


def test_smalllm_has_20_to_30_million_parameters():
    with torch.device("meta"):
        model = GPT(GPTConfig.smalllm())
    assert 20e6 < model.num_params() < 30e6
    assert GPTConfig.smalllm(dropout=0.1).dropout == 0.1


@pytest.mark.parametrize("width", [16, 24, 32, 40, 48, 64, 80])
def test_the_demo_family_builds_at_every_width(width):
    model = byte_gpt(width)
    assert model.config.head_dim == (16 if width % 16 == 0 else 8)
    assert model(tokens(1, 64, vocab=256))[0].shape == (1, 64, 256)


def test_examples_and_model_are_doors_to_the_same_rooms():
    code = (
        "import flops_fit.examples, sys; assert 'torch' not in sys.modules; from "
        "flops_fit.examples import GPT, PythonCorpus; "
        "from flops_fit.model import GPT as same, create_model_for_scaling; assert GPT is "
        "same; assert 'GPTConfig' in dir(flops_fit.examples)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("token", [64, -1])
def test_tokens_outside_the_vocabulary_are_named(token):
    with pytest.raises(ValueError, match="knows 0 to 63.*vocab_size"):
        build()(torch.tensor([[1, token]]))
