"""From the splits that a source has to the three that training needs, by a fixed rule."""

import hashlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from jaxae.data import cache
from jaxae.data.source import Split, hold_out
from jaxae.errors import InputError

PIECE = 4096  # examples


class Raw(NamedTuple):
    """A split as read: rows [n, h, w] or [n, h, w, c] and labels of any dtype, and their name in messages."""

    rows: np.ndarray
    labels: np.ndarray | None
    where: str


class Held(NamedTuple):
    """How many examples of train its user wants held out, None where a share of them."""

    validation: int | None = None
    test: int | None = None


def complete(name: str, have: dict[str, Split], held_out: Held) -> tuple[tuple[Split, Split, Split], str]:
    """Adds what is missing, of train: test, as many as `held_out` says or a fifth; validation, the like or a sixth of
    the rest.

    Returns (train, validation, test) and the rule in words.
    """
    if "train" not in have:
        raise InputError(f"{name}: no train split: found {', '.join(have) or 'none'}")
    wanted = held_out._asdict()
    for split, count in wanted.items():
        if split in have and count is not None:
            own = len(have[split])
            raise InputError(f"{name}: its own {split} split has {own:,} examples: leave out the {split} size")
    left, chosen, rules = np.arange(len(have["train"])), {}, []
    for missing, parts in (("test", 5), ("validation", 6)):
        if missing in have:
            continue
        if len(left) < 2:
            raise InputError(f"{name}: too few examples: expected at least 3 to train, validate and test on")
        given = wanted[missing]
        count = max(1, len(left) // parts) if given is None else given
        kept, held = hold_out(len(left), count, f"{name}, {missing}")
        left, chosen[missing] = left[kept], left[held]
        rules.append(f"{missing} held out of train by a fixed permutation")
    if chosen:
        have = {**have, **{split: pick(name, have["train"], index, split) for split, index in chosen.items()}}
        have["train"] = pick(name, have["train"], left, "train")
    three = have["train"], have["validation"], have["test"]
    return three, "; ".join(rules) or "its own splits"


def pick(name: str, split: Split, index: np.ndarray, what: str) -> Split:
    """Those examples of a split: in memory, or by way of the cache where they are too many bytes for that."""
    rows, shape = split.rows, (len(index), *split.rows.shape[1:])

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(index), PIECE):
            part = index[start : start + PIECE]
            yield rows[part], split.labels[part]

    source = origin(rows)
    if source is None or np.prod(shape, dtype=np.int64) * rows.itemsize <= cache.LARGE:
        return Split(rows[index], split.labels[index], index)
    mark = [
        source,
        hashlib.sha256(index.tobytes()).hexdigest(),
        hashlib.sha256(split.labels.tobytes()).hexdigest(),
    ]
    return Split(*cache.kept(f"{what} split of {name}", mark, shape, rows.dtype, pieces), index)


def origin(rows: np.ndarray) -> object:
    """What identifies the file behind a memory map; None for an array in memory."""
    path = getattr(rows, "filename", None)
    return None if path is None else cache.fingerprint([path])
