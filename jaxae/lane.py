"""One run in the loop, and what is done to several of them side by side."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import random
from jaxae.log import Log, Meter, NoLog, Rows
from jaxae.schedules import at_step
from jaxae.setup import Setup
from jaxae.types import PyTree, TrainState


@dataclass
class Watch:
    """What training must remember beside the state: it goes into each checkpoint."""

    best: float | None = None
    """The lowest validation loss so far."""
    stale: int = 0
    """Validations since then."""
    pending: dict[str, Any] | None = None
    """The meter's, since the last log line."""
    outcome: dict[str, Any] | None = None
    """Why it ended before its last step: {"outcome", "step", "why"}; None while it goes on."""
    total: int | None = None
    """Steps that the run was to have, for a validation counts schedules as at its end."""

    def see(self, loss: float) -> float | None:
        """Remembers a validation; the loss where it is the best so far, else None. What is not finite is never best."""
        if math.isfinite(loss) and (self.best is None or loss < self.best):
            self.best, self.stale = loss, 0
            return loss
        self.stale += 1
        return None


Keep = Callable[[TrainState, Watch, float], None]
"""What keeps a lane's best state by itself: (its state, its watch, the validation loss)."""


class Lane:
    """One run in the loop."""

    def __init__(self, setup: Setup, watch: Watch, log: Log | Rows | NoLog, name: str = "", keep: Keep | None = None):
        self.setup, self.watch, self.log, self.name = setup, watch, log, name
        self.meter = Meter(watch.pending)
        self.keep = keep
        config = setup.config
        self.rest = 0 if config.patience is None else setup.rests_from(setup.every(config.validate_every))
        """The step from which on validations count against the patience."""

    @property
    def going(self) -> bool:
        return self.watch.outcome is None

    def write(self, step: int, speed: dict[str, float]) -> None:
        """A log line: the means since the last, and the weights that a schedule moves."""
        weights = self.setup.weights.items()
        shown = {name: w for name, w in weights if callable(w) or name == "learning_rate"}
        now = {name: float(at_step(weight, step - 1)) for name, weight in shown.items()}
        self.log.write(step, {"epoch": step / self.setup.epoch, **self.meter.flush(), **now, **speed})


def mean_of_each(values: np.ndarray) -> np.ndarray:
    """Each lane's mean of [examples, lanes], summed in the same order however many there are."""
    return np.array([lane.mean(dtype=np.float64) for lane in np.ascontiguousarray(values.T)])


def stacked(trees: list[PyTree]) -> PyTree:
    """On a leading axis; keys stay keys."""

    def stack(*leaves):
        return jnp.stack(leaves) if random.is_key(leaves[0]) else np.stack(leaves)

    return jax.tree.map(stack, *trees)


def padded(tree: PyTree, padding: int) -> PyTree:
    """With the first lane again, `padding` times."""
    if not padding:
        return tree
    return jax.tree.map(lambda x: x[np.append(np.arange(len(x)), [0] * padding)], tree)
