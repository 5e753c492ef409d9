"""From a Config to the objects it names."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae import data, likelihoods, methods, networks, optim, own, random, schedules
from jaxae.config import Config
from jaxae.data import pixels
from jaxae.data.feed import Feed
from jaxae.data.source import Source, Split
from jaxae.data.view import View
from jaxae.errors import InputError
from jaxae.names import LIKELIHOODS, OF_NETWORKS, SPLITS
from jaxae.schedules import at_step
from jaxae.train import init_state
from jaxae.types import Batch, Likelihood, Method, Net, Objective, TrainState

EVALUATION_KEY = 0  # held-out pixels and noise: the same for every run, whatever its seed
LOOKED_AT = 33  # steps of a schedule, from the first to the last, whose values are checked
MEAN_EXAMPLES = 10_000  # of the training split, evenly spread, for the decoder's first bias


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything a run is made of."""

    config: Config
    source: Source
    net: Net
    pixels: Callable
    weights: dict[str, Any]
    """The learning rate and the method's hyperparameters: numbers, or functions of the step."""
    total: int
    epoch: float
    """Steps in an epoch, a fraction too: epochs follow each other without a gap."""
    key: jax.Array

    def make(self, numbers: dict[str, Any]) -> tuple[Method, optax.GradientTransformation]:
        """The method and its optimiser, with `numbers` (tracers, perhaps) for the weights of those names."""
        weights, config = {**self.weights, **numbers}, self.config
        of_method = {name: weights[name] for name in config.hyperparameters}
        method = methods.factory(config.method)(self.net, **of_method)
        if not isinstance(method, Method):
            name = own.short(config.method)
            raise InputError(f"{name}: it returns a {type(method).__name__}: expected a jaxae.types.Method")
        tx = optim.make(
            config.optimizer,
            weights["learning_rate"],
            b1=config.b1,
            b2=config.b2,
            eps=config.eps,
            weight_decay=config.weight_decay,
            clip_norm=config.clip_norm,
            average=config.average,
            own=method.optimizers,
        )
        return method, tx

    def numbers(self) -> dict[str, np.float32]:
        """The real weights that are no schedules: what a compiled step takes as arguments."""
        own = {h.name for h in methods.entry(self.config.method).hyperparameters if h.scheduled}
        found = {name: w for name, w in self.weights.items() if name in own | {"learning_rate"}}
        return {name: np.float32(w) for name, w in found.items() if isinstance(w, float)}

    @cached_property
    def method(self) -> Method:
        with jax.ensure_compile_time_eval():  # arrays that a factory makes belong to no trace that asks for it first
            return self.make({})[0]

    def check(self) -> None:
        """Raises InputError where the method refuses a weight: a number, or what a schedule comes to on its way. In the
        compiled step they are tracers, which no factory can look at."""
        moving = {name: weight for name, weight in self.weights.items() if callable(weight) and name != "learning_rate"}
        if not moving:
            _ = self.method
        for step in np.linspace(0, self.total - 1, LOOKED_AT).astype(int) if moving else ():
            numbers = {name: float(at_step(weight, int(step))) for name, weight in moving.items()}
            try:
                with jax.ensure_compile_time_eval():
                    self.make(numbers)
            except InputError as error:
                shown = ", ".join(f"{name} {self.config.hyperparameters[name]}" for name in moving)
                raise InputError(f"{shown}, at step {step:,}: {error}") from None

    def held_out(self, numbers: dict[str, Any]) -> Method:
        """The method as it scores held-out data: nothing in the likelihood is fitted to the batch at hand."""
        net = self.net._replace(likelihood=likelihoods.held_out(self.likelihood))
        return dataclasses.replace(self, net=net).make(numbers)[0]

    def like(self, config: Config) -> "Setup":
        """The setup of a config that differs in its seeds and numbers alone: the data and the network are shared."""
        config = config.resolved()
        weights = _weights(config, self.total, self.epoch)
        made = dataclasses.replace(self, config=config, weights=weights, key=jax.random.key(config.seed))
        vars(made)["_first"] = self._first  # compiled once for all of them
        return made

    @cached_property
    def tx(self) -> optax.GradientTransformation:
        return self.make({})[1]

    @property
    def likelihood(self) -> Likelihood:
        return self.net.likelihood

    def view(self, split: str, seed: int = EVALUATION_KEY) -> View:
        return View(self.source.split(split), self.pixels, random.stream(jax.random.key(seed), "evaluation"))

    @property
    def order_seed(self) -> int:
        """Of the order of the data."""
        return self.config.seed if self.config.order_seed is None else self.config.order_seed

    def batch_at(self, step: int) -> Batch:
        """The batch of a step, as training sees it: in the run's order, its pixels drawn for that step. For a loop of
        one's own, whose key is `random.stream(setup.key, "noise")`."""
        return self._batch_at(step)

    @cached_property
    def _batch_at(self) -> Callable[[int], Batch]:
        feed = Feed(self.source.train, self.pixels, self.order_seed, self.config.batch_size, 1, resident=True)
        fetch = jax.jit(feed.fetch)
        return lambda step: fetch(self.key, jnp.asarray(step, jnp.int32), feed.data, feed.at(step, 1)[0])

    def every(self, duration: int | str) -> int:
        """Steps from one log line, validation or checkpoint to the next."""
        return schedules.duration(duration, self.total, self.epoch, up=True)

    def init(self) -> TrainState:
        """The state before the first step, from a compiled program: pure in the seed."""
        return self._first(self.numbers(), random.stream(self.key, "init"))

    def shapes(self) -> TrainState:
        """Shapes and types of `init`."""
        return self._shapes

    @cached_property
    def _shapes(self) -> TrainState:
        first = self._first  # made here, where nothing is traced yet
        return jax.eval_shape(first, self.numbers(), self.key)

    @cached_property
    def _first(self) -> Callable[..., TrainState]:
        batch = next(self.view("train").batches())

        def first(batch, numbers, key):
            return init_state(*self.make(numbers), key, batch)

        return partial(jax.jit(first), batch)


