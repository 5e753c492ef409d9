"""The data-parallel axis, for losses that couple a batch: they must see the global batch, not a device's share.

Under a sharded `jit` the batch is global already and there is no axis. Under `pmap` or `shard_map` the step is
traced inside `over(name)`, and these functions reach across it.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Shaped

_name: ContextVar[str | None] = ContextVar("data_axis", default=None)
_asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)


@contextmanager
def over(name: str | None) -> Iterator[None]:
    """While tracing inside, the batch is one device's share along the mapped axis `name` (None: the whole)."""
    token = _name.set(name)
    try:
        yield
    finally:
        _name.reset(token)


def couples(fn: Callable[[], Any]) -> bool:
    """Whether `fn` reaches across the batch by the functions below; it is only traced."""
    asked: list[str] = []
    token = _asked.set(asked)
    try:
        with over(None):
            jax.eval_shape(fn)
    finally:
        _asked.reset(token)
    return bool(asked)


def places(count: int) -> Int[Array, " count"]:
    """Where the `count` examples at hand stand in the global batch."""
    first = 0 if _name.get() is None else jax.lax.axis_index(_name.get()) * count
    return first + jnp.arange(count, dtype=jnp.int32)


def mean(x: Any) -> Any:
    """The mean over the axis, leaf by leaf, of values that are already means over the local share."""
    _ask("mean")
    return x if _name.get() is None else jax.lax.pmean(x, _name.get())


def gather(x: Shaped[Array, "batch ..."]) -> Shaped[Array, "global ..."]:
    """The global batch of `x`, in its order."""
    _ask("gather")
    return x if _name.get() is None else jax.lax.all_gather(x, _name.get(), tiled=True)


def _ask(what: str) -> None:
    if (asked := _asked.get()) is not None:
        asked.append(what)
