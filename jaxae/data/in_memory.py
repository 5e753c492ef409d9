"""The user's own arrays, in memory. What is trained on them can be read from Python alone, with the same arrays."""

import dataclasses
import re
from typing import Any

import numpy as np

from jaxae.data.checks import at_most_one, images, kind, times_255, to_source
from jaxae.data.labels import are_words, as_numbers, class_numbers, words_of
from jaxae.data.source import Source, Split
from jaxae.data.splits import Held, Raw, origin
from jaxae.errors import InputError
from jaxae.names import IN_MEMORY

Pair = tuple[np.ndarray, np.ndarray]


def arrays(
    x: np.ndarray,
    y: np.ndarray | None = None,
    *,
    test: np.ndarray | Pair | int | None = None,
    validation: np.ndarray | Pair | int | None = None,
    name: str = "mine",
) -> Source:
    """A data set of arrays, for `source=`.

    x: [n, height, width] or [n, height, width, channels], uint8 or floats in [0, 1]. y: [n] whole numbers, -1 or NaN
    where there is no label, or words. test, validation: the like, x or (x, y), or how many examples are held out, by a
    fixed permutation: else a fifth for the one, and a sixth of the rest for the other. Of arrays that could be written
    to there is a copy, so that a run's data are what its record says.
    """
    if not re.fullmatch(r"[\w.-]+", name):
        raise InputError(f"name {name!r}: expected letters, digits, dots, dashes and underscores")
    splits = {"train": (x, y), "test": test, "validation": validation}
    counts = {split: int(of) for split, of in splits.items() if isinstance(of, int | np.integer)}
    for split, of in splits.items():
        if isinstance(of, bool):
            raise InputError(f"{split} {of}: expected arrays, or how many examples")
        if isinstance(of, float | np.floating):
            raise InputError(f"{split} {of}: expected how many examples, such as {max(1, round(of * len(x)))}")
    raw = {split: _raw(of, split) for split, of in splits.items() if not isinstance(of, int | np.integer | None)}
    source = to_source(f"{IN_MEMORY}{name}", raw, "the user's arrays", Held(**counts))
    return _apart(source, [of.rows for of in raw.values()])


def split(source: Source, x: np.ndarray, y: np.ndarray | None = None) -> Split:
    """Other images, as a split of `source`. Raises InputError unless they have the shape of its images."""
    if source.decode is not None:
        raise InputError(f"x: {source.name} renders its images: others cannot take their place")
    rows, labels, where = _raw((x, y), "x")
    rows = images(rows, where)
    if rows.shape[1:] != source.shape:
        raise InputError(f"x: images of shape {rows.shape[1:]}: expected {source.shape}, those of {source.name}")
    if labels is not None and are_words(labels):
        if strange := sorted(words_of(labels) - set(source.classes)):
            known = f"one of {', '.join(source.classes)}" if source.classes else "numbers, as the run's are"
            raise InputError(f"x: label {strange[0]!r}: expected {known}")
        labels = as_numbers(labels, source.classes)
    other = Split(rows, class_numbers(labels, len(rows), where))
    if rows.dtype != source.train.rows.dtype:
        kinds = f"{kind(rows)}, but those of {source.name} {kind(source.train.rows)}"
        wide, todo = source.train.rows.dtype != np.uint8, "np.rint(255 * x).astype(np.uint8), of what lies in [0, 1]"
        raise InputError(f"x: images {kinds}: expected one dtype: {'x / 255 in its dtype' if wide else todo}")
    if rows.dtype != np.uint8 or not len(rows) or not at_most_one(rows) or not rows.max():
        return other
    if not source.bits:
        raise InputError(
            f"x: no value above 1, but those of {source.name} go up to {source.train.rows.max()}: expected one scale"
        )
    return times_255(other, where)


def _raw(of: np.ndarray | tuple, split: str) -> Raw:
    if isinstance(of, tuple) and len(of) != 2:
        raise InputError(f"{split}: a tuple of {len(of)}: expected x or (x, y)")
    if isinstance(of, list) and len({np.shape(each) for each in of}) > 1:
        raise InputError(f"{split}: a list of arrays of other shapes: expected x or (x, y)")
    x, y = of if isinstance(of, tuple) else (of, None)
    each = [one for of in (x, y) for one in (of if isinstance(of, list) else [of])]
    if any(isinstance(one, np.ma.MaskedArray) for one in each):
        raise InputError(f"{split}: a masked array: expected every value to stand, such as x.filled(0); y.filled(-1)")
    return Raw(without_bfloat(x), None if y is None else without_bfloat(y), split)


def without_bfloat(x: Any) -> np.ndarray:
    """An array that NumPy counts with: bfloat16 and smaller floats, which are not its own, as float32."""
    x = np.asarray(x)
    return x.astype(np.float32) if x.dtype.isbuiltin == 2 else x


def _apart(source: Source, given: list[np.ndarray]) -> Source:
    """Copies where the user's own arrays would be what is trained on, and could be changed under it."""

    def own(of: Split) -> Split:
        theirs = of.rows.flags.writeable and any(np.may_share_memory(of.rows, rows) for rows in given)
        return dataclasses.replace(of, rows=of.rows.copy()) if theirs and origin(of.rows) is None else of

    train, validation, test = own(source.train), own(source.validation), own(source.test)
    return dataclasses.replace(source, train=train, validation=validation, test=test)
