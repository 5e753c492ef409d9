"""What members of a sweep differ in: seeds, axes of a grid, settings, read and checked. Imports no jax."""

import collections
import os
import re
import typing
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import fields
from pathlib import Path
from typing import Any

from jaxae import methods, own
from jaxae import values as reading
from jaxae.config import OWN, Config
from jaxae.errors import InputError, unknown
from jaxae.values import plain, said

OF_FILES = (*OWN, "data", "start")  # axes whose values may be files and folders
MOST = 100_000  # members: more are a slip of the keyboard
FIELDS = {f.name: f for f in fields(Config) if f.name != "hyperparameters"}


def several(what: str, values: Any) -> tuple[Any, ...]:
    """The values of a list, a range, an array: of what holds several in an order, and no text."""
    if isinstance(values, str | Mapping | Set) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise InputError(f"{what} {said(values)}: expected a tuple, a list, a range or an array of values")
    return tuple(map(plain, values))


def seeds(text: str) -> tuple[int, ...]:
    """ "0:64" is 0 to 63, "0:10:2" every second of them, "3" and "1,5,9" are themselves."""
    found: list[int] = []
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*:\s*(\d+)(?:\s*:\s*(\d+))?)?\s*", part)
        if not match:
            raise InputError(f"seeds {text!r}: {part!r}: expected numbers such as 0:64 (0 to 63) or 1,5,9")
        first, last, step = (None if number is None else int(number) for number in match.groups())
        assert first is not None
        if step == 0 or (last is not None and last <= first):
            raise InputError(f"seeds {text!r}: {part!r} holds no seed: expected FIRST:END with END above FIRST")
        end = first + 1 if last is None else last
        if end > 2**32:
            raise InputError(f"seeds {text!r}: expected seeds of at most {2**32 - 1}")
        if end - first > MOST * (step or 1):
            raise InputError(f"seeds {text!r}: expected at most {MOST:,}")
        found += range(first, end, step or 1)
    once(f"seeds {text!r}", found)
    return tuple(found)


def grid(words: Iterable[str], base: Config, settings: Iterable[Mapping[str, Any]] = ()) -> dict[str, tuple[Any, ...]]:
    """Axes from "beta=1,4" and the like, each value checked as the base's own would be, or the `settings`' methods'."""
    axes: dict[str, list[str]] = {}
    for word in words:
        name, equals, text = word.partition("=")
        name = name.strip().replace("-", "_")
        parts = [
            part.strip() for part in re.split(r",(?![^()]*\))" if ";" not in text else ";", text.removesuffix(";"))
        ]
        if not equals or "" in (name, *parts):
            raise InputError(f"grid {word!r}: expected NAME=VALUE,VALUE,... such as beta=1,4")
        if name in axes:
            raise InputError(f"grid {word!r}: {name} is an axis already: give all its values at once")
        axes[name] = parts
    used = axes.get("method") or [each["method"] for each in settings if "method" in each] or [base.method]
    for name, parts in axes.items():
        if len(parts) > 1 and not any("," in part for part in parts) and _holds_commas(name, used):
            raise InputError(f"grid {name}: its values hold commas: end each by ;, such as '{name}={','.join(parts)};'")
    return {name: checked(name, [_typed(name, part) for part in parts], used) for name, parts in axes.items()}


def settings(words: Iterable[str]) -> tuple[dict[str, Any], ...]:
    """ "method=factor_vae,gamma=10" and the like, as the text is; by semicolons where values hold such commas. "" is
    the base itself."""
    found = []
    for word in words:
        parts = word.removesuffix(";").split(";") if ";" in word else BETWEEN.split(word) if word.strip() else []
        pairs = [part.partition("=") for part in parts]
        one = {name.strip().replace("-", "_"): text.strip() for name, _, text in pairs}
        if len(one) < len(pairs) or not all(equals and name.strip() and text.strip() for name, equals, text in pairs):
            raise InputError(f"setting {word!r}: expected NAME=VALUE,NAME=VALUE,... such as method=factor_vae,gamma=10")
        found.append({name: _typed(name, text) for name, text in one.items()})
    return tuple(found)


BETWEEN = re.compile(r",(?=\s*[A-Za-z_][\w-]*=)")
"""Between the axes of a setting or of a member's name: values may hold commas."""


