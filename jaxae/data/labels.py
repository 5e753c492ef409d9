"""Labels as they were read, words or numbers, as the whole numbers that a Split has."""

import unicodedata
from typing import Any

import numpy as np

from jaxae.data.splits import Raw
from jaxae.errors import InputError


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


def shown(numbers: np.ndarray, classes: tuple[str, ...]) -> str:
    """In a message."""
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
