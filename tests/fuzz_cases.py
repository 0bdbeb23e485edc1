"A good call of each public callable, for `fuzzing`; and those that are left out, with the reason."

import dataclasses, tempfile
from functools import lru_cache
from pathlib import Path
import numpy as np, pandas as pd, torch, torch.nn.functional as F
from models import BUDGETS, Net, RECIPE, SIZES, xor_data

GOOD = {}


@dataclasses.dataclass
class Case:
    "A good call: `call(**args())`."

    name: str  # module.function, or module.Class.method
    call: object  # the function
    args: object  # gives its arguments, by name
    weight: float = 1.0  # how often it is called, beside the others
    blank: tuple = ()  # patterns of places in its answer that may be empty
    allowed: tuple = ()  # other errors that it documents
    keep: tuple = ()  # arguments that stay as they are
    refused: bool = False  # what it needs is not here: only how it refuses can be seen


def good(name, call, args=dict, **kw):
    GOOD[name] = Case(name, call, args, **kw)


def look(of, name):
    return lambda: getattr(of(), name)


# Objects to ask


@lru_cache(None)
def runs():  # 4 budgets of 5 sizes, with noise
    rng = np.random.default_rng(0)
    rows = [
        dict(
            num_params=float(round(n)),
            num_tokens=float(round(C / 6 / n)),
            flops=C,
            compute_budget=C,
            loss=(1.7 + 400 / n**0.34 + 410 / (C / 6 / n) ** 0.28) * np.exp(rng.normal() * 0.003),
            status="completed",
            trunk=f"t{i}",
            unique_tokens=1e10,
            simulated=False,
            experiment_id=f"e{i}{j}",
        )
        for j, C in enumerate((1e18, 3e18, 1e19, 3e19))
        for i, n in enumerate(np.sqrt(C / 6 / 20) * np.geomspace(0.3, 3, 5))
    ]
    return pd.DataFrame(rows)


def columns(**more):
    return dict(
        N=runs().num_params.to_numpy(),
        D=runs().num_tokens.to_numpy(),
        loss=runs().loss.to_numpy(),
        **more,
    )


@lru_cache(None)
def analysis():
    from flops_fit.fitter.analyzer import ScalingLawAnalyzer

    return ScalingLawAnalyzer(runs()).analyze()


@lru_cache(None)
def curves():  # whole training curves of 6 sizes
    rows = [
        dict(N=n, D=d, loss=1.7 + 400 / n**0.34 + 410 / d**0.28)
        for n in np.geomspace(1e7, 1e9, 6)
        for d in np.geomspace(1e8, 2e10, 12)
    ]
    return pd.DataFrame(rows)


@lru_cache(None)
def coupled():
    return analysis().coupled


@lru_cache(None)
def plain():
    return analysis().plain


@lru_cache(None)
def repeats():
    from flops_fit.fitter.repeats import fit_repeats

    return fit_repeats(coupled(), np.minimum(coupled().data["D"], 1e9))


@lru_cache(None)
def isoflop():
    from flops_fit.fitter.curves import fit_isoflop

    return fit_isoflop(**columns(budgets=runs().flops.to_numpy()))


@lru_cache(None)
def power():
    from flops_fit.fitter.curves import fit_power_law

    return fit_power_law([1e18, 3e18, 1e19, 3e19, 1e20], [1e8, 1.8e8, 3e8, 5.5e8, 1e9])


@lru_cache(None)
def task():
    from flops_fit.planner.contract import make_task

    return make_task(Net, "width", dataset=xor_data(), loss_fn=F.cross_entropy, eval_tokens=400)


@lru_cache(None)
def plan():
    from flops_fit.planner.sweep_design import plan_sweep

    return plan_sweep(task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE)


@lru_cache(None)
def net():
    torch.manual_seed(0)
    return Net(8)


@lru_cache(None)
def source():
    return task().held_out


@lru_cache(None)
def folder():
    return Path(tempfile.mkdtemp(prefix="fuzz"))


@lru_cache(None)
def result():  # of a simulated sweep, on disk
    from flops_fit.core import find_optimal
    from flops_fit.planner.recipe import Recipe

    return find_optimal(
        Net,
        "width",
        compute_budgets=[1e9, 3e9, 1e10],
        sizes=[8, 16, 32, 64],
        recipe=Recipe(min_steps=1),
        mode="mock",
        output_dir=folder() / "sweep",
        progress=False,
    )


@lru_cache(None)
def elsewhere():  # of runs made elsewhere
    from flops_fit.result import Result

    return Result.from_runs(runs())


@lru_cache(None)
def gpt():
    from flops_fit.examples.gpt import byte_gpt

    torch.manual_seed(0)
    return byte_gpt(16)


@lru_cache(None)
def config():
    from flops_fit.examples.gpt import GPTConfig

    return GPTConfig(vocab_size=64, d_model=16, num_layers=1, max_seq_len=16)


@lru_cache(None)
def vit():
    from flops_fit.examples.vit import VisionTransformer

    return VisionTransformer(16, num_layers=1, image_size=8)


@lru_cache(None)
def corpus():
    from flops_fit.examples.corpus import PythonCorpus

    return PythonCorpus("test", root=Path(torch.__file__).parent / "optim")


@lru_cache(None)
def stories():
    from flops_fit.examples.tinystories import TinyStoriesDataset

    (folder() / "stories.txt").write_text(
        "<|endoftext|>".join(f"Once upon a time there was a number {i}." for i in range(300))
    )
    return TinyStoriesDataset(
        "train", 16, folder() / "cache", "bytes", folder() / "stories.txt"
    ).prepare_data()


@lru_cache(None)
def problem():
    return plain().problem


@lru_cache(None)
def calibration():
    from flops_fit.trainer.found_rates import Calibration
    from flops_fit.planner.recipe import PowerRate, Recipe

    rows = [
        dict(size=s, num_params=n, num_tokens=1e5, lr=r, loss=2 + np.log(r / 0.003) ** 2 * 0.1)
        for s, n in ((8, 1e4), (16, 3e4))
        for r in (0.001, 0.003, 0.01)
    ]
    return Calibration(
        rows,
        [
            dict(size=8, num_params=10_000, lr=0.003, edge=False),
            dict(size=16, num_params=30_000, lr=0.003, edge=False),
        ],
        PowerRate(0.003, -0.1),
        Recipe(lr=PowerRate(0.003, -0.1)),
    )


@lru_cache(None)
def rate_check():
    from flops_fit.trainer.rate_check import RateCheck

    return RateCheck(
        [
            dict(size=8, num_params=10_000, planned_lr=0.003, lr=r, loss=2.0)
            for r in (0.001, 0.003, 0.01)
        ],
        [],
    )


@lru_cache(None)
def verification():
    return result().verify(1e11)


def picture():
    from matplotlib.figure import Figure

    return Figure().add_subplot()


# fits


