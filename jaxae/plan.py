"""What a sweep is: seeds times settings, as named members, in groups that share a compiled program. Imports no jax."""

import dataclasses
import difflib
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from jaxae import axes
from jaxae.config import Config
from jaxae.errors import InputError, known, whole
from jaxae.values import Frozen, plain, said

LANES = ("auto", "map", "vmap")


@dataclass(frozen=True)
class Member:
    """One run of a sweep."""

    name: str
    config: Config


@dataclass(frozen=True)
class Plan:
    """Every combination of `seeds`, the values of `grid` and `settings`, on top of `base`. A setting is values that go
    together, such as {"method": "factor_vae", "gamma": 10.0} beside {"method": "vae"}.

    With `shared_batches` all members read the data in the order of the base's seed; else each in its own seed's.
    `words`: how members are named by values of an axis, where a sweep has named them before. `resolved`: by members'
    names what their configs were when they began, for the defaults that are others by now.
    """

    base: Config
    seeds: Sequence[int]
    grid: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    shared_batches: bool = False
    settings: Sequence[Mapping[str, Any]] = ()
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
        grid = {axis: axes.several(f"grid {axis}", values) for axis, values in self.grid.items()}
        used = [plain(method) for method in grid.get("method", (self.base.method,))]
        settings = [axes.checked_setting(each, used) for each in axes.several("settings", self.settings)]
        used = [setting["method"] for setting in settings if "method" in setting] or used
        grid = {axis: axes.checked(axis, values, used) for axis, values in grid.items()}
        object.__setattr__(self, "seeds", axes.several("seeds", self.seeds))
        object.__setattr__(self, "grid", Frozen(grid))
        object.__setattr__(self, "settings", tuple(map(Frozen, settings)))
        if both := [axis for axis in grid if any(axis in setting for setting in settings)]:
            raise InputError(f"setting {both[0]}: it is an axis of the grid, too: expected one of the two")
        named_now = {axis: dict(zip(values, axes.named(axis, values))) for axis, values in self.axes.items()}
        kept = {axis: {v: w for v, w in self.words.get(axis, {}).items() if v in of} for axis, of in named_now.items()}
        object.__setattr__(self, "words", Frozen({axis: named_now[axis] | kept[axis] for axis in named_now}))
        count = math.prod([len(self.seeds), len(settings) or 1, *map(len, grid.values())])
        if count > axes.MOST:
            raise InputError(f"{count:,} members: expected at most {axes.MOST:,}: fewer seeds, or a smaller grid")
        if self.base.wandb is not None:
            raise InputError(f"wandb {self.base.wandb!r}: a sweep does not log there: leave it out")
        if self.base.parallel == "pmap":
            raise InputError("parallel pmap: a sweep's devices form a mesh: expected jit, with --mesh seed=S,data=D")
        if not self.members:
            raise InputError("a sweep without members: expected a seed at least, and a value on each axis of the grid")
        axes.once("members", [member.name for member in self.members])
        self._no_setting_in_vain()

    def _no_setting_in_vain(self) -> None:
        """Raises InputError where two settings say the same, one of them maybe by a default, or one has a scale and no
        likelihood that takes it."""
        seen: dict[str, str] = {}
        for member in self.members[:: len(self.seeds)] if self.settings else ():
            config = member.config
            whole = {**config.own_functions(), "data": config.data, "start": config.start}
            if (other := seen.setdefault(repr({**config.result(), **whole}), member.name)) != member.name:
                raise InputError(f"{member.name} is the same run as {other}: expected settings that differ")
        each = len(self.members) // max(1, len(self.settings))
        for place, setting in enumerate(self.settings):
            of = self.members[place * each : (place + 1) * each]
            if "scale" in setting and not any(member.config.takes_scale() for member in of):
                raise InputError(f"setting {of[0].name}: its likelihood has no scale: leave it out")

    @cached_property
    def axes(self) -> dict[str, tuple[Any, ...]]:
        """In what members may differ, but for their seeds, with its values: those of the settings, then of the grid."""
        return axes.values_of(self.settings) | {axis: tuple(values) for axis, values in self.grid.items()}

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """In the order of the settings and of the grid, the seeds of one side by side."""
        on_grid = [dict(zip(self.grid, values)) for values in itertools.product(*self.grid.values())]
        each = itertools.product(self.settings or ({},), on_grid, self.seeds)
        return tuple(self._member(seed, {**setting, **values}) for setting, values, seed in each)

    @cached_property
    def whole_names(self) -> dict[str, str]:
        """By each member's name the same with whole paths."""
        files = [axis for axis in self.axes if axis in axes.OF_FILES]
        return {m.name: _renamed(m.name, {axis: getattr(m.config, axis) for axis in files}) for m in self.members}

    def _member(self, seed: int, values: dict[str, Any]) -> Member:
        order = self.base.seed if self.shared_batches and self.base.order_seed is None else self.base.order_seed
        name = ",".join([f"seed={seed}", *(f"{axis}={self.words[axis][value]}" for axis, value in values.items())])
        of_run = {k: v for k, v in values.items() if k in axes.FIELDS}
        own = {**self.base.hyperparameters, **{k: v for k, v in values.items() if k not in axes.FIELDS}}
        config = dataclasses.replace(self.base, seed=seed, order_seed=order, **of_run, hyperparameters=own)
        return Member(name, config.as_it_was(self.resolved.get(name, {})))

    @cached_property
    def groups(self) -> tuple[tuple[Member, ...], ...]:
        """Members that differ in their seed and in real numbers alone: one compiled program each."""
        found: dict[str, list[Member]] = {}
        for member in self.members:
            found.setdefault(member.config.structure(), []).append(member)
        return tuple(tuple(group) for group in found.values())

    def to_dict(self) -> dict[str, Any]:
        return {
            "seeds": list(self.seeds),
            "grid": {name: list(values) for name, values in self.grid.items()},
            "shared_batches": self.shared_batches,
            "base": self.base.to_dict(),
            "members": [member.name for member in self.members],
            "words": {axis: [self.words[axis][value] for value in values] for axis, values in self.axes.items()},
            **({"settings": [dict(setting) for setting in self.settings]} if self.settings else {}),
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
            if (number := getattr(self, name)) is not None:
                object.__setattr__(self, name, whole(name, number, least))

    def check(self, base: Config) -> None:
        """Raises InputError where members of `base` cannot be had like this."""
        if base.exact and self.lanes == "vmap":
            raise InputError("lanes vmap: --exact takes members one after the other: leave --lanes out")


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


def _parsed(name: str) -> dict[str, Any]:
    def number(axis: str, part: str) -> Any:
        try:
            return part if axis in axes.OF_FILES or math.isnan(float(part)) else float(part)
        except ValueError:
            return part

    pairs = (part.partition("=") for part in axes.BETWEEN.split(name))
    parts = ((axis.strip().replace("-", "_"), value.strip()) for axis, _, value in pairs)
    return {axis: number(axis, value) for axis, value in parts}


def _renamed(name: str, values: Mapping[str, Any]) -> str:
    """A member's name, with other values of some axes."""
    pairs = (part.partition("=") for part in axes.BETWEEN.split(name))
    return ",".join(f"{axis}={axes.shown(values[axis]) if axis in values else value}" for axis, _, value in pairs)
