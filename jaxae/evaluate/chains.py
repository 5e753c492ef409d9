"""Chains that anneal from p(z) to p(z|x), or back: first their step sizes, then their weights. See `annealed`.

A transition leaves its distribution as it is where its step size does not depend on where the chain has been. Wu et al.
2016 (arXiv:1611.04273) adapt it on the way. Here other chains, the pilot, do so first, and what they find is fixed for
the chains that count. The pilot sees x and no draw of p(z|x): given it, their weights are exact on average.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxae import random
from jaxae.errors import at_least_one
from jaxae.evaluate.hamiltonian import Locate, Point, locate, transition
from jaxae.types import Batch, Generative, Keys, PyTree, Variables

PILOTS = 4  # chains an example
PILOT_STEPS = 500  # at most: on a longer way a step size is the one at the same fraction of the pilot's
START = 0.5  # the pilot's first step size
TARGET = 0.65  # acceptance
RATE = 0.3  # of the logarithm of the pilot's step size, by acceptance less its target

Sizes = Float[Array, "pilot batch"]


class Plan(NamedTuple):
    generative: Generative
    steps: int
    chains: int
    leapfrog: int


class Level(NamedTuple):
    """A step of the way: beta of its transition, and beta's change that is weighed before it and after it."""

    beta: Float[Array, "*steps"]
    before: Float[Array, "*steps"]
    after: Float[Array, "*steps"]
    number: Int[Array, "*steps"]
    pilot: Int[Array, "*steps"]
    """The pilot's step at the same fraction of the way."""


class Walked(NamedTuple):
    """One chain an example, or several: log w, in nats, and the mean probability of its moves."""

    log_w: Float[Array, "*chains batch"]
    acceptance: Float[Array, "*chains batch"]


def plan(generative: Generative, steps: int, chains: int, leapfrog: int) -> Plan:
    at_least_one(steps=steps, chains=chains, leapfrog=leapfrog)
    return Plan(generative, steps, chains, leapfrog)


def betas(steps: int) -> Float[np.ndarray, " ends"]:
    """From 0 to 1, both among them, steps + 1 numbers: a sigmoid, finer near its ends (Grosse et al. 2015)."""
    raw = 1 / (1 + np.exp(4 - 8 * (np.arange(steps + 1) / steps)))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def step_sizes(plan: Plan, variables: Variables, keys: Keys, batch: Batch) -> Sizes:
    """Of every step of the pilot: the geometric mean over its chains, each of which adapts its own."""
    at = locate(plan.generative, variables, batch)
    levels = _levels(min(plan.steps, PILOT_STEPS))

    def chain(keys):
        for_start, for_moves = random.split(keys)

        def move(carry, level):
            point, log_size = carry
            own, size = random.numbered(for_moves, level.number), jnp.exp(log_size)
            point, probability = transition(at, own, point, level.beta, size, plan.leapfrog)
            return (point, (log_size + RATE * (probability - TARGET)).astype(log_size.dtype)), log_size

        start = at(plan.generative.draw(variables, for_start))
        return jax.lax.scan(move, (start, jnp.full_like(start.log_prior, math.log(START))), levels)[1]

    return jnp.exp(jnp.mean(jax.vmap(chain)(_chain_keys(keys, PILOTS)), axis=0))


def forward(plan: Plan, variables: Variables, keys: Keys, batch: Batch, sizes: Sizes) -> Walked:
    """From z ~ p(z): E[w] = p(x)."""
    at = locate(plan.generative, variables, batch)

    def chain(keys):
        for_start, for_moves = random.split(keys)
        start = at(plan.generative.draw(variables, for_start))
        return _walk(plan, at, for_moves, start, _levels(plan.steps), sizes)

    return jax.vmap(chain)(_chain_keys(keys, plan.chains))


def backward(plan: Plan, variables: Variables, keys: Keys, latents: PyTree, batch: Batch, sizes: Sizes) -> Walked:
    """From latents that are drawn from p(z|x), by the same transitions in reverse order: E[1/w] = 1 / p(x)."""
    at = locate(plan.generative, variables, batch)
    start, levels = at(latents), _levels(plan.steps, back=True)
    return jax.vmap(lambda keys: _walk(plan, at, keys, start, levels, sizes))(_chain_keys(keys, plan.chains))


def _walk(plan: Plan, at: Locate, keys: Keys, start: Point, levels: Level, sizes: Sizes) -> Walked:
    def move(carry, level):
        point, log_w, accepted = carry
        log_w = log_w + level.before * point.log_likelihood
        own, size = random.numbered(keys, level.number), sizes[level.pilot]
        point, probability = transition(at, own, point, level.beta, size, plan.leapfrog)
        return (point, log_w + level.after * point.log_likelihood, accepted + probability), None

    zero = jnp.zeros_like(start.log_prior + start.log_likelihood)
    (_, log_w, accepted), _ = jax.lax.scan(move, (start, zero, zero), levels)
    return Walked(log_w, accepted / plan.steps)


def _levels(steps: int, back: bool = False) -> Level:
    beta, number, none = betas(steps), np.arange(steps), np.zeros(steps)
    changes = (none, np.diff(beta)) if back else (np.diff(beta), none)
    real = [row.astype(np.float32) for row in (beta[1:], *changes)]  # under x64 too, as the noise is
    rows = (*real, number, number * min(steps, PILOT_STEPS) // steps)
    return Level(*(jnp.asarray(row[:: -1 if back else 1]) for row in rows))


def _chain_keys(keys: Keys, chains: int) -> Array:
    """[chains, batch]"""
    return jax.vmap(random.numbered, (None, 0))(keys, jnp.arange(chains))
