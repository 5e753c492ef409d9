"""Bounds from many samples, of a model whose log p(x) is known; every estimator's gradient, by hand and on average."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import small

from jaxae import gaussian
from jaxae.errors import InputError

N, SCALE = 6, 0.5
BATCH = small.batch(N, binary=False)
over_draws = partial(small.over_draws, BATCH)
DRAWS = 1000
ONE = {
    "iwae": {"k": 1},
    "miwae": {"groups": 1, "k": 1},
    "ciwae": {"k": 1},
    "piwae": {"groups": 1, "k": 1},
}


def same_keys():
    """The same noise at every call."""
    return small.keys(N, 5)


def made(name, likelihood="gaussian", **hyperparameters):
    return small.method(name, likelihood, scale=SCALE, **hyperparameters)


VAE = made("vae")
VARIABLES = small.variables(VAE, BATCH)


def said(method, variables=VARIABLES, keys=None):
    return method.loss(variables, same_keys() if keys is None else keys, BATCH, jnp.asarray(0))


def gradient(method, variables=VARIABLES, keys=None):
    """Of the mean loss."""

    def mean_loss(params):
        return jnp.mean(said(method, variables._replace(params=params), keys).loss)

    return jax.jit(jax.grad(mean_loss))(variables.params)


@cache
def gradients(name, estimator="plain", **hyperparameters):
    """[draws, ...], leaf by leaf."""
    return over_draws(partial(gradient, made(name, estimator=estimator, **hyperparameters), VARIABLES), DRAWS)


def log_p(variables):
    """log p(x) of the linear decoder with Gaussian pixels: x ~ N(b, W'W + s^2)."""
    dense = jax.tree.map(np.asarray, variables.params["decoder"]["dense"])
    cov = dense["kernel"].T @ dense["kernel"] + SCALE**2 * np.eye(small.D)
    return scipy.stats.multivariate_normal(dense["bias"], cov).logpdf(np.asarray(BATCH.x).reshape(N, -1))


def exact_posterior():
    """Parameters whose q(z|x) is p(z|x): the decoder's rows are orthogonal, so that it is diagonal."""
    rows = np.linalg.qr(np.random.default_rng(0).normal(size=(small.D, 2)))[0].T * [[1.5], [0.4]]
    bias = np.random.default_rng(1).normal(size=small.D)
    variance = 1 / (1 + (rows**2).sum(1) / SCALE**2)
    to_mean = rows.T * variance / SCALE**2
    encoder = {
        "kernel": np.concatenate([to_mean, np.zeros_like(to_mean)], axis=1),
        "bias": np.concatenate([-bias @ to_mean, np.log(variance)]),
    }
    own = {"encoder": {"dense": encoder}, "decoder": {"dense": {"kernel": rows, "bias": bias}}}
    own = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), own)
    return VARIABLES._replace(params={**VARIABLES.params, **own})


