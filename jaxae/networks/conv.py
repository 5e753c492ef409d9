"""Strided convolutions down, transposed ones up, for images of any size."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.networks import layers
from jaxae.networks.conv2d import Conv, ConvTranspose, Maps, NewMaps
from jaxae.networks.layers import Spec
from jaxae.types import Codes, Images

SMALLEST = 4  # stages are added until the image's longer side is no longer than this
DENSE = 8  # the dense layer's units, as a multiple of the width


def conv(spec: Spec) -> tuple[Callable, nn.Module]:
    """Convolutions of stride 2 and a dense layer, the decoder mirrored.

    On 64x64 images, the network of Locatello et al. 2018 (arXiv:1811.12359) as their code has it: 32-32
    channels of 4x4, 64-64 of 2x2, a dense layer of 256, and 4x4 throughout the decoder.
    """
    return spec.pair(Encoder, Decoder)


def sizes(spec: Spec, stages: int | None) -> list[tuple[int, int]]:
    """Height and width before each stage and after the last; None: as many stages as lead to 4x4."""
    height, width, _ = spec.shape
    if stages is None:
        stages = max(1, math.ceil(math.log2(max(height, width) / SMALLEST)))
    return [(-(-height // 2**i), -(-width // 2**i)) for i in range(stages + 1)]


def channels(spec: Spec, stage: int) -> int:
    """`width` in the first two stages, twice that in the others."""
    return spec.width if stage < 2 else 2 * spec.width


class Encoder(nn.Module):
    """Convolutions of stride 2, as many as `depth`, and a dense layer."""

    spec: Spec
    outputs: int

    @nn.compact
    def __call__(self, x: Images) -> Float[Array, "batch outputs"]:
        spec, h = self.spec, x
        act, init = layers.ACTIVATIONS[spec.activation], layers.hidden(spec.activation)
        for stage in range(len(sizes(spec, spec.depth)) - 1):
            kernel = 4 if stage < 2 else 2
            h = act(Conv(channels(spec, stage), kernel, 2, kernel_init=init, dtype=spec.dtype)(h))
        h = act(nn.Dense(DENSE * spec.width, dtype=spec.dtype, kernel_init=init)(h.reshape(len(h), -1)))
        return nn.Dense(self.outputs, dtype=spec.dtype, name="head")(h).astype(jnp.float32)


class Decoder(nn.Module):
    """The encoder's layers in reverse, by transposed convolutions."""

    spec: Spec

    @nn.compact
    def __call__(self, z: Codes) -> Images:
        spec = self.spec
        act, init = layers.ACTIVATIONS[spec.activation], layers.hidden(spec.activation)
        *before, smallest = sizes(spec, spec.depth)
        start = (*smallest, channels(spec, len(before) - 1))
        h = act(nn.Dense(DENSE * spec.width, dtype=spec.dtype, kernel_init=init)(z))
        h = act(nn.Dense(math.prod(start), dtype=spec.dtype, kernel_init=init)(h)).reshape(-1, *start)
        for stage in range(len(before) - 1, 0, -1):
            h = act(up(spec, h, channels(spec, stage - 1), before[stage]))
        return to_pixels(self, h)


def up(spec: Spec, h: Maps, features: int, size: tuple[int, int]) -> NewMaps:
    """Doubles the image by a transposed convolution and crops it to `size`, inside a compact module."""
    # An output sees a quarter of a 4x4 kernel of stride 2: four times the variance makes up for it.
    init = layers.hidden(spec.activation, gain=4.0)
    return ConvTranspose(features, 4, 2, kernel_init=init, dtype=spec.dtype)(h)[:, : size[0], : size[1]]


def to_pixels(decoder: nn.Module, h: Maps) -> NewMaps:
    """A decoder's last layer: doubles the image, crops it to its shape and adds the parameter `bias`."""
    spec = decoder.spec
    height, width, pixels = spec.shape
    last = ConvTranspose(pixels, 4, 2, False, layers.output(gain=4.0), spec.dtype, name="pixels")
    bias = decoder.param("bias", spec.bias, spec.shape)
    return last(h)[:, :height, :width].astype(jnp.float32) + bias[None]
