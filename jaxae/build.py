"""From a Config to the objects it names. Beside `run.py` and the CLI, the only reader of a Config."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae import data, likelihoods, methods, networks, optim, random, schedules
from jaxae.config import Config
from jaxae.data import pixels
from jaxae.data.source import Source, Split
from jaxae.data.view import View
from jaxae.errors import InputError
from jaxae.train import init_state
from jaxae.types import Likelihood, Method, Net, TrainState

EVALUATION_KEY = 0  # held-out pixels and noise: the same for every run, whatever its seed
MEAN_EXAMPLES = 10_000  # of the training split, evenly spread, for the decoder's first bias


class Setup(NamedTuple):
    """Everything a run is made of. `weights` are the method's hyperparameters and the learning rate, as numbers or
    functions of the step."""

    config: Config
    source: Source
    method: Method
    tx: optax.GradientTransformation
    pixels: Callable
    likelihood: Likelihood
    weights: dict[str, Any]
    total: int
    epoch: float
    """Steps in an epoch, a fraction too: epochs follow each other without a gap."""
    key: jax.Array

    def view(self, split: str, seed: int = EVALUATION_KEY) -> View:
        return View(self.source.split(split), self.pixels, random.stream(jax.random.key(seed), "evaluation"))

    def steps(self, duration: int | str) -> int:
        return schedules.duration(duration, self.total, self.epoch)

    def init(self) -> TrainState:
        """The state before the first step, from a compiled program: pure in the seed."""
        batch = self.view("train").take(np.arange(self.config.batch_size))
        start = jax.jit(lambda key, batch: init_state(self.method, self.tx, key, batch))
        return start(random.stream(self.key, "init"), batch)


def build(config: Config, net: Net | None = None) -> Setup:
    """Reads the data and makes the method. `net` takes the place of the config's network: your own linen modules."""
    config = config.resolved()
    source = data.load(config.data, config.validation)
    _check(config, source)
    epoch = len(source.train) / config.batch_size
    total = schedules.duration(config.steps, None, epoch)
    if total >= 2**31:
        raise InputError(f"steps {config.steps}: {total:,} steps: expected fewer than 2,147,483,648")
    assert config.binarize is not None and config.likelihood is not None  # resolved
    make_pixels = pixels.make(config.binarize, source.decode)
    likelihood = likelihoods.make(config.likelihood, config.scale) if net is None else net.likelihood
    weights = {
        name: schedules.make(value, total, epoch) if scheduled else value
        for name, value, scheduled in _weights(config)
    }
    net = net or networks.make(
        config.network, source.shape, config.latent, likelihood,
        mean=training_mean(source, config.binarize), width=config.width, depth=config.depth,
        activation=config.activation, dtype=jnp.dtype(config.dtype),
    )  # fmt: skip
    method = methods.factory(config.method)(net, **{n: w for n, w in weights.items() if n in config.hyperparameters})
    tx = optim.make(
        config.optimizer, weights["learning_rate"], b1=config.b1, b2=config.b2, eps=config.eps,
        weight_decay=config.weight_decay, clip_norm=config.clip_norm, average=config.average,
    )  # fmt: skip
    return Setup(
        config, source, method, tx, make_pixels, likelihood, weights, total, epoch, jax.random.key(config.seed)
    )


def training_mean(source: Source, binarize: str) -> np.ndarray:
    """The mean image of the training split, [height, width, channels] in [0, 1]."""
    whole = source.train
    spread = np.linspace(0, len(whole) - 1, min(MEAN_EXAMPLES, len(whole))).astype(np.int64)
    part = Split(whole.rows[spread], whole.labels[spread])
    grey = pixels.make("threshold" if binarize == "threshold" else "none", source.decode)
    view = View(part, grey, jax.random.key(0), chunk=1000)
    total = sum(np.asarray(batch.x, np.float64)[: len(part) - i * view.chunk].sum(axis=0)
                for i, batch in enumerate(view.batches()))  # fmt: skip
    return np.asarray(total / len(part), np.float32)


def _weights(config: Config) -> list[tuple[str, Any, bool]]:
    entry = methods.entry(config.method)
    own = [(h.name, config.hyperparameters[h.name], h.scheduled) for h in entry.hyperparameters]
    return [*own, ("learning_rate", config.learning_rate, True)]


def _check(config: Config, source: Source) -> None:
    if config.batch_size > len(source.train):
        raise InputError(
            f"batch_size {config.batch_size}: {source.name} has {len(source.train)} training examples; "
            "expected no more than that"
        )
    if config.likelihood == "discretised_logistic" and source.decode is None and source.train.rows.dtype != np.uint8:
        raise InputError(
            f"likelihood discretised_logistic needs 256 grey levels (uint8); {source.name} has "
            f"{source.train.rows.dtype}: choose a gaussian"
        )
