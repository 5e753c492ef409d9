"""The run whose parameters another begins with: named alone, or the one of its own seed among a sweep's."""

import contextlib
import dataclasses
import hashlib
import json
from typing import Any

import jax

from jaxae.checkpoint import Checkpoints
from jaxae.config import Config
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.files import read_json
from jaxae.folder import RunFolder, SweepFolder
from jaxae.progress import Progress
from jaxae.run.loading import chosen, nothing_kept
from jaxae.setup import Setup
from jaxae.start import Start, whose

AVERAGE = "/average/"  # in the names of averaged weights: see `jaxae.optim.AverageState`


def begin_with(
    setup: Setup, kept: dict[str, Any] | None = None, needed: bool = True, progress: Progress | None = None
) -> Setup:
    """`setup` with the parameters of the run that its config begins with, if any. `kept`: what record.json tells of
    them already; where training goes on they are not `needed`. Raises InputError for a run that cannot be read, has
    other parameters than those that are kept, or does not fit."""
    path = setup.config.start
    if path is None:
        return setup
    try:
        start = read(path, setup.config)
    except InputError as error:
        if kept and not needed and kept["run"] == path:
            return dataclasses.replace(setup, start=Start(None, kept))
        raise InputError(f"start: {error}") from None
    if kept and kept["digest"] != start.facts["digest"]:
        if not needed and kept["run"] == path:
            if progress:
                progress.warn(
                    f"{path} has other parameters than this run began with: another --run would begin with them"
                )
            return dataclasses.replace(setup, start=Start(None, kept))
        raise InputError(
            f"start: {path} has other parameters than this run began with: expected them as they were, or another --run"
        )
    start.check(setup.shapes().variables)
    if progress and needed:
        progress.say(f"begins with the parameters of {whose(start.facts)} at step {start.facts['step']:,}")
    return dataclasses.replace(setup, start=start)


def read(path: str, config: Config) -> Start:
    """The variables that the run in `path` is measured with: of its best step where it may stop early, else its last;
    averaged, where its optimiser keeps them so. Neither its data nor its code is asked for. Of a sweep, the run that
    has the seed of `config`, and where several have it, its values of what they differ in."""
    if SweepFolder(path).exists():
        return _of_sweep(SweepFolder(path), config)
    if not RunFolder(path).config_file.is_file():
        raise InputError(f"{path}: no run here (no config.json)")
    return _measured(RunFolder(path))


def _measured(folder: RunFolder) -> Start:
    with Checkpoints(folder.checkpoints, warn=Progress().warn, write=False) as checkpoints:
        ranked = checkpoints.best_step() is not None
    return variables_in(folder, "auto" if ranked else "last")


def _of_sweep(folder: SweepFolder, config: Config) -> Start:
    listed, plan = folder.listed(), folder.plan()
    of_seed = [member for member in listed if member.config.seed == config.seed]
    axes = [axis for axis, values in plan.axes.items() if len(values) > 1 or axis not in plan.grid]
    axes = axes if len(of_seed) > 1 else []
    wanted = {"seed": config.seed, **{axis: value for axis in axes if (value := _value(config, axis)) is not None}}
    members = [m.name for m in of_seed if all(_value(m.config, name) == value for name, value in wanted.items())]
    if len(members) != 1:
        said = ", ".join(f"{name}={value}" for name, value in wanted.items())
        other = next(iter(members or [member.name for member in of_seed or listed]))
        raise InputError(
            f"{folder.path} holds a sweep, with {len(members) or 'no'} member{'s' * (len(members) != 1)} of {said}: "
            f"expected one, or the folder of a run, such as {folder.member(other).path}"
        )
    (name,) = members
    run = folder.member(name)
    if run.outcome() is None:
        raise InputError(f"{run.path}: not trained to its end: `jaxae sweep --run {folder.path}` goes on with it")
    start = _measured(run)
    facts = {"run": str(folder.path), "member": name, "made_as": _made_as(run, axes)}
    return Start(start.arrays, start.facts | facts)


def _value(config: Config, name: str) -> Any:
    """Of a field or a hyperparameter; None where it has none."""
    whole = config.resolved()
    return {**whole.to_dict(), **whole.hyperparameters}.get(name)


def _made_as(folder: RunFolder, matched: list[str]) -> str:
    """A digest of how a run was made, but for its seed and what else it was chosen by: the same for each seed's."""
    record = folder.record()
    decided = dict(record.get("resolved", {}))
    weights = {name: value for name, value in decided.pop("hyperparameters", {}).items() if name not in matched}
    decided = {name: value for name, value in decided.items() if name not in (*matched, "seed", "order_seed")}
    files = {name: value for name, value in record.items() if name.endswith("_sha256")}
    files["data"] = record.get("data", {}).get("sha256")
    begun = record.get("start", {})
    whole = {**decided, **weights, **files, "start": begun.get("made_as", begun.get("digest"))}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def variables_in(folder: RunFolder, checkpoint: str = "auto") -> Start:
    """The variables that a run is measured with, as its checkpoint alone tells; `checkpoint` as in `run.load`."""
    patient = read_json(folder.config_file).get("patience") is not None
    with Checkpoints(folder.checkpoints, warn=Progress().warn, write=False) as checkpoints:
        step = chosen(folder, checkpoints, checkpoint, patient)
        found = checkpoints.restore(_leaves(checkpoints, step), step) if checkpoints.steps() else None
    if found is None:
        raise nothing_kept(folder)
    whole: dict[str, Any] = found.state
    arrays = {name.removeprefix("variables/"): leaf for name, leaf in whole.items() if name.startswith("variables/")}
    kept = {name: leaf for name, leaf in whole.items() if name.startswith("opt_state/") and AVERAGE in name}
    averages = {name.partition(AVERAGE)[2]: leaf for name, leaf in kept.items()}
    arrays |= {f"params/{name}": leaf for name, leaf in averages.items() if f"params/{name}" in arrays}
    return Start(arrays, {"run": str(folder.path), "step": found.step, "digest": digest(arrays)})


def _leaves(checkpoints: Checkpoints, step: int | None) -> dict[str, jax.ShapeDtypeStruct]:
    """Of that step, or of the newest that tells them."""
    *others, oldest = [step] if step is not None else list(reversed(checkpoints.steps()))
    for tried in others:
        with contextlib.suppress(InputError):  # damaged: `restore` says so
            return checkpoints.leaves(tried)
    return checkpoints.leaves(oldest)
