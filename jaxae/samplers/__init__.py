"""The registry of samplers, which draw the codes of new images: one file each, found by reading its siblings.

`samplers/NAME.py` defines `NAME(trained, seed, *, settings) -> Fitted`, whose docstring is laid out as a method's, and
a literal `NEEDS`: the field of `Method` that the sampler draws on, without which it cannot work. A file without NEEDS
is no sampler. The files are parsed and not run, so that `--help` and a wrong name answer at once, without jax. From
Python: `jaxae.samplers.sample(trained, "mixture", 64)`.
"""

import ast
import importlib
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from jaxae import methods
from jaxae.errors import InputError, a_seed, known, whole


@dataclass(frozen=True)
class Entry:
    """What the registry knows of a sampler without importing it."""

    name: str
    summary: str
    citation: str
    needs: str
    """A field of Method that must not be None."""


@cache
def entries() -> dict[str, Entry]:
    """Every sampler by its name, the file's with dashes; `prior`, the default, comes first."""
    found = [_read(file) for file in sorted(Path(__file__).parent.glob("[a-z]*.py"))]
    named = {entry.name: entry for entry in found if entry is not None}
    return {name: named[name] for name in sorted(named, key=lambda name: (name != "prior", name))}


def entry(name: str) -> Entry:
    """The sampler of that name. Raises InputError."""
    known("sampler", name, entries())
    return entries()[name]


def factory(name: str) -> Any:
    """The function `(trained, seed, *, settings) -> Fitted`, imported now."""
    file = entry(name).name.replace("-", "_")
    return getattr(importlib.import_module(f"jaxae.samplers.{file}"), file)


def working(method: Any) -> list[str]:
    """The names of the samplers that work for a Method."""
    return [name for name, entry in entries().items() if getattr(method, entry.needs) is not None]


def check(name: str, count: int, seed: int, label: int | str | None) -> None:
    """Raises InputError for what can be refused without knowing the run."""
    entry(name)
    whole("count", count, 1)
    a_seed(seed)
    if re.fullmatch(r"-\d+", str(label)):
        raise InputError(f"label {label}: expected at least 0")


def __getattr__(name: str) -> Any:
    """`sample(trained, sampler, count, seed, label)` and `evaluate(trained, sampler, split, settings)`, of
    `jaxae.samplers.draw`, which starts jax."""
    if name in ("sample", "evaluate"):
        return getattr(importlib.import_module("jaxae.samplers.draw"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _read(file: Path) -> Entry | None:
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", None) == "NEEDS":
            found = methods.read(file, file.stem, "(trained, seed, *, ...) -> Fitted")
            return Entry(file.stem.replace("_", "-"), found.summary, found.citation, ast.literal_eval(node.value))
    return None
