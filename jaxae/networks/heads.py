"""Small networks on vectors: between latent layers, discriminators, the nets inside a flow."""

from flax import linen as nn
from jaxtyping import Array, Float

from jaxae.networks import layers


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
