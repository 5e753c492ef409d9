"""WAE-MMD, SWAE and InfoVAE: the distance of the codes to the prior at known codes, and what training makes of them."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import optim, random
from jaxae.errors import InputError
from jaxae.train import make_train_chunk, make_train_step
from jaxae.types import Batch, TrainState

N, LATENT = 12, 2
SCALES = (0.1, 0.2, 0.5, 1, 2, 5, 10)
STEP = jnp.asarray(0)
DRAWS = 2000
keys = small.keys


@cache
def batch():
    return small.batch(N, binary=False)


def made(name, latent=LATENT, **hyper):
    return small.method(name, "gaussian", latent, **hyper)


def variables(name, latent=LATENT):
    return small.variables(made(name, latent), batch(), size=0.6)


def constant(name, outputs):
    """An encoder that says the same of every image."""
    of = variables(name)
    dense = of.params["encoder"]["dense"]
    encoder = {"dense": {"kernel": jnp.zeros_like(dense["kernel"]), "bias": jnp.asarray(outputs)}}
    return of._replace(params={**of.params, "encoder": encoder})


def distances(name, metric, of, **hyper):
    """The metric at the noise of many steps."""
    method = made(name, **hyper)

    def one(step):
        drawn = random.example_keys(jax.random.key(7), step, jnp.arange(N))
        return method.loss(of, drawn, batch(), STEP).metrics[metric][0]

    return np.asarray(small.jit(jax.vmap(one))(jnp.arange(DRAWS)), np.float64)


def assert_mean(found, expected):
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))


# --- wae_mmd


def numpy_mmd(kernel, x, y):
    widths = [2 * LATENT * s for s in SCALES]

    def k(a, b):
        squared = np.square(a[:, None] - b[None]).sum(-1)
        return sum(np.exp(-squared / c) if kernel == "rbf" else c / (c + squared) for c in widths)

    off = 1 - np.eye(N)
    return ((k(x, x) + k(y, y)) * off).sum() / (N * (N - 1)) - 2 * k(x, y).mean()


@pytest.mark.parametrize("kernel", ["imq", "rbf"])
def test_wae_adds_the_mmd_of_the_codes_and_each_keys_draw(kernel):
    method, of = made("wae_mmd", weight=7.0, kernel=kernel), variables("wae_mmd")
    objective = method.loss(of, keys(), batch(), STEP)
    z, drawn = (np.asarray(a, np.float64) for a in (method.embed(of, batch()), random.normal(keys(), (LATENT,))))
    expected = numpy_mmd(kernel, z, drawn)
    np.testing.assert_allclose(objective.metrics["mmd"], np.full(N, expected), rtol=1e-4, atol=1e-5)
    plain = made("ae").loss(of, keys(), batch(), STEP).loss
    np.testing.assert_allclose(objective.loss, np.asarray(plain) + 7 * expected, rtol=1e-5)


def expected_mmd(mean, variance):
    """Of N(mean, variance) and N(0, 1) under the RBF: E exp(-|x - y|^2 / c), x - y ~ N(m, v), in closed form."""

    def k(m, v, c):
        return (1 + 2 * v / c) ** (-LATENT / 2) * np.exp(-np.square(m).sum() / (c + 2 * v))

    zero = np.zeros(LATENT)
    widths = [2 * LATENT * s for s in SCALES]
    return sum(k(zero, 2 * variance, c) + k(zero, 2, c) - 2 * k(mean, 1 + variance, c) for c in widths)


def test_the_mmd_of_one_code_to_the_prior_is_the_closed_form():
    mean = np.array([0.8, -0.4])
    found = distances("wae_mmd", "mmd", constant("wae_mmd", mean.astype(np.float32)), kernel="rbf")
    assert_mean(found, expected_mmd(mean, 0.0))


# --- infovae


@pytest.mark.parametrize(("mean", "log_var"), [([0.0, 0.0], 0.0), ([0.8, -0.4], -1.0)])
def test_infovaes_mmd_is_of_sampled_codes_to_independent_draws(mean, log_var):
    """Were a code's noise the prior's draw too, it would not vanish at q(z) = p(z)."""
    outputs = np.array([*mean, log_var, log_var], np.float32)
    found = distances("infovae", "mmd", constant("infovae", outputs))
    assert_mean(found, expected_mmd(np.array(mean), np.exp(log_var)))


@pytest.mark.parametrize(("alpha", "lambda_z"), [(0.0, 1.0), (1.0, 3.0), (0.25, 5.0)])
def test_infovae_weighs_kl_and_mmd_as_in_its_equation(alpha, lambda_z):
    objective = made("infovae", alpha=alpha, lambda_z=lambda_z).loss(variables("infovae"), keys(), batch(), STEP)
    said = objective.metrics
    expected = said["reconstruction"] + (1 - alpha) * said["kl"] + (alpha + lambda_z - 1) * said["mmd"]
    np.testing.assert_allclose(objective.loss, expected, rtol=1e-5)
    if (alpha, lambda_z) == (0.0, 1.0):
        np.testing.assert_allclose(objective.loss, -said["elbo"], rtol=1e-5)


@pytest.mark.parametrize("name", ["wae_mmd", "infovae"])
def test_an_unknown_kernel_is_refused(name):
    with pytest.raises(InputError, match="unknown kernel 'imp': did you mean 'imq'"):
        made(name, kernel="imp")


# --- swae


def test_on_a_line_the_distance_is_of_the_sorted_codes():
    method, of = made("swae", 1, weight=7.0), variables("swae", 1)
    objective = method.loss(of, keys(), batch(), STEP)
    z, drawn = (np.sort(np.asarray(a)[:, 0]) for a in (method.embed(of, batch()), drawn_by_swae(1)[0]))
    np.testing.assert_allclose(objective.metrics["sliced_wasserstein"], np.square(z - drawn).mean(), rtol=1e-4)
    plain = made("ae", 1).loss(of, keys(), batch(), STEP).loss
    np.testing.assert_allclose(objective.loss, plain + 7 * np.square(z - drawn).mean(), rtol=1e-5)


def drawn_by_swae(latent):
    for_prior, for_direction = random.split(keys())
    return random.normal(for_prior, (latent,)), random.normal(for_direction, (latent,))


def test_there_are_as_many_directions_as_examples():
    method, of = made("swae"), variables("swae")
    found = method.loss(of, keys(), batch(), STEP).metrics["sliced_wasserstein"]
    prior, directions = (np.asarray(a, np.float64) for a in drawn_by_swae(LATENT))
    z = np.asarray(method.embed(of, batch()), np.float64)
    unit = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    each = [np.square(np.sort(z @ u) - np.sort(prior @ u)).mean() for u in unit]
    np.testing.assert_allclose(found, np.mean(each), rtol=1e-4)


def test_the_sliced_distance_of_one_code_to_the_prior_is_the_closed_form():
    """E (m.u - y.u)^2 = |m|^2 / latent + 1: directions that followed the draws of the prior would make it larger."""
    mean = np.array([0.8, -0.4])
    found = distances("swae", "sliced_wasserstein", constant("swae", mean.astype(np.float32)))
    assert_mean(found, np.square(mean).sum() / LATENT + 1)


# --- all of them


@pytest.mark.parametrize("name", ["wae_mmd", "swae", "aae"])
def test_samples_are_the_decoder_at_draws_from_the_prior(name):
    """A linear decoder's images are Gaussian about its bias, with the covariance of its weights."""
    method, of, n = made(name), variables(name), 20_000
    x = np.asarray(small.jit(method.sample)(of, keys(n, 3)), np.float64).reshape(n, -1)
    w, b = (np.asarray(of.params["decoder"]["dense"][k], np.float64) for k in ("kernel", "bias"))
    np.testing.assert_allclose(x.mean(0), b, atol=5 * np.abs(w).max() / np.sqrt(n))
    np.testing.assert_allclose(np.cov(x.T), w.T @ w, atol=0.05)


