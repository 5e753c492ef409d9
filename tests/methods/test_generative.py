"""p(z) p(x|z) of every method that has one: the density that log_weight tells, the images that `sample` draws."""

import inspect
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import methods, random

N, DRAWS, LATENT = 12, 1500, 4
BATCH = small.batch(N)
NAMES = list(methods.entries())


@cache
def method(name):
    return small.method(name, "bernoulli", LATENT)


def functions(name):
    """What a method's model, its samples and its log-weights are made of: many methods share all of it."""
    of = method(name)
    return tuple(inspect.unwrap(function).__code__ for function in (*of.generative, of.sample, of.log_weight))


MODELS = [name for name in NAMES if method(name).generative is not None]
DISTINCT = list({functions(name): name for name in reversed(MODELS)}.values())
distinct = pytest.mark.parametrize("name", DISTINCT)


def keys(seed, use, index=BATCH.index):
    return random.example_keys(jax.random.fold_in(jax.random.key(3), use), seed, index)


@cache
def variables(name):
    """A decoder that says much of z, and an encoder that says little of x: q is a fair proposal."""
    found = small.variables(method(name), BATCH, size=0.05)
    changed = {"decoder": jax.tree.map(lambda leaf: 14 * leaf, found.params["decoder"])}
    if "leaps" in found.params:  # short ones: the weights vary with where they lead
        changed["leaps"] = jax.tree.map(lambda leaf: leaf - 4, found.params["leaps"])
    return found._replace(params={**found.params, **changed})


@cache
def of(name):
    return jax.device_get(small.jit(partial(said, method(name)))(variables(name)))


def said(method, v):
    model = method.generative
    z, many = (model.draw(v, keys(0, 0, jnp.arange(count))) for count in (N, 3000))
    middle = jnp.median(model.log_prior(v, many))

    def one(seed):
        log_w, h = method.log_weight(v, keys(seed, 1), BATCH), model.draw(v, keys(seed, 2))
        return {
            "by q": jnp.where(log_w.prior > middle, jnp.exp(log_w.total), 0),
            "by p": jnp.where(model.log_prior(v, h) > middle, jnp.exp(model.log_likelihood(v, h, BATCH)), 0),
            "x": model.simulate(v, keys(seed, 3), z, BATCH),
        }

    given = method if method.given is None else method.given(BATCH.label)
    return {
        "z": z,
        "reversed": model.draw(v, keys(0, 0, BATCH.index[::-1])),
        "mean": given.decode(v, jax.tree.leaves(z)[0]),
        "sample": given.sample(v, keys(0, 0)),
        **jax.lax.map(one, jnp.arange(DRAWS)),
    }


def test_every_method_with_a_density_of_real_codes_has_its_model():
    without = {name for name in NAMES if method(name).log_weight is not None} - set(MODELS)
    assert without == {"svae", "categorical_vae"}, "on a sphere, and finite"
    assert all(method(name).log_weight is not None for name in MODELS)


@pytest.mark.parametrize("name", small.first(DISTINCT, 3))
def test_joint_density_is_the_one_that_log_weight_weighs(name):
    """The integral of p(z) p(x|z) over the densest half of the prior, from z ~ q(z|x) and from z ~ p(z). Where q is the
    narrower, weights are bounded there alone; and p(z) says where that is, so that an error of it is seen."""
    w = {part: np.float64(of(name)[part]) for part in ("by q", "by p")}
    (q, p), se = (value.mean(0) for value in w.values()), [value.std(0) / np.sqrt(DRAWS) for value in w.values()]
    assert np.std(np.log(p)) > 0.2, "images that are not equally likely"
    assert (np.hypot(*se) / p).max() < 0.15
    assert (np.abs(q - p) < 4.5 * np.hypot(*se)).all()
    assert abs(np.mean((q - p) / p)) < 4.5 * np.sqrt(np.square(np.hypot(*se) / p).sum()) / N


@distinct
def test_latents_are_drawn_as_for_sample_and_each_key_draws_its_own(name):
    np.testing.assert_allclose(of(name)["mean"], of(name)["sample"], rtol=1e-4)
    small.assert_close(of(name)["reversed"], jax.tree.map(lambda leaf: leaf[::-1], of(name)["z"]), rtol=1e-5)


@distinct
def test_images_are_simulated_about_the_decoders_mean(name):
    x, mean = of(name)["x"], of(name)["mean"]
    assert (x.shape, set(np.unique(x))) == ((DRAWS, N, *small.SHAPE), {0.0, 1.0})
    np.testing.assert_array_less(np.abs(x.mean(0) - mean), 5 * np.sqrt(mean * (1 - mean) / DRAWS) + 1e-6)
    pairs = np.corrcoef(x.reshape(DRAWS, -1).T) - np.eye(N * small.D)
    assert np.abs(pairs).max() < 5.5 / np.sqrt(DRAWS), "pixels and examples are independent given z"
