"""Disentanglement scores of codes whose data have known factors, by the protocol of Locatello et al. 2019.

arXiv:1811.12359 and the program of its authors, disentanglement_lib, whose settings these are. Every score is at
most 1, the higher the better, and is taken from tables of codes and factor values. Each docstring says what deviates.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from scipy.special import entr

from jaxae.data.source import Split
from jaxae.errors import InputError
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.factors import Table, binned, rivalled, usable
from jaxae.evaluate.means import if_finite, with_notes
from jaxae.evaluate.measures import EVERY_FACTOR, UNTOLD


def scores(pool: Table, sizes: tuple[int, ...], seed: int, train: int = 10_000, test: int = 5_000) -> dict[str, float]:
    """Every score, from `train` and `test` examples and as many votes.

    pool: the codes of every combination of the factors, which are independent and uniform, in the order of
    np.ravel_multi_index; sizes: how many values each factor has. The protocol's votes encode 2.88 million new examples;
    here they draw from the pool (737,280 rows for sprites), which is the same.
    With 10 codes of sprites it takes 25 s of CPU, nearly all of it DCI.
    Raises InputError for a pool, sizes or numbers that cannot be scored.
    """
    from jaxae.evaluate.interventions import beta_vae_score, factor_vae_score, irs
    from jaxae.evaluate.prediction import dci, sap  # both: scikit-learn, a second, which other groups do without

    if min(sizes, default=0) < 1 or sum(size > 1 for size in sizes) < 2:
        raise InputError(
            f"factors of sizes {list(sizes)}: expected at least 1 value each, and at least 2 with more than one"
        )
    if seed < 0 or min(train, test) < 2:
        raise InputError(f"seed {seed}, train {train}, test {test}: expected at least 0, 2 and 2")
    n, k = math.prod(sizes), len(sizes)
    if len(pool.codes) != n or pool.factors.shape != (n, k):
        shapes = f"{list(pool.codes.shape)} and {list(pool.factors.shape)}"
        raise InputError(
            f"codes and factors of shapes {shapes}: expected all combinations, [{n}, latent] and [{n}, {k}]"
        )
    rngs = np.random.default_rng(seed).spawn(4)
    rows = [draw(sizes, rng, count) for rng, count in zip(rngs, (train, test))]
    seen, held = (Table(pool.codes[index], pool.factors[index]) for index in rows)
    found = {
        "beta_vae_score": beta_vae_score(pool, rngs[2], (train, test)),
        "factor_vae_score": factor_vae_score(pool, rngs[3], (train, test)),
        "mig": mig(seen),
    }
    found |= {f"dci_{name}": value for name, value in dci(seen, held)._asdict().items()}
    return found | {"sap": sap(seen, held), "modularity": modularity(seen), "irs": irs(seen)}


def draw(sizes: tuple[int, ...], rng: np.random.Generator, count: int) -> Int[np.ndarray, " count"]:
    """The rows, in a table of every combination, of `count` independent draws uniform over every factor's values."""
    return np.ravel_multi_index(tuple(rng.integers(size, size=count) for size in sizes), sizes)


def mutual_information(
    codes: Int[np.ndarray, "n latent"], factors: Int[np.ndarray, "n k"]
) -> Float[np.ndarray, "latent k"]:
    """I(code; factor) in nats, of the empirical distribution of whole numbers from 0. Biased upwards by about
    (values of the code - 1) (values of the factor - 1) / 2 n."""
    information = np.zeros((codes.shape[1], factors.shape[1]))
    for j, factor in enumerate(factors.T):
        size = factor.max() + 1
        for i, code in enumerate(codes.T):
            information[i, j] = _entropy(code) + _entropy(factor) - _entropy(code * size + factor)
    return np.where(information > 1e-12, information, 0.0)  # rounding is no information


def _entropy(column: Int[np.ndarray, " n"]) -> float:
    """In nats."""
    return float(entr(np.bincount(column) / len(column)).sum())


def _numbered(factors: Int[np.ndarray, "n k"]) -> Int[np.ndarray, "n k"]:
    """The values of each factor as 0, 1, ..."""
    return np.stack([np.unique(column, return_inverse=True)[1] for column in factors.T], axis=1)


def mig(table: Table) -> float:
    """The mutual information gap: for each factor, how much more the best code knows of it than the second best.

    Chen et al. 2018 (arXiv:1802.04942), section 4: (I(z_1; v) - I(z_2; v)) / H(v), the mean over factors; with codes in
    20 bins of equal width, so a code knows at most log 20 nats. Of a single code the gap is to a
    constant one. Raises InputError for an unusable table.
    """
    codes, factors = rivalled(usable(table)[0])
    factors = _numbered(factors)
    second, best = np.sort(mutual_information(binned(codes), factors), axis=0)[-2:]
    return float(np.mean((best - second) / [_entropy(column) for column in factors.T]))


def modularity(table: Table) -> float:
    """Whether each code knows of one factor only: the mean over codes of 1 - sum of I(z; v)^2 over the factors but the
    best / ((k - 1) I(z; best)^2).

    Ridgeway and Mozer 2018 (arXiv:1802.05312), section 3. A code that knows nothing counts 0; where it is noise, what
    it seems to know by chance makes its value anything from 0 to 1.
    Raises InputError for an unusable table or fewer than two factors that vary.
    """
    codes, factors = usable(table, least=2)[0]
    squared = np.square(mutual_information(binned(codes), _numbered(factors)))
    best = squared.max(axis=1)
    others = (squared.sum(axis=1) - best) / (factors.shape[1] - 1)
    return float(np.mean(1 - np.divide(others, best, out=np.ones_like(best), where=best > 0)))


def disentangled(bench: Bench) -> Group:
    """The disentanglement scores, on the data's whole grid of factors."""
    sizes = bench.source.factor_sizes
    if not sizes or bench.source.decode is None:
        raise InputError(f"{bench.source.name} has no known factors: choose data that has, such as sprites")
    embed = bench.over(lambda method, variables, keys, batch, step: method.embed(variables, batch))
    notes = [EVERY_FACTOR] if bench.method.given is None else [EVERY_FACTOR, UNTOLD]

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        grid = np.indices(sizes).reshape(len(sizes), -1).T
        view = bench.view(bench.split).like(Split(grid.astype(np.uint8), np.full(len(grid), -1, np.int32)))

        def scored(codes: np.ndarray) -> dict[str, Any]:
            return scores(Table(codes, grid), sizes, bench.settings.seed)

        return [with_notes(if_finite(scored, codes), notes) for codes in embed(models, view)]

    return measure
