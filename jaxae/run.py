"""A run in its folder: train or resume it, load it, measure it."""

import contextlib
import dataclasses
import errno
import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Shaped

from jaxae import files, hosts, log, memory, methods, optim, own
from jaxae import folder as folders
from jaxae import record as records
from jaxae.build import build, of_net, of_source
from jaxae.checkpoint import Checkpoints, Restored
from jaxae.config import Config
from jaxae.data.in_memory import split as split_of
from jaxae.data.source import Source
from jaxae.digest import digest
from jaxae.errors import Diverged, InputError, Interrupted
from jaxae.evaluate.bench import USUAL, Bench, Model, Settings
from jaxae.evaluate.measures import GREY
from jaxae.folder import RunFolder
from jaxae.log import Log, NoLog, import_wandb
from jaxae.loop import Lane, Loop, Watch
from jaxae.parallel import Layout, make_mesh
from jaxae.plan import structure
from jaxae.programs import make_programs
from jaxae.progress import Progress
from jaxae.setup import Setup
from jaxae.types import Net, TrainState, Variables

if TYPE_CHECKING:
    import pandas

AGAIN = 1.0  # seconds in which the same signal is the same request


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


def train(
    config: Config,
    path: str | Path | None = None,
    *,
    net: Net | None = None,
    source: Source | None = None,
    progress: Progress | None = None,
) -> Trained:
    """Trains `config` in the folder `path`, or resumes it there, to its end; then returns the trained run.

    The result is a function of the config alone: not of where it was cut off, nor of any cadence. `net` is for your
    own linen modules, `source` for your own arrays (`jaxae.data.arrays`): such a run is read from Python alone, with
    the same. Of several processes (`jaxae.join`) all call it, and process 0 alone touches the folder. Raises
    InputError, Diverged (a loss that is not finite) or Interrupted (SIGINT, SIGTERM: saved).
    """
    own.remember(config.method)
    config = of_source(of_net(config, net), source)
    name = methods.entry(config.method).name
    folder = RunFolder(path or Path("runs") / f"{Path(config.data).name}-{name}-{config.identity()}")
    hosts.first(lambda: folder.check(config))
    if config.wandb:
        import_wandb(config.wandb)
    setup = build(config, net, source)
    _must_fit(setup.shapes())
    layout = layout_of(setup.config)
    progress = progress or Progress(quiet=True)
    record = records.made(config, folder.path, setup.source, setup.modules)
    with _claimed(folder, config, record), _checkpoints(setup, folder, progress) as checkpoints, signals() as asked:
        state, watch = _start(setup, checkpoints, progress)
        hosts.first(lambda: folder.outcome_file.unlink(missing_ok=True))
        step = int(state.step)
        over = watch.outcome is not None or step == setup.total
        with _log(folder, config, record, step, over) as log, progress.bar(setup, step) as bar:
            lanes, programs = [Lane(setup, watch, log)], make_programs(setup, layout)
            loop = Loop(lanes, layout, programs, state, step, checkpoints, progress, bar, asked)
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
    return load(folder.path, setup=setup)


def layout_of(config: Config) -> Layout:
    return Layout(make_mesh(data=config.devices), config.parallel, exact=config.exact)


@contextlib.contextmanager
def _claimed(folder: RunFolder, config: Config, record: dict[str, Any]) -> Iterator[None]:
    """The folder is this run's, held by process 0."""
    with contextlib.ExitStack() as held:
        hosts.first(lambda: held.enter_context(folder.claimed(config, record)))
        yield


@contextlib.contextmanager
def _log(folder: RunFolder, config: Config, record: dict[str, Any], step: int, over: bool) -> Iterator[Log | NoLog]:
    if not hosts.leads():
        yield NoLog()
        return
    if over:  # it tells where the run was made, not where somebody looks at it
        record = folder.record() or record
    folder.write(config, record, step)
    with contextlib.closing(Log(folder.metrics_file, folder.events, step, config.wandb, config.to_dict())) as log:
        yield log


