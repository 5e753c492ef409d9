"""Disentanglement scores from groups of data that share a factor's value.

A group is drawn from a pool of codes. Where the pool is every combination of the factors, its draws are the protocol's:
the factors that are not shared are independent and uniform. A random pool of fewer rows estimates the same scores from
no codes but its own; it should have many rows for each value of a factor.
"""

import warnings
from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from jaxae.errors import InputError, at_least_one
from jaxae.evaluate.factors import Table, binned, usable

Votes = tuple[int, int]
"""How many in training and testing."""
COLLAPSED = 0.05  # a code with a lower standard deviation has no vote
QUANTILE = 0.99  # of how far a code moves, in the interventional robustness score
AT_ONCE = 2**22  # numbers gathered from a pool at a time: memory is bounded whatever the number of votes


def beta_vae_score(pool: Table, rng: np.random.Generator, votes: Votes = (10_000, 5_000), group: int = 64) -> float:
    """How well a linear classifier tells which factor is shared within pairs: test accuracy, 1 / k by chance.

    Higgins et al. 2017 (openreview.net/forum?id=Sy2fzU9gl), section 3. What it sees, a vote, is the mean |z - z'| over
    `group` pairs of codes. It is scikit-learn's logistic regression with the defaults, as in Locatello et al. 2019
    (today multinomial, then one against the rest); its L2 penalty makes the score depend on the scale of the codes.
    Codes that leave out one factor can score 1: no other one is left when none of theirs is shared.
    Raises InputError for an unusable pool, fewer than two factors that vary, or fewer than one vote or pair.
    """
    pool = usable(pool, least=2)[0]
    at_least_one(train_votes=votes[0], test_votes=votes[1], group=group)
    points, shared = _differences(pool, rng, votes[0], group)
    held, expected = _differences(pool, rng, votes[1], group)
    if votes[0] == 1:  # a classifier of one class
        return float(np.mean(expected == shared[0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # 100 iterations, converged or not: the protocol's
        return float(LogisticRegression().fit(points, shared).score(held, expected))


def _differences(
    pool: Table, rng: np.random.Generator, votes: int, group: int
) -> tuple[Float[np.ndarray, "votes latent"], Int[np.ndarray, " votes"]]:
    """(mean absolute differences of pairs, the factor that the pairs share)."""
    points, shared = [], []
    for factor, count in _turns(pool, votes, group):
        one = rng.integers(len(pool.codes), size=(count, group))
        other = _alike(pool, factor, one, rng)
        points.append(np.abs(pool.codes[one] - pool.codes[other]).mean(axis=1))
        shared.append(np.full(count, factor))
    return np.concatenate(points), np.concatenate(shared)


def factor_vae_score(pool: Table, rng: np.random.Generator, votes: Votes = (10_000, 5_000), group: int = 64) -> float:
    """How well the code that varies least tells which factor is fixed: test accuracy, 1 / k by chance.

    Kim and Mnih 2018 (arXiv:1802.05983), section 4. A vote is for the code with the least variance in a group with one
    factor fixed, as a share of its variance in the pool; a code stands for the factor fixed in most of its training
    votes. As in the program of Locatello et al. 2019, codes with a standard deviation below 0.05 get no votes; where
    there are no others, the score is 0.
    Raises InputError for an unusable pool, fewer than two factors that vary or two rows a group, or no votes.
    """
    pool = usable(pool, least=2)[0]
    at_least_one(train_votes=votes[0], test_votes=votes[1])
    if group < 2:
        raise InputError(f"group {group}: expected at least 2, whose variance is taken")
    spread = pool.codes.std(axis=0, ddof=1)
    active = spread >= COLLAPSED
    if not active.any():
        return 0.0
    pool = Table(pool.codes[:, active] / spread[active], pool.factors)
    seen, held = (_least_varied(pool, rng, count, group) for count in votes)
    return float(held[seen.argmax(axis=0), np.arange(len(held.T))].sum() / votes[1])


def _least_varied(pool: Table, rng: np.random.Generator, votes: int, group: int) -> Int[np.ndarray, "k latent"]:
    """How often each code varied least, by the factor that was fixed."""
    found = np.zeros((pool.factors.shape[1], pool.codes.shape[1]), np.int64)
    for factor, count in _turns(pool, votes, group):
        first = rng.integers(len(pool.codes), size=(count, 1))
        rows = _alike(pool, factor, np.repeat(first, group, axis=1), rng)
        least = pool.codes[rows].var(axis=1).argmin(axis=1)
        found[factor] += np.bincount(least, minlength=found.shape[1])
    return found


def _turns(pool: Table, votes: int, group: int) -> Iterator[tuple[int, int]]:
    """(a factor, how many votes to take with it now): every factor in turn, equally often but for the remainder."""
    at_once = max(1, AT_ONCE // (group * pool.codes.shape[1]))
    k = pool.factors.shape[1]
    for factor in range(k):
        left = len(range(factor, votes, k))
        for first in range(0, left, at_once):
            yield factor, min(at_once, left - first)


def _alike(
    pool: Table, factor: int, rows: Int[np.ndarray, "votes group"], rng: np.random.Generator
) -> Int[np.ndarray, "votes group"]:
    """For each row of the pool, a random one with the same value of the factor."""
    column = pool.factors[:, factor]
    order = np.argsort(column, kind="stable")
    inverse, counts = np.unique(column, return_inverse=True, return_counts=True)[1:]
    start, value = np.cumsum(counts) - counts, inverse[rows]
    return order[start[value] + rng.integers(counts[value])]


def irs(table: Table) -> float:
    """The interventional robustness score: how little a code moves while its factor is fixed and the others vary.

    Suter et al. 2018 (arXiv:1811.00007), with the estimate of Locatello et al.'s program: 1 - (the 0.99 quantile of
    |z - its mean| among rows with the factor fixed, averaged over the factor's values) / (the maximum of |z - its mean|
    over all rows), for each code the largest over the factors, averaged with the maxima as weights. Their program puts
    a factor's values into 20 bins of equal width, so a factor of more values never is quite fixed: a perfect code of it
    scores less than 1. Codes independent of all factors score above 0 where their maximum lies beyond the quantile:
    about a third for a Gaussian. Constant codes have no weight; where all are, the score is 0.
    Raises InputError for an unusable table.
    """
    codes, factors = usable(table)[0]
    largest = np.abs(codes - codes.mean(axis=0)).max(axis=0)
    # The mean of equal numbers may differ from them in the last digit.
    active = codes.min(axis=0) < codes.max(axis=0)
    if not active.any():
        return 0.0
    codes, largest = codes[:, active], largest[active]
    moved = [_moved(codes, column) for column in binned(factors.astype(np.float64)).T]
    robust = 1 - np.min(moved, axis=0) / largest
    return float(np.average(robust, weights=largest))


def _moved(codes: Float[np.ndarray, "n latent"], column: Int[np.ndarray, " n"]) -> Float[np.ndarray, " latent"]:
    """The quantile of |z - mean| within rows of one value, averaged over the values."""
    groups = [codes[column == value] for value in np.unique(column)]
    return np.mean([np.quantile(np.abs(group - group.mean(axis=0)), QUANTILE, axis=0) for group in groups], axis=0)
