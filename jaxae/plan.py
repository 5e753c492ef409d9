"""What a sweep is: seeds times a grid, as named members, in groups that share a compiled program. Imports no jax."""

import collections
import dataclasses
import difflib
import itertools
import math
import os
import re
import typing
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from jaxae import methods, own
from jaxae import values as reading
from jaxae.config import OWN, Config
from jaxae.errors import InputError, known, unknown
from jaxae.values import Frozen, plain, said

OF_FILES = (*OWN, "data", "start")  # axes whose values may be files and folders
MOST = 100_000  # members: more are a slip of the keyboard
LANES = ("auto", "map", "vmap")


@dataclass(frozen=True)
class Member:
    """One run of a sweep."""

    name: str
    config: Config


@dataclass(frozen=True)
class Plan:
    """Every combination of `seeds` and the values of `grid`, on top of `base`.

    With `shared_batches` all members read the data in the order of the base's seed; else each in its own seed's.
    `words`: how members are named by values of an axis, where a sweep has named them before. `resolved`: by members'
    names what their configs were when they began, for the defaults that are others by now.
    """

    base: Config
    seeds: Sequence[int]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    shared_batches: bool = False
    words: Mapping[str, Mapping[Any, str]] = field(default_factory=dict, repr=False, compare=False)
    resolved: Mapping[str, Mapping[str, Any]] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.grid, Mapping):
            raise InputError(f'grid {said(self.grid)}: expected values by name, such as {{"beta": (1.0, 4.0)}}')
        if not isinstance(self.base, Config):
            raise InputError(f"base {said(self.base)}: expected a Config")
        object.__setattr__(self, "shared_batches", plain(self.shared_batches))
        if not isinstance(self.shared_batches, bool):
            raise InputError(f"shared_batches {said(self.shared_batches)}: expected true or false")
        axes = {axis: _several(f"grid {axis}", values) for axis, values in self.grid.items()}
        used = [plain(method) for method in axes.get("method", (self.base.method,))]
        checked = {axis: _values(axis, values, used) for axis, values in axes.items()}
        object.__setattr__(self, "seeds", _several("seeds", self.seeds))
        object.__setattr__(self, "grid", Frozen(checked))
        named_now = {axis: dict(zip(values, named(axis, values))) for axis, values in checked.items()}
        kept = {axis: {v: w for v, w in self.words.get(axis, {}).items() if v in of} for axis, of in named_now.items()}
        object.__setattr__(self, "words", Frozen({axis: named_now[axis] | kept[axis] for axis in named_now}))
        count = math.prod([len(self.seeds), *map(len, checked.values())])
        if count > MOST:
            raise InputError(f"{count:,} members: expected at most {MOST:,}: fewer seeds, or a smaller grid")
        if self.base.wandb is not None:
            raise InputError(f"wandb {self.base.wandb!r}: a sweep does not log there: leave it out")
        if self.base.parallel == "pmap":
            raise InputError("parallel pmap: a sweep's devices form a mesh: expected jit, with --mesh seed=S,data=D")
        if not self.members:
            raise InputError("a sweep without members: expected a seed at least, and a value on each axis of the grid")
        _once("members", [member.name for member in self.members])

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """In the order of the grid, the seeds of a setting side by side."""
        names, settings = list(self.grid), itertools.product(*self.grid.values())
        return tuple(
            self._member(seed, dict(zip(names, values))) for values, seed in itertools.product(settings, self.seeds)
        )

    @cached_property
    def whole_names(self) -> dict[str, str]:
        """By each member's name the same with whole paths."""
        values = ({axis: getattr(m.config, axis, None) for axis in self.grid if axis in OF_FILES} for m in self.members)
        return {m.name: _renamed(m.name, of) for m, of in zip(self.members, values)}

    def _member(self, seed: int, values: dict[str, Any]) -> Member:
        order = self.base.seed if self.shared_batches and self.base.order_seed is None else self.base.order_seed
        name = ",".join([f"seed={seed}", *(f"{axis}={self.words[axis][value]}" for axis, value in values.items())])
        of_run = {k: v for k, v in values.items() if k in _FIELDS}
        own = {**self.base.hyperparameters, **{k: v for k, v in values.items() if k not in _FIELDS}}
        config = dataclasses.replace(self.base, seed=seed, order_seed=order, **of_run, hyperparameters=own)
        return Member(name, config.as_it_was(self.resolved.get(name, {})))

    @cached_property
    def groups(self) -> tuple[tuple[Member, ...], ...]:
        """Members that differ in their seed and in real numbers alone: one compiled program each."""
        found: dict[str, list[Member]] = {}
        for member in self.members:
            found.setdefault(structure(member.config), []).append(member)
        return tuple(tuple(group) for group in found.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "seeds": list(self.seeds),
            "grid": {name: list(values) for name, values in self.grid.items()},
            "shared_batches": self.shared_batches,
            "base": self.base.to_dict(),
            "members": [member.name for member in self.members],
            "words": {axis: [self.words[axis][value] for value in self.grid[axis]] for axis in self.grid},
        }


