"""Networks of dense layers, on flattened images."""

import math
from collections.abc import Callable
from typing import ClassVar

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.networks import layers
from jaxae.networks.layers import Spec
from jaxae.types import Codes, Images


def linear(spec: Spec) -> tuple[Callable, nn.Module]:
    """The linear autoencoder: a squared error leads it to the principal subspace (Baldi and Hornik 1989)."""
    return spec._replace(width=0, depth=0).pair(Encoder, Decoder)


def mlp(spec: Spec) -> tuple[Callable, nn.Module]:
    """Hidden layers of equal width on both sides. With width 200, depth 2 and tanh, the network of the
    one-layer model in Burda et al. 2015 (arXiv:1509.00519)."""
    return spec.pair(Encoder, Decoder)


def gated_mlp(spec: Spec) -> tuple[Callable, nn.Module]:
    """Gated dense layers, as in Tomczak and Welling 2017 (arXiv:1705.07120), whose sizes are the defaults."""
    return spec.pair(GatedEncoder, GatedDecoder)


class Layer(nn.Module):
    """activation(W x + b)"""

    spec: Spec

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch width"]:
        return layers.ACTIVATIONS[self.spec.activation](_dense(self.spec, "linear")(x))


class Gated(nn.Module):
    """activation(W x + b) * sigmoid(V x + c): Dauphin et al. 2016 (arXiv:1612.08083)."""

    spec: Spec

    @nn.compact
    def __call__(self, x: Float[Array, "batch inputs"]) -> Float[Array, "batch width"]:
        gate = nn.sigmoid(_dense(self.spec, "gate")(x))
        # The square of a gate starts near 0.29 in the mean: 3.4 times the variance makes up for it.
        return layers.ACTIVATIONS[self.spec.activation](_dense(self.spec, "linear", gain=3.4)(x)) * gate


class Encoder(nn.Module):
    """Of the image as one vector: `depth` hidden layers of `width` units."""

    spec: Spec
    outputs: int
    layer: ClassVar[type[nn.Module]] = Layer

    @nn.compact
    def __call__(self, x: Images) -> Float[Array, "batch outputs"]:
        h = x.reshape(len(x), -1)
        for _ in range(self.spec.depth):
            h = self.layer(self.spec)(h)
        return nn.Dense(self.outputs, dtype=self.spec.dtype, name="head")(h).astype(jnp.float32)


class Decoder(nn.Module):
    """`depth` hidden layers of `width` units, and the pixels."""

    spec: Spec
    layer: ClassVar[type[nn.Module]] = Layer

    @nn.compact
    def __call__(self, z: Codes) -> Images:
        spec, h = self.spec, z
        for _ in range(spec.depth):
            h = self.layer(spec)(h)
        last = nn.Dense(math.prod(spec.shape), False, spec.dtype, kernel_init=layers.output(), name="pixels")
        bias = self.param("bias", spec.bias, spec.shape)
        return last(h).astype(jnp.float32).reshape(-1, *spec.shape) + bias[None]


class GatedEncoder(Encoder):
    """The same, each unit times a gate of its own."""

    layer: ClassVar[type[nn.Module]] = Gated


class GatedDecoder(Decoder):
    """The same, each unit times a gate of its own."""

    layer: ClassVar[type[nn.Module]] = Gated


def _dense(spec: Spec, name: str, gain: float = 1.0) -> nn.Dense:
    kernel_init = layers.hidden(spec.activation, gain)
    return nn.Dense(spec.width, dtype=spec.dtype, kernel_init=kernel_init, name=name)
