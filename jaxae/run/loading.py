"""A trained run, as it lies in its folder: read it, and what it has logged."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxae import fits, log, names, optim, own
from jaxae.build import build, of_source
from jaxae.checkpoint import Checkpoints, Restored
from jaxae.data.in_memory import split as split_of
from jaxae.data.source import Source
from jaxae.digest import digest
from jaxae.errors import InputError, Unlike
from jaxae.folder import RunFolder, member_path
from jaxae.progress import Progress
from jaxae.setup import Setup
from jaxae.types import Net, TrainState, Variables
from jaxae.values import said

if TYPE_CHECKING:
    import pandas


class Trained(NamedTuple):
    """A run as it lies in its folder, ready to use. `variables` are the ones to evaluate."""

    setup: Setup
    folder: RunFolder
    step: int
    state: TrainState
    variables: Variables

    def __repr__(self) -> str:
        config = self.setup.config
        return f"<{own.short(config.method)} on {self.setup.source.name}, step {self.step:,}: {self.folder.path}>"


def load(
    path: str | Path,
    checkpoint: str | int = "auto",
    *,
    member: str | None = None,
    net: Net | None = None,
    source: Source | None = None,
    setup: Setup | None = None,
) -> Trained:
    """The run in the folder `path`, or that `member` of the sweep there ("seed=2,beta=4"). checkpoint: "last", "best"
    (lowest validation loss), a step, or "auto": the best where the run stops early (it has a patience), else the last.
    `net` and `source` are those that it was trained with, where they are your own; a `source` is also what `data.load`
    reads of files that have moved since. `setup` saves building it anew.
    Nothing that a checkpoint holds is executed."""
    folder = RunFolder(member_path(path, member))
    config = folder.config()
    if setup and (differing := config.difference(setup.config)):
        raise InputError(f"{folder.path} is a run of another setup: {'; '.join(differing.values())}")
    folder.check_code(config, setup.code if setup else None)
    moved = names.is_path(config.data) and not os.path.exists(config.data)
    if source is None and setup is None and moved:
        raise InputError(
            f"{folder.config_file} names the data {config.data}, which is not there: put it back, or write there where "
            "it is now (from Python, source= reads it): its digest is checked"
        )
    setup = setup or build(config if moved else of_source(config, source), net, source)
    if other := folder.other_net(setup.modules):
        if setup.modules is None or "modules" not in folder.record():
            raise Unlike(other)
        Progress().warn(other)  # no more: another version of flax may say the same of itself in other words
    return restored(setup, folder, str(checkpoint))


def restored(setup: Setup, folder: RunFolder, checkpoint: str = "auto") -> Trained:
    """What `load` gives of the folder's run, whose setup is this."""
    with Checkpoints(folder.checkpoints, warn=Progress().warn, write=False) as checkpoints:
        step = chosen(folder, checkpoints, checkpoint, setup.config.patience is not None)
        found = checkpoints.restore(setup.shapes(), step)
    if found is None:
        raise nothing_kept(folder)
    check_data(setup, found)
    tell_if_earlier(folder, found.step, step)
    return Trained(setup, folder, found.step, found.state, optim.evaluated(found.state))


def chosen(folder: RunFolder, checkpoints: Checkpoints, checkpoint: str, patient: bool) -> int | None:
    """The step that `load` means by a checkpoint, of a run that is `patient` or not; None: the last whole one."""
    if checkpoint not in ("auto", "last", "best") and not checkpoint.isdecimal():
        raise InputError(f"checkpoint {checkpoint!r}: expected last, best or the number of a step")
    if checkpoint.isdecimal():
        return int(checkpoint)
    if checkpoint == "last" or (checkpoint == "auto" and not patient):
        return None
    step = checkpoints.best_step()
    if step is None and checkpoints.steps():
        raise InputError(
            f"checkpoint best: {folder.path} has none: no validation ranked one, or it is a member of a sweep without "
            "--patience, which keeps its last alone: choose last"
        )
    return step


def tell_if_earlier(folder: RunFolder, step: int, asked: int | None) -> None:
    """Warns where the step that a run ended with was wanted, and is not there any more."""
    outcome = folder.outcome() or {}
    if asked is None and outcome.get("outcome") == "finished" and outcome["step"] > step:
        Progress().warn(
            f"{folder.path}: step {outcome['step']:,}, with which it ended, is not there: this is step {step:,}"
        )


def nothing_kept(folder: RunFolder) -> InputError:
    """Why no checkpoint is there."""
    outcome = folder.outcome() or {}
    if outcome.get("outcome") == "diverged":
        why = f"it diverged at step {outcome['step']:,}: {outcome['why']}: nothing was kept"
        return InputError(f"{folder.path}: {why}")
    return InputError(f"{folder.path}: no checkpoint yet: {folder.made_by()} makes one")


def a_run(trained: Any) -> Trained:
    """Raises InputError where it is no run that was read."""
    if not isinstance(trained, Trained):
        raise InputError(f"{said(trained)}: expected a run, which run.load gives")
    return trained


def on(trained: Trained, x: np.ndarray, y: np.ndarray | None = None) -> Trained:
    """The same run, with other images in place of its test split: what `evaluate_run`, `scores` and `jaxae.artifacts`
    make of it is of them. x: [n, height, width] or [n, height, width, channels], as the run's data; y: labels [n].
    Their measures are not kept in the run's folder."""
    source = a_run(trained).setup.source
    other = dataclasses.replace(source, test=split_of(source, x, y))
    setup = dataclasses.replace(trained.setup, source=other)
    if setup.method.given is not None:
        fits.check_labels(setup)
    return trained._replace(setup=setup)


def of(setup: Setup, state: TrainState, path: str | Path = "by-hand") -> Trained:
    """What a loop of your own has trained of a setup (`jaxae.build.build`), as `load` would give it: to measure, sample
    and draw. `path`: of a folder that need not be there; nothing is read from it, and a report or a sampler's fit go to
    it."""
    if not isinstance(setup, Setup) or not isinstance(state, TrainState) or np.ndim(state.step):
        raise InputError(
            "expected what build(config) gives, and the state of one run: of several stacked, one at a time"
        )
    return Trained(setup, RunFolder(path, by_hand=True), int(state.step), state, optim.evaluated(state))


def is_of_its_data(trained: Trained) -> bool:
    """Whether it has the data that its folder's record tells of: not after `on`."""
    mine = trained.setup.source.digest
    return trained.folder.record().get("data", {}).get("sha256", mine) == mine


def history(run: Trained | str | Path, *, member: str | None = None) -> "pandas.DataFrame":
    """What metrics.jsonl tells, a row a step: training means since the row before, and validation_* where it was. Of
    the run in a folder, or of that `member` of the sweep there."""
    import pandas

    if isinstance(run, Trained):
        folder = run.folder
    else:
        folder = RunFolder(member_path(run, member))
        folder.config()  # there is a run
    rows = pandas.DataFrame(log.read(folder.metrics_file), columns=None)
    return rows.groupby("step").first().reset_index() if len(rows) else rows


def check_data(setup: Setup, found: Restored) -> None:
    """Raises InputError unless the data is what the run has read so far."""
    if found.meta["data"] != setup.source.digest:
        raise Unlike(
            f"{setup.source.name} has changed since step {found.step} of this run, and its digest differs: "
            "expected the data as it was, or another --run for other data"
        )


def final_digest(trained: Trained) -> str:
    """SHA-256 over what is measured of the loaded step, its parameters (averaged, where they are) and what the loss
    updates beside them, such as a codebook: the line two people compare."""
    return digest(a_run(trained).variables)