@dataclass(frozen=True)
class How:
    """How a sweep is carried out: of this only `lanes` and `block` reach the numbers, and these to rounding alone."""

    lanes: str = "auto"
    """"map", "vmap" or "auto": see `jaxae.sweep.lanes.choose`."""
    block: int | None = None
    """Lanes that vmap takes side by side; None: see `jaxae.sweep.lanes.block`."""
    seed_devices: int = 1
    """Devices that share the members."""
    wave: int | None = None
    """Members trained at once; None: as many as fit in memory."""

    def __post_init__(self) -> None:
        known("lanes", self.lanes, LANES)
        for name, least in (("block", 2), ("wave", 1), ("seed_devices", 1)):
            number = plain(getattr(self, name))
            object.__setattr__(self, name, number)
            if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
                raise InputError(f"{name} {said(number)}: expected a whole number")
            if number is not None and number < least:
                raise InputError(f"{name} {number}: expected at least {least}")

    def check(self, base: Config) -> None:
        """Raises InputError where members of `base` cannot be had like this."""
        if base.exact and self.lanes == "vmap":
            raise InputError("lanes vmap: --exact takes members one after the other: leave --lanes out")


def _several(what: str, values: Any) -> tuple[Any, ...]:
    """The values of a list, a range, an array: of what holds several in an order, and no text."""
    if isinstance(values, str | Mapping | Set) or not isinstance(values, Iterable) or getattr(values, "ndim", 1) != 1:
        raise InputError(f"{what} {said(values)}: expected a tuple, a list, a range or an array of values")
    return tuple(map(plain, values))


_FIELDS = {f.name: f for f in fields(Config) if f.name != "hyperparameters"}


def structure(config: Config) -> str:
    """What a compiled program is made for: all but the seeds and the real numbers that it takes as arguments."""
    values = config.result()
    scheduled = {h.name for h in methods.entry(config.method).hyperparameters if h.scheduled}

    def traced(value: Any) -> Any:
        return value if isinstance(value, str) else "a number"

    own = {k: traced(v) if k in scheduled else v for k, v in values["hyperparameters"].items()}
    numbers = {"learning_rate": traced(values["learning_rate"]), "hyperparameters": own}
    whole = {**config.own_functions(), "data": config.data, "start": config.start}  # two of one name are two
    fixed = {**whole, "seed": None, "order_seed": None}
    return repr(sorted({**values, **fixed, **numbers}.items()))


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
    _once(f"seeds {text!r}", found)
    return tuple(found)


def grid(words: Iterable[str], base: Config) -> dict[str, tuple[Any, ...]]:
    """Axes from "beta=1,4" and the like, each value checked as the base's own would be."""
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
    used = axes.get("method", [base.method])
    for name, parts in axes.items():
        if len(parts) > 1 and not any("," in part for part in parts) and _holds_commas(name, used):
            raise InputError(f"grid {name}: its values hold commas: end each by ;, such as '{name}={','.join(parts)};'")
    return {name: _values(name, [_typed(name, part) for part in parts], used) for name, parts in axes.items()}


def _holds_commas(name: str, methods_used: Sequence[str]) -> bool:
    """Whether it is a hyperparameter whose values are lists, such as fsq's levels."""
    known = [h for method in methods_used for h in methods.entry(method).hyperparameters if h.name == name]
    return any(isinstance(h.default, str) and "," in h.default for h in known)