@pytest.mark.parametrize("name", list(ONE))
def test_one_sample_is_the_elbo_of_the_vae_at_the_same_noise(name):
    objective, vae = said(made(name, **ONE[name])), said(VAE)
    log_w = VAE.log_weight(VARIABLES, same_keys(), BATCH)
    np.testing.assert_allclose(objective.loss, -log_w.total, rtol=1e-6)
    np.testing.assert_allclose(objective.metrics["kl"], log_w.posterior - log_w.prior, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(objective.metrics["reconstruction"], vae.metrics["reconstruction"], rtol=1e-6)


def test_bound_tightens_with_samples_and_stays_below_the_exact_log_likelihood():
    mean, se = {}, {}
    for k in (1, 5, 50):
        bound = over_draws(lambda keys, k=k: jnp.mean(said(made("iwae", k=k), keys=keys).metrics["bound"]), 500)
        mean[k], se[k] = bound.mean(), bound.std(ddof=1) / np.sqrt(500)
    exact = log_p(VARIABLES).mean()
    assert mean[5] - mean[1] > 10 * np.hypot(se[5], se[1])
    assert mean[50] - mean[5] > 10 * np.hypot(se[50], se[5])
    assert mean[50] + 4 * se[50] < exact
    assert exact - mean[50] < 0.2 * (exact - mean[1])


@pytest.mark.parametrize(
    "made_of",
    [
        ("iwae", {"k": 7}),
        ("miwae", {"groups": 2, "k": 3}),
        ("ciwae", {"k": 4}),
        ("piwae", {"groups": 2, "k": 3}),
    ],
    ids=lambda made_of: made_of[0],
)
def test_every_bound_is_exact_where_the_posterior_is(made_of):
    """Then every weight is p(x), whatever is drawn."""
    variables = exact_posterior()
    objective = said(made(made_of[0], **made_of[1]), variables)
    for value in (-objective.loss, objective.metrics["elbo"], objective.metrics["bound"]):
        np.testing.assert_allclose(value, log_p(variables), rtol=1e-5, atol=1e-4)


def test_metrics_are_means_over_the_samples():
    objective = said(made("iwae", k=4))
    base = gaussian.bind(small.net("gaussian", scale=SCALE))
    log_w, _ = base.log_weights(VARIABLES, same_keys(), BATCH, (4,))
    total = np.asarray(log_w.total, np.float64)
    bound = scipy.special.logsumexp(total, axis=0) - np.log(4)
    expected = {
        "reconstruction": -log_w.likelihood.mean(0),
        "kl": (log_w.posterior - log_w.prior).mean(0),
        "elbo": total.mean(0),
        "bound": bound,
    }
    small.assert_close(objective.metrics, expected, rtol=1e-5, atol=1e-5)
    assert (objective.metrics["bound"] > objective.metrics["elbo"]).all()


@pytest.mark.parametrize(("estimator", "k"), [("stl", 1), ("dreg", 8)])
def test_estimators_agree_with_the_plain_gradient_on_average(estimator, k):
    """The same draws, in pairs: their mean difference is zero, parameter by parameter."""
    plain, other = gradients("iwae", k=k), gradients("iwae", estimator, k=k)
    difference = jax.tree.map(np.subtract, other["encoder"], plain["encoder"])
    for leaf in jax.tree.leaves(difference):
        se = leaf.std(axis=0, ddof=1) / np.sqrt(DRAWS)
        assert se.min() > 0
        np.testing.assert_array_less(np.abs(leaf.mean(axis=0)), 4 * se)


@pytest.mark.parametrize("estimator", ["stl", "dreg"])
def test_the_decoders_gradient_is_the_same_for_every_estimator(estimator):
    plain, other = gradients("iwae", k=8), gradients("iwae", estimator, k=8)
    small.assert_close(other["decoder"], plain["decoder"], rtol=1e-4, atol=1e-5)


def test_sticking_the_landing_is_biased_for_many_samples():
    """Which is why dreg is there."""
    plain, other = gradients("iwae", k=8), gradients("iwae", "stl", k=8)
    difference = other["encoder"]["dense"]["bias"] - plain["encoder"]["dense"]["bias"]
    z = difference.mean(axis=0) / (difference.std(axis=0, ddof=1) / np.sqrt(DRAWS))
    assert np.abs(z).max() > 10


def test_dreg_is_less_noisy_for_many_samples():
    plain, other = gradients("iwae", k=50), gradients("iwae", "dreg", k=50)
    noise = [sum(leaf.var(axis=0).sum() for leaf in jax.tree.leaves(found["encoder"])) for found in (plain, other)]
    assert noise[1] < 0.5 * noise[0]


@pytest.mark.parametrize("name", ["iwae", "miwae"])
def test_dreg_is_the_squared_weights_times_the_path(name):
    """-sum w~^2 (d log w / d z) (d z / d phi), every factor written out for the linear model."""
    groups, k = (1, 5) if name == "iwae" else (3, 5)
    shape = {"k": k} if name == "iwae" else {"groups": groups, "k": k}
    q = VAE.posterior(VARIABLES, BATCH)
    z = np.asarray(gaussian.reparameterise(same_keys(), q, (groups, k)), np.float64)
    mean, log_var, x = (np.asarray(a, np.float64) for a in (*q, BATCH.x.reshape(N, -1)))
    dense = jax.tree.map(np.asarray, VARIABLES.params["decoder"]["dense"])
    error = x - (z @ dense["kernel"] + dense["bias"])
    log_w = -0.5 * (error**2).sum(-1) / SCALE**2 - 0.5 * (z**2).sum(-1)
    log_w += 0.5 * (log_var + (z - mean) ** 2 * np.exp(-log_var)).sum(-1)
    share = scipy.special.softmax(log_w, axis=1)[..., None]
    slope = error @ dense["kernel"].T / SCALE**2 - z + (z - mean) * np.exp(-log_var)
    path = share**2 * slope / groups
    by_hand = -np.concatenate([path.sum((0, 1)), (path * (z - mean) / 2).sum((0, 1))], axis=-1) / N
    found = gradient(made(name, estimator="dreg", **shape))["encoder"]["dense"]
    np.testing.assert_allclose(found["bias"], by_hand.sum(0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(found["kernel"], x.T @ by_hand, rtol=1e-3, atol=1e-4)


def test_miwae_with_one_group_is_iwae_and_with_one_sample_the_mean_elbo():
    one, iwae = said(made("miwae", groups=1, k=6)), said(made("iwae", k=6))
    np.testing.assert_allclose(one.loss, iwae.loss, rtol=1e-6)
    many = said(made("miwae", groups=6, k=1))
    np.testing.assert_allclose(-many.loss, iwae.metrics["elbo"], rtol=1e-6)
    between = said(made("miwae", groups=2, k=3))
    assert float(one.loss.mean()) < float(between.loss.mean()) < float(many.loss.mean())


def test_ciwae_lies_between_iwae_and_the_vae_with_as_many_samples():
    iwae = said(made("iwae", k=5))
    elbo, bound = iwae.metrics["elbo"], iwae.metrics["bound"]
    for beta in (0.0, 0.3, 1.0):
        objective = said(made("ciwae", beta=beta, k=5))
        np.testing.assert_allclose(-objective.loss, beta * elbo + (1 - beta) * bound, rtol=1e-6)
        np.testing.assert_allclose(objective.metrics["bound"], -objective.loss, rtol=1e-6)
        np.testing.assert_allclose(objective.metrics["elbo"], elbo, rtol=1e-6)


@pytest.mark.parametrize("estimator", ["plain", "dreg"])
def test_piwae_trains_the_encoder_by_miwae_and_the_rest_by_iwae(estimator):
    piwae = made("piwae", "gaussian_learned", groups=3, k=4, estimator=estimator)
    miwae = made("miwae", "gaussian_learned", groups=3, k=4, estimator=estimator)
    iwae = made("iwae", "gaussian_learned", k=12)
    variables = small.variables(piwae, BATCH)
    found, encoder, rest = (gradient(method, variables) for method in (piwae, miwae, iwae))
    tolerance = {"rtol": 1e-4, "atol": 1e-5}
    small.assert_close(found["encoder"], encoder["encoder"], **tolerance)
    for name in ("decoder", "likelihood"):
        small.assert_close(found[name], rest[name], **tolerance)
    assert np.abs(found["encoder"]["dense"]["bias"] - rest["encoder"]["dense"]["bias"]).max() > 1e-2
    np.testing.assert_allclose(said(piwae, variables).loss, said(iwae, variables).loss, rtol=1e-6)


def test_the_optimal_variance_of_the_pixels_is_that_of_every_sample():
    method = made("iwae", "gaussian_optimal", k=5)
    objective = said(method, small.variables(method, BATCH))
    z = gaussian.reparameterise(same_keys(), VAE.posterior(VARIABLES, BATCH), (5,))
    error = np.asarray(VAE.decode(VARIABLES, z)) - np.asarray(BATCH.x)
    np.testing.assert_allclose(objective.state["likelihood"]["variance"], 0.01 * np.square(error).mean(), rtol=1e-4)


def test_wrong_numbers_are_refused_in_one_line():
    with pytest.raises(InputError, match=r"^k 0: expected a whole number of at least 1$"):
        made("iwae", k=0)
    with pytest.raises(InputError, match=r"^groups -1: expected"):
        made("piwae", groups=-1)
    with pytest.raises(InputError, match=r"^unknown estimator 'drag': did you mean 'dreg'"):
        made("miwae", estimator="drag")
