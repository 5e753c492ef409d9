"""The data-parallel axis, for losses that couple a batch: they must see the global batch, not a device's share.

Under a sharded `jit` the batch is global already and there is no axis. Under `pmap` or `shard_map` the step is
traced inside `over(name)`, and these functions reach across it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
from jaxtyping import Array, Float

_name: ContextVar[str | None] = ContextVar("data_axis", default=None)


@contextmanager
def over(name: str | None) -> Iterator[None]:
    """While tracing inside, the batch is one device's share along the mapped axis `name` (None: the whole)."""
    token = _name.set(name)
    try:
        yield
    finally:
        _name.reset(token)


def mean(x: Any) -> Any:
    """The mean over the axis, leaf by leaf, of values that are already means over the local share."""
    return x if _name.get() is None else jax.lax.pmean(x, _name.get())


def gather(x: Float[Array, "batch ..."]) -> Float[Array, "global ..."]:
    """The global batch of `x`, in its order."""
    return x if _name.get() is None else jax.lax.all_gather(x, _name.get(), tiled=True)
