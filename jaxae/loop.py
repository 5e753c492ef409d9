"""The one loop: compiled calls that end where something is due: a log line, a validation, a checkpoint, the end."""

import signal
import time
from dataclasses import asdict, dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxae import optim, parallel
from jaxae.build import Setup
from jaxae.checkpoint import Checkpoints
from jaxae.data import feed as feeds
from jaxae.errors import Diverged, Interrupted
from jaxae.log import Log, Meter
from jaxae.progress import Bar, Progress
from jaxae.schedules import at_step
from jaxae.train import make_eval_step, make_train_chunk, make_train_step
from jaxae.types import TrainState

CALL_SECONDS = 0.5  # about how long one compiled call takes: how soon a signal is seen


@dataclass
class Watch:
    """What training must remember beside the state: it goes into each checkpoint."""

    best: float | None = None
    """The lowest validation loss so far."""
    stale: int = 0
    """Validations since then."""
    pending: dict[str, Any] | None = None
    """The meter's, since the last log line."""

    def see(self, loss: float) -> float | None:
        """Remembers a validation; the loss where it is the best so far, else None."""
        if self.best is None or loss < self.best:
            self.best, self.stale = loss, 0
            return loss
        self.stale += 1
        return None


@dataclass
class Loop:
    """One run's training, from `state` to its end. `asked` collects the signals that would end it."""

    setup: Setup
    mesh: Mesh
    state: TrainState
    watch: Watch
    checkpoints: Checkpoints
    log: Log
    progress: Progress
    asked: list[int]
    step: int = field(init=False)

    def __post_init__(self) -> None:
        config = self.setup.config
        self.step = int(self.state.step)
        self.every = {
            name: self.setup.steps(getattr(config, f"{name}_every")) for name in ("log", "validate", "checkpoint")
        }
        self.meter = Meter(self.watch.pending)
        self.feed = make_feed(self.setup, self.mesh)
        self.numbers = self.setup.numbers()
        self.state, self.feed.data = parallel.replicate(self.mesh, (self.state, self.feed.data))
        self.chunk = jax.jit(make_chunk(self.setup, self.feed), donate_argnums=2)
        self.view = self.setup.view("validation")
        self.eval_step = jax.jit(make_eval_step(self.setup.held_out))

    def run(self) -> None:
        """Raises Diverged or Interrupted, with what is worth keeping on disk."""
        setup, call = self.setup, 1
        with self.progress.bar(self.step, setup.total, setup.epoch, setup.config.batch_size) as bar:
            while not self.ended():
                call = self.advance(call, bar)
                if self.due("log"):
                    self.write_log(bar)
                improved = self.validate() if self.due("validate") else None
                if improved is not None or self.due("checkpoint") or self.ended() or self.asked:
                    self.save(improved)
                if self.asked:
                    self.interrupt()
        self.checkpoints.wait()
        if self.step < setup.total:
            patience = setup.config.patience
            self.progress.say(f"stopped early at step {self.step:,}: {patience} validations without improvement")

    def close(self) -> None:
        self.feed.close()
        self.log.close()

    def ended(self) -> bool:
        patience = self.setup.config.patience
        return self.step >= self.setup.total or (patience is not None and self.watch.stale >= patience)

    def due(self, what: str) -> bool:
        return self.step % self.every[what] == 0 or self.step == self.setup.total

    def advance(self, call: int, bar: Bar) -> int:
        """One compiled call of at most `call` steps; the number to make in the next."""
        begun = time.perf_counter()
        to_next = (n - self.step % n for n in self.every.values())
        count = min(call, self.feed.capacity, self.setup.total - self.step, *to_next)
        feed = self.feed.at(self.step, count)
        result = self.chunk(self.numbers, self.setup.key, self.state, self.feed.data, feed, count)
        self.state, done = result.state, int(result.done)
        metrics = {name: values[:done] for name, values in jax.device_get(result.metrics).items()}
        self.step += done
        self.stop_if_not_finite(metrics)
        self.meter.add(metrics)
        bar.advance(self.step, float(metrics["loss"][-1]))
        return next_call(call, count, time.perf_counter() - begun)

    def write_log(self, bar: Bar) -> None:
        weights = self.setup.weights.items()
        shown = {name: w for name, w in weights if callable(w) or name == "learning_rate"}
        now = {name: float(at_step(weight, self.step - 1)) for name, weight in shown.items()}
        self.log.write(self.step, {"epoch": self.step / self.setup.epoch, **self.meter.flush(), **now, **bar.speed()})

    def validate(self) -> float | None:
        """The loss on the validation split, where it is the best so far. Schedules count as at the run's end, so that a
        warm-up does not make early losses look good."""
        variables, last = optim.evaluated(self.state), jnp.asarray(self.setup.total - 1)
        terms = self.view.map(lambda batch: self.eval_step(variables, self.view.keys(batch, "noise"), batch, last))
        row = {name: float(value.mean(dtype=np.float64)) for name, value in terms.items()}
        self.log.write(self.step, {f"validation_{name}": value for name, value in row.items()})
        self.progress.validated(self.step, row)
        return self.watch.see(row["loss"])

    def save(self, improved: float | None) -> None:
        self.watch.pending = self.meter.pending()
        meta = {"watch": asdict(self.watch), "data": self.setup.source.digest}
        self.checkpoints.save(self.step, self.state, meta, improved)

    def interrupt(self) -> None:
        self.checkpoints.wait()
        name = signal.Signals(self.asked[0]).name
        message = f"stopped by {name} at step {self.step:,}, saved: the same command goes on from there"
        raise Interrupted(self.asked[0], message)

    def stop_if_not_finite(self, metrics: dict[str, np.ndarray]) -> None:
        bad = [name for name, values in metrics.items() if not np.isfinite(values[-1])]
        if bad:
            self.checkpoints.wait()
            last = self.checkpoints.latest_step()
            kept = "no checkpoint had been made" if last is None else f"the checkpoint of step {last:,} is kept"
            raise Diverged(
                f"{bad[0]} is {metrics[bad[0]][-1]} at step {self.step:,}: {kept}; try a lower learning rate, "
                "clip_norm, or look at the data"
            )


def make_feed(setup: Setup, mesh: Mesh) -> feeds.Feed:
    """The training split's batches, on the device where they fit, sharded where there are several devices."""
    config, split = setup.config, setup.source.train
    resident = feeds.fits(split) if config.stream == "auto" else config.stream == "no"
    place = parallel.shard(mesh) if mesh.size > 1 else lambda batch: batch
    capacity = min(config.chunk, setup.total)
    return feeds.Feed(split, setup.pixels, config.seed, config.batch_size, capacity, resident=resident, place=place)


def make_chunk(setup: Setup, feed: feeds.Feed):
    """chunk(numbers, key, state, data, feed, count) -> Chunk. The learning rate and the method's weights are arguments,
    not constants: one program for all their values, and the same arithmetic wherever the step is transformed."""

    def chunk(numbers, key, state, data, rows, count):
        method, tx = setup.make(numbers)
        step = make_train_step(method, tx, microbatches=setup.config.accumulate)
        return make_train_chunk(step, feed.fetch)(key, state, data, rows, count)

    return chunk


def next_call(call: int, count: int, seconds: float) -> int:
    """Steps in the next call, so that it takes about CALL_SECONDS; grown gently, for the first call compiles."""
    fit = max(1, int(CALL_SECONDS * count / seconds))
    return min(fit, 8 * call) if count == call or fit < call else call
