"Every form of data and every way to break the contract."

import math
import pytest, torch, torch.nn.functional as F
from hypothesis import given, settings, strategies as st
from flops_fit.planner.contract import (
    check_task,
    create_model,
    create_models_at_sizes,
    make_task,
    validate_loss_fn,
    validate_model_contract,
)
from flops_fit.planner.dataset import (
    ContractError,
    hold_out,
    split_sample,
    validate_dataset,
    wrap_dataset,
)
from models import Net, Stuck, Uncounted, xor_data, xor_task

x, y = xor_data(40)


class Rows(torch.utils.data.Dataset):
    def __len__(self):
        return 40

    def __getitem__(self, i):
        return x[i], y[i]


class Flow(torch.utils.data.IterableDataset):
    def __iter__(self):
        yield from zip(x, y)


def hf_rows():
    datasets = pytest.importorskip("datasets")
    return datasets.Dataset.from_dict({"x": x.tolist(), "y": y.tolist()})


FORMS = dict(
    pair=lambda: (x, y),
    rows=Rows,
    tensors=lambda: torch.utils.data.TensorDataset(x, y),
    loader=lambda: torch.utils.data.DataLoader(Rows(), batch_size=7, shuffle=True),
    hugging_face=hf_rows,
)


@pytest.mark.parametrize("form", FORMS)
def test_every_sized_form_gives_the_same_batch(form):
    source = validate_dataset(FORMS[form]())
    assert source.num_samples == 40 and source.tokens_per_sample == 1
    got = source.batch(torch.tensor([3, 39]))
    assert torch.allclose(got[0].float(), x[[3, 39]]) and got[1].tolist() == y[[3, 39]].tolist()


@pytest.mark.parametrize("form", [Flow, lambda: torch.utils.data.DataLoader(Flow(), batch_size=8)])
def test_streams_flow_and_start_over(form):
    source = wrap_dataset(form())
    assert source.num_samples is None
    flow = source.stream(38)
    got = [next(flow)[0] for _ in range(4)]
    assert torch.equal(torch.stack(got), x[[38, 39, 0, 1]])


def test_a_stream_keeps_its_held_out_head():
    train, held = hold_out(wrap_dataset(Flow()), 5)
    assert torch.equal(held.batch(torch.arange(5))[0], x[:5]) and torch.equal(
        next(train.stream())[0], x[5]
    )


def test_loaders_keep_a_collation_of_their_own():
    loader = torch.utils.data.DataLoader(
        Rows(),
        batch_size=4,
        collate_fn=lambda rows: (
            torch.stack([r[0] for r in rows]) * 2,
            torch.stack([r[1] for r in rows]),
        ),
    )
    assert torch.equal(next(wrap_dataset(loader).stream())[0], x[0] * 2)


@given(n=st.integers(2, 500), tokens=st.integers(1, 600))
@settings(max_examples=40, deadline=None)
def test_held_out_and_training_data_never_meet(n, tokens):
    train, held = hold_out(wrap_dataset((torch.arange(n)[:, None].float(), torch.zeros(n))), tokens)
    a, b = set(train.indices.tolist()), set(held.indices.tolist())
    assert not a & b and a | b == set(range(n)) and 1 <= len(b) <= max(1, n // 10)


def test_fingerprints_tell_data_apart():
    assert wrap_dataset((x, y)).fingerprint() == wrap_dataset((x.clone(), y)).fingerprint()
    assert wrap_dataset((x, y)).fingerprint() != wrap_dataset((x + 1, y)).fingerprint()


@pytest.mark.parametrize("sample", [dict(a=1, b=2), (1, 2, 3)])
def test_samples_that_cannot_be_told_apart(sample):
    with pytest.raises(ContractError, match="a sample of the dataset"):
        split_sample(sample)


@pytest.mark.parametrize(
    "bad, says",
    [
        (Uncounted, "num_params"),
        (Stuck, "grows with it"),
        (lambda width: "net", "nn.Module"),
        (Net(8), "model_cls|argument"),
        (lambda depth: Net(depth), "an argument named"),
    ],
)
def test_models_that_break_the_contract(bad, says):
    with pytest.raises(ContractError, match=says) as e:
        validate_model_contract(bad, "width", sizes=(8, 16))
    assert e.value.fix and "fix:" in str(e.value)


@pytest.mark.parametrize("value", [0, -3, 2.5, None, True, 10**9])
def test_counts_that_are_no_counts(value):
    class Odd(Net):
        def num_params(self):
            return value

    with pytest.raises(ContractError, match="num_params"):
        validate_model_contract(Odd, "width", sizes=(8, 16))


def test_reading_values_on_meta_is_explained():
    class Reads(Net):
        def __init__(self, width):
            super().__init__(width)
            self.scale = self.layers[0].weight.sum().item()

    with pytest.raises(ContractError, match="meta device"):
        create_model(Reads, "width", 8, device="meta")


def test_sizes_are_counted_without_memory():
    big = create_models_at_sizes(Net, "width", [10**9, 10**10])
    assert [m.num_params() for m in big.values()] == [19 * 10**9 + 2, 19 * 10**10 + 2]


def test_meta_counts_equal_real_ones():
    assert (
        create_model(Net, "width", 24, device="meta").num_params()
        == create_model(Net, "width", 24).num_params()
    )


LOSSES = dict(
    vector=(lambda o, t: F.cross_entropy(o, t, reduction="none"), "scalar"),
    number=(lambda o, t: 1.0, "scalar"),
    nan=(lambda o, t: o.sum() * math.nan, "finite"),
    constant=(lambda o, t: torch.tensor(1.0), "gradient"),
    detached=(lambda o, t: o.detach().sum(), "gradient"),
    zero=(lambda o, t: o.sum() * 0, "gradient"),
    raises=(lambda o, t: o.no_such, "unpack"),
    none=(None, "function"),
)


@pytest.mark.parametrize("name", LOSSES)
def test_losses_that_break_the_contract(name):
    loss_fn, says = LOSSES[name]
    with pytest.raises(ContractError, match=says):
        validate_loss_fn(loss_fn, Net(8), (x[:4], y[:4]))


def test_tuples_and_plain_outputs_both_work():
    class Both(Net):
        def forward(self, x):
            return super().forward(x), None

    assert validate_loss_fn(lambda o, t: F.cross_entropy(o[0], t), Both(8), (x[:4], y[:4])) > 0
    assert validate_loss_fn(F.cross_entropy, Net(8), (x[:4], y[:4])) > 0


@pytest.mark.parametrize(
    "data, says",
    [
        ((x[:0], y[:0]), "at least one sample"),
        ((x, y[:3]), "one length"),
        ("stories.txt", "pair of tensors"),
        (7, "Dataset"),
        ([], "at least one sample"),
    ],
)
def test_data_that_breaks_the_contract(data, says):
    with pytest.raises(ContractError, match=says):
        validate_dataset(data)


def test_too_little_data_for_a_batch():
    with pytest.raises(ContractError, match="one batch of 99 samples"):
        check_task(make_task(Net, "width", dataset=(x, y), loss_fn=F.cross_entropy), 8, 99)


def test_ragged_samples():
    class Ragged(Rows):
        def __getitem__(self, i):
            return x[i][: 4 + i], y[i]

    with pytest.raises(ContractError, match="one shape"):
        validate_dataset(Ragged())


def test_checks_leave_the_random_state_alone():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    check_task(xor_task(), 8)
    assert torch.equal(before, torch.get_rng_state())
