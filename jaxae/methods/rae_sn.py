from typing import Any

import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from jaxae import random
from jaxae.errors import InputError
from jaxae.methods.rae import regularised
from jaxae.parts import bind
from jaxae.types import Method, Net, PyTree, Variables, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}
Path = tuple[str, ...]


def rae_sn(net: Net, *, beta: Weight = 0.1) -> Method:
    """Regularised autoencoder, spectral normalisation: every kernel of the decoder has spectral norm one.

    Ghosh et al. 2019 (arXiv:1903.12436), RAE-SN; the normalisation: Miyato et al. 2018 (arXiv:1802.05957),
    algorithm 1.

    loss = -log p(x | z) + beta/2 |z|^2, z = encoder(x), in nats an example, where each kernel W of the decoder acts as
    W / s, s its largest singular value by one power iteration a step (a convolution's, of the matrix [taps and inputs,
    outputs]). There is no prior: samples come from a density fitted to the codes after training.

    beta: weight of the code's size
    """
    parts = bind(net, outputs=net.latent)

    def init(key, batch):
        start = parts.init(key, batch)
        kernels = kernels_of(start)
        keys = jax.random.split(random.stream(key, "spectral"), len(kernels))
        first = {
            path: jax.random.normal(k, w.shape[-1:], w.dtype)
            for k, (path, w) in zip(keys, kernels.items(), strict=True)
        }
        return start._replace(state={**start.state, "spectral": unflatten_dict(first)})

    def reconstruction(variables, z, batch):
        scaled, directions = normalised(variables)
        reconstruction, state = parts.reconstruction(scaled, z, batch)
        return reconstruction, {**state, "spectral": directions}

    own = parts._replace(
        init=init,
        decode=lambda variables, z: parts.decode(normalised(variables)[0], z),
        log_prob=lambda variables, z, batch: parts.log_prob(normalised(variables)[0], z, batch),
        reconstruction=reconstruction,
    )
    return regularised(own, beta)


def kernels_of(variables: Variables) -> dict[Path, Any]:
    """The decoder's kernels by their paths; [..., inputs, outputs] each."""
    flat = flatten_dict(variables.params["decoder"])
    kernels = {path: leaf for path, leaf in flat.items() if path[-1] == "kernel"}
    if not kernels:
        raise InputError("the decoder has no parameter 'kernel': expected linen layers, whose kernels are normalised")
    return kernels


def normalised(variables: Variables) -> tuple[Variables, PyTree]:
    """(variables whose decoder has its kernels divided, the directions to go on from)."""
    flat, directions = flatten_dict(variables.params["decoder"]), flatten_dict(variables.state["spectral"])
    for path, kernel in kernels_of(variables).items():
        size, directions[path] = largest(kernel.reshape(-1, kernel.shape[-1]), directions[path])
        flat[path] = kernel / jnp.where(size > 0, size, 1.0)
    params = {**variables.params, "decoder": unflatten_dict(flat)}
    return variables._replace(params=params), unflatten_dict(directions)


def largest(w: Float[Array, "inputs outputs"], u: Float[Array, " outputs"]) -> tuple[Float[Array, ""], Array]:
    """(the largest singular value of w, the right direction): one power iteration from u, with gradient to w alone."""
    fixed = jax.lax.stop_gradient(w)
    v = unit(fixed @ unit(u))
    u = unit(v @ fixed)
    return v @ w @ u, u


def unit(x: Float[Array, " n"]) -> Float[Array, " n"]:
    """x at length one; a zero is taken for the vector of ones."""
    x = jnp.where(jnp.any(x != 0), x, 1.0)
    return x / jnp.linalg.norm(x)
