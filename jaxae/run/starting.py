"""The run whose parameters another begins with."""

import dataclasses
from typing import Any

from jaxae.checkpoint import Checkpoints
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.files import read_json
from jaxae.folder import RunFolder, SweepFolder
from jaxae.progress import Progress
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
    folder = RunFolder(path)
    if SweepFolder(path).exists():
        member = SweepFolder(path).listed()[0].name
        raise InputError(f"{path} holds a sweep: expected a run, such as {SweepFolder(path).member(member).path}")
    if not folder.config_file.is_file():
        raise InputError(f"{path}: no run here (no config.json)")
    patient = read_json(folder.config_file).get("patience") is not None
    with Checkpoints(folder.checkpoints, write=False) as checkpoints:
        step = (checkpoints.best_step() if patient else None) or checkpoints.latest_step()
        if step is None:
            raise InputError(f"{path}: no checkpoint yet")
        found = checkpoints.restore(checkpoints.leaves(step), step)
    assert found is not None
    whole: dict[str, Any] = found.state
    arrays = {name.removeprefix("variables/"): leaf for name, leaf in whole.items() if name.startswith("variables/")}
    kept = {name: leaf for name, leaf in whole.items() if name.startswith("opt_state/") and AVERAGE in name}
    averages = {name.partition(AVERAGE)[2]: leaf for name, leaf in kept.items()}
    arrays |= {f"params/{name}": leaf for name, leaf in averages.items() if f"params/{name}" in arrays}
    return Start(arrays, {"run": path, "step": step, "digest": digest(arrays)})
