"""Run folders and sweeps to one tidy table, a row a run."""

import hashlib
import json
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas

from jaxae import schedules
from jaxae.compare import words
from jaxae.compare.columns import columns
from jaxae.compare.varied import APART, has, varied
from jaxae.config import Config
from jaxae.errors import InputError, known
from jaxae.evaluate.measures import code_of
from jaxae.folder import RunFolder, SweepFolder
from jaxae.names import OF_NETWORKS, SPLITS
from jaxae.plan import Member

FINISHED, EARLY, DIVERGED = "finished", "stopped early", "diverged"
UNTRAINED, UNEVALUATED, WITHOUT = "not trained", "not evaluated", "without the measure"
MISSING = (UNTRAINED, UNEVALUATED, WITHOUT)
NOT_FINITE = "not finite"
LEFT_OUT = (DIVERGED, NOT_FINITE, *MISSING)
SHOWN = 12  # digits of a SHA-256


class Run(NamedTuple):
    """What the files of one run say. `config`: what decides its result, hyperparameters among the fields; of the
    user's own files the SHA-256, and of the run that it began with the digest, cut short."""

    path: Path
    member: str
    config: dict[str, Any]
    outcome: str
    step: int | None
    measures: dict[str, Any]
    data: str | None


def table(
    paths: str | os.PathLike | Iterable[str | os.PathLike], split: str = "test", where: Mapping[str, Any] = {}
) -> pandas.DataFrame:
    """One row for each run in `paths`, which are folders of runs or of sweeps; a sweep has a row for every member.

    Columns: run (its path), member, seed; every config field and hyperparameter in which the runs differ; outcome
    (finished, stopped early, diverged; of a sweep's members also: not trained, not evaluated), step, data_sha256, and
    setting_sha256, of what decides the result beside seed and data, by which joined tables are found out; then what was
    measured of the `split`; a measure of the name of another column is measured_NAME. There are none of a step before
    the run's last. `where`: only the runs that have all those settings, {"data": "mnist"}.
    `jaxae.compare.compare` takes this table, or any rows of it; further columns are further measures.
    """
    runs = _having(where, read(paths, split))
    for run in runs:
        _must_be_evaluated(run, split)
    fields = varied([run.config for run in runs])
    frame = pandas.DataFrame([_row(run, among) for run, among in zip(runs, fields, strict=True)])
    frame = frame.astype({"step": "Int64"})
    frame.attrs |= {"split": split, "settings": list(fields[0])}
    for name in fields[0]:
        values = [among[name] for among in fields]
        one = next(iter(kinds)) if len(kinds := set(map(type, values))) == 1 else object
        frame[name] = pandas.Series(values, dtype=one if one in (int, float) else object)  # 8 stays 8 beside a None
    return frame


def _having(where: Mapping[str, Any], runs: list[Run]) -> list[Run]:
    """Raises InputError where none has the settings."""
    if not isinstance(where, Mapping):
        raise InputError(f'where {where!r}: expected settings by their names, such as {{"data": "mnist"}}')
    names = {name for run in runs for name in run.config}
    for name, value in ((name.replace("-", "_"), value) for name, value in where.items()):
        known("setting of where", name, names)
        kept = [run for run in runs if has(run.config, name, str(value))]
        if not kept:
            there = dict.fromkeys(words.value(run.config[name]) for run in runs if name in run.config)
            raise InputError(f"where {name}={value}: no run has it: expected one of {', '.join(there)}")
        runs = kept
    return runs


def _row(run: Run, among: dict[str, Any]) -> dict[str, Any]:
    row = {"run": str(run.path), "member": run.member, "seed": run.config["seed"], **among}
    row |= {"outcome": run.outcome, "step": run.step, "data_sha256": run.data}
    row["setting_sha256"] = _sha256(
        {k: words.value(v) for k, v in run.config.items() if k not in ("seed", *APART) and v is not None}
    )
    taken = {*row, *map(code_of, row)}  # a measure's code is called as the measure is
    return row | {f"measured_{name}" if name in taken else name: value for name, value in run.measures.items()}


def read(paths: str | os.PathLike | Iterable[str | os.PathLike], split: str = "test") -> list[Run]:
    """Every run in `paths`, in the order given; a sweep's members in its own order."""
    known("split", split, SPLITS)
    each = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if strange := [path for path in each if not isinstance(path, str | os.PathLike)]:
        raise InputError(f"a {type(strange[0]).__name__} among the paths: expected folders of runs or sweeps")
    if not each:
        raise InputError("no runs given: expected folders of runs or sweeps")
    runs = [run for path in each for run in _found(path, split)]
    seen: set[Path] = set()
    for run in runs:
        if (place := run.path.resolve()) in seen:
            raise InputError(f"{run.path} is given twice: expected each run once")
        seen.add(place)
    return runs


