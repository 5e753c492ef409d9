"""The one loop: train or resume, validate, log, checkpoint, stop. Beside it only the CLI and `build` read a Config."""

import contextlib
import signal
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxae import folder as folders
from jaxae import optim, parallel
from jaxae.build import Setup, build
from jaxae.checkpoint import Checkpoints
from jaxae.config import Config
from jaxae.data import feed as feeds
from jaxae.digest import digest
from jaxae.errors import Diverged, InputError, Interrupted
from jaxae.evaluate.likelihood import evaluate
from jaxae.folder import RunFolder
from jaxae.log import Log, Meter, import_wandb
from jaxae.progress import Progress
from jaxae.schedules import at_step
from jaxae.train import make_eval_step, make_train_chunk, make_train_step
from jaxae.types import Net, TrainState, Variables

CALL_SECONDS = 0.5  # about how long one compiled call takes: how soon a signal is seen


class Trained(NamedTuple):
    """A run as it lies in its folder, ready to use. `variables` are the ones to evaluate."""

    setup: Setup
    folder: RunFolder
    step: int
    state: TrainState
    variables: Variables


@dataclass
class Watch:
    """What training must remember beside the state: it goes into each checkpoint."""

    best: float | None = None
    stale: int = 0
    """Validations since the best."""
    pending: dict[str, Any] | None = None


def train(
    config: Config, path: str | Path | None = None, *, net: Net | None = None, progress: Progress | None = None
) -> Trained:
    """Trains `config` in the folder `path`, or resumes it there, to its end; then returns the trained run.

    The result is a function of the config alone: not of where it was cut off, nor of any cadence. `net` is for your
    own linen modules. Raises InputError, Diverged (a loss that is not finite) or Interrupted (SIGINT, SIGTERM: saved).
    """
    folder = RunFolder(path or Path("runs") / f"{Path(config.data).name}-{config.method}-{config.identity()}")
    folder.check(config)
    if config.wandb:
        import_wandb(config.wandb)
    setup = build(config, net)
    mesh = parallel.data_mesh(config.devices)
    progress = progress or Progress(quiet=True)
    record = folders.record(config, folder.path, setup.source)
    with folder.claimed(config, record), _checkpoints(setup, folder, progress) as checkpoints, _signals() as asked:
        state, watch = _start(setup, checkpoints, progress)
        folder.write(config, record)
        log = Log(
            folder.metrics_file, folder.path / "tensorboard", int(state.step), config.wandb, config.to_dict()
        )
        with contextlib.closing(log):
            _loop(setup, mesh, state, watch, checkpoints, log, progress, asked)
    return load(folder.path, net=net, setup=setup)


def _checkpoints(setup: Setup, folder: RunFolder, progress: Progress) -> Checkpoints:
    return Checkpoints(folder.checkpoints, keep_latest=setup.config.keep, keep_best=1, warn=progress.warn)


def _start(setup: Setup, checkpoints: Checkpoints, progress: Progress) -> tuple[TrainState, Watch]:
    """The newest whole checkpoint's state, or the initial one."""
    found = checkpoints.restore(jax.eval_shape(setup.init))
    if found is None:
        return setup.init(), Watch()
    if found.meta["data"] != setup.source.digest:
        raise InputError(f"{setup.source.name} has changed since step {found.step} of this run: its digest differs")
    if found.step > setup.total:
        raise InputError(f"steps {setup.total}: this run has {found.step} already: expected at least that many")
    progress.say(f"resuming at step {found.step:,} of {setup.total:,}")
    return found.state, Watch(**found.meta["watch"])


def _loop(setup, mesh, state, watch, checkpoints, log, progress, asked) -> None:
    """Steps in compiled calls that end where something is due: a log line, a validation, a checkpoint, the end."""
    config = setup.config
    feed, chunk, validate, state = _compile(setup, mesh, state)
    every = {
        name: setup.steps(getattr(config, f"{name}_every")) for name in ("log", "validate", "checkpoint")
    }
    meter, step, call = Meter(watch.pending), int(state.step), 1
    done_early = config.patience is not None and watch.stale >= config.patience
    with contextlib.closing(feed), progress.bar(step, setup.total, setup.epoch, config.batch_size) as bar:
        while step < setup.total and not done_early:
            begun = time.perf_counter()
            count = min([call, feed.capacity, setup.total - step, *(n - step % n for n in every.values())])
            result = chunk(setup.key, state, feed.data, feed.at(step, count), count)
            state, metrics = result.state, {k: v[: int(result.done)] for k, v in jax.device_get(result.metrics).items()}
            step += int(result.done)
            _stop_if_not_finite(metrics, step, checkpoints)
            meter.add(metrics)
            bar.advance(step, float(metrics["loss"][-1]))
            call = _next_call(call, count, time.perf_counter() - begun)
            if step % every["log"] == 0 or step == setup.total:
                log.write(step, {"epoch": step / setup.epoch, **meter.flush(), **_scheduled(setup, step), **bar.speed()})
            improved = None
            if step % every["validate"] == 0 or step == setup.total:
                row = validate(state)
                log.write(step, {f"validation_{name}": value for name, value in row.items()})
                progress.validated(step, row)
                improved = _watch(watch, row["loss"], step)
                done_early = config.patience is not None and watch.stale >= config.patience
            ending = step == setup.total or done_early or bool(asked)
            if improved or ending or step % every["checkpoint"] == 0:
                watch.pending = meter.pending()
                checkpoints.save(step, state, {"watch": asdict(watch), "data": setup.source.digest}, improved)
            if asked:
                checkpoints.wait()
                raise Interrupted(asked[0], f"stopped by {signal.Signals(asked[0]).name} at step {step:,}, saved: "
                                  "the same command goes on from there")  # fmt: skip
        checkpoints.wait()
    if done_early:
        progress.say(f"stopped early at step {step:,}: {config.patience} validations without improvement")