def _fitter():
    from flops_fit.fitter.ceiling import fit_bounded
    from flops_fit.fitter import (
        ceiling,
        curves as u,
        lawfit,
        laws,
        parametric as fitter,
        power_law,
        repeats as r,
    )

    good("parametric.fit_parametric", fitter.fit_parametric, columns, weight=14)
    for law in ("coupled", "bounded", "kaplan", "data_constrained", "repeats"):
        extra = dict(unique_tokens=1e9) if law in ("data_constrained", "repeats") else {}
        extra = dict(baseline_loss=10.8) if law == "bounded" else extra
        good(
            f"parametric.fit_parametric, {law}",
            fitter.fit_parametric,
            lambda law=law, extra=extra: columns(law=law, **extra),
            weight=2,
        )
    good(
        "parametric.fit_parametric, options",
        fitter.fit_parametric,
        lambda: columns(
            objective="huber",
            delta=1e-3,
            weights=np.ones(20),
            groups=runs().trunk.to_numpy(),
            fixed={"E": 1.7},
            tied={"beta": "alpha"},
            bounds={"A": (1.0, 1e6)},
            loss_se=np.full(20, 0.01),
            unique_tokens=1e10,
            compute=runs().flops.to_numpy(),
            flops_factor=6.0,
            starts=dict(E=[1.5], A=[300.0], B=[300.0], alpha=[0.3], beta=[0.3]),
        ),
        weight=8,
    )
    good(
        "power_law.fit_power_law",
        power_law.fit_power_law,
        lambda: dict(x=[1e18, 3e18, 1e19, 3e19, 1e20], y=[1e8, 1.8e8, 3e8, 5.5e8, 1e9]),
        weight=6,
    )
    good(
        "power_law.fit_power_law, floor",
        power_law.fit_power_law,
        lambda: dict(
            x=np.geomspace(1, 1e4, 8),
            y=3 * np.geomspace(1, 1e4, 8) ** -0.5 + 0.5,
            floor=True,
            y_se=np.full(8, 0.01),
        ),
        weight=3,
    )
    good(
        "curves.fit_isoflop",
        u.fit_isoflop,
        lambda: columns(budgets=runs().flops.to_numpy()),
        weight=6,
    )
    good(
        "curves.isoflop_minima",
        u.isoflop_minima,
        lambda: columns(budgets=runs().flops.to_numpy()),
        weight=2,
    )
    good(
        "curves.fit_envelope",
        u.fit_envelope,
        lambda: dict(
            N=curves().N.to_numpy(), D=curves().D.to_numpy(), loss=curves().loss.to_numpy()
        ),
        weight=6,
    )
    good("power_law.PowerLawFit.predict", power_predict, lambda: dict(x=[1e19, 1e21]), weight=3)
    good(
        "power_law.PowerLawFit.predict, interval",
        power_predict,
        lambda: dict(x=[1e19, 1e21], interval=True),
        weight=2,
    )
    good(
        "curves.IsoFlopFit.curve",
        lambda budget, N: isoflop().curve(budget, N),
        lambda: dict(budget=1e18, N=[1e7, 1e8]),
        weight=2,
    )
    names = "CHINCHILLA COUPLED BOUNDED KAPLAN DATA_CONSTRAINED COUPLED_REPEATS BOUNDED_REPEATS"
    names = names.split()
    for name in names:
        law = getattr(laws, name)
        p = (
            dict(E=1.7, A=400.0, B=410.0, alpha=0.34, beta=0.28)
            | (dict(g=0.7) if "g" in law.params else {})
            | (dict(L0=5.5) if "L0" in law.params else {})
            | (dict(R_D=15.0, R_N=5.0) if "R_D" in law.params else {})
        )
        if law is laws.KAPLAN:
            p.pop("E")
        good(
            f"laws.{name}", law, lambda p=p: dict(N=1e9, D=2e10, unique_tokens=None, **p), weight=2
        )
    p = dict(E=1.7, A=400.0, B=410.0, alpha=0.34, beta=0.28)
    good(
        "laws.checked_counts",
        laws.checked_counts,
        lambda: dict(N=[1e9, 1e10], D=2e10, unique_tokens=1e9),
    )
    good(
        "laws.Law.from_function",
        laws.Law.from_function,
        lambda: dict(
            fn=lambda N, D, E, A, a: E + A / N**a,
            name="mine",
            real=(),
            start={"A": 10.0},
            equation="E + A/N^a",
        ),
    )
    good(
        "laws.Law",
        laws.Law,
        lambda: dict(
            name="mine",
            params=("E",),
            evaluate=lambda theta, x, y, u=None, grad=True: (np.exp(theta), None),
        ),
    )
    fits = dict(coupled=coupled, plain=plain, repeats=repeats)
    for which, fit in fits.items():
        w, tag = (1.0, "") if which == "coupled" else (0.4, f", {which}")
        m = lambda name, args=dict, weight=1.0, **kw: good(
            f"lawfit.LawFit.{name}{tag}",
            _method(fit, lawfit.LawFit, name),
            args,
            weight=w * weight,
            **kw,
        )
        m("predict", lambda: dict(N=[1e8, 1e9], D=2e9), 4)
        m(
            "predict",
            lambda: dict(N=[1e8, 1e9], D=2e9, interval="prediction", unique_tokens=1e9, level=0.9),
            3,
        )
        m(
            "optimum",
            lambda: dict(C=[1e19, 1e21], unique_tokens=None, inference_tokens=0.0, level=0.9),
            5,
        )
        m(
            "conf_int",
            lambda: dict(level=0.9, method=None, n_boot=40, C=1e20),
            3,
            blank=(r"\.(lower|upper)$",),
        )  # an end that the runs leave open is infinite
        m("bootstrap", lambda: dict(n=20, kind=None, seed=0), 1)
        m("draws", lambda: dict(n=20, seed=0), 1)
        m("optimum_draws", lambda: dict(C=[1e20], n=20, seed=0), 1)
        m("simulate", lambda: dict(n=2, seed=0), 1)
        m("table", lambda: dict(level=0.9), 1)
        m("summary", lambda: dict(level=0.9), 1)
        m("penalty", lambda: dict(C=1e20, times=2.0, level=0.95), 2)
        m(
            "budget_for",
            lambda: dict(loss=2.3, unique_tokens=None, inference_tokens=0.0, level=0.95),
            2,
            blank=("compute_upper", "optimal_"),
        )  # a loss the interval's end never reaches
        m("warnings_at", lambda: dict(C=1e22, unique_tokens=1e10), 1)
        m(
            "to_dict",
            dict,
            0.1,
            blank=("df", "delta", "condition", "lower", "upper", r"\.c$", "theta"),
        )  # JSON has no infinity: it is a text there
        for name in ("params", "num_runs", "residuals", "max_compute", "off_valley", "too_far"):
            good(f"lawfit.LawFit.{name}{tag}", look(fit, name), weight=0.1)
    good(
        "lawfit.LawFit.from_dict",
        lawfit.LawFit.from_dict,
        lambda: dict(d=plain().to_dict(), law=None),
        weight=4,
    )
    good(
        "lawfit.Answer.to_dataframe", lambda: lawfit.Answer(a=1.0, b=2.0).to_dataframe(), weight=0.1
    )
    good("repeats.fit_repeats", r.fit_repeats, lambda: dict(coupled=coupled(), unique_tokens=1e9))
    good("ceiling.fit_bounded", fit_bounded, lambda: dict(coupled=coupled(), baseline_loss=10.8))
    for f in ceiling.ceiling_evidence, ceiling.ceiling_suits:
        good(
            f"ceiling.{f.__name__}",
            f,
            lambda: dict(bounded=fit_bounded(coupled(), 10.8), coupled=coupled()),
            weight=0.5,
        )


