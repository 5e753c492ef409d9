"""The groups of measures that `jaxae evaluate --metrics` knows, by name, and all that are asked for as one."""

import dataclasses
import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial, reduce
from typing import Any

from jaxae import own as users
from jaxae.errors import InputError, unknown
from jaxae.evaluate.annealed import annealing
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.decomposition import decomposed
from jaxae.evaluate.disentanglement import disentangled
from jaxae.evaluate.judge import sampled
from jaxae.evaluate.latents import codebook, codes_in_use, probes
from jaxae.evaluate.likelihood import likelihood
from jaxae.evaluate.measures import NOT_FINITE, merged
from jaxae.evaluate.own import own
from jaxae.names import METRICS
from jaxae.values import said

GROUPS: dict[str, Callable[[Bench], Group]] = {
    "likelihood": likelihood,
    "decomposition": decomposed,
    "ais": annealing,
    "latents": codes_in_use,
    "probes": probes,
    "codebook": codebook,
    "disentanglement": disentangled,
    "samples": sampled,
}
"""Each compiles once, whatever the number of models, and raises InputError, before anything is computed, where the
method or the data lack what it needs."""


Parts = Callable[[Sequence[Model]], Iterator[list[dict[str, Any]]]]
"""models -> group by group, as they are measured, one dict a model: its numbers, and its "notes" and "settings" by the
group's name. A number that is not finite is None, and a note names it."""

Track = Callable[[str, Iterable[Any], int], Generator[Any, None, None]]
"""(what is measured, its batches, how many they are) -> these batches, with whoever waits for them told."""


def unseen(what: str, batches: Iterable[Any], total: int) -> Generator[Any, None, None]:
    yield from batches


def measures(names: Sequence[str], bench: Bench, track: Track = unseen) -> Parts:
    """What measures those groups, each compiled once.

    names: of METRICS, or functions of the user's own, "mine.py:sharpness" (`jaxae.evaluate.own`); "all" stands for
    those of METRICS that the method and the data allow, and notes why the others are left out. Raises InputError for a
    name that is unknown, or a group asked for by name that is not possible.
    """
    made: dict[str, Group] = {}
    left_out: dict[str, str] = {}
    taken: list[str] = []
    if strange := [names] if callable(names) else [name for name in names if not isinstance(name, str)]:
        wanted = f"one of all, {', '.join(METRICS)}, or a function of your own as path/to/measures.py:sharpness"
        raise InputError(f"metrics {said(strange[0])}: expected {wanted}")
    theirs = list(filter(users.is_own, names))
    for name in [*METRICS, *theirs] if "all" in names else names:
        of = dataclasses.replace(bench, track=partial(track, users.short(name) if users.is_own(name) else name))
        if users.is_own(name):
            if (title := users.short(name)) in made:
                raise InputError(
                    f"metrics {name}: another file's {title} is among them: rename the function, or the file"
                )
            made[title], found = own(name, of, taken)
            taken += found
            continue
        if name not in METRICS:
            raise unknown("metrics", name, ["all", *METRICS])
        try:
            made[name] = GROUPS[name](of)
        except InputError as error:
            if "all" not in names:
                raise
            left_out[name] = f"not measured: {error}"

    def named(name: str, models: Sequence[Model]) -> list[dict[str, Any]]:
        found = [_finite(part) for part in made[name](models)]
        kinds: dict[str, Any] = {"notes": [], "settings": {}}
        return [part | {kind: {name: part.get(kind, empty)} for kind, empty in kinds.items()} for part in found]

    def parts(models: Sequence[Model]) -> Iterator[list[dict[str, Any]]]:
        ours = [name for name in made if name in METRICS]
        for name in ours:
            yield named(name, models)
        if len(made) > len(ours):  # together: a measure may have moved from one function to another
            each = zip(*(named(name, models) for name in made if name not in METRICS))
            yield [reduce(merged, of_model, {}) for of_model in each]
        if left_out:
            yield [{"notes": {name: [why] for name, why in left_out.items()}, "settings": {}} for _ in models]

    return parts


def _finite(part: dict[str, Any]) -> dict[str, Any]:
    """JSON has no NaN, and a number beside it in a file is lost with it."""

    def is_finite(value: Any) -> bool:
        return all(map(is_finite, value)) if isinstance(value, list) else math.isfinite(value)

    numbers = {name: value for name, value in part.items() if name != "notes" and isinstance(value, float | list)}
    broken = [name for name, value in numbers.items() if not is_finite(value)]
    if not broken:
        return part
    notes = [*part.get("notes", []), f"{NOT_FINITE}{', '.join(broken)}"]
    return part | dict.fromkeys(broken) | {"notes": notes}