def _compile(setup: Setup, mesh: Mesh, state: TrainState):
    """(feed, chunk, validate, state on its devices)"""
    config = setup.config
    resident = feeds.fits(setup.source.train) if config.stream == "auto" else config.stream == "no"
    place = parallel.shard(mesh) if config.devices > 1 else lambda batch: batch
    feed = feeds.Feed(
        setup.source.train, setup.pixels, config.seed, config.batch_size, min(config.chunk, setup.total),
        resident=resident, place=place,
    )  # fmt: skip
    step = make_train_step(setup.method, setup.tx, microbatches=config.accumulate)
    chunk = jax.jit(make_train_chunk(step, feed.fetch), donate_argnums=1)
    state, feed.data = parallel.replicate(mesh, (state, feed.data))
    view, eval_step = setup.view("validation"), jax.jit(make_eval_step(setup.method))
    last = jnp.asarray(setup.total - 1)  # schedules at their end: a warm-up would make early losses look good

    def validate(state: TrainState) -> dict[str, float]:
        variables = optim.evaluated(state)
        terms = view.map(lambda batch: eval_step(variables, view.keys(batch, "noise"), batch, last))
        return {name: float(value.mean(dtype=np.float64)) for name, value in terms.items()}

    return feed, chunk, validate, state


def _next_call(call: int, count: int, seconds: float) -> int:
    """Steps in the next call, so that it takes about CALL_SECONDS; grown gently, for the first call compiles."""
    fit = max(1, int(CALL_SECONDS * count / seconds))
    return min(fit, 8 * call) if count == call or fit < call else call


def _scheduled(setup: Setup, step: int) -> dict[str, float]:
    """The learning rate and every scheduled weight, as the last step had them."""
    shown = {n: w for n, w in setup.weights.items() if callable(w) or n == "learning_rate"}
    return {name: float(at_step(weight, step - 1)) for name, weight in shown.items()}


def _watch(watch: Watch, loss: float, step: int) -> float | None:
    """Remembers a validation; the loss where it is the best so far, else None."""
    if watch.best is None or loss < watch.best:
        watch.best, watch.stale = loss, 0
        return loss
    watch.stale += 1
    return None


def _stop_if_not_finite(metrics: dict[str, np.ndarray], step: int, checkpoints: Checkpoints) -> None:
    bad = [name for name, values in metrics.items() if not np.isfinite(values[-1])]
    if bad:
        checkpoints.wait()
        last = checkpoints.latest_step()
        kept = f"the checkpoint of step {last:,} is kept" if last is not None else "no checkpoint had been made yet"
        raise Diverged(
            f"{bad[0]} is {metrics[bad[0]][-1]} at step {step:,}: {kept}; try a lower learning rate, "
            "clip_norm, or look at the data"
        )


@contextlib.contextmanager
def _signals() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; a second one is taken at its word."""
    asked: list[int] = []
    before: dict[int, Any] = {}

    def ask(number, frame):
        asked.append(number)
        signal.signal(number, before[number])

    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def load(path: str | Path, checkpoint: str = "auto", *, net: Net | None = None, setup: Setup | None = None) -> Trained:
    """The run in the folder `path`. checkpoint: "last", "best" (lowest validation loss), a step, or "auto": the best
    where the run stops early (it has a patience), else the last. Nothing that a checkpoint holds is executed."""
    folder = RunFolder(path)
    setup = setup or build(folder.config(), net)
    if checkpoint not in ("auto", "last", "best") and not checkpoint.isdigit():
        raise InputError(f"checkpoint {checkpoint!r}: expected last, best or the number of a step")
    if checkpoint == "auto":
        checkpoint = "last" if setup.config.patience is None else "best"
    with Checkpoints(folder.checkpoints, warn=Progress().warn, write=False) as checkpoints:
        step = {"last": None, "best": checkpoints.best_step()}.get(checkpoint, checkpoint)
        found = checkpoints.restore(jax.eval_shape(setup.init), None if step is None else int(step))
    if found is None:
        raise InputError(f"{folder.path}: no checkpoint yet: `jaxae train --run {folder.path}` makes one")
    return Trained(setup, folder, found.step, found.state, optim.evaluated(found.state))


def evaluate_run(trained: Trained, split: str = "test", samples: int = 128, seed: int = 0) -> dict[str, Any]:
    """The held-out measures of a run (see `jaxae.evaluate.likelihood.evaluate`), with what identifies them."""
    view = trained.setup.view(split, seed)
    measures = evaluate(trained.setup.method, trained.variables, view, samples, trained.step)
    pixels = int(np.prod(trained.setup.source.shape))
    if measures["nll"] is not None and trained.setup.likelihood.discrete:
        measures["bits_per_dim"] = measures["nll"] / pixels / float(np.log(2))
    return {**measures, "split": split, "digest": final_digest(trained)}


def evaluate_and_store(trained: Trained, samples: int) -> dict[str, Any]:
    """The test split's measures, kept in the run's evaluation.json for its report."""
    measures = evaluate_run(trained, samples=samples)
    folders.write_json(trained.folder.evaluation_file, measures)
    return measures


def final_digest(trained: Trained) -> str:
    """SHA-256 over the parameters of the loaded step: the line two people compare."""
    return digest({"params": trained.state.variables.params})
