"""beta-TCVAE, FactorVAE's permutations and DIP-VAE against scipy, numpy and closed forms."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import small

from jaxae import gaussian, methods, random
from jaxae.errors import InputError
from jaxae.methods.factor_vae import permuted

N, LATENT = 12, 3
STEP = jnp.asarray(0)
keys = small.keys


def made(name, examples=N, **hyper):
    return methods.factory(name)(small.net("gaussian", LATENT)._replace(examples=examples), **hyper)


@cache
def batch():
    return small.batch(N, binary=False)


@cache
def variables():
    """Of the VAE, whose parameters beta-TCVAE and DIP-VAE share; codes far enough apart to be correlated."""
    return small.variables(made("vae"), batch(), size=0.8)


def at_the_same_code(of):
    """(variables) -> the q and z that a method's loss sees, for those whose keys are for the code alone."""
    terms = gaussian.bind(small.net("gaussian", LATENT)).terms(of, keys(), batch())
    return jax.tree.map(lambda x: np.asarray(x, np.float64), (terms.q, terms.z))


def flat(of):
    """The same with an encoder that does not look: one posterior for all."""
    kernel = jnp.zeros_like(of.params["encoder"]["dense"]["kernel"])
    encoder = {"dense": {**of.params["encoder"]["dense"], "kernel": kernel}}
    return of._replace(params={**of.params, "encoder": encoder})


def loss(method, of=None):
    return method.loss(of or variables(), keys(), batch(), STEP)


# --- beta_tcvae


