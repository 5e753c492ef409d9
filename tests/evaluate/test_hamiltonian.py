"""Hamiltonian moves: the leapfrog's own properties, and the Gaussians that a transition must leave as they are."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import random
from jaxae.evaluate import hamiltonian
from jaxae.types import Generative, Variables

N, BETA = 10_000, 0.5
A = np.array([[2.0, 0.5, 0.0], [0.3, -1.5, 0.7], [0.0, 0.4, 1.0], [1.0, 0.0, -0.5]])  # what x says of (z1, z2)
X = np.array([1.0, -0.5, 2.0, 0.3])
COV = np.linalg.inv(np.eye(3) + BETA * A.T @ A)
MEAN = BETA * COV @ A.T @ X


def split(z):
    """Two layers of latents, [n, 1] and [n, 1, 2]: any tree will do."""
    return {"low": z[:, :1], "high": z[:, None, 1:]}


def joined(z):
    return jnp.concatenate([z["low"], z["high"][:, 0]], axis=1)


def log_normal(x):
    return -0.5 * jnp.sum(jnp.square(x), axis=1)


MODEL = Generative(
    draw=lambda variables, keys: split(random.normal(keys, (3,))),
    log_prior=lambda variables, z: log_normal(joined(z)),
    log_likelihood=lambda variables, z, batch: log_normal(
        jnp.asarray(X, jnp.float32)[None] - joined(z) @ jnp.asarray(A.T, jnp.float32)
    ),
    simulate=lambda variables, keys, z, batch: batch.x,
)
AT = hamiltonian.locate(MODEL, Variables({}), small.batch(1))


def keys(seed, n=N):
    return random.example_keys(jax.random.key(6), seed, jnp.arange(n))


@small.jit
def moved(z, size, first):
    """(the Point after four transitions; of each, [4, n], the probability of its move, and whether it moved)."""

    def move(point, seed):
        after, probability = hamiltonian.transition(AT, keys(seed), point, jnp.asarray(BETA), size, 5)
        return after, (probability, jnp.any(joined(after.z) != joined(point.z), axis=1))

    return jax.lax.scan(move, AT(split(z)), first + jnp.arange(4))


@cache
def exact():
    noise = np.random.default_rng(0).normal(size=(N, 3))
    return jnp.asarray(MEAN + noise @ np.linalg.cholesky(COV).T, jnp.float32)


def sizes(size, n=N):
    return jnp.full(n, size, jnp.float32)


def assert_moments(z):
    z = np.float64(joined(z))
    np.testing.assert_array_less(np.abs(z.mean(0) - MEAN), 4.5 * np.sqrt(np.diag(COV) / N))
    spread = np.sqrt((COV**2 + np.outer(np.diag(COV), np.diag(COV))) / N)
    np.testing.assert_array_less(np.abs(np.cov(z.T) - COV), 4.5 * spread)


def test_a_transition_leaves_its_distribution_as_it_is():
    """At a step size where a third is rejected: without that it would be wider."""
    point, (probability, went) = moved(exact(), sizes(0.85), 0)
    assert 0.5 < float(probability.mean()) < 0.85
    assert_moments(point.z)
    assert abs(float(went.mean()) - float(probability.mean())) < 4.5 * 0.5 / np.sqrt(4 * N)
    assert (probability.mean(axis=0) > 0).mean() > 0.95, "none is stuck"


def test_chains_from_anywhere_come_to_it():
    z = jnp.full((N, 3), 4.0)
    for block in range(8):
        z = joined(moved(z, sizes(0.5), 4 * block)[0].z)
    assert_moments(split(z))


def test_what_a_point_knows_is_of_where_it_stands():
    point, beta = moved(exact(), sizes(0.85), 0)[0], jnp.asarray(BETA)
    small.assert_close(point, small.jit(AT)(point.z), rtol=1e-4, atol=1e-4)
    slope = small.jit(jax.grad(lambda z: AT(z).log_p(beta).sum()))(point.z)
    small.assert_close(point.slope(beta), slope, rtol=1e-4, atol=1e-4)


def leapfrog(z, momentum, size, steps):
    point, after = hamiltonian.leapfrog(
        AT, AT(split(z)), split(momentum), jnp.asarray(BETA), sizes(size, len(z)), steps
    )
    return point, joined(after)


def energy(point, momentum):
    return -point.log_p(jnp.asarray(BETA)) + 0.5 * jnp.square(momentum).sum(1)


def some(n=200):
    rng = np.random.default_rng(3)
    return exact()[:n], jnp.asarray(rng.normal(size=(n, 3)), jnp.float32)


def test_the_leapfrog_goes_back_where_its_momentum_is_turned():
    z, momentum = some()
    point, after = leapfrog(z, momentum, 0.3, 7)
    assert float(jnp.abs(joined(point.z) - z).max()) > 0.5
    back, turned = leapfrog(joined(point.z), -after, 0.3, 7)
    np.testing.assert_allclose(joined(back.z), z, atol=1e-4)
    np.testing.assert_allclose(-turned, momentum, atol=1e-4)


def test_the_leapfrog_keeps_volume_and_its_error_is_of_second_order():
    z, momentum = some()

    def flat(both):
        point, after = leapfrog(both[None, :3], both[None, 3:], 0.3, 5)
        return jnp.concatenate([joined(point.z)[0], after[0]])

    jacobian = small.jit(jax.jacfwd(flat))(jnp.concatenate([z[0], momentum[0]]))
    assert np.linalg.det(np.float64(jacobian)) == pytest.approx(1, abs=1e-3)
    start = energy(AT(split(z)), momentum)
    errors = [
        np.abs(energy(*leapfrog(z, momentum, size, steps)) - start).mean() for size, steps in ((0.2, 5), (0.1, 10))
    ]
    assert 0 < errors[1] < errors[0] < 0.2
    assert 3 < errors[0] / errors[1] < 5.5


def test_small_steps_are_always_accepted_and_wild_ones_never():
    for size, expected in ((0.01, 1.0), (1e3, 0.0), (1e30, 0.0)):
        point, (probability, _) = moved(exact(), sizes(size), 0)
        np.testing.assert_allclose(probability, expected, atol=2e-3)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(point))
        if not expected:
            np.testing.assert_array_equal(joined(point.z), exact())


def test_a_whole_period_is_no_trap():
    """N(0, 1) under 10 steps of 2 pi / 10: did the step size not vary, each trajectory would end where it began."""
    z, n = jnp.ones((2000, 3)), 2000
    beta = jnp.asarray(0.0)
    move = small.jit(lambda z, keys: hamiltonian.transition(AT, keys, AT(split(z)), beta, sizes(0.63, n), 10))
    point, probability = move(z, keys(0, n))
    assert float(probability.mean()) > 0.8
    assert float(jnp.abs(joined(point.z) - z).mean()) > 0.5