def build(config: Config, net: Net | None = None, source: Source | None = None) -> Setup:
    """Reads the data and makes the network. `net` takes the place of the config's: your own linen modules; `source` is
    the data where it has been read before."""
    config = of_net(config, net).resolved()
    source = source or data.load(config.data, config.validation)
    _check(config, source)
    epoch = len(source.train) / config.batch_size
    total = schedules.duration(config.steps, None, epoch)
    assert config.binarize is not None  # resolved
    setup = Setup(
        config=config,
        source=source,
        net=_informed(net or _network(config, source), source),
        pixels=pixels.make(config.binarize, source.decode),
        weights=_weights(config, total, epoch),
        total=total,
        epoch=epoch,
        key=jax.random.key(config.seed),
    )
    setup.check()
    if net is not None or own.is_own(config.method):
        _check_own(setup)
    if setup.method.given is not None:
        _check_labels(source, setup.net.seen)
    return setup


def of_net(config: Config, net: Net | None) -> Config:
    """The config of a run of the user's own `net`, which decides the latent size, the likelihood, and so what becomes
    of the pixels. Raises InputError for what only a network of jaxae's would heed."""
    if net is None:
        return config
    usual = Config()
    for name in ("network", *OF_NETWORKS, "dtype"):
        if (given := getattr(config, name)) not in (getattr(usual, name), net.likelihood.name):
            raise InputError(f"{name} {given!r}: net= takes its place, or says another: leave it out")
    kind = net.likelihood.name if net.likelihood.name in LIKELIHOODS else None
    binarize = config.binarize or (None if kind else "none")
    return dataclasses.replace(config, latent=net.latent, likelihood=kind, binarize=binarize)


def _check_own(setup: Setup) -> None:
    """Raises InputError where modules or a method of the user's own are not what training needs, before it needs it."""
    batch, method, name = next(setup.view("train").batches()), setup.method, own.short(setup.config.method)
    variables, keys = setup.shapes().variables, setup.view("train").keys(batch, "noise")
    made = jax.eval_shape(method.reconstruct, variables, batch)
    if made.shape != batch.x.shape:
        raise InputError(
            f"the decoder makes images of shape {made.shape[1:]}: expected {batch.x.shape[1:]}, the data's"
        )
    objective = jax.eval_shape(method.loss, variables, keys, batch, jnp.asarray(0))
    if not isinstance(objective, Objective):
        raise InputError(f"{name}: its loss is a {type(objective).__name__}: expected a jaxae.types.Objective")
    for metric, value in {"loss": objective.loss, **objective.metrics}.items():
        if value.shape != (len(batch.x),):
            raise InputError(
                f"{name}: {metric} has shape {list(value.shape)}: expected one number an example, [{len(batch.x)}] here"
            )
    if taken := {"loss", "grad_norm"} & set(objective.metrics):
        raise InputError(f"{name}: a metric {min(taken)}: every run has one of that name: rename it")


def _network(config: Config, source: Source) -> Net:
    assert config.network and config.likelihood and config.binarize  # resolved
    return networks.make(
        config.network,
        source.shape,
        config.latent,
        likelihoods.make(config.likelihood, config.scale),
        mean=training_mean(source, config.binarize),
        width=config.width,
        depth=config.depth,
        activation=config.activation,
        dtype=jnp.dtype(config.dtype),
    )


def _informed(net: Net, source: Source) -> Net:
    """With what a loss may need to know of the data, where the user has not said it."""
    labels = source.train.labels
    seen = tuple(np.unique(labels[labels >= 0]).tolist())
    return net._replace(
        examples=net.examples or len(labels), classes=net.classes or int(labels.max()) + 1, seen=net.seen or seen
    )


def training_mean(source: Source, binarize: str) -> np.ndarray:
    """The mean image of the training split, [height, width, channels] in [0, 1]."""
    whole = source.train
    spread = np.linspace(0, len(whole) - 1, min(MEAN_EXAMPLES, len(whole))).astype(np.int64)
    part = Split(whole.rows[spread], whole.labels[spread])
    grey = pixels.make("threshold" if binarize == "threshold" else "none", source.decode)
    view = View(part, grey, jax.random.key(0), chunk=1000)
    total = np.zeros(source.shape)
    for done, batch in enumerate(view.batches()):
        total += np.asarray(batch.x, np.float64)[: len(part) - done * view.chunk].sum(axis=0)
    return np.asarray(total / len(part), np.float32)


def _weights(config: Config, total: int, epoch: float) -> dict[str, Any]:
    scheduled = {h.name: h.scheduled for h in methods.entry(config.method).hyperparameters}
    own = {
        name: schedules.make(value, total, epoch) if scheduled[name] else value
        for name, value in config.hyperparameters.items()
    }
    return {**own, "learning_rate": schedules.make(config.learning_rate, total, epoch)}


def _check_labels(source: Source, seen: tuple[int, ...]) -> None:
    """Raises InputError where a method that is told the label would meet one of which it has no training example."""
    for name in SPLITS:
        if new := sorted(set(source.split(name).labels.tolist()) - {*seen, -1}):
            raise InputError(
                f"{source.name}: label {new[0]} is in its {name} split, and no training example has it: expected the "
                "classes of the training split (-1: unknown)"
            )


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
