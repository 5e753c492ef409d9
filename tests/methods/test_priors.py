"""Learned priors: densities by hand and on a grid, draws by their moments, and where the pseudo-inputs start."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import small

from jaxae import gaussian
from jaxae.errors import InputError
from jaxae.methods import mog_prior, vampprior

N, K, LATENT = 12, 5, 2
BATCH = small.batch(N)
keys = partial(small.keys, seed=5)
NUMBER = {"mog_prior": "components", "vampprior": "pseudo"}
PRIORS = {
    "mog_prior": small.programs(mog_prior.prior(LATENT, K)),
    "vampprior": small.programs(vampprior.prior(small.net(latent=LATENT), K)),
}
both = pytest.mark.parametrize("name", list(NUMBER))


def made(name, number=K, **hyperparameters):
    return small.method(name, latent=LATENT, **{NUMBER[name]: number}, **hyperparameters)


@cache
def variables(name):
    return small.variables(made(name), BATCH, size=0.5)


def components(name):
    """(means, log-variances, weights), the pseudo-inputs' posteriors by the linear encoder's own formula."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables(name).params)
    own = params["prior"]
    if name == "mog_prior":
        return own["mean"], own["log_var"], scipy.special.softmax(own["logits"])
    dense = params["encoder"]["dense"]
    out = scipy.special.expit(own).reshape(K, -1) @ dense["kernel"] + dense["bias"]
    return out[:, :LATENT], out[:, LATENT:], np.full(K, 1 / K)


def by_hand(name, z):
    """log p(z), z [n, latent]."""
    mean, log_var, weight = components(name)
    each = scipy.stats.norm.logpdf(z[:, None], mean, np.exp(log_var / 2)).sum(-1)
    return scipy.special.logsumexp(each + np.log(weight), axis=1)


@both
def test_density_is_the_mixture_with_any_axes_of_samples(name):
    z = np.random.default_rng(0).normal(size=(3, N, LATENT)).astype(np.float32)
    found = PRIORS[name].log_prob(variables(name), jnp.asarray(z))
    assert found.shape == (3, N)
    np.testing.assert_allclose(found, by_hand(name, z.reshape(-1, LATENT)).reshape(3, N), rtol=1e-4)


@both
def test_density_integrates_to_one(name):
    side = np.linspace(-12, 12, 301)
    grid = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, LATENT)
    p = np.exp(PRIORS[name].log_prob(variables(name), jnp.asarray(grid, jnp.float32)), dtype=np.float64)
    over = scipy.integrate.simpson(scipy.integrate.simpson(p.reshape(301, 301), x=side), x=side)
    assert over == pytest.approx(1, abs=1e-4)


@both
def test_density_and_its_slope_are_finite_far_away(name):
    far = jnp.full((1, LATENT), 1e4)
    of_far = jax.value_and_grad(lambda z: PRIORS[name].log_prob(variables(name), z)[0])
    value, slope = small.jit(of_far)(far)
    assert np.isfinite(value) and np.isfinite(slope).all() and value < -1e6


@both
def test_draws_have_the_mixtures_moments(name):
    n = 20_000
    z = np.asarray(PRIORS[name].draw(variables(name), keys(n)), np.float64)
    mean, log_var, weight = components(name)
    exact = weight @ mean
    second = np.einsum("k,ki,kj->ij", weight, mean, mean) + np.diag(weight @ np.exp(log_var))
    np.testing.assert_array_less(np.abs(z.mean(0) - exact), 4.5 * z.std(0) / np.sqrt(n))
    products = z[:, :, None] * z[:, None, :]
    np.testing.assert_array_less(np.abs(products.mean(0) - second), 4.5 * products.std(0) / np.sqrt(n))
    ranks = scipy.stats.norm.cdf(z[:, None, 0], mean[:, 0], np.exp(log_var[:, 0] / 2)) @ weight
    assert scipy.stats.kstest(ranks, "uniform").pvalue > 1e-4


