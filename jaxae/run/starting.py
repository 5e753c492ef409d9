"""The run whose parameters another begins with."""

import contextlib
import dataclasses
from typing import Any

import jax

from jaxae.checkpoint import Checkpoints
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.files import read_json
from jaxae.folder import RunFolder, SweepFolder
from jaxae.progress import Progress
from jaxae.run.loading import chosen, nothing_kept
from jaxae.setup import Setup
from jaxae.start import Start

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
        start = read(path)
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
        progress.say(f"begins with the parameters of {path} at step {start.facts['step']:,}")
    return dataclasses.replace(setup, start=start)


def read(path: str) -> Start:
    """The variables that the run in `path` is measured with: of its best step where it may stop early, else its last;
    averaged, where its optimiser keeps them so. Neither its data nor its code is asked for."""
    if SweepFolder(path).exists():
        member = SweepFolder(path).listed()[0].name
        raise InputError(f"{path} holds a sweep: expected a run, such as {SweepFolder(path).member(member).path}")
    if not RunFolder(path).config_file.is_file():
        raise InputError(f"{path}: no run here (no config.json)")
    with Checkpoints(RunFolder(path).checkpoints, warn=Progress().warn, write=False) as checkpoints:
        ranked = checkpoints.best_step() is not None
    return variables_in(RunFolder(path), "auto" if ranked else "last")


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
