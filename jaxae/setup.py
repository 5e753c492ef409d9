"""What a run is made of, and the pure functions that come of it."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae import likelihoods, methods, modules, optim, own, random, schedules
from jaxae.config import Config
from jaxae.data.feed import Feed, fits_on_device
from jaxae.data.source import Source
from jaxae.data.view import View, at_once
from jaxae.errors import InputError, known, whole
from jaxae.start import Start
from jaxae.train import init_state
from jaxae.types import Batch, Likelihood, Method, Net, Objective, TrainState

EVALUATION_KEY = 0  # held-out pixels and noise: the same for every run, whatever its seed


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything a run is made of."""

    config: Config
    entry: methods.Entry
    factory: Callable[..., Method]
    update: optim.Rule
    """Both read once: a file of the user's own that is edited afterwards changes nothing here."""
    source: Source
    net: Net
    pixels: Callable
    weights: dict[str, Any]
    """The learning rate and the method's hyperparameters: numbers, or functions of the step."""
    total: int
    epoch: float
    """Steps in an epoch, a fraction too: epochs follow each other without a gap."""
    key: jax.Array
    code: dict[str, str]
    """The SHA-256 of files of the user's own, as FIELD_sha256."""
    start: Start | None = None
    """What it begins with of another run."""
    own_net: bool = False
    """Whether the modules are the user's own."""

    @cached_property
    def modules(self) -> dict[str, Any] | None:
        """What tells the user's own modules from others."""
        return modules.described(self.net, self.shapes(), self.source.shape) if self.own_net else None

    def make(self, numbers: dict[str, Any]) -> tuple[Method, optax.GradientTransformation]:
        """The method and its optimiser, with `numbers` (tracers, perhaps) for the weights of those names.
        Raises InputError for a name that is none's."""
        for name in numbers:
            known("weight", name, self.weights)
        weights, config = {**self.weights, **numbers}, self.config
        of_method = {name: weights[name] for name in config.hyperparameters}
        method = self.factory(self.net, **of_method)
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
            update=self.update,
        )
        return method, tx

    def loss(self, numbers: dict[str, Any], *arguments: Any) -> Objective:
        """The method's, its weights being arguments of the program, as in training."""
        return self.make(numbers)[0].loss(*arguments)

    def numbers(self) -> dict[str, np.float32]:
        """The real weights that are no schedules: what a compiled step takes as arguments."""
        own = {h.name for h in self.entry.hyperparameters if h.scheduled}
        found = {name: w for name, w in self.weights.items() if name in own | {"learning_rate"}}
        return {name: np.float32(w) for name, w in found.items() if isinstance(w, float)}

    @property
    def moving(self) -> dict[str, Callable]:
        """The method's weights that are schedules."""
        return {name: w for name, w in self.weights.items() if callable(w) and name != "learning_rate"}

    @cached_property
    def method(self) -> Method:
        with jax.ensure_compile_time_eval():  # arrays that a factory makes belong to no trace that asks for it first
            return self.make({})[0]

    def held_out(self, numbers: dict[str, Any]) -> Method:
        """The method as it scores held-out data: nothing in the likelihood is fitted to the batch at hand."""
        net = self.net._replace(likelihood=likelihoods.held_out(self.likelihood))
        return dataclasses.replace(self, net=net).make(numbers)[0]

    def rests_from(self, every: int) -> int:
        """The first of the steps that `every` divides from which on no weight of the method moves: before it a
        validation, which counts them as at the end, is of another loss than training's. 0 where none is a schedule."""
        steps = np.append(np.arange(every, self.total, every), self.total)
        values = [np.asarray(weight(jnp.asarray(steps - 1))) for weight in self.moving.values()]
        unlike = [np.flatnonzero(value != value[-1]) for value in values]
        return int(max((steps[at[-1] + 1] for at in unlike if len(at)), default=0))

    def like(self, config: Config, start: Start | None = None) -> "Setup":
        """The setup of a config that differs in its seeds and numbers alone: the data and the network are shared, and
        what it begins with too, unless that is of its own seed: then it is `start`. Raises InputError for a config that
        differs in more."""
        config = config.resolved()
        if config.structure() != self.config.structure():
            differing = "; ".join(self.config.difference(config).values())
            raise InputError(f"{differing}: expected a config that differs in its seeds and numbers alone")
        numbers = weights(config, self.entry, self.total, self.epoch)
        shared = None if self.start is None or self.start.of_seed else self.start
        key = jax.random.key(config.seed)
        made = dataclasses.replace(self, config=config, weights=numbers, key=key, start=start or shared)
        vars(made)["_first"] = self._first  # compiled once for all of them
        return made

    @cached_property
    def tx(self) -> optax.GradientTransformation:
        return self.make({})[1]

    @property
    def likelihood(self) -> Likelihood:
        return self.net.likelihood

    @property
    def own_likelihood(self) -> bool:
        """Whether it may be the user's own."""
        return self.own_net or "likelihood" in self.config.own_functions()

    def view(self, split: str, seed: int = EVALUATION_KEY) -> View:
        key = random.stream(random.fixed(seed), "evaluation")
        return View(self.source.split(split), self.pixels, key, at_once(self.source.shape))

    @property
    def order_seed(self) -> int:
        """Of the order of the data."""
        return self.config.seed if self.config.order_seed is None else self.config.order_seed

    def batch_at(self, step: int) -> Batch:
        """The batch of a step, as training sees it: in the run's order, its pixels drawn for that step. For a loop of
        one's own, whose key is `random.stream(setup.key, "noise")`."""
        return self._batch_at(whole("step", step, 0, 2**31 - 1))

    @cached_property
    def _batch_at(self) -> Callable[[int], Batch]:
        split = self.source.train
        feed = Feed(split, self.pixels, self.order_seed, self.config.batch_size, 1, resident=fits_on_device(split))
        fetch = jax.jit(feed.fetch)

        def batch(step):
            row = jax.tree.map(lambda rows: rows[0], feed.at(step, 1))
            return fetch(self.key, jnp.asarray(step, jnp.int32), feed.data, row)

        return batch

    def every(self, duration: int | str) -> int:
        """Steps from one log line, validation or checkpoint to the next."""
        return schedules.duration(duration, self.total, self.epoch, up=True)

    def init(self) -> TrainState:
        """The state before the first step, from a compiled program: pure in the seed, but for what it begins with of
        another run."""
        if self.start is None and self.config.start is not None:
            raise InputError(f"start {self.config.start}: expected the setup that jaxae.run.begin_with(setup) gives")
        state = self._first(self.numbers(), random.stream(self.key, "init"))
        return state if self.start is None else self.start.begun(state, self.tx)

    def shapes(self) -> TrainState:
        """Shapes and types of `init`."""
        return self._shapes

    @cached_property
    def _shapes(self) -> TrainState:
        first = self._first  # made here, where nothing is traced yet
        return jax.eval_shape(first, self.numbers(), self.key)

    @cached_property
    def _first(self) -> Callable[..., TrainState]:
        with jax.ensure_compile_time_eval():  # as `method`: what is kept belongs to no trace
            batch = next(self.view("train").batches())

        def first(batch, numbers, key):
            return init_state(*self.make(numbers), key, batch)

        return partial(jax.jit(first), batch)


def weights(config: Config, entry: methods.Entry, total: int, epoch: float) -> dict[str, Any]:
    scheduled = {h.name: h.scheduled for h in entry.hyperparameters}
    own = {
        name: schedules.make(value, total, epoch) if scheduled[name] else value
        for name, value in config.hyperparameters.items()
    }
    return {**own, "learning_rate": schedules.make(config.learning_rate, total, epoch)}
