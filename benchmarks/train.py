"""Training speed against a plain eager PyTorch loop, and a whole sweep against the same runs one by
one.

    python benchmarks/train.py steps     # about a minute: five sizes, interleaved pairs
    python benchmarks/train.py sweep     # a quarter of an hour on a quiet machine: the demo, three
    seeds

Writes benchmarks/results/train_steps.json, train_sweep.json and train.md. Ratios are of one run on
one machine; the times behind them are not for comparing machines.
"""

import json, math, os, platform, resource, statistics, sys, tempfile, time
from pathlib import Path
import torch
from flops_fit.trainer.evaluation import evaluate
from flops_fit.examples.demo import BUDGETS, WIDTHS, demo_task
from flops_fit.examples.gpt import byte_gpt, gpt_loss_fn
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.planner.recipe import Recipe
from flops_fit.trainer.sweep import TrainingRunner, device_executor
from flops_fit.trainer.trunk import Trunk

RESULTS = Path(__file__).parent / "results"
RECIPE = Recipe(batch_tokens=512, weight_decay=0.0, min_steps=50)


class Plain:
    """What most people write: random crops, AdamW, clipping, a schedule, the loss read every ten
    steps."""

    def __init__(self, e, data, seq_len=64):
        torch.manual_seed(e.seed)
        self.e, self.data, self.seq_len, self.step = e, data, seq_len, 0
        self.model = byte_gpt(e.size_param_value)
        self.opt = torch.optim.AdamW(
            self.model.param_groups(lr=e.lr, weight_decay=0.0), lr=e.lr, betas=(0.9, 0.95)
        )
        self.peaks = [g["lr"] for g in self.opt.param_groups]

    def batch(self):
        at = torch.randint(len(self.data) - self.seq_len - 1, (self.e.batch_size,))
        x = torch.stack([self.data[i : i + self.seq_len] for i in at]).long()
        y = torch.stack([self.data[i + 1 : i + 1 + self.seq_len] for i in at]).long()
        return x, y

    def advance(self, to, num_steps):
        cool = max(1, round(0.2 * num_steps))
        while self.step < to:
            f = min(
                1.0,
                (self.step + 1) / max(1, self.e.warmup_steps),
                (num_steps - self.step) / (cool + 1),
            )
            for g, peak in zip(self.opt.param_groups, self.peaks):
                g["lr"] = peak * f
            x, y = self.batch()
            _, loss = self.model(x, y)
            self.opt.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            self.opt.step()
            self.step += 1
            if self.step % 10 == 0:
                loss.item()


def machine():
    return dict(
        cpu=next(
            (l.split(":")[1].strip() for l in open("/proc/cpuinfo") if "model name" in l),
            platform.processor(),
        )
        if Path("/proc/cpuinfo").exists()
        else platform.processor(),
        cores=os.cpu_count(),
        torch=torch.__version__,
        gpu=torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        load=os.getloadavg()[0],
    )


def timed(f):
    wall, cpu = time.perf_counter(), time.process_time()
    f()
    return time.perf_counter() - wall, time.process_time() - cpu


def bench_steps(widths=(16, 32, 64, 128, 256), pairs=9):
    "One thread each, turn by turn, so that what else the machine does falls on both."
    torch.set_num_threads(1)
    task, rows = demo_task(), []
    data = task.train.dataset._inputs.flatten()
    for w in widths:
        e = plan_sweep(
            task, compute_budgets=[6 * 1e5 * w**2 * 12 * 4], sizes=[w], recipe=RECIPE
        ).experiments[0]
        torch.manual_seed(0)
        ours, plain, n = (
            Trunk(task, e, RECIPE, torch.device("cpu")),
            Plain(e, data),
            max(5, round(60 * 16 / w)),
        )
        times = []
        for i in range(pairs + 1):
            a = timed(lambda: ours.advance(ours.step + n, 10**6, 50))
            b = timed(lambda: plain.advance(plain.step + n, 10**6))
            if i:
                times.append((a, b))  # the first turn warms up
        ratio = lambda k: statistics.median(b[k] / a[k] for a, b in times)
        rows.append(
            dict(
                width=w,
                num_params=e.num_params,
                tokens_per_second=round(
                    n * e.batch_size * 64 / statistics.median(a[0] for a, _ in times)
                ),
                ratio_wall=round(ratio(0), 3),
                ratio_cpu=round(ratio(1), 3),
                lowest_cpu=round(min(b[1] / a[1] for a, b in times), 3),
            )
        )
        print(rows[-1], flush=True)
    return dict(machine=machine(), pairs=pairs, batch_tokens=512, threads=1, rows=rows)


