"""The order of the data is a function of (seed, step); resident and streamed rows make the same batches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import random
from jaxae.data import feed as feeds
from jaxae.data import pixels
from jaxae.data.feed import Feed
from jaxae.data.order import batch_indices, epoch_order
from jaxae.data.source import Split

KEY = jax.random.key(2)
N = 29
ROWS = np.random.default_rng(0).integers(0, 256, (N, 2, 3, 1), dtype=np.uint8)
SPLIT = Split(ROWS, np.arange(N, dtype=np.int32) * 3)


@pytest.mark.parametrize("batch_size", [1, 7, 29, 30, 100])
def test_every_epoch_is_a_permutation_whatever_the_batch_size(batch_size):
    epochs = 4
    steps = -(-epochs * N // batch_size)
    row = batch_indices(3, 0, steps, batch_size, N).ravel()[: epochs * N].reshape(epochs, N)
    np.testing.assert_array_equal(np.sort(row, axis=1), np.tile(np.arange(N), (epochs, 1)))
    assert len({tuple(epoch) for epoch in row.tolist()}) == epochs


def test_a_batch_straddles_two_epochs_without_a_gap():
    straddling = batch_indices(3, 4, 1, 7, N)[0]  # places 28 to 34
    np.testing.assert_array_equal(straddling, np.concatenate([epoch_order(3, 0, N)[28:], epoch_order(3, 1, N)[:6]]))


@pytest.mark.parametrize(("step", "count"), [(0, 1), (3, 2), (4, 5), (11, 9), (1000, 3)])
def test_the_order_goes_on_from_any_step(step, count):
    whole = batch_indices(3, 0, 1003, 7, N)
    np.testing.assert_array_equal(batch_indices(3, step, count, 7, N), whole[step : step + count])


def test_seeds_and_epochs_are_ordered_apart():
    orders = [tuple(epoch_order(seed, epoch, N).tolist()) for seed in (0, 1, 2**32 - 1) for epoch in (0, 1)]
    assert len(set(orders)) == 6


@pytest.mark.parametrize("platforms", ["cuda,cpu", "cuda"])
def test_the_order_is_the_same_where_a_cpu_draws_it_for_an_accelerator(platforms, monkeypatch):
    expected, asked, devices = epoch_order(3, 1, N), [], jax.local_devices

    def local_devices(backend):
        asked.append(backend)
        if platforms == "cuda":
            raise RuntimeError(f"Unknown backend {backend}")
        return devices(backend=backend)

    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    monkeypatch.setattr(jax, "local_devices", local_devices)
    np.testing.assert_array_equal(epoch_order(3, 1, N), expected)
    assert asked == ["cpu"]


def test_the_order_shuffles():
    """Every example may come at every place: over 500 epochs, with the counts of fair draws."""
    orders = np.stack([epoch_order(0, epoch, N) for epoch in range(500)])
    counts = np.stack([np.bincount(place, minlength=N) for place in orders.T])
    chi2 = np.square(counts - 500 / N).sum() / (500 / N)
    assert chi2 == pytest.approx((N - 1) ** 2, rel=4 * np.sqrt(2) / (N - 1))


def batches(resident, counts, capacity=6, binarize="dynamic"):
    feed = Feed(SPLIT, pixels.make(binarize), 3, 7, capacity, resident=resident)
    fetch, step, seen = jax.jit(feed.fetch), 0, []
    for count in counts:
        chunk = feed.at(step, count)
        assert all(len(leaf) == feed.capacity for leaf in jax.tree.leaves(chunk))
        for i in range(count):
            row = jax.tree.map(lambda x, i=i: x[i], chunk)
            seen.append(jax.device_get(fetch(KEY, jnp.asarray(step + i), feed.data, row)))
        step += count
    feed.close()
    return seen


@pytest.fixture(scope="module")
def resident():
    return batches(True, [6, 6])


def test_batches_are_the_rows_in_order_with_pixels_of_their_own_keys(resident):
    index = batch_indices(3, 0, 12, 7, N)
    for step, batch in enumerate(resident):
        np.testing.assert_array_equal(batch.label, SPLIT.labels[index[step]])
        np.testing.assert_array_equal(batch.index, np.arange(7))
        keys = random.example_keys(random.stream(KEY, "pixels"), step, jnp.arange(7))
        np.testing.assert_array_equal(
            batch.x, pixels.make("dynamic")(keys, ROWS[index[step]], jnp.asarray(index[step]))
        )


@pytest.mark.parametrize("ahead", [True, False])
@pytest.mark.parametrize("counts", [[6, 6], [1] * 12, [5, 2, 5], [6, 1, 5]])
@pytest.mark.parametrize("streamed", [True, False])
def test_streamed_or_resident_in_calls_of_any_length_the_batches_are_the_same(
    resident, streamed, counts, ahead, monkeypatch
):
    monkeypatch.setattr(feeds, "beside_the_host", lambda: ahead)
    for ours, theirs in zip(batches(not streamed, counts), resident, strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_fixed_binarisation_follows_the_example_and_not_its_place():
    by_label = {}
    for batch in batches(True, [6, 6], binarize="fixed"):
        for label, x in zip(batch.label.tolist(), batch.x):
            np.testing.assert_array_equal(by_label.setdefault(label, x), x)
    assert len(by_label) == N


def test_a_streamed_chunk_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(feeds, "STREAM_BYTES", 7 * 6 * 3)  # three steps of seven rows of six bytes
    streamed = Feed(SPLIT, pixels.make("none"), 3, 7, 100, resident=False)
    assert streamed.capacity == 3
    assert Feed(SPLIT, pixels.make("none"), 3, 7, 100, resident=True).capacity == 100
    assert len(streamed.at(0, 3)[1]) == 3
    streamed.close()


def test_the_next_chunk_is_read_ahead(monkeypatch):
    feed = Feed(SPLIT, pixels.make("none"), 3, 7, 4, resident=False)
    feed.at(0, 4)
    asked, whole = [], feed._rows
    monkeypatch.setattr(feed, "_rows", lambda step, count: asked.append(step) or whole(step, count))
    first = feed.at(4, 4)  # was being read: only the one after is asked for now
    assert 4 not in asked
    np.testing.assert_array_equal(first[0], batch_indices(3, 4, 4, 7, N))
    feed.close()


def test_a_memory_map_is_streamed_row_for_row(tmp_path):
    np.save(tmp_path / "rows.npy", ROWS)
    split = Split(np.load(tmp_path / "rows.npy", mmap_mode="r"), SPLIT.labels)
    feed = Feed(split, pixels.make("none"), 3, 7, 4, resident=False)
    index, rows, labels = feed.at(2, 4)
    np.testing.assert_array_equal(rows, ROWS[index])
    np.testing.assert_array_equal(labels, SPLIT.labels[index])
    feed.close()


def test_what_is_too_large_does_not_stay_on_the_device(monkeypatch):
    assert feeds.fits_on_device(SPLIT)
    monkeypatch.setattr(feeds, "RESIDENT_DEFAULT", ROWS.nbytes - 1)
    assert not feeds.fits_on_device(SPLIT)


def test_the_devices_of_a_cpu_share_its_memory(monkeypatch):
    monkeypatch.setattr(feeds, "RESIDENT_DEFAULT", jax.local_device_count() * ROWS.nbytes)
    assert feeds.fits_on_device(SPLIT)
    monkeypatch.setattr(feeds, "RESIDENT_DEFAULT", jax.local_device_count() * ROWS.nbytes - 1)
    assert not feeds.fits_on_device(SPLIT)
