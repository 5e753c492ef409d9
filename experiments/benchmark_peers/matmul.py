"""The machine's own matrix-product rate: float32, in floating-point operations a second. 2048 x 2048 on a CPU; 8192 x
8192 on an accelerator, in the arithmetic that is the library's there for float32 (TF32 on NVIDIA's)."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from experiments.benchmark_peers import protocol
from experiments.benchmark_peers.protocol import Task

SIZE, LARGE = 2048, 8192
AT_ONCE = 5  # products that are asked for before the clock is read


def with_jax(task: Task) -> dict[str, Any]:
    import jax

    product = jax.jit(lambda a, b: a @ b)
    size = SIZE if jax.default_backend() == "cpu" else LARGE
    a, b = (jax.numpy.asarray(x) for x in operands(size))
    return measured(lambda: product(a, b), jax.block_until_ready, size, task.seconds)


def with_torch(task: Task) -> dict[str, Any]:
    import torch

    from experiments.benchmark_peers.torch_nets import DEVICE, wait

    size = SIZE if DEVICE == "cpu" else LARGE
    a, b = (torch.from_numpy(x).to(DEVICE) for x in operands(size))
    return measured(lambda: a @ b, wait, size, task.seconds)


def operands(size: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.normal(size=(size, size)).astype(np.float32) for _ in range(2)]


def measured(product: Callable[[], Any], wait: Callable[[Any], Any], size: int, seconds: float) -> dict[str, Any]:
    for _ in range(3):
        wait(product())
    begun, made = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < seconds:
        wait([product() for _ in range(AT_ONCE)])
        made += AT_ONCE
    return {"rate": made * 2 * size**3 / elapsed}


if __name__ == "__main__":
    protocol.main({"jax": with_jax, "torch": with_torch})
