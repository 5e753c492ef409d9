"""The von Mises-Fisher distribution against scipy, quadrature and closed forms: densities, samples, slopes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import small

from jaxae import sphere
from jaxae.errors import InputError

DIMENSIONS = [2, 3, 5, 10, 40, 100]
KAPPAS = np.array([1e-3, 0.03, 0.2, 0.27, 0.3, 1, 3, 8, 12, 20, 50, 100, 300, 1e3, 3e3, 1e4], np.float32)
N = 20000

draw = jax.jit(sphere.sample)
log_prob = jax.jit(sphere.log_prob)


def with_slope(fn, m):
    """(fn, its derivative) at each of KAPPAS."""
    value, pull = jax.vjp(lambda k: fn(k, m), jnp.asarray(KAPPAS))
    return value, *pull(jnp.ones_like(value))


def log_normaliser(kappa, m):
    """log C, as the density at mu has it. Its derivative is -A."""
    mu = jnp.broadcast_to(jnp.eye(m)[:1], (len(kappa), m))
    return sphere.log_prob(mu, mu, kappa) - kappa


@functools.partial(small.jit, static_argnums=0)
def functions(m):
    return [with_slope(fn, m) for fn in (log_normaliser, sphere.kl_to_uniform)]


def log_bessel(nu, kappa):
    """log I_nu(kappa), in double precision; by its first terms where the scaled function underflows."""
    with np.errstate(divide="ignore"):
        scaled = np.log(scipy.special.ive(nu, kappa)) + kappa
    few = np.log1p(kappa**2 / 4 / (nu + 1) * (1 + kappa**2 / 8 / (nu + 2)))
    return np.where(kappa < 1, nu * np.log(kappa / 2) - scipy.special.gammaln(nu + 1) + few, scaled)


def mean_resultant(kappa, m):
    """A = I_{m/2} / I_{m/2-1}, for which E[z] = A mu, in double precision."""
    return np.exp(log_bessel(m / 2, kappa) - log_bessel(m / 2 - 1, kappa))


def reference(m):
    """(log C, A, KL to the uniform) at KAPPAS, in double precision."""
    kappa, nu = KAPPAS.astype(np.float64), m / 2
    log_c = (nu - 1) * np.log(kappa) - nu * np.log(2 * np.pi) - log_bessel(nu - 1, kappa)
    a = mean_resultant(kappa, m)
    return log_c, a, kappa * a + log_c + sphere.log_area(m)


def density_of_cosine(m, kappa, count=200001):
    """(t, density, CDF) of t = mu.z, by double-precision quadrature over the angle where there is any mass."""
    reach = min(np.pi, (np.sqrt(m) + 10) * 2 / np.sqrt(max(kappa, 1e-9)))
    angle = np.linspace(0, reach, count)
    log_p = -2 * kappa * np.sin(angle / 2) ** 2 + (m - 2) * np.log(np.maximum(np.sin(angle), 1e-300))
    p = np.exp(log_p - log_p.max())
    cdf = scipy.integrate.cumulative_trapezoid(p, angle, initial=0)
    return np.cos(angle), p / cdf[-1], cdf / cdf[-1], angle


def directions(m, count=3, seed=0):
    x = np.random.default_rng(seed).normal(size=(count, m))
    return jnp.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True), jnp.float32)


def keys(count=N, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def samples(m, kappa, mu=None, count=N, seed=0):
    mu = directions(m, 1) if mu is None else mu
    return draw(keys(count, seed), jnp.broadcast_to(mu, (count, m)), jnp.full(count, kappa))


def angles(mu, z):
    """acos(mu.z) with all its digits where it is small."""
    return 2 * np.arcsin(np.minimum(np.linalg.norm(np.asarray(z - mu, np.float64), axis=-1) / 2, 1))


def assert_mean(values, expected, bias=0.0):
    """Within 4.5 standard errors (and a rounding's `bias`)."""
    values = np.asarray(values, np.float64)
    np.testing.assert_array_less(
        np.abs(values.mean(0) - expected), 4.5 * values.std(0) / np.sqrt(len(values)) + bias + 1e-12
    )


@pytest.mark.parametrize("m", DIMENSIONS)
def test_normaliser_and_kl_equal_scipy(m):
    log_c, a, kl = reference(m)
    (our_log_c, d_log_c), (our_kl, d_kl) = jax.tree.map(lambda x: np.asarray(x, np.float64), functions(m))
    variance = 1 - a**2 - (m - 1) * a / KAPPAS  # A', which loses its digits where it is small: checked where it is not
    safe = variance > 1e-5
    np.testing.assert_allclose(our_log_c, log_c, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(d_log_c, -a, rtol=1e-5, atol=1e-6)
    # kappa A + log C loses its digits near zero: there KL = kappa^2 / 2 m (1 - 3/2 kappa^2 / (m (m + 2)) + ...)
    near = KAPPAS.astype(np.float64) ** 2 / (2 * m) * (1 - 1.5 * KAPPAS**2 / (m * (m + 2)))
    np.testing.assert_allclose(our_kl, np.where(KAPPAS < 0.1, near, kl), rtol=2e-5)
    slope = KAPPAS * np.where(KAPPAS < 0.1, 1 / m * (1 - 3 * KAPPAS**2 / (m * (m + 2))), variance)
    np.testing.assert_allclose(d_kl[safe], slope[safe], rtol=1e-4)
    assert np.isfinite(d_kl).all()


def test_three_dimensions_have_a_closed_form():
    """C = kappa / (4 pi sinh kappa), A = coth kappa - 1 / kappa."""
    kappa = KAPPAS[3:].astype(np.float64)
    log_sinh = kappa + np.log(-np.expm1(-2 * kappa) / 2)
    given = jnp.asarray(KAPPAS[3:])
    log_c, slope = small.jit(lambda k: (log_normaliser(k, 3), jax.grad(lambda k: log_normaliser(k, 3).sum())(k)))(given)
    np.testing.assert_allclose(log_c, np.log(kappa / (4 * np.pi)) - log_sinh, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(-slope, 1 / np.tanh(kappa) - 1 / kappa, rtol=3e-6)
    slope = small.jit(jax.grad(lambda k: sphere.kl_to_uniform(k, 3).sum()))(given)
    variance = 1 / kappa**2 - 4 * np.exp(-2 * kappa) / np.expm1(-2 * kappa) ** 2
    np.testing.assert_allclose(slope, kappa * variance, rtol=1e-4)


@pytest.mark.parametrize("m", [2, 3, 100])
def test_at_zero_concentration_it_is_uniform(m):
    zero, mu = jnp.zeros(3), directions(m)
    np.testing.assert_array_equal(sphere.kl_to_uniform(zero, m), 0)
    np.testing.assert_allclose(sphere.log_prob(mu[::-1], mu, zero), -sphere.log_area(m), rtol=1e-6)
    np.testing.assert_array_equal(jax.grad(lambda k: sphere.kl_to_uniform(k, m).sum())(zero), 0)


def test_area():
    for m, area in [(1, 2), (2, 2 * np.pi), (3, 4 * np.pi), (4, 2 * np.pi**2)]:
        assert np.exp(sphere.log_area(m)) == pytest.approx(area)


@pytest.mark.parametrize("kappa", [0.5, 20.0, 1e4])
@pytest.mark.parametrize("m", [2, 5, 30])
def test_log_prob_integrates_to_one_and_to_the_kl(m, kappa):
    """Over the angle, at points placed on one great circle through mu."""
    angle = density_of_cosine(m, kappa, 20001)[3]
    mu, side = np.eye(m)[0], np.eye(m)[1]
    z = jnp.asarray(np.cos(angle)[:, None] * mu + np.sin(angle)[:, None] * side, jnp.float32)
    log_p = log_prob(z, jnp.broadcast_to(jnp.asarray(mu, jnp.float32), z.shape), jnp.full(len(z), kappa))
    log_p = np.asarray(log_p, np.float64)
    mass = np.exp(log_p + sphere.log_area(m - 1)) * np.sin(angle) ** (m - 2)
    assert np.trapezoid(mass, angle) == pytest.approx(1, abs=2e-3)
    kl = np.trapezoid(mass * (log_p + sphere.log_area(m)), angle)
    assert float(sphere.kl_to_uniform(jnp.asarray([kappa]), m)[0]) == pytest.approx(kl, rel=3e-3)


@pytest.mark.parametrize("m", [3, 6])
def test_log_prob_equals_scipy(m):
    mu, kappa = directions(m, 4), jnp.asarray([0.1, 2.0, 30.0, 400.0])
    z = draw(keys(4), mu, kappa)
    theirs = [
        scipy.stats.vonmises_fisher(a / np.linalg.norm(a), float(k)).logpdf(b / np.linalg.norm(b))
        for a, k, b in zip(*(np.asarray(x, np.float64) for x in (mu, kappa, z)))
    ]
    np.testing.assert_allclose(log_prob(z, mu, kappa), theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("m", [2, 3, 50])
def test_uniform_is_uniform(m):
    z = np.asarray(sphere.uniform(keys(), m))
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), 1, rtol=1e-5)
    assert_mean(z, 0)
    assert_mean(z[:, 0] ** 2, 1 / m)
    half = scipy.stats.beta((m - 1) / 2, (m - 1) / 2)
    assert scipy.stats.kstest((1 + z[:, 0]) / 2, half.cdf).pvalue > 1e-3


@pytest.mark.parametrize("kappa", [1e-3, 0.7, 15.0, 300.0, 1e4])
@pytest.mark.parametrize("m", [2, 3, *(pytest.param(m, marks=pytest.mark.slow) for m in (10, 100))])
def test_samples_are_distributed_as_the_density_says(m, kappa):
    mu = directions(m, 1)
    z = samples(m, kappa, mu)
    np.testing.assert_allclose(np.linalg.norm(z, axis=-1), 1, rtol=1e-5)
    drawn = angles(mu, z)
    _, p, cdf, angle = density_of_cosine(m, kappa)
    assert scipy.stats.kstest(drawn, lambda x: np.interp(x, angle, cdf)).pvalue > 1e-3
    a = mean_resultant(kappa, m)
    versine = 2 * np.sin(drawn / 2) ** 2
    assert_mean(versine, 1 - a, bias=1e-6 * (1 - a) + 1e-7)
    assert_mean((versine - versine.mean()) ** 2, np.trapezoid(p * (np.cos(angle) - a) ** 2, angle), bias=1e-9)
    assert_mean(z, a * np.asarray(mu[0]), bias=1e-6)


def test_directions_around_mu_are_uniform():
    mu = directions(4, 1)
    z = np.asarray(samples(4, 5.0, mu))
    around = z - (z @ np.asarray(mu[0]))[:, None] * np.asarray(mu)
    around /= np.linalg.norm(around, axis=-1, keepdims=True)
    across = np.linalg.svd(np.asarray(mu, np.float64))[2][1:]  # three axes of the tangent plane
    inside = around @ across.T
    assert_mean(inside, 0)
    expected = np.eye(3)[None] / 3
    assert_mean(inside[:, :, None] * inside[:, None], expected[0])
    assert scipy.stats.kstest(inside[:, 0], scipy.stats.uniform(-1, 2).cdf).pvalue > 1e-3  # Archimedes: in 3-d


@small.jit
@jax.jacfwd
def turned(mu):
    return sphere.sample(keys(50), jnp.broadcast_to(mu, (50, 3)), jnp.full(50, 8.0))


@pytest.mark.parametrize("mu", [[1.0, 0, 0], [-1.0, 0, 0], [0, 1.0, 0], [0, 0, -1.0], [-0.0, 0.6, 0.8]], ids=str)
def test_samples_keep_to_mu_wherever_it_points(mu):
    mu = jnp.asarray([mu])
    z = samples(3, 8.0, mu)
    assert_mean(z, (1 / np.tanh(8) - 1 / 8) * np.asarray(mu[0]), bias=1e-6)
    slopes = turned(mu)
    assert np.abs(slopes).max() < 3  # the reflection's derivative is bounded


def test_an_example_s_sample_depends_on_its_own_key_alone():
    mu, kappa = directions(5, 8), jnp.asarray([0.1, 1, 3, 10, 30, 100, 300, 1000.0])
    whole = draw(keys(8), mu, kappa)
    part = draw(keys(8)[2:5], mu[2:5], kappa[2:5])
    np.testing.assert_allclose(part, whole[2:5], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kappa", [1e-3, 0.7, 5.0, 200.0, 1e4])
@pytest.mark.parametrize("m", [2, 3, 10, 100])
def test_the_angle_s_slope_is_that_of_the_inverse_cdf(m, kappa):
    """At fixed quantiles, the far ones included: (angle(kappa (1 + h)) - angle(kappa (1 - h))) / (2 kappa h)."""
    h, quantiles = 1e-2, np.array([1e-4, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
    step = h * max(kappa, 1e-1)

    def inverse(k):
        _, _, cdf, angle = density_of_cosine(m, k)
        return np.interp(quantiles, cdf, angle)

    expected = (inverse(kappa + step) - inverse(kappa - step)) / (2 * step) if kappa > step else None
    if expected is None:  # the density extends to kappa < 0 smoothly: mirror it
        expected = (inverse(kappa + step) - (np.pi - inverse(step - kappa)[::-1])) / (2 * step)
    at = jnp.asarray(inverse(kappa), jnp.float32)
    slope = small.jit(sphere._slope, static_argnums=2)(at, jnp.full(at.shape, kappa), m)
    np.testing.assert_allclose(slope, expected, rtol=2e-3, atol=1e-3 * np.abs(expected).max())


@small.jit
def slopes_of_means(kappa, direction, c, keys):
    """The Jacobians of mu.z, its square and c.z, by (kappa, a multiple of mu), of each key's sample."""

    def of(kappa, raw, key):
        mu = raw / jnp.linalg.norm(raw, axis=-1, keepdims=True)
        z = sphere.sample(key[None], mu, kappa)
        t = jnp.sum(z * jax.lax.stop_gradient(mu))
        return t, jnp.square(t), jnp.sum(z * c)

    return jax.vmap(lambda key: jax.jacrev(of, (0, 1))(kappa, direction, key))(keys)


@pytest.mark.slow
@pytest.mark.parametrize("kappa", [1e-3, 0.7, 15.0, 300.0, 1e4])
@pytest.mark.parametrize("m", [2, 3, 20])
def test_slopes_of_expectations_equal_the_closed_forms(m, kappa):
    """d E[mu.z] / d kappa = A', d E[(mu.z)^2] / d kappa (a third moment), and d E[c.z] / d mu = A c."""
    direction, c, k = directions(m, 1), directions(m, 1, seed=1), jnp.asarray([kappa])

    (along, _), (square, _), (_, turn) = slopes_of_means(k, direction, c, keys(4000))
    along, square, turn = along[:, 0], square[:, 0], turn[:, 0]
    t, p, _, angle = density_of_cosine(m, kappa)
    a = np.trapezoid(p * t, angle)
    variance = np.trapezoid(p * (t - a) ** 2, angle)
    assert_mean(along, variance, bias=1e-3 * variance)
    covariance = np.trapezoid(p * (t - a) * t**2, angle)
    assert_mean(square, covariance, bias=1e-3 * abs(covariance) + 1e-3 * variance)
    mu, c = np.asarray(direction[0], np.float64), np.asarray(c[0], np.float64)
    assert_mean(turn, a * (c - mu * (mu @ c)), bias=1e-5)


def test_a_program_that_is_called_again_goes_on_until_it_accepts():
    """On a GPU whose loops ask the device whether to go on, every second call gave what the loop starts with."""
    alone = jax.jit(jax.vmap(lambda key, kappa: sphere._rejection(key, kappa, 3)))
    kappa = jnp.full(32, 6.0)
    found = np.concatenate([alone(key[None], kappa[:1]) for key in keys(32)])
    np.testing.assert_allclose(found, alone(keys(32), kappa), rtol=1e-5)


def test_the_second_derivative_of_a_sample_is_that_of_its_slope():
    mu, kappa = directions(3, 1), 6.0

    def along(k):
        return jnp.sum(mu * draw(keys(1), mu, k[None]))

    angle = float(angles(mu, draw(keys(1), mu, jnp.asarray([kappa])))[0])
    h, place = 1e-2, None

    def cosine(k):  # for m = 3 the CDF of the angle is (1 - exp(-k versine)) / (1 - exp(-2 k))
        versine = -np.log1p(place * np.expm1(-2 * k)) / k
        return 1 - versine

    place = np.expm1(-kappa * (1 - np.cos(angle))) / np.expm1(-2 * kappa)
    first = (cosine(kappa + h) - cosine(kappa - h)) / (2 * h)
    second = (cosine(kappa + h) - 2 * cosine(kappa) + cosine(kappa - h)) / h**2
    assert float(small.jit(jax.grad(along))(kappa)) == pytest.approx(first, rel=1e-3)
    assert float(small.jit(jax.grad(jax.grad(along)))(kappa)) == pytest.approx(second, rel=1e-2)


@pytest.mark.parametrize("m", small.first([2, 3, 100], 2))
def test_all_is_finite_at_the_extremes(m):
    kappa = jnp.asarray([0.0, 1e-6, 1e-3, 1.0, 1e4, 1e6])
    mu = directions(m, 6)

    def total(mu, kappa):
        z = sphere.sample(keys(6), mu, kappa)
        return jnp.sum(sphere.log_prob(z, mu, kappa) + sphere.kl_to_uniform(kappa, m)) + jnp.sum(z[:, 0])

    value, slopes = small.jit(jax.value_and_grad(total, (0, 1)))(mu, kappa)
    assert all(np.isfinite(x).all() for x in (value, *slopes))


def test_a_concentration_that_is_no_number_ends_as_one():
    z = draw(keys(2), directions(3, 2), jnp.asarray([np.nan, 2.0]))
    assert np.isnan(z[0]).all()
    assert np.isfinite(z[1]).all()


def test_samples_and_slopes_under_vmap_over_seeds():
    mu, kappa = directions(4, 3), jnp.asarray([0.5, 4.0, 60.0])
    slope = jax.grad(lambda k, keys: sphere.sample(keys, mu, k)[:, 0].sum())
    seeds = jax.random.split(jax.random.key(0), (4, 3))
    alone = small.jit(slope)
    one_by_one = [alone(kappa, seeds[i]) for i in range(4)]
    together = small.jit(jax.vmap(slope, (None, 0)))(kappa, jax.random.split(jax.random.key(0), (4, 3)))
    np.testing.assert_allclose(together, one_by_one, rtol=1e-4, atol=1e-6)
    assert np.ptp(together, axis=0).min() > 0


def test_a_sphere_of_one_dimension_is_refused():
    with pytest.raises(InputError, match="1 dimension: expected 2 or more"):
        sphere.kl_to_uniform(jnp.ones(1), 1)
    with pytest.raises(InputError, match="1 dimension"):
        sphere.sample(keys(1), jnp.ones((1, 1)), jnp.ones(1))
