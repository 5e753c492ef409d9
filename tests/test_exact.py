"""Sums in a fixed order: the bits of a step do not know how many devices there are."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from jax.sharding import PartitionSpec as P

from jaxae import axis, compiler, exact, fits, run
from jaxae.build import build
from jaxae.config import Config
from jaxae.parallel import make_mesh
from jaxae.train import make_train_step

pytestmark = pytest.mark.optimised

KEY = jax.random.key(5)
BATCH = small.batch(16)
STEP = jnp.zeros((), jnp.int32)
VALUES = np.random.default_rng(0).normal(size=(8, 50)).astype(np.float32)


def over(devices, fn, *specs):
    """fn on each of so many devices, its result the same on all."""
    if devices == 1:
        return fn(None)
    return jax.shard_map(fn("data"), mesh=make_mesh(data=devices), in_specs=specs, out_specs=P(), check_vma=False)


def tree_mean(x):
    while len(x) > 1:
        x = x[::2] + x[1::2]
    return x[0] / 8


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_a_mean_over_shards_is_a_binary_trees(devices):
    def mean(name):
        return lambda x: exact.mean_over_shards(lambda part: part[0] * 1, x, 8, name, STEP)

    found = np.asarray(jax.jit(over(devices, mean, P("data")))(VALUES))
    np.testing.assert_array_equal(found, tree_mean(VALUES))
    in_turn = np.zeros(50, np.float32)
    for row in VALUES:
        in_turn += row
    assert np.any(in_turn / 8 != found), "values whose sum depends on the order"


def test_shards_that_do_not_divide_the_batch_are_refused():
    with pytest.raises(ValueError, match="3 shards do not divide a batch of 8"):
        exact.mean_over_shards(lambda part: part, jnp.arange(8.0), 3, None, STEP)


def test_devices_that_do_not_divide_the_shards_are_refused():
    with pytest.raises(ValueError, match="4 devices do not divide 2 shards"):
        over(4, lambda name: lambda x: exact.mean_over_shards(jnp.sum, x, 2, name, STEP), P("data"))(VALUES)


def test_what_couples_a_batch_is_seen():
    x = jnp.ones((4, 2))
    assert not axis.couples(lambda: jnp.sum(x))
    assert axis.couples(lambda: axis.mean(jnp.mean(x)))
    assert axis.couples(lambda: jax.vmap(axis.gather)(x))
    with axis.over("data"):
        assert axis.couples(lambda: axis.gather(x)), "only traced, and outside any axis"


def steps(likelihood, devices, tx, shards=8, count=3):
    """(state, metrics) after `count` steps on so many devices."""
    method = small.method("vae", likelihood)
    state = small.state(method, tx, BATCH)

    def step(name):
        return make_train_step(method, tx, name, shards=shards)

    program = jax.jit(over(devices, step, P(), P(), P("data")))
    for _ in range(count):
        state, metrics = program(KEY, state, BATCH)
    return jax.device_get((state, metrics))


@pytest.mark.parametrize("likelihood", ["bernoulli", pytest.param("gaussian_optimal", marks=pytest.mark.slow)])
def test_steps_and_metrics_have_the_same_bits_on_any_devices(likelihood):
    """gaussian_optimal couples the batch: its variance is that of all of it."""
    one = steps(likelihood, 1, small.sgd(0.1))
    for devices in (2, 4):
        small.assert_same_bits(steps(likelihood, devices, small.sgd(0.1)), one)
    small.assert_close(one, steps(likelihood, 1, small.sgd(0.1), shards=None), rtol=1e-4, atol=1e-6)


ROUNDED = pytest.mark.xfail(reason="XLA simplifies what is made for several devices otherwise", strict=False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "iwae", "vqvae", "factor_vae", "vampprior", "wae_mmd", "hamiltonian_vae",
        *(pytest.param(name, marks=ROUNDED) for name in ("categorical_vae", "poincare_vae", "svae")),
    ],
)  # fmt: skip
def test_steps_of_other_methods_have_the_same_bits_on_two_devices(name):
    setup = build(Config(method=name, exact=True, steps=10))
    (method, tx), batches, made = setup.make({}), [jax.device_get(setup.batch_at(n)) for n in (0, 1)], []
    for devices in (1, 2):
        step = jax.jit(over(devices, partial(make_train_step, method, tx, shards=8), P(), P(), P("data")))
        state = setup.init()
        for batch in batches:
            state, metrics = step(setup.key, state, batch)
        made.append(jax.device_get((state.variables, metrics)))
    small.assert_same_bits(*made)


@pytest.mark.slow
def test_one_shard_a_device_is_no_special_case():
    """XLA would unroll a loop of one, and round otherwise."""
    small.assert_same_bits(steps("bernoulli", 4, small.sgd(0.1), 4), steps("bernoulli", 1, small.sgd(0.1), 4))


def test_a_member_of_a_map_is_the_step_alone():
    method, tx = small.method(), small.sgd(0.1)
    step, state = make_train_step(method, tx, shards=4), small.state(method, tx, BATCH)
    two = jax.tree.map(lambda x: jnp.stack([x, x + x]), state)
    mapped = jax.jit(lambda states: jax.lax.map(lambda s: step(jax.random.clone(KEY), s, BATCH)[0], states))(two)
    alone = jax.jit(step)(KEY, jax.tree.map(lambda x: x[1], two), BATCH)[0]
    small.assert_same_bits(jax.tree.map(lambda x: x[1], mapped), alone)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["muon", "lamb"])
def test_an_optimiser_that_looks_at_whole_matrices_is_the_same_on_two_devices(tmp_path, optimizer):
    """Of a tall matrix, 512 x 64, as of wide ones."""
    config = Config(optimizer=optimizer, exact=True, steps=2, evaluate="none", validate_every=2)
    made = [run.train(dataclasses.replace(config, devices=count), tmp_path / str(count)) for count in (1, 2)]
    assert len({run.final_digest(each) for each in made}) == 1


def test_more_devices_than_threads_are_told_where_bits_are_promised(monkeypatch):
    config = Config(exact=True)
    assert compiler.threads() == jax.local_device_count() and not fits.doubts(config, build(config))
    monkeypatch.setenv("NPROC", "2")
    assert compiler.threads() == jax.local_device_count() == 4
    (said,) = fits.doubts(config, build(config))
    assert "4 devices share 2 threads" in said and "set NPROC=4" in said
    assert not fits.doubts(Config(), build(Config()))
