"""The course of the leaps by which a sample moves (hamiltonian_vae, riemannian_vae): how long they are, and how
momentum is cooled."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae.errors import InputError, at_least_one
from jaxae.types import Batch, PyTree, Variables


class Course(NamedTuple):
    """Sizes and temperatures of leaps, which are learned: `params["leaps"]`."""

    init: Callable[[Array, Batch], PyTree]
    of: Callable[[Variables], tuple[Array, Array, Array]]
    """variables -> (the size of each unit's step [1, latent], 1 / sqrt(b_0), coolings sqrt(b_(k-1) / b_k) [leaps])"""


def learned(latent: int, leaps: int, step_size: float, tempering: float) -> Course:
    """Raises InputError where a hyperparameter of them is none."""
    at_least_one(leaps=leaps)
    if not (math.isfinite(step_size) and step_size > 0):
        raise InputError(f"step_size {step_size}: expected a number above 0")
    if not 0 < tempering <= 1:
        raise InputError(f"tempering {tempering}: expected a number above 0, at most 1")

    def init(key, batch):
        hot = {"tempering": jnp.zeros((), batch.x.dtype)} if tempering < 1 else {}
        return {"step_size": jnp.full(latent, -math.log(4), batch.x.dtype), **hot}

    def of(variables):
        own = variables.params["leaps"]
        more = jnp.exp(own["tempering"]) if tempering < 1 else jnp.zeros((), own["step_size"].dtype)
        hot = 1 + (1 / math.sqrt(tempering) - 1) * more
        roots = hot + (1 - hot) * jnp.square(jnp.arange(leaps + 1, dtype=hot.dtype) / leaps)
        return 5 * step_size * jax.nn.sigmoid(own["step_size"])[None], hot, roots[1:] / roots[:-1]

    return Course(init, of)
