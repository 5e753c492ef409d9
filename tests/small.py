"""Small models of known weights and small batches, made without compiling anything."""

from functools import cache, lru_cache, partial, wraps

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.extend.core import get_opaque_trace_state

from jaxae import likelihoods, methods, random
from jaxae.data import load
from jaxae.train import TrainState
from jaxae.types import Batch, Discrete, Generative, Net

SHAPE = (2, 3, 1)
D = 6


def _known(options):
    try:
        jax.jit(lambda: 0.0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:  # XLA of another age
        return {}
    return options


def first(values, count=1):
    """For parametrize: so many in the default run, the others with the slow ones."""
    now, later = list(values)[:count], list(values)[count:]
    return now + [pytest.param(*(v if isinstance(v, tuple) else [v]), marks=pytest.mark.slow) for v in later]


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


_OUTSIDE = get_opaque_trace_state()


def untraced():
    return get_opaque_trace_state() == _OUTSIDE


def one_program(fn):
    """fn compiled where it is called by itself: its operations one by one would be a program each."""
    compiled = jit(fn)

    @wraps(fn)
    def call(*args):
        return (compiled if untraced() else fn)(*args)

    return call


def programs(of):
    """A method, each function of which is one program."""
    parts = {name: programs(value) for name, value in of._asdict().items() if isinstance(value, (Generative, Discrete))}
    whole = {name: one_program(value) for name, value in of._asdict().items() if callable(value) and name != "given"}
    return of._replace(**parts, **whole)


def _method(name="vae", likelihood="bernoulli", latent=2, shape=SHAPE, scale=0.5, **hyperparameters):
    return programs(methods.factory(name)(net(likelihood, latent, shape, scale), **hyperparameters))


_kept = lru_cache(maxsize=None, typed=True)(_method)


@wraps(_method)
def method(*args, **hyperparameters):
    """On linear networks; of the same numbers it is the same method, whose programs are compiled once."""
    try:
        return (_kept if untraced() else _method)(*args, **hyperparameters)  # what is made inside must not be kept
    except TypeError:  # an array has no hash
        return _method(*args, **hyperparameters)


@jit
def _keys(seed, index):
    return random.example_keys(jax.random.key(seed), 0, index)


def keys(n=12, seed=0):
    """One an example, of the first n."""
    make = _keys if untraced() else _keys.__wrapped__
    return make(seed, jnp.asarray(np.arange(n)))


def over_draws(of, fn, count):
    """fn(keys), for that many independent sets of keys, one an example of the batch; in float64."""
    of_seed = partial(random.example_keys, jax.random.key(7), index=of.index)
    found = jit(jax.vmap(lambda seed: fn(of_seed(seed))))(jnp.asarray(np.arange(count)))
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def batch(n=12, shape=SHAPE, seed=0, binary=True):
    x = np.random.default_rng(seed).random((n, *shape))
    x = (x > 0.5) if binary else x
    index = np.arange(n, dtype=np.int32)
    return Batch(jnp.asarray(x, jnp.float32), jnp.asarray(index % 3), jnp.asarray(index))


@cache
def digits(n):
    """The first images of the embedded data set, black and white."""
    x = load("digits").train.rows[:n] >= 128
    return batch(n, x.shape[1:])._replace(x=jnp.asarray(x, jnp.float32))


def part(whole, index):
    return jax.tree.map(lambda leaf: leaf[np.asarray(index)], whole)


@lru_cache
def _shapes(init, shape):
    return jax.eval_shape(init, jax.eval_shape(lambda: jax.random.key(0)), batch(shape[0], shape[1:]))


def variables(of, like, seed=0, size=0.3):
    """Parameters drawn by numpy in place of `init`; the state as `init` makes it, at zero."""
    shapes = _shapes(of.init, like.x.shape)
    rng = np.random.default_rng(seed)
    params = jax.tree.map(lambda s: jnp.asarray(size * rng.normal(size=s.shape), s.dtype), shapes.params)
    state = jax.tree.map(lambda s: jnp.asarray(np.zeros(s.shape, s.dtype)), shapes.state)
    return shapes._replace(params=params, state=state)


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