@both
def test_loss_and_log_weight_are_by_the_learned_prior_at_the_sample(name):
    method, v = made(name), variables(name)
    q = method.posterior(v, BATCH)
    z = np.asarray(gaussian.reparameterise(keys(), q), np.float64)
    log_q = scipy.stats.norm.logpdf(z, q.mean, np.exp(np.asarray(q.log_var) / 2)).sum(-1)
    log_w = method.log_weight(v, keys(), BATCH)
    np.testing.assert_allclose(log_w.prior, by_hand(name, z), rtol=1e-4)
    np.testing.assert_allclose(log_w.posterior, log_q, rtol=1e-4)
    objective = method.loss(v, keys(), BATCH, jnp.asarray(0))
    np.testing.assert_allclose(objective.metrics["kl"], log_q - by_hand(name, z), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(objective.loss, -log_w.total, rtol=1e-4)
    double = made(name, beta=2.0).loss(v, keys(), BATCH, jnp.asarray(0))
    np.testing.assert_allclose(double.loss - objective.loss, objective.metrics["kl"], rtol=1e-3, atol=1e-4)


@both
def test_samples_decode_draws_of_the_prior(name):
    method, v = made(name), variables(name)
    expected = method.decode(v, PRIORS[name].draw(v, keys()))
    np.testing.assert_allclose(method.sample(v, keys()), expected, rtol=1e-5)


def test_one_standard_component_is_the_vae():
    one = made("mog_prior", 1)
    own = {"mean": jnp.zeros((1, LATENT)), "log_var": jnp.zeros((1, LATENT)), "logits": jnp.ones(1)}
    v = variables("mog_prior")
    v = v._replace(params={**v.params, "prior": own})
    small.assert_close(one.log_weight(v, keys(), BATCH), small.method("vae").log_weight(v, keys(), BATCH), rtol=1e-5)


def test_mixture_starts_spread_out():
    own = made("mog_prior", 2000).init(jax.random.key(0), BATCH).params["prior"]
    assert np.abs(own["mean"].mean(0)).max() < 4.5 / np.sqrt(2000)
    assert np.abs(own["mean"].std(0) - 1).max() < 4.5 / np.sqrt(4000)
    assert not own["log_var"].any() and not own["logits"].any()


def images(pseudo, seed=0):
    """Which image of the batch each pseudo-input starts from."""
    start = made("vampprior", pseudo).init(jax.random.key(seed), BATCH).params["prior"]
    nearest = np.asarray(start).reshape(pseudo, -1) > 0
    rows = np.asarray(BATCH.x).reshape(N, -1) > 0.5
    found = (nearest[:, None] == rows[None]).all(-1)
    assert found.any(1).all(), "a pseudo-input is no image of the batch"
    return rows, [tuple(row) for row in nearest], start


def test_pseudo_inputs_start_from_distinct_images():
    rows, found, _ = images(N)
    assert sorted(found) == sorted(map(tuple, rows))
    assert images(N, seed=1)[1] != found
    few = images(4)[1]
    assert len({tuple(np.flatnonzero((rows == row).all(1))) for row in few}) > 1


def test_pseudo_inputs_beyond_the_batch_are_noisy_copies():
    _, found, start = images(2 * N + 3)
    assert found[:N] == found[N : 2 * N] and found[:3] == found[2 * N :]
    apart = np.abs(np.asarray(start[:N] - start[N : 2 * N]))
    assert apart.min() > 0 and apart.max() < 1


def test_gradient_reaches_every_pixel_of_the_pseudo_inputs_from_their_start():
    """Black and white pixels too, where a clip to [0, 1] would stop it; and the encoder, through the prior alone."""
    start = small.jit(made("vampprior").init)(jax.random.key(0), BATCH)
    z = jnp.asarray(np.random.default_rng(0).normal(size=(N, LATENT)), jnp.float32)

    def mean(params):
        return PRIORS["vampprior"].log_prob(start._replace(params=params), z).mean()

    slope = small.jit(jax.grad(mean))(start.params)
    assert np.abs(slope["prior"]).min() > 0
    kernel, step = start.params["encoder"]["dense"]["kernel"], 1e-2
    direction = slope["encoder"]["dense"]["kernel"] / jnp.linalg.norm(slope["encoder"]["dense"]["kernel"])
    ahead, behind = (
        mean(
            {
                **start.params,
                "encoder": {"dense": {**start.params["encoder"]["dense"], "kernel": kernel + s * direction}},
            }
        )
        for s in (step, -step)
    )
    norm = float(jnp.linalg.norm(slope["encoder"]["dense"]["kernel"]))
    assert norm > 1e-2
    assert float(ahead - behind) / (2 * step) == pytest.approx(norm, rel=1e-2)


def test_none_is_refused():
    with pytest.raises(InputError, match=r"^pseudo 0: expected a whole number of at least 1$"):
        made("vampprior", 0)
    with pytest.raises(InputError, match=r"^components 0: expected"):
        made("mog_prior", 0)
