"""Small models of known weights and small batches, made without compiling anything."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from jaxae import likelihoods, methods
from jaxae.train import TrainState
from jaxae.types import Batch, Net

SHAPE = (2, 3, 1)
D = 6


def _known(options):
    try:
        jax.jit(lambda: 0.0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:  # XLA of another age
        return {}
    return options


BRIEF = {"xla_backend_optimization_level": 0, **_known({"xla_cpu_use_fusion_emitters": False})}
jit = partial(jax.jit, compiler_options=BRIEF)
"""jax.jit for what is compiled once and run briefly: a third of the time to compile, the same values to rounding."""


class Encoder(nn.Module):
    """outputs = x W + b"""

    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs, name="dense")(x.reshape(len(x), -1))


class Decoder(nn.Module):
    """out = z W + b"""

    shape: tuple = SHAPE

    @nn.compact
    def __call__(self, z):
        return nn.Dense(int(np.prod(self.shape)), name="dense")(z).reshape(-1, *self.shape)


def net(likelihood="bernoulli", latent=2, shape=SHAPE, scale=0.5):
    return Net(Encoder, Decoder(shape), likelihoods.make(likelihood, scale), latent, examples=64, classes=3)


def method(name="vae", likelihood="bernoulli", latent=2, shape=SHAPE, scale=0.5, **hyperparameters):
    return methods.factory(name)(net(likelihood, latent, shape, scale), **hyperparameters)


def batch(n=12, shape=SHAPE, seed=0, binary=True):
    x = np.random.default_rng(seed).random((n, *shape))
    x = (x > 0.5) if binary else x
    index = jnp.arange(n, dtype=jnp.int32)
    return Batch(jnp.asarray(x, jnp.float32), index % 3, index)


def part(whole, index):
    return jax.tree.map(lambda leaf: leaf[np.asarray(index)], whole)


def variables(of, like, seed=0, size=0.3):
    """Parameters drawn by numpy in place of `init`; the state as `init` makes it, at zero."""
    shapes = jax.eval_shape(of.init, jax.random.key(0), like)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda s: jnp.asarray(size * rng.normal(size=s.shape), s.dtype), shapes.params)
    return shapes._replace(params=params, state=jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes.state))


def state(of, tx, like, seed=0):
    start = variables(of, like, seed)
    return TrainState(jnp.zeros((), jnp.int32), start, tx.init(start.params))


def sgd(rate=1.0):
    return optax.sgd(rate)


def assert_close(one, other, **tolerance):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, **tolerance), one, other)


def assert_same_bits(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(jax.device_get(one)), jax.tree.leaves(jax.device_get(other))):
        a, b = np.asarray(a), np.asarray(b)
        assert (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
