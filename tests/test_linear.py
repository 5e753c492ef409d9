"""The lesson of the textbook: linear models, trained by the step, find the principal subspace."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import small
from sklearn.decomposition import PCA

from jaxae import random
from jaxae.build import build
from jaxae.config import Config
from jaxae.data.feed import Feed
from jaxae.train import make_train_chunk, make_train_step

KEY = jax.random.key(5)


def trained(method, x, steps, rate):
    """Full batches, by the compiled chunk, with a learning rate that falls to zero."""
    tx = optax.adam(optax.cosine_decay_schedule(rate, steps))
    whole = small.batch(len(x))._replace(x=jnp.asarray(x, jnp.float32))
    chunk = jax.jit(make_train_chunk(make_train_step(method, tx), lambda key, step, data, row: data))
    done = chunk(KEY, small.state(method, tx, whole, seed=1), whole, jnp.zeros(steps), steps)
    assert int(done.done) == steps
    return done.state.variables, whole


def test_a_linear_vae_reaches_the_likelihood_of_probabilistic_pca():
    """Tipping and Bishop 1999, eq. 4, 7, 8: maximum likelihood of N(mean, W W' + s^2 I) in closed form."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, small.D)) + 0.3 * rng.normal(size=(200, small.D)) + 0.5
    s = np.cov(x.T, bias=True)
    spectrum, axes = np.linalg.eigh(s)
    noise = spectrum[:-2].mean()
    w = axes[:, -2:] * np.sqrt(spectrum[-2:] - noise)
    best = marginal(x, w.T, x.mean(0), noise).mean()
    method = small.method("vae", "gaussian_learned")
    variables, whole = trained(method, x.reshape(-1, *small.SHAPE), 2000, 0.03)
    decoder = jax.tree.map(np.asarray, variables.params["decoder"]["dense"])
    variance = float(np.exp(variables.params["likelihood"]["log_var"]))
    reached = marginal(x, decoder["kernel"], decoder["bias"], variance).mean()
    assert best - 0.02 < reached <= best + 1e-4
    keys = random.example_keys(KEY, 0, whole.index)
    elbo = jax.jit(method.loss)(variables, keys, whole, jnp.asarray(0)).metrics["elbo"]
    assert abs(float(elbo.mean()) - best) < 4 * float(elbo.std()) / np.sqrt(200)


def marginal(x, w, b, variance):
    """log N(x; b, w'w + variance I), in float64."""
    c = np.asarray(w, np.float64).T @ w + variance * np.eye(x.shape[1])
    centred = x - b
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(c), centred)
    return -0.5 * (x.shape[1] * np.log(2 * np.pi) + np.linalg.slogdet(c)[1] + quadratic)


def test_a_linear_ae_reaches_the_reconstruction_error_of_pca_on_digits():
    """Baldi and Hornik 1989: the global minimum of its squared error is PCA: no four-unit code beats that."""
    setup = build(Config(method="ae", latent=4, batch_size=200, steps=800, learning_rate="cosine(0.03, 0, 100%)"))
    feed = Feed(setup.source.train, setup.pixels, 0, 200, setup.total, resident=True)
    chunk = jax.jit(make_train_chunk(make_train_step(setup.method, setup.tx), feed.fetch))
    state = chunk(setup.key, setup.init(), feed.data, feed.at(0, setup.total), setup.total).state
    reconstruct = jax.jit(setup.method.reconstruct)
    error = setup.view("train").map(lambda b: jnp.mean(jnp.square(reconstruct(state.variables, b) - b.x), (1, 2, 3)))
    flat = setup.source.train.rows.reshape(1257, -1) / 255
    pca = PCA(4).fit(flat)
    best = np.square(pca.inverse_transform(pca.transform(flat)) - flat).mean()
    assert best * (1 - 1e-4) <= error.mean() < 1.01 * best