def power_predict(x, interval=False, level=0.95):
    return power().predict(x, interval, level)


def _method(of, cls, name):
    "A method of what `of()` gives, with the signature that it has."
    import inspect

    raw = inspect.getattr_static(cls, name)
    raw = raw.__func__ if isinstance(raw, (classmethod, staticmethod)) else raw

    def call(**kw):
        return getattr(of(), name)(**kw)

    sig = inspect.signature(raw)
    call.__signature__ = sig.replace(
        parameters=[p for n, p in sig.parameters.items() if n not in ("self", "cls")]
    )
    return call


# tables of runs and what is made of them

TABLE = ("loss_se", "compute_budget", "unique_tokens", "log_se", "source", "experiment_id")


def odd_analysis(runs, columns=None, flops_factor=6.0, C=None, unique_tokens="data"):
    "Everything that an analysis of runs is asked by one who reads it."
    from flops_fit.fitter.analyzer import ScalingLawAnalyzer
    from flops_fit.errors import FitError

    a = ScalingLawAnalyzer(runs, columns=columns, flops_factor=flops_factor).analyze()
    out = dict(said=repr(a), summary=a.summary(), next=a.next_step, html=a._repr_html_())
    for what, question in (
        ("predict", lambda: a.predict(a.max_compute * 10 if C is None else C, unique_tokens)),
        ("table", lambda: a.chinchilla_table([a.max_compute, 30 * a.max_compute])),
        ("approaches", lambda: a.approaches()),
    ):
        try:
            out[what] = question()
        except FitError:
            pass  # these runs do not say
    return out


def odd_runs(seed):
    """Runs that might be: few or many, noisy or not, in odd units, of one size, of one budget, of
    curves."""

    def make():
        rng = np.random.default_rng(seed)
        n = int(rng.choice([1, 2, 5, 6, 7, 9, 16, 40]))
        N = 10 ** rng.uniform(*rng.choice([(3, 5), (7, 9), (8, 8.001), (0, 12)]), size=n)
        D = 10 ** rng.uniform(*rng.choice([(4, 6), (9, 11), (10, 10.001), (0, 14)]), size=n)
        if rng.random() < 0.3:
            D = 20 * N
        if rng.random() < 0.3:
            D = 10.0 ** rng.choice([17, 18, 19, 20]) / 6 / N
        loss = (
            rng.choice([0.0, 0.01, 1.7])
            + rng.uniform(1, 1e3) / N ** rng.uniform(-0.1, 1)
            + rng.uniform(1, 1e3) / D ** rng.uniform(-0.1, 1)
        )
        loss = (
            loss
            * np.exp(rng.normal(size=n) * rng.choice([0, 1e-12, 1e-3, 0.3, 3]))
            * rng.choice([1, 1, 1, 1e-6, 1e6])
        )
        return dict(runs=pd.DataFrame(dict(N=N, D=D, loss=loss)))

    return make


OPEN = (r"\.approaches\.",)  # what an approach does not determine is NaN there


@lru_cache(None)
def as_read():
    from flops_fit.fitter.table import read_runs

    return read_runs(runs())


