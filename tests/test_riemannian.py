"""The learned metric and motion in it: against NumPy in double precision, the full Jacobian, and what a flow keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.stats
import small

from jaxae import riemannian
from jaxae.riemannian import Metric

B, D, K = 6, 3, 5
RNG = np.random.default_rng(0)
FACTORS = np.tril(RNG.normal(size=(K, D, D)))
METRIC = Metric(
    jnp.asarray(RNG.normal(size=(K, D)), jnp.float32), jnp.asarray(FACTORS @ FACTORS.mT, jnp.float32), 1.3, 0.2
)
Z, G = (jnp.asarray(of, jnp.float32) for of in RNG.normal(size=(2, B, D)))
Z64 = np.asarray(Z, np.float64)
SIZES = jnp.asarray([[0.2, 0.1, 0.3]])
CURVE = np.array([[1.5, 0.4, 0.0], [0.4, 2.0, -0.3], [0.0, -0.3, 0.7]])


def slope(z):
    """Of log p = -(z^T CURVE z) / 2 - sum(z^4) / 20."""
    return -z @ jnp.asarray(CURVE, jnp.float32) - z**3 / 5


def inverse(z):
    """G(z)^-1 of one code, in double precision."""
    c, squares = (np.asarray(leaf, np.float64) for leaf in METRIC[:2])
    weights = np.exp(-((z - c) ** 2).sum(-1) / METRIC.width**2) / K
    return np.einsum("k,kij->ij", weights, squares) + METRIC.least * np.eye(D)


def energy(z, v):
    """H of one (z, v), less log p(x, z)."""
    return v @ inverse(z) @ v / 2 - np.linalg.slogdet(inverse(z))[1] / 2


def gradient(z, v, h=1e-5):
    return np.array([(energy(z + e, v) - energy(z - e, v)) / (2 * h) for e in h * np.eye(D)])


@pytest.fixture(scope="module")
def momenta():
    return riemannian.momentum(riemannian.root_at(METRIC, Z), G)


def test_the_metric_is_the_sum_over_its_centroids():
    place = riemannian.at(METRIC, Z)
    expected = np.stack([inverse(z) for z in Z64])
    np.testing.assert_allclose(place.inverse, expected, rtol=1e-5)
    np.testing.assert_allclose(riemannian.root_of(place.inverse), np.linalg.cholesky(expected), rtol=1e-4, atol=1e-6)
    traces = np.einsum("bij,kij->bk", np.linalg.inv(expected), np.asarray(METRIC.squares, np.float64))
    np.testing.assert_allclose(riemannian.traces_of(place), traces, rtol=1e-4)


def test_roots_have_the_slopes_of_numpys():
    squares = jnp.asarray(FACTORS @ FACTORS.mT + np.eye(D), jnp.float32)

    def of(root):
        return lambda a: jnp.sum(jnp.sin(root((a + a.mT) / 2)))

    np.testing.assert_allclose(
        jax.grad(of(riemannian.root_of))(squares), jax.grad(of(jnp.linalg.cholesky))(squares), rtol=1e-3, atol=1e-4
    )


def test_lower_triangles_have_positive_diagonals():
    entries = jnp.asarray(RNG.normal(size=(2, 6)), jnp.float32)
    made = np.asarray(riemannian.lower(entries, 3))
    assert (np.triu(made, 1) == 0).all() and (np.diagonal(made, axis1=1, axis2=2) > 0).all()
    np.testing.assert_allclose(made[0, 2, 1], entries[0, 4])
    np.testing.assert_allclose(made[1, 1, 1], np.exp(entries[1, 2]), rtol=1e-6)


def test_momentum_is_normal_with_the_metric_as_its_covariance(momenta):
    root = riemannian.root_at(METRIC, Z)
    for z, v, log_p in zip(Z64, momenta, riemannian.log_momentum(root, momenta)):
        expected = scipy.stats.multivariate_normal.logpdf(v, np.zeros(D), np.linalg.inv(inverse(z)))
        np.testing.assert_allclose(log_p, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(np.einsum("bji,bj->bi", root, momenta), G, rtol=1e-4, atol=1e-5)


def test_space_bends_momentum_by_the_slope_of_its_energy(momenta):
    place = riemannian.at(METRIC, Z)
    found = riemannian.bent(place, riemannian.traces_of(place), riemannian.pull(place, momenta))
    expected = [-gradient(*of) for of in zip(Z64, np.asarray(momenta, np.float64))]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def leapfrog(z, v, coolings):
    """One (z, v), the implicit parts solved, in double precision: Girolami and Calderhead 2011, eq. 16 to 18."""
    step = np.asarray(SIZES[0], np.float64) / 2

    def uphill(z):
        return -CURVE @ z - z**3 / 5

    def leap(z, v, cooling):
        half = scipy.optimize.fsolve(lambda h: h - v - step * (uphill(z) - gradient(z, h)), v, xtol=1e-12)
        there = scipy.optimize.fsolve(lambda t: t - z - step * (inverse(z) @ half + inverse(t) @ half), z, xtol=1e-12)
        return there, cooling * (half + step * (uphill(there) - gradient(there, half)))

    for cooling in coolings:
        z, v = leap(z, v, cooling)
    return z, v


@pytest.mark.parametrize("coolings", [[1.0, 1.0, 1.0], [0.5, 0.8]])
def test_solved_it_is_the_generalised_leapfrog(momenta, coolings):
    z, v, log_det = riemannian.move(METRIC, slope, SIZES, jnp.asarray(coolings), 12, Z, momenta)
    expected = [leapfrog(*of, coolings) for of in zip(Z64, np.asarray(momenta, np.float64))]
    np.testing.assert_allclose(z, [of[0] for of in expected], rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(v, [of[1] for of in expected], rtol=1e-3, atol=2e-4)
    np.testing.assert_allclose(log_det, 0, atol=1e-5)
    if set(coolings) == {1.0}:  # and goes back the way that it came
        back, _, _ = riemannian.move(METRIC, slope, SIZES, jnp.asarray(coolings), 12, z, -v)
        np.testing.assert_allclose(back, Z, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rounds", [1, 3])
def test_what_is_not_solved_has_the_volume_of_its_jacobian(momenta, rounds):
    coolings = jnp.asarray([0.7, 1.0])

    def one(both):
        z, v, _ = riemannian.move(METRIC, slope, SIZES, coolings, rounds, both[None, :D], both[None, D:])
        return jnp.concatenate([z[0], v[0]])

    both = jnp.concatenate([Z, momenta], axis=1)
    jacobians = np.asarray(small.jit(jax.vmap(jax.jacfwd(one)))(both), np.float64)
    expected = np.linalg.slogdet(jacobians)[1] - D * np.log(0.7)
    found = small.jit(lambda z, v: riemannian.move(METRIC, slope, SIZES, coolings, rounds, z, v)[2])(Z, momenta)
    assert np.abs(expected).max() > {1: 1e-2, 3: 1e-4}[rounds]
    np.testing.assert_allclose(found, expected, atol=2e-5)
