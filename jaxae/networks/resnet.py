"""Residual networks without batch statistics, so that no example sees another."""

import math
from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.networks import layers
from jaxae.networks.conv import channels, sizes, to_pixels, up
from jaxae.networks.conv2d import Conv, Maps
from jaxae.networks.layers import Spec
from jaxae.types import Codes, Images


def resnet(spec: Spec) -> tuple[Callable, nn.Module]:
    """The stages of `conv`, each with `depth` residual blocks at its smaller size; the decoder mirrored.

    Pre-activation blocks (He et al. 2016, arXiv:1603.05027) with group normalisation (Wu and He 2018,
    arXiv:1803.08494) in place of batch normalisation. The stride comes first, so no block runs at full size.
    """
    return spec.pair(Encoder, Decoder)


class Norm(nn.Module):
    """Group normalisation and the activation. A group has four channels or more where there are as many,
    so that an image of one pixel is not normalised to zero."""

    spec: Spec

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        features = x.shape[-1]
        groups = math.gcd(features // 4, 8) if features % 4 == 0 else 1
        norm = nn.GroupNorm(groups, epsilon=1e-5, use_fast_variance=False, dtype=self.spec.dtype)
        return layers.ACTIVATIONS[self.spec.activation](norm(x))


class Block(nn.Module):
    """x + conv(norm(conv(norm(x)))); the second convolution starts small by the number of blocks, so that the
    variance at the end does not grow with depth."""

    spec: Spec
    blocks: int

    @nn.compact
    def __call__(self, x: Maps) -> Maps:
        spec, features = self.spec, x.shape[-1]
        inits = (layers.hidden(spec.activation), layers.hidden(spec.activation, gain=1 / self.blocks))
        h = x
        for init in inits:
            h = Conv(features, kernel_init=init, dtype=spec.dtype)(Norm(spec)(h))
        return x + h


class Encoder(nn.Module):
    """`depth` residual blocks behind each convolution of stride 2, and a dense layer."""

    spec: Spec
    outputs: int

    @nn.compact
    def __call__(self, x: Images) -> Float[Array, "batch outputs"]:
        spec, h = self.spec, x
        stages = len(sizes(spec, None)) - 1
        for stage in range(stages):
            h = Conv(channels(spec, stage), 4, 2, dtype=spec.dtype)(h)
            for _ in range(spec.depth):
                h = Block(spec, stages * spec.depth)(h)
        h = Norm(spec)(h).reshape(len(h), -1)
        return nn.Dense(self.outputs, dtype=spec.dtype, name="head")(h).astype(jnp.float32)


class Decoder(nn.Module):
    """The encoder's blocks in reverse, each stage twice the size."""

    spec: Spec

    @nn.compact
    def __call__(self, z: Codes) -> Images:
        spec = self.spec
        *before, smallest = sizes(spec, None)
        stages = len(before)
        start = (*smallest, channels(spec, stages - 1))
        h = nn.Dense(math.prod(start), dtype=spec.dtype)(z).reshape(-1, *start)
        for stage in range(stages - 1, -1, -1):
            for _ in range(spec.depth):
                h = Block(spec, stages * spec.depth)(h)
            if stage:
                h = up(spec, h, channels(spec, stage - 1), before[stage])
        return to_pixels(self, Norm(spec)(h))
