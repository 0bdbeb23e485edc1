"""Parts of a batch, memory that runs out, losses that go astray, second tries, compiling, GPUs as
far as they can be pretended, and listeners."""

import subprocess
import sys
from pathlib import Path
from contextlib import nullcontext
from dataclasses import replace
import pytest, torch, torch.nn.functional as F
from flops_fit.planner.contract import make_task
from flops_fit.planner.dataset import ContractError
from flops_fit.trainer.evaluation import PeakMemory, evaluate, is_out_of_memory
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.planner.recipe import PowerRate, Recipe
from flops_fit.trainer.store import RunStore
from flops_fit.trainer.sweep import TrainingRunner, device_executor
from flops_fit.trainer.train import Stopped, train_trunk
import flops_fit.trainer.device as device_module
from flops_fit.trainer.device import autocast_for, compiled, peak_flops, settled
from flops_fit.trainer.trunk import Trunk, astray
from models import BUDGETS, Net, RECIPE, SIZES, xor_task


class Tight(Net):
    "Holds `room` samples at most."

    room, error = 7, torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    def forward(self, x):
        if len(x) > self.room:
            raise self.error
        return super().forward(x)


class Malloc(Tight):
    room, error = (
        3,
        RuntimeError(
            (
                "[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: not enough memory: you "
                "tried to allocate 99 bytes"
            )
        ),
    )


@pytest.fixture(scope="module")
def es():
    return next(
        iter(
            plan_sweep(
                xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE
            ).trunks.values()
        )
    )


@pytest.fixture(scope="module")
def usual(es):
    return train_trunk(xor_task(), es, RECIPE)


@pytest.mark.parametrize("cls", [Tight, Malloc])
def test_out_of_memory_halves_and_goes_on(cls, es, usual):
    task = xor_task()
    task.model_cls = cls
    runs = train_trunk(task, es, RECIPE)
    assert [r.status for r in runs] == ["completed"] * len(es)
    assert all(r.micro_batch <= cls.room for r in runs) and all(
        r.micro_batch is None for r in usual
    )
    assert [r.final_loss for r in runs] == pytest.approx([r.final_loss for r in usual], rel=1e-3)


def test_a_model_that_never_fits_fails_and_other_errors_are_not_taken_for_it(es):
    class None_(Tight):
        room = 0

    task = xor_task()
    task.model_cls = None_
    runs = train_trunk(task, es, RECIPE)
    assert {r.status for r in runs} == {"failed"} and "out of memory" in runs[0].error_message
    assert not is_out_of_memory(RuntimeError("shapes do not match")) and not is_out_of_memory(
        ValueError("out of memory")
    )


def test_resuming_keeps_the_part_that_fitted(es, tmp_path):
    task = xor_task()
    task.model_cls = Tight
    calls = iter(range(10_000))
    with pytest.raises(Stopped):
        train_trunk(task, es, RECIPE, folder=tmp_path / "c", should_stop=lambda: next(calls) > 30)
    t = Trunk(task, es[0], RECIPE, torch.device("cpu"))
    t.load(tmp_path / "c" / "trunk.safetensors")
    assert t.micro <= 7


@pytest.mark.parametrize("micro", [1, 3, 5, 31, 32, 100])
def test_parts_add_up_to_the_batch(micro, es):
    def gradient(recipe):
        torch.manual_seed(0)
        t = Trunk(xor_task(), es[0], recipe, torch.device("cpu"))
        return t.gradient(*t.feed(0)), [p.grad for p in t.params]

    (a, ga), (b, gb) = gradient(RECIPE), gradient(replace(RECIPE, micro_batch=micro))
    torch.testing.assert_close(a, b)
    torch.testing.assert_close(ga, gb)


def test_parts_weigh_what_their_targets_weigh():
    class Tagger(Net):
        def forward(self, x):
            return self.layers(x).unflatten(-1, (5, 3)).transpose(1, 2)

    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(64, 16, generator=g), torch.randint(3, (64, 5), generator=g)
    y[::2, 1:] = -100
    y[:3] = -100  # uneven, and whole samples without a target
    task = make_task(
        Tagger, "width", dict(out=15), (x, y), F.cross_entropy, eval_dataset=(x[4:], y[4:])
    )
    e = plan_sweep(
        task, compute_budgets=[1e6], sizes=[8], recipe=replace(RECIPE, min_steps=5)
    ).experiments[0]

    def gradient(micro):
        torch.manual_seed(0)
        t = Trunk(task, e, Recipe(micro_batch=micro), torch.device("cpu"))
        return t.gradient(x, y), [p.grad for p in t.params]

    for micro in 1, 2, 7:
        torch.testing.assert_close(gradient(micro), gradient(None))


