"""How many seeds would settle a difference."""

import math
from bisect import bisect_left

import numpy as np
from scipy import stats

from jaxae.compare.statistics import Difference

ALPHA, AIM = 0.05, 0.8  # of the test that is planned: its level, unless told another, and its power
MOST = 10**9


def power(n: int, effect: float, alpha: float = ALPHA) -> float:
    """Chance that the two-sided paired t test of n seeds finds p < alpha, where the differences are normal with mean
    `effect` in units of their sd: exact, from the noncentral t (Cohen 1988, chapter 2; Student's t at effect 0)."""
    critical = stats.t.ppf(1 - alpha / 2, n - 1)
    shift = abs(effect) * math.sqrt(n)
    wrong_side = np.nan_to_num(stats.nct.cdf(-critical, n - 1, shift))  # scipy gives NaN where it is below 1e-40
    return float(stats.nct.sf(critical, n - 1, shift) + wrong_side)


def seeds_needed(difference: Difference, alpha: float = ALPHA) -> int | None:
    """The fewest paired seeds, those at hand included, with which a true difference as large as the observed one, and
    as scattered, is found by the t test at level alpha with probability 0.8. None where it is 0, its scatter unknown,
    or a billion seeds would not do.

    It is as uncertain as the observed difference is: good for planning, no verdict on the runs at hand.
    """
    if not difference.sd or not difference.mean:
        return None
    effect = difference.mean / difference.sd
    enough = 2
    while power(enough, effect, alpha) < AIM:
        if enough == MOST:
            return None
        enough = min(2 * enough, MOST)
    return bisect_left(range(enough), AIM, lo=enough // 2 + 1, key=lambda n: power(n, effect, alpha))
