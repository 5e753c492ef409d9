"""The run whose parameters another begins with: named alone, or the one of its own seed among a sweep's."""

import contextlib
import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax

from jaxae.checkpoint import Checkpoints
from jaxae.config import Config
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.files import read_json
from jaxae.folder import RunFolder, SweepFolder
from jaxae.plan import Member
from jaxae.progress import Progress
from jaxae.run.loading import chosen, nothing_kept, tell_if_earlier
from jaxae.setup import Setup
from jaxae.start import Start, whose

AVERAGE = "/average/"  # in the names of averaged weights: see `jaxae.optim.AverageState`


def begin_with(
    setup: Setup,
    kept: dict[str, Any] | None = None,
    needed: bool = True,
    progress: Progress | None = None,
    read: "Callable[[str], Starts] | None" = None,
) -> Setup:
    """`setup` with the parameters of the run that its config begins with, if any. `kept`: what record.json tells of
    them already; where training goes on they are not `needed`. `read`: gives what `Starts` does, maybe read before.
    Raises InputError for a run that cannot be read, has other parameters than those that are kept, or does not fit."""
    path = setup.config.start
    if path is None:
        return setup
    try:
        start = (read or Starts)(path).of(setup.config)
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


class Starts:
    """The run in a folder, or those of the sweep there, for others to begin with: what they are measured with, of the
    best step where they may stop early, else the last; averaged, where their optimisers keep them so. No data is asked
    for, nor a run's code; what a sweep names of the user's own must be allowed."""

    def __init__(self, path: str):
        self.path, self.sweep = path, SweepFolder(path)
        self.alone = None if self.sweep.exists() else _measured(path)
        self.axes, self.listed = ([], []) if self.alone else (list(self.sweep.plan().axes), self.sweep.listed())

    def of(self, config: Config) -> Start:
        """Of a sweep, those of the run that has the seed of `config`, and where several have it, its values of what
        they differ in. Raises InputError where that is not one."""
        if self.alone is not None:
            return self.alone
        member = self._chosen(config)
        run = self.sweep.member(member.name)
        if run.outcome() is None:
            raise InputError(f"{run.path}: not trained to its end: `jaxae sweep --run {self.path}` goes on with it")
        start = _measured(run.path)
        if read_json(run.config_file).get("steps") != member.config.steps:
            raise InputError(f"{run.path}: made longer than its sweep's others: expected it as they are")
        facts = {"run": self.path, "member": member.name, "made_as": self.sweep.made_as()}
        return Start(start.arrays, start.facts | facts)

    def _chosen(self, config: Config) -> Member:
        of_seed = [member for member in self.listed if member.config.seed == config.seed]
        each, mine = [_values(member.config) for member in of_seed], _values(config)
        apart = [axis for axis in self.axes if axis in mine and len({repr(of.get(axis)) for of in each}) > 1]
        wanted = {axis: mine[axis] for axis in apart if axis != "start"}
        there = [m for m, of in zip(of_seed, each) if all(of.get(axis) == value for axis, value in wanted.items())]
        if len(there) > 1:  # files of one name
            there = [member for member in there if _files(member.config) == _files(config)] or there
        if len(there) == 1:
            return there[0]
        said = ", ".join(f"{name}={value}" for name, value in {"seed": config.seed, **wanted}.items())
        such = self.sweep.member((there or of_seed or self.listed)[0].name).path
        raise InputError(
            f"{self.path} holds a sweep, with {len(there) or 'no'} member{'s' * (len(there) != 1)} of {said}: "
            f"expected one, or the folder of a run, such as {such}"
        )


def _values(config: Config) -> dict[str, Any]:
    """What may decide its result, with the hyperparameters among the fields."""
    found = {name: value for name, value in config.result().items() if name != "seed"}
    return {**found, **found.pop("hyperparameters")}


def _files(config: Config) -> dict[str, str]:
    """The whole paths of what `_values` tells by its name."""
    return {**config.own_functions(), "data": config.data}


def _measured(path: str | os.PathLike) -> Start:
    folder = RunFolder(path)
    if not folder.config_file.is_file():
        raise InputError(f"{path}: no run here (no config.json)")
    with Checkpoints(folder.checkpoints, warn=Progress().warn, write=False) as checkpoints:
        ranked = checkpoints.best_step() is not None
    return variables_in(folder, "auto" if ranked else "last")


def variables_in(folder: RunFolder, checkpoint: str = "auto") -> Start:
    """The variables that a run is measured with, as its checkpoint alone tells; `checkpoint` as in `run.load`."""
    patient = read_json(folder.config_file).get("patience") is not None
    with Checkpoints(folder.checkpoints, warn=Progress().warn, write=False) as checkpoints:
        step = chosen(folder, checkpoints, checkpoint, patient)
        found = checkpoints.restore(_leaves(checkpoints, step), step) if checkpoints.steps() else None
    if found is None:
        raise nothing_kept(folder)
    tell_if_earlier(folder, found.step, step)
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