def _tell(folder: RunFolder, outcome: dict[str, Any] | None) -> None:
    hosts.first(lambda: files.write_json(folder.outcome_file, outcome))


def _checkpoints(setup: Setup, folder: RunFolder, progress: Progress) -> Checkpoints:
    return Checkpoints(folder.checkpoints, keep_latest=setup.config.keep, keep_best=1, warn=progress.warn)


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
    moves = any(callable(weight) for name, weight in setup.weights.items() if name != "learning_rate")
    if moves and watch.total not in (None, setup.total):
        watch.best, watch.stale = None, 0
        checkpoints.unrank(setup.shapes())
    watch.total = setup.total
    return found.state, watch


def check_data(setup: Setup, found: Restored) -> None:
    """Raises InputError unless the data is what the run has read so far."""
    if found.meta["data"] != setup.source.digest:
        raise InputError(
            f"{setup.source.name} has changed since step {found.step} of this run, and its digest differs: "
            "expected the data as it was, or another --run for other data"
        )


def _must_fit(state: TrainState) -> None:
    """Raises InputError where the state alone is larger than a device's memory: XLA would wait for ever on some."""
    need = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    if need > (there := memory.device()):
        raise InputError(
            f"the parameters and the optimiser's state are {need / 1e9:,.1f} GB, and a device has {there / 1e9:,.1f}: "
            "choose a smaller width, depth or latent"
        )


@contextlib.contextmanager
def signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; the second of a kind is taken at its word. A scheduler that
    signals a whole tree of processes may send the first twice."""
    asked: list[int] = []
    before: dict[int, Any] = {}
    times: dict[int, float] = {}

    def ask(number, frame):
        if number in times and time.monotonic() - times[number] >= AGAIN:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        elif number not in times:
            times[number] = time.monotonic()
            asked.append(number)

    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
    `net` and `source` are those that it was trained with, where they are your own; `setup` saves building it anew.
    Nothing that a checkpoint holds is executed."""
    folder, checkpoint = RunFolder(folders.member_path(path, member)), str(checkpoint)
    if setup and (differing := folder.config().difference(setup.config)):
        raise InputError(f"{folder.path} is a run of another setup: {'; '.join(differing)}")
    setup = setup or build(of_source(folder.config(), source), net, source)
    folder.check_code(setup.config)
    if other := folder.other_net(setup.modules):
        if setup.modules is None or "modules" not in folder.record():
            raise InputError(other)
        Progress().warn(other)  # no more: another version of flax may say the same of itself in other words
    if checkpoint not in ("auto", "last", "best") and not checkpoint.isdecimal():
        raise InputError(f"checkpoint {checkpoint!r}: expected last, best or the number of a step")
    if checkpoint == "auto":
        checkpoint = "last" if setup.config.patience is None else "best"
    with Checkpoints(folder.checkpoints, warn=Progress().warn, write=False) as checkpoints:
        step = checkpoints.best_step() if checkpoint == "best" else None if checkpoint == "last" else checkpoint
        if step is None and checkpoint == "best" and checkpoints.steps():
            raise InputError(
                f"checkpoint best: {folder.path} has none: no validation ranked one, or it is a member of a sweep "
                "without --patience, which keeps its last alone: choose last"
            )
        found = checkpoints.restore(setup.shapes(), None if step is None else int(step))
    if found is None:
        outcome = folder.outcome() or {}
        if outcome.get("outcome") == "diverged":
            raise InputError(
                f"{folder.path}: it diverged at step {outcome['step']:,}: {outcome['why']}: nothing was kept"
            )
        raise InputError(f"{folder.path}: no checkpoint yet: `jaxae train --run {folder.path}` makes one")
    check_data(setup, found)
    return Trained(setup, folder, found.step, found.state, optim.evaluated(found.state))


def on(trained: Trained, x: np.ndarray, y: np.ndarray | None = None) -> Trained:
    """The same run, with other images in place of its test split: what `evaluate_run`, `scores` and `jaxae.artifacts`
    make of it is of them. x: [n, height, width] or [n, height, width, channels], as the run's data; y: labels [n].
    Their measures are not kept in the run's folder."""
    source = trained.setup.source
    other = dataclasses.replace(source, test=split_of(source, x, y))
    return trained._replace(setup=dataclasses.replace(trained.setup, source=other))


