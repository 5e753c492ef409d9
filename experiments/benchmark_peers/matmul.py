"""The machine's own matrix-product rate: float32, 2048 x 2048, in floating-point operations a second."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark_peers import protocol
from experiments.benchmark_peers.protocol import Task

SIZE = 2048


def with_jax(task: Task) -> dict[str, Any]:
    import jax

    product = jax.jit(lambda a, b: a @ b)
    a, b = (jax.numpy.asarray(x) for x in operands())
    return measured(lambda: jax.block_until_ready(product(a, b)), task.seconds)


def with_torch(task: Task) -> dict[str, Any]:
    import torch

    a, b = (torch.from_numpy(x) for x in operands())
    return measured(lambda: a @ b, task.seconds)


def operands() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(SIZE, SIZE)).astype(np.float32) for _ in range(2)]


def measured(product: Callable[[], Any], seconds: float) -> dict[str, Any]:
    for _ in range(3):
        product()
    begun, made = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < seconds:
        product()
        made += 1
    return {"rate": made * 2 * SIZE**3 / elapsed}


if __name__ == "__main__":
    protocol.main({"jax": with_jax, "torch": with_torch})