def _tables():
    from flops_fit import result as s, text
    from flops_fit.fitter import (
        analysis as a,
        analyzer,
        agreement,
        diagnostics as d,
        reach as re,
        select as sel,
        shape as sh,
        table as r,
    )
    from flops_fit.plotter import plots as plotter

    good(
        "table.read_runs",
        r.read_runs,
        lambda: dict(source=runs().copy(), columns=None, flops_factor=6.0),
        weight=8,
        blank=TABLE,
    )
    good(
        "table.read_runs, dicts",
        r.read_runs,
        lambda: dict(source=runs().to_dict("records"), columns={"loss": "loss"}),
        weight=4,
        blank=TABLE,
    )
    good(
        "table.read_runs, lists",
        r.read_runs,
        lambda: dict(source={k: [*v] for k, v in columns().items()}),
        weight=4,
        blank=TABLE,
    )
    good("table.read_runs, file", r.read_runs, lambda: dict(source=_csv()), weight=1, blank=TABLE)
    good("table.notes_of", r.notes_of, lambda: dict(table=r.read_runs(runs().copy())), weight=1)
    good(
        "table.isoflop_budgets",
        r.isoflop_budgets,
        lambda: dict(N=columns()["N"], C=runs().flops.to_numpy(), width=0.13),
        weight=2,
        blank=("answer",),
    )  # NaN where a run belongs to none
    good(
        "analyzer.ScalingLawAnalyzer",
        analyzer.ScalingLawAnalyzer,
        lambda: dict(runs=runs().copy(), columns=None, flops_factor=6.0),
        weight=2,
    )
    good(
        "analyzer.ScalingLawAnalyzer.analyze",
        odd_analysis,
        lambda: dict(runs=runs().copy()),
        weight=0.5,
        blank=OPEN,
    )
    for seed in range(16):
        good(
            f"analyzer.ScalingLawAnalyzer.analyze, odd {seed}",
            odd_analysis,
            odd_runs(seed),
            weight=0.04,
            refused=True,
            blank=OPEN,
        )
    m = lambda name, args=dict, weight=1.0, **kw: good(
        f"analysis.ScalingAnalysis.{name}",
        _method(analysis, a.ScalingAnalysis, name),
        args,
        weight=weight,
        **kw,
    )
    m(
        "approaches", lambda: dict(C=1e21), blank=(".",)
    )  # what an approach does not determine is NaN
    m("disagreements", lambda: dict(C=1e21))
    m("predict", lambda: dict(C=1e21, unique_tokens=1e9), 5)
    m("predict_optimal_size", lambda: dict(C=1e21), 2)
    m("chinchilla_table", lambda: dict(compute_budgets=[1e19, 1e22], unique_tokens="data"), 4)
    m("summary", dict, 0.1)
    for name in (
        "simulated",
        "max_compute",
        "optimal_ratio",
        "unique_tokens",
        "next_step",
        "disagreement",
    ):
        good(f"analysis.ScalingAnalysis.{name}", look(analysis, name), weight=0.05)
    good("text.human", text.human, lambda: dict(x=1.23e9, digits=3))
    good("text.flop", text.flop, lambda: dict(C=1e20))
    good(
        "text.between",
        text.between,
        lambda: dict(values=dict(a=1.0, a_lower=0.5, a_upper=2.0), name="a", show=text.human),
    )
    good(
        "diagnostics.design_warnings",
        d.design_warnings,
        lambda: dict(N=columns()["N"], D=columns()["D"], C=runs().flops.to_numpy()),
    )
    good(
        "diagnostics.grid_edges",
        d.grid_edges,
        lambda: dict(N=columns()["N"], loss=columns()["loss"], budgets=runs().flops.to_numpy()),
    )
    good(
        "table.columns_beside",
        r.columns_beside,
        lambda: dict(source=runs().assign(lr=0.1), columns=None),
        blank=TABLE,
    )
    beside = lambda: pd.DataFrame(dict(lr=[0.1, 0.2] * 10, optimizer=["a", "b"] * 10))
    good("shape.settings_tried", sh.settings_tried, lambda: dict(runs=as_read(), others=beside()))
    good(
        "shape.best_of_settings", sh.best_of_settings, lambda: dict(runs=as_read(), others=beside())
    )
    good("shape.labels", sh.labels, lambda: dict(fit=coupled(), others=beside()))
    good("shape.label_warnings", sh.label_warnings, lambda: dict(fit=coupled(), others=beside()))
    good(
        "shape.explained_by",
        sh.explained_by,
        lambda: dict(fit=coupled(), codes=[0, 1, 1, 0] * 5),
        blank=("answer",),
    )  # NaN where nothing can be tested
    good(
        "reach.fall_in_trunks",
        re.fall_in_trunks,
        lambda: dict(fit=coupled()),
        weight=0.1,
        blank=("answer",),
    )  # NaN without trunks
    good("reach.widened", re.widened, lambda: dict(fit=coupled(), fall=-0.01), weight=0.3)
    for name in (
        "annealing_warnings",
        "missing_side",
        "bracketing_runs",
        "bracketing",
        "side_warnings",
    ):
        good(f"reach.{name}", getattr(re, name), lambda: dict(fit=coupled()), weight=0.1)
    good("select.influence", sel.influence, lambda: dict(fit=coupled(), C=1e21), weight=0.5)
    good(
        "select.held_out",
        sel.held_out,
        lambda: dict(fit=plain(), h=2.5, near=4.0, unique_tokens=None),
        weight=0.3,
    )
    good(
        "select.held_out_at_top",
        sel.held_out_at_top,
        lambda: dict(fit=coupled(), unique_tokens=None),
        weight=0.1,
    )
    good("select.check_fit", sel.check_fit, lambda: dict(fit=coupled(), name="fit"), weight=0.1)
    good("select.check_budget", sel.check_budget, lambda: dict(C=1e21, optional=False), weight=0.1)
    good(
        "select.choose_law",
        sel.choose_law,
        lambda: dict(new=coupled(), repeats=repeats(), held=pd.DataFrame()),
        weight=0.3,
    )
    good(
        "agreement.parabola_bias",
        agreement.parabola_bias,
        lambda: dict(
            fit=coupled(), N=columns()["N"], budgets=runs().flops.to_numpy(), C=1e21, degree=2
        ),
        weight=0.7,
        blank=("answer",),
    )  # NaN where it finds no valley
    good(
        "agreement.disagreements",
        agreement.disagreements,
        lambda: dict(table=analysis().approaches(1e21), C=1e21, bias=None),
    )
    good("diagnostics.diagnose", d.diagnose, lambda: dict(obj=coupled(), C=1e21), weight=0.3)
    good("diagnostics.next_step", d.next_step, lambda: dict(analysis=analysis()), weight=0.5)
    for name in ("isoflops", "scaling_laws", "tokens_per_param", "loss", "residuals"):
        extra = (
            dict(against="num_params")
            if name == "residuals"
            else dict(C=1e21)
            if name != "isoflops"
            else {}
        )
        good(
            f"plots.plot_{name}",
            getattr(plotter, f"plot_{name}"),
            lambda extra=extra: dict(analysis=analysis(), ax=picture(), **extra),
            weight=0.25,
        )
    good(
        "plots.ScalingVisualizer",
        plotter.ScalingVisualizer,
        lambda: dict(analysis=analysis()),
        weight=0.5,
    )
    shown = lru_cache(None)(lambda: plotter.ScalingVisualizer(analysis()))
    for name in ("plot_isoflops", "plot_scaling_laws", "plot_tokens_per_param"):
        good(
            f"plots.ScalingVisualizer.{name}",
            _method(shown, plotter.ScalingVisualizer, name),
            lambda: dict(ax=picture()),
            weight=0.1,
        )
    good(
        "plots.ScalingVisualizer.plot_all",
        _method(shown, plotter.ScalingVisualizer, "plot_all"),
        lambda: dict(path="plots", dpi=20),
        weight=0.03,
    )
    for which, res in (("", elsewhere), (", of a sweep", result)):
        m = lambda name, args=dict, weight=1.0, **kw: good(
            f"result.Result.{name}{which}", _method(res, s.Result, name), args, weight=weight, **kw
        )
        m("predict", lambda: dict(compute_budget=1e20, unique_tokens="data"), 2)
        m("chinchilla_table", lambda: dict(compute_budgets=[1e19, 1e20], unique_tokens="data"), 2)
        m("plot", lambda: dict(show=False), 0.02)
        m("figure", lambda: dict(width=6.0), 0.1)
        m("summary", dict, 0.1)
        m("to_dataframe", dict, 0.1, blank=TABLE)
        m("plan_at", lambda: dict(compute_budget=1e11, factors=(1.0, 1.5)), 1)
        m("save", lambda: dict(path="saved"), 0.2)
        for name in ("simulated", "law", "warnings", "max_compute", "next_step"):
            good(f"result.Result.{name}{which}", look(res, name), weight=0.05)
    GOOD["result.Result.plan_at"].refused = True  # it has no plan
    good(
        "result.Result.verify",
        _method(result, s.Result, "verify"),
        lambda: dict(compute_budget=1e11, neighbours=1.5),
        weight=0.2,
        blank=("loss_se",),
    )
    good(
        "result.Result.from_runs",
        s.Result.from_runs,
        lambda: dict(runs=runs().copy(), columns=None, flops_factor=6.0),
        weight=0.5,
        blank=TABLE,
    )
    good(
        "result.Result.from_sweep",
        s.Result.from_sweep,
        lambda: dict(plan=result().plan, runs=result().runs, output_dir=None, task=None),
        weight=0.4,
        blank=(*TABLE, r"\.task"),
    )
    for name in ("error", "inside"):
        good(f"verification.Verification.{name}", look(verification, name), weight=0.05)
    good(
        "verification.Verification.to_dataframe",
        lambda: verification().to_dataframe(),
        weight=0.05,
        blank=("loss_se",),
    )


@lru_cache(None)
def _csv():
    runs().to_csv(folder() / "runs.csv", index=False)
    return str(folder() / "runs.csv")


# models, data, plans

GIVEN = (r"\.(dataset|indices|model_kwargs|task|dropped|counts)",)  # what the user gave, as it came


