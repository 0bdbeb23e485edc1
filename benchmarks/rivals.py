"""Other people's laws, fitted to the same runs as ours.

- Chinchilla's form with E held at .67 of the lowest loss: one number less to learn.
- The saturating form (arXiv 2605.09189): L = E + (L0 - E)·h/(1 + h), h = a/N^alpha + b/T^beta, and
  for repeated data + c·N^gamma/U^delta, for T tokens of which U are unique. L0 is what a model
  that knows nothing loses.
- Farseer (arXiv 2506.10972): L = exp(a3·N^g3 + b3) + exp(a2·N^g2 + b2)·D^(-exp(a1·N^g1 + b1)).
  Its authors fit it in rounds on a full grid; here all nine numbers are fitted at once, from
  Chinchilla's fit and from several g, and the best is taken. Each g is held within .5 of 0, in the
  form's favour: when free, sets of few runs send it far away (within 2, the errors are up to half
  as large again).
- A power law with a floor along the optimum: the best loss of each budget against C alone.

The first two go through `fit_parametric`, which gives them intervals; the others are fitted with
Huber's loss on residuals of ln loss at 1.345 robust sigmas, as ours are, and have none."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
from held_out import best_of_each, flops_factor, groups_of
from scipy.optimize import least_squares, nnls

from flops_fit.errors import FitError
from flops_fit.fitter.laws import Law
from flops_fit.fitter.parametric import fit_parametric


class Form:
    "A fitted function of N, D and unique tokens that answers as a `LawFit` does, without intervals"

    def __init__(self, loss, k):
        self.loss, self.k = loss, k

    def predict(self, N, D, unique_tokens=None, interval=None):
        "A table: loss, and lower and upper, which are not known"
        N, D = np.atleast_1d(np.asarray(N, float)), np.atleast_1d(np.asarray(D, float))
        U = D if unique_tokens is None else np.minimum(np.asarray(unique_tokens, float), D)
        return pd.DataFrame(dict(loss=self.loss(N, D, U), lower=np.nan, upper=np.nan))

    def optimum(self, C):
        "N of the least loss on a budget, by search"
        N = np.sqrt(C / self.k) * np.geomspace(1e-3, 1e3, 4001)
        loss = self.predict(N, C / self.k / N).loss
        inside = 0 < loss.argmin() < len(N) - 1
        best = N[loss.argmin()] if inside else np.nan
        return SimpleNamespace(
            optimal_params=best, optimal_params_lower=np.nan, optimal_params_upper=np.nan
        )


def least_huber(ln_loss, starts, loss, bounds=np.inf):
    """Parameters of the least Huber loss of ln residuals, from the best of several starts.
    `ln_loss`: parameters (p,) -> ln L of each run; `bounds`: largest size of each parameter"""
    target = np.log(loss)
    if len(target) <= len(starts[0]):
        raise FitError(f"{len(target)} runs are too few for {len(starts[0])} parameters")

    def miss(theta):
        with np.errstate(all="ignore"):
            return np.clip(np.nan_to_num(ln_loss(theta) - target, nan=50), -50, 50)

    within = dict(x_scale="jac", max_nfev=400, bounds=(-bounds, bounds))
    fits = [least_squares(miss, s, **within) for s in starts]
    fit = min(fits, key=lambda f: f.cost)
    for _ in range(3):  # the robust scale and the fit depend on each other
        size = np.median(np.abs(miss(fit.x))) / 0.6745
        sigma = size * np.sqrt(len(target) / (len(target) - len(fit.x)))
        huber = dict(loss="huber", f_scale=max(1.345 * sigma, 1e-9))
        fit = least_squares(miss, fit.x, **huber, **within)
    return fit.x


def fit_floor_known(a, k, groups=None, **_):
    "Chinchilla's form, E held at .67 of the lowest loss"
    held = dict(fixed={"E": 0.67 * a.loss.min()}, groups=groups, flops_factor=k)
    return fit_parametric(a.num_params, a.num_tokens, a.loss, compute=a.flops, **held)


def saturating_starts(x, y, loss, L0):
    "E, a, b, alpha, beta by columns: a and b by least squares from guesses of the other three"
    out = []
    for share in (0.3, 0.6, 0.85):
        E = share * loss.min()
        s = np.clip((loss - E) / (L0 - E), 0.001, 0.98)
        for alpha in (0.15, 0.3, 0.6):
            for beta in (0.15, 0.3, 0.6):
                terms = np.stack([np.exp(-alpha * x), np.exp(-beta * y)], 1)
                weight = (1 - s) / s  # of ln h, roughly that of ln loss
                a, b = nnls(terms * weight[:, None], s / (1 - s) * weight)[0]
                out.append([E, max(a, 1e-4), max(b, 1e-4), alpha, beta])
    return np.array(out)


def units_of(a):
    "The middles of ln N and ln D: a law fits better in such units"
    return np.log(a.num_params).mean(), np.log(a.num_tokens).mean()


def fit_saturating(a, k, groups=None, L0=None, **_):
    "2605.09189 without its overfitting term: every token taken for new"
    if L0 is None:
        raise FitError("the saturating form needs L0, which is not known here")
    x0, y0 = units_of(a)

    def saturating(N, D, E, a, b, alpha, beta):
        h = a * np.exp(-alpha * (np.log(N) - x0)) + b * np.exp(-beta * (np.log(D) - y0))
        return E + (L0 - E) * h / (1 + h)

    x, y = np.log(a.num_params.to_numpy()) - x0, np.log(a.num_tokens.to_numpy()) - y0
    starts = saturating_starts(x, y, a.loss.to_numpy(), L0)
    law = Law.from_function(saturating)
    return fit_parametric(
        a.num_params,
        a.num_tokens,
        a.loss,
        law=law,
        starts=pd.DataFrame(starts, columns=law.params),
        compute=a.flops,
        groups=groups,
        flops_factor=k,
    )


def fit_overfitting(a, k, L0=None, **_):
    "2605.09189 with its overfitting term"
    x0, y0 = units_of(a)

    def ln_loss(theta, N, D, U):
        E, A, B, alpha, beta, c, gamma, delta = np.exp(theta)
        x, y, u = np.log(N) - x0, np.log(D) - y0, np.log(U) - y0
        h = A * np.exp(-alpha * x) + B * np.exp(-beta * y) + c * np.exp(gamma * x - delta * u)
        return np.log(E + (L0 - E) * h / (1 + h))

    N, D, loss = (a[v].to_numpy(float) for v in ("num_params", "num_tokens", "loss"))
    U = np.minimum(a.unique_tokens.to_numpy(float), D)
    without = saturating_starts(np.log(N) - x0, np.log(D) - y0, loss, L0)
    more = np.array([[c, 0.4, d] for c in (1e-3, 0.1) for d in (0.4, 1.0)])
    starts = np.log(np.hstack([np.repeat(without, len(more), 0), np.tile(more, (len(without), 1))]))
    near = [np.square(ln_loss(s, N, D, U) - np.log(loss)).sum() for s in starts]
    best = [starts[i] for i in np.argsort(near)[:16]]
    theta = least_huber(lambda t: ln_loss(t, N, D, U), best, loss)
    return Form(lambda *runs: np.exp(ln_loss(theta, *runs)), k)


def bent(x, height, slope, g):
    "a·N^g + b with its height and slope at x = ln(N/N0) = 0: a straight line in x where g = 0"
    return height + slope * (x if abs(g) < 1e-6 else np.expm1(g * x) / g)


FARSEER_BOUNDS = np.array([np.inf, np.inf, 0.5] * 3)  # of height, slope and g, three times


def fit_farseer(a, k, **_):
    "arXiv 2506.10972, equation 3"
    x0, y0 = units_of(a)

    def ln_loss(theta, N, D, U=None):
        x, y = np.log(N) - x0, np.log(D) - y0
        floor, ln_B, ln_power = (bent(x, *theta[i : i + 3]) for i in (0, 3, 6))
        return np.logaddexp(floor, ln_B - np.exp(ln_power) * y)

    N, D, loss = (a[v].to_numpy(float) for v in ("num_params", "num_tokens", "loss"))
    p = fit_parametric(N, D, loss).params
    reach = p["A"] / np.exp(p["alpha"] * x0)
    floor = [np.log(p["E"] + reach), -p["alpha"] * reach / (p["E"] + reach)]
    ln_B, ln_power = np.log(p["B"]) - p["beta"] * y0, np.log(p["beta"])
    starts = [
        np.array([*floor, g, ln_B, slope, g, ln_power, -slope, g])
        for g in (-0.3, 0.1, 0.3)
        for slope in (-0.1, 0.01, 0.1)
    ]
    theta = least_huber(lambda t: ln_loss(t, N, D), starts, loss, bounds=FARSEER_BOUNDS)
    return Form(lambda *runs: np.exp(ln_loss(theta, *runs)), k)


def fit_along_optimum(a, k, **_):
    "L = E + c·C^-s through the best runs of the budgets, of those that beat all cheaper ones"
    rows = best_of_each(a.flops, a.loss)
    best = a.iloc[rows].sort_values("flops")
    best = best[best.loss <= best.loss.cummin()]
    c0, lowest = np.log(a.flops).mean(), best.loss.min()

    def ln_loss(theta, C):
        E, c, s = np.exp(theta)
        return np.log(E + c * np.exp(-s * (np.log(C) - c0)))

    C, loss = best.flops.to_numpy(float), best.loss.to_numpy(float)
    shares, powers = (0.3, 0.6, 0.85), (0.05, 0.15, 0.4)
    starts = [np.log([e * lowest, (1 - e) * loss.mean(), s]) for e in shares for s in powers]
    theta = least_huber(lambda t: ln_loss(t, C), starts, loss)
    form = Form(lambda N, D, U: np.exp(ln_loss(theta, k * N * D)), k)
    form.optimum = Form(lambda N, D, U: 0 * N, k).optimum  # it knows no N
    return form


RIVALS = {
    "chinchilla, E = .67": fit_floor_known,
    "saturating": fit_saturating,
    "farseer": fit_farseer,
    "power law of C": fit_along_optimum,
}


def fit_rival(name, runs, low, L0=None):
    "A rival's fit to the runs `low`. Raises `FitError` where it cannot be fitted to them"
    groups = groups_of(runs, low)
    return RIVALS[name](runs[low], flops_factor(runs), groups=groups, L0=L0)
