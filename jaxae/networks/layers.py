"""What the networks share: activations, initial weights, the decoder's last bias."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxae.types import Likelihood


@jax.custom_jvp
def relu(x):
    """max(x, 0). Its derivative looks at the result, as tanh's does, so that what came in need not be kept."""
    return jnp.maximum(x, 0)


@relu.defjvp
def _relu_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    y = relu(x)
    return y, jnp.where(y > 0, dx, jnp.zeros_like(dx))


ACTIVATIONS: dict[str | None, Callable] = {
    "relu": relu,
    "gelu": nn.gelu,
    "silu": nn.silu,
    "tanh": nn.tanh,
    "elu": nn.elu,
    "leaky_relu": nn.leaky_relu,
    "identity": lambda x: x,
    None: lambda x: x,
}


class Spec(NamedTuple):
    """What an architecture is built from: a function, jaxae's or the user's own, turns it into (outputs -> encoder,
    decoder). Of one's own, width, depth and activation are None where no flag gives them."""

    shape: tuple[int, ...]
    """Of an image: (height, width, channels)."""
    width: Any
    depth: Any
    activation: str | None
    dtype: Any
    """Of the computation."""
    bias: Callable
    """Initialiser (key, shape) of the decoder's last bias, where its mean is the training mean image."""

    def pair(self, encoder: type[nn.Module], decoder: type[nn.Module]) -> tuple[Callable, nn.Module]:
        return lambda outputs: encoder(self, outputs), decoder(self)


def hidden(activation: str | None, gain: float = 1.0) -> Callable:
    """Initial weights that multiply a layer's variance by `gain`: He et al. 2015 (arXiv:1502.01852) for the
    activations that let half of it through, LeCun's for tanh and the identity."""
    scale = 1.0 if activation in ("tanh", "identity", None) else 2.0
    return nn.initializers.variance_scaling(scale * gain, "fan_in", "truncated_normal")


def output(gain: float = 1.0) -> Callable:
    """Initial weights of a decoder's last layer: a tenth of the usual, so that the bias shows through."""
    return nn.initializers.variance_scaling(0.01 * gain, "fan_in", "truncated_normal")


def output_bias(likelihood: Likelihood, mean: Any) -> Callable:
    """The initialiser (key, shape) of a decoder's `bias`: the output whose mean is the image `mean`."""
    if mean is None:
        return lambda key, shape: jnp.zeros(shape, jnp.float32)
    image = jnp.asarray(mean, jnp.float32)
    return lambda key, shape: likelihood.bias(image)