def _found(path: str | os.PathLike, split: str) -> list[Run]:
    sweep, folder = SweepFolder(path), RunFolder(path)
    if sweep.exists():
        return _members(sweep, split)
    return [_run(folder, folder.path.name, split)]


def _must_be_evaluated(run: Run, split: str) -> None:
    """Raises InputError for a run alone that is not: of a sweep's members some may be missing."""
    if run.outcome == UNEVALUATED and RunFolder(run.path).sweep_path() is None:
        of, flag = ("", "") if split == "test" else (f" on {split}", f" --split {split}")
        raise InputError(
            f"{run.path}: not evaluated yet{of}: `jaxae evaluate {shlex.quote(str(run.path))}{flag}` does it, once "
            f"training has come to its end (steps={run.config['steps']})"
        )


def _members(folder: SweepFolder, split: str) -> list[Run]:
    places = [(member, folder.member(member.name)) for member in folder.listed()]
    starts = [place.record().get("start") for member, place in places if member.config.start is not None]
    begun = {facts["run"]: facts for facts in starts if facts}
    return [
        _run(place, member.name, split) if place.config_file.is_file() else _untrained(place, member, begun)
        for member, place in places
    ]


def _untrained(place: RunFolder, member: Member, begun: dict[str, Any]) -> Run:
    """A member without a folder yet; `begun` tells of the runs that its siblings began with."""
    start = {"start": begun[member.config.start]} if member.config.start in begun else {}
    deciding = _deciding(member.config, member.config.code() | start)
    return Run(place.path, member.name, deciding, UNTRAINED, None, {}, None)


def _run(folder: RunFolder, member: str, split: str) -> Run:
    config, record, said = folder.config(), folder.record(), folder.outcome() or {}
    found = folder.evaluation(split) if said.get("outcome") != DIVERGED else {}
    measures = {} if _too_early(found.get("step"), config, record, "outcome" in said) else columns(found)
    outcome = said.get("outcome", FINISHED) if measures or said.get("outcome") == DIVERGED else UNEVALUATED
    measures |= {"nats_of": record["nats_of"]} if measures and "nats_of" in record else {}
    step = measures.pop("step", said.get("step"))
    data = record.get("data", {}).get("sha256")
    return Run(folder.path, member, _deciding(config, record), outcome, step, measures, data)


def _too_early(step: int | None, config: Config, record: dict[str, Any], ended: bool) -> bool:
    """Whether measures of `step` are of a run that has not come to its end, or was made longer since. One that may stop
    early is measured at its best step, wherever that is: only its outcome tells."""
    examples = record.get("data", {}).get("sizes", {}).get("train")
    if step is None or examples is None:
        return False
    if config.patience is not None:
        return not ended
    return step < schedules.duration(config.steps, None, examples / config.batch_size)


def _deciding(config: Config, record: dict[str, Any]) -> dict[str, Any]:
    """What decides a run's result, with the seed of its order of the data even where that is the run's own; of the
    user's own files the SHA-256 that `record` has, of the run that it began with the digest, or where each seed has
    its own that of how these were made; modules of the user's own in place of the network's settings."""
    told = {name: value[:SHOWN] for name, value in record.items() if name.endswith("_sha256")}
    start = record.get("start", {})
    told |= {"start_digest": (start.get("made_as") or start["digest"])[:SHOWN]} if start else {}
    found = {"start": "none", "start_digest": "none"} | flat(config.result()) | {"order_seed": config.order_seed} | told
    if (modules := record.get("modules")) is None:
        return found
    names = " and ".join(modules[part].partition("(")[0] for part in ("encoder", "decoder"))
    own = {name: value for name, value in modules.items() if name != "parameters"}  # of which the method decides some
    own = own if modules.get("what they compute") else modules
    kept = {name: value for name, value in found.items() if name not in OF_NETWORKS}
    return kept | {"network": f"{names} {_sha256(own)[:SHOWN]}", "likelihood": modules["likelihood"]}


def _sha256(of: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()


def flat(config: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters among the fields, behind the method that they belong to; schedules spelled in one way."""
    fields: dict[str, Any] = {}
    for name, value in config.items():
        fields |= value if name == "hyperparameters" else {name: value}
    return {name: schedules.spelled(value) if isinstance(value, str) else value for name, value in fields.items()}
