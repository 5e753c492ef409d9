from collections.abc import Callable

import jax
import jax.numpy as jnp

from jaxae.parts import Parts, autoencoder, bind
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def rae(net: Net, *, beta: Weight = 0.1, weight: Weight = 0.001) -> Method:
    """Regularised autoencoder: small codes and small decoder weights take the place of a VAE's noise.

    Ghosh et al. 2019 (arXiv:1903.12436), RAE-L2.

    loss = -log p(x | z) + beta/2 |z|^2 + weight |W|^2, z = encoder(x), in nats an example; W is all of the decoder's
    parameters but its biases. There is no prior: samples come from a density fitted to the codes after training.

    beta: weight of the code's size
    weight: of the sum of squares of the decoder's weights
    """
    parts = bind(net, outputs=net.latent)

    def penalty(variables, keys, z):
        leaves = jax.tree_util.tree_leaves_with_path(variables.params["decoder"])
        squares = [jnp.sum(jnp.square(leaf)) for path, leaf in leaves if path[-1].key != "bias"]
        return jnp.full((len(z),), sum(squares))

    return regularised(parts, beta, weight, penalty)


def regularised(parts: Parts, beta: Weight, weight: Weight = 0.0, penalty: Callable | None = None) -> Method:
    """What the variants share; `penalty` is (variables, keys, z) -> [batch]."""

    def loss(variables, keys, batch, step):
        z = parts.encode(variables, batch)
        reconstruction, state = parts.reconstruction(variables, z, batch)
        size = jnp.sum(jnp.square(z), axis=-1) / 2
        value, metrics = reconstruction + at_step(beta, step) * size, {"reconstruction": reconstruction, "code": size}
        if penalty is not None:
            metrics["penalty"] = penalty(variables, keys, z)
            value = value + at_step(weight, step) * metrics["penalty"]
        return Objective(value, state, metrics)

    return autoencoder(parts, loss)
