"""Hamiltonian transitions: a chain an example, over latents that are any tree of arrays [batch, ...].

Neal 2011 (arXiv:1206.1901), sections 5.2.3 (the leapfrog) and 5.3.2 (the transition), with unit masses. The target is
p(z) p(x|z)^beta, whose two parts are kept apart, so that beta may change from one transition to the next.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxae import random
from jaxae.types import Batch, Generative, Keys, PyTree, Variables

JITTER = 0.5  # of a step size, either way: else a trajectory may be half a period, or a whole one, and tell nothing new

Rows = Float[Array, " batch"]
Scalar = Float[Array, ""]


class Point(NamedTuple):
    """Latents, with the densities there (nats, [batch]) and their gradients (trees like the latents)."""

    z: PyTree
    log_prior: Rows
    log_likelihood: Rows
    prior_slope: PyTree
    likelihood_slope: PyTree

    def log_p(self, beta: Scalar) -> Rows:
        return self.log_prior + beta * self.log_likelihood

    def slope(self, beta: Scalar) -> PyTree:
        return jax.tree.map(lambda p, l: p + beta * l, self.prior_slope, self.likelihood_slope)


Locate = Callable[[PyTree], Point]


def locate(generative: Generative, variables: Variables, batch: Batch) -> Locate:
    """latents -> the Point there. An example's densities depend on its own latents, so one gradient serves them all."""

    def with_slope(log_p, z):
        value, pull = jax.vjp(log_p, z)
        return value, pull(jnp.ones_like(value))[0]

    def at(z):
        log_prior, prior_slope = with_slope(partial(generative.log_prior, variables), z)
        log_likelihood, likelihood_slope = with_slope(lambda z: generative.log_likelihood(variables, z, batch), z)
        return Point(z, log_prior, log_likelihood, prior_slope, likelihood_slope)

    return at


def transition(at: Locate, keys: Keys, point: Point, beta: Scalar, size: Rows, leapfrogs: int) -> tuple[Point, Rows]:
    """(the next Point, the probability with which the move to it was accepted). It leaves p(z) p(x|z)^beta as it is."""
    for_uniform, *for_momentum = random.split(keys, 1 + len(jax.tree.leaves(point.z)))
    stretch, choice = random.uniform(for_uniform, (2,)).T
    size = size * (1 + JITTER * (2 * stretch - 1))
    momentum = _normal_like(for_momentum, point.z)
    proposal, turned = leapfrog(at, point, momentum, beta, size, leapfrogs)
    log_ratio = proposal.log_p(beta) - _kinetic(turned) - point.log_p(beta) + _kinetic(momentum)
    probability = jnp.where(jnp.isnan(log_ratio), 0.0, jnp.exp(jnp.minimum(log_ratio, 0.0)))  # NaN: it ran to infinity
    return _choose(choice < probability, proposal, point), probability


def leapfrog(at: Locate, point: Point, momentum: PyTree, beta: Scalar, size: Rows, steps: int) -> tuple[Point, PyTree]:
    """(Point, momentum) after that many steps: reversible, by the momentum's negative, and it keeps volume."""

    def push(momentum, point):
        return jax.tree.map(lambda p, slope: p + _rows(size, p) / 2 * slope, momentum, point.slope(beta))

    def step(carry, _):
        point, momentum = carry
        momentum = push(momentum, point)
        point = at(jax.tree.map(lambda z, p: z + _rows(size, p) * p, point.z, momentum))
        return (point, push(momentum, point)), None

    return jax.lax.scan(step, (point, momentum), length=steps)[0]


def _kinetic(momentum: PyTree) -> Rows:
    squares = [jnp.sum(jnp.square(leaf), axis=range(1, leaf.ndim)) for leaf in jax.tree.leaves(momentum)]
    return sum(squares[1:], squares[0]) / 2


def _normal_like(keys: Sequence[Keys], z: PyTree) -> PyTree:
    leaves, tree = jax.tree.flatten(z)
    return jax.tree.unflatten(tree, [random.normal(own, leaf.shape[1:]) for own, leaf in zip(keys, leaves)])


def _choose(accepted: Bool[Array, " batch"], one: Point, other: Point) -> Point:
    return jax.tree.map(lambda a, b: jnp.where(_rows(accepted, a), a, b), one, other)


def _rows(x: Array, like: Array) -> Array:
    """[batch] -> [batch, 1, ...], of as many axes as `like`."""
    return x.reshape(-1, *[1] * (like.ndim - 1))
