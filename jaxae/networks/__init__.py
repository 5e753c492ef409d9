"""Encoders and decoders by name, for images of any shape. Importing this costs no jax."""

from importlib import import_module
from typing import Any

from jaxae import own
from jaxae.errors import InputError, known
from jaxae.networks.catalogue import ACTIVATIONS, NETWORKS, defaults

__all__ = ["ACTIVATIONS", "NETWORKS", "make"]


def make(
    name: str,
    shape: tuple[int, ...],
    latent: int,
    likelihood: Any,
    *,
    mean: Any = None,
    width: int | None = None,
    depth: int | None = None,
    activation: str | None = None,
    dtype: Any = "float32",
) -> Any:
    """The Net of that name, or of the user's own function, for images of `shape`, (height, width, channels).

    Every decoder ends in a layer without bias and a parameter `bias` of the image's shape, which starts where
    the likelihood's mean is `mean` (the training mean image; None: at zero). For width, depth and activation,
    None is the network's default. `dtype` is the computation's: parameters and outputs are float32.
    Raises InputError.
    """
    given = {"width": width, "depth": depth, "activation": activation}
    _check(name, tuple(shape), mean, given)
    usual = defaults(name)
    chosen: dict[str, Any] = {k: getattr(usual, k) if v is None else v for k, v in given.items()}
    build = own.function(name) if own.is_own(name) else getattr(import_module(f"jaxae.networks.{usual.file}"), name)
    from jaxae.networks.layers import Spec, output_bias
    from jaxae.types import Net

    spec = Spec(shape=shape, bias=output_bias(likelihood, mean), dtype=dtype, **chosen)
    made = build(spec)
    if not isinstance(made, tuple) or len(made) != 2:
        said = f"gives a {type(made).__name__}"
        raise InputError(f"{own.short(name)}: it {said}: expected (outputs -> encoder, decoder), two of them")
    encoder, decoder = made
    return Net(encoder, decoder, likelihood, latent)


def _check(name: str, shape: tuple[int, ...], mean: Any, given: dict[str, Any]) -> None:
    if not own.is_own(name):
        known("network", name, NETWORKS)
    if len(shape) != 3 or min(shape) < 1:
        raise InputError(f"shape {shape}: expected (height, width, channels)")
    if mean is not None and mean.shape != shape:
        raise InputError(f"mean image of shape {mean.shape}: expected {shape}, the images' own")
    for what, value in given.items():
        if value is None:
            continue
        if name == "linear":
            raise InputError(f"{what} {value!r}: the linear network has none: leave it out, or choose mlp")
        if what == "activation":
            known("activation", value, ACTIVATIONS)
        elif value < 1:
            raise InputError(f"{what} {value!r}: expected at least 1")
