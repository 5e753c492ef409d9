"""Pixels and labels are checked once, on the host, and brought to the one form every source has."""

import hashlib
import logging
import unicodedata
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from jaxae.data import cache
from jaxae.data.source import Source, Split
from jaxae.data.splits import PIECE, Held, complete, origin
from jaxae.errors import InputError

MOST_LOOKED_AT, MOST_BYTES = 500_000, 2**31  # of all splits, up to which they are looked through for images in two
CHANNELS = 16  # more of them, and more than all else, are no channels
log = logging.getLogger(__name__)


class Raw(NamedTuple):
    """A split as read: rows [n, h, w] or [n, h, w, c] and labels of any dtype, and their name in messages."""

    rows: np.ndarray
    labels: np.ndarray | None
    where: str


def to_source(name: str, raw: dict[str, Raw], about: str, held_out: Held, classes: tuple[str, ...] = ()) -> Source:
    """The Source of splits just read, checked; see `images` for the pixels and `complete` for the splits."""
    splits = {}
    raw, classes = numbered(raw, classes)
    for key, (rows, labels, where) in raw.items():
        checked = images(rows, where)
        splits[key] = Split(checked, class_numbers(labels, len(checked), where))
    first = next(iter(raw))
    form = splits[first].rows.shape[1:], splits[first].rows.dtype
    for key, split in splits.items():
        if (split.rows.shape[1:], split.rows.dtype) != form:
            raise InputError(
                f"{raw[key].where}: images {kind(split.rows)}, but those of {raw[first].where} "
                f"{kind(splits[first].rows)}: expected one size and one dtype in every split"
            )
    ones = [key for key, split in splits.items() if form[1] == np.uint8 and at_most_one(split.rows)]
    others = [key for key in splits if key not in ones]
    if ones and others and any(splits[key].rows.max() for key in ones):
        raise InputError(
            f"{raw[ones[0]].where}: no value above 1, but those of {raw[others[0]].where} go up to "
            f"{splits[others[0]].rows.max()}: expected one scale in every split"
        )
    if ones and not others:
        splits = {key: times_255(split, raw[key].where) for key, split in splits.items()}
        about += "; its two values 0 and 1 become 0 and 255"
    if not classes and (top := max(int(split.labels.max()) for split in splits.values())) < 1000:
        classes = tuple(str(number) for number in range(top + 1))
    if is_dark(splits["train"].rows if "train" in splits else splits[first].rows):
        log.warning(
            "%s: no pixel is brighter than a quarter of white: images are 0 to 255 in integers, 0 to 1 in floats: "
            "multiply them where they are of another scale",
            name,
        )
    for key in [key for key in ("validation", "test") if key in splits and "train" in splits]:
        strange = np.setdiff1d(splits[key].labels, [-1, *np.unique(splits["train"].labels)])
        if len(strange):
            log.warning("%s: no training example has %s of its %s split", name, _labels(strange, classes), key)
    three, rule = complete(name, splits, held_out)
    about = f"{about}; {rule}"
    for key, count in _seen_twice(*three).items():
        before = "training" if key == "validation" else "training or validation"
        leak = f"{count:,} of its {key} images are {before} images, too"
        about += f"; {leak}"
        log.warning("%s: %s: what is measured on these is not held out: drop them", name, leak)
    bits = bool(ones and not others) or all(of.rows.dtype == bool for of in raw.values())
    return Source(name, form[0], *three, about, classes, bits=bits)


def _seen_twice(train: Split, validation: Split, test: Split) -> dict[str, int]:
    """How many images of a split are in one before it, to the last pixel; of data too large, nothing."""
    splits = {"validation": validation, "test": test}
    every = [train, *splits.values()]
    if sum(map(len, every)) > MOST_LOOKED_AT or sum(split.rows.nbytes for split in every) > MOST_BYTES:
        return {}
    known, counts = set(_marks(train)), {}
    for key, split in splits.items():
        marks = list(_marks(split))
        counts[key] = sum(mark in known for mark in marks)
        known.update(marks)
    return {key: count for key, count in counts.items() if count}


def _marks(split: Split) -> Iterator[bytes]:
    return (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in split.rows)


