"""Statistics of a few seeds: pure functions of arrays, one value a seed, in the measure's own unit.

Every function refuses values that are not finite: a diverged run is left out by the caller, who has to say so.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import optimize, stats

from jaxae.errors import InputError

LEVEL = 0.95
RESAMPLES = 9999
FEWEST_RESAMPLED = 8
FEWEST_RANKED = 3
ROUNDING = 1e-12
CUT = 0.25  # of each end, for the interquartile mean


class Summary(NamedTuple):
    """One setting's seeds. An interval, or the sd, is None where n is too small for it."""

    n: int
    mean: float
    low: float | None
    high: float | None
    sd: float | None
    median: float
    iqm: float
    iqm_low: float | None
    iqm_high: float | None


class Difference(NamedTuple):
    """x - y over common seeds. p is that of the paired t test; None where the differences have no spread."""

    n: int
    mean: float | None
    low: float | None
    high: float | None
    sd: float | None
    p: float | None


class Improvement(NamedTuple):
    """P(X < Y) + P(X = Y) / 2 for a new seed of each, from n and m seeds."""

    probability: float
    low: float | None
    high: float | None
    n: int
    m: int


def summary(values: Float[np.ndarray, " n"], level: float = LEVEL) -> Summary:
    """Mean with its t interval, sd (of n - 1), median, and interquartile mean with its bootstrap interval."""
    values = _finite(values, "values")
    if not len(values):
        raise InputError("no values: expected at least one seed")
    low, high = t_interval(values, level)
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else None
    iqm = float(stats.trim_mean(values, CUT))
    return Summary(
        len(values), float(np.mean(values)), low, high, sd, float(np.median(values)), iqm, *iqm_interval(values, level)
    )


def t_interval(values: Float[np.ndarray, " n"], level: float = LEVEL) -> tuple[float | None, float | None]:
    """Interval for the expected value over seeds: mean ± t sd / sqrt(n) (Student 1908), from two seeds on.

    It is exact at every n where the seeds' values are normal. A bootstrap is not for so few: of normal values, its 95 %
    interval for the mean covers 0.76 of the time at n = 3, 0.85 at 5 and 0.90 at 10. None where the values have no
    spread: that so few were alike does not say that all would be.
    """
    values = _finite(values, "values")
    n = len(values)
    if n < 2 or np.ptp(values) == 0:
        return None, None
    half = stats.t.ppf((1 + level) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n)
    return float(np.mean(values) - half), float(np.mean(values) + half)


def iqm_interval(values: Float[np.ndarray, " n"], level: float = LEVEL) -> tuple[float | None, float | None]:
    """Percentile bootstrap interval (Efron 1979) for the interquartile mean, the mean without the floor(n / 4) lowest
    and highest values (Agarwal et al. 2021, arXiv:2108.13264, section 4.3).

    Percentile as in that paper; BCa measured no better here. From 8 seeds on, where a 95 % interval covers 0.93 to
    0.94 of the time, of normal and of exponential values; at 5 it is 0.88 to 0.91, at 3 0.75. The resampling has a
    fixed seed and starts from the sorted values: the same seeds give the same interval, in whatever order.
    """
    values = np.sort(_finite(values, "values"))
    if len(values) < FEWEST_RESAMPLED or np.ptp(values) == 0:
        return None, None
    found = stats.bootstrap(
        (values,),
        lambda x, axis: stats.trim_mean(x, CUT, axis=axis),
        n_resamples=RESAMPLES,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(0),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def paired_difference(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " m"], level: float = LEVEL) -> Difference:
    """Mean of x - y, both of one seed each time, with its t interval and the two-sided paired t test (Student 1908).

    Two runs of one seed share their initial draws, noise and data order, so part of the scatter cancels. The interval
    leaves out 0 exactly where p < 1 - level. With no pair everything is None; with one, all but the difference.
    """
    x, y = _finite(x, "x"), _finite(y, "y")
    if len(x) != len(y):
        raise InputError(f"{len(x)} and {len(y)} values: expected one of each for every common seed")
    if not len(x):
        return Difference(0, None, None, None, None, None)
    d, rounding = x - y, ROUNDING * np.abs([x, y]).max()
    if np.ptp(d) <= rounding:
        d = np.full(len(d), np.mean(d))  # all alike but for rounding: no spread
    low, high = t_interval(d, level)
    p = None if low is None else float(stats.ttest_1samp(d, 0.0).pvalue)
    mean = float(np.mean(d)) if abs(np.mean(d)) > rounding else 0.0
    return Difference(len(d), mean, low, high, float(np.std(d, ddof=1)) if len(d) > 1 else None, p)


def improvement(x: Float[np.ndarray, " n"], y: Float[np.ndarray, " m"], level: float = LEVEL) -> Improvement:
    """Probability that a new seed of x is below one of y, ties counted half: U / (n m) (Mann and Whitney 1947; for
    comparing runs, Agarwal et al. 2021, arXiv:2108.13264, section 4.3). Seeds are not paired here.

    Interval: Newcombe 2006 (Statistics in Medicine 25:559, method 5), the probabilities p that lie within z standard
    errors of the estimate, with the variance of Hanley and McNeil 1982 taken at p itself. So two settings that do not
    overlap at all still get an interval, which a bootstrap would shrink to a point. Measured coverage of 95 %
    intervals, for two normals of one sd, 0 to 3 sd apart: 0.90 to 0.98 at n = m = 3, 0.93 to 0.96 at 5. Where one
    setting scatters three to ten times as far as the other it is 0.79 to 0.85 at 3. From 3 seeds each.
    """
    x, y = _finite(x, "x"), _finite(y, "y")
    n, m = len(x), len(y)
    if not n or not m:
        raise InputError("no values: expected at least one of each setting")
    at = float(stats.mannwhitneyu(y, x).statistic) / (n * m)
    if min(n, m) < FEWEST_RANKED:
        return Improvement(at, None, None, n, m)
    upper = _upper(at, n, m, level)
    return Improvement(at, 1 - _upper(1 - at, n, m, level), upper, n, m)


def _upper(at: float, n: int, m: int, level: float) -> float:
    """The largest p whose standard error still reaches down to `at`."""
    if at == 1:
        return 1.0
    z, weight = stats.norm.ppf((1 + level) / 2), (n + m) / 2 - 1

    def beyond(p: float) -> float:
        variance = p * (1 - p) * (1 + weight * ((1 - p) / (2 - p) + p / (1 + p))) / (n * m)
        return p - at - z * np.sqrt(variance)

    return float(optimize.brentq(beyond, max(at, 1e-9), 1.0))


def holm(p: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """p-values adjusted so that, below alpha, the chance of any false finding among them all is below alpha (Holm
    1979, Scandinavian Journal of Statistics 6:65): the i-th smallest of k times k - i + 1, never below one before it.

    NaN stands for a comparison that could not be tested: it stays NaN and is not counted in k.
    """
    adjusted = np.full(len(p), np.nan)
    order = [i for i in np.argsort(p, kind="stable") if not np.isnan(p[i])]
    running = 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p[i]))
        adjusted[i] = running
    return adjusted


def _finite(values: Float[np.ndarray, " n"], name: str) -> Float[np.ndarray, " n"]:
    if not np.isfinite(values).all():
        raise InputError(f"{name} {values.tolist()}: expected finite numbers: leave a diverged run out, and say so")
    return np.asarray(values, np.float64)
