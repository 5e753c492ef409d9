from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae import densities, flows, gaussian
from jaxae.errors import at_least_one
from jaxae.gaussian import reparameterise
from jaxae.parts import bind, only_params, with_params
from jaxae.types import Batch, Codes, Method, Net, Normal, PyTree, Variables, Weight

Flow = Callable[[Variables, Codes, Float[Array, "batch context"]], tuple[Codes, Float[Array, " batch"]]]


def iaf_vae(net: Net, *, length: int = 4, hidden: int = 64, context: int = 16, beta: Weight = 1.0) -> Method:
    """VAE with inverse autoregressive flow: a Gaussian sample is pushed through gated autoregressive networks.

    Kingma et al. 2016 (arXiv:1606.04934), algorithm 1.

    loss = -log p(x | z_T) + beta (log q(z_T | x) - log N(z_T; 0, 1)), z_t = sigma_t z_(t-1) + (1 - sigma_t) m_t,
    log q(z_T | x) = log N(z_0; mean, exp(log_var)) - sum_t sum log sigma_t, z_0 ~ N(mean, exp(log_var)), in nats an
    example: the KL has no closed form, and is taken at the sample. (m_t, sigma_t) are functions of z_(t-1) and h, and
    the encoder makes (mean, log_var, h) of x. The code is where the flow takes the mean of z_0.

    length: of the flow, its steps, T; the order of the units is reversed from step to step
    hidden: units of the hidden layer of each step's network
    context: size of h, what the encoder tells every step beside the mean and the log-variance
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    at_least_one(length=length, hidden=hidden, context=context)
    module = flows.IAF(net.latent, length, hidden)

    def init(key, batch):
        return only_params(module.init(key, jnp.zeros((1, net.latent)), jnp.zeros((1, context))))

    def push(variables, z, h):
        return module.apply({"params": variables.params["flow"]}, z, h)

    return with_flow(net, context, push, beta, flow=init)


def with_flow(net: Net, context: int, push: Flow, beta: Weight, **own: Callable[[Array, Batch], PyTree]) -> Method:
    """The VAE whose q(z|x) is that of push(variables, z_0, h)[0], with z_0 ~ N(mean, exp(log_var)).

    The encoder makes `context` more numbers, h; `own` as in `with_params`.
    """
    parts = bind(net, outputs=2 * net.latent + context)

    def encode(variables, batch):
        mean, log_var, h = jnp.split(parts.encode(variables, batch), [net.latent, 2 * net.latent], axis=-1)
        return Normal(mean, log_var), h

    def draw(variables, keys, batch):
        q, h = encode(variables, batch)
        z0 = reparameterise(keys, q)
        z, log_det = push(variables, z0, h)
        return z, densities.normal(z0, q) - log_det

    def embed(variables, batch):
        q, h = encode(variables, batch)
        return push(variables, q.mean, h)[0]

    return gaussian.drawn(net, parts._replace(init=with_params(parts.init, **own)), draw, embed, beta)