def bench_sweep(scale=1, workers=2, seeds=(0, 1, 2)):
    """The demo: trunks with branches in two processes, and every run by itself in one. Seed by
    seed, one side after the other."""
    task, rows, losses = demo_task(), [], {"ours": [], "plain": []}
    data = task.train.dataset._inputs.flatten()
    children = lambda: sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])

    def ours(plan):
        with tempfile.TemporaryDirectory() as d, device_executor(workers) as ex:
            losses["ours"].append(
                [
                    r.final_loss
                    for r in TrainingRunner(output_dir=d, executor=ex, progress=False).run_sweep(
                        plan, task
                    )
                ]
            )

    def plain(plan):
        torch.set_num_threads(1)
        losses["plain"].append([])
        for e in plan:
            p = Plain(e, data)
            p.advance(e.num_steps, e.num_steps)
            losses["plain"][-1].append(evaluate(p.model, task.held_out, gpt_loss_fn)[0])

    for seed in seeds:
        plan = plan_sweep(
            task,
            compute_budgets=[c / scale for c in BUDGETS],
            sizes={c / scale: WIDTHS[c] for c in BUDGETS},
            recipe=RECIPE,
            seeds=(seed,),
        )
        loads, before = [os.getloadavg()[0]], children()
        a = timed(lambda: ours(plan))[0]
        cpu, _ = children() - before, loads.append(os.getloadavg()[0])
        b = timed(lambda: plain(plan))
        rows.append(
            dict(
                seed=seed,
                seconds=round(a, 1),
                plain_seconds=round(b[0], 1),
                speed_up=round(b[0] / a, 2),
                worker_cpu_seconds=round(cpu, 1),
                plain_cpu_seconds=round(b[1], 1),
                load_before_between_after=[round(l, 1) for l in loads + [os.getloadavg()[0]]],
            )
        )
        print(rows[-1], flush=True)
    logs = {k: torch.tensor(v).double().log() for k, v in losses.items()}  # seeds x runs
    noise = (
        math.sqrt(sum(float(l.var(0).mean()) for l in logs.values()) / 2)
        if len(seeds) > 1
        else None
    )  # of one run, from one seed to the next
    gap = logs["ours"].mean(0) - logs["plain"].mean(0)
    return dict(
        machine=machine(),
        scale=scale,
        runs=len(plan),
        workers=workers,
        steps_of_separate_runs=round(plan.spent_flops / plan.total_flops, 3),
        rows=rows,
        speed_up=statistics.median(r["speed_up"] for r in rows),
        seed_noise=noise and round(noise, 4),
        mean_log_loss_difference=round(float(gap.mean()), 4),
        rms_log_loss_difference=round(float(gap.square().mean().sqrt()), 4),
        largest=round(float(gap.abs().max()), 4),
    )


def write():
    lines, said = (
        ["# Training speed", ""],
        lambda m: (
            f"{m['cpu']}, {m['cores']} cores, {'no GPU' if m['gpu'] is None else m['gpu']}, "
            f"torch {m['torch']}, load {m['load']:.1f} at the end (shared machine)"
        ),
    )
    if (f := RESULTS / "train_steps.json").exists():
        d = json.loads(f.read_text())
        lines += [
            "## Steps against a plain eager loop",
            "",
            (
                f"{said(d['machine'])}. One thread each, {d['pairs']} interleaved pairs, "
                f"medians; {d['batch_tokens']} tokens a step. A ratio above 1: ours is faster."
            ),
            "",
            (
                "| width | N | our tokens/s | ratio, wall clock | ratio, CPU time | least of the "
                "pairs, CPU time |"
            ),
            "| --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            (
                f"| {r['width']} | {r['num_params']:,} | {r['tokens_per_second']:,} | "
                f"{r['ratio_wall']:.2f} | {r['ratio_cpu']:.2f} | {r['lowest_cpu']:.2f} |"
            )
            for r in d["rows"]
        ] + [""]
    if (f := RESULTS / "train_sweep.json").exists():
        d = json.loads(f.read_text())
        lines += [
            "## A whole sweep",
            "",
            (
                f"{said(d['machine'])}. The demo at 1/{d['scale']} of its budgets, {d['runs']} "
                f"runs: trunks with branches in {d['workers']} processes (their start included) "
                "against a plain loop, run by run in one process with one thread, one side "
                "after the other."
            ),
            "",
            (
                "| seed | ours, s | plain, s | speed-up | ours, CPU s | plain, CPU s | load "
                "before, between, after |"
            ),
            "| --- | --- | --- | --- | --- | --- | --- |",
        ]
        lines += [
            (
                f"| {r['seed']} | {r['seconds']} | {r['plain_seconds']} | {r['speed_up']} | "
                f"{r['worker_cpu_seconds']} | {r['plain_cpu_seconds']} | "
                f"{', '.join(map(str, r['load_before_between_after']))} |"
            )
            for r in d["rows"]
        ]
        lines += [
            "",
            (
                f"Median speed-up {d['speed_up']}; branches leave "
                f"{d['steps_of_separate_runs']:.0%} of the FLOPs of separate runs."
            ),
            "",
            (
                "Log loss, ours less the plain loop's, means over the seeds run by run: "
                f"{d['mean_log_loss_difference']:+.4f} on average, root mean square "
                f"{d['rms_log_loss_difference']:.4f}, at most {d['largest']:.4f}. One run "
                f"differs from seed to seed by {d['seed_noise']} (standard deviation), so that "
                "noise alone gives a root mean square of about "
                f"{d['seed_noise'] * math.sqrt(2 / len(d['rows'])):.4f}."
            ),
            "",
        ]
    (RESULTS / "train.md").write_text("\n".join(lines))


if __name__ == "__main__":
    RESULTS.mkdir(exist_ok=True)
    for what in sys.argv[1:] or ["steps", "sweep"]:
        file, got = (
            RESULTS / f"train_{what}.json",
            dict(steps=bench_steps, sweep=bench_sweep)[what](),
        )
        file.write_text(json.dumps(got, indent=1))
    write()
