"""How far a power law with a floor can be read ahead: 72 learning curves of ViT, BiT and MLP-Mixer.

The curves (12 few-shot tasks, 6 models; error rate against examples seen) and the points to fit and
to predict are those of
Alabdulmohsin et al., "Revisiting neural scaling laws" (2209.06640), whose benchmark flags the
training points.

    python benchmarks/vision_curves.py [--data ../shared/data/runs/colpret_vision] [--save
    benchmarks/results/vision_curves.csv]
"""

import argparse, time, warnings
from pathlib import Path
import numpy as np
import pandas as pd
from flops_fit.fitter.curves import fit_power_law

HERE = Path(__file__).resolve().parent


def curve_errors(
    curve,  # DataFrame of one curve: Seen Examples, Loss, Training (1 where it may be fitted)
    floor,  # as in `fit_power_law`
):
    "Errors in log over the test points of one curve, after a fit on its training points."
    seen, test = curve[curve.Training == 1], curve[curve.Training != 1]
    law = fit_power_law(seen["Seen Examples"].values, seen.Loss.values, floor=floor)
    e = np.log(law.predict(test["Seen Examples"].values) / test.Loss.values)
    return dict(
        points_fitted=len(seen),
        points_predicted=len(test),
        ahead=test["Seen Examples"].max() / seen["Seen Examples"].max(),
        rms=float(np.sqrt(np.mean(e**2))),
        bias=float(e.mean()),
        floor=law.l_inf,
        exponent=law.exponent_a,
    )


def all_errors(data):
    "A row a curve and a law, with and without a floor."
    df = pd.read_csv(Path(data) / "revisiting_vision.csv").drop_duplicates()
    rows = []
    for (task, model), curve in df.groupby(["Task", "Model"]):
        for name, floor in (("power law", False), ("power law with a floor", True)):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                rows.append(dict(task=task, model=model, law=name, **curve_errors(curve, floor)))
    return pd.DataFrame(rows)


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument(
        "--data", default=HERE.parent.parent / "shared" / "data" / "runs" / "colpret_vision"
    )
    p.add_argument("--save", help="write a row a curve to this CSV")
    args = p.parse_args()
    began = time.perf_counter()
    rows = all_errors(args.data)
    seconds = time.perf_counter() - began
    table = rows.groupby("law").rms.describe(percentiles=[0.25, 0.5, 0.75])[
        ["25%", "50%", "75%", "mean", "max"]
    ]
    print(
        (
            f"{rows.groupby(['task', 'model']).ngroups} curves, {seconds:.1f} s for {len(rows)} "
            "fits; RMS error in log over each curve's test points:"
        )
    )
    print(table.round(4).to_string())
    by = rows[rows.law == "power law with a floor"].groupby(rows.model.str[:3]).rms.median()
    print("median with a floor, by family:", {k: round(v, 4) for k, v in by.items()})
    if args.save:
        Path(args.save).parent.mkdir(parents=True, exist_ok=True)
        rows.round(5).to_csv(args.save, index=False)


if __name__ == "__main__":
    main()
