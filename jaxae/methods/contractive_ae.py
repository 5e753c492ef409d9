from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae import random
from jaxae.errors import InputError
from jaxae.parts import autoencoder, bind
from jaxae.schedules import at_step
from jaxae.types import Images, Method, Net, Objective, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def contractive_ae(net: Net, *, weight: Weight = 0.1, probes: int = 0) -> Method:
    """Contractive autoencoder: the code is made to move little where the image moves.

    Rifai et al. 2011 (ICML). Theirs ties the decoder's weights to the encoder's; here they are free, so that a smaller
    code and a larger decoder lower the penalty too: weight decay is what holds that back.

    loss = -log p(x | z) + weight |dz/dx|_F^2, z = encoder(x), in nats an example. The squared Frobenius norm of the
    encoder's Jacobian sums over latent units and pixels. There is no prior to sample from.

    weight: of the squared norm of the encoder's Jacobian
    probes: random directions that estimate the norm, unbiased; 0: exact, by one reverse pass a latent unit
    """
    if probes < 0:
        raise InputError(f"probes {probes}: expected 0, for the exact norm, or a number of random directions")
    parts = bind(net, outputs=net.latent)

    def loss(variables, keys, batch, step):
        def encode(x):
            return parts.encode(variables, batch._replace(x=x))

        if probes:
            directions = jnp.moveaxis(random.normal(keys, (probes, *batch.x.shape[1:])), 1, 0)
            contraction = squared_along(encode, batch.x, directions) / probes
        else:
            contraction = squared_jacobian(encode, batch.x)
        reconstruction, state = parts.reconstruction(variables, encode(batch.x), batch)
        metrics = {"reconstruction": reconstruction, "contraction": contraction}
        return Objective(reconstruction + at_step(weight, step) * contraction, state, metrics)

    return autoencoder(parts, loss)


def squared_jacobian(f: Callable[[Images], Array], x: Images) -> Float[Array, " batch"]:
    """|df/dx|_F^2 an example, of an f of one row each with few outputs: one reverse pass an output."""
    z, back = jax.vjp(f, x)
    rows = jax.vmap(lambda unit: back(jnp.broadcast_to(unit[None], z.shape))[0])(jnp.eye(z.shape[-1], dtype=z.dtype))
    return jnp.sum(jnp.square(rows), axis=(0, *range(2, rows.ndim)))


def squared_along(
    f: Callable[[Array], Array], x: Float[Array, "batch ..."], directions: Float[Array, "directions batch ..."]
) -> Float[Array, " batch"]:
    """sum_v |df/dx v|^2 an example, over the directions v: one forward pass each. For v ~ N(0, 1) the mean of one term
    is |df/dx|_F^2; over a basis of the inputs the sum is that norm itself."""
    moved = jax.vmap(lambda v: jax.jvp(f, (x,), (v,))[1])(directions)
    return jnp.sum(jnp.square(moved), axis=(0, *range(2, moved.ndim)))