def values_of(settings: Iterable[Mapping[str, Any]]) -> dict[str, tuple[Any, ...]]:
    """By name the values that settings have, each once."""
    found: dict[str, dict[Any, None]] = {}
    for setting in settings:
        for name, value in setting.items():
            found.setdefault(name, {})[value] = None
    return {name: tuple(values) for name, values in found.items()}


def _holds_commas(name: str, methods_used: Sequence[str]) -> bool:
    """Whether it is a hyperparameter whose values are lists, such as fsq's levels."""
    known = [h for method in methods_used for h in methods.entry(method).hyperparameters if h.name == name]
    return any(isinstance(h.default, str) and "," in h.default for h in known)


OF_ALL = {"seed": "--seeds", "order_seed": "--shared-batches", "devices": "--mesh", "exact": "--exact"}
"""What is said of the whole sweep, and the flag that says it."""


def _may_vary(where: str, name: str) -> None:
    if name in OF_ALL:
        raise InputError(f"{where} {name}: no axis: see {OF_ALL[name]}")
    if name in FIELDS and FIELDS[name].metadata.get("free"):
        raise InputError(f"{where} {name}: it changes no result: expected what does, such as beta or latent")


def checked_setting(given: Any, methods_used: Sequence[str]) -> dict[str, Any]:
    """A setting, as a Config holds its values. `methods_used`: those of members whose setting names none."""
    if not isinstance(given, Mapping):
        raise InputError(f'setting {said(given)}: expected values by name, such as {{"method": "ae", "latent": 2}}')
    used = [plain(given["method"])] if "method" in given else methods_used
    for name in given:
        _may_vary("setting", name)
    order = sorted(given, key=lambda name: (name != "method", name))  # whatever the user's: it names members
    return {name: _one(name, plain(given[name]), used) for name in order}


def checked(name: str, given: Iterable[Any], methods_used: Sequence[str]) -> tuple[Any, ...]:
    """Of an axis, as a Config holds them. Raises as a Config does, but for what only its fields together tell."""
    _may_vary("grid", name)
    done = tuple(_one(name, value, methods_used) for value in given)
    once(f"grid {name}={','.join(map(shown, given))}", list(done))
    return done


_AXES = [name for name, f in FIELDS.items() if not f.metadata.get("free") and name not in OF_ALL]


def _one(name: str, value: Any, methods_used: Sequence[str]) -> Any:
    if name in FIELDS:
        return reading.field(FIELDS[name], value)
    for method in methods_used:
        known = {h.name: h for h in methods.entry(method).hyperparameters}
        if name not in known:
            if having := [
                own.short(m) for m in methods_used if any(h.name == name for h in methods.entry(m).hyperparameters)
            ]:
                raise InputError(
                    f"grid {name}: {own.short(method)} has none, of this sweep's methods {', '.join(having)}: give "
                    f"each a setting of its own, such as --setting method={own.short(having[0])},{name}={shown(value)}"
                )
            raise unknown(f"axis of {method}", name, [*known, *_AXES])
        value = reading.hyperparameter(known[name], value)
    return value


def _typed(name: str, text: str) -> Any:
    """Text as the field's type; durations, schedules and hyperparameters stay text, which Config reads."""
    if name not in FIELDS:
        return text
    spec = FIELDS[name]
    if spec.metadata.get("duration") or spec.metadata.get("schedule"):
        return text
    kinds = typing.get_args(spec.type) or (spec.type,)
    if type(None) in kinds and text.lower() == "none" and "none" not in spec.metadata.get("choices", ()):
        return None
    for kind, words in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                raise InputError(f"{name} {text!r}: expected {words}") from None
    return text


def once(what: str, values: list[Any]) -> None:
    twice = [value for value, count in collections.Counter(values).items() if count > 1]
    if twice:
        raise InputError(f"{what}: {shown(twice[0])} is there twice: expected each value once")


def shown(value: Any) -> str:
    """A value in a member's name: the shortest text that reads back as itself."""
    if value is None:
        return "none"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def named(axis: str, values: Sequence[Any]) -> list[str]:
    """The values in members' names: files and folders by the ends of their paths, as short as tells them apart, so that
    a project may be moved."""
    if axis not in OF_FILES:
        return list(map(shown, values))
    whole = [Path(value).parts if os.path.isabs(str(value)) else (str(value),) for value in values]
    lengths = range(1, max(map(len, whole), default=0) + 1)
    ends = (["/".join(parts[-length:]) for parts in whole] for length in lengths)
    return next((each for each in ends if len(set(each)) == len(each)), list(map(shown, values)))
