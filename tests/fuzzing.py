"""Calls of every public function with one to three arguments that are wrong, and what may come of
them.

A call starts from a good one (`GOOD`, at the end) and has some of its arguments replaced: by things
of other types, by numbers
that are not finite, not positive, too large; by arrays that are ragged, empty, too short, constant.
It may then raise `ContractError`
or `FitError`, or an error of the file system that names the file; or answer, in finite numbers that
make physical sense.

    python tests/fuzzing.py 100000               # all, in a process a core
    python tests/fuzzing.py 2000 fitter.         # cases whose name begins so
"""

import contextlib, dataclasses, importlib, inspect, io, math, os, pkgutil, random, re
import signal, sys, tempfile, time, traceback, warnings
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.update(
    HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", MPLBACKEND="agg", WANDB_MODE="disabled"
)
import numpy as np, pandas as pd, torch
import flops_fit
from flops_fit.errors import ContractError, FitError, FitWarning
from fuzz_cases import GOOD

SECONDS = 5.0  # of the processor's time that a call may take


# What may come in place of an argument


def _raises(*args, **kwargs):
    raise KeyError("a function of the user's that raises")


def _generator():
    yield from (1.0, 2.0, 3.0)


class _Odd:
    "An object whose repr raises."

    def __repr__(self):
        raise RuntimeError("no repr")


JUNK = dict(
    none=lambda: None,
    true=lambda: True,
    false=lambda: False,
    word=lambda: "nonsense",
    empty_text=lambda: "",
    long_text=lambda: "x" * 5000,
    null_text=lambda: "a\0b",
    digits=lambda: "12",
    bytes=lambda: b"bytes",
    empty_list=lambda: [],
    empty_tuple=lambda: (),
    empty_dict=lambda: {},
    dict=lambda: {"a": 1},
    odd_dict=lambda: {1: None, None: 2},
    set=lambda: {1, 2},
    object=lambda: object(),
    no_repr=lambda: _Odd(),
    type=lambda: int,
    nan=lambda: float("nan"),
    inf=lambda: float("inf"),
    minus_inf=lambda: float("-inf"),
    zero=lambda: 0,
    minus=lambda: -1,
    half=lambda: 0.5,
    minus_half=lambda: -2.5,
    one=lambda: 1,
    two=lambda: 2,
    tiny=lambda: 1e-300,
    large=lambda: 1e300,
    million=lambda: 1_000_000,
    trillion=lambda: 10**12,
    beyond=lambda: 10**400,
    minus_beyond=lambda: -(10**400),
    digits_beyond=lambda: 10**6000,
    complex=lambda: 1j,
    np_nan=lambda: np.float64("nan"),
    np_inf=lambda: np.float32("inf"),
    np_int=lambda: np.int64(-3),
    np_bool=lambda: np.bool_(True),
    np_float=lambda: np.float32(2.5),
    zero_d=lambda: np.array(3.0),
    zero_d_text=lambda: np.array("x"),
    no_numbers=lambda: np.zeros(0),
    matrix=lambda: np.ones((2, 3)),
    texts=lambda: np.array(["a", "b"]),
    objects=lambda: np.array([1, None, "x"], object),
    complexes=lambda: np.array([1j, 2]),
    dates=lambda: np.array(["2020-01-01"], "datetime64[D]"),
    ragged=lambda: [1, [2, 3]],
    list_nan=lambda: [float("nan"), 1.0],
    list_inf=lambda: [1.0, float("inf")],
    zeros=lambda: [0, 0, 0],
    negatives=lambda: [-1, 2],
    digit_list=lambda: ["1", "2"],
    ones=lambda: [1, 1, 1],
    truths=lambda: [True, False],
    nones=lambda: [None, None],
    beyonds=lambda: [10**400, 1],
    tensor=lambda: torch.tensor(2.0),
    no_tensor=lambda: torch.zeros(0),
    tensor_matrix=lambda: torch.ones(2, 2),
    tensor_nan=lambda: torch.tensor([float("nan"), 1.0]),
    tensor_grad=lambda: torch.ones(3, requires_grad=True),
    tensor_meta=lambda: torch.ones(3, device="meta"),
    tensor_complex=lambda: torch.ones(2, dtype=torch.complex64),
    no_frame=lambda: pd.DataFrame(),
    frame=lambda: pd.DataFrame({"a": [1, None]}),
    series=lambda: pd.Series([1.0, None], index=[5, 7]),
    nullable=lambda: pd.Series([1, None], dtype="Int64"),
    no_path=lambda: Path("no") / "such" / "file",
    under_file=lambda: Path("a_file") / "below",
    a_file=lambda: Path("a_file"),
    raises=lambda: _raises,
    generator=_generator,
    identity=lambda: lambda x: x,
    decimal=lambda: Decimal("NaN"),
    decimal_3=lambda: Decimal(3),
    fraction=lambda: Fraction(1, 3),
    range=lambda: range(3),
    tuple_text=lambda: ("a",),
    exception=lambda: ValueError,
    frozen=lambda: frozenset({3}),
    memory=lambda: memoryview(b"abc"),
    ellipsis=lambda: ...,
    module=lambda: torch.nn.Linear(1, 1),
)


