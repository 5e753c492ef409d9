"""Small networks on vectors: between latent layers, discriminators."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.networks import layers
from jaxae.parts import Latents, only_params
from jaxae.types import Batch, Normal, PyTree


class MLP(nn.Module):
    """`depth` hidden layers of `width` units, and a linear one."""

    outputs: int
    width: int
    depth: int = 1
    activation: str = "relu"

    @nn.compact
    def __call__(self, x: Float[Array, "*batch inputs"]) -> Float[Array, "*batch outputs"]:
        for _ in range(self.depth):
            h = nn.Dense(self.width, kernel_init=layers.hidden(self.activation))(x)
            x = layers.ACTIVATIONS[self.activation](h)
        return nn.Dense(self.outputs, name="head")(x)


def normal(mlp: MLP, params: PyTree, h: Latents) -> Normal:
    """The diagonal Gaussian whose mean and log-variance are the halves of what the network makes of h."""
    return Normal(*jnp.split(jnp.asarray(mlp.apply({"params": params}, h)), 2, axis=-1))


def started(net: nn.Module, inputs: int) -> Callable[[Array, Batch], PyTree]:
    """The network's first parameters, as `with_params` asks for them."""
    return lambda key, batch: only_params(net.init(key, jnp.zeros((1, inputs))))
