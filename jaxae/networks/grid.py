"""A fully convolutional network: the numbers of its code are places of the image."""

import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.networks import layers
from jaxae.networks.conv import channels, sizes, to_pixels, up
from jaxae.networks.conv2d import Conv
from jaxae.networks.layers import Spec
from jaxae.networks.resnet import Block, Norm
from jaxae.types import Codes, Images

STAGES = 2  # halvings: 28x28 pixels are 7x7 places, 8x8 are 2x2


def grid(spec: Spec) -> tuple[Callable, nn.Module]:
    """Two convolutions of stride 2, `depth` residual blocks and a convolution of 1x1, the decoder mirrored.

    The shape is that of van den Oord et al. 2017 (arXiv:1711.00937), section 4.1, the blocks are those of `resnet`.
    There is no dense layer: the code is the grid of places in raster order, the channels of a place side by side.
    Where a position of a discrete code is as many numbers as a place has channels, or divides them, it belongs to one
    place. A latent size that is no multiple of the number of places is possible; numbers then belong to several.

    It suits methods whose code is the encoder's output. A VAE asks for means followed by log-variances: those are the
    upper and the lower half of the places, which see each other by the blocks alone.
    """
    return spec.pair(Encoder, Decoder)


def places(spec: Spec) -> tuple[int, int]:
    """Height and width of the grid."""
    return sizes(spec, STAGES)[-1]


def shares(spec: Spec, numbers: int) -> Float[np.ndarray, "cells numbers"]:
    """1 where a cell of the grid (a channel of a place, in raster order) belongs to a number of the code.

    There are as many channels as hold all the numbers. Where that is more cells than numbers, neighbours in the order
    share one, so that every number sees some of the image and no part of it is left out.
    """
    each = math.prod(places(spec))
    cells = each * -(-numbers // each)
    return np.eye(numbers, dtype=np.float32)[np.arange(cells) * numbers // cells]


class Encoder(nn.Module):
    """Two convolutions of stride 2 and `depth` residual blocks; each number is read at a place of its own."""

    spec: Spec
    outputs: int

    @nn.compact
    def __call__(self, x: Images) -> Float[Array, "batch outputs"]:
        spec, h = self.spec, x
        act, init = layers.ACTIVATIONS[spec.activation], layers.hidden(spec.activation)
        h = act(Conv(channels(spec, 0), 4, 2, kernel_init=init, dtype=spec.dtype)(h))
        h = Conv(channels(spec, 1), 4, 2, dtype=spec.dtype)(h)
        for _ in range(spec.depth):
            h = Block(spec, spec.depth)(h)
        of = shares(spec, self.outputs)
        h = Conv(len(of) // math.prod(places(spec)), 1, dtype=spec.dtype, name="head")(Norm(spec)(h))
        h = h.reshape(len(h), -1).astype(jnp.float32)
        if len(of) == self.outputs:
            return h
        return jnp.matmul(h, of / of.sum(axis=0, keepdims=True), precision="highest")


class Decoder(nn.Module):
    """Each number of the code at the place where it was read, `depth` residual blocks, and back to the image's size."""

    spec: Spec

    @nn.compact
    def __call__(self, z: Codes) -> Images:
        spec, of = self.spec, shares(self.spec, z.shape[-1])
        if len(of) > z.shape[-1]:
            z = jnp.matmul(z, of.T, precision="highest")  # copies: no digit may be lost
        h = Conv(channels(spec, 1), 1, dtype=spec.dtype)(z.reshape(len(z), *places(spec), -1))
        for _ in range(spec.depth):
            h = Block(spec, spec.depth)(h)
        h = up(spec, Norm(spec)(h), channels(spec, 0), sizes(spec, STAGES)[1])
        return to_pixels(self, layers.ACTIVATIONS[spec.activation](h))