def _scaled(v, rng):
    "A number, changed."
    return rng.choice(
        [
            lambda: v * 1e-12,
            lambda: v * 1e-3,
            lambda: v / 2,
            lambda: v * 2,
            lambda: v * 1e3,
            lambda: v * 1e12,
            lambda: v * 1e40,
            lambda: -v,
            lambda: str(v),
            lambda: np.float64(v),
            lambda: np.array(float(v)),
            lambda: [v],
            lambda: np.array([v, v]),
            lambda: torch.tensor(float(v)),
            lambda: np.float32(v),
            lambda: (v, -v),
            lambda: v + 0.5,
        ]
    )()


def _elements(v, rng):
    "A list or array of numbers, changed."
    a = np.array(v, float)
    n, i = len(a), rng.randrange(max(len(a), 1))

    def put(x):
        out = [*a.tolist()]
        if out:
            out[i] = x() if callable(x) else x
        return out

    bad = rng.choice(
        [
            float("nan"),
            float("inf"),
            -float("inf"),
            0.0,
            -1.0,
            1e300,
            1e-300,
            1e30,
            None,
            "x",
            1j,
            10**400,
            True,
            [1.0],
        ]
    )
    return rng.choice(
        [
            lambda: put(bad),
            lambda: put(bad),
            lambda: a[:-1],
            lambda: np.r_[a, a],
            lambda: a[:0],
            lambda: a[:1],
            lambda: a[:2],
            lambda: a[:3],
            lambda: np.full(n, a[0] if n else 1.0),
            lambda: a[::-1],
            lambda: a * 1e30,
            lambda: a * 1e-30,
            lambda: -a,
            lambda: a * 0,
            lambda: a.astype(str),
            lambda: a[None],
            lambda: np.c_[a, a],
            lambda: torch.tensor(a),
            lambda: tuple(a.tolist()),
            lambda: pd.Series(a, index=np.arange(n)[::-1]),
            lambda: a.astype(object),
            lambda: (x for x in a),
            lambda: a.astype(np.float32),
            lambda: a.astype(complex),
            lambda: np.sort(a),
            lambda: a**5,
            lambda: a**-1.0 if (a != 0).all() else a,
            lambda: np.geomspace(1e-200, 1e200, max(n, 1)),
            lambda: np.where(np.arange(n) % 2, a[0] if n else 0, a),
            lambda: a + 1e-9,
            lambda: pd.DataFrame({"x": a}),
            lambda: {"x": a},
            lambda: dict(enumerate(a.tolist())),
            lambda: np.ma.masked_array(a, a == a[0]) if n else a,
        ]
    )()


