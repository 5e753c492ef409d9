"""The networks by name, with the defaults that suit them. Imports no jax."""

from typing import NamedTuple

from jaxae import own


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
OWN = Defaults("a function of the user's own, path/to/nets.py:mine", None, None, None, "")
ACTIVATIONS = ("relu", "gelu", "silu", "tanh", "elu", "leaky_relu", "identity")


def defaults(name: str) -> Defaults:
    """Of a network by its name, or of the user's own, which decides for itself what is not given."""
    return OWN if own.is_own(name) else NETWORKS[name]
