"""A split as evaluation sees it: the same pixels and noise whatever the chunk, the run's seed, the device.

Dynamic binarisation is drawn once here, from the evaluation key and the example's number, so that all runs are measured
on the same images. A chunk's examples are drawn from the whole split, in one order for ever: a split may lie sorted by
label, and a loss that couples its batch would compare one class with the prior. The last chunk wraps round to the first
examples, and what belongs to them is cut off on the host: no mean ever counts a padded row.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxae import compiler, random
from jaxae.data.source import Split
from jaxae.types import Batch

CHUNK = 500  # examples
PIECE = 128  # rows of what is read by number
VALUES = 2**23  # of all their pixels and channels: 500 images of 64 x 64 x 4, 42 of 256 x 256 x 3


@cache
def _maker(pixels: Callable) -> Callable[..., Batch]:
    """Outside the class, so that views of the same pixels share one compilation."""

    def make(key, rows, labels, index):
        keys = random.example_keys(random.stream(key, "pixels"), 0, index)
        return Batch(pixels(keys, rows, index), labels, index)

    return jax.jit(make, compiler_options=compiler.quick())


@jax.jit
def _keys(stream: Array, index: Array) -> Array:
    return random.example_keys(stream, 0, index)


def at_once(shape: Sequence[int], most: int = CHUNK) -> int:
    """How many images of that shape a program holds beside each other: `most`, or fewer where they are large, for a
    network's activations are many times their size."""
    return max(1, min(most, VALUES // math.prod(shape)))


def evenly(n: int, count: int) -> Int[np.ndarray, " count"]:
    """`count` of the numbers below n, or all where there are fewer: data sorted by label then shows every label."""
    return np.linspace(0, n - 1, min(count, n)).round().astype(np.int64)


def by_pieces(fn: Callable[[Any], Any], rows: np.ndarray | Array, piece: int = PIECE) -> Any:
    """fn over `piece` rows at a time, the last filled up with the first rows: one shape, one compilation."""
    filled = rows[np.arange(-(-len(rows) // piece) * piece) % len(rows)]
    parts = [jax.device_get(fn(filled[start : start + piece])) for start in range(0, len(filled), piece)]
    return jax.tree.map(lambda *leaves: np.concatenate(leaves)[: len(rows)], *parts)


class View:
    """`chunk` examples at a time, or all where there are fewer: one twice in a batch biases a loss that compares its
    examples with each other. `key` is the evaluation key, which the run's own seed does not enter. `only`: the numbers
    of the examples to see, by default all; each keeps the pixels and noise that its number in the split gives it."""

    def __init__(self, split: Split, pixels: Callable, key: Array, chunk: int = CHUNK, only: np.ndarray | None = None):
        self.split, self.key, self._pixels = split, key, pixels
        self.only = np.arange(len(split)) if only is None else only
        self.chunk = min(chunk, len(self.only))
        self.order = np.random.RandomState(0).permutation(len(self.only))  # whose stream NumPy has frozen

    def __len__(self) -> int:
        return len(self.only)

    @property
    def labels(self) -> np.ndarray:
        return self.split.labels[self.only]

    def spread(self, count: int, chunk: int | None = None) -> "View":
        """`count` examples of these, evenly spread, or all where there are fewer; `chunk` at a time."""
        some = self.only[evenly(len(self), count)]
        return View(self.split, self._pixels, self.key, chunk or self.chunk, some)

    def like(self, split: Split) -> "View":
        """Another split, seen as this one."""
        return View(split, self._pixels, self.key, self.chunk)

    def take(self, index: np.ndarray) -> Batch:
        """The examples of those numbers. Of few, as many as a chunk has are made, so that one program does for all."""
        index = np.asarray(index, np.int32)
        if (count := len(index)) >= self.chunk:
            return self._made(index)
        return jax.tree.map(
            lambda leaf: jnp.asarray(np.asarray(leaf)[:count]), self._made(np.resize(index, self.chunk))
        )

    def _made(self, index: np.ndarray) -> Batch:
        return _maker(self._pixels)(self.key, self.split.rows[index], self.split.labels[index], index)

    def batches(self) -> Iterator[Batch]:
        """In an order of its own: `joined` undoes it."""
        for start in range(0, len(self), self.chunk):
            yield self.take(self.only[self.order[np.arange(start, start + self.chunk) % len(self)]])

    def joined(self, parts: Sequence[Any]) -> Any:
        """What was made of each batch, leaves [chunk, ...] on the host, as [len(self), ...] in the examples' order."""

        def join(*leaves: np.ndarray) -> np.ndarray:
            whole = np.concatenate(leaves)[: len(self)]
            made = np.empty_like(whole)
            made[self.order] = whole
            return made

        return jax.tree.map(join, *parts)

    def map(self, fn: Callable[[Batch], Any]) -> Any:
        """fn over all batches, `joined`."""
        return self.joined([jax.device_get(fn(batch)) for batch in self.batches()])

    def keys(self, batch: Batch, name: str) -> Array:
        """One evaluation key an example, of the named stream."""
        return _keys(random.stream(self.key, name), batch.index)