def _sweeps():
    from flops_fit import core, errors as e
    from flops_fit.planner import (
        contract as k,
        dataset as d,
        flops as f,
        layout,
        loss,
        recipe as r,
        sample,
        sweep_design as p,
    )
    from flops_fit.trainer import (
        calibration as c,
        found_rates,
        evaluation as v,
        loggers as l,
        rate_check as rc,
        rates,
    )

    good(
        "sample.split_sample",
        lambda sample: bool(d.split_sample(sample)),
        lambda: dict(sample=(torch.ones(2), torch.ones(2))),
    )  # it gives back what it was given
    good("sample.Pair", lambda: len(sample.Pair(*xor_data(40))), weight=0.05)
    good(
        "dataset.wrap_dataset",
        d.wrap_dataset,
        lambda: dict(dataset=xor_data(40), tokens_per_sample=1),
        weight=3,
        blank=GIVEN,
    )
    good(
        "dataset.validate_dataset",
        d.validate_dataset,
        lambda: dict(dataset=xor_data(40), batch_size=2),
        weight=3,
        blank=GIVEN,
    )
    good(
        "dataset.hold_out",
        d.hold_out,
        lambda: dict(source=d.wrap_dataset(xor_data(40)), num_tokens=10),
        weight=2,
        blank=GIVEN,
    )
    good(
        "dataset.DataSource",
        d.DataSource,
        lambda: dict(dataset=xor_data(40), tokens_per_sample=1, num_samples=40, name="xor"),
        blank=GIVEN,
    )
    good(
        "dataset.DataSource.stream",
        lambda skip=0: next(d.wrap_dataset(torch.utils.data.DataLoader(_Flow())).stream(skip)),
        lambda: dict(skip=2),
        weight=0.5,
    )
    good("dataset.DataSource.some", lambda: source().some(2), weight=0.05)
    good("dataset.DataSource.num_tokens", look(source, "num_tokens"), weight=0.05)
    good("dataset.DataSource.fingerprint", lambda: source().fingerprint(), weight=0.05)
    model = lambda **kw: dict(model_cls=Net, model_size_param="width", **kw)
    good(
        "contract.create_model",
        k.create_model,
        lambda: model(size=8, model_kwargs={"out": 2}, device="meta"),
        weight=3,
    )
    good("contract.model_num_params", k.model_num_params, lambda: dict(model=net()))
    good(
        "contract.create_models_at_sizes",
        k.create_models_at_sizes,
        lambda: model(sizes=[8, 16], model_kwargs={"out": 2}, device="meta"),
        weight=2,
    )
    good(
        "contract.validate_model_contract",
        k.validate_model_contract,
        lambda: model(model_kwargs={"out": 2}, sizes=(8, 16)),
        weight=2,
    )
    good(
        "loss.validate_loss_fn",
        loss.validate_loss_fn,
        lambda: dict(loss_fn=F.cross_entropy, model=net(), batch=tuple(t[:2] for t in xor_data(4))),
        weight=2,
    )
    good(
        "contract.make_task",
        k.make_task,
        lambda: model(
            model_kwargs={},
            dataset=xor_data(40),
            loss_fn=F.cross_entropy,
            eval_tokens=10,
            metrics={"mean": lambda o, t: o.mean()},
        ),
        weight=3,
        blank=GIVEN,
    )
    good(
        "contract.check_task",
        k.check_task,
        lambda: dict(task=task(), size=8, batch_size=2),
        weight=1,
    )
    good("contract.Task", k.Task, lambda: model(), blank=GIVEN)
    good(
        "contract.Task.build",
        lambda size, device=None: task().build(size, device),
        lambda: dict(size=8, device="meta"),
    )
    good("contract.Task.describe", lambda: task().describe(), weight=0.05)
    good("flops.count_params", f.count_params, lambda: dict(model=net()))
    good(
        "flops.training_flops",
        f.training_flops,
        lambda: dict(num_params=1e9, num_tokens=2e10, flops_per_param_per_token=6),
        weight=3,
    )
    good(
        "flops.exact_flops",
        f.exact_flops,
        lambda: dict(task=task(), size=8, flops_per_param_per_token=6, batch_size=2),
        weight=0.5,
    )
    good("flops.check_flops", f.check_flops, lambda: dict(flops=6), weight=0.3)
    for name in ("ratio", "factor"):
        good(
            f"flops.FlopCount.{name}",
            look(lambda: f.FlopCount(1e3, 2e3, 100, 50), name),
            weight=0.05,
        )
    good("recipe.batch_tokens_rule", r.batch_tokens_rule, lambda: dict(num_params=1e8))
    good(
        "recipe.lr_rule",
        r.lr_rule,
        lambda: dict(num_params=1e8, batch_tokens=1e5, param_groups=False),
    )
    good("recipe.PowerRate", r.PowerRate, lambda: dict(rate=0.003, exponent=-0.3, horizon=-0.1))
    good(
        "recipe.PowerRate, called",
        lambda num_params, num_tokens=None: r.PowerRate(0.003, -0.3, -0.1)(num_params, num_tokens),
        lambda: dict(num_params=1e7, num_tokens=1e9),
    )
    good(
        "recipe.Recipe",
        r.Recipe,
        lambda: dict(lr=0.01, batch_tokens=1e5, betas=(0.9, 0.95), min_steps=100),
        weight=8,
    )
    of = lambda name, args: good(
        f"recipe.Recipe.{name}", _method(lambda: RECIPE, r.Recipe, name), args
    )
    of("batch_size", lambda: dict(num_params=1e6, num_tokens=1e8, tokens_per_sample=64))
    of(
        "peak_lr",
        lambda: dict(num_params=1e6, num_tokens=1e8, batch_tokens=1e4, param_groups=False),
    )
    of(
        "warmup_steps",
        lambda: dict(num_params=1e6, num_tokens=1e8, batch_tokens=1e4, num_steps=1000),
    )
    of("cooldown_steps", lambda: dict(num_steps=100))
    of("hold_steps", lambda: dict(num_params=1e6, batch_tokens=1e4))
    of("decides", dict)
    of("lr_factor", lambda: dict(step=3, num_steps=100, warmup_steps=10, hold_steps=20))
    of("to_dict", dict)
    good("recipe.Recipe.from_dict", r.Recipe.from_dict, lambda: dict(d=RECIPE.to_dict()), weight=2)
    good(
        "sweep_design.guess_optimum",
        p.guess_optimum,
        lambda: dict(compute_budget=1e20, flops_per_param_per_token=6, tokens_per_param=20.0),
        weight=2,
    )
    good(
        "sweep_design.check_budgets",
        p.check_budgets,
        lambda: dict(compute_budgets=[1e7, 1e8]),
        weight=0.5,
    )
    good("layout.Cell", lambda: layout.Cell(1e9, 8, 600, 1e9 / 3600), weight=0.05)
    good(
        "layout.Cell.refusal",
        lambda: layout.Cell(1e6, 8, 600, 30.0).refusal(RECIPE, 1),
        weight=0.05,
    )
    good(
        "sweep_design.plan_sweep",
        p.plan_sweep,
        lambda: model(
            compute_budgets=[1e7, 1e8],
            num_sizes=3,
            recipe=RECIPE,
            flops=6,
            seeds=(0,),
            tokens_per_sample=1,
            span=3.0,
            tokens_per_param=20.0,
            size_multiple=4,
        ),
        weight=3,
    )
    good(
        "sweep_design.plan_sweep, sizes",
        p.plan_sweep,
        lambda: model(
            compute_budgets=BUDGETS,
            sizes=SIZES,
            recipe=RECIPE,
            dataset=xor_data(400),
            loss_fn=F.cross_entropy,
        ),
        weight=2,
    )
    good(
        "sweep_design.plan_optimum",
        p.plan_optimum,
        lambda: dict(
            task=task(),
            compute_budget=1e8,
            targets=[1e3],
            recipe=RECIPE,
            flops=6,
            tokens_per_sample=1,
        ),
        weight=1,
    )
    good(
        "core.find_optimal",
        core.find_optimal,
        lambda: model(
            model_kwargs={},
            dataset=xor_data(400),
            loss_fn=F.cross_entropy,
            compute_budgets=BUDGETS,
            train=False,
            mode="local",
            output_dir="out",
            recipe=RECIPE,
            sizes=SIZES,
            progress=False,
        ),
        weight=2,
        keep=("train",),
    )
    good(
        "core.find_optimal, mock",
        core.find_optimal,
        lambda: model(
            compute_budgets=[1e9, 3e9, 1e10],
            mode="mock",
            output_dir=tempfile.mkdtemp(),
            recipe=RECIPE,
            sizes=[8, 16, 32],
            progress=False,
        ),
        weight=0.15,
        blank=TABLE,
        keep=("train", "mode"),
    )
    good(
        "evaluation.is_out_of_memory",
        v.is_out_of_memory,
        lambda: dict(error=RuntimeError("out of memory")),
        weight=0.3,
    )
    good("evaluation.free_memory", v.free_memory, weight=0.01)
    good("evaluation.PeakMemory", v.PeakMemory, lambda: dict(device="cpu"), weight=0.3)
    good("evaluation.PeakMemory.read", lambda: v.PeakMemory("cpu").read(), weight=0.05)
    good(
        "evaluation.measure",
        v.measure,
        lambda: dict(
            model=net(),
            source=source(),
            fns=dict(loss=F.cross_entropy),
            num_tokens=64,
            device="cpu",
        ),
    )
    good(
        "evaluation.evaluate",
        v.evaluate,
        lambda: dict(
            model=net(), source=source(), loss_fn=F.cross_entropy, num_tokens=64, device="cpu"
        ),
    )
    good("loggers.TensorBoardLogger", l.TensorBoardLogger, lambda: dict(folder="board"), weight=0.3)
    good("loggers.WandbLogger", l.WandbLogger, lambda: dict(project="mine"), weight=0.3)
    good(
        "rates.best_rate",
        rates.best_rate,
        lambda: dict(tried={0.001: 2.3, 0.003: 2.1, 0.01: 2.4}),
        weight=2,
    )
    good(
        "rates.fit_rates",
        rates.fit_rates,
        lambda: dict(best=[(1e5, 0.01), (1e6, 0.005)], exponent=-0.33, sd=0.2, noise=0.2),
        weight=2,
    )
    good(
        "rates.rate_spread",
        rates.rate_spread,
        lambda: dict(best=[(1e5, 2e6, 0.01), (1e5, 2e7, 0.005)], num_params=1e7, num_tokens=1e9),
        weight=2,
    )
    for name, args in (
        ("spread", dict(num_params=1e7, num_tokens=1e9)),
        ("cost", dict(num_params=1e7, num_tokens=1e9)),
        ("warnings_at", dict(num_params=1e7)),
    ):
        good(
            f"found_rates.Calibration.{name}",
            _method(calibration, found_rates.Calibration, name),
            args.copy,
        )
    good(
        "found_rates.rate_error",
        found_rates.rate_error,
        lambda: dict(folder=folder(), plan=plan(), runs=[]),
        weight=0.3,
    )
    good("found_rates.Calibration.to_dataframe", lambda: calibration().to_dataframe(), weight=0.05)
    good("found_rates.Calibration.plot", lambda axes=None: calibration().plot(axes), weight=0.1)
    good(
        "found_rates.Calibration.save",
        lambda path: calibration().save(path),
        lambda: dict(path="calibration.json"),
        weight=0.5,
    )
    good(
        "found_rates.Calibration.load",
        found_rates.Calibration.load,
        lambda: dict(path="calibration.json"),
        weight=0.5,
    )
    good(
        "calibration.calibrate",
        c.calibrate,
        lambda: dict(
            task=task(),
            compute_budgets=[2e5],
            recipe=RECIPE,
            output_dir=folder() / "rates",
            progress=False,
            factors=(1,),
        ),
        weight=0.1,
        keep=("output_dir",),
    )
    good("rate_check.RateCheck.ok", look(rate_check, "ok"), weight=0.05)
    good("rate_check.RateCheck.to_dataframe", lambda: rate_check().to_dataframe(), weight=0.05)
    good("rate_check.RateCheck.plot", lambda ax=None: rate_check().plot(ax), weight=0.1)
    good(
        "rate_check.check_rates",
        rc.check_rates,
        lambda: dict(
            task=task(),
            plan=plan(),
            output_dir=folder() / "checked",
            factors=(1.5,),
            progress=False,
        ),
        weight=0.1,
        keep=("output_dir", "task"),
    )
    good(
        "errors.ContractError",
        e.ContractError,
        lambda: dict(what="a", expected="b", got="c", fix="d"),
        weight=0.3,
        blank=(".",),
        keep=("what", "expected", "fix"),
    )  # it says whatever came
    good(
        "errors.as_floats", e.as_floats, lambda: dict(value=[1, 2]), weight=0.5, blank=("answer",)
    )  # NaN for None
    good(
        "errors.check_device",
        e.check_device,
        lambda: dict(value="cpu", what="device"),
        keep=("what", "fix", "error", "optional"),
        weight=0.5,
    )
    good(
        "errors.check_room",
        e.check_room,
        lambda: dict(num_params=10, what="it"),
        keep=("what", "fix", "error", "num_params"),
        weight=0.05,
    )
    good(
        "errors.shown", e.shown, lambda: dict(value=3, most=80), weight=0.5, blank=("answer",)
    )  # it shows whatever came
    good(
        "errors.as_number", e.as_number, lambda: dict(value=3), weight=0.5, blank=("answer",)
    )  # or not finite
    for name, args in dict(
        number=dict(value=3, least=1),
        numbers=dict(value=[1, 2], above=0),
        choice=dict(value="a", choices=("a", "b")),
        callable=dict(value=len),
        text=dict(value="a"),
        bool=dict(value=True),
        path=dict(value="a"),
    ).items():
        good(
            f"errors.check_{name}",
            getattr(e, f"check_{name}"),
            lambda args=args: dict(what="it", **args),
            blank=("answer",),
            keep=(
                "what",
                "fix",
                "error",
                "kinds",
                "choices",
                "least",
                "above",
                "most",
                "below",
                "n",
                "fewest",
                "expected",
                "optional",
                "whole",
                "scalar",
                "ndim",
            ),
        )
    good(
        "errors.check_kind",
        e.check_kind,
        lambda: dict(value=3, what="it", kinds=int, expected="an int"),
        blank=(".",),
        keep=("what", "fix", "error", "kinds", "expected", "optional"),
    )


