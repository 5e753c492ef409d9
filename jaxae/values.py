"""How the values of a config are read: text or numbers in, what the field holds out; else one line that says why."""

import dataclasses
import math
import os
import struct
import sys
from collections.abc import Mapping
from typing import Any

from jaxae import home, methods, names, own, schedules
from jaxae.errors import InputError, unknown

LONGEST = 80  # characters that a message says of a value


def field(spec: dataclasses.Field, value: Any) -> Any:
    rules, value = spec.metadata, plain(value)
    flag = f"{spec.name} {said(value)}"
    if value is None and "None" in str(spec.type):
        return None
    if spec.name == "method":
        return _method(flag, value)
    if spec.name == "data":
        value = _data(flag, value)
    if spec.name == "start":
        value = _path(value)
    if spec.name == "hyperparameters" and not isinstance(value, Mapping):
        raise InputError(f'{flag}: expected them by name, such as {{"beta": 4.0}}')
    if getattr(value, "ndim", 0):
        raise InputError(f"{flag}: expected one value")
    if form := rules.get("own"):
        if not isinstance(value, str) or value.endswith(".py"):
            raise InputError(f"{flag}: expected a name, or your own function as path/to/mine.py:mine")
        if own.is_own(value):
            own.definition(*own.split(value), form)
            return own.absolute(value)
    if choices := rules.get("choices"):
        if not isinstance(value, str) or value not in choices:
            raise unknown(spec.name, value, choices)
    elif rules.get("duration"):
        value = _duration(spec.name, value)
    elif rules.get("schedule"):
        value = _schedule(spec.name, value)
    elif spec.name != "hyperparameters":
        value = _ranged(flag, value, spec)
    return value


class Frozen(dict[str, Any]):
    """A dict that does not change, and so has a hash."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(frozenset(self.items()))

    def __reduce__(self) -> tuple[Any, ...]:
        return Frozen, (dict(self),)

    def _refused(self, *_: Any, **__: Any) -> Any:
        raise TypeError("it does not change: make another, such as {**old, name: value}")

    __setitem__ = __delitem__ = __ior__ = clear = pop = popitem = setdefault = update = _refused


def plain(value: Any) -> Any:
    """A NumPy number as Python's: of single precision the shortest that is rounded to it. One of hundreds of digits is
    infinite."""
    if isinstance(value, int) and abs(value) > sys.float_info.max:
        return math.inf
    if getattr(value, "ndim", None) != 0 or not hasattr(value, "item") or str(value.dtype).startswith("key<"):
        return value
    return float(str(value)) if value.dtype in ("float32", "float16") else value.item()


def said(value: Any) -> str:
    """A value in a message: on one line, and of an array its shape alone."""
    if getattr(value, "ndim", 0):
        return f"({type(value).__name__} of shape {tuple(value.shape)})"
    text = repr(value) if isinstance(value, str) else " ".join(repr(value).split())
    return text if isinstance(value, str) or len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _method(flag: str, value: Any) -> str:
    if not isinstance(value, str):
        raise InputError(f"{flag}: expected a name from `jaxae methods`, or your own function as path/to/mine.py:mine")
    value = own.absolute(value) if own.is_own(value) else value
    methods.entry(value)
    return value


def _data(flag: str, value: Any) -> str:
    """A path from the root: a run is read from other folders than it was begun in."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(path, str):
        how = 'save arrays first: np.savez("mine.npz", x=x), then data="mine.npz"'
        raise InputError(f"{flag}: expected a name from `jaxae data list`, a file or a folder: {how}")
    return os.path.abspath(home.expanded(path)) if path is not value or names.is_path(path) else path


def _path(value: Any) -> Any:
    """The same folder from any other; what is no path is left to be refused."""
    path = os.fspath(value) if isinstance(value, os.PathLike) else value
    return os.path.abspath(home.expanded(path)) if isinstance(path, str) and path else path


def _ranged(flag: str, value: Any, spec: dataclasses.Field) -> Any:
    """A plain field's value: of its type, within its bounds."""
    rules, kind = spec.metadata, str(spec.type)
    if kind == "<class 'bool'>":
        if not isinstance(value, bool):
            raise InputError(f"{flag}: expected true or false")
    elif "int" in kind:
        if isinstance(value, bool) or not isinstance(value, int):
            raise InputError(f"{flag}: expected a whole number")
    elif "float" in kind:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise InputError(f"{flag}: expected a finite number")
        value = float(value)
    elif not isinstance(value, str) or not value:
        raise InputError(f"{flag}: expected text")
    limits = (
        ("low", lambda v, b: v >= b, "at least"),
        ("high", lambda v, b: v <= b, "at most"),
        ("above", lambda v, b: _single(v) > b, "a value above"),
        ("below", lambda v, b: _single(v) < b, "a value below"),
    )
    for rule, holds, words in limits:
        if rule in rules and not holds(value, rules[rule]):
            raise InputError(f"{flag}: expected {words} {rules[rule]}")
    return _held(flag, value)


def _held(flag: str, value: Any) -> Any:
    """A number, if the device can hold it."""
    if isinstance(value, float) and (
        not math.isfinite(_single(value)) or (value and abs(_single(value)) < schedules.LEAST)
    ):
        raise InputError(f"{flag}: expected a number of single precision, 1.2e-38 to 3e38")
    return value


def _single(value: float) -> float:
    """As the device has it, in single precision."""
    try:
        return struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)


def _number(value: Any) -> Any:
    """Text that is a number, as that number: "500" and 500 are the same config."""
    for kind in (int, float):
        try:
            return plain(kind(value)) if isinstance(value, str) else value
        except ValueError:
            continue
    return value.strip()


def _duration(name: str, value: Any) -> int | str:
    value = _number(value)
    try:
        schedules.duration(value, total=1000, epoch=10)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if isinstance(value, float) and not value.is_integer():
        raise InputError(f"{name} {value!r}: expected whole steps, epochs (20e) or per cent of the run (5%)")
    if name == "steps" and "%" in str(value):
        raise InputError(f"{name} {value!r}: expected steps (5000) or epochs (100e)")
    return value if isinstance(value, str) else round(value)


def _schedule(name: str, value: Any) -> float | str:
    value = _number(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InputError(f"{name} {said(value)}: expected a number or a schedule such as linear(0, 1, 20e)")
    try:
        schedules.check(value)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
    if isinstance(value, str):
        return value
    if not math.isfinite(value) or value < 0:
        raise InputError(f"{name} {value!r}: expected a finite number, at least 0")
    return _held(f"{name} {value!r}", float(value))


def hyperparameter(spec: methods.Hyperparameter, value: Any) -> Any:
    if spec.scheduled:
        return _schedule(spec.name, plain(value))
    kind, value = type(spec.default), plain(value)
    value = value if kind is str else _number(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if kind is bool and str(value).lower() in ("true", "false"):
        value = str(value).lower() == "true"
    if type(value) is not kind:
        raise InputError(f"{spec.name} {said(value)}: expected {kind.__name__}, as in the default {spec.default!r}")
    if kind is float and not math.isfinite(value):
        raise InputError(f"{spec.name} {value!r}: expected a finite number")
    if kind is int and abs(value) >= 2**31:
        raise InputError(f"{spec.name} {value}: expected a whole number below {2**31}")
    return _held(f"{spec.name} {value!r}", value)
