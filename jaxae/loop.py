"""The one loop: compiled calls that end where something is due: a log line, a validation, a checkpoint, the end.

It trains one run, or the members of a sweep, each in its lane: with its own numbers, noise, data order and log.
"""

import signal
import time
from dataclasses import asdict, dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import hosts, optim
from jaxae.checkpoint import Checkpoints
from jaxae.data import feed as feeds
from jaxae.errors import Diverged, Interrupted
from jaxae.lane import Lane, Watch, mean_of_each, padded, stacked
from jaxae.parallel import Layout
from jaxae.programs import Programs, make_feed
from jaxae.progress import Bar, Progress
from jaxae.train import Chunk
from jaxae.types import PyTree, TrainState

CALL_SECONDS = 0.5  # about how long one compiled call takes: how soon a signal is seen


@dataclass
class Loop:
    """Training from `state` to its end. `asked` collects the signals that would end it."""

    lanes: list[Lane]
    layout: Layout
    """Its `lanes` is None where there is one run alone; the state has no axis of lanes then."""
    programs: Programs
    state: TrainState
    step: int
    checkpoints: Checkpoints
    progress: Progress
    bar: Bar
    asked: list[int]
    size: int = 1
    """Lanes that the program has at least: those that no run needs stand still."""

    def __post_init__(self) -> None:
        self.setup, self.alone = self.lanes[0].setup, self.layout.lanes is None
        config = self.setup.config
        self.every = {
            name: self.setup.every(getattr(config, f"{name}_every")) for name in ("log", "validate", "checkpoint")
        }
        width = max(self.size, len(self.lanes))
        self.padding = width + -width % self.layout.multiple() - len(self.lanes)
        self.feeds = [make_feed(lane.setup, self.layout, width) for lane in self.lanes]
        self.data = self.layout.put_shared(self.feeds[0].data)
        self.numbers = self.beside([lane.setup.numbers() for lane in self.lanes])
        self.keys = self.layout.put_rest(self.beside([lane.setup.key for lane in self.lanes]))
        self.state = self.layout.put(self.state if self.alone else padded(self.state, self.padding))
        self.view = self.setup.view("validation")
        self.known = 0  # of several processes: the signal that all have heard of
        self.ready: tuple[tuple[int, int], PyTree] = (-1, 0), None
        self.ranks = not self.setup.entry.moves
        self.held: dict[int, tuple[TrainState, Watch, float]] = {}

    def beside(self, each: list[PyTree]) -> PyTree:
        """What the lanes have of their own, stacked."""
        return each[0] if self.alone else padded(stacked(each), self.padding)

    def run(self) -> None:
        """Raises Diverged (a run alone) or Interrupted, with what is worth keeping on disk."""
        call = 1
        if (rest := max(lane.rest for lane in self.lanes)) > self.step:
            self.progress.say(f"patience counts validations from step {rest:,} on, when no weight moves any more")
        while not self.ended():
            call = self.advance(call)
            if self.due("log"):
                self.write_logs()
            if self.due("validate"):
                self.hold(self.validate())
            stop = self.stop()
            if self.due("checkpoint") or self.ended() or stop:
                self.save()
            if stop:
                self.interrupt(stop)
        self.checkpoints.wait()

    def close(self) -> None:
        for feed in self.feeds:
            feed.close()

    def ended(self) -> bool:
        return self.step >= self.setup.total or not any(lane.going for lane in self.lanes)

    def due(self, what: str) -> bool:
        return self.step % self.every[what] == 0 or self.step == self.setup.total

    def advance(self, call: int) -> int:
        """One compiled call of at most `call` steps; the number to make in the next."""
        begun, count = time.perf_counter(), self.most(self.step, call)
        going = np.array([lane.going for lane in self.lanes])
        result = self.call(count, going)
        self.foresee(self.step + count, call)
        self.state, found = result.state, self.layout.get((result.done, result.metrics))
        done, metrics = jax.tree.map(lambda x: x[None], found) if self.alone else found
        for lane, made, number in zip(self.lanes, done, range(len(self.lanes))):
            if lane.going:
                self.heed(lane, {name: values[number, :made] for name, values in metrics.items()})
        self.step += count
        losses = metrics["loss"][: len(self.lanes), count - 1][going]
        self.bar.advance(self.step, float(np.median(losses)), int(going.sum()))
        return self.agree(next_call(call, count, time.perf_counter() - begun))

    def most(self, step: int, call: int) -> int:
        """Steps of the call that begins at `step`: at most `call`, and none beyond what is due next."""
        to_next = (n - step % n for n in self.every.values())
        return min(call, self.feeds[0].capacity, self.setup.total - step, *to_next)

    def foresee(self, step: int, call: int) -> None:
        """While an accelerator computes, makes the feed that it will most likely want next."""
        if feeds.beside_the_host() and self.feeds[0].resident and step < self.setup.total:
            count = self.most(step, call)
            self.ready = (step, count), self.feed(step, count)

    def feed(self, step: int, count: int) -> PyTree:
        """Of all lanes, on the host."""
        if self.ready[0] == (step, count):
            return self.ready[1]
        return self.beside([feed.at(step, count) for feed in self.feeds])

    def call(self, count: int, going: np.ndarray) -> Chunk:
        """Lanes that have ended, and those that only fill the block, make no step."""
        counts, feed = np.asarray(count, np.int32), self.feed(self.step, count)
        if not self.alone:
            counts = np.concatenate([np.where(going, counts, 0), np.zeros(self.padding, np.int32)])
        return self.programs.chunk(self.state, (self.numbers, self.keys, counts), self.layout.put_feed(feed), self.data)

    def heed(self, lane: Lane, metrics: dict[str, np.ndarray]) -> None:
        """Adds the steps just made to the lane's meter, and ends it where the last has a loss or gradient that is not
        finite: there the compiled loop stops too, so that no cadence decides it."""
        bad = [name for name in ("loss", "grad_norm") if not np.isfinite(metrics[name][-1])]
        if not bad:
            lane.meter.add(metrics)
            return
        step, why = self.step + len(metrics["loss"]), f"{bad[0]} is {metrics[bad[0]][-1]}"
        lane.meter.add({name: values[:-1] for name, values in metrics.items()})
        self.write_last(lane, step - 1)
        lane.watch.outcome = {"outcome": "diverged", "step": step, "why": why}
        if self.alone:
            self.write_bests()
            self.checkpoints.wait()
            last = self.checkpoints.latest_step()
            kept = "no checkpoint had been made" if last is None else f"the checkpoint of step {last:,} is kept"
            raise Diverged(f"{why} at step {step:,}: {kept}; try a lower learning rate, clip_norm, or look at the data")
        self.progress.warn(f"{lane.name}: {why} at step {step:,}: frozen there; the others go on")

    def write_last(self, lane: Lane, step: int) -> None:
        """Of a lane that ends where no line is due: the steps since the last are those one wants to see."""
        if lane.meter.count:
            lane.write(step, self.bar.speed())

    def write_logs(self) -> None:
        for lane in self.lanes:
            if lane.going:
                lane.write(self.step, self.bar.speed())

    def validate(self) -> dict[int, float]:
        """Scores the validation split; the lanes whose loss is the best so far, with it, where losses compare.
        Schedules count as at the run's end, so that a warm-up does not make early losses look good."""
        own = (optim.evaluated(self.layout.near(self.state)), self.numbers)
        parts, last = self.layout.parts(own, len(self.lanes)), jnp.asarray(self.setup.total - 1)

        def score(batch):
            keys = self.view.keys(batch, "noise")
            scores = jax.device_get([self.programs.score(part, (keys, batch, last)) for part in parts])
            return jax.tree.map(lambda *x: np.stack(x).reshape(-1, len(keys)).T, *scores)

        found = {name: mean_of_each(values) for name, values in self.view.map(score).items()}
        rows = hosts.agree(np.stack(list(found.values()), axis=-1))[0]
        improved, going = {}, [number for number, lane in enumerate(self.lanes) if lane.going]
        for number, lane in enumerate(self.lanes):
            if lane.going:
                row = dict(zip(found, rows[number].tolist()))
                lane.log.write(self.step, {f"validation_{name}": value for name, value in row.items()})
                if self.step < lane.rest:
                    continue
                if self.ranks and (best := lane.watch.see(row["loss"])) is not None:
                    improved[number] = best
                self.be_patient(lane)
        if going:
            middle = np.median(rows[going], axis=0).tolist()
            self.progress.validated(self.step, dict(zip(found, middle)), len(going))
        return improved

    def be_patient(self, lane: Lane) -> None:
        patience = self.setup.config.patience
        if patience is not None and lane.watch.stale >= patience and self.step < self.setup.total:
            why = f"{patience} validation{'s' * (patience > 1)} without improvement"
            lane.watch.outcome = {"outcome": "stopped early", "step": self.step, "why": why}
            self.write_last(lane, self.step)
            self.progress.say(f"{lane.name}{': ' if lane.name else ''}stopped early at step {self.step:,}: {why}")

    def hold(self, improved: dict[int, float]) -> None:
        """Of lanes that keep their best, the state of the `improved`, until the next checkpoint: to write each at once
        would take longer than the steps between two validations. What a kill loses, the steps made again find again."""
        if not improved or not (self.alone or self.setup.config.patience is not None):
            return
        state = self.layout.get(self.state) if self.alone else self.host_state()
        for number, loss in improved.items():
            lane = self.lanes[number]
            watch = replace(lane.watch, pending=lane.meter.pending())
            best = state if self.alone else jax.tree.map(lambda x, n=number: x[n], state)
            self.held[number] = jax.tree.map(np.array, best), watch, loss

    def save(self) -> None:
        """The state of all lanes together, after what they hold as their best: which of a run alone may be this."""
        for lane in self.lanes:
            lane.watch.pending = lane.meter.pending()
        if self.step in self.write_bests() and self.alone:
            return
        state = self.layout.near(self.state) if self.alone else self.host_state()
        self.checkpoints.save(self.step, state, self.meta([lane.watch for lane in self.lanes]))

    def write_bests(self) -> list[int]:
        """What is held; the steps that it is of."""
        held, self.held = self.held, {}
        for number, (state, watch, loss) in held.items():
            if self.alone:
                self.checkpoints.save(int(state.step), state, self.meta([watch]), loss)
            else:
                keep = self.lanes[number].keep
                assert keep is not None
                keep(state, watch, loss)
        return [int(state.step) for state, _, _ in held.values()]

    def meta(self, watches: list[Watch]) -> dict[str, Any]:
        return {"watch": [asdict(watch) for watch in watches], "data": self.setup.source.digest}

    def host_state(self) -> TrainState:
        """The lanes' states, without those that only fill the block."""
        return jax.tree.map(lambda x: x[: len(self.lanes)], self.layout.get(self.state))

    def stop(self) -> int:
        """The signal to end by, or 0. Of several processes all must end at one step, so there one that has come since
        they last agreed has to wait until they do again."""
        return next(iter(self.asked), 0) if hosts.count() == 1 else self.known

    def interrupt(self, by: int) -> None:
        self.checkpoints.wait()
        name = signal.Signals(by).name
        raise Interrupted(by, f"stopped by {name} at step {self.step:,}, saved: the same command goes on from there")

    def agree(self, call: int) -> int:
        """Of several processes: process 0's number of steps; and a signal that any of them has got is known to all."""
        if hosts.count() == 1:
            return call
        said = hosts.agree(np.array([call, max(self.asked, default=0)]))
        self.known = int(said[:, 1].max())
        return int(said[0, 0])


def next_call(call: int, count: int, seconds: float) -> int:
    """Steps in the next call, so that it takes about CALL_SECONDS; grown gently, for the first call compiles."""
    fit = max(1, int(CALL_SECONDS * count / seconds))
    return min(fit, 8 * call) if count == call or fit < call else call