def history(run: Trained | str | Path) -> "pandas.DataFrame":
    """What metrics.jsonl tells, a row a step: training means since the row before, and validation_* where it was."""
    import pandas

    folder = run.folder if isinstance(run, Trained) else RunFolder(run)
    rows = pandas.DataFrame(log.read(folder.metrics_file), columns=None)
    return rows.groupby("step").first().reset_index() if len(rows) else rows


def bench(setup: Setup, split: str = "test", settings: Settings = USUAL, lanes: str = "map", block: int = 8) -> Bench:
    """What measures runs that differ in their seeds and numbers alone, compiled once."""
    view = partial(setup.view, seed=settings.seed)
    return Bench(setup.config.method, setup.held_out, setup.source, view, split, settings, lanes, block)


def evaluate_runs(
    runs: Sequence[Trained], names: Sequence[str] = ("likelihood",), on: Bench | None = None
) -> list[dict[str, Any]]:
    """The held-out measures of runs, with what identifies them. Those that differ in seeds and numbers alone are
    measured by one compiled program.

    names: groups of `jaxae.names.METRICS`, or "all". Every number's meaning is told where it is made: `jaxae.evaluate`.
    on: their `bench`, where it is not the usual one: then all of them must share it.
    """
    if isinstance(runs, Trained) or not runs:
        raise InputError("runs: expected a list of at least one: [trained]")
    alike: dict[str, list[int]] = {}
    for n, of in enumerate(runs):
        alike.setdefault(_kind(of), []).append(n)
    if on is not None and len(alike) > 1:
        other = runs[list(alike.values())[1][0]]
        raise InputError(f"{other.folder.path} differs from {runs[0].folder.path} in more than seeds and numbers")
    found: dict[int, dict[str, Any]] = {}
    for places in alike.values():
        measure = evaluator(on or bench(runs[places[0]].setup), names)
        found |= dict(zip(places, measure([runs[n] for n in places])))
    return [found[n] for n in range(len(runs))]


def _kind(of: Trained) -> str:
    """The same for runs that one program measures."""
    setup = of.setup
    return repr((structure(setup.config), id(setup.factory), setup.source.digest, setup.modules))


def evaluator(on: Bench, names: Sequence[str] = ("likelihood",)) -> Callable[[Sequence[Trained]], list[dict[str, Any]]]:
    """`evaluate_runs`, compiled once for as many calls as are wanted."""
    from jaxae.evaluate import metrics  # not before a run is trained

    measure = metrics.measures([names] if isinstance(names, str) else names, on)

    def evaluate(runs: Sequence[Trained]) -> list[dict[str, Any]]:
        found = measure([Model(of.setup.numbers(), of.variables, of.step) for of in runs])
        grey = runs[0].setup.likelihood.name == "bernoulli" and not _binary(on)
        of_what = methods.entry(runs[0].setup.config.method).reconstruction
        for measures, of in zip(found, runs):
            if of_what and "reconstruction" in measures:
                measures["notes"]["likelihood"].append(f"reconstruction: {of_what}")
            for group, name in (("likelihood", "nll"), ("ais", "ais_nll")):
                if measures.get(name) is not None and grey:
                    measures["notes"][group].append(GREY)
            if measures.get("nll") is not None and of.setup.likelihood.discrete and not grey:
                measures["bits_per_dim"] = measures["nll"] / int(np.prod(of.setup.source.shape)) / float(np.log(2))
            examples = len(of.setup.source.split(on.split))
            measures |= {"step": of.step, "split": on.split, "examples": examples, "evaluation_seed": on.settings.seed}
            measures["digest"] = final_digest(of)
        return found

    return evaluate


def _binary(on: Bench) -> bool:
    """Whether pixels, by a batch of them, are bits."""
    return bool(np.isin(np.asarray(next(on.view(on.split).batches()).x), (0.0, 1.0)).all())


