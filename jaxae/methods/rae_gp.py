import jax.numpy as jnp

from jaxae import random
from jaxae.errors import InputError
from jaxae.methods.contractive_ae import squared_along
from jaxae.methods.rae import regularised
from jaxae.parts import bind, frozen
from jaxae.types import Method, Net, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def rae_gp(net: Net, *, beta: Weight = 0.1, weight: Weight = 0.1, probes: int = 0) -> Method:
    """Regularised autoencoder, gradient penalty: a decoder whose image moves little where the code moves.

    Ghosh et al. 2019 (arXiv:1903.12436), RAE-GP.

    loss = -log p(x | z) + beta/2 |z|^2 + weight/2 |dE[x|z]/dz|_F^2, z = encoder(x), in nats an example; the
    squared norm of the Jacobian of the decoder's mean sums over pixels and latent units. There is no prior: samples
    come from a density fitted to the codes after training.

    beta: weight of the code's size
    weight: of half the squared norm of the decoder's Jacobian at the code
    probes: random directions that estimate the norm, unbiased; 0: exact, by one forward pass a latent unit
    """
    if probes < 0:
        raise InputError(f"probes {probes}: expected 0, for the exact norm, or a number of random directions")
    parts = bind(net, outputs=net.latent)

    def penalty(variables, keys, z):
        if probes:
            directions = jnp.moveaxis(random.normal(keys, (probes, net.latent)).astype(z.dtype), 1, 0)
        else:
            directions = jnp.broadcast_to(jnp.eye(net.latent, dtype=z.dtype)[:, None], (net.latent, *z.shape))
        held = frozen(variables, "likelihood")  # whose scale is none of the Jacobian's business
        return squared_along(lambda z: parts.decode(held, z), z, directions) / (2 * max(1, probes))

    return regularised(parts, beta, weight, penalty)
