"""From splits as they were read to a Source: pixels are checked once, on the host, and brought to one form."""

import hashlib
import logging
from collections.abc import Callable, Iterator

import numpy as np

from jaxae.data import cache
from jaxae.data.labels import class_numbers, numbered, shown
from jaxae.data.source import Source, Split
from jaxae.data.splits import PIECE, Held, Raw, complete, origin
from jaxae.errors import InputError

MOST_LOOKED_AT, MOST_BYTES = 500_000, 2**31  # of all splits, up to which they are looked through for images in two
CHANNELS = 16  # more of them, and more than all else, are no channels
log = logging.getLogger(__name__)


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
            log.warning("%s: no training example has %s of its %s split", name, shown(strange, classes), key)
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
