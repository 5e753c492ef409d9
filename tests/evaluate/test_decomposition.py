"""The parts of the KL against closed forms, and against the definition, term by term, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from jaxae import divergences, random
from jaxae.densities import kl_to_standard
from jaxae.errors import InputError
from jaxae.evaluate import decomposition
from jaxae.evaluate.decomposition import decompose
from jaxae.gaussian import reparameterise
from jaxae.types import Normal

PARTS = ("kl", "mutual_information", "aggregated_kl", "total_correlation", "dimension_wise_kl")


def key(seed=0):
    return jax.random.key(seed)


def f32(x):
    return np.asarray(x, np.float32)


def some(n=37, latent=3):
    rng = np.random.default_rng(n)
    return f32(rng.normal(size=(n, latent))), f32(rng.normal(-1, 0.7, size=(n, latent)))


def codes(mean, log_var):
    """The codes that `decompose` draws, [n, latent]."""
    keys = random.example_keys(key(), 0, jnp.arange(len(mean)))
    return np.float64(reparameterise(keys, Normal(jnp.asarray(mean), jnp.asarray(log_var))))


def by_definition(mean, log_var, z):
    """Every part [n] at those codes, of the prior N(0, 1)."""
    apart = scipy.stats.norm.logpdf(z[:, None], np.float64(mean), np.exp(np.float64(log_var) / 2))  # [n, n, latent]
    own = np.einsum("iil->i", apart)
    joint = scipy.special.logsumexp(apart.sum(-1), axis=1) - np.log(len(mean))
    marginals = (scipy.special.logsumexp(apart, axis=1) - np.log(len(mean))).sum(-1)
    prior = scipy.stats.norm.logpdf(z).sum(-1)
    return dict(zip(PARTS, (own - prior, own - joint, joint - prior, joint - marginals, marginals - prior)))


@pytest.mark.slow
@pytest.mark.parametrize(("n", "numbers"), [(37, 2**18), (70, 64 * 3 * 9), (1, 2**18), (129, 1)])
def test_each_part_is_the_mean_of_its_definition(n, numbers, monkeypatch):
    """However few numbers are to be held at once: rows and posteriors are cut, and filled up, without a trace."""
    monkeypatch.setattr(decomposition, "NUMBERS", numbers)
    mean, log_var = some(n)
    found, exact = decompose(mean, log_var, key()), by_definition(mean, log_var, codes(mean, log_var))
    for part in PARTS:
        assert found[part] == pytest.approx(exact[part].mean(), abs=2e-5)
        se = None if n == 1 else pytest.approx(exact[part].std(ddof=1) / np.sqrt(n), abs=1e-5)
        assert found[f"{part}_data_se"] == se


def test_the_parts_add_up_to_rounding():
    found = decompose(*some(200, 10), key())
    assert found["mutual_information"] + found["aggregated_kl"] == pytest.approx(found["kl"], abs=1e-5)
    assert found["total_correlation"] + found["dimension_wise_kl"] == pytest.approx(found["aggregated_kl"], abs=1e-5)


@pytest.mark.slow
def test_they_are_what_training_estimates_from_a_batch_that_is_the_whole_set():
    mean, log_var = some()
    q, z = Normal(jnp.asarray(mean), jnp.asarray(log_var)), jnp.asarray(codes(mean, log_var), jnp.float32)
    aggregate = divergences.log_aggregate(z, q, jnp.arange(37), 37)
    found = decompose(mean, log_var, key())
    for part, values in (
        ("mutual_information", divergences.index_code_mi(z, q, aggregate)),
        ("total_correlation", divergences.total_correlation(aggregate)),
        ("dimension_wise_kl", divergences.dimension_wise_kl(z, aggregate)),
    ):
        assert found[part] == pytest.approx(float(values.mean()), abs=1e-5)


def test_the_kl_is_the_closed_form_within_its_error():
    mean, log_var = some(3000, 4)
    exact = np.sum(kl_to_standard(Normal(jnp.asarray(mean), jnp.asarray(log_var))), axis=1).mean()
    found = decompose(mean, log_var, key())
    assert abs(found["kl"] - exact) < 4 * found["kl_mc_se"] < 0.2


def test_equal_posteriors_tell_nothing():
    found = decompose(np.full((50, 3), 0.7, np.float32), np.full((50, 3), -1.0, np.float32), key())
    assert found["mutual_information"] == pytest.approx(0, abs=1e-6)
    assert found["total_correlation"] == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("log_var", [-2.0, -60.0])
def test_posteriors_far_apart_tell_everything_which_is_log_n(log_var):
    n = 40
    mean = np.stack([100.0 * np.arange(n), np.zeros(n)], axis=1)
    found = decompose(f32(mean), np.full((n, 2), log_var, np.float32), key())
    assert found["mutual_information"] == pytest.approx(np.log(n), abs=1e-5)
    assert found["mutual_information_bound"] == pytest.approx(np.log(n))
    assert found["total_correlation"] == pytest.approx(0, abs=1e-4 * abs(log_var)), (
        "one unit tells, the other is constant"
    )
    assert all(np.isfinite(value) for value in found.values())


@pytest.mark.slow
@pytest.mark.parametrize("mix", [np.diag([0.9, 0.5]), np.array([[0.9, 0.0], [0.7, 0.4]])], ids=["apart", "together"])
def test_an_aggregate_that_is_a_gaussian_has_the_closed_forms(mix):
    """Means at the quantiles of a Gaussian: q(z) is one of covariance mix mix' + v, very nearly."""
    side, v = 100, 0.3
    u = scipy.stats.norm.ppf((np.arange(side) + 0.5) / side)
    u = u / u.std()
    mean = np.stack(np.meshgrid(u, u), axis=-1).reshape(-1, 2) @ mix.T
    found = decompose(f32(mean), np.full(mean.shape, np.log(v), np.float32), key())
    cov = mix @ mix.T + v * np.eye(2)
    variance = np.diag(cov)
    exact = {
        "mutual_information": 0.5 * (np.linalg.slogdet(cov)[1] - 2 * np.log(v)),
        "total_correlation": -0.5 * np.linalg.slogdet(cov / np.sqrt(np.outer(variance, variance)))[1],
        "dimension_wise_kl": 0.5 * np.sum(variance - np.log(variance) - 1),
        "aggregated_kl": 0.5 * (np.trace(cov) - np.linalg.slogdet(cov)[1] - 2),
    }
    assert exact["total_correlation"] == pytest.approx(0) or exact["total_correlation"] > 0.2
    for part, value in exact.items():
        assert found[f"{part}_mc_se"] < 0.03
        assert abs(found[part] - value) < 4 * found[f"{part}_mc_se"] + 0.004, part


