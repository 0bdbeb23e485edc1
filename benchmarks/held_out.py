"""How a law is judged on runs it has not seen: which runs are held out, and the scores.

Judged are runs above Cmax/h whose N lies within a factor of 4 of the optimum. Where that optimum
lies is read off the runs without any scaling law: a quadratic surface (with a skew across the
valley) of log loss over (log N, log C) through the upper part of the set; it agrees with the
isoFLOP minima where there are isoFLOP curves."""

import numpy as np
import pandas as pd

BUDGET = np.log(1.5)  # runs within this width of ln C count as one budget


def surface(x, c, loss):
    """Optimum ln N*(c) read off a polynomial of ln loss in (ln N, ln C), from runs in the upper
    part near the valley"""
    use = c >= c.max() - np.log(100)
    best = np.array([loss[use & (np.abs(c - v) < 0.7)].min(initial=np.inf) for v in c])
    near = use & (loss < 1.13 * best) & np.isfinite(best)
    x0, c0, l = x[near].mean(), c[near].mean(), np.log(loss[near])

    def terms(
        z, b
    ):  # z: across the valley, b: along it. A quadratic, and skewed where runs suffice
        out = [np.ones_like(z), z, b, z * z, b * b]
        return np.stack(out + [z * b, z**3] if near.sum() >= 12 else out, 1)

    k, *_ = np.linalg.lstsq(terms(x[near] - x0 - 0.5 * (c[near] - c0), c[near] - c0), l, rcond=None)
    grid = np.linspace(-3, 3, 1201)

    def optimum(at):
        out = []
        for v in np.atleast_1d(at):
            f = terms(grid, np.full_like(grid, v - c0)) @ k
            low = np.flatnonzero((f[1:-1] < f[:-2]) & (f[1:-1] < f[2:])) + 1
            out.append(
                x0 + 0.5 * (v - c0) + grid[low[np.abs(grid[low]).argmin()]] if len(low) else np.nan
            )
        return np.array(out)

    return optimum


def split(runs, h):
    "low, test, optimum or None"
    x, c = np.log(runs.num_params.to_numpy(float)), np.log(runs.flops.to_numpy(float))
    opt = surface(x, c, runs.loss.to_numpy(float))
    low = c <= c.max() - np.log(h) + 1e-9
    near = np.abs(x - opt(c)) <= np.log(4)
    if low.sum() < 8 or (~low & near).sum() < 2:
        return None
    return low, ~low & near, opt


def groups_of(runs, at):
    "The trunk of each run, where several share one"
    return runs.trunk[at] if "trunk" in runs and 1 < runs.trunk[at].nunique() < at.sum() else None


def flops_factor(runs):
    "k in C = k·N·D"
    return float((runs.flops / runs.num_params / runs.num_tokens).median())


def budgets(C):
    "The budget each run belongs to, counted down from the largest: (n,)"
    return np.floor(np.log(1.05 * C.max() / C) / BUDGET).astype(int)


def best_of_each(C, loss):
    "Rows of the lowest loss of each budget"
    table = pd.DataFrame(dict(budget=budgets(np.asarray(C)), loss=np.asarray(loss)))
    return table.groupby("budget").loss.idxmin().to_numpy()


def predictions(fit, runs, test, repeats=False):
    "The held-out runs, each with what was predicted: N, D, C, measured, predicted, lower, upper"
    b = runs[test]
    more = dict(unique_tokens=b.unique_tokens) if repeats else {}
    p = fit.predict(b.num_params, b.num_tokens, interval="prediction", **more)
    out = dict(N=b.num_params, D=b.num_tokens, C=b.flops, measured=b.loss)
    out |= dict(predicted=p.loss, lower=p.lower, upper=p.upper)
    return pd.DataFrame({name: np.asarray(column, float) for name, column in out.items()})


def missed(p):
    "Scores of `predictions`; rms_best: of the best run of each budget alone"
    miss = np.log(p.measured / p.predicted)
    inside = (p.lower <= p.measured) & (p.measured <= p.upper)
    return dict(
        rms=np.sqrt((miss**2).mean()),
        rms_best=np.sqrt((miss[best_of_each(p.C, p.measured)] ** 2).mean()),
        mean=miss.mean(),
        coverage=inside.mean() if p.lower.notna().all() else np.nan,
        half_width=np.log(p.upper / p.lower).mean() / 2,
    )


def scores(fit, runs, test, opt, h):
    "How well a fit predicts the runs held out, and N* in their midst"
    middle = runs.flops.max() / h**0.5
    best, truth = fit.optimum(middle), float(np.exp(opt(np.log(middle))[0]))
    lower, upper = best.optimal_params_lower, best.optimal_params_upper
    return dict(
        missed(predictions(fit, runs, test)),
        n_error=np.log(best.optimal_params / truth),
        n_inside=float(lower <= truth <= upper) if lower == lower else np.nan,
        n_half_width=np.log(upper / lower) / 2,
    )


SHOWN = "rms gm_rms over_coupled gm_best coverage half_width abs_n n_inside n_half_width".split()


def pooled(df):
    """Means over sources, each source counting once. over_coupled: geometric mean of a law's rms
    over the coupled law's, on the splits the law answered"""
    coupled = df[df.law == "coupled"].set_index(["set", "h"]).rms
    over = (
        df.rms.to_numpy() / coupled.reindex(pd.MultiIndex.from_frame(df[["set", "h"]])).to_numpy()
    )
    df = df.assign(gm_rms=np.log(df.rms), over_coupled=np.log(over), abs_n=df.n_error.abs())
    df["gm_best"] = np.log(df.rms_best)
    by = df.groupby(["h", "law", "source"], sort=False)[SHOWN].mean().groupby(["h", "law"])
    out = by.mean()
    logs = ["gm_rms", "over_coupled", "gm_best"]
    out[logs] = np.exp(out[logs])
    out.insert(0, "sources", by.size())
    return out


def markdown(df, digits=4):
    "A table with its index as Markdown; a number that is not known is left out"
    df = df.reset_index()

    def cell(v):
        if isinstance(v, str):
            return v
        if v != v:
            return ""
        return f"{v:g}" if v == int(v) or abs(v) >= 10 else f"{v:.{digits}f}"

    rows = [df.columns, ["---"] * len(df.columns)]
    rows += [map(cell, row) for row in df.itertuples(index=False)]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
