"""Keys are pure functions of (seed, stream, step, example), and no two uses share one."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import random

KEY = jax.random.key(3)


def bits(keys):
    return {tuple(row) for row in np.asarray(jax.random.key_data(keys)).reshape(-1, 2).tolist()}


def test_example_keys_fold_in_the_step_then_the_example():
    keys = random.example_keys(KEY, 7, jnp.asarray([2, 9]))
    expected = [jax.random.fold_in(jax.random.fold_in(KEY, 7), i) for i in (2, 9)]
    np.testing.assert_array_equal(jax.random.key_data(keys), np.stack([jax.random.key_data(k) for k in expected]))


def test_no_two_examples_steps_or_seeds_share_a_key():
    index = jnp.arange(64)
    keys = [random.example_keys(jax.random.key(seed), step, index) for seed in range(4) for step in range(8)]
    assert len(set().union(*map(bits, keys))) == 4 * 8 * 64


def test_a_key_knows_neither_its_place_in_the_call_nor_the_number_of_examples():
    whole = jax.random.key_data(random.example_keys(KEY, 5, jnp.arange(8)))
    part = jax.random.key_data(random.example_keys(KEY, 5, jnp.asarray([6, 3])))
    np.testing.assert_array_equal(part, whole[jnp.asarray([6, 3])])


def test_streams_are_apart_and_stable():
    names = ["init", "order", "noise", "pixels", "evaluation", "importance"]
    assert len(set().union(*(bits(random.stream(KEY, name)) for name in names))) == len(names)
    assert bits(random.stream(KEY, "noise")) == bits(jax.random.fold_in(KEY, 0xFDA99629))  # crc32 of "noise"


def test_split_gives_each_example_keys_of_its_own():
    keys = random.example_keys(KEY, 0, jnp.arange(5))
    parts = random.split(keys, 3)
    assert len(parts) == 3
    assert len(set().union(*map(bits, parts))) == 15
    expected = jax.random.split(random.example_keys(KEY, 0, jnp.arange(5))[4], 3)
    np.testing.assert_array_equal([jax.random.key_data(p[4]) for p in parts], jax.random.key_data(expected))


def test_normal_is_each_examples_own_noise():
    noise = random.normal(random.example_keys(KEY, 0, jnp.arange(4)), (3, 2))
    alone = jax.random.normal(random.example_keys(KEY, 0, jnp.asarray([2]))[0], (3, 2))
    np.testing.assert_array_equal(noise[2], alone)


def test_uniform_is_each_examples_own_noise():
    noise = random.uniform(random.example_keys(KEY, 0, jnp.arange(4)), (3, 2))
    alone = jax.random.uniform(random.example_keys(KEY, 0, jnp.asarray([2]))[0], (3, 2))
    np.testing.assert_array_equal(noise[2], alone)


def test_numbered_keys_fold_in_the_number():
    keys = random.numbered(random.example_keys(KEY, 0, jnp.arange(4)), 7)
    alone = jax.random.fold_in(random.example_keys(KEY, 0, jnp.asarray([2]))[0], 7)
    np.testing.assert_array_equal(jax.random.key_data(keys[2]), jax.random.key_data(alone))


def test_a_key_is_told_from_numbers():
    assert random.is_key(KEY) and random.is_key(jax.eval_shape(lambda: jax.random.key(0)))
    assert not any(map(random.is_key, (jax.random.key_data(KEY), np.zeros(2), 1.0, None)))


def test_normal_is_standard():
    noise = np.asarray(random.normal(random.example_keys(KEY, 0, jnp.arange(4000)), (5,)))
    assert abs(noise.mean()) < 4 / np.sqrt(noise.size)
    assert abs(noise.std() - 1) < 4 / np.sqrt(2 * noise.size)
    assert abs(np.corrcoef(noise.T)[np.triu_indices(5, 1)]).max() < 4 / np.sqrt(4000)
    assert abs(np.corrcoef(noise[:-1, 0], noise[1:, 0])[0, 1]) < 4 / np.sqrt(4000)
