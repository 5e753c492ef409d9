"""The facts kept beside a checkpoint's arrays, sealed by a SHA-256 of their own."""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxae.digest import digest
from jaxae.errors import InputError

FORMAT = 1
Facts = dict[str, Any]


class Damaged(Exception):
    """What is on disk is not what was saved."""


def gather(step: int, arrays: dict[str, Any], meta: dict[str, Any], value: float | None) -> Facts:
    ranked = value is not None and math.isfinite(value)
    return {
        "format": FORMAT,
        "step": step,
        "value": value if ranked else None,
        "digest": digest(arrays),
        "leaves": kinds(arrays),
        "meta": meta,
    }


def seal(facts: Facts) -> dict[str, Any]:
    return {"facts": facts, "sha256": _sha256(facts)}


def unseal(saved: Any, place: Path) -> Facts:
    """The facts of the checkpoint at `place`. Raises Damaged; InputError for another version's format."""
    if not isinstance(saved, dict) or saved.get("sha256") != _sha256(saved.get("facts")):
        raise Damaged("its facts do not have the SHA-256 they were saved with")
    facts = saved["facts"]
    if facts["format"] != FORMAT:
        raise InputError(f"checkpoint {place} has format {facts['format']}: this jaxae reads format {FORMAT}")
    if str(facts["step"]) != place.name:
        raise Damaged(f"it was saved as step {facts['step']}")
    return facts


def kinds(arrays: dict[str, Any]) -> dict[str, str]:
    """Each array's dtype and shape: {"params/Dense_0/kernel": "float32[784,512]"}."""
    return {name: f"{np.dtype(x.dtype).name}[{','.join(map(str, x.shape))}]" for name, x in arrays.items()}


def shapes(kinds: dict[str, str]) -> dict[str, jax.ShapeDtypeStruct]:
    """What `kinds` has told."""
    split = {name: kind.rstrip("]").split("[") for name, kind in kinds.items()}
    return {
        name: jax.ShapeDtypeStruct(tuple(int(size) for size in sizes.split(",") if size), np.dtype(kind))
        for name, (kind, sizes) in split.items()
    }


def must_match(place: Path, expected: dict[str, str], found: dict[str, str]) -> None:
    """Raises InputError with the first leaf in which the checkpoint at `place` is of another model."""
    for name in sorted(expected | found):
        if expected.get(name) != found.get(name):
            wanted, there = expected.get(name, "nothing"), found.get(name, "nothing")
            raise InputError(f"{place} is a checkpoint of another model: {name}: expected {wanted}, found {there}")


def reason(error: BaseException) -> str:
    """An exception of any library in a few words on one line."""
    text = " ".join(str(error).split())
    if "No space left on device" in text:
        return "no space left on device"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return f"{type(error).__name__}: {text[:160]}".rstrip(": ")


def _sha256(facts: Any) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
