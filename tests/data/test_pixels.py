"""Pixels are scaled as stored and binarised as the name says: by the access's own keys, or once for all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import random
from jaxae.data import pixels
from jaxae.data import view as view_module
from jaxae.data.source import Split
from jaxae.data.view import View
from jaxae.errors import InputError
from jaxae.names import BINARIZE

N = 2000
GREY = np.array([0, 25, 64, 127, 128, 200, 255], np.uint8)
ROWS = np.tile(GREY, (N, 1)).reshape(N, 1, 7, 1)
INDEX = jnp.arange(N)
MAKE = {name: jax.jit(pixels.make(name)) for name in BINARIZE}


def drawn(name, seed=0, step=0, index=INDEX, rows=ROWS):
    return np.asarray(MAKE[name](random.example_keys(jax.random.key(seed), step, index), rows, index))


@pytest.mark.parametrize("name", BINARIZE)
def test_pixels_are_float32_images_of_the_rows_shape(name):
    x = drawn(name)
    assert (x.dtype, x.shape) == (np.float32, ROWS.shape)
    assert name == "none" or set(np.unique(x)) == {0.0, 1.0}


def test_none_keeps_the_grey_levels():
    np.testing.assert_allclose(drawn("none")[5].ravel(), GREY / 255, rtol=1e-6)


def test_threshold_cuts_at_one_half():
    np.testing.assert_array_equal(drawn("threshold")[5].ravel(), [0, 0, 0, 0, 1, 1, 1])
    x = MAKE["threshold"](
        random.example_keys(jax.random.key(0), 0, INDEX[:1]),
        np.full((1, 1, 1, 1), 0.5, np.float32),
        INDEX[:1],
    )
    assert float(x[0, 0, 0, 0]) == 1


def test_float_rows_are_taken_as_they_are():
    rows = np.random.default_rng(0).random((4, 2, 2, 1), np.float32)
    keys = random.example_keys(jax.random.key(0), 0, INDEX[:4])
    np.testing.assert_array_equal(pixels.make("none")(keys, rows, INDEX[:4]), rows)


@pytest.mark.parametrize("name", ["fixed", "dynamic"])
def test_the_grey_level_is_the_probability(name):
    p = GREY / 255
    mean = drawn(name).reshape(N, 7).mean(axis=0)
    np.testing.assert_array_less(np.abs(mean - p), 4 * np.sqrt(p * (1 - p) / N) + 1e-9)


@pytest.mark.parametrize("name", ["fixed", "dynamic"])
def test_pixels_are_drawn_apart(name):
    x = drawn(name).reshape(N, 7)[:, 1:6]
    np.testing.assert_array_less(np.abs(np.corrcoef(x.T)[np.triu_indices(5, 1)]), 4 / np.sqrt(N))
    neighbours = [np.corrcoef(x[1:, i], x[:-1, i])[0, 1] for i in range(5)]
    np.testing.assert_array_less(np.abs(neighbours), 4 / np.sqrt(N))


def test_dynamic_is_fresh_at_every_step_and_seed_and_the_same_for_the_same():
    first = drawn("dynamic")
    np.testing.assert_array_equal(drawn("dynamic"), first)
    expected = 2 * (GREY / 255 * (1 - GREY / 255))  # of two independent draws to differ
    for other in (drawn("dynamic", step=1), drawn("dynamic", seed=1)):
        share = (other != first).reshape(N, 7).mean(axis=0)
        np.testing.assert_array_less(np.abs(share - expected), 4 * np.sqrt(expected / N) + 1e-9)


def test_fixed_is_one_data_set_for_every_step_and_seed():
    first = drawn("fixed")
    for again in (drawn("fixed", step=9), drawn("fixed", seed=7)):
        np.testing.assert_array_equal(again, first)
    order = np.random.default_rng(0).permutation(N)
    np.testing.assert_array_equal(drawn("fixed", index=jnp.asarray(order)), first[order])


def test_fixed_is_drawn_from_the_stated_key():
    one = jax.random.bernoulli(jax.random.fold_in(jax.random.key(0), 11), ROWS[11] / np.float32(255))
    np.testing.assert_array_equal(drawn("fixed")[11], one)


def test_a_procedural_source_is_rendered_first():
    make = pixels.make(
        "none",
        decode=lambda rows: jnp.broadcast_to(rows[:, None, None, None] * 51, (3, 2, 2, 1)).astype(jnp.uint8),
    )
    x = make(random.example_keys(jax.random.key(0), 0, INDEX[:3]), np.array([0, 1, 5], np.int32), INDEX[:3])
    np.testing.assert_allclose(x[:, 0, 0, 0], [0, 0.2, 1], rtol=1e-6)


def test_unknown_name_is_answered_with_the_nearest():
    with pytest.raises(InputError, match="unknown binarisation 'dynamik': did you mean 'dynamic'"):
        pixels.make("dynamik")


# --- a split as evaluation sees it

SMALL = Split(ROWS[:23], np.arange(23, dtype=np.int32))


@pytest.mark.parametrize("chunk", [5, 23, 500])
def test_view_is_the_same_for_every_chunk(chunk):
    """The last chunk wraps round: no mean may count its padding."""
    view = View(SMALL, MAKE["dynamic"], jax.random.key(0), chunk)
    seen = view.map(lambda batch: {"x": batch.x, "label": batch.label, "index": batch.index})
    np.testing.assert_array_equal(seen["index"], np.arange(23))
    np.testing.assert_array_equal(seen["label"], np.arange(23))
    keys = random.example_keys(random.stream(jax.random.key(0), "pixels"), 0, INDEX[:23])
    np.testing.assert_array_equal(seen["x"], MAKE["dynamic"](keys, SMALL.rows, INDEX[:23]))
    assert {len(batch.x) for batch in view.batches()} == {min(chunk, 23)}
    assert view.map(lambda batch: batch.label).mean() == np.arange(23).mean()


def test_view_takes_examples_by_number():
    view = View(SMALL, MAKE["dynamic"], jax.random.key(0), 5)
    whole, program = view.map(lambda batch: batch.x), view_module._maker(MAKE["dynamic"])
    compiled = program._cache_size()
    for index in ([17, 3], [4], [0, 5, 9, 22, 1]):
        some = view.take(np.array(index))
        np.testing.assert_array_equal(some.x, whole[index])
        assert some.index.tolist() == some.label.tolist() == index
    assert program._cache_size() == compiled, "one program for any number of examples up to a chunk"


def test_view_keys_are_the_examples_own_whatever_the_chunk():
    def all_keys(chunk, name):
        view = View(SMALL, MAKE["none"], jax.random.key(0), chunk)
        return view.map(lambda batch: jax.random.key_data(view.keys(batch, name)))

    np.testing.assert_array_equal(all_keys(5, "noise"), all_keys(23, "noise"))
    assert len({tuple(key) for name in ("noise", "importance", "pixels") for key in all_keys(23, name).tolist()}) == 69


def test_a_held_out_batch_is_of_the_whole_split_and_what_is_made_of_it_comes_back_in_order():
    """Of a split sorted by label, too: a loss that couples its batch would compare one class with the prior."""
    n, labels = 1730, np.sort(np.arange(1730, dtype=np.int32) % 10)
    split = Split(np.arange(n, dtype=np.float32).reshape(n, 1, 1, 1), labels)
    view = View(split, pixels.make("none"), jax.random.key(0), chunk=500)
    batches = list(view.batches())
    assert all(np.bincount(batch.label, minlength=10).min() > 25 for batch in batches) and len(batches) == 4
    assert sorted(np.concatenate([batch.index for batch in batches])[:n].tolist()) == list(range(n))
    found = view.map(lambda batch: (batch.index, batch.x[:, 0, 0, 0]))
    np.testing.assert_array_equal(found[0], np.arange(n))
    np.testing.assert_array_equal(found[1], np.arange(n))
    some = view.spread(40, chunk=16)
    np.testing.assert_array_equal(some.map(lambda batch: batch.label), some.labels)
