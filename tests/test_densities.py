"""Every density against another implementation, normalised, finite at extremes; every KL three ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
from jax.scipy import stats as jax_stats
from small import draw

from jaxae import densities
from jaxae.types import Normal

LEVELS = np.arange(256) / 255
EXTREME_LOGITS = [-120.0, -30.0, 0.0, 30.0, 120.0]
MEANS = [-3.0, -0.01, 0.0, 0.2, 0.5, 1.0, 1.01, 40.0]
LOG_SCALES = [-12.0, -7.0, -5.0, -3.0, -1.0, 0.0, 3.0, 8.0]
Q = Normal(jnp.asarray(draw(0, 5, 3)), jnp.asarray(draw(1, 5, 3)))
P = Normal(jnp.asarray(draw(2, 5, 3)), jnp.asarray(draw(3, 5, 3)))
STANDARD = Normal(jnp.zeros((5, 3)), jnp.zeros((5, 3)))
KLS = {
    "to_standard": (jax.jit(lambda q, p: densities.kl_to_standard(q)), STANDARD),
    "to_any": (jax.jit(densities.kl), P),
}


@jax.jit
def levels(mean, log_scale):
    """log P of each of the 256 levels."""
    x = jnp.asarray(LEVELS, jnp.float32)[:, None]
    return densities.discretised_logistic(jnp.full(x.shape, mean), log_scale, x)


slopes_of_levels = jax.jit(jax.grad(lambda mean, log_scale: levels(mean, log_scale).sum(), (0, 1)))
bernoulli_and_slope = jax.jit(jax.value_and_grad(lambda l, x: densities.bernoulli(l[None, None], x[None, None])[0]))
kl_and_slopes = jax.jit(
    jax.value_and_grad(lambda m, v: densities.kl_to_standard(Normal(m[None, None], v[None, None])).sum(), (0, 1))
)


def test_event_sum_keeps_only_the_first_axis():
    x = jnp.asarray(draw(0, 2, 3, 4, 5))
    np.testing.assert_allclose(densities.event_sum(x), np.asarray(x).reshape(2, -1).sum(1), rtol=1e-5)


def test_normal_equals_scipy():
    x = draw(4, 5, 3)
    ours = densities.normal(jnp.asarray(x), Q)
    theirs = scipy.stats.norm.logpdf(x, Q.mean, np.exp(np.asarray(Q.log_var) / 2)).sum(-1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)


@pytest.mark.parametrize("log_var", [-60.0, -100.0, -170.0])
def test_a_very_narrow_normal_has_a_density(log_var):
    """At its mean, and one standard deviation off where the mean is zero; exp(-log_var) is infinite in float32."""
    p = Normal(jnp.asarray([1.3, 0.0]), jnp.full(2, log_var))
    x = jnp.asarray([1.3, np.exp(log_var / 2)])
    np.testing.assert_allclose(densities.normal(x, p), -np.log(2 * np.pi) - log_var - 0.5, rtol=1e-5)


def test_standard_normal_equals_scipy_and_normal():
    x = draw(4, 5, 3)
    ours = densities.standard_normal(jnp.asarray(x))
    np.testing.assert_allclose(ours, scipy.stats.norm.logpdf(x).sum(-1), rtol=1e-5)
    np.testing.assert_allclose(ours, densities.normal(jnp.asarray(x), STANDARD), rtol=1e-5)


@pytest.mark.parametrize("log_var", [-14.0, 0.0, 9.0])
def test_gaussian_equals_scipy_and_integrates_to_one(log_var):
    x = draw(5, 4, 2, 3, 1)
    ours = densities.gaussian(jnp.full(x.shape, 0.3), jnp.asarray(log_var), jnp.asarray(x))
    theirs = scipy.stats.norm.logpdf(x, 0.3, np.exp(log_var / 2)).reshape(4, -1).sum(1)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    grid = 0.3 + np.exp(log_var / 2) * np.linspace(-9, 9, 2001)
    log_p = densities.gaussian(jnp.full((2001, 1), 0.3), jnp.asarray(log_var), jnp.asarray(grid)[:, None])
    assert scipy.integrate.simpson(np.exp(log_p), x=grid) == pytest.approx(1, abs=1e-4)


def test_bernoulli_equals_scipy_and_sums_to_one():
    logits, x = draw(6, 4, 7), (draw(7, 4, 7) > 0).astype(np.float32)
    theirs = scipy.stats.bernoulli.logpmf(x, 1 / (1 + np.exp(-logits.astype(np.float64)))).sum(1)
    np.testing.assert_allclose(densities.bernoulli(jnp.asarray(logits), jnp.asarray(x)), theirs, rtol=1e-5)
    both = [np.exp(densities.bernoulli(jnp.asarray(logits[:, :1]), jnp.full((4, 1), v))) for v in (0.0, 1.0)]
    np.testing.assert_allclose(sum(both), 1, rtol=1e-6)


@pytest.mark.parametrize("mean", [0.0, 0.31, 1.0])
@pytest.mark.parametrize("log_scale", [-5.0, -3.0, 0.0, 2.0])
def test_discretised_logistic_equals_differences_of_the_logistic_cdf(mean, log_scale):
    edges = np.concatenate([[-np.inf], (np.arange(255) + 0.5) / 255, [np.inf]])
    cdf = scipy.stats.logistic(mean, np.exp(log_scale)).cdf(edges)
    ours = np.exp(levels(mean, log_scale))
    np.testing.assert_allclose(ours, np.diff(cdf), rtol=2e-3, atol=1e-9)


@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("mean", MEANS)
def test_discretised_logistic_sums_to_one(mean, log_scale):
    log_p = np.asarray(levels(mean, log_scale), np.float64)
    assert np.isfinite(log_p).all()
    rounding = 3e-8 / np.exp(log_scale)  # of a float32 pixel, in units of the scale
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5 + rounding)


def test_discretised_logistic_sums_over_pixels():
    x = jnp.asarray(LEVELS[[3, 77, 255, 0, 128, 200]], jnp.float32)
    one_by_one = densities.discretised_logistic(jnp.full((6, 1), 0.4), jnp.asarray(-2.0), x[:, None])
    at_once = densities.discretised_logistic(jnp.full((2, 3, 1, 1), 0.4), jnp.asarray(-2.0), x.reshape(2, 3, 1, 1))
    np.testing.assert_allclose(at_once, np.asarray(one_by_one).reshape(2, 3).sum(1), rtol=1e-5)


@pytest.mark.parametrize("name", KLS)
def test_kl_equals_quadrature_and_sums_over_no_unit(name):
    kl, p = KLS[name]
    z = np.linspace(-40, 40, 40001)[:, None, None]
    log_q, log_p = (jax_stats.norm.logpdf(z, d.mean[None], jnp.exp(d.log_var / 2)[None]) for d in (Q, p))
    integrand = np.exp(log_q) * (np.asarray(log_q) - np.asarray(log_p))
    expected = scipy.integrate.simpson(integrand, x=z[:, 0, 0], axis=0)
    np.testing.assert_allclose(kl(Q, p), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", KLS)
def test_kl_equals_monte_carlo(name):
    kl, p = KLS[name]

    @jax.jit
    def log_ratio(noise):
        z = Q.mean + jnp.exp(Q.log_var / 2) * noise
        return densities.normal(z, Q) - densities.normal(z, p)

    ratios = np.asarray(jax.vmap(log_ratio)(jnp.asarray(draw(8, 20000, 5, 3))))
    se = ratios.std(axis=0) / np.sqrt(len(ratios))
    np.testing.assert_array_less(np.abs(np.asarray(kl(Q, p)).sum(-1) - ratios.mean(axis=0)), 4 * se)


@pytest.mark.parametrize("name", KLS)
def test_kl_is_zero_only_where_equal(name):
    kl, p = KLS[name]
    np.testing.assert_array_equal(kl(p, p), np.zeros((5, 3)))
    assert (np.asarray(kl(Q, p)) > 0).all()


def test_kl_keeps_its_digits_near_zero():
    """1 + log_var - exp(log_var) would lose them all in float32."""
    q = Normal(jnp.zeros((1, 1)), jnp.full((1, 1), 1e-3))
    assert float(densities.kl_to_standard(q)[0, 0]) == pytest.approx(2.5e-7, rel=1e-2)


def test_softplus_keeps_its_digits_in_both_tails():
    """Relative to its value, which is exp(x) far to the left."""
    x = np.concatenate([np.linspace(-80, 80, 20_001), np.linspace(-2, 2, 20_001)]).astype(np.float32)
    wanted = np.logaddexp(0, x.astype(np.float64))
    np.testing.assert_allclose(np.asarray(jax.jit(densities.softplus)(x), np.float64), wanted, rtol=2e-7)
    ends = densities.softplus(jnp.array([-jnp.inf, -200, 0, 200, jnp.inf, jnp.nan]))
    np.testing.assert_allclose(ends, [0, 0, np.log(2), 200, np.inf, np.nan], rtol=1e-7)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize("x", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("logit", EXTREME_LOGITS)
def test_bernoulli_and_its_gradient_are_finite_and_right(logit, x, dtype):
    tolerance = 1e-2 if dtype == jnp.bfloat16 else 1e-6
    value, slope = bernoulli_and_slope(jnp.asarray(logit, dtype), jnp.asarray(x, dtype))
    assert float(value) == pytest.approx(x * logit - np.logaddexp(0, logit), rel=tolerance, abs=tolerance)
    assert float(slope) == pytest.approx(x - 1 / (1 + np.exp(-logit)), abs=tolerance)


@pytest.mark.parametrize("log_scale", LOG_SCALES)
@pytest.mark.parametrize("mean", [*MEANS, -120.0, 120.0])
def test_discretised_logistic_gradient_is_finite(mean, log_scale):
    assert np.isfinite(slopes_of_levels(mean, log_scale)).all()


def test_discretised_logistic_gradient_equals_finite_differences():
    mean, log_scale, h = 0.4, -2.0, 1e-2
    by_mean = (levels(mean + h, log_scale) - levels(mean - h, log_scale)).sum() / (2 * h)
    by_scale = (levels(mean, log_scale + h) - levels(mean, log_scale - h)).sum() / (2 * h)
    np.testing.assert_allclose(slopes_of_levels(mean, log_scale), [by_mean, by_scale], rtol=1e-2, atol=0.1)


@pytest.mark.parametrize("mean", [0.0, 50.0])
@pytest.mark.parametrize("log_var", [-80.0, -20.0, 0.0, 20.0, 80.0])
def test_kl_and_its_gradient_are_finite_at_extreme_variances(mean, log_var):
    value, slopes = kl_and_slopes(mean, log_var)
    assert float(value) == pytest.approx(0.5 * (mean**2 + np.expm1(log_var) - log_var), rel=1e-5)
    np.testing.assert_allclose(slopes, [mean, 0.5 * np.expm1(log_var)], rtol=1e-5)


@pytest.mark.parametrize(("log_var", "spread"), [(-2.0, 1.0), (-14.0, 5.0)], ids=["overlapping", "narrow"])
@pytest.mark.parametrize("shape", [(), (3, 7)], ids=str)
def test_a_mixture_of_normals_and_its_slopes(log_var, spread, shape):
    """Where components are narrow against their spread the products alone are nats away."""
    k, latent, rng = 50, 6, np.random.default_rng(0)
    each = Normal(rng.normal(size=(k, latent)) * spread, rng.normal(size=(k, latent)) + log_var)
    log_weight = scipy.special.log_softmax(rng.normal(size=k))
    x = each.mean[rng.integers(0, k, shape)] + 0.02 * rng.normal(size=(*shape, latent))
    of = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), (x, each, log_weight))

    def by_hand(x, each, log_weight):
        distances = (x[..., None, :] - each.mean) ** 2 * np.exp(-each.log_var)
        log_p = -0.5 * (np.log(2 * np.pi) + each.log_var + distances).sum(-1)
        return scipy.special.logsumexp(log_p + log_weight, axis=-1), log_p + log_weight

    exact = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), of)
    expected, joint = by_hand(*exact)
    np.testing.assert_allclose(densities.normal_mixture(*of), expected, rtol=1e-5, atol=1e-4)

    share = np.exp(joint - expected[..., None])[..., None]
    apart = exact[0][..., None, :] - exact[1].mean
    pull = share * apart * np.exp(-exact[1].log_var)
    every = tuple(range(len(shape)))
    slopes = jax.jit(jax.grad(lambda *of: jnp.sum(densities.normal_mixture(*of)), (0, 1, 2)))(*of)
    wanted = (
        -pull.sum(-2),
        Normal(pull.sum(every), 0.5 * (pull * apart - share).sum(every)),
        share[..., 0].sum(every),
    )
    for found, value in zip(jax.tree.leaves(slopes), jax.tree.leaves(wanted)):
        np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-4 * np.abs(value).max())


@pytest.mark.slow
@pytest.mark.parametrize(("latent", "log_var"), [(1, -16.0), (1, -30.0), (1, -100.0), (3, -30.0), (3, -100.0)])
def test_a_mixture_of_needles_counts_the_one_that_is_met(latent, log_var):
    rng = np.random.default_rng(0)
    mean = jnp.asarray(rng.normal(size=(500, latent)), jnp.float32)
    each, log_weight = Normal(mean, jnp.full(mean.shape, log_var)), jnp.full(500, -np.log(500.0))
    found, slopes = jax.value_and_grad(lambda *of: densities.normal_mixture(*of).sum(), (0, 1, 2))(
        mean, each, log_weight
    )
    at = np.asarray(mean, np.float64)
    apart = ((at[:, None] - at[None]) ** 2).sum(-1) * np.exp(-np.float64(log_var))
    expected = (
        scipy.special.logsumexp(-0.5 * apart, axis=1) - latent / 2 * (np.log(2 * np.pi) + log_var) - np.log(500.0)
    )
    assert float(found) == pytest.approx(expected.sum(), rel=1e-5)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slopes))


@pytest.mark.parametrize("log_var", [-100.0, -60.0, 0.0])
def test_what_is_met_exactly_has_a_density_and_a_slope_however_narrow(log_var):
    x, narrow = jnp.asarray([[0.3, 0.7]]), jnp.full((1, 2), log_var)

    def gaussian(log_var):
        return densities.gaussian(x, log_var, x)[0]

    np.testing.assert_allclose(gaussian(narrow), -densities.LOG_2PI - log_var, rtol=1e-6)
    np.testing.assert_allclose(jax.grad(gaussian)(narrow), -0.5, rtol=1e-6)
    q = Normal(x, narrow)
    assert np.abs(densities.kl(q, q)).max() == 0
    assert np.isfinite(jax.tree.leaves(jax.grad(lambda q: densities.kl(q, Normal(x, narrow)).sum())(q))).all()


def test_a_batch_of_none_has_no_densities():
    assert densities.bernoulli(jnp.zeros((0, 4, 4, 1)), jnp.zeros((0, 4, 4, 1))).shape == (0,)


def test_a_logistic_at_its_own_mean_has_all_its_mass_there_however_narrow():
    x = jnp.asarray([[0.0, 51 / 255, 1.0]])

    def mass(log_scale):
        return densities.discretised_logistic(x, jnp.full((1, 3), log_scale), x)[0]

    for log_scale in (-10.0, -85.0, -100.0):
        assert abs(mass(log_scale)) < 1e-12 and abs(jax.grad(mass)(log_scale)) < 1e-12
