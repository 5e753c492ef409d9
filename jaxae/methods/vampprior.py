from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae import gaussian
from jaxae.errors import at_least_one
from jaxae.methods.mog_prior import mixture
from jaxae.methods.vae import weighted
from jaxae.types import Batch, Images, Method, Net, Weight

EDGE = 0.05  # a pseudo-input starts this far from black and white: nearer, the sigmoid lets little gradient through
NOISE = 0.1  # of the start, in logits: where there are more pseudo-inputs than images, it tells the copies apart


def vampprior(net: Net, *, pseudo: int = 500, beta: Weight = 1.0) -> Method:
    """VAE with a VampPrior: the prior is a mixture of the encoder's own posteriors at learned pseudo-inputs.

    Tomczak and Welling 2017 (arXiv:1705.07120), eq. 9 (the variational mixture of posteriors).

    loss = -log p(x | z) + beta (log q(z | x) - log p(z)), p(z) = (1/K) sum_k q(z | u_k), z ~ q(z | x), in nats an
    example: the KL is taken at the sample. A pseudo-input u_k is the sigmoid of what is trained; clipping to [0, 1], as
    the authors do, stops the gradient of a pixel outside, and binary images start at that edge. They start near the
    images of the batch that init is given, in random order, each used again only when all have been.

    pseudo: pseudo-inputs, K; every step encodes all of them
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    at_least_one(pseudo=pseudo)
    return weighted(net, beta, prior(net, pseudo))


def prior(net: Net, pseudo: int) -> gaussian.Prior:
    """The mean of q(z | u_k): `params["prior"]` are the logits of the u_k, beside the encoder's own parameters."""
    posterior = gaussian.bind(net).posterior

    def posteriors(variables):
        return posterior(variables, inputs(variables.params["prior"])), jnp.zeros(pseudo, jnp.float32)

    return mixture(posteriors, partial(near_images, pseudo))


def near_images(pseudo: int, key: Array, batch: Batch) -> Images:
    """Where the pseudo-inputs start, in logits."""
    for_order, for_noise = jax.random.split(key)
    order = jax.random.permutation(for_order, len(batch.x))[jnp.arange(pseudo) % len(batch.x)]
    x = jnp.clip(batch.x[order], EDGE, 1 - EDGE)
    return jax.scipy.special.logit(x) + NOISE * jax.random.normal(for_noise, x.shape, x.dtype)


def inputs(logits: Images) -> Batch:
    """The pseudo-inputs, to be encoded."""
    return Batch(jax.nn.sigmoid(logits), jnp.full(len(logits), -1), jnp.arange(len(logits)))