def evaluate_run(trained: Trained, split: str = "test", samples: int = 128, seed: int = 0) -> dict[str, Any]:
    """ELBO and its terms, NLL and MSE of one run: see `jaxae.evaluate.likelihood.likelihood`."""
    return evaluate_runs([trained], on=bench(trained.setup, split, Settings(samples, seed=seed)))[0]


def scores(
    trained: Trained, split: str = "test", samples: int = 128, seed: int = 0
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Of each example of a split, in its order, in nats: nll and elbo, with their Monte Carlo variances nll_var and
    elbo_var, and effective_samples; reconstruction; mse, a number of the image; label. Of a method without a density:
    its metrics in place of the first. What `evaluate_run` gives are their means."""
    from jaxae.evaluate.likelihood import examples

    on = bench(trained.setup, split, Settings(samples, seed=seed))
    (of,) = examples(on)([Model(trained.setup.numbers(), trained.variables, trained.step)])
    if "log_p" in of:
        of |= {"nll": -of.pop("log_p"), "nll_var": of.pop("log_p_var"), "effective_samples": of.pop("ess")}
    return of | {"label": trained.setup.source.split(split).labels}


def measured(trained: Trained, samples: int) -> dict[str, Any] | None:
    """The measures that evaluation.json has of these very parameters, by at least so many importance samples."""
    try:
        there = trained.folder.evaluation()
    except InputError:
        return None
    mine = {"digest": final_digest(trained), "step": trained.step, "split": "test", "evaluation_seed": 0}
    if any(there.get(name) != value for name, value in mine.items()) or not is_measured(there, samples):
        return None
    return there


def is_measured(there: dict[str, Any], samples: int) -> bool:
    """Whether evaluation.json has the likelihood, by at least so many importance samples where it takes any."""
    return "mse" in there and there.get("samples", samples) >= samples


def kept(measures: dict[str, Any]) -> bool:
    """Whether these measures are what a run's evaluation.json holds: of the test split, by the usual noise."""
    return (measures["split"], measures["evaluation_seed"]) == ("test", 0)


def store(trained: Trained, measures: dict[str, Any]) -> dict[str, Any]:
    """Keeps measures of the test split in the run's evaluation.json, for its report: beside those that are there, where
    they are of the same parameters. All that there is now. A file that cannot be written, in somebody else's run, costs
    a warning. Raises InputError for measures of another split, or by other noise."""
    if not kept(measures):
        raise InputError(f"measures of {measures['split']}, seed {measures['evaluation_seed']}: only test, 0 are kept")
    if (
        trained.folder.record().get("data", {}).get("sha256", trained.setup.source.digest)
        != trained.setup.source.digest
    ):
        raise InputError(f"measures of other data than {trained.folder.path} has: they are not kept there")
    file = trained.folder.evaluation_file
    there = _read_or_set_aside(trained.folder)
    if any(there.get(name) != measures[name] for name in ("digest", "step", "split", "evaluation_seed")):
        there = {}
    by_group = {kind: there.get(kind, {}) | measures.get(kind, {}) for kind in ("notes", "settings")}
    for group in there.get("settings", {}).keys() - measures.get("settings", {}).keys():  # it was possible before
        by_group["notes"][group] = there["notes"].get(group, [])
    whole = there | measures | by_group
    try:
        files.write_json(file, whole)
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        Progress().warn(f"{file} is not written: {error.strerror}")
    return whole


def _read_or_set_aside(folder: RunFolder) -> dict[str, Any]:
    file = folder.evaluation_file
    try:
        return folder.evaluation()
    except InputError as error:
        Progress().warn(str(error))
        with contextlib.suppress(OSError):  # where it cannot be moved it cannot be overwritten either
            aside = file.replace(file.with_name(f"{file.name}.damaged"))
            Progress().warn(f"set aside as {aside.name}")
        return {}


def final_digest(trained: Trained) -> str:
    """SHA-256 over the parameters of the loaded step: the line two people compare."""
    return digest({"params": trained.state.variables.params})