def test_evaluation_in_parts_is_the_same():
    torch.manual_seed(0)
    model, source = Tight(8), xor_task().held_out
    model.room = 10**6
    whole = evaluate(model, source, F.cross_entropy)
    model.room = 5
    assert evaluate(model, source, F.cross_entropy) == pytest.approx(whole, rel=1e-5)
    assert model.training


def test_a_loss_that_stays_far_above_its_start_has_diverged(es):
    class Rising(Net):
        "Its loss grows step by step and stays finite."

        def __init__(self, width):
            super().__init__(width)
            self.n = 0

        def forward(self, x):
            self.n += self.training
            return super().forward(x) * (1 + self.n) ** 2

    task = xor_task()
    task.model_cls = Rising
    long = [replace(es[-1], num_steps=400)]
    (run,) = train_trunk(task, long, RECIPE)
    assert (run.status, run.final_loss) == (
        "diverged",
        None,
    ) and "far above its start" in run.error_message
    assert (
        not astray([0.69] * 5 + [0.2, 3.0] * 50)
        and not astray([9.0] * 24)
        and astray([1.0] * 5 + [2.1] * 20)
    )


class Nervous(Net):
    "Breaks at rates above `most`, as told by its own parameter group."

    most = 0.01

    def forward(self, x):
        return super().forward(x) * (
            float("nan") if self.training and Nervous.lr > Nervous.most else 1.0
        )

    def param_groups(self, lr, weight_decay):
        Nervous.lr = lr
        return [dict(params=list(self.parameters()), lr=lr)]


def test_a_second_try_at_half_the_rate(es, tmp_path):
    task = xor_task()
    task.model_cls = Nervous
    es = [replace(e, lr=0.016) for e in es]
    once, twice = (
        train_trunk(task, es, RECIPE),
        train_trunk(task, es, replace(RECIPE, retry=True), folder=tmp_path / "c"),
    )
    assert {r.status for r in once} == {"diverged"} and {r.retried_lr for r in once} == {None}
    assert (
        {r.status for r in twice} == {"completed"}
        and {r.retried_lr for r in twice} == {0.008}
        and [r.lr for r in twice] == [0.016] * len(es)
    )
    assert [r.final_loss for r in twice] == [
        r.final_loss for r in train_trunk(task, [replace(e, lr=0.008) for e in es], RECIPE)
    ]
    hopeless = train_trunk(task, [replace(e, lr=1.0) for e in es], replace(RECIPE, retry=True))
    assert {(r.status, r.retried_lr) for r in hopeless} == {("diverged", 0.5)}


def test_ids_do_not_depend_on_the_machine():
    def ids(recipe):
        return [
            e.experiment_id
            for e in plan_sweep(xor_task(), compute_budgets=BUDGETS, sizes=SIZES, recipe=recipe)
        ]

    plain = ids(RECIPE)
    assert (
        plain
        == ids(replace(RECIPE, micro_batch=4, workers=2, compile=True, gradient_checkpointing=True))
        != ids(replace(RECIPE, retry=True))
    )


def test_the_recipe_is_saved_with_every_run(es, usual, tmp_path):
    assert all(Recipe.from_dict(r.recipe) == RECIPE for r in usual)
    store = RunStore(tmp_path).prepare()
    store.save_run(usual[0])
    assert store.runs()[usual[0].experiment_id] == usual[0]
    rate = Recipe(lr=PowerRate(0.01, -0.2))
    assert Recipe.from_dict(rate.to_dict()) == rate and rate.peak_lr(1e6, 1, 1) == 0.01
    with pytest.raises(ContractError, match="settled before"):
        Recipe(lr="calibrate").peak_lr(1e6, 1e7, 512)
    for bad in dict(micro_batch=0), dict(compile="maybe"), dict(workers=-1):
        with pytest.raises(ContractError):
            Recipe(**bad)


