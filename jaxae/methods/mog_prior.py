from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae import densities, gaussian, random
from jaxae.errors import at_least_one
from jaxae.methods.vae import weighted
from jaxae.types import Batch, Method, Net, Normal, PyTree, Variables, Weight


def mog_prior(net: Net, *, components: int = 50, beta: Weight = 1.0) -> Method:
    """VAE with a mixture-of-Gaussians prior: its means, variances and weights are learned with the rest.

    The mixture that Tomczak and Welling 2017 (arXiv:1705.07120) compare their VampPrior with; here its weights are
    learned too. The means start as draws from N(0, 1), each component with unit variance and the same weight.

    loss = -log p(x | z) + beta (log q(z | x) - log p(z)), p(z) = sum_k w_k N(z; mean_k, exp(log_var_k)), z ~ q(z | x),
    in nats an example: the KL to a mixture has no closed form, and is taken at the sample.

    components: Gaussians in the prior
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    at_least_one(components=components)
    return weighted(net, beta, prior(net.latent, components))


def prior(latent: int, components: int) -> gaussian.Prior:
    """A mixture whose means, log-variances and logits are `params["prior"]`."""

    def init(key, batch):
        shape = (components, latent)
        flat = {"log_var": jnp.zeros(shape, jnp.float32), "logits": jnp.zeros(components, jnp.float32)}
        return {"mean": jax.random.normal(key, shape, jnp.float32), **flat}

    def of(variables):
        own = variables.params["prior"]
        return Normal(own["mean"], own["log_var"]), own["logits"]

    return mixture(of, init)


def mixture(
    components: Callable[[Variables], tuple[Normal, Array]], init: Callable[[Array, Batch], PyTree]
) -> gaussian.Prior:
    """sum_k softmax(logits)_k N(mean_k, exp(log_var_k)); components: variables -> (Normal [k, latent], logits [k])."""

    def log_prob(variables, z):
        each, logits = components(variables)
        return densities.normal_mixture(z, each, jax.nn.log_softmax(logits))

    def draw(variables, keys):
        which, within = random.split(keys)
        each, logits = components(variables)
        k = jax.vmap(lambda key: jax.random.categorical(key, logits))(which)
        return gaussian.reparameterise(within, Normal(each.mean[k], each.log_var[k]))

    return gaussian.Prior(log_prob, draw, init)
