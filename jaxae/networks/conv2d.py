"""Convolutions with two implementations and one set of parameters.

On a CPU, XLA gives `lax.conv` inside a compiled loop a kernel several times slower than outside it. There a convolution
is a matrix product of gathered patches, and a transposed one a matrix product whose columns are summed where they
overlap. Accelerators have kernels of their own for `lax.conv`.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jaxtyping import Array, Float

Maps = Float[Array, "batch height width inputs"]
NewMaps = Float[Array, "batch new_height new_width outputs"]
Kernel = Float[Array, "rows cols inputs outputs"]
LAYOUT = ("NHWC", "HWIO", "NHWC")


def conv_lax(x: Maps, kernel: Kernel, stride: int) -> NewMaps:
    return lax.conv_general_dilated(x, kernel, (stride, stride), "SAME", dimension_numbers=LAYOUT)


def conv_matmul(x: Maps, kernel: Kernel, stride: int) -> NewMaps:
    """out[i, j] = sum over taps (t, u) of x[stride i + t - before, stride j + u - before] @ kernel[t, u]."""
    rows, cols, _, outputs = kernel.shape
    size = x.shape[1:3]
    edges = lax.padtype_to_pads(size, (rows, cols), (stride, stride), "SAME")
    x = jnp.pad(x, ((0, 0), *edges, (0, 0)))
    high, wide = (stride * (-(-n // stride) - 1) + 1 for n in size)
    patches = [x[:, t : t + high : stride, u : u + wide : stride] for t in range(rows) for u in range(cols)]
    return _product(jnp.concatenate(patches, axis=-1), _flat(kernel).reshape(-1, outputs))


def conv_transpose_lax(x: Maps, kernel: Kernel, stride: int) -> NewMaps:
    return lax.conv_transpose(x, kernel, (stride, stride), "SAME", dimension_numbers=LAYOUT)


def conv_transpose_matmul(x: Maps, kernel: Kernel, stride: int) -> NewMaps:
    """out[stride i + before - t, stride j + before - u] += x[i, j] @ kernel[t, u], for every tap (t, u)."""
    rows, cols, inputs, _ = kernel.shape
    taps = _product(x, _flat(kernel).reshape(kernel.shape).transpose(2, 1, 0, 3).reshape(inputs, -1))
    wide = overlap_add(jnp.split(taps, cols, axis=-1), 2, stride)
    return overlap_add(jnp.split(wide, rows, axis=-1), 1, stride)


def overlap_add(taps: list[Array], axis: int, stride: int) -> Array:
    """Sums tap t's entry i into stride * i + before - t along `axis`.

    Each of the `stride` phases of the output is a sum of shifted taps, and the phases are interleaved.
    A dilated input would cost products with zeros.
    """
    before = len(taps) - 1 - max(len(taps) - stride, 0) // 2  # as lax.conv_transpose pads for "SAME"
    phases = []
    for phase in range(stride):
        terms = [_shift(tap, (phase + t - before) // stride, axis)
                 for t, tap in enumerate(taps) if (phase + t - before) % stride == 0]  # fmt: skip
        phases.append(sum(terms[1:], terms[0]) if terms else jnp.zeros_like(taps[0]))
    y = jnp.stack(phases, axis + 1)
    return y.reshape(*y.shape[:axis], -1, *y.shape[axis + 2 :])


def _shift(x: Array, by: int, axis: int) -> Array:
    """y[i] = x[i + by], zero beyond the ends."""
    edges = [(0, 0, 0)] * x.ndim
    edges[axis] = (-by, by, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), edges)


def _product(x: Maps, matrix: Float[Array, "inputs outputs"]) -> NewMaps:
    """x @ matrix, as a product of two matrices: for the gradient of one with more axes XLA would first copy x's whole
    gradient, transposed."""
    return (x.reshape(-1, x.shape[-1]) @ matrix).reshape(*x.shape[:-1], -1)


def _flat(kernel: Kernel) -> Float[Array, " size"]:
    """The kernel as a vector, so that its gradient reaches the optimiser as one. A transposed gradient would be fused
    with the update, and XLA rounds that fusion otherwise in a compiled loop, where parameters change in place."""
    return lax.optimization_barrier(kernel.reshape(-1))


class Conv(nn.Module):
    """A convolution, padded so that the output is the input's size over `stride`, rounded up ("SAME").

    Parameters: kernel [kernel, kernel, in, out] and bias [out]. `matmul` chooses the implementation; None:
    matrix products where the default backend is the CPU.
    """

    features: int
    kernel: int = 3
    stride: int = 1
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()
    dtype: Any = "float32"
    matmul: bool | None = None

    implementations = (conv_lax, conv_matmul)

    @nn.compact
    def __call__(self, x: Maps) -> NewMaps:
        matmul = jax.default_backend() == "cpu" if self.matmul is None else self.matmul
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape, jnp.float32)
        y = self.implementations[matmul](x.astype(self.dtype), kernel.astype(self.dtype), self.stride)
        if not self.use_bias:
            return y
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        return y + bias.astype(self.dtype).reshape(1, 1, 1, -1)


class ConvTranspose(Conv):
    """A transposed convolution ("SAME"), to `stride` times the input's size; parameters as Conv's."""

    implementations = (conv_transpose_lax, conv_transpose_matmul)
