"""What the codes tell: which units are in use, whether the posterior has collapsed, what can be read off them."""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxae import random
from jaxae.errors import InputError
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.means import NOT_FINITE, if_finite, mean, with_notes
from jaxae.evaluate.measures import UNTOLD
from jaxae.evaluate.units import ACTIVE, Units, units
from jaxae.types import Batch

TELLS = 0.01  # nats: a unit whose KL is below has gone back to the prior
ONE = "of one example: which units vary over examples is not known"
SILENT = 0.1  # the same of a whole code
NEIGHBOURS = 10
PROBED = 10_000  # examples of a split that probes are fitted to and tried on, at most, evenly spread
SAME = 1e-6  # of the largest code of a unit: less of a difference is rounding
ENOUGH = 10  # codes for each number of a codebook, with which its use is known
DRAWS = 16  # codes an example, of a posterior whose mean is not known
ROUNDS = 300  # of the linear probe's optimiser, at most


def diagnosis(units: Units, told: float | None = None) -> str:
    """In words, whether the latent units are in use. `told`: the KL of the whole code, nats an example, where it has a
    density but no unit has a KL by itself."""
    count = len(units.variance)
    code = f"the code of {'one latent unit' if count == 1 else f'{count} latent units'}"
    if told is not None and told < SILENT:
        return (
            f"posterior collapse: {code} tells {max(told, 0.0):.3f} nats an example, next to nothing: "
            "lower beta, warm it up from 0, or give free bits"
        )
    if told is not None:
        return f"no collapse: {code} tells {told:.2f} nats an example"
    silent = np.zeros(count, bool) if units.kl is None else units.kl < TELLS
    if silent.all():
        return (
            f"posterior collapse: {_some(count, count, 'have', 'has')} gone back to the prior, the decoder is told "
            "nothing: lower beta, warm it up from 0, or give free bits"
        )
    if np.all(np.sqrt(units.variance) <= SAME * units.largest):
        of = code if units.kl is None else f"the mean of {code}"
        return f"collapsed: {of} is the same for every example"
    if units.kl is None:
        if still := int(np.sum(units.variance < ACTIVE * units.variance.max())):
            return f"{_some(still, count, 'vary', 'varies')} less than a hundredth of what the busiest does"
        return f"no collapse: {_some(count, count, 'vary', 'varies')} with the example"
    gone, idle = int(silent.sum()), int(np.sum(~silent & (units.variance <= ACTIVE)))
    moves = f"with the example (variance below {ACTIVE})"
    if gone:
        more = f"; {idle} more hardly {'moves' if idle == 1 else 'move'} {moves}" if idle else ""
        have = _some(gone, count, "have", "has")
        return f"{have} gone back to the prior (KL below {TELLS} nats), which tells nothing{more}"
    if idle:
        return f"no collapse, but {_some(idle, count, 'hardly move', 'hardly moves')} {moves}"
    return f"no collapse: {_some(count, count, 'are', 'is')} in use"


def _some(some: int, count: int, many: str, one: str) -> str:
    """Who does it, and the verb."""
    if count == 1:
        return f"the one latent unit {one}"
    return f"{f'all {count}' if some == count else f'{some} of {count}'} latent units {one if some == 1 else many}"


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
    whole, *each = (np.unique(numbers, return_counts=True)[1] for numbers in (codes, *codes.T))
    return {
        "codebook_use": len(whole) / size,
        "codebook_use_expected": float(1 - (1 - 1 / size) ** codes.size),
        "position_use": float(np.mean([len(counts) for counts in each])) / size,
        "codebook_perplexity": _perplexity(whole),
        "position_perplexity": float(np.mean([_perplexity(counts) for counts in each])),
    }


def _perplexity(counts: Int[np.ndarray, " used"]) -> float:
    share = counts / counts.sum()
    return float(np.exp(-np.sum(share * np.log(share))))


