"""The codes of a run's three splits, which a sampler's density is fitted to, chosen and measured on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array

from jaxae import random
from jaxae.artifacts import pieces
from jaxae.errors import InputError
from jaxae.gaussian import reparameterise
from jaxae.names import SPLITS
from jaxae.run import Trained
from jaxae.setup import EVALUATION_KEY
from jaxae.types import Method, Variables

MOST = {"train": 100_000, "validation": 10_000, "test": 10_000}  # examples, evenly spread
ENOUGH = 20_000  # codes of the training split: where it has fewer examples, more are drawn from each posterior
DRAWS = 10  # of a posterior, at most


class Splits(NamedTuple):
    """Vectors [n, latent], or whole numbers [n, positions]."""

    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class Space(NamedTuple):
    """What a density is over."""

    read: Callable[[Trained, int], Splits]
    """(trained, seed) -> the codes of the splits"""
    decode: Callable[[Method, Variables, Array], Array]
    """(method, variables, codes) -> images"""


def vectors(trained: Trained, seed: int) -> Splits:
    """Samples of q(z|x), so that they follow the aggregated posterior, which the decoder was trained on; the embedded
    codes where the encoder is deterministic."""
    method = trained.setup.method
    if (posterior := method.posterior) is not None:
        return _drawn(trained, seed, lambda variables, keys, batch: reparameterise(keys, posterior(variables, batch)))
    if method.draw is not None:
        return _drawn(trained, seed, method.draw)
    return _drawn(trained, seed, lambda variables, keys, batch: method.embed(variables, batch), most=1)


def numbers(trained: Trained, seed: int) -> Splits:
    """The whole numbers of a method whose latent space is finite: one draw of q(z|x) an example, where that is no
    single code."""
    discrete: Any = trained.setup.method.discrete
    draw = discrete.draw or (lambda variables, keys, batch: discrete.encode(variables, batch))
    return _drawn(trained, seed, draw, most=1)


def _drawn(trained: Trained, seed: int, draw: Callable[..., Array], most: int = DRAWS) -> Splits:
    """draw(variables, keys, batch) of every split's examples, each by its own key; of few training examples up to
    `most` times."""
    compiled, key = jax.jit(draw), random.stream(random.fixed(seed), "codes")

    def of(split: str) -> np.ndarray:
        view, own = pieces.view_of(trained, split, EVALUATION_KEY), random.stream(key, split)
        index = pieces.spread(view, split, min(MOST[split], len(view)))
        times = int(np.clip(ENOUGH // len(index), 1, most)) if split == "train" else 1

        def once(number: int) -> np.ndarray:
            def codes(batch):
                return compiled(trained.variables, random.example_keys(own, number, batch.index), batch)

            return pieces.over(view, index, codes)

        found = np.concatenate([once(number) for number in range(times)])
        if not np.isfinite(found).all():
            raise InputError(f"{trained.setup.config.method} encodes {split} examples to codes that are not finite")
        return found

    return Splits(*map(of, SPLITS))


def _decode_numbers(method: Method, variables: Variables, codes: Array) -> Array:
    assert method.discrete is not None
    return method.discrete.decode(variables, codes)


VECTORS = Space(vectors, lambda method, variables, z: method.decode(variables, z))
NUMBERS = Space(numbers, _decode_numbers)