def _mutated(v, rng, depth=0):
    "Something in place of `v`: anything at all, or `v` changed."
    if rng.random() < 0.45 or depth > 2:
        return JUNK[rng.choice([*JUNK])]()
    if isinstance(v, bool) or v is None:
        return JUNK[rng.choice([*JUNK])]()
    if isinstance(v, (int, float, np.number)):
        return _scaled(v, rng)
    if isinstance(v, str):
        return rng.choice([v.upper(), v + " ", v[:1], "../" + v, v.encode(), [v], {v}, v + "\0"])
    if isinstance(v, dict) and v:
        out, k = dict(v), rng.choice([*v])
        how = rng.randrange(5)
        if how == 0:
            del out[k]
        elif how == 1:
            out["unknown"] = _mutated(v[k], rng, depth + 1)
        elif how == 2:
            out[rng.choice([None, 3, (1, 2), ""])] = v[k]
        else:
            out[k] = _mutated(v[k], rng, depth + 1)
        return out
    if isinstance(v, pd.DataFrame) and len(v.columns):
        out, c = v.copy(), rng.choice([*v.columns])
        how = rng.randrange(6)
        if how == 0:
            return out.drop(columns=c)
        if how == 1:
            return out.iloc[: rng.choice([0, 1, 2, 5])]
        if how == 2:
            return pd.concat([out, out[[c]]], axis=1)
        if how == 3:
            return out.set_index(c)
        new = (
            _elements(v[c], rng)
            if pd.api.types.is_numeric_dtype(v[c]) and rng.random() < 0.8
            else _mutated(None, rng)
        )
        try:
            out[c] = new
        except Exception:
            out[c] = None
        return out
    try:
        numbers = (
            isinstance(v, (list, tuple, np.ndarray, pd.Series))
            and len(v)
            and np.ndim(v) == 1
            and np.array(v, float) is not None
        )
    except (TypeError, ValueError):
        numbers = False
    if numbers:
        return _elements(v, rng)
    if isinstance(v, (list, tuple)) and v:
        out, i = list(v), rng.randrange(len(v))
        how = rng.randrange(4)
        if how == 0:
            del out[i]
        elif how == 1:
            out = out[:1]
        else:
            out[i] = _mutated(v[i], rng, depth + 1)
        return type(v)(out) if type(v) in (list, tuple) else out
    if torch.is_tensor(v) and v.is_floating_point():
        return rng.choice(
            [
                lambda: v * float("nan"),
                lambda: v[..., :-1],
                lambda: v[None],
                lambda: v.long(),
                lambda: v.to("meta"),
                lambda: v.numpy(),
                lambda: v.tolist(),
                lambda: v * 1e30,
                lambda: v[:0],
            ]
        )()
    if torch.is_tensor(v):
        return rng.choice(
            [
                lambda: v.float(),
                lambda: v[:0],
                lambda: v[None],
                lambda: -v - 1,
                lambda: v + 10**6,
                lambda: v.to("meta"),
                lambda: v.numpy(),
                lambda: v.tolist(),
            ]
        )()
    return JUNK[rng.choice([*JUNK])]()


# What an answer may hold

POSITIVE = re.compile(
    r"^((optimal_|target_)?(params|tokens|compute|loss)|num_params|num_tokens|expected_loss"
    r"|tokens_per_param|compute_budget|flops)(_lower|_upper)?$"
)
MOST = 1e46


def _number(x, where, blank):
    if any(re.search(b, where) for b in blank):
        return
    if where.endswith("_lower") and x == 0 or where.endswith("_upper") and x == math.inf:
        return  # an end that the runs leave open
    if isinstance(x, complex):
        yield f"{where} is complex"
    elif not math.isfinite(x):
        yield f"{where} is {x}"
    elif POSITIVE.match(where.rsplit(".", 1)[-1]) and not (0 < x < MOST):
        yield f"{where} is {x:g}"


def _intervals(d, where, blank):
    for k, v in d.items():
        if not isinstance(k, str) or f"{k}_lower" not in d or f"{k}_upper" not in d:
            continue
        try:
            v, lo, hi = (np.asarray(d[n], float) for n in (k, f"{k}_lower", f"{k}_upper"))
        except (TypeError, ValueError):
            continue
        if not (
            np.isnan(lo)
            | np.isnan(hi)
            | (lo <= v * (1 + 1e-9) + 1e-12) & (v <= hi * (1 + 1e-9) + 1e-12)
        ).all():
            yield f"{where}.{k}: {v} is not within {lo} to {hi}"