class _Flow(torch.utils.data.IterableDataset):
    def __iter__(self):
        return iter([(torch.ones(2), torch.tensor(1)) for _ in range(5)])


# what ships as examples


def on_meta(build):
    "Shapes alone: a network of many gigabytes takes its time and is no mistake."
    import inspect

    def call(**kw):
        with torch.device("meta"):
            return build(**kw)

    call.__signature__ = inspect.signature(build)
    return call


def _examples():
    from flops_fit.examples import (
        cifar,
        corpus as c,
        generate as g,
        gpt as m,
        smalllm as s,
        tinystories as t,
        vit as v,
    )

    good(
        "examples.gpt_config.GPTConfig",
        m.GPTConfig,
        lambda: dict(
            vocab_size=64,
            d_model=16,
            num_layers=1,
            num_heads=2,
            d_ff=32,
            max_seq_len=16,
            dropout=0.1,
            base_std=0.02,
        ),
        weight=4,
    )
    good(
        "examples.gpt_config.GPTConfig.smalllm",
        m.GPTConfig.smalllm,
        lambda: dict(d_model=96),
        weight=0.5,
    )
    good("examples.gpt_config.GPTConfig.head_dim", look(config, "head_dim"), weight=0.05)
    good("examples.gpt.GPT", m.GPT, lambda: dict(config=config()), weight=1)
    good(
        "examples.gpt.GPT.num_params",
        lambda non_embedding=False: gpt().num_params(non_embedding),
        lambda: dict(non_embedding=True),
        weight=0.5,
    )
    good(
        "examples.gpt.GPT.param_groups",
        lambda lr, weight_decay=0.0: gpt().param_groups(lr, weight_decay),
        lambda: dict(lr=0.01, weight_decay=0.1),
    )
    good("examples.gpt.GPT.init_weights", lambda: gpt().init_weights(), weight=0.02)
    good(
        "examples.gpt_config.estimate_params_from_config",
        m.estimate_params_from_config,
        lambda: dict(cfg=config(), non_embedding=False),
    )
    good(
        "examples.gpt_config.estimate_model_flops",
        m.estimate_model_flops,
        lambda: dict(cfg=config(), num_tokens=10, seq_len=8),
    )
    good(
        "examples.gpt.create_model_for_scaling",
        on_meta(m.create_model_for_scaling),
        lambda: dict(target_params=1e5, vocab_size=64, max_seq_len=16),
        weight=0.5,
    )
    good("examples.gpt.byte_gpt", on_meta(m.byte_gpt), lambda: dict(d_model=16))
    good(
        "examples.vit.VisionTransformer",
        on_meta(v.VisionTransformer),
        lambda: dict(
            d_model=16,
            patch_size=4,
            num_layers=1,
            num_heads=2,
            d_ff=32,
            image_size=8,
            channels=3,
            num_classes=10,
        ),
        weight=2,
    )
    good("examples.vit.VisionTransformer.num_params", lambda: vit().num_params(), weight=0.05)
    good("examples.vit.VisionTransformer.init_weights", lambda: vit().init_weights(), weight=0.02)
    good(
        "examples.vit.VisionTransformer.param_groups",
        lambda lr, weight_decay=0.0: vit().param_groups(lr, weight_decay),
        lambda: dict(lr=0.01, weight_decay=0.1),
    )
    good(
        "examples.generate.token_probs",
        g.token_probs,
        lambda: dict(logits=torch.arange(8.0), temperature=1.0, top_k=3, top_p=0.9),
        weight=2,
    )
    good(
        "examples.generate.generate",
        g.generate,
        lambda: dict(
            model=gpt(), prompt="a", max_new_tokens=2, temperature=1.0, top_k=3, top_p=0.9, seed=0
        ),
        weight=1,
    )
    good(
        "examples.corpus.PythonCorpus",
        c.PythonCorpus,
        lambda: dict(split="test", seq_len=16, root=Path(torch.__file__).parent / "optim"),
        weight=0.2,
        keep=("site_packages",),
    )
    for name in ("unique_tokens", "fingerprint"):
        good(f"examples.corpus.PythonCorpus.{name}", look(corpus, name), weight=0.05)
    good(
        "examples.tinystories.TinyStoriesDataset",
        t.TinyStoriesDataset,
        lambda: dict(
            split="train",
            seq_len=16,
            cache_dir="cache",
            tokenizer_name="bytes",
            path=folder() / "stories.txt",
        ),
        weight=1,
    )
    for name in ("tokenizer", "vocab_size", "fingerprint", "unique_tokens"):
        good(f"examples.tinystories.TinyStoriesDataset.{name}", look(stories, name), weight=0.05)
    good(
        "examples.tinystories.TinyStoriesDataset.prepare_data",
        lambda split="train", seq_len=16, path=None: t.TinyStoriesDataset(
            split,
            seq_len,
            folder() / "cache",
            "bytes",
            folder() / "stories.txt" if path is None else path,
        ).prepare_data(),
        lambda: (stories(), dict(split="train", seq_len=16, path=folder() / "stories.txt"))[1],
        weight=0.5,
    )
    good(
        "examples.tinystories.load_tokenizer",
        t.load_tokenizer,
        lambda: dict(name="bytes"),
        weight=0.5,
    )
    good(
        "examples.tinystories.Tokenizer",
        t.Tokenizer,
        lambda: dict(encode_batch=len, decode=len, vocab_size=3, end=0, version="a"),
        weight=0.2,
    )
    good(
        "examples.tinystories.Tokenizer.encode",
        lambda text: t.load_tokenizer("bytes").encode(text),
        lambda: dict(text="abc"),
    )
    good(
        "examples.cifar.CIFAR10Dataset",
        cifar.CIFAR10Dataset,
        lambda: dict(root="none", train=True, download=False, num_images=3),
        weight=0.3,
        keep=("download",),
        allowed=(FileNotFoundError, ImportError),
        refused=True,
    )
    good(
        "examples.smalllm.train_tokenizer",
        s.train_tokenizer,
        lambda: dict(
            texts=[
                f"once upon a time there was a {w} of {i} stars" for i, w in enumerate(dir(torch))
            ],
            file="t.model",
            vocab_size=420,
        ),
        weight=0.2,
        allowed=(ImportError,),
    )
    good(
        "examples.smalllm.load_lm",
        s.load_lm,
        lambda: dict(folder="lm", which="best"),
        weight=0.5,
        allowed=(FileNotFoundError,),
        refused=True,
    )
    good(
        "examples.smalllm.train_lm",
        s.train_lm,
        lambda: dict(
            config=config(),
            train=_tokens(),
            valid=_tokens(),
            folder=tempfile.mkdtemp(),
            num_tokens=64,
            batch_size=2,
            evals=1,
            device="cpu",
        ),
        weight=0.1,
        keep=("folder",),
    )