def codes_in_use(bench: Bench) -> Group:
    """Active units and the KL of each unit; whether the posterior has collapsed, in words."""
    codes, method = bench.over(_codes), bench.method
    dense = method.log_weight is not None and method.discrete is None

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        found = []
        for of in codes(models, bench.view(bench.split)):
            statistics = units(of, method.standard_prior)
            kl = None if statistics.kl is None else [float(value) for value in statistics.kl]
            told = None if "kl" not in of else mean(of["kl"])
            finite, one = all(np.isfinite(value).all() for value in of.values()), len(of["z"]) == 1
            said = ONE if one else diagnosis(statistics, told)
            found.append(
                {
                    "active_units": statistics.active if dense and not one else None,
                    **({} if kl is None else {"kl_of_units": kl}),
                    "notes": [said if finite else NOT_FINITE],
                }
            )
        return found

    return measure


def _codes(method: Any, variables: Any, keys: Any, batch: Batch, step: Any) -> dict[str, Any]:
    """What `units` wants to know, and "kl", log q(z|x) - log p(z) of DRAWS codes, where no unit has a KL of its own."""
    for_kl, for_draws = random.split(keys)
    of = {"z": method.embed(variables, batch)}
    if method.log_weight is not None and not (method.standard_prior and method.posterior is not None):

        def told(number):
            weight = method.log_weight(variables, random.numbered(for_kl, number), batch)
            return weight.posterior - weight.prior

        of["kl"] = jnp.mean(jax.lax.map(told, jnp.arange(DRAWS)), axis=0)
    if method.posterior is not None:
        return of | method.posterior(variables, batch)._asdict()
    if method.draw is None or method.discrete is not None:
        return of

    def drawn(number):
        return method.draw(variables, random.numbered(for_draws, number), batch)

    return of | {"draws": jnp.moveaxis(jax.lax.map(drawn, jnp.arange(DRAWS)), 0, 1)}


def probes(bench: Bench) -> Group:
    """What a linear probe and the nearest neighbours, fitted to the training split, read off the codes of the examples
    that have a label."""
    if bench.split == "train":
        raise InputError("the probes of split train are fitted to it: expected validation or test")
    train, test = (bench.view(split).spread(PROBED) for split in ("train", bench.split))
    (fitted, tried), known = (np.flatnonzero(view.labels >= 0) for view in (train, test)), train.labels.max()
    if min(len(fitted), len(tried)) == 0:
        raise InputError(f"{bench.source.name} has no labels to probe the codes for")
    if len(np.unique(train.labels[fitted])) < 2:
        raise InputError(f"{bench.source.name} has one label alone ({known}): no classes to tell apart by the codes")

    def embed(method, variables, keys, batch, step):
        """Of a conditional method at no label: its code would else tell the label that it was told."""
        untold = batch if method.given is None else batch._replace(label=jnp.full_like(batch.label, -1))
        return method.embed(variables, untold)

    codes = bench.over(embed)

    def scores(of_train: np.ndarray, of_test: np.ndarray) -> dict[str, Any]:
        both = (of_train[fitted], train.labels[fitted]), (of_test[tried], test.labels[tried])
        return linear_probe(*both) | nearest_neighbours(*both)

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        settings = {"settings": {"examples": len(tried), "fitted": len(fitted)}}
        notes = [] if bench.method.given is None else [UNTOLD]
        every = zip(codes(models, train), codes(models, test))
        return [with_notes(if_finite(scores, *of), notes) | settings for of in every]

    return measure


def codebook(bench: Bench) -> Group:
    """How much of a finite latent space the split uses."""
    if (discrete := bench.method.discrete) is None:
        raise InputError(f"{bench.name} has no finite latent space: no codebook whose use could be counted")
    codes = bench.over(lambda method, variables, keys, batch, step: method.discrete.encode(variables, batch))

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        return [_use(of, discrete.size) for of in codes(models, bench.view(bench.split))]

    return measure


def _use(codes: np.ndarray, size: int) -> dict[str, Any]:
    found = codebook_use(codes, size)
    if codes.size >= ENOUGH * size:
        return found
    return found | {
        "notes": [
            f"{codes.size:,} codes tell little of a codebook of {size:,}: used evenly by chance they would be "
            f"{found['codebook_use_expected']:.3f} of it, and a perplexity too is bounded by their number"
        ]
    }
