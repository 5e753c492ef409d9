"""Where trained models are measured: the data, the settings, and programs compiled once for all models of one shape."""

import contextlib
import math
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae import random
from jaxae.compiler import products
from jaxae.data.source import Source
from jaxae.data.view import View
from jaxae.evaluate.settings import USUAL, Settings, checked
from jaxae.types import Method, PyTree, Variables


class Model(NamedTuple):
    """A trained model. `numbers`: its learning rate and weights, where they are arguments of the compiled program."""

    numbers: dict[str, Any]
    variables: Variables
    step: int


Group = Callable[[Sequence[Model]], list[dict[str, Any]]]
"""models -> one dict of numbers a model. Beside numbers it may hold "notes", sentences for whoever reads them, and
"settings", what the numbers depend on."""

Each = Callable[..., PyTree]
"""(method, variables, keys, batch, step) -> arrays [batch, ...]"""


@dataclass(frozen=True, eq=False)
class Bench:
    """`make` gives the method for a model's numbers; `view` a split, by its name, as evaluation sees it."""

    name: str
    """Of the method."""
    make: Callable[[dict[str, Any]], Method]
    source: Source
    view: Callable[[str], View]
    split: str = "test"
    settings: Settings = USUAL
    lanes: str = "map"
    """How models share the device: "map", one after the other, or "vmap", `block` of them side by side."""
    block: int = 8
    track: Callable[[Iterable[Any], int], Generator[Any, None, None]] = lambda batches, total: (
        batch for batch in batches
    )
    """(batches, how many they are) -> these batches, with whoever waits for them told."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", checked(self.settings))

    @property
    def method(self) -> Method:
        """For what it has and lacks; its numbers are the defaults."""
        return self.make({})

    def program(self, fn: Callable[..., PyTree]) -> Callable[..., list[PyTree]]:
        """compiled(models, *shared) -> fn(method, variables, step, *shared) of each model, on the host.

        The programs of lanes "map" are those of a model alone. Shared keys are the same for every model, on purpose:
        what models differ in is then not the noise that they were measured with.
        """

        def one(model, *shared):
            numbers, variables, step = model
            return fn(self.make(numbers), variables, step, *jax.tree.map(_again, shared))

        if self.lanes == "map":
            alone = jax.jit(one, compiler_options=products())
            return lambda models, *shared: [jax.device_get(alone(_own(m), *shared)) for m in models]

        @partial(jax.jit, compiler_options=products())
        def beside(own, *shared):
            return jax.vmap(one, (0, *[None] * len(shared)))(own, *shared)

        def blocks(models: Sequence[Model], *shared: Any) -> list[PyTree]:
            found: list[PyTree] = []
            for start in range(0, len(models), self.block):
                some = list(models[start : start + self.block])
                filled = [_own(m) for m in some + [some[0]] * (self.block - len(some))]
                made = jax.device_get(beside(jax.tree.map(lambda *x: jnp.stack(x), *filled), *shared))
                found += [jax.tree.map(lambda x, n=n: x[n], made) for n in range(len(some))]
            return found

        return blocks

    def over(self, fn: Each, noise: str = "noise") -> Callable[..., list[PyTree]]:
        """compiled(models, view) -> fn of the whole view for each model: arrays [len(view), ...] on the host. `noise`
        names the stream of evaluation keys, one an example."""
        compiled = self.program(lambda method, variables, step, keys, batch: fn(method, variables, keys, batch, step))

        def whole(models: Sequence[Model], view: View) -> list[PyTree]:
            with contextlib.closing(self.track(view.batches(), math.ceil(len(view) / view.chunk))) as batches:
                parts = [compiled(models, view.keys(batch, noise), batch) for batch in batches]
            return [view.joined([part[n] for part in parts]) for n in range(len(models))]

        return whole


def _own(model: Model) -> tuple[dict[str, Any], Variables, Array]:
    return model.numbers, model.variables, jnp.asarray(model.step)


def _again(leaf: Any) -> Any:
    return jax.random.clone(leaf) if random.is_key(leaf) else leaf