def absurd(x, where="answer", blank=(), depth=0):
    """What is wrong with an answer: numbers that are not finite or make no physical sense. `blank`:
    patterns of the places that may be."""
    if depth > 5 or x is None or isinstance(x, (bool, np.bool_, bytes, Path, type)):
        return
    if isinstance(x, str):
        if (m := re.search(r"(?<![\w/.-])-?(nan|inf)(?![\w/-])", x)) and not any(
            re.search(b, where) for b in blank
        ):
            yield f"{where} says {x[max(0, m.start() - 30) : m.end() + 10]!r}"
    elif isinstance(x, int):  # an int of Python's is finite
        if abs(x) > 10**300 and not any(re.search(b, where) for b in blank):
            yield f"{where} is beyond the floats"
    elif isinstance(x, (float, complex, np.number)):
        yield from _number(x.item() if isinstance(x, np.number) else x, where, blank)
    elif isinstance(x, pd.DataFrame):
        if {"status", "loss"} <= {*x.columns} and x.columns.is_unique:
            x = x[x.status == "completed"]  # the others have none
        if len(x.columns) and x.columns.is_unique:
            yield from _intervals(x, where, blank)
        for i, c in enumerate(x.columns):
            col = x.iloc[:, i]
            if pd.api.types.is_numeric_dtype(col) and not pd.api.types.is_bool_dtype(col):
                for v in col.to_numpy(float)[:50]:
                    yield from _number(float(v), f"{where}.{c}", blank)
    elif isinstance(x, pd.Series):
        yield from absurd(x.to_numpy(), where, blank, depth + 1)
    elif isinstance(x, np.ndarray):
        if x.dtype.kind in "fc":
            for v in x.ravel()[:50]:
                yield from _number(v.item(), where, blank)
    elif torch.is_tensor(x):
        if (
            x.is_floating_point()
            and not x.is_meta
            and not torch.isfinite(x).all()
            and not any(re.search(b, where) for b in blank)
        ):
            yield f"{where} holds a number that is not finite"
    elif isinstance(x, dict):
        yield from _intervals(x, where, blank)
        for k, v in [*x.items()][:60]:
            yield from absurd(v, f"{where}.{k}", blank, depth + 1)
    elif isinstance(x, (list, tuple)):
        for i, v in enumerate(x[:30]):
            yield from absurd(
                v,
                f"{where}.{i}" if isinstance(v, (dict, pd.DataFrame)) else where,
                blank,
                depth + 1,
            )
    elif isinstance(x, (FitWarning, ContractError)):
        yield from absurd(str(x), f"{where}.{getattr(x, 'code', '')}", blank, depth + 1)
    elif type(x).__module__.startswith("flops_fit"):
        yield from _ours(x, where, blank, depth)


def _ours(x, where, blank, depth):
    "Objects of the package: what they hold, and what they say."
    kind = type(x).__name__
    if kind == "LawFit":
        yield from absurd(
            dict(params=x.params, objective=x.objective, sigma=x.sigma, warnings=x.warnings),
            f"{where}.LawFit",
            blank,
            depth + 1,
        )
        for p, v in x.params.items():
            if p not in x.law.real and v < 0:
                yield f"{where}.{p} is {v}"
    elif (
        kind == "PowerLawFit"
    ):  # as many points as parameters leave the intervals open; points of one height have no R²
        blank = (*blank, "_ci$", "r_squared")
        yield from absurd(
            {
                k: getattr(x, k)
                for k in ("coefficient_k", "exponent_a", "l_inf", "k_ci", "a_ci", "r_squared")
            }
            | dict(said=repr(x)),
            f"{where}.PowerLawFit",
            blank,
            depth + 1,
        )
    elif kind == "ScalingAnalysis":
        yield from absurd(
            dict(
                runs=x.runs,
                said=repr(x),
                told=x._facts(),
                warnings=x.warnings,
                points=x.optimal_points,
            ),
            f"{where}.ScalingAnalysis",
            (*blank, "loss_se", "compute_budget", "unique_tokens", "log_se"),
            depth + 1,
        )
        for ask in (lambda: x.predict(x.max_compute), lambda: x.predict(1e3 * x.max_compute)):
            try:
                yield from absurd(ask(), f"{where}.predict", blank, depth + 1)
            except FitError:
                pass
    elif dataclasses.is_dataclass(x):
        for f in dataclasses.fields(x):
            yield from absurd(getattr(x, f.name), f"{where}.{f.name}", blank, depth + 1)


