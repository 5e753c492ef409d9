"""Examples of a run's splits, by number."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Int

from jaxae.data.view import PIECE, View, by_pieces, evenly
from jaxae.errors import InputError, a_seed, whole
from jaxae.run import Trained
from jaxae.run.loading import a_run


def view_of(trained: Trained, split: str, seed: int) -> View:
    a_seed(seed)
    return a_run(trained).setup.view(split, seed)


def spread(view: View, split: str, count: int) -> Int[np.ndarray, " count"]:
    """That many examples evenly spread through a split."""
    if whole("count", count, 1) > len(view):
        raise InputError(f"count {count}: {split} has {len(view)} examples: expected 1 to {len(view)}")
    return evenly(len(view), count).astype(np.int32)


def over(view: View, index: np.ndarray, fn: Callable) -> Any:
    return by_pieces(lambda part: fn(view.take(part)), index, min(PIECE, view.chunk))


def numbers(view: View, split: str, index: Any) -> np.ndarray:
    """Checked: whole numbers of examples, at least one."""
    index = np.atleast_1d(np.asarray(index))
    if index.dtype.kind not in "iu" or not index.size:
        what = "no example" if not index.size else f"numbers of type {index.dtype}"
        raise InputError(f"{what}: expected whole numbers of examples of {split}, from 0 to {len(view) - 1}")
    outside = index[(index < 0) | (index >= len(view))]
    if outside.size:
        raise InputError(f"example {outside[0]}: {split} has {len(view)}: expected 0 to {len(view) - 1}")
    return index.astype(np.int32)
