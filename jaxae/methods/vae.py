from jax import numpy as jnp

from jaxae import densities, random
from jaxae.parts import bind
from jaxae.schedules import at_step
from jaxae.types import LogWeight, Method, Net, Normal, Objective, Weight

DEFAULTS = {"network": "mlp", "likelihood": "bernoulli", "binarize": "dynamic"}


def vae(net: Net, *, beta: Weight = 1.0) -> Method:
    """Variational autoencoder: a Gaussian code, sampled by reparameterisation and held near N(0, 1) by its KL.

    Kingma and Welling 2013 (arXiv:1312.6114), eq. 10; beta: Higgins et al. 2017 (ICLR), eq. 4.

    loss = -log p(x | z) + beta KL(q(z | x) || N(0, 1)), z = mean + exp(log_var / 2) noise, in nats an example.

    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    parts = bind(net, outputs=2 * net.latent)

    def posterior(variables, batch):
        return Normal(*jnp.split(parts.encode(variables, batch), 2, axis=-1))

    def reparameterise(keys, q):
        return q.mean + jnp.exp(q.log_var / 2) * random.normal(keys, (net.latent,))

    def loss(variables, keys, batch, step):
        q = posterior(variables, batch)
        reconstruction, state = parts.reconstruction(variables, reparameterise(keys, q), batch)
        kl = jnp.sum(densities.kl_to_standard(q), axis=-1)
        metrics = {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl}
        return Objective(reconstruction + at_step(beta, step) * kl, state, metrics)

    def log_weight(variables, keys, batch):
        q = posterior(variables, batch)
        z = reparameterise(keys, q)
        log_px = parts.log_prob(variables, z, batch)
        return LogWeight(log_px, densities.standard_normal(z), densities.normal(z, q))

    def embed(variables, batch):
        return posterior(variables, batch).mean

    return Method(
        init=parts.init,
        loss=loss,
        embed=embed,
        reconstruct=lambda variables, batch: parts.decode(variables, embed(variables, batch)),
        decode=parts.decode,
        sample=lambda variables, keys: parts.decode(variables, random.normal(keys, (net.latent,))),
        posterior=posterior,
        log_weight=log_weight,
    )
