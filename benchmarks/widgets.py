"""From slider to picture: median time of a change in each explorer, 240 runs, 4,000 draws behind
the band of the valley.
`python benchmarks/widgets.py`"""

import statistics, time
import numpy as np, pandas as pd
from flops_fit.core import Result, plan_sweep
from flops_fit.fitter.laws import LAWS


def made_up(n=240):
    rng = np.random.default_rng(0)
    C = np.repeat(np.geomspace(1e18, 1e21, 12), n // 12)
    N = np.sqrt(C / 120) * np.tile(np.geomspace(1 / 6, 6, n // 12), 12)
    loss = LAWS["coupled"](
        N, C / 6 / N, E=1.7, A=110.0, B=400.0, alpha=0.31, beta=0.33, g=0.6
    ) * np.exp(0.005 * rng.normal(size=n))
    return pd.DataFrame(
        dict(num_params=N, num_tokens=C / 6 / N, compute_budget=C, loss=loss, simulated=True)
    )


def median(explorer, name, values):
    explorer.box
    control, wall, cpu = explorer.controls[name], [], []
    for v in values:
        t, c = time.perf_counter(), time.process_time()
        control.value = v
        wall.append(time.perf_counter() - t)
        cpu.append(time.process_time() - c)
    assert "Not possible" not in explorer.numbers.value
    return statistics.median(wall[1:]) * 1e3, statistics.median(cpu[1:]) * 1e3


def main():
    import torch.nn as nn

    class Net(nn.Linear):
        def __init__(self, w):
            super().__init__(w, w)

        def num_params(self):
            return sum(p.numel() for p in self.parameters())

    result = Result.from_runs(made_up())
    plan = plan_sweep(Net, "w", compute_budgets=[1e13, 3e13, 1e14], tokens_per_sample=64)
    budget, fit, coupled = result.explore(), result.analysis.explore(), result.analysis.explore()
    fit.controls["law"].value = "chinchilla"
    served = result.explore()
    served.controls["inference_tokens"].value = next(
        v for _, v in served.controls["inference_tokens"].options if v > 1e10
    )
    rows = {
        "result: budget, 4,000 draws": median(budget, "budget", 10 ** np.arange(20.5, 22, 0.1)),
        "result: budget, with inference": median(served, "budget", 10 ** np.arange(20.5, 22, 0.1)),
        "analysis: E, Chinchilla's law refitted": median(
            fit, "fixed_E", [v for _, v in fit.controls["fixed_E"].options[20:34]]
        ),
        "analysis: E, coupled law refitted": median(
            coupled, "fixed_E", [v for _, v in coupled.controls["fixed_E"].options[20:34]]
        ),
        "plan: sizes at each budget": median(
            plan.explore(), "sizes", [3, 4, 5, 6, 7, 8, 9, 10, 4, 5, 6, 7]
        ),
    }
    print("| change | median ms | CPU ms |\n|---|---:|---:|")
    for name, (wall, cpu) in rows.items():
        print(f"| {name} | {wall:.0f} | {cpu:.0f} |")
    return rows


if __name__ == "__main__":
    main()
