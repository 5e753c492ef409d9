import jax
import jax.numpy as jnp

from jaxae.parts import autoencoder, bind
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def sparse_ae(net: Net, *, weight: Weight = 3.0) -> Method:
    """Sparse autoencoder: codes that are never negative, and zero where they can be, by a penalty of their sum.

    Cunningham et al. 2023 (arXiv:2309.08600), whose dictionary has rows of norm one. A decoder of any form has no rows:
    here smaller codes and a larger decoder lower the penalty too, which weight decay holds back.

    loss = -log p(x | z) + weight |z|_1, z = max(0, encoder(x)), in nats an example. There is no prior to sample from.

    weight: of the sum of an example's codes
    """
    parts = bind(net, outputs=net.latent)

    def embed(variables, batch):
        return jax.nn.relu(parts.encode(variables, batch))

    def loss(variables, keys, batch, step):
        z = embed(variables, batch)
        reconstruction, state = parts.reconstruction(variables, z, batch)
        size = jnp.sum(z, axis=-1)
        active = jnp.sum((z > 0).astype(z.dtype), axis=-1)
        metrics = {"reconstruction": reconstruction, "l1": size, "active": active}
        return Objective(reconstruction + at_step(weight, step) * size, state, metrics)

    return autoencoder(parts, loss, embed)
