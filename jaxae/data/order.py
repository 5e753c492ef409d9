"""The order of the data: a pure function of (seed, step), so that nothing of it is ever saved.

A run reads one endless row of epochs, each a fresh permutation of the split. Step t takes the places t B to
t B + B - 1 of it: every example exactly once an epoch, whatever the batch size, and a batch may straddle two.
"""

import contextlib
from collections.abc import Callable
from functools import partial

import jax
import numpy as np
from jaxtyping import Array

from jaxae import random


@partial(jax.jit, static_argnums=2)
def _bits(seed: Array, epoch: Array, size: int) -> Array:
    key = random.stream(jax.random.key(seed), "order")
    return jax.random.bits(jax.random.fold_in(key, epoch), (2, size), np.uint32)


def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """The permutation of that epoch, int32 [size]: the places of 64 random bits an example, sorted. NumPy sorts them,
    since `jax.random.permutation` takes a CPU ten times as long, a twentieth of an epoch of large batches. A CPU draws
    them too, where there is one: behind a step on an accelerator they would wait for its end."""
    with _on_a_cpu():
        high, low = np.asarray(_bits(np.uint32(seed), np.uint32(epoch), size)).astype(np.uint64)
    return np.argsort(high << np.uint64(32) | low, kind="stable").astype(np.int32)


def _on_a_cpu() -> contextlib.AbstractContextManager:
    if jax.default_backend() != "cpu":
        with contextlib.suppress(RuntimeError):  # JAX_PLATFORMS may leave it out
            return jax.default_device(jax.local_devices(backend="cpu")[0])
    return contextlib.nullcontext()


def batch_indices(
    seed: int,
    step: int,
    count: int,
    batch_size: int,
    size: int,
    order: Callable[[int, int, int], np.ndarray] = epoch_order,
) -> np.ndarray:
    """The examples of steps `step` to `step + count - 1`: int32 [count, batch_size]. `order` may remember epochs."""
    first, last = step * batch_size, (step + count) * batch_size
    parts = [
        order(seed, epoch, size)[max(first - epoch * size, 0) : last - epoch * size]
        for epoch in range(first // size, (last - 1) // size + 1)
    ]
    return np.concatenate(parts).reshape(count, batch_size)
