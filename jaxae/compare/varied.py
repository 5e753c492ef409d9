"""Settings: what is left of the runs' configs when the seed, and what all have in common, is taken away."""

import numbers
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeGuard

import pandas

from jaxae.axes import BETWEEN
from jaxae.compare import words
from jaxae.compare.words import NONE
from jaxae.errors import InputError, unknown
from jaxae.schedules import spelled

DIGESTS = {
    "start_digest": "start", "method_sha256": "method", "network_sha256": "network",
    "likelihood_sha256": "likelihood", "optimizer_sha256": "optimizer",
}  # fmt: skip
"""Of what a field names: the user's own files and runs."""
APART = ("order_seed", "test", "size")
"""Fields in which runs of one setting may differ: the order of the data may be told in two ways, and what `test` and
`size` decide the digest of the data tells."""
OWN = "of the seed"  # an order of the data that follows the run's own seed


class Group(NamedTuple):
    """A setting and the rows of the table that have it."""

    label: str
    values: dict[str, Any]
    rows: pandas.DataFrame


def varied(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each config the fields in which they differ, with None where a run has no such field.

    A hyperparameter of one method only does not tell its runs apart, so it counts where runs that have it differ.
    """
    settings = [{name: value for name, value in config.items() if name != "seed"} for config in configs]
    for setting, order in zip(settings, _orders(configs)):
        setting["order_seed"] = order
    names = dict.fromkeys(name for setting in settings for name in setting)
    differing = [name for name in names if len({_alike(s[name]) for s in settings if name in s}) > 1]
    differing = [name for name in differing if name not in DIGESTS or not _told(settings, DIGESTS[name], name)]
    return [{name: setting.get(name) for name in differing} for setting in settings]


def _told(settings: Sequence[Mapping[str, Any]], name: str, digest: str) -> bool:
    """Whether those of one name have one digest, so that the name alone tells them apart."""
    both = {(_alike(setting.get(name)), setting.get(digest)) for setting in settings}
    return len(both) == len({name for name, _ in both})


def _orders(configs: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The order of each run's data: of its own seed, or of another that several runs share."""
    asked = [(config.get("order_seed"), config["seed"]) for config in configs]
    shared = {order for order, seed in asked if order not in (None, seed)}
    if len(shared) != 1:
        return [OWN if order in (None, seed) else order for order, seed in asked]
    (one,) = shared  # the order of a run whose own seed it is may be called either: as the others, where all may be
    mixed = any(order in (None, seed) and seed != one for order, seed in asked)
    return [one if order == one or (seed == one and not mixed) else OWN for order, seed in asked]


def _alike(value: Any) -> str:
    """4 and 4.0 alike."""
    return words.value(value) if value is not None else ""


def fields(frame: pandas.DataFrame) -> list[str]:
    """The columns of a table that make a setting: those that `table` says, or where they have other names those between
    seed and outcome. Raises InputError where one is gone."""
    names, told = list(frame.columns), frame.attrs.get("settings", [])
    lost = [name for name in ("run", "seed", "outcome") if name not in names]
    between = [] if lost else names[names.index("seed") + 1 : names.index("outcome")]
    renamed = [name for name in told if name not in names]
    if lost := lost or renamed[: len(told) - len(between)]:
        raise InputError(f"the table has no column {lost[0]!r}: expected all those that jaxae.compare.table gives")
    return between if renamed or not told else told


def groups(frame: pandas.DataFrame) -> list[Group]:
    """The settings: in the order of their values where these are all numbers, else in that of the table."""
    names = fields(frame)
    found: dict[str, list[int]] = {}
    of: dict[str, dict[str, Any]] = {}
    for place, row in enumerate(frame[names].to_numpy(object)):  # with no names, too, each run is a row
        values = {name: value for name, value in zip(names, row) if not pandas.isna(value)}
        label = words.setting(values)
        found.setdefault(label, []).append(place)
        of.setdefault(label, values)
    whole = {label: _beside(values, of.values(), names) for label, values in of.items()}
    made = [Group(words.setting(whole[label]), whole[label], frame.iloc[places]) for label, places in found.items()]
    if all(is_number(group.values.get(name)) for group in made for name in names):
        made.sort(key=lambda group: [group.values[name] for name in names])
    return made


def _beside(values: dict[str, Any], others: Iterable[dict[str, Any]], names: Sequence[str]) -> dict[str, Any]:
    """With None for what settings have that share all the values of this one, and are told from it by that alone."""
    mine = {(name, words.value(value)) for name, value in values.items()}
    more = [other for other in others if mine < {(name, words.value(value)) for name, value in other.items()}]
    return {name: values.get(name) for name in names if name in values or any(name in other for other in more)}


def is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def choose(settings: Sequence[Group], wanted: str | None) -> Group:
    """The setting that `wanted` names, such as "beta=1"; the first where it is None."""
    if wanted is None:
        return settings[0]
    names = sorted({name for group in settings for name in group.values})
    asked = dict(_parts(wanted, names))
    matching = [group for group in settings if all(has(group.values, name, text) for name, text in asked.items())]
    labels = "; ".join(group.label for group in (matching or settings))
    if not matching:
        raise InputError(f"baseline {wanted!r}: no run has it: expected one of: {labels}")
    if len(matching) > 1:
        raise InputError(f"baseline {wanted!r}: {len(matching)} settings have it: expected one of: {labels}")
    return matching[0]


def _parts(wanted: str, names: Sequence[str]) -> Iterator[tuple[str, str]]:
    for part in BETWEEN.split(wanted):
        name, equals, text = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"baseline {wanted!r}: expected a setting such as {names[0] if names else 'beta'}=1")
        if name.replace("-", "_") not in names:
            raise unknown("field of the baseline", name, names)
        yield name.replace("-", "_"), text


def has(values: Mapping[str, Any], name: str, text: str) -> bool:
    """Whether the value of that name is what `text` says."""
    value = values.get(name)
    if value is None:
        return name in values and text.lower() == NONE
    if is_number(value):
        try:
            return float(text) == value
        except ValueError:
            return False
    return spelled(str(value)) == spelled(text)
