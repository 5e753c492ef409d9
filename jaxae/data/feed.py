"""How batches reach the compiled chunk: gathered on the device, or streamed from the host, in the same order."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import axis, memory, random
from jaxae.data.order import batch_indices, epoch_order
from jaxae.data.source import Split
from jaxae.types import Batch

RESIDENT_SHARE = 0.25  # of the device's memory, at most, for data that lives there
RESIDENT_DEFAULT = 2**31  # bytes, of all devices together that do not tell their memory (a CPU's)
STREAM_BYTES = 2**26  # of streamed rows in one chunk
SORTERS = ThreadPoolExecutor(thread_name_prefix="order")  # of all feeds: a sweep has many


def beside_the_host() -> bool:
    """Whether the device leaves the host's cores free while it computes."""
    return jax.default_backend() != "cpu"


def fits_on_device(split: Split) -> bool:
    """Whether the rows may live on the device."""
    limit = memory.accelerator()
    return split.rows.nbytes <= (RESIDENT_SHARE * limit if limit else RESIDENT_DEFAULT / jax.local_device_count())


class Feed:
    """Batches of one split for a training run.

    `data` is what the program holds throughout (the rows, or nothing); `at(step, count)` what one chunk reads: a tree
    with a leading axis of `capacity`, filled for the first `count` steps; `fetch` joins them inside the program. Of
    several processes each reads only its own `columns` of the global batch.
    """

    def __init__(
        self,
        split: Split,
        pixels: Callable,
        seed: int,
        batch_size: int,
        capacity: int,
        *,
        resident: bool,
        place: Callable[[Batch], Batch] = lambda batch: batch,
        columns: slice = slice(None),
        lanes: int = 1,
    ):
        self.split, self.pixels, self.place = split, pixels, place
        self.seed, self.batch_size, self.resident = seed, batch_size, resident
        per_step = batch_size * split.rows.nbytes // len(split)
        self.capacity = capacity if resident else max(1, min(capacity, STREAM_BYTES // max(lanes * per_step, 1)))
        self.columns = columns
        self._orders: dict[int, Future[np.ndarray]] = {}
        self._reader = ThreadPoolExecutor(1)
        self._ahead: tuple[int, int, Future] | None = None

    @cached_property
    def data(self) -> tuple[jax.Array, ...]:
        """Rows and labels on the device: placed when they are first asked for, since of many lanes one's serves all."""
        if not self.resident:
            return ()
        rows = self.split.rows.reshape(len(self.split), -1)  # a CPU gathers from one axis faster than from three
        with jax.ensure_compile_time_eval():  # they belong to no trace that asks for them first
            return jnp.asarray(rows), jnp.asarray(self.split.labels)

    def at(self, step: int, count: int) -> Any:
        """The chunk's feed; a streamed one also starts to read the next `count` steps behind the program's back."""
        if self.resident:
            return self._indices(step, count)
        if self._ahead is not None and self._ahead[:2] == (step, count):
            feed = self._ahead[2].result()
        else:
            feed = self._rows(step, count)
        self._ahead = (step + count, count, self._reader.submit(self._rows, step + count, count))
        return feed

    def fetch(self, key: jax.Array, step: jax.Array, data: Any, row: Any) -> Batch:
        """One step's batch, inside the program. `key` is the run's key."""
        index = row if self.resident else row[0]
        rows, labels = (array[index] for array in data) if self.resident else row[1:]
        rows = rows.reshape(len(index), *self.split.rows.shape[1:])
        places = axis.places(len(index))
        keys = random.example_keys(random.stream(key, "pixels"), step, places)
        return self.place(Batch(self.pixels(keys, rows, index), labels, places))

    def _order(self, seed: int, epoch: int, size: int) -> np.ndarray:
        """That epoch's order; beside an accelerator the next one's is made while it computes."""
        known, last = self._orders, epoch + beside_the_host()
        made = {n: known.get(n) or SORTERS.submit(epoch_order, seed, n, size) for n in range(epoch, last + 1)}
        self._orders = made
        return made[epoch].result()

    def _indices(self, step: int, count: int) -> np.ndarray:
        rows = batch_indices(self.seed, step, count, self.batch_size, len(self.split), self._order)[:, self.columns]
        indices = np.zeros((self.capacity, rows.shape[1]), np.int32)
        indices[:count] = rows
        return indices

    def _rows(self, step: int, count: int) -> tuple[np.ndarray, ...]:
        indices = self._indices(step, count)
        flat = indices[:count].reshape(-1)
        near = np.argsort(flat)  # a memory map reads faster in its own order
        rows = np.zeros((*indices.shape, *self.split.rows.shape[1:]), self.split.rows.dtype)
        rows[:count].reshape(len(flat), *rows.shape[2:])[near] = self.split.rows[flat[near]]
        return indices, rows, self.split.labels[indices]

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)