@pytest.mark.parametrize("name", small.first(["wae_mmd", "swae", "infovae"]))
def test_training_brings_the_codes_to_the_prior(name):
    """Images of a plane, far from the origin: the codes' mean and covariance become 0 and 1."""
    n, steps = 128, 600
    weights = {"infovae": {"alpha": 1.0, "lambda_z": 1000.0}}.get(name, {"weight": 1000.0})
    method = made(name, **weights)
    plane = np.random.default_rng(0).normal(size=(LATENT, small.D))

    def fetch(key, step, data, row):
        index = jnp.arange(n, dtype=jnp.int32)
        signal = jax.random.normal(jax.random.fold_in(jax.random.key(11), step), (n, LATENT))
        return Batch((2 + signal @ plane).reshape(n, *small.SHAPE), index, index)

    tx = optim.make("adam", lambda step: 0.03 * (1 - step / steps))
    start = small.variables(method, fetch(None, 0, None, None), size=0.1)
    state = TrainState(jnp.zeros((), jnp.int32), start, tx.init(start.params))
    chunk = small.jit(make_train_chunk(make_train_step(method, tx), fetch))
    done = chunk(jax.random.key(1), state, None, jnp.zeros(steps), steps).state
    many = [fetch(None, step, None, None) for step in range(1000, 1030)]
    z = np.concatenate([method.embed(done.variables, part) for part in many])
    if method.posterior is not None:
        noise = np.exp(np.concatenate([method.posterior(done.variables, part).log_var for part in many]) / 2)
        z = z + noise * np.random.default_rng(1).normal(size=z.shape)
    np.testing.assert_allclose(z.mean(0), 0, atol=0.15)
    np.testing.assert_allclose(np.cov(z.T), np.eye(LATENT), atol=0.2)
