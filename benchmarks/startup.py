"""How long it takes to start: imports in a fresh process, and planning a large sweep, which builds
no weights.

    python benchmarks/startup.py            writes benchmarks/results/startup.json

Each figure is the median of 7 fresh processes, beside an empty Python's in turn, on whatever
machine this is.
"""

import json, os, platform, statistics, subprocess, sys, time
from pathlib import Path

CASES = {
    "python": "pass",
    "import flops_fit": "import flops_fit",
    "import pandas": "import pandas",
    "from flops_fit.core import *": "from flops_fit.core import *",
}
PLAN = """
import time, numpy as np, torch
from flops_fit.planner.sweep_design import plan_sweep
from flops_fit.examples.gpt import GPT
begun = time.perf_counter()
plan = plan_sweep(GPT, "d_model", dict(vocab_size=50304, num_layers=24, num_heads=16),
                  compute_budgets=10.**np.arange(18, 26), tokens_per_sample=2048)
print(time.perf_counter() - begun, max(e.num_params for e in plan), len(plan))
"""


def wall(code):
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    return time.perf_counter() - begun


def main(rounds=7):
    times = {k: [] for k in CASES}
    for _ in range(rounds):
        for k, code in CASES.items():
            times[k].append(wall(code))  # in turn, so that the machine's drift hits all alike
    plans = [
        subprocess.run(
            [sys.executable, "-c", PLAN], check=True, capture_output=True, text=True
        ).stdout.split()
        for _ in range(rounds)
    ]
    out = dict(
        machine=(
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, "
            f"load {os.getloadavg()[0]:.1f} at the end"
        ),
        seconds={k: round(statistics.median(v), 3) for k, v in times.items()},
        plan_seconds=round(statistics.median(float(p[0]) for p in plans), 3),
        plan_largest_model=int(plans[0][1]),
        plan_runs=int(plans[0][2]),
    )
    path = Path(__file__).parent / "results" / "startup.json"
    path.write_text(json.dumps(out, indent=1) + "\n")
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
