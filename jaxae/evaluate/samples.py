"""How good samples are, measured on the features of real and of generated images: arrays [n, d] and [m, d] on the host.

The numbers mean something in their feature space only: say which (`jaxae.evaluate.features`) wherever you print one.
Every standard error is of the choice of examples, and is approximate: see the function that gives it.
"""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from jaxae.data.view import evenly
from jaxae.errors import InputError

Points = Float[np.ndarray, "points features"]
Reals = Float[np.ndarray, "real features"]
Fakes = Float[np.ndarray, "fake features"]
Matrix = Float[np.ndarray, "rows columns"]
Indices = Int[np.ndarray, " _"]
Table = Float[np.ndarray, "_ _"]
NEIGHBOURS = ("precision", "recall", "density", "coverage")
CUTS = 8  # into halves
K, K_DENSITY = 3, 5
LEAST = 5 * (max(K, K_DENSITY) + 1)  # examples that the measures and their errors need
CHUNK = 128  # rows of distances at once: 10,000 columns of them are 10 MB
ROUNDING = 1e-12  # of the squared norms: squared distances that differ by less are equal


class Score(NamedTuple):
    value: float
    se: float
    """The standard error."""


def sample_scores(real: np.ndarray, fake: np.ndarray, other: np.ndarray | None = None) -> dict[str, float]:
    """Every measure of this module, by name, and its standard error as NAME_se: see `frechet` and `neighbours`.

    `other`, features of more real images (of the training split, where `real` is of the test split), gives
    `frechet_floor`: the `frechet` of `real` to as many of them as there are fakes, evenly spread (to all, where there
    are fewer, and then the floor is a little too high). `coverage_expected` is the coverage of a perfect model.
    Raises InputError for sets that are not of numbers, of equal width, and of LEAST examples.
    """
    return scorer(real, len(_points("fake", fake, LEAST)), other)(fake)


def scorer(real: np.ndarray, fakes: int, other: np.ndarray | None = None) -> Callable[[np.ndarray], dict[str, float]]:
    """`sample_scores` of `fakes` samples, from as many models as are wanted: half the work is of the real images
    alone, and done once."""
    held = Held(real, fakes)
    floor = {} if other is None else {"frechet_floor": frechet(real, other[evenly(len(other), fakes)])}

    def scores(fake: np.ndarray) -> dict[str, float]:
        found = {"frechet": frechet(real, fake), **floor, **held.measures(fake)}
        named = {name: score.value for name, score in found.items()}
        errors = {f"{name}_se": score.se for name, score in found.items()}
        return {**named, **errors, "coverage_expected": expected_coverage(len(real), fakes)}

    return scores


def frechet(real: np.ndarray, fake: np.ndarray) -> Score:
    """The squared Fréchet distance of the Gaussians fitted to the two sets, in squared units of the features.

    Dowson and Landau 1982, doi:10.1016/0047-259X(82)90077-X; Heusel et al. 2017 (arXiv:1706.08500):

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1^1/2 C2 C1^1/2)^1/2)

    Where C = A A', the last trace is the sum of the singular values of A1' A2, whatever the factors. With those of a QR
    decomposition of the centred features no covariance is ever squared, inverted or made regular: a singular one is as
    good as any, and equal sets are at distance 0 to rounding. Of fewer examples than features the centred features are
    such factors as they are.

    The value is too high, by a bias that falls as 1/n and depends on the model (Chong and Forsyth 2020,
    arXiv:1911.07023): compare equal numbers of samples only, and read it beside the `frechet` of two real sets of the
    same sizes. The error is the delta method's: the standard deviation of the distance's influence function over the
    examples. It knows nothing of that bias. At the floor it is up to 1.8 times too large.
    """
    real = _points("real", real, least=2)
    fake = _points("fake", fake, 2, real)
    (m1, w1, a1), (m2, w2, a2) = _factors(real), _factors(fake)
    u, s, vt = np.linalg.svd(a1.T @ a2)
    shift = m1 - m2
    value = shift @ shift + np.square(a1).sum() + np.square(a2).sum() - 2 * s.sum()

    def variance(x: Points, direction: Float[np.ndarray, " features"], white: Matrix) -> float:
        """Of the mean influence: h(x) = 2 direction . x + x' (1 - T) x at centred x, T the optimal linear map."""
        h = 2 * x @ direction + np.square(x).sum(axis=1) - np.square(white) @ s
        return h.var(ddof=1) / len(h)

    rank = len(s)
    of_real = variance(real - m1, shift, w1 @ u[:, :rank])
    of_fake = variance(fake - m2, -shift, w2 @ vt[:rank].T)
    return Score(max(float(value), 0.0), math.sqrt(of_real + of_fake))


