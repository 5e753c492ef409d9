"""Run folders and sweeps to one tidy table, a row a run."""

import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas

from jaxae.compare.varied import varied
from jaxae.config import Config, from_dict
from jaxae.errors import InputError
from jaxae.evaluate.measures import NOT_NUMBERS
from jaxae.folder import RunFolder, member_folder, read_json

FINISHED, EARLY, DIVERGED = "finished", "stopped early", "diverged"
UNTRAINED, UNEVALUATED = "not trained", "not evaluated"
MISSING = (UNTRAINED, UNEVALUATED)


class Run(NamedTuple):
    """What the files of one run say. `config`: what decides its result, hyperparameters among the fields."""

    path: Path
    member: str
    config: dict[str, Any]
    outcome: str
    step: int | None
    measures: dict[str, Any]
    data: str | None


def table(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> pandas.DataFrame:
    """One row for each run in `paths`, which are folders of runs or of sweeps; a sweep has a row for every member.

    Columns: run (its path), member, seed; every config field and hyperparameter in which the runs differ; outcome
    (finished, stopped early, diverged; of a sweep's members also: not trained, not evaluated), step, data_sha256; then
    what evaluation.json holds. `jaxae.compare.compare` takes this table, or any rows of it.
    """
    runs = read(paths)
    fields = varied([run.config for run in runs])
    rows = [
        {"run": str(run.path), "member": run.member, "seed": run.config["seed"]}
        | own
        | {"outcome": run.outcome, "step": run.step, "data_sha256": run.data}
        | run.measures
        for run, own in zip(runs, fields, strict=True)
    ]
    frame = pandas.DataFrame(rows).astype({"step": "Int64"})
    for name in fields[0]:
        frame[name] = pandas.Series([own[name] for own in fields], dtype=object)  # 8 stays 8 beside a run without
    return frame


def read(paths: str | os.PathLike | Iterable[str | os.PathLike]) -> list[Run]:
    """Every run in `paths`, in the order given; a sweep's members in its own order."""
    each = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not each:
        raise InputError("no runs given: expected folders of runs or sweeps")
    runs = [run for path in each for run in _found(Path(path))]
    seen: set[Path] = set()
    for run in runs:
        if (place := run.path.resolve()) in seen:
            raise InputError(f"{run.path} is given twice: expected each run once")
        seen.add(place)
    return runs


def sweep(path: Path) -> dict[str, Any] | None:
    """What the folder's sweep.json says; None where it is no sweep."""
    file = path / "sweep.json"
    if not file.is_file():
        return None
    known = read_json(file)
    members = known.get("members")
    if not isinstance(members, list) or not all(isinstance(name, str) for name in members) or not members:
        raise InputError(f"{file}: members: expected a list of names")
    return known


def _found(path: Path) -> list[Run]:
    known = sweep(path)
    if known is not None:
        return _members(path, known)
    if not (path / "config.json").is_file():
        what = "no such folder" if not path.exists() else "no run and no sweep here (no config.json, no sweep.json)"
        raise InputError(f"{path}: {what}: `jaxae train --run {path}` makes a run")
    run = _run(path, path.name)
    if run.outcome == UNEVALUATED:
        raise InputError(f"{path}: not evaluated yet: `jaxae evaluate {path}` does it")
    return [run]


def _members(path: Path, known: dict[str, Any]) -> list[Run]:
    """A member without a folder yet is known by its name and by what the sweep's members share."""
    names: list[str] = known["members"]
    places = {name: member_folder(path, name) for name in names}
    there = {name: _run(place, name) for name, place in places.items() if (place / "config.json").is_file()}
    if "base" in known:
        shared = _deciding(from_dict(known["base"], str(path / "sweep.json")))
    elif there:
        shared = next(iter(there.values())).config
    else:
        raise InputError(f"{path}: none of its {len(names)} members has been trained: expected at least one")
    order = {} if known.get("shared_batches") else {"order_seed": None}
    return [there.get(name) or Run(places[name], name, shared | order | _named(name, path), UNTRAINED, None, {}, None)
            for name in names]  # fmt: skip


def _run(path: Path, member: str) -> Run:
    folder = RunFolder(path)
    said = _optional(path / "outcome.json")
    measures = _optional(folder.evaluation_file) if said.get("outcome") != DIVERGED else {}
    settings = measures.get("settings", {})
    space, annealing = settings.get("samples", {}).get("feature_space"), settings.get("ais")
    measures = {name: value for name, value in measures.items() if name not in NOT_NUMBERS}
    measures |= {"feature_space": space} if space else {}
    if annealing:
        measures["annealing"] = ", ".join(f"{value} {name}" for name, value in annealing.items())
    outcome = said.get("outcome", FINISHED) if measures or said.get("outcome") == DIVERGED else UNEVALUATED
    data = _optional(folder.record_file).get("data") or {}
    step = measures.pop("step", said.get("step"))
    return Run(path, member, _deciding(folder.config()), outcome, step, measures, data.get("sha256"))


def _optional(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}


def _deciding(config: Config) -> dict[str, Any]:
    """What decides a run's result, with the seed of its order of the data even where that is the run's own."""
    return flat(config.result()) | {"order_seed": config.order_seed}


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters among the fields, behind the method that they belong to."""
    fields: dict[str, Any] = {}
    for name, value in config.items():
        fields |= value if name == "hyperparameters" else {name: value}
    return fields


def _named(name: str, path: Path) -> dict[str, Any]:
    """{"seed": 3, "beta": 4} of "seed=3,beta=4"."""
    parts = [part.partition("=") for part in re.split(r",(?=\w+=)", name)]
    values = {key: _number(value) for key, _, value in parts}
    if not isinstance(values.get("seed"), int):
        raise InputError(f"{path}: member {name!r}: expected a name such as 'seed=0,beta=1'")
    return values


def _number(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