def test_checkpointing_needs_a_switch(es):
    run = train_trunk(xor_task(), es[:1], replace(RECIPE, gradient_checkpointing=True))[0]
    assert run.status == "failed" and "a switch" in run.error_message


def test_checkpointing_changes_no_loss():
    from flops_fit.examples.gpt import byte_gpt, gpt_loss_fn

    x = torch.randint(256, (200, 17), generator=torch.Generator().manual_seed(0))
    task = make_task(byte_gpt, "d_model", dataset=(x[:, :-1], x[:, 1:]), loss_fn=gpt_loss_fn)
    es = plan_sweep(task, compute_budgets=[5e7], sizes=[8], recipe=Recipe(min_steps=5)).experiments
    a, b = (
        train_trunk(task, es, Recipe(min_steps=5, gradient_checkpointing=on))[0].final_loss
        for on in (False, True)
    )
    assert a == pytest.approx(b, rel=1e-5)


@pytest.fixture
def traces(monkeypatch):
    "torch.compile without a compiler behind it; one entry for each graph that it makes."
    made, real = [], torch.compile

    def backend(graph, inputs):
        made.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda model: real(model, backend=backend))
    yield made
    torch.compiler.reset()


def test_every_size_runs_compiled(traces):
    """PyTorch keeps eight versions of a piece of code and runs the ninth as it is; each size is
    a version."""
    plan, recipe = (
        plan_sweep(
            xor_task(),
            compute_budgets=[2e5],
            sizes=list(range(4, 15)),
            recipe=replace(RECIPE, min_steps=5),
        ),
        replace(RECIPE, compile=True),
    )
    for e in plan:
        before = len(traces)
        (run,) = train_trunk(xor_task(), [e], recipe)
        assert len(traces) > before and run.final_loss == pytest.approx(
            train_trunk(xor_task(), [e], RECIPE)[0].final_loss, rel=1e-5
        )


@pytest.mark.parametrize(
    "plain, fast, keeps", [(1.0, 0.5, True), (1.0, 2.0, False), (0.001, 0.0005, False)]
)
def test_auto_keeps_what_is_faster(plain, fast, keeps, es, usual, traces, monkeypatch):
    real, asked = device_module.seconds_a_pass, []

    def seconds(trunk, n):
        real(trunk, 1)
        asked.append(n)
        return plain if trunk.call is trunk.model else fast

    monkeypatch.setattr(device_module, "seconds_a_pass", seconds)
    t = Trunk(xor_task(), es[0], replace(RECIPE, compile="auto"), torch.device("cpu"))
    assert (compiled(t, 500) is not t.model) == keeps and asked == (
        [10, 3, 10] if plain > 0.1 else [10]
    )
    asked.clear()
    runs = train_trunk(xor_task(), es, replace(RECIPE, compile="auto"))
    assert [r.final_loss for r in runs] == pytest.approx(
        [r.final_loss for r in usual], rel=1e-5
    )  # the trial leaves no trace
    assert asked.count(3) <= 1  # one trial a trunk, not one a branch


def test_a_compiler_that_fails_is_done_without(es, usual, monkeypatch):
    def broken(model):
        def call(x):
            raise RuntimeError("no C++ compiler found\nat all")

        return call

    monkeypatch.setattr(torch, "compile", broken)
    monkeypatch.setattr(
        device_module, "seconds_a_pass", lambda trunk, n: trunk.gradient(*trunk.feed(0)) and 1.0
    )
    with pytest.warns(UserWarning, match="no C.. compiler found. Training goes on without"):
        runs = train_trunk(xor_task(), es, replace(RECIPE, compile="auto"))
    assert [r.final_loss for r in runs] == [r.final_loss for r in usual]
    assert {r.status for r in train_trunk(xor_task(), es, replace(RECIPE, compile=True))} == {
        "failed"
    }  # what was asked for outright is not replaced in silence