def numbered(raw: dict[str, Raw], classes: tuple[str, ...]) -> tuple[dict[str, Raw], tuple[str, ...]]:
    """The splits with labels that are words as numbers: their places among all words, sorted, which are the classes."""
    words = {key: of.labels for key, of in raw.items() if of.labels is not None and are_words(of.labels)}
    if not words or classes:
        return raw, classes
    if rest := [of.where for key, of in raw.items() if of.labels is not None and key not in words]:
        raise InputError(f"{rest[0]}: its labels are no words, but those of {raw[next(iter(words))].where} are")
    classes = tuple(sorted(set().union(*map(words_of, words.values())), key=natural))
    check_names(classes, raw[next(iter(words))].where)
    told = {key: as_numbers(labels, classes) for key, labels in words.items()}
    return {key: of._replace(labels=told.get(key)) for key, of in raw.items()}, classes


def natural(name: str) -> tuple[int, int, str]:
    """Where the class of that name stands among the others: numbers by their value, before words."""
    return (0, int(name), name) if name.isdecimal() else (1, 0, name)


def _labels(numbers: np.ndarray, classes: tuple[str, ...]) -> str:
    named = [classes[n] if n < len(classes) else str(n) for n in numbers[:3].tolist()]
    return f"label{'s' * (len(numbers) > 1)} {', '.join(named)}" + (" and others" if len(numbers) > 3 else "")


def check_names(classes: tuple[str, ...], where: str) -> None:
    """Raises unless each is text that a page can show."""
    for name in classes:
        if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in name):  # controls, halves of letters
            raise InputError(f"{where}: class {name!a}: its name is no text: rename it")


def are_words(labels: np.ndarray) -> bool:
    """Whether they are strings, None or NaN standing where there is none."""
    if labels.dtype != object:
        return labels.dtype.kind in "UT"
    each = labels.ravel().tolist()
    return any(isinstance(of, str) for of in each) and all(isinstance(of, str) or is_missing(of) for of in each)


def is_missing(of: Any) -> bool:
    return of is None or repr(of) == "<NA>" or bool(of != of)


def words_of(labels: np.ndarray) -> set[str]:
    return {str(word) for word in labels.ravel().tolist() if not is_missing(word)}


def as_numbers(labels: np.ndarray, classes: tuple[str, ...]) -> np.ndarray:
    place = {name: number for number, name in enumerate(classes)}
    return np.array([-1 if is_missing(word) else place[str(word)] for word in labels.ravel().tolist()], np.int32)


def kind(rows: np.ndarray) -> str:
    return f"are {' x '.join(map(str, rows.shape[1:]))} {rows.dtype}"


def images(rows: np.ndarray, where: str) -> np.ndarray:
    """[n, h, w(, c)] of numbers -> [n, h, w, c] uint8 (0..255) or, from floats, float32 in [0, 1].

    Rows that have that form already are not copied, so a memory map stays one.
    """
    check_form(rows, where)
    rows = rows[..., None] if rows.ndim == 3 else rows
    if rows.dtype == np.uint8:
        return rows
    if rows.dtype == np.float32:
        for start in range(0, len(rows), PIECE):
            converted(rows[start : start + PIECE], start, where)
        return rows
    dtype = np.dtype(np.float32 if rows.dtype.kind == "f" else np.uint8)
    return changed(rows, dtype, lambda piece, start: converted(piece, start, where), f"{where} as {dtype}")


def changed(
    rows: np.ndarray, dtype: np.dtype, change: Callable[[np.ndarray, int], np.ndarray], what: str
) -> np.ndarray:
    """`change` of every piece: in memory, or by way of the cache where that would be too many bytes."""

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(rows), PIECE):
            piece = change(rows[start : start + PIECE], start)
            yield piece, np.full(len(piece), -1, np.int32)

    source = origin(rows)
    if source is None or rows.size * dtype.itemsize <= cache.LARGE:
        return cache.in_memory(rows.shape, dtype, pieces)[0]
    return cache.kept(what, source, rows.shape, dtype, pieces)[0]


