import jax.numpy as jnp

from jaxae import axis, densities, gaussian
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight


def free_bits_vae(net: Net, *, free: Weight = 0.25) -> Method:
    """Free-bits VAE: the first nats of each latent unit cost nothing, so that none is given up before it is learned.

    Kingma et al. 2016 (arXiv:1606.04934), eq. 15, with each latent unit a group of its own.

    loss = -log p(x | z) + sum_j max(free, E KL(q(z_j | x) || N(0, 1))), in nats an example, with E the mean over the
    batch. The metric "elbo" has the KL itself.

    couples: the mean of a unit's KL, which decides whether it costs anything
    free: nats that each latent unit may carry at no cost
    """
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        terms = base.terms(variables, keys, batch)
        kl = axis.mean(jnp.mean(densities.kl_to_standard(terms.q), axis=0))
        cost = jnp.full_like(terms.kl, jnp.sum(jnp.maximum(at_step(free, step), kl)))
        return Objective(terms.reconstruction + cost, terms.state, terms.metrics(cost=cost))

    return base.method(loss)
