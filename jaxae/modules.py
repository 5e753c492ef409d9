"""What tells a net of the user's own from another: what its modules say of themselves, and what they compute."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import FlaxError
from jaxtyping import Array

from jaxae.digest import named_leaves
from jaxae.types import Net, PyTree, TrainState

OUTPUTS = 2  # of the encoder that is asked


def described(net: Net, shapes: TrainState, image: tuple[int, int, int]) -> dict[str, Any]:
    """For record.json. `shapes` are those of the run's state; `image` is [height, width, channels]."""
    parts = {"encoder": net.encoder(OUTPUTS), "decoder": net.decoder}
    said = {name: re.sub(r" at 0x[0-9a-f]+", "", repr(module)) for name, module in parts.items()}
    parameters = {name: list(leaf.shape) for name, leaf in named_leaves(shapes.variables.params).items()}
    of_net = {"likelihood": net.likelihood.name, "scale": net.likelihood.scale, "latent": net.latent}
    return {**said, "parameters": parameters, **of_net, "what they compute": _computes(net, image)}


def _computes(net: Net, image: tuple[int, int, int]) -> list[float]:
    """A few numbers that the modules and the likelihood make of fixed parameters and inputs, to four digits; none where
    the decoder does not take a code of the latent's size. An activation inside a module says nothing of itself: this
    does."""

    @jax.jit
    def probed():
        x, z = (1 + pattern((1, *image))) / 2, pattern((1, net.latent))
        code, out = _filled(net.encoder(OUTPUTS), x), _filled(net.decoder, z)
        log_p = net.likelihood.log_prob(net.likelihood.init(), out, x)
        return jnp.concatenate([code.reshape(-1), jnp.sum(out * pattern(out.shape))[None], log_p / x.size])

    try:
        return [float(f"{value:.4g}") for value in np.asarray(probed(), np.float64)]
    except (FlaxError, TypeError, ValueError):
        return []


def _filled(module: nn.Module, x: Array) -> Array:
    """What it makes of `x` with parameters of a fixed pattern."""
    shapes: PyTree = jax.eval_shape(module.init, jax.random.key(0), x)
    filled = jax.tree.map(lambda leaf: pattern(leaf.shape).astype(leaf.dtype) / 3, shapes)
    return jnp.asarray(module.apply(filled, x))


def pattern(shape: tuple[int, ...]) -> Array:
    """Numbers from -1 to 1."""
    size = int(np.prod(shape))
    return jnp.asarray(np.cos(1.7 * np.arange(size)), jnp.float32).reshape(shape)
