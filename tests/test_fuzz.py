"""10,000 generated calls of the public functions: refusals say what, expected, got and fix; answers
are finite and make sense. `make fuzz` makes 100,000."""

import math
import numpy as np, pandas as pd, pytest, torch
import fuzzing
from fuzz_left_out import left_out
from flops_fit.errors import ContractError, FitError
from fuzz_cases import GOOD, Case

CALLS = 10_000
PARTS = sorted({name.split(".")[0] for name in GOOD})


@pytest.fixture(autouse=True)
def somewhere(monkeypatch, tmp_path):
    "Work in an empty folder: names of files that were made up lead nowhere."
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").write_text("not a folder")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("part", PARTS)
def test_generated_calls(part):
    cases = [c for c in GOOD.values() if c.name.split(".")[0] == part]
    share = CALLS * sum(c.weight for c in cases) / sum(c.weight for c in GOOD.values())
    made, found = fuzzing.fuzz(cases, share)
    assert sum(made.values()) >= max(0.8 * share, 2)
    assert not found, "\n".join(map(str, found[:20]))


def test_every_public_callable_is_called_or_left_out_for_a_reason():
    called = {name.split(",")[0] for name in GOOD}
    assert [n for n in fuzzing.public() if n not in called and not left_out(n)] == []
    assert sorted(called - {*fuzzing.public()}) == []


@pytest.mark.parametrize(
    "answer, found",
    [
        (1.0, 0),
        (math.nan, 1),
        (np.array([1.0, np.inf]), 1),
        (dict(optimal_params=-3.0), 1),
        (dict(optimal_params=1e60), 1),
        (dict(a=1.0, a_lower=2.0, a_upper=3.0), 1),
        (dict(loss=1.0, loss_lower=0.0, loss_upper=math.inf), 0),
        (pd.DataFrame(dict(num_tokens=[1.0, 0.0])), 1),
        ("N* = nan", 1),
        ("a nan-free text of information", 0),
        (1j, 1),
    ],
)
def test_what_is_absurd(answer, found):
    assert bool([*fuzzing.absurd(answer)]) == bool(found)


def endless():
    while True:
        pass


@pytest.mark.parametrize(
    "call, kind",
    [
        (lambda x: x + 1, None),
        (lambda x: x.shape, "AttributeError"),
        (lambda x: 1 / 0, "ZeroDivisionError"),
        (lambda x: math.nan, "answer"),
        (lambda x: np.minimum(1 / np.zeros(1), 1.0), "warning"),
        (lambda x: open("no such file"), None),
        (lambda x: endless(), "slow"),
    ],
)
def test_the_harness_sees(call, kind, monkeypatch):
    """A bare error, a warning of NumPy's, an absurd answer and a hang are findings; an answer and a
    file that is not there are none."""
    monkeypatch.setattr(fuzzing, "SECONDS", 0.3)
    f = fuzzing.one_call(Case("it", call, dict), call, dict(x=1), ["x"])
    assert (f and f.kind) == kind


def test_a_refusal_says_four_things():
    def mute(x):
        raise FitError("no")

    def told(x):
        raise ContractError("x", "a number", "a word", "pass a number")

    assert fuzzing.one_call(Case("it", mute, dict), mute, dict(x=1), []).kind == "mute"
    assert fuzzing.one_call(Case("it", told, dict), told, dict(x=1), []) is None


def test_the_same_calls_each_time():
    case = GOOD["flops.training_flops"]
    first, again = (
        [
            (
                sorted(changed),
                *(repr(args[k])[:40] for k in changed if not hasattr(args[k], "__call__")),
            )
            for _, args, changed in (fuzzing.generated(case, i) for i in range(5))
        ]
        for _ in range(2)
    )
    assert [c for c, *_ in first] == [c for c, *_ in again]