# One call


class TooSlow(BaseException):
    pass


@dataclasses.dataclass
class Finding:
    name: str
    kind: str  # type of the error, or "answer", "warning", "slow"
    where: str  # file:line
    told: str
    given: str

    def __str__(self):
        return f"{self.name} [{self.kind} at {self.where}] {self.told}\n      given {self.given}"


def _place(e):
    "The deepest line of ours in a traceback"
    ours = [f for f in traceback.extract_tb(e.__traceback__) if "flops_fit/" in f.filename]
    return f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "outside"


def _alarm(*_):
    raise TooSlow


def _told_well(e):
    "Does a refusal say what, expected, got and fix?"
    if isinstance(e, ContractError):
        return all(str(v).strip() for v in (e.what, e.expected, e.got, e.fix))
    return len(str(e)) > 25 and (":" in str(e) or "expected" in str(e))


def one_call(case, call, args, changed):
    "What is wrong with one call: a `Finding`, or None."
    given = ", ".join(f"{k}={_short(args[k])}" for k in changed)
    finding = lambda kind, where, told: Finding(case.name, kind, where, told, given)
    signal.signal(signal.SIGPROF, _alarm)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    begun = time.process_time()
    try:
        with (
            warnings.catch_warnings(record=True) as heard,
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("always")
            try:
                answer = call(**args)
                wrong = next(iter(absurd(answer, blank=case.blank)), None)
                if wrong:
                    return finding("answer", "", wrong)
            except (ContractError, FitError) as e:
                if not _told_well(e):
                    return finding("mute", _place(e), str(e))
            except case.allowed:
                pass
            except OSError as e:  # of a file: it names it
                if not (
                    e.filename
                    or any(str(v) in str(e) for v in args.values() if isinstance(v, (str, Path)))
                ):
                    return finding(type(e).__name__, _place(e), _said(e))
            except TypeError as e:
                if e.__traceback__.tb_next is None:
                    return  # Python's own: an argument is missing or unknown
                return finding("TypeError", _place(e), _said(e))
        signal.setitimer(signal.ITIMER_PROF, 0)
        for w in heard:
            if issubclass(w.category, RuntimeWarning):
                return finding(
                    "warning", f"{Path(w.filename).name}:{w.lineno}", str(w.message)[:120]
                )
    except TooSlow:
        return finding("slow", "", f"{time.process_time() - begun:.1f} s")
    except MemoryError as e:
        return finding("MemoryError", _place(e), _said(e))
    except Exception as e:
        return finding(type(e).__name__, _place(e), _said(e))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _said(e):
    try:
        return str(e)[:150]
    except Exception:
        return "an error whose text cannot be shown"


def _short(v):
    try:
        text = " ".join(repr(v).split())
    except Exception:
        text = type(v).__name__
    return text if len(text) < 110 else text[:107] + "..."


def generated(case, i, seed=0):
    "Call number i of a case: (function, arguments, names of the changed ones)"
    rng = random.Random(f"{seed}:{case.name}:{i}")
    args = case.args()
    call = case.call
    names = [
        p.name
        for p in inspect.signature(call).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    names = [n for n in dict.fromkeys([*args, *names]) if n not in case.keep]
    changed = (
        []
        if i == 0 or not names
        else rng.sample(names, min(len(names), rng.choice([1, 1, 1, 2, 2, 3])))
    )
    for n in changed:
        args[n] = _mutated(args.get(n), rng)
    return call, args, changed


def prepare():
    """An empty folder to work in, and a limit to memory: what no caller would want is refused, not
    tried."""
    folder = tempfile.mkdtemp(prefix="fuzz")
    os.chdir(folder)
    Path("a_file").write_text("not a folder")
    torch.set_num_threads(1)
    return folder


def fuzz(cases, calls, seed=0, seconds=None):
    "`calls` calls in all, spread over `cases` by weight: how many were made of each, and findings"
    total, made, found, begun = sum(c.weight for c in cases), Counter(), [], time.monotonic()
    import matplotlib.pyplot as plt

    for case in cases:
        for i in range(max(1, round(calls * case.weight / total))):
            if seconds and time.monotonic() - begun > seconds:
                break
            call, args, changed = generated(case, i, seed)
            made[case.name] += 1
            if f := one_call(case, call, args, changed):
                found.append(f)
            elif i == 0 and not case.refused and (f := _good(case, call, args)):
                found.append(f)
            if plt.get_fignums():
                plt.close("all")
    return made, found


def _good(case, call, args):
    "A good call that is refused is no good call."
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            call(**args)
    except Exception as e:
        return Finding(case.name, "good call refused", _place(e), str(e)[:200], "")


# What is public


def modules():
    return [
        importlib.import_module(m.name)
        for m in pkgutil.walk_packages(flops_fit.__path__, "flops_fit.")
        if not m.name.endswith("_modidx")
    ]


def public():
    "Every public callable: module.name, and module.Class.name for methods and properties."
    out = []
    for mod in modules():
        short = re.sub(r"^flops_fit\.((fitter|planner|trainer|plotter)\.)?", "", mod.__name__)
        for k in getattr(mod, "__all__", []):
            o = getattr(mod, k)
            if not callable(o) or getattr(o, "__module__", None) != mod.__name__:
                continue
            out.append(f"{short}.{k}")
            if inspect.isclass(o):
                out += [
                    f"{short}.{k}.{a}"
                    for a, v in vars(o).items()
                    if not a.startswith("_")
                    and (callable(getattr(o, a)) or isinstance(v, property))
                ]
    return out


def main(calls=100_000, only="", seed=0):
    import multiprocessing

    cases = [c for c in GOOD.values() if c.name.startswith(only)]
    n = min(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(), 8)
    total, begun = sum(c.weight for c in cases), time.monotonic()
    with multiprocessing.get_context("fork").Pool(n, prepare) as pool:
        jobs = [
            pool.apply_async(_job, (c.name, max(1, round(calls * c.weight / total)), seed))
            for c in sorted(cases, key=lambda c: -c.weight)
        ]
        made, found, took = Counter(), [], {}
        for j in jobs:
            m, f, t = j.get()
            made += m
            found += f
            took |= t
    report(made, found, took, time.monotonic() - begun)
    return 1 if found else 0


def _job(name, calls, seed):
    begun = time.process_time()
    made, found = fuzz([GOOD[name]], calls, seed)
    return made, found, {name: time.process_time() - begun}


def report(made, found, took=None, seconds=0):
    places = {}
    for f in found:
        places.setdefault((f.name, f.kind, f.where), []).append(f)
    for (name, kind, where), fs in sorted(places.items()):
        print(f"{len(fs):5} {fs[0]}")
    by = Counter(f.name for f in found)
    print(
        (
            f"\n{sum(made.values()):,} calls of {len(made)} callables in {seconds:.0f} s: "
            f"{len(found):,} findings at {len(places)} places, in {len(by)} callables"
        )
    )
    for k, v in by.most_common(30):
        print(f"  {k}: {v} of {made[k]}")
    if took:
        print(
            "slowest:",
            ", ".join(f"{k} {v:.1f} s" for k, v in sorted(took.items(), key=lambda kv: -kv[1])[:8]),
        )


if __name__ == "__main__":
    sys.exit(
        main(
            int(sys.argv[1]) if sys.argv[1:] else 100_000,
            *sys.argv[2:3],
            *(map(int, sys.argv[3:4])),
        )
    )
