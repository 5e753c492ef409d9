"""What every data source hands over: explicit splits of rows that live on the host or the device."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from functools import cached_property

import numpy as np
from jaxtyping import Array

from jaxae.errors import InputError, known
from jaxae.names import SPLITS


@dataclass(frozen=True)
class Split:
    """Examples of one split.

    rows: [n, height, width, channels] uint8 (0..255) or float32 in [0, 1]; or, with the source's `decode`, whatever
    that renders from. A memory map is welcome: rows that do not fit the device are streamed. labels: [n] int32, -1
    where unlabelled. places: [n] where each example stands in what was read, None where that is its own place.
    """

    rows: np.ndarray
    labels: np.ndarray
    places: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        """One line: of each array its dtype and shape."""
        arrays = {f.name: array for f in fields(self) if (array := getattr(self, f.name)) is not None}
        return f"Split({', '.join(f'{name}={a.dtype}{list(a.shape)}' for name, a in arrays.items())})"

    def rows_read(self) -> np.ndarray:
        """[n] where each example stands in what was read: the row of an array, the image of a file."""
        return np.arange(len(self)) if self.places is None else self.places

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the rows (dtype, shape, bytes) and the labels."""
        sha = hashlib.sha256()
        for array in (self.rows, self.labels):
            sha.update(f"{array.dtype.str}{array.shape}".encode())
            for start in range(0, len(array), 4096):  # by pieces: a memory map is never read whole
                sha.update(np.ascontiguousarray(array[start : start + 4096]).tobytes())
        return sha.hexdigest()


@dataclass(frozen=True)
class Source:
    """A data set: three splits, the image shape (height, width, channels), and where it came from."""

    name: str
    shape: tuple[int, int, int]
    train: Split
    validation: Split
    test: Split
    about: str
    """One line: what it is, where from, by what rule it was split."""
    classes: tuple[str, ...] = ()
    factor_names: tuple[str, ...] = ()
    factor_sizes: tuple[int, ...] = ()
    """How many values each factor takes, where `decode` renders every combination of them."""
    bits: bool = field(default=False, compare=False)
    """Whether its rows of 0 and 255 were read as 0 and 1."""
    decode: Callable[[Array], Array] | None = field(default=None, compare=False)
    """Pure and jittable: raw rows [batch, ...] -> images [batch, height, width, channels], for procedural data."""

    @property
    def words(self) -> tuple[str, ...]:
        """The classes' names, where they are more than the labels' own numbers."""
        return () if self.classes == tuple(map(str, range(len(self.classes)))) else self.classes

    def split(self, name: str) -> Split:
        known("split", name, SPLITS)
        return getattr(self, name)

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the splits: the data's identity in a run's record."""
        parts = "".join(self.split(name).digest for name in SPLITS)
        return hashlib.sha256((parts + str(self.shape)).encode()).hexdigest()

    def sizes(self) -> dict[str, int]:
        return {name: len(self.split(name)) for name in SPLITS}


def hold_out(n: int, count: int, what: str, alike: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The fixed rule for a source without a split of its own: (kept, held out) indices, each in order.

    A permutation drawn once by numpy's frozen legacy generator (seed 0), the same on every machine and version.
    alike: [n] numbers, one for all examples that belong together (images of one patient, say), of which either all are
    held out or none: those that come first while they fit, and what is then missing of those that are alone, where
    there are as many: so at most `count`. Raises InputError where not even the first fit.
    """
    if not 0 < count < n:
        raise InputError(f"{what}: cannot hold out {count} of {n} examples: expected 1 to {n - 1}")
    if alike is not None and np.shape(alike) != (n,):
        raise InputError(f"{what}: alike of shape {np.shape(alike)}: expected ({n},), a number for each example")
    _, group, sizes = np.unique(np.arange(n) if alike is None else alike, return_inverse=True, return_counts=True)
    order = np.random.RandomState(0).permutation(len(sizes))
    fits = np.cumsum(sizes[order]) <= count
    alone = order[~fits & (sizes[order] == 1)]
    held = np.isin(group, np.concatenate([order[fits], alone[: count - sizes[order[fits]].sum()]]))
    if not held.any():
        raise InputError(f"{what}: {sizes[order[0]]} examples belong together, more than the {count} to hold out")
    return np.flatnonzero(~held), np.flatnonzero(held)
