"""A compiled chunk is its steps and nothing else: no split into calls changes a bit, or compiles again."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from jaxae import random
from jaxae.data import pixels
from jaxae.data.feed import Feed
from jaxae.data.source import Split
from jaxae.names import LIKELIHOODS
from jaxae.train import init_state, make_train_chunk, make_train_step
from jaxae.types import Method, Objective, TrainState, Variables

pytestmark = pytest.mark.optimised

KEY = jax.random.key(5)
BATCH = small.batch()
STEPS, CAPACITY, ADAM = 24, 24, optax.adam(1e-2)
ROWS = np.random.default_rng(0).integers(0, 256, (29, *small.SHAPE), dtype=np.uint8)
SPLIT = Split(ROWS, np.arange(29, dtype=np.int32) % 3)
SPLITS = {"one by one": (24, [1] * 24), "unequal": (24, [5, 7, 12]), "small calls": (5, [5, 4, 5, 5, 5]),
          "room to spare": (31, [23, 1])}  # fmt: skip


def feed_of(capacity, resident=True):
    return Feed(SPLIT, pixels.make("dynamic"), 3, 12, capacity, resident=resident)


@cache
def compiled(capacity):
    """(chunk, feed); the chunk may be traced once."""
    feed = feed_of(capacity)
    chunk = make_train_chunk(make_train_step(small.method(), ADAM), feed.fetch)
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(chunk, n=1), donate_argnums=1), feed


def chunked(capacity, counts):
    chunk, feed = compiled(capacity)
    state, metrics = small.state(small.method(), ADAM, BATCH), []
    for count in counts:
        result = chunk(KEY, state, feed.data, feed.at(int(state.step), count), count)
        assert int(result.done) == count
        state = result.state
        metrics.append(jax.tree.map(lambda x, n=count: np.asarray(x[:n]), result.metrics))
    assert chunk._cache_size() == 1
    return jax.device_get(state), jax.tree.map(lambda *rows: np.concatenate(rows), *metrics)


def test_no_more_steps_are_made_than_there_is_feed_for():
    chunk, feed = compiled(CAPACITY)
    more, whole = (
        chunk(KEY, small.state(small.method(), ADAM, BATCH), feed.data, feed.at(0, CAPACITY), count)
        for count in (CAPACITY + 5, CAPACITY)
    )
    assert int(more.done) == CAPACITY
    jax.tree.map(np.testing.assert_array_equal, more, whole)


@pytest.fixture(scope="module")
def at_once():
    return chunked(CAPACITY, [STEPS])


def test_a_chunk_is_its_steps_one_after_the_other(at_once):
    feed, state, step = (
        feed_of(1),
        small.state(small.method(), ADAM, BATCH),
        make_train_step(small.method(), ADAM),
    )
    one = jax.jit(
        lambda state, row: step(random.stream(KEY, "noise"), state, feed.fetch(KEY, state.step, feed.data, row))
    )
    for t in range(STEPS):
        state, metrics = one(state, feed.at(t, 1)[0])
        assert float(metrics["loss"]) == pytest.approx(float(at_once[1]["loss"][t]), rel=1e-5)
    small.assert_close(jax.device_get(state), at_once[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("split", SPLITS)
def test_no_split_into_calls_changes_a_bit_nor_compiles_again(at_once, split):
    small.assert_same_bits(chunked(*SPLITS[split]), at_once)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_step_leads_to_a_state_of_the_same_type(likelihood):
    """Down to JAX's weak types: else the second call would compile again."""
    method = small.method("vae", likelihood)
    before = jax.eval_shape(partial(init_state, method, ADAM), KEY, BATCH)
    after, _ = jax.eval_shape(make_train_step(method, ADAM), KEY, before, BATCH)
    kinds = [jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree) for tree in (before, after)]
    assert kinds[0] == kinds[1]


def test_the_state_is_donated():
    chunk, feed = compiled(CAPACITY)
    state = jax.device_put(small.state(small.method(), ADAM, BATCH))
    result = chunk(KEY, state, feed.data, feed.at(0, 2), 2)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.variables.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((result.state, feed.data)))


def bad_at(fifth, otherwise):
    """A method whose loss of a scalar parameter is `fifth` at step 5."""

    def loss(variables, keys, batch, step):
        value = jax.lax.cond(step == 5, fifth, otherwise, variables.params)
        return Objective(jnp.full(len(batch.x), value), (), {})

    return Method(lambda *_: Variables(jnp.ones(())), loss, *[lambda *_: None] * 3)


NOT_FINITE = {
    "a loss of nan": (lambda p: p * jnp.nan, np.nan),
    "a loss of infinity": (lambda p: p / 0.0, np.inf),
    "a gradient of infinity": (lambda p: jnp.sqrt(p - jax.lax.stop_gradient(p)), 0.0),
}


@pytest.mark.parametrize("what", NOT_FINITE)
def test_stops_after_the_first_step_that_is_not_finite(what):
    fifth, value = NOT_FINITE[what]
    feed = feed_of(10)
    step = make_train_step(bad_at(fifth, lambda p: p * 1.0), small.sgd(0.1))
    state = TrainState(jnp.zeros((), jnp.int32), Variables(jnp.ones(())), small.sgd().init(jnp.ones(())))
    done = jax.jit(make_train_chunk(step, feed.fetch))(KEY, state, feed.data, feed.at(0, 10), 10)
    assert int(done.done) == int(done.state.step) == 6
    np.testing.assert_allclose(done.metrics["loss"][:5], 1 - 0.1 * np.arange(5), rtol=1e-6)
    np.testing.assert_equal(np.asarray(done.metrics["loss"][5]), np.float32(value))
    assert not np.isfinite([done.metrics["loss"][5], done.metrics["grad_norm"][5]]).all()
    assert np.isnan(done.metrics["loss"][6:]).all()
