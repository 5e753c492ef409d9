"""A density over codes that is fitted to them, and the same on standardised codes."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.samplers.codes import Splits
from jaxae.types import Keys

Model = dict[str, Any]
"""What was fitted: arrays, in dicts of dicts."""


class Density(NamedTuple):
    """A density of codes that a sampler fits."""

    fit: Callable[[int, Splits], Model]
    """(seed, codes) -> model; of the held-out splits only `validation` may be looked at"""
    log_prob: Callable[[Model, Keys, Array], Float[Array, " batch"]]
    """(model, keys, codes) -> log p(codes) in nats an example, or a lower bound drawn with the keys"""
    draw: Callable[[Model, Keys], Array]
    """(model, keys) -> codes [batch, ...]"""
    bound: bool = False
    """Whether log_prob is a lower bound: not to be compared with a density that is exact."""


def standardised(inner: Density) -> Density:
    """`inner` on (z - mean) / sd of the training split, unit by unit, as a density of z itself.

    A unit that does not vary, as one that is never active, keeps its scale.
    """

    def fit(seed, codes):
        train = codes.train.astype(np.float64)
        mean, sd = train.mean(axis=0), train.std(axis=0)
        sd = np.where(sd > 1e-6 * np.maximum(1, np.abs(mean)), sd, 1)
        scaled = Splits(*[((z - mean[None]) / sd[None]).astype(np.float32) for z in codes])
        return {"mean": np.float32(mean), "sd": np.float32(sd), "inner": inner.fit(seed, scaled)}

    def log_prob(model, keys, z):
        scaled = (z - model["mean"][None]) / model["sd"][None]
        return inner.log_prob(model["inner"], keys, scaled) - jnp.sum(jnp.log(model["sd"]))

    def draw(model, keys):
        return model["mean"][None] + model["sd"][None] * inner.draw(model["inner"], keys)

    return Density(fit, log_prob, draw, inner.bound)
