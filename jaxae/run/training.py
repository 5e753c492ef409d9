"""Train a run in its folder, or resume it there."""

import contextlib
import math
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxae import files, fits, hosts, memory, methods, signals
from jaxae import record as records
from jaxae.build import build, of_net, of_source
from jaxae.checkpoint import Checkpoints
from jaxae.config import Config
from jaxae.data.source import Source
from jaxae.errors import Diverged, InputError, Interrupted
from jaxae.folder import RunFolder
from jaxae.lane import Lane, Watch
from jaxae.log import Log, NoLog, OnRow, check_on_row, import_wandb
from jaxae.loop import Loop
from jaxae.parallel import Layout, make_mesh
from jaxae.programs import make_programs
from jaxae.progress import Progress
from jaxae.run.loading import Trained, check_data, restored
from jaxae.run.starting import begin_with
from jaxae.setup import Setup
from jaxae.types import Net, TrainState
from jaxae.values import said


def train(
    config: Config,
    path: str | Path | None = None,
    *,
    net: Net | None = None,
    source: Source | None = None,
    progress: Progress | None = None,
    on_row: OnRow | None = None,
) -> Trained:
    """Trains `config` in the folder `path`, or resumes it there, to its end; then returns the trained run.

    The result is a function of the config alone: not of where it was cut off, nor of any cadence. `net` is for your
    own linen modules, `source` for your own arrays (`jaxae.data.arrays`): such a run is read from Python alone, with
    the same. `on_row` is called with each row of the log, {"step": 100, "loss": ...} or, of a validation,
    {"step": 100, "validation_loss": ...}: what it raises ends the training, which goes on from the last checkpoint when
    asked again. Of several processes (`jaxae.join`) all call this, and
    process 0 alone touches the folder. Raises InputError, Diverged (a loss that is not finite) or Interrupted (SIGINT,
    SIGTERM: saved).
    """
    if not isinstance(config, Config):
        raise InputError(f"config {said(config)}: expected a jaxae.Config, such as Config(steps=300)")
    check_on_row(on_row)
    config.allow_own()
    config = of_source(of_net(config, net), source)
    name = methods.entry(config.method).name
    folder = RunFolder(path or Path("runs") / f"{Path(config.data).name}-{name}-{config.identity()}")
    hosts.first(lambda: folder.check(config))
    if config.wandb:
        import_wandb(config.wandb)
    setup = build(config, net, source)
    if hosts.count() > 1:
        hosts.must_agree(_decides(config, setup))
    _must_fit(setup)
    layout = layout_of(setup.config)
    progress = progress or Progress(quiet=True)
    for doubt in fits.doubts(config, setup):
        hosts.first(partial(progress.warn, doubt))
    kept, needed = hosts.first(folder.record).get("start"), not _saved(folder)
    setup = begin_with(setup, kept, needed, progress)
    record = records.made(config, folder.path, setup)
    with (
        _claimed(folder, config, record),
        Checkpoints(folder.checkpoints, keep_latest=setup.config.keep, warn=progress.warn) as checkpoints,
        signals.collected() as asked,
    ):
        state, watch = _start(setup, checkpoints, progress)
        step = int(state.step)
        over = watch.outcome is not None or step == setup.total
        with _log(folder, config, record, step, over, on_row) as log, progress.bar(setup, step) as bar:
            hosts.first(lambda: folder.outcome_file.unlink(missing_ok=True))  # all else could be written
            lanes, programs = [Lane(setup, watch, log)], make_programs(setup, layout)
            loop = Loop(lanes, layout, programs, state, step, checkpoints, progress, bar, asked)
            del state  # the loop has placed it: no second copy stays on a device
            try:
                with contextlib.closing(loop):
                    loop.run()
            except Diverged:
                _tell(folder, watch.outcome)
                raise
            _tell(folder, watch.outcome or {"outcome": "finished", "step": loop.step})
        if number := int(hosts.agree(np.array(next(iter(asked), 0))).max()):  # came after the last step
            name = signal.Signals(number).name
            raise Interrupted(number, f"stopped by {name} at the end, saved: the same command measures the run")
    return restored(setup, folder)


def _decides(config: Config, setup: Setup) -> dict[str, Any]:
    """What all processes of a run have alike: paths by their names alone, which may lie elsewhere on each host."""
    numerics = {name: value for name, value in records.numerics().items() if name != "xla_flags"}
    asked = {**config.to_dict(), **config.result(), **setup.code, **numerics}
    return {**asked, "data": setup.source.digest, "versions": records.versions()}


def layout_of(config: Config) -> Layout:
    return Layout(make_mesh(data=config.devices), config.parallel, exact=config.exact)


@contextlib.contextmanager
def _claimed(folder: RunFolder, config: Config, record: dict[str, Any]) -> Iterator[None]:
    """The folder is this run's, held by process 0."""
    with contextlib.ExitStack() as held:
        hosts.first(lambda: held.enter_context(folder.claimed(config, record)))
        yield


@contextlib.contextmanager
def _log(
    folder: RunFolder, config: Config, record: dict[str, Any], step: int, over: bool, on_row: OnRow | None
) -> Iterator[Log | NoLog]:
    if not hosts.leads():
        yield NoLog()
        return
    if over:  # it tells where the run was made, not where somebody looks at it
        record = folder.record() or record
    folder.write(config, record, step)
    log = Log(folder.metrics_file, folder.events, step, config.wandb, config.to_dict(), on_row)
    with contextlib.closing(log):
        yield log


def _tell(folder: RunFolder, outcome: dict[str, Any] | None) -> None:
    hosts.first(lambda: files.write_json(folder.outcome_file, outcome))


def _saved(folder: RunFolder) -> bool:
    """Whether the run there goes on from a checkpoint."""
    with Checkpoints(folder.checkpoints, write=False) as checkpoints:
        return bool(checkpoints.steps())


def _start(setup: Setup, checkpoints: Checkpoints, progress: Progress) -> tuple[TrainState, Watch]:
    """The newest whole checkpoint's state, or the initial one."""
    found = checkpoints.restore(setup.shapes())
    if found is None:
        return setup.init(), Watch(total=setup.total)
    check_data(setup, found)
    if found.step > setup.total:
        raise InputError(f"steps {setup.total}: this run has {found.step} already: expected at least that many")
    progress.say(f"resuming at step {found.step:,} of {setup.total:,}")
    watch = Watch(**found.meta["watch"][0])
    if setup.moving and watch.total not in (None, setup.total):
        watch.best, watch.stale = None, 0
        checkpoints.unrank(setup.shapes())
    watch.total = setup.total
    return found.state, watch


def _must_fit(setup: Setup) -> None:
    """Raises InputError where the state alone is larger than a device's memory: XLA would wait for ever on some."""
    need = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(setup.shapes()))
    classes = f", or labels of fewer classes than {setup.net.classes:,}" if setup.method.given else ""
    if need > (there := memory.device()):
        raise InputError(
            f"the parameters and the optimiser's state are {need / 1e9:,.1f} GB, and a device has {there / 1e9:,.1f}: "
            f"choose a smaller width, depth or latent{classes}"
        )
