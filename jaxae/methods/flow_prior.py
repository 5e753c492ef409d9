import jax.numpy as jnp

from jaxae import flows, gaussian, random
from jaxae.errors import at_least_one
from jaxae.methods.vae import weighted
from jaxae.networks.heads import started
from jaxae.types import Method, Net, Weight


def flow_prior(net: Net, *, couplings: int = 6, hidden: int = 128, beta: Weight = 1.0) -> Method:
    """VAE with a flow prior: affine couplings between the code and N(0, 1) are learned with the rest.

    Chen et al. 2016 (arXiv:1611.02731), whose prior is an autoregressive flow; here it is a RealNVP, Dinh et al. 2016
    (arXiv:1605.08803), eq. 7 and 8, which is as quick to sample as to score. It starts as the identity: as a VAE.

    loss = -log p(x | z) + beta (log q(z | x) - log p(z)), log p(z) = log N(f(z); 0, 1) + log |det df/dz|,
    z ~ q(z | x) = N(mean, exp(log_var)), in nats an example: the KL to a flow has no closed form, and is taken at the
    sample.

    couplings: layers of f; each moves one half of the units by what it reads of the other
    hidden: units of the hidden layer of each coupling
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    at_least_one(couplings=couplings, hidden=hidden)
    return weighted(net, beta, prior(net.latent, couplings, hidden))


def prior(latent: int, couplings: int, hidden: int) -> gaussian.Prior:
    """A RealNVP whose parameters are `params["prior"]`."""
    flow = flows.RealNVP(latent, couplings, hidden)

    def log_prob(variables, z):
        log_p = flow.apply({"params": variables.params["prior"]}, z.reshape(-1, latent), method="log_prob")
        return jnp.asarray(log_p).reshape(z.shape[:-1])

    def draw(variables, keys):
        u = random.normal(keys, (latent,))
        return flow.apply({"params": variables.params["prior"]}, u, method="inverse")

    return gaussian.Prior(log_prob, draw, started(flow, latent))