@lru_cache(None)
def _tokens():
    x = torch.arange(64 * 8).reshape(64, 8) % 60
    return x, x


# the rest: plans, stores, explorers


def _others():
    from flops_fit import files
    from flops_fit.planner import plan as e
    from flops_fit.plotter import (
        explore_analysis as xa,
        explore_plan as xp,
        explore_result as xr,
        style,
    )
    from flops_fit.trainer import device, run, sweep

    good(
        "plan.SweepPlan.estimate",
        _method(plan, e.SweepPlan, "estimate"),
        lambda: dict(device="cpu", num_devices=2, price_per_hour=2.0),
    )
    for name in ("num_experiments", "total_flops", "trunks", "trunk_plans", "spent_flops"):
        good(f"plan.SweepPlan.{name}", look(plan, name), weight=0.05)
    for name in ("fork_of", "own_steps"):
        args = (
            dict(num_steps=100, recipe=RECIPE)
            if name == "fork_of"
            else dict(experiments=plan().experiments[:2], recipe=RECIPE)
        )
        good(f"plan.{name}", getattr(e, name), lambda args=args: dict(args), weight=0.3)
    good(
        "plan.TrunkPlan",
        e.TrunkPlan,
        lambda: dict(experiments=plan().experiments[:2], recipe=RECIPE),
        weight=0.3,
    )
    trunk_plan = lambda: e.TrunkPlan(plan().experiments[:2], RECIPE)
    for name in ("forks", "own_steps", "flops"):
        good(f"plan.TrunkPlan.{name}", look(trunk_plan, name), weight=0.05)
    good(
        "plan.TrunkPlan.seconds",
        lambda device="cpu": trunk_plan().seconds(device),
        lambda: dict(device="cpu"),
        weight=0.2,
    )
    good(
        "plan.SweepPlan.cost",
        lambda es: plan().cost(es),
        lambda: dict(es=plan().experiments[:2]),
        weight=0.3,
    )
    good("plan.SweepPlan.to_dataframe", lambda: plan().to_dataframe(), weight=0.05)
    good("plan.SweepPlan.to_dict", lambda: plan().to_dict(), weight=0.05)
    good(
        "plan.SweepPlan.from_dict",
        e.SweepPlan.from_dict,
        lambda: dict(d=plan().to_dict()),
        weight=1,
        allowed=(files.Unreadable,),
        blank=GIVEN,
    )  # what a plan on disk is refused with
    good(
        "plan.SweepPlan.save",
        _method(plan, e.SweepPlan, "save"),
        lambda: dict(path="plan.json"),
        weight=0.5,
    )
    good(
        "plan.SweepPlan.load",
        e.SweepPlan.load,
        lambda: (plan().save("plan.json"), dict(path="plan.json"))[1],
        weight=0.5,
    )
    good("experiment.Experiment.to_dict", lambda: plan().experiments[0].to_dict(), weight=0.05)
    good("run.Run.of", run.Run.of, lambda: dict(experiment=plan().experiments[0]), weight=0.3)
    good(
        "run.Run.from_dict",
        run.Run.from_dict,
        lambda: dict(d=sweep.mock_run(plan().experiments[0]).to_dict()),
        weight=1,
    )
    good(
        "run.RunTable.to_dataframe",
        lambda: run.RunTable([sweep.mock_run(x) for x in plan().experiments]).to_dataframe(),
        weight=0.05,
        blank=TABLE,
    )
    good("sweep.mock_run", sweep.mock_run, lambda: dict(e=plan().experiments[0]), weight=0.3)
    good(
        "sweep.TrainingRunner",
        sweep.TrainingRunner,
        lambda: dict(mode="local", output_dir="out", executor=None, device=None, progress=False),
        weight=1,
        blank=(".",),
    )  # it keeps what it was given
    good(
        "sweep.TrainingRunner.run_sweep",
        lambda plan, task=None: sweep.TrainingRunner(
            "mock", tempfile.mkdtemp(), progress=False
        ).run_sweep(plan, task),
        lambda: dict(plan=plan()),
        weight=0.15,
    )
    good("device.pick_device", device.pick_device, lambda: dict(device="cpu"), weight=0.5)
    good(
        "files.write_atomic",
        files.write_atomic,
        lambda: dict(path="f/text", content="abc"),
        weight=0.3,
        keep=("stage",),
    )  # a holder of a claim gives it
    good("style.rank_colors", style.rank_colors, lambda: dict(values=[1.0, 2.0, 3.0]))
    good("style.panels", style.panels, lambda: dict(n=2, height=3.5, widths=None), weight=0.1)
    seen = lru_cache(None)(lambda: xr.ResultExplorer(analysis()))
    fits = lru_cache(None)(lambda: xa.AnalysisExplorer(analysis()))
    plans = lru_cache(None)(lambda: xp.PlanExplorer(plan()))
    good(
        "explore_result.ResultExplorer",
        xr.ResultExplorer,
        lambda: dict(analysis=analysis()),
        weight=0.1,
    )
    good(
        "explore_analysis.AnalysisExplorer",
        xa.AnalysisExplorer,
        lambda: dict(analysis=analysis()),
        weight=0.1,
    )
    good(
        "explore_plan.PlanExplorer",
        xp.PlanExplorer,
        lambda: dict(plan=plan(), task=None),
        weight=0.2,
    )
    good("explore_plan.PlanExplorer.plan", look(plans, "plan"), weight=0.05)
    good(
        "explorer.Explorer.table",
        lambda **kw: seen().table(**kw),
        lambda: dict(
            budget=1e20,
            inference_tokens=0.0,
            unique_tokens=0.0,
            times=2.0,
            device="h100",
            price=2.5,
        ),
        weight=0.4,
        blank=("estimate", "lower", "upper"),
    )  # no interval
    good(
        "explorer.Explorer.table, fit",
        lambda **kw: fits().table(**kw),
        lambda: dict(
            approach="law", law="chinchilla", objective="huber", delta=0.0, fixed_E=-1.0, without=()
        ),
        weight=0.4,
        blank=("lower", "upper"),
    )
    good(
        "explorer.Explorer.table, plan",
        lambda **kw: plans().table(**kw),
        lambda: dict(
            lowest=1e6,
            highest=4e6,
            budgets=3,
            sizes=3,
            band=(0.0, 3.0),
            device="cpu",
            devices=1,
            price=0.0,
        ),
        weight=0.4,
    )
    good(
        "explorer.Explorer.values",
        lambda **kw: seen().values(**kw),
        lambda: dict(budget=1e20),
        weight=0.1,
    )
    good(
        "explorer.Explorer.figure",
        lambda **kw: seen().figure(**kw),
        lambda: dict(budget=1e20, times=2.0),
        weight=0.1,
    )


# Not called, each with the reason


_fitter()
_tables()
_sweeps()
_examples()
_others()