def _factors(x: Points) -> tuple[Float[np.ndarray, " features"], Matrix, Float[np.ndarray, "features rank"]]:
    """(mean m, w, a) with x - m = w a', and the covariance (divided by n - 1) a a'."""
    mean, scale = x.mean(axis=0), math.sqrt(len(x) - 1)
    if len(x) <= len(mean):
        return mean, np.eye(len(x)) * scale, (x - mean).T / scale
    q, r = np.linalg.qr(x - mean)
    return mean, q * scale, r.T / scale


def neighbours(
    real: np.ndarray, fake: np.ndarray, k: int = K, k_density: int = K_DENSITY, chunk: int = CHUNK
) -> dict[str, Score]:
    """precision, recall, density and coverage. B_k(x) is the closed ball about x to its k-th nearest neighbour among
    the others of its own set.

    Kynkäänniemi et al. 2019 (arXiv:1904.06991):
    precision, the share of fakes in a B_k of any real; recall, the share of reals in a B_k of any fake
    Naeem et al. 2020 (arXiv:2002.09797), with k_density for k:
    density = (1 / (k m)) sum over fakes of the number of reals whose B_k holds it: 1 for a perfect model, and unbounded
    coverage, the share of reals whose B_k holds any fake: `expected_coverage` for a perfect model

    Distances are Euclidean, in float64, and the balls are closed, so that a repeated example (a memorised one) is
    inside. The numbers change with n and m: compare equal sizes only.

    The errors: both sets are cut at random into halves, and half the difference of the halves' values is one draw of
    the error, which takes it to fall as a mean's does; CUTS cuts are pooled. Where density is far above 1 and the balls
    hold most of a half, its halves differ too little: its error is at least that of its sum over reals and fakes with
    the balls as given. So is that of precision, a mean over fakes, and that of recall, over reals. The error of every
    share, and of density, is at least half an example. In eight settings, 200 draws of 60 to 300 examples of 2 to
    64 features, Gaussian or ten classes through a ReLU, the values spread 0.7 to 1.2 times as far as these errors
    say; of 60 examples the error of coverage was below a third of the spread in 16 % of draws. With five times as
    many fakes as reals, of which they cover nearly all, coverage spreads 0.3 times as far.
    """
    fakes = len(_points("fake", fake, least=1))
    return Held(real, fakes, k, k_density, chunk).measures(fake)


class Held:
    """The balls about real examples, of the whole set and of the halves of each cut: `neighbours` for any `fakes` fakes
    that they may hold."""

    def __init__(self, real: np.ndarray, fakes: int, k: int = K, k_density: int = K_DENSITY, chunk: int = CHUNK):
        if min(k, k_density) < 1:
            raise InputError(f"k {min(k, k_density)}: expected a number of neighbours of at least 1")
        self.k, self.k_density, self.chunk, self.least = k, k_density, chunk, 5 * (max(k, k_density) + 1)
        self.real = _points("real", real, self.least)
        random = np.random.RandomState(0)
        parts = [(np.arange(len(self.real)), np.arange(fakes))]
        for _ in range(CUTS):
            one, two = random.permutation(len(self.real)), random.permutation(fakes)
            parts += [(np.sort(one[half::2]), np.sort(two[half::2])) for half in range(2)]
        self.reals, self.fakes = zip(*parts, strict=True)
        self.near = _radii(self.real, (k, k_density), chunk, self.reals)

    def measures(self, fake: np.ndarray) -> dict[str, Score]:
        fake = _points("fake", fake, self.least, self.real)
        near_fake = _radii(fake, (self.k,), self.chunk, self.fakes)
        found = [_Counts(*radii, self.k_density) for radii in zip(self.near, near_fake, strict=True)]
        centre = self.real.mean(axis=0)
        left, right = _left(fake - centre, 1 - ROUNDING), _right(self.real - centre, 1 - ROUNDING)
        for rows in _chunks(len(fake), self.chunk):
            apart = left[rows] @ right  # squared distances, [chunk, real]
            for counts, reals, fakes in zip(found, self.reals, self.fakes, strict=True):
                counts.add(*_rows_of(apart, rows, fakes, reals))
        (values, floors), *halves = (counts.measures() for counts in found)
        halved = [(first - second) / 2 for (first, _), (second, _) in zip(halves[::2], halves[1::2], strict=True)]
        variance = np.square(halved).mean(axis=0)
        return {
            name: Score(float(value), math.sqrt(max(of_cuts, least)))
            for name, value, of_cuts, least in zip(NEIGHBOURS, values, variance, floors, strict=True)
        }


