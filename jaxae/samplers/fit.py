"""The one compiled loop that trains the small models: Adam on the training codes, the best step by held-out codes."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from jaxae import random
from jaxae.data.view import evenly
from jaxae.types import Keys, PyTree

BATCH = 128
MOST = 10_000  # steps
ROUNDS = 20  # how often the held-out codes are looked at, besides the start
PIECE = 256  # held-out codes at once
HELD = 4096  # held-out codes at most, evenly spread

Loss = Callable[[PyTree, Keys, Array], Float[Array, " batch"]]
"""(params, keys, codes) -> nats an example"""


class Budget(NamedTuple):
    steps: int
    """A multiple of ROUNDS."""
    batch: int
    learning_rate: float
    """At the start; half a cosine brings it to zero."""


def budget(count: int, learning_rate: float = 1e-3, least: int = 1_000) -> Budget:
    """20 epochs over `count` codes, but at least so many steps and at most MOST."""
    steps = int(np.clip(20 * count // BATCH, least, MOST))
    return Budget(-(-steps // ROUNDS) * ROUNDS, BATCH, learning_rate)


def descend(key: Array, params: PyTree, loss: Loss, train: np.ndarray, held: np.ndarray, budget: Budget) -> PyTree:
    """The parameters with the lowest mean loss of `held` among those at the start and after each round.

    A pure function of its arguments: the batch and the noise of a step are drawn from (key, step).
    """
    schedule = optax.cosine_decay_schedule(budget.learning_rate, budget.steps)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def step(number, now, train):
        params, opt_state = now
        place = jax.random.fold_in(random.stream(key, "order"), number)
        rows = train[jax.random.randint(place, (budget.batch,), 0, len(train))]
        keys = random.example_keys(random.stream(key, "noise"), number, jnp.arange(budget.batch))
        grads = jax.grad(lambda p: jnp.mean(loss(p, keys, rows)))(params)
        updates, opt_state = tx.update(grads, opt_state, params)
        return optax.apply_updates(params, updates), opt_state

    @jax.jit
    def one_round(best, now, first, last, train, held):
        value = _mean_loss(random.stream(key, "held-out"), now[0], loss, held)
        best = jax.tree.map(lambda old, new: jnp.where(value < best[0], new, old), best, (value, now[0]))
        return best, jax.lax.fori_loop(first, last, lambda number, now: step(number, now, train), now)

    some = evenly(len(held), HELD)
    data = jnp.asarray(train), jnp.asarray(held[some])
    every = budget.steps // ROUNDS
    params = jax.tree.map(lambda x: jnp.asarray(x, x.dtype), params)  # no weak types: they would compile it again
    best, now = (jnp.full((), jnp.inf, jnp.float32), params), (params, jax.jit(tx.init)(params))
    for first in range(0, budget.steps + 1, every):  # the last round only looks
        best, now = one_round(best, now, first, min(first + every, budget.steps), *data)
    return jax.device_get(best[1])


def _mean_loss(key: Array, params: PyTree, loss: Loss, held: Array) -> Float[Array, ""]:
    """By pieces of one size, the last of which is filled up with the first codes; those count once."""
    index = jnp.arange(-(-len(held) // PIECE) * PIECE)
    keys = random.example_keys(key, 0, index).reshape(-1, PIECE)
    rows = held[index % len(held)].reshape(-1, PIECE, *held.shape[1:])
    losses = jax.lax.map(lambda piece: loss(params, *piece), (keys, rows))
    return jnp.mean(losses.reshape(-1)[: len(held)])
