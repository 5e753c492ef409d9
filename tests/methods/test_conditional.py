"""The conditional VAE: its bound of log p(x|y) by quadrature, and what a label, or none, does to it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import small

from jaxae import methods, random
from jaxae.errors import InputError

N, CLASSES = 12, 3
STEP = jnp.asarray(0)
keys = small.keys


def ready(latent=2, size=0.6, **hyper):
    method, batch = small.method("cvae", "bernoulli", latent, **hyper), small.batch(N)
    return method, small.variables(method, batch, size=size), batch


def logits(variables, z, y):
    """The linear decoder of [z, one-hot y], in float64; y = -1 adds nothing."""
    layer = jax.tree.map(lambda x: np.asarray(x, np.float64), variables.params["decoder"]["dense"])
    latent = z.shape[-1]
    rows = np.concatenate([layer["kernel"][latent:], np.zeros((1, small.D))])
    return z @ layer["kernel"][:latent] + rows[y] + layer["bias"]


def log_px(variables, z, y, x):
    l = logits(variables, z, y)
    return np.sum(x.reshape(*x.shape[:-3], -1) * l - np.logaddexp(0, l), axis=-1)


def test_importance_weights_average_to_the_conditional_likelihood():
    """mean w = p(x|y), by quadrature over the one latent unit; and the ELBO is below its logarithm."""
    method, variables, batch = ready(latent=1)
    z = np.linspace(-9, 9, 2001)
    x, y = np.asarray(batch.x, np.float64), np.asarray(batch.label)
    on_grid = np.stack([log_px(variables, z[:, None], y[i], x[i]) for i in range(N)])
    exact = scipy.special.logsumexp(on_grid + scipy.stats.norm.logpdf(z), axis=1) + np.log(z[1] - z[0])

    def both(seed):
        elbo = method.loss(variables, keys(seed=seed), batch, STEP).metrics["elbo"]
        return method.log_weight(variables, keys(seed=seed + 10_000), batch).total, elbo

    log_w, elbo = small.jit(lambda: jax.lax.map(both, jnp.arange(4000)))()
    w = np.exp(np.asarray(log_w, np.float64) - exact)
    np.testing.assert_array_less(np.abs(w.mean(axis=0) - 1), 5 * w.std(axis=0) / np.sqrt(len(w)))
    np.testing.assert_array_less(np.asarray(elbo).mean(axis=0), exact)


def test_the_loss_is_the_two_terms_and_beta_weighs_the_kl():
    method, variables, batch = ready(beta=2.5)
    q = method.posterior(variables, batch)
    z = q.mean + np.exp(q.log_var / 2) * random.normal(keys(), (2,))
    reconstruction = -log_px(variables, np.asarray(z, np.float64), np.asarray(batch.label), np.asarray(batch.x))
    variance = np.exp(np.asarray(q.log_var, np.float64))
    kl = 0.5 * np.sum(np.square(q.mean) + variance - 1 - np.log(variance), axis=1)
    objective = method.loss(variables, keys(), batch, STEP)
    np.testing.assert_allclose(objective.metrics["reconstruction"], reconstruction, rtol=1e-4)
    np.testing.assert_allclose(objective.loss, reconstruction + 2.5 * kl, rtol=1e-4)


def test_the_encoder_sees_the_plane_of_the_class_beside_the_image():
    method, variables, batch = ready()
    planes = np.asarray(variables.params["planes"], np.float64)
    assert planes.shape == (CLASSES, *small.SHAPE[:2], 1)
    seen = np.concatenate([np.asarray(batch.x), planes[np.asarray(batch.label)]], axis=-1).reshape(N, -1)
    layer = variables.params["encoder"]["dense"]
    expected = seen @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"])
    np.testing.assert_allclose(method.embed(variables, batch), expected[:, :2], rtol=1e-4, atol=1e-5)


def test_an_unknown_label_is_zero_to_encoder_and_decoder():
    method, variables, batch = ready()
    unknown = batch._replace(label=jnp.full(N, -1))
    bare = variables._replace(params={**variables.params, "planes": jnp.zeros_like(variables.params["planes"])})
    z = method.embed(variables, unknown)
    np.testing.assert_allclose(z, method.embed(bare, batch), rtol=1e-5)
    assert float(jnp.abs(z - method.embed(variables, batch)).min()) > 0
    expected = scipy.special.expit(logits(variables, np.asarray(z, np.float64), -1)).reshape(N, *small.SHAPE)
    np.testing.assert_allclose(method.reconstruct(variables, unknown), expected, rtol=1e-4)


def test_given_a_label_it_decodes_with_it():
    method, variables, _ = ready()
    z = jnp.asarray(np.random.default_rng(0).normal(size=(N, 2)), jnp.float32)
    each = []
    for y in range(CLASSES):
        expected = scipy.special.expit(logits(variables, np.asarray(z, np.float64), y)).reshape(N, *small.SHAPE)
        each.append(np.asarray(method.given(jnp.asarray(y)).decode(variables, z)))
        np.testing.assert_allclose(each[-1], expected, rtol=1e-4)
    labels = np.arange(N) % CLASSES
    of_each = method.given(jnp.asarray(labels)).decode(variables, z)
    np.testing.assert_allclose(of_each, np.stack(each)[labels, np.arange(N)], rtol=1e-5)
    many = method.given(jnp.asarray(labels)).decode(variables, jnp.stack([z, z + 1]))
    np.testing.assert_allclose(many[0], of_each, rtol=1e-5)
    np.testing.assert_allclose(method.decode(variables, z), np.mean(each, axis=0), rtol=1e-5)


def test_a_label_of_its_own_is_given_to_each_sample():
    method, variables, _ = ready()
    z, labels = random.normal(keys(), (2,)), jnp.arange(N) % CLASSES
    for label in (labels, jnp.asarray(1)):
        given = method.given(label)
        np.testing.assert_allclose(given.sample(variables, keys()), given.decode(variables, z), rtol=1e-5)


def test_without_a_label_samples_draw_the_classes_alike():
    """A decoder that reads the label alone shows which was drawn."""
    method, variables, _ = ready()
    layer = dict(variables.params["decoder"]["dense"])
    layer["kernel"] = layer["kernel"].at[:2].set(0.0)
    variables = variables._replace(params={**variables.params, "decoder": {"dense": layer}})
    n = 3000
    x = np.asarray(small.jit(method.sample)(variables, keys(n))).reshape(n, -1)
    pictures = scipy.special.expit(logits(variables, np.zeros((CLASSES, 2)), np.arange(CLASSES)))
    distance = np.abs(x[:, None] - pictures[None]).max(axis=-1)
    np.testing.assert_array_less(distance.min(axis=1), 1e-5)
    assert scipy.stats.chisquare(np.bincount(distance.argmin(axis=1), minlength=CLASSES)).pvalue > 1e-3


def test_data_without_labels_is_refused():
    with pytest.raises(InputError, match=r"classes 0: .* choose data that has them"):
        methods.factory("cvae")(small.net()._replace(classes=0))
