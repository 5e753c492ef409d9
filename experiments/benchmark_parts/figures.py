"""Medians, ranges, and whether two peers have computed the same."""

import statistics
from collections.abc import Mapping, Sequence
from typing import NamedTuple

TOLERANCE = 0.03
"""The largest relative difference of two windows' mean losses that passes for the same computation. All peers start
from the same parameters, so only the noise and the order of the data differ: a mean over 5,120 examples whose losses
have a standard deviation of some 25 to 60 nats has a standard error of 0.2 to 0.5 % of 100 to 200 nats; where the loss
falls steeply, in the first windows, the paths differ by up to 1 % more. A KL term left out, one importance sample for
fifty, or another learning rate move it by 5 % and more."""


class Spread(NamedTuple):
    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    return Spread(statistics.median(values), min(values), max(values))


def ratios(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Of each round's two rates, which were measured one right after the other: what slows a round slows both."""
    return spread([mine / other for mine, other in zip(ours, theirs, strict=True)])


def share(rates: Sequence[float], flops: int, matmul: float) -> float:
    """Of the machine's own rate of matrix products, at the median rate of examples."""
    return statistics.median(rates) * flops / matmul


class Agreement(NamedTuple):
    """What two peers' loss curves say of each other."""

    what: str
    windows: int
    ours: float
    """In the last window that both have reached, nats an example."""
    theirs: float
    difference: float
    """The largest relative one of all windows."""

    @property
    def agrees(self) -> bool:
        return self.difference <= TOLERANCE  # NaN does not


def agreement(ours: Sequence[Mapping[str, list[float]]], theirs: Sequence[Mapping[str, list[float]]]) -> Agreement:
    """Of the curves of every round, each one mean loss a window: their means over the rounds are compared, on the first
    name that both know. Nothing in common is no agreement: not one window, or not one name."""
    name = next((name for name in ours[0] if name in theirs[0]), "")
    curves = [curve[name] for curve in [*ours, *theirs]] if name else [[]]
    windows = min(map(len, curves))
    if not windows:
        return Agreement(name, 0, float("nan"), float("nan"), float("nan"))
    mine, other = (
        [statistics.fmean(curve[name][n] for curve in side) for n in range(windows)] for side in (ours, theirs)
    )
    apart = [abs(one - two) / abs(two) for one, two in zip(mine, other)]
    largest = max(apart) if all(x == x for x in apart) else float("nan")
    return Agreement(name, windows, mine[-1], other[-1], largest)