def test_what_a_gpu_can_do_is_asked_of_that_gpu(monkeypatch):
    cuda = torch.device("cuda")
    for major, low in ((7, False), (8, True), (9, True)):  # T4 and V100 emulate bfloat16, slowly
        monkeypatch.setattr(
            torch.cuda, "get_device_properties", lambda d: type("P", (), dict(major=major))
        )
        assert (autocast_for("auto", cuda) is not autocast_for("float32", cuda)) == low
    for name, peak in (
        ("NVIDIA L4", 1.21e14),
        ("NVIDIA L40S", 3.62e14),
        ("NVIDIA H100 80GB HBM3", 9.9e14),
        ("Tesla T4", 6.5e13),
        ("Quadro 7", None),
    ):
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda d: name)
        assert peak_flops(cuda) == peak
    assert peak_flops(torch.device("cpu")) is None


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"),
    reason="this PyTorch has one switch for TF32",
)
def test_whoever_chose_tf32_by_the_newer_switch_is_left_alone(es, usual, monkeypatch):
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    matmul, cuda = torch.backends.cuda.matmul, torch.device("cuda")
    try:
        torch.set_float32_matmul_precision("highest")
        with settled(cuda, 10**9, 0):
            assert (
                torch.get_float32_matmul_precision() == "high" and matmul.fp32_precision == "tf32"
            )
        assert torch.get_float32_matmul_precision() == "highest"
        matmul.fp32_precision = "tf32"
        with pytest.raises(RuntimeError):
            torch.get_float32_matmul_precision()
        with settled(cuda, 10**9, 0):
            assert matmul.fp32_precision == "tf32"
        assert matmul.fp32_precision == "tf32"
        assert train_trunk(xor_task(), es[:1], RECIPE)[0].final_loss == usual[0].final_loss
    finally:
        torch.set_float32_matmul_precision("highest")


ALONE = """
import torch, torch.nn.functional as F
from dataclasses import replace
from flops_fit.trainer.train import train_trunk
from flops_fit.planner.sweep_design import plan_sweep
from models import BUDGETS, RECIPE, SIZES, xor_task

def hungry(outputs, targets):
    return F.cross_entropy(outputs, targets) + 0*torch.ones(25_000_000).sum() # 100 MB, given back

if __name__ == "__main__":
    task = xor_task()
    es = plan_sweep(task, compute_budgets=BUDGETS, sizes=SIZES, recipe=RECIPE).trunks.popitem()[1]
    task.loss_fn = hungry
    more, = train_trunk(task, es[:1], replace(RECIPE, eval_tokens=10))
    after, = train_trunk(xor_task(), es[:1], RECIPE)
    print(more.peak_memory, after.peak_memory)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's high-water mark is Linux's")
def test_peak_memory_is_that_of_the_run():
    "In a process of its own: a heap that tests before have stretched gives nothing back."
    got = subprocess.run(
        [sys.executable, "-c", ALONE], cwd=Path(__file__).parent, capture_output=True, text=True
    )
    assert got.returncode == 0, got.stderr
    more, after = map(int, got.stdout.split())
    assert 50e6 < after < more - 50e6 < 100e9
    assert PeakMemory("meta").read() is None


def test_listeners_hear_and_cannot_harm(es, usual):
    heard = []

    def bad(step):
        heard.append("bad")
        raise OSError("the logger's disk is full")

    with pytest.warns(UserWarning, match="logger's disk is full"):
        runs = train_trunk(xor_task(), es, RECIPE, on_step=[bad, heard.append])
    assert [r.final_loss for r in runs] == [r.final_loss for r in usual]
    assert heard.count("bad") == 1 and len(heard) > 50
    last = heard[-1]
    assert (
        (last.step, last.experiment) == (es[-1].num_steps, es[-1])
        and last.num_tokens == es[-1].num_tokens
        and last.loss > 0
        and last.lr < es[-1].lr
    )


class Writes:
    def __init__(self, path):
        self.path = path

    def __call__(self, step):
        with open(self.path, "a") as f:
            f.write(f"{step.step}\n")


def test_listeners_travel_to_workers(tmp_path):
    plan = plan_sweep(xor_task(), compute_budgets=BUDGETS[:1], sizes=SIZES[:1], recipe=RECIPE)
    with device_executor(1) as ex:
        TrainingRunner(
            output_dir=tmp_path / "s",
            executor=ex,
            progress=False,
            on_step=Writes(str(tmp_path / "steps")),
        ).run_sweep(plan, xor_task())
    assert int((tmp_path / "steps").read_text().split()[-1]) == plan.experiments[0].num_steps