OF_ALL = {"seed": "--seeds", "order_seed": "--shared-batches", "devices": "--mesh", "exact": "--exact"}
"""What is said of the whole sweep, and the flag that says it."""


def _may_be_an_axis(name: str) -> None:
    if name in OF_ALL:
        raise InputError(f"grid {name}: no axis: see {OF_ALL[name]}")
    if name in _FIELDS and _FIELDS[name].metadata.get("free"):
        raise InputError(f"grid {name}: it changes no result: expected what does, such as beta or latent")


def _values(name: str, given: Iterable[Any], methods_used: Sequence[str]) -> tuple[Any, ...]:
    """Of an axis, as a Config holds them. Raises as a Config does, but for what only its fields together tell."""
    _may_be_an_axis(name)
    done = tuple(_checked(name, value, methods_used) for value in given)
    _once(f"grid {name}={','.join(map(shown, given))}", list(done))
    return done


_AXES = [name for name, f in _FIELDS.items() if not f.metadata.get("free") and name not in OF_ALL]


def _checked(name: str, value: Any, methods_used: Sequence[str]) -> Any:
    if name in _FIELDS:
        return reading.field(_FIELDS[name], value)
    for method in methods_used:
        known = {h.name: h for h in methods.entry(method).hyperparameters}
        if name not in known:
            if having := [
                own.short(m) for m in methods_used if any(h.name == name for h in methods.entry(m).hyperparameters)
            ]:
                raise InputError(
                    f"grid {name}: {own.short(method)} has none, of this sweep's methods {', '.join(having)}: sweep "
                    "those apart, and `jaxae compare` them together"
                )
            raise unknown(f"axis of {method}", name, [*known, *_AXES])
        value = reading.hyperparameter(known[name], value)
    return value


def _typed(name: str, text: str) -> Any:
    """Text as the field's type; durations, schedules and hyperparameters stay text, which Config reads."""
    if name not in _FIELDS:
        return text
    spec = _FIELDS[name]
    if spec.metadata.get("duration") or spec.metadata.get("schedule"):
        return text
    kinds = typing.get_args(spec.type) or (spec.type,)
    for kind, words in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                raise InputError(f"{name} {text!r}: expected {words}") from None
    return text


def _once(what: str, values: list[Any]) -> None:
    twice = [value for value, count in collections.Counter(values).items() if count > 1]
    if twice:
        raise InputError(f"{what}: {shown(twice[0])} is there twice: expected each value once")


def shown(value: Any) -> str:
    """A value in a member's name: the shortest text that reads back as itself."""
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


def find(text: str, names: Iterable[str] | Mapping[str, str]) -> str:
    """The member that `text` names, such as "beta=4,seed=2": in any order, and "4.0" is "4". `names` may tell of each
    the same with whole paths, by which it is found too."""
    if not isinstance(text, str):
        raise InputError(f"member {said(text)}: expected a name, such as {next(iter(names))!r}")
    known, wanted = list(names), _parsed(text)
    whole = names if isinstance(names, Mapping) else {}
    for matches in (lambda name: name == text, lambda name: _parsed(name) == wanted):
        for name in known:
            if matches(name) or matches(whole.get(name, name)):
                return name
    near = (difflib.get_close_matches(text, known, n=1, cutoff=0) or known)[0]
    raise InputError(f"no member {text!r}: expected one of the sweep's {len(known):,}, such as {near!r}")


_PARTS = re.compile(r",(?=\s*[A-Za-z_][\w-]*=)")
"""Between the axes of a name: values may hold commas."""


def _parsed(name: str) -> dict[str, Any]:
    def number(axis: str, part: str) -> Any:
        try:
            return part if axis in OF_FILES or math.isnan(float(part)) else float(part)
        except ValueError:
            return part

    pairs = (part.partition("=") for part in _PARTS.split(name))
    axes = ((axis.strip().replace("-", "_"), value.strip()) for axis, _, value in pairs)
    return {axis: number(axis, value) for axis, value in axes}


def _renamed(name: str, values: Mapping[str, Any]) -> str:
    """A member's name, with other values of some axes."""
    pairs = (part.partition("=") for part in _PARTS.split(name))
    return ",".join(f"{axis}={shown(values[axis]) if axis in values else value}" for axis, _, value in pairs)