class _Counts:
    """Which points lie in the balls about those of the other set: squared radii `near` [2, real], `near_fake` [1, fake]
    to the k-th and to the k_density-th neighbour, and to the k-th."""

    def __init__(self, near: Table, near_fake: Table, k_density: int):
        (self.near, self.near_density), (self.near_fake,), self.k = near, near_fake, k_density
        self.precise, self.holders = np.zeros(len(self.near_fake), bool), np.zeros(len(self.near_fake))
        self.recalled, self.held = np.zeros(len(self.near), bool), np.zeros(len(self.near))

    def add(self, fakes: slice, apart: Matrix) -> None:
        """Squared distances of some fakes from all reals."""
        self.precise[fakes] = (apart <= self.near).any(axis=1)
        self.recalled |= (apart <= self.near_fake[fakes, None]).any(axis=0)
        inside = apart <= self.near_density
        self.holders[fakes] = inside.sum(axis=1)
        self.held += inside.sum(axis=0)

    def measures(self) -> tuple[Float[np.ndarray, "4"], Float[np.ndarray, "4"]]:
        """The values of NEIGHBOURS, and the least that is to be taken for the variance of each."""
        real, fake = len(self.held), len(self.holders)
        density = self.held.sum() / (self.k * fake)
        values = np.asarray([self.precise.mean(), self.recalled.mean(), density, (self.held > 0).mean()])
        of_reals = np.var(self.held * real / (self.k * fake), ddof=1) / real
        of_density = of_reals + np.var(self.holders / self.k, ddof=1) / fake
        one = (0.5 / np.asarray([fake, real, fake, real])) ** 2  # half an example
        as_given = np.asarray([np.var(self.precise) / fake, np.var(self.recalled) / real, of_density, 0.0])
        return values, np.maximum(as_given, one)


def expected_coverage(real: int, fake: int, k: int = K_DENSITY) -> float:
    """The coverage to expect where both sets come from one density, exactly: of the others of both sets, the k nearest
    to a real are not all real. Naeem et al. 2020, lemma 2; about 1 - (1 + fake / real)^-k."""
    others = np.arange(k)
    return float(1 - np.prod((real - 1 - others) / (real + fake - 1 - others)))


def _radii(x: Points, ks: tuple[int, ...], chunk: int, parts: Sequence[Indices]) -> list[Table]:
    """For each k, the squared distance of every point of a part to its k-th nearest neighbour among the part's others;
    for each part."""
    x = x - x.mean(axis=0)
    left, right = _left(x), _right(x)
    radii = [np.empty((len(ks), len(part))) for part in parts]
    for rows in _chunks(len(x), chunk):
        apart = left[rows] @ right
        apart[np.arange(len(apart)), np.arange(len(x))[rows]] = np.inf
        for found, part in zip(radii, parts, strict=True):
            places, mine = _rows_of(apart, rows, part, part)
            nearest = np.sort(np.partition(mine, max(ks) - 1, axis=1)[:, : max(ks)], axis=1)
            found[:, places] = nearest[:, np.asarray(ks) - 1].T
    return [np.maximum(found, 0.0) for found in radii]


def _rows_of(apart: Matrix, rows: slice, part: Indices, columns: Indices) -> tuple[slice, Table]:
    """(places in the part, [these, columns]) of those rows that are of the part, where `apart` has the rows `rows`."""
    first, last = np.searchsorted(part, (rows.start, rows.stop))
    return slice(first, last), apart[part[first:last] - rows.start].take(columns, axis=1)


def _left(x: Points, scale: float = 1.0) -> Matrix:
    """_left(x) @ _right(y) is |x|^2 + |y|^2 - 2 x . y of every pair, the squares times `scale`: a matrix product is ten
    times faster than differences, and less than one by ROUNDING lets no tie be broken by the order of a sum."""
    norms = scale * np.square(x).sum(axis=1, keepdims=True)
    return np.concatenate([x, norms, np.ones_like(norms)], axis=1)


def _right(y: Points, scale: float = 1.0) -> Matrix:
    norms = scale * np.square(y).sum(axis=1, keepdims=True)
    return np.concatenate([-2 * y, np.ones_like(norms), norms], axis=1).T


def _chunks(count: int, chunk: int) -> list[slice]:
    return [slice(first, first + chunk) for first in range(0, count, chunk)]


def _points(name: str, x: np.ndarray, least: int, real: Reals | None = None) -> Points:
    """As float64; of as many features as the real ones."""
    x = np.asarray(x)
    if x.ndim != 2 or len(x) < least:
        raise InputError(f"{name} features {x.shape}: expected [examples, features], at least {least} examples")
    if not np.isfinite(x).all():
        raise InputError(f"{name} features: expected finite numbers, found {x[~np.isfinite(x)][0]}")
    if real is not None and real.shape[1] != x.shape[1]:
        raise InputError(f"real features {real.shape}, fake {x.shape}: expected as many features of both")
    return np.asarray(x, np.float64)