def check_form(rows: np.ndarray, where: str) -> None:
    """Raises unless rows are a non-empty stack of images of numbers."""
    shape = " x ".join(map(str, rows.shape)) or "a single number"
    if rows.dtype.kind not in "buif":
        raise InputError(f"{where}: holds {rows.dtype}: expected pixels as uint8, bool or floating-point numbers")
    if rows.ndim not in (3, 4):
        raise InputError(f"{where}: its shape is {shape}: expected [n, height, width] or [n, height, width, channels]")
    if 0 in rows.shape:
        raise InputError(f"{where}: its shape is {shape}: there is no pixel in it")
    if rows.ndim == 4 and rows.shape[1] <= 4 < min(rows.shape[2:]):
        raise InputError(f"{where}: its shape is {shape}: channels come last here: transpose(0, 2, 3, 1)")
    if rows.ndim == 4 and 4 < rows.shape[1] < rows.shape[2] == rows.shape[3] and rows.shape[1] <= CHANNELS:
        height, width, channels = rows.shape[1:]
        read = f"read as images of {height} x {width} with {channels} channels, which come last"
        log.warning("%s: its shape is %s, %s: transpose(0, 2, 3, 1) where they come first", where, shape, read)
    if rows.ndim == 4 and rows.shape[3] > max(CHANNELS, *rows.shape[:3]):
        raise InputError(f"{where}: its shape is {shape}: images come first here: transpose(3, 0, 1, 2)")
    if rows.ndim == 3 and rows.shape[2] > CHANNELS * max(rows.shape[:2]):
        raise InputError(f"{where}: its shape is {shape}: images come first here: transpose(2, 0, 1); or x[..., None]")


def converted(piece: np.ndarray, start: int, where: str) -> np.ndarray:
    """Rows [start, start + n) as uint8 or float32; raises at the first value that is no pixel."""
    if piece.dtype == bool:
        return piece * np.uint8(255)
    if piece.dtype.kind == "f":
        good, top, hint = (piece >= 0) & (piece <= 1), 1, "floats lie in [0, 1]"
    else:
        good, top, hint = (piece >= 0) & (piece <= 255), 255, "integers lie in 0..255"
    if good.all():
        return piece.astype(np.float32 if piece.dtype.kind == "f" else np.uint8, copy=False)
    at = np.unravel_index(np.argmin(good), good.shape)
    value = piece[at]
    if np.isfinite(value):
        hint += ": subtract the least value and divide by the range" if value < 0 else ""
        greatest = float(np.nanmax(np.where(np.isfinite(piece), piece, np.nan)))
        of_all = "255" if 128 <= greatest <= 255 else f"the greatest value, which is {greatest:g} or more"
        hint += f": divide by {of_all}" if value > top else ""
    raise InputError(
        f"{where}: value {value} at image {start + at[0]}, row {at[1]}, column {at[2]}, channel {at[3]}: {hint}"
    )


def at_most_one(rows: np.ndarray) -> bool:
    """Whether no pixel exceeds 1: a binary image saved as integers. Stops at the first piece that says no."""
    return all(rows[start : start + PIECE].max() <= 1 for start in range(0, len(rows), PIECE))


def is_dark(rows: np.ndarray) -> bool:
    """Whether no pixel reaches a quarter of white. Stops at the first piece that says no."""
    quarter = 64 if rows.dtype == np.uint8 else 0.25
    return all(rows[start : start + PIECE].max() < quarter for start in range(0, len(rows), PIECE))


def times_255(split: Split, where: str) -> Split:
    rows = changed(split.rows, split.rows.dtype, lambda piece, _: piece * np.uint8(255), f"{where} times 255")
    return Split(rows, split.labels, split.places)


def class_numbers(labels: np.ndarray | None, n: int, where: str) -> np.ndarray:
    """[n] int32 from whole numbers [n] or [n, 1]; -1 for every example where there are none, and for NaN."""
    if labels is None:
        return np.full(n, -1, np.int32)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim == 2 and len(labels) == n:
        rows = f"{where}: labels of shape {labels.shape[0]} x {labels.shape[1]}"
        raise InputError(f"{rows}: expected one whole number an image: y.argmax(axis=1), of one-hot rows")
    if labels.dtype.kind == "f" and (np.isnan(labels) | np.isfinite(labels) & (labels == np.floor(labels))).all():
        labels = np.where(np.isnan(labels), -1, labels).astype(np.int64)
    if labels.ndim != 1 or labels.dtype.kind not in "bui":
        shape = " x ".join(map(str, labels.shape)) or "a single number"
        raise InputError(
            f"{where}: its labels are {labels.dtype} of shape {shape}: expected one whole number or one word an image"
        )
    if len(labels) != n:
        raise InputError(f"{where}: {n:,} images but {len(labels):,} labels")
    bad = (labels < -1) | (labels > 2**31 - 1) if labels.dtype.kind != "b" else np.zeros(n, bool)
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(f"{where}: label {labels[at]} of image {at}: expected 0 or more, or -1 for none")
    return labels.astype(np.int32)
