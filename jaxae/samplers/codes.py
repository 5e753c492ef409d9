"""The codes of a run's three splits, which a sampler's density is fitted to, chosen and measured on."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxae import artifacts, random
from jaxae.artifacts import pieces
from jaxae.build import EVALUATION_KEY
from jaxae.errors import InputError
from jaxae.gaussian import reparameterise
from jaxae.names import SPLITS
from jaxae.run import Trained
from jaxae.types import Method, Normal, Variables

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
    key = random.stream(jax.random.key(seed), "codes")
    return Splits(*[_vectors(trained, split, random.stream(key, split)) for split in SPLITS])


def _vectors(trained: Trained, split: str, key: Array) -> np.ndarray:
    count = min(MOST[split], len(trained.setup.source.split(split)))
    draws = int(np.clip(ENOUGH // count, 1, DRAWS)) if split == "train" else 1
    found, own = artifacts.encode(trained, split, EVALUATION_KEY, count), trained.setup.method.draw
    z = found["z"]
    if "log_var" in found:
        q, index = Normal(*(jnp.asarray(found[name]) for name in ("mean", "log_var"))), jnp.arange(count)
        draw = jax.jit(lambda q, number: reparameterise(random.example_keys(key, number, index), q))
        z = np.concatenate([jax.device_get(draw(q, number)) for number in range(draws)])
    elif own is not None:
        z = np.concatenate([_drawn(trained, split, jax.jit(own), key, number) for number in range(draws)])
    if not np.isfinite(z).all():
        raise InputError(f"{trained.setup.config.method} encodes {split} examples to codes that are not finite")
    return z


def _drawn(trained: Trained, split: str, draw: Callable[..., Array], key: Array, number: int = 0) -> np.ndarray:
    """draw(variables, keys, batch) of the split's examples, each by its own key."""
    view = pieces.view_of(trained, split, EVALUATION_KEY)
    index = pieces.spread(view, split, min(MOST[split], len(view)))
    return pieces.over(
        view, index, lambda batch: draw(trained.variables, random.example_keys(key, number, batch.index), batch)
    )


def numbers(trained: Trained, seed: int) -> Splits:
    """The whole numbers of a method whose latent space is finite: one draw of q(z|x) an example, where that is no
    single code."""
    discrete: Any = trained.setup.method.discrete
    draw = jax.jit(discrete.draw or (lambda variables, keys, batch: discrete.encode(variables, batch)))
    key = random.stream(jax.random.key(seed), "codes")
    return Splits(*[_drawn(trained, split, draw, random.stream(key, split)) for split in SPLITS])


def _decode_numbers(method: Method, variables: Variables, codes: Array) -> Array:
    assert method.discrete is not None
    return method.discrete.decode(variables, codes)


VECTORS = Space(vectors, lambda method, variables, z: method.decode(variables, z))
NUMBERS = Space(numbers, _decode_numbers)
