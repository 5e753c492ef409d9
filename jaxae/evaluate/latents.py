"""What the codes tell: which units are in use, whether the posterior has collapsed, what can be read off them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxae.evaluate.units import ACTIVE, Units

TELLS = 0.01  # nats: a unit whose KL is below has gone back to the prior
SILENT = 0.1  # the same of a whole code
NEIGHBOURS = 10
ROUNDS = 300  # of the linear probe's optimiser, at most


def diagnosis(units: Units, told: float | None = None) -> str:
    """In words, whether the latent units are in use. `told`: the KL of the whole code, nats an example, where it has a
    density but no unit has a KL by itself."""
    count = len(units.variance)
    if told is not None:
        if told < SILENT:
            return (
                f"posterior collapse: the code of {_units(count)} tells {max(told, 0.0):.3f} nats an example, next to "
                "nothing: lower beta, warm it up from 0, or give free bits"
            )
        return f"no collapse: the code of {_units(count)} tells {told:.2f} nats an example"
    if units.kl is None:
        still = int(np.sum(units.variance < ACTIVE * units.variance.max()))
        if units.variance.max() < 1e-8:
            return f"collapsed: the code of {_units(count)} is the same for every example"
        if still:
            return f"{still} of {_units(count)} vary less than a hundredth of what the busiest does"
        return f"no collapse: {_units(count, 'all')} vary with the example"
    silent = int(np.sum(units.kl < TELLS))
    if silent == count:
        return (
            f"posterior collapse: {_units(count, 'all')} have gone back to the prior, the decoder is told nothing: "
            "lower beta, warm it up from 0, or give free bits"
        )
    if silent:
        return f"{silent} of {_units(count)} have gone back to the prior (KL below {TELLS} nats): they tell nothing"
    idle = count - units.active
    if idle:
        return f"no collapse, but {idle} of {_units(count)} hardly move with the example (variance below {ACTIVE})"
    return f"no collapse: {_units(count, 'all')} are in use"


def _units(count: int, first: str = "") -> str:
    if count == 1:
        return "the one latent unit"
    return f"{first} {count} latent units".strip()


def linear_probe(
    train: tuple[Float[np.ndarray, "n latent"], Int[np.ndarray, " n"]],
    test: tuple[Float[np.ndarray, "m latent"], Int[np.ndarray, " m"]],
) -> dict[str, float]:
    """Accuracy on `test` of a logistic regression fitted to standardised codes and labels (Alain and Bengio 2016,
    arXiv:1610.01644), and its binomial standard error."""
    from sklearn.linear_model import LogisticRegression  # a second, which training and the likelihood do without
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=ROUNDS))
    return _accuracy("linear_probe", probe, train, test)


def nearest_neighbours(
    train: tuple[Float[np.ndarray, "n latent"], Int[np.ndarray, " n"]],
    test: tuple[Float[np.ndarray, "m latent"], Int[np.ndarray, " m"]],
) -> dict[str, float]:
    """Accuracy on `test` of the vote of the nearest codes of `train`, in the code's own scale."""
    from sklearn.neighbors import KNeighborsClassifier

    vote = KNeighborsClassifier(min(NEIGHBOURS, len(train[0])))
    return _accuracy("nearest_neighbours", vote, train, test)


def _accuracy(name: str, classifier: Any, train: Sequence[Any], test: Sequence[Any]) -> dict[str, float]:
    n, right = len(test[1]), float(np.mean(classifier.fit(*train).predict(test[0]) == test[1]))
    return {name: right, f"{name}_se": math.sqrt(right * (1 - right) / n) or 0.5 / n}


def codebook_use(codes: Int[np.ndarray, "n positions"], size: int) -> dict[str, float]:
    """How much of a finite latent space is in use.

    codebook_use: the share of the `size` numbers that occur at all, and codebook_use_expected what as many codes drawn
    evenly would use; position_use: the share at each position, averaged. codebook_perplexity: exp of the entropy of
    their frequencies, from 1 to `size`; position_perplexity: the same of each position's own frequencies, averaged over
    positions (what counts where each position has a codebook of its own, as in residual quantisation).
    """
    counts = np.stack([np.bincount(column, minlength=size) for column in codes.T])
    return {
        "codebook_use": float(np.mean(counts.sum(axis=0) > 0)),
        "codebook_use_expected": float(1 - (1 - 1 / size) ** codes.size),
        "position_use": float(np.mean(counts > 0)),
        "codebook_perplexity": _perplexity(counts.sum(axis=0)),
        "position_perplexity": float(np.mean([_perplexity(row) for row in counts])),
    }


def _perplexity(counts: Int[np.ndarray, " size"]) -> float:
    share = counts[counts > 0] / counts.sum()
    return float(np.exp(-np.sum(share * np.log(share))))