def test_the_three_parts_are_what_scipy_says_where_the_batch_is_the_data_set():
    q, z = at_the_same_code(variables())
    each = scipy.stats.norm.logpdf(z[:, None], q.mean[None], np.exp(q.log_var / 2)[None])
    joint = scipy.special.logsumexp(each.sum(-1), axis=1) - np.log(N)
    marginals = (scipy.special.logsumexp(each, axis=1) - np.log(N)).sum(-1)
    expected = {
        "mutual_information": each.sum(-1)[np.arange(N), np.arange(N)] - joint,
        "total_correlation": joint - marginals,
        "dimension_wise_kl": marginals - scipy.stats.norm.logpdf(z).sum(-1),
    }
    offset = {"mutual_information": 1, "total_correlation": LATENT - 1, "dimension_wise_kl": -LATENT}
    exact = loss(made("beta_tcvae", sampling="stratified")).metrics
    weighted = loss(made("beta_tcvae", sampling="weighted")).metrics
    for name, value in expected.items():
        np.testing.assert_allclose(exact[name], value, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(weighted[name], value + offset[name] * np.log(N), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sampling", ["weighted", "stratified"])
@pytest.mark.parametrize("examples", [N, 1000])
def test_at_weights_of_one_it_is_the_elbo_at_the_sample(sampling, examples):
    objective = loss(made("beta_tcvae", examples, beta=1.0, sampling=sampling))
    q, z = at_the_same_code(variables())
    own = scipy.stats.norm.logpdf(z, q.mean, np.exp(q.log_var / 2)) - scipy.stats.norm.logpdf(z)
    np.testing.assert_allclose(objective.loss, objective.metrics["reconstruction"] + own.sum(-1), rtol=1e-4, atol=1e-3)
    vae = loss(made("vae"))
    np.testing.assert_allclose(objective.metrics["elbo"], -vae.loss, rtol=1e-5)


def test_each_part_has_its_weight():
    objective = loss(made("beta_tcvae", alpha=0.3, beta=5.0, gamma=0.7))
    said = objective.metrics
    parts = 0.3 * said["mutual_information"] + 5 * said["total_correlation"] + 0.7 * said["dimension_wise_kl"]
    np.testing.assert_allclose(objective.loss, said["reconstruction"] + parts, rtol=1e-5)


def test_codes_that_say_nothing_have_no_information_and_independent_units_no_correlation():
    said = loss(made("beta_tcvae", 1000), flat(variables())).metrics
    np.testing.assert_allclose(said["mutual_information"], 0, atol=1e-4)
    np.testing.assert_allclose(said["total_correlation"], 0, atol=1e-4)
    q, z = at_the_same_code(flat(variables()))
    own = scipy.stats.norm.logpdf(z, q.mean, np.exp(q.log_var / 2)) - scipy.stats.norm.logpdf(z)
    np.testing.assert_allclose(said["dimension_wise_kl"], own.sum(-1), rtol=1e-4, atol=1e-4)


def test_the_size_of_the_data_and_the_estimate_are_asked_for():
    with pytest.raises(InputError, match=r"examples 0: expected the size of the training split: give Net\("):
        made("beta_tcvae", 0)
    with pytest.raises(InputError, match="unknown sampling 'stratfied': did you mean 'stratified'"):
        made("beta_tcvae", sampling="stratfied")


# --- factor_vae


@cache
def orders(n=6, count=3000):
    """Where each row of each unit comes from: [count, n, 2]."""
    codes = jnp.stack([jnp.arange(n), 10 + jnp.arange(n)], axis=1).astype(jnp.float32)
    draw = small.jit(jax.vmap(lambda key: permuted(random.example_keys(key, 0, jnp.arange(n)), codes)))
    return np.asarray(draw(jax.random.split(jax.random.key(2), count))) - np.array([0, 10])


def test_each_unit_is_permuted():
    found = orders()
    np.testing.assert_array_equal(np.sort(found, axis=1), np.broadcast_to(np.arange(6)[:, None], found.shape))


def test_every_order_is_as_likely_and_the_units_orders_are_independent():
    found = orders().astype(int)
    whole = (found * 6 ** np.arange(6)[:, None]).sum(axis=1)
    for unit in (0, 1):
        counts = np.unique(whole[:, unit], return_counts=True)[1]
        assert scipy.stats.chisquare(np.pad(counts, (0, 720 - len(counts)))).pvalue > 1e-4
    together = np.zeros((6, 6))
    np.add.at(together, (found[:, 0, 0], found[:, 0, 1]), 1)
    assert scipy.stats.chisquare(together.ravel()).pvalue > 1e-4


# --- dip_vae


def numpy_penalty(kind, od, d):
    q, _ = at_the_same_code(variables())
    cov = np.cov(q.mean.T, bias=True)
    if kind == "ii":
        cov = cov + np.diag(np.exp(q.log_var).mean(0))
    off = sum(cov[i, j] ** 2 for i in range(LATENT) for j in range(LATENT) if i != j)
    return od * off + d * sum((cov[i, i] - 1) ** 2 for i in range(LATENT))


@pytest.mark.parametrize("kind", ["i", "ii"])
def test_the_penalty_is_numpys_beside_the_elbo(kind):
    objective = loss(made("dip_vae", kind=kind, lambda_od=3.0, lambda_d=0.5))
    np.testing.assert_allclose(objective.metrics["dip"], numpy_penalty(kind, 3.0, 0.5), rtol=1e-4)
    np.testing.assert_allclose(objective.loss - loss(made("vae")).loss, numpy_penalty(kind, 3.0, 0.5), rtol=1e-3)


def test_kind_ii_asks_it_of_the_covariance_of_the_sampled_codes():
    """By the law of total covariance: here of 20,000 draws an example."""
    q, _ = at_the_same_code(variables())
    noise = np.random.default_rng(0).normal(size=(20_000, *q.mean.shape))
    cov = np.cov((q.mean + np.exp(q.log_var / 2) * noise).reshape(-1, LATENT).T)
    expected = np.square(cov - np.eye(LATENT)).sum()
    found = loss(made("dip_vae", kind="ii", lambda_od=1.0, lambda_d=1.0)).metrics["dip"][0]
    assert float(found) == pytest.approx(expected, rel=0.02)
    of_means = loss(made("dip_vae", kind="i", lambda_od=1.0, lambda_d=1.0)).metrics["dip"][0]
    assert abs(float(of_means) - expected) > 0.1 * expected


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="unknown kind 'iii': did you mean 'ii'"):
        made("dip_vae", kind="iii")