def test_another_prior_has_the_information_and_the_aggregates_divergence(monkeypatch):
    monkeypatch.setattr(decomposition, "SCORED", 10)
    shapes = []

    def log_prior(z):
        """N(0.5, 2^2), in pieces of one shape."""
        shapes.append(z.shape)
        return jax.scipy.stats.norm.logpdf(z, 0.5, 2.0).sum(-1)

    mean, log_var = some()
    found, z = decompose(mean, log_var, key(), log_prior), codes(mean, log_var)
    exact = by_definition(mean, log_var, z)
    change = scipy.stats.norm.logpdf(z).sum(-1) - scipy.stats.norm.logpdf(z, 0.5, 2.0).sum(-1)
    assert shapes == [(10, 3)] * 4 * 2, "of two codes an example"
    assert found["mutual_information"] == pytest.approx(exact["mutual_information"].mean(), abs=1e-5)
    for part in ("kl", "aggregated_kl"):
        assert found[part] == pytest.approx((exact[part] + change).mean(), abs=1e-5)
    assert "total_correlation" not in found and "dimension_wise_kl" not in found


@pytest.mark.slow
def test_the_stated_errors_are_what_repetition_shows():
    mean, log_var = some()
    of = [decompose(mean, log_var, key(seed)) for seed in range(300)]
    for part in PARTS:
        repeated = np.std([each[part] for each in of], ddof=1)
        stated = np.sqrt(np.mean([each[f"{part}_mc_se"] ** 2 for each in of]))
        assert 0.87 * repeated < stated < 1.15 * repeated, part


def test_the_error_of_many_examples_is_known_from_some(monkeypatch):
    mean, log_var = some(400)
    whole = decompose(mean, log_var, key())
    monkeypatch.setattr(decomposition, "AGAIN", 100)
    part = decompose(mean, log_var, key())
    for name in PARTS:
        assert part[name] == whole[name]
        assert part[f"{name}_mc_se"] == pytest.approx(whole[f"{name}_mc_se"], rel=0.35)
        assert part[f"{name}_mc_se"] != whole[f"{name}_mc_se"]


@pytest.mark.parametrize(
    ("mean", "log_var", "message"),
    [
        (np.zeros((4, 2)), np.zeros((4, 3)), r"^mean \(4, 2\) and log_var \(4, 3\): expected the same shape"),
        (np.zeros((0, 2)), np.zeros((0, 2)), r"^mean \(0, 2\)"),
    ],
)
def test_bad_input_is_refused_by_value(mean, log_var, message):
    with pytest.raises(InputError, match=message):
        decompose(f32(mean), f32(log_var), key())
