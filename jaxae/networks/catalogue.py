"""The networks by name, with the defaults that suit them. Imports no jax."""

from typing import NamedTuple


class Defaults(NamedTuple):
    about: str
    width: int | None
    """Units of a hidden layer, or channels of the first two stages."""
    depth: int | None
    """Hidden layers or blocks on each side; None: as many as the image's size asks for."""
    activation: str | None
    file: str


NETWORKS = {
    "linear": Defaults("one matrix and a bias on each side, nothing else", None, None, None, "dense"),
    "mlp": Defaults("`depth` hidden layers of `width` units", 512, 1, "relu", "dense"),
    "gated_mlp": Defaults("hidden layers of a linear map times a gate", 300, 2, "identity", "dense"),
    "conv": Defaults("`depth` strided convolutions (to about 4x4), a dense layer", 32, None, "relu", "conv"),
    "resnet": Defaults("strided convolutions, `depth` residual blocks after each", 32, 1, "silu", "resnet"),
    "grid": Defaults("convolutions alone: a code of places (a quarter of each side)", 32, 2, "silu", "grid"),
}
ACTIVATIONS = ("relu", "gelu", "silu", "tanh", "elu", "leaky_relu", "identity")
