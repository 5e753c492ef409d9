"""An autoencoder with a Gaussian posterior q(z|x) and some prior p(z), up to its loss: what the VAEs share; and the
one with a posterior that is no Gaussian's and the prior N(0, 1)."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae import bounds, densities, random
from jaxae import parts as parts_of
from jaxae.parts import Latents, Parts
from jaxae.schedules import at_step
from jaxae.types import (
    Batch,
    Codes,
    Keys,
    LogWeight,
    Method,
    Metrics,
    Net,
    Normal,
    Objective,
    PyTree,
    Variables,
    Weight,
)


class Prior(NamedTuple):
    """p(z). Where it is learned, its parameters are `params["prior"]`."""

    log_prob: Callable[[Variables, Latents], Float[Array, "*samples batch"]]
    draw: Callable[[Variables, Keys], Codes]
    init: Callable[[Array, Batch], PyTree] | None = None
    """(key, batch) -> params["prior"]; None where there are none"""


class Terms(NamedTuple):
    """The ELBO's terms at one z ~ q(z|x) an example, as the training batch is scored; in nats."""

    q: Normal
    z: Float[Array, "batch latent"]
    reconstruction: Float[Array, " batch"]
    kl: Float[Array, " batch"]
    """KL(q(z|x) || p(z)): in closed form for the prior N(0, 1), else log q(z|x) - log p(z) at the sample."""
    state: PyTree

    def metrics(self, **others: Float[Array, " batch"]) -> Metrics:
        own = {"reconstruction": self.reconstruction, "kl": self.kl, "elbo": -self.reconstruction - self.kl}
        return own | others


class Gaussian(NamedTuple):
    """What methods with a Gaussian posterior have in common; see `bind`."""

    parts: Parts
    posterior: Callable[[Variables, Batch], Normal]
    prior: Prior
    terms: Callable[[Variables, Keys, Batch], Terms]
    log_weights: Callable[..., tuple[LogWeight, PyTree]]
    """(variables, keys, batch, shape, estimator="plain") -> (log w of `shape` samples an example [*shape, batch] as the
    training batch is scored, the new state). What the estimators of the gradient are, `bounds` says."""
    method: Callable[..., Method]
    """(loss, **changes) -> the Method with that loss."""


def standard(latent: int) -> Prior:
    """N(0, 1)."""
    return Prior(
        lambda variables, z: densities.standard_normal(z),
        lambda variables, keys: random.normal(keys, (latent,)),
    )


def bind(net: Net, prior: Prior | None = None, parts: Parts | None = None) -> Gaussian:
    """`prior` is N(0, 1) unless given, `parts` those of the net: they encode to means and log-variances."""
    parts = parts or parts_of.bind(net, outputs=2 * net.latent)
    closed, prior = prior is None, prior or standard(net.latent)
    if prior.init is not None:
        parts = parts._replace(init=parts_of.with_params(parts.init, prior=prior.init))

    def posterior(variables, batch):
        return Normal(*jnp.split(parts.encode(variables, batch), 2, axis=-1))

    def terms(variables, keys, batch):
        q = posterior(variables, batch)
        z = reparameterise(keys, q)
        reconstruction, state = parts.reconstruction(variables, z, batch)
        if closed:
            kl = jnp.sum(densities.kl_to_standard(q), axis=-1)
        else:
            kl = densities.normal(z, q) - prior.log_prob(variables, z)
        return Terms(q, z, reconstruction, kl, state)

    def log_weights(variables, keys, batch, shape, estimator="plain"):
        q = posterior(variables, batch)
        z = reparameterise(keys, q, shape)

        def weigh(variables, z, q):
            reconstruction, state = parts.reconstruction(variables, z, batch)
            return LogWeight(-reconstruction, prior.log_prob(variables, z), densities.normal(z, q)), state

        return bounds.estimate(weigh, variables, z, q, estimator)

    def log_weight(variables, keys, batch):
        q = posterior(variables, batch)
        z = reparameterise(keys, q)
        return LogWeight(parts.log_prob(variables, z, batch), prior.log_prob(variables, z), densities.normal(z, q))

    def method(loss, **changes):
        own = parts_of.autoencoder(
            parts,
            loss,
            lambda variables, batch: posterior(variables, batch).mean,
            sample=lambda variables, keys: parts.decode(variables, prior.draw(variables, keys)),
            posterior=posterior,
            log_weight=log_weight,
            generative=parts_of.generative(parts, prior.draw, prior.log_prob),
            standard_prior=closed,
        )
        return own._replace(**changes)

    return Gaussian(parts, posterior, prior, terms, log_weights, method)


def drawn(
    net: Net,
    parts: Parts,
    draw: Callable[[Variables, Keys, Batch], tuple[Codes, Float[Array, " batch"]]],
    embed: Callable[[Variables, Batch], Codes],
    beta: Weight,
) -> Method:
    """The VAE with the prior N(0, 1) and any q(z|x) of which `draw` gives (z, log q(z|x)): the KL is taken there."""
    prior = standard(net.latent)

    def loss(variables, keys, batch, step):
        z, log_q = draw(variables, keys, batch)
        reconstruction, state = parts.reconstruction(variables, z, batch)
        kl = log_q - densities.standard_normal(z)
        metrics = {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl}
        return Objective(reconstruction + at_step(beta, step) * kl, state, metrics)

    def log_weight(variables, keys, batch):
        z, log_q = draw(variables, keys, batch)
        return LogWeight(parts.log_prob(variables, z, batch), densities.standard_normal(z), log_q)

    return parts_of.autoencoder(
        parts,
        loss,
        embed,
        sample=lambda variables, keys: parts.decode(variables, prior.draw(variables, keys)),
        draw=lambda variables, keys, batch: draw(variables, keys, batch)[0],
        log_weight=log_weight,
        generative=parts_of.generative(parts, prior.draw, prior.log_prob),
    )


def reparameterise(keys: Keys, q: Normal, shape: tuple[int, ...] = ()) -> Latents:
    """z = mean + exp(log_var / 2) noise, `shape` samples an example.

    Kingma and Welling 2013 (arXiv:1312.6114), eq. 10.
    """
    noise = random.normal(keys, (*shape, q.mean.shape[-1]))
    noise = jnp.moveaxis(noise, 0, -2)
    mean, scale = (jnp.broadcast_to(x, noise.shape) for x in (q.mean, jnp.exp(q.log_var / 2)))
    return mean + scale * noise


def product(one: Normal, other: Normal) -> Normal:
    """The product of two Gaussians, normalised: precisions add, and weigh the means."""
    share = jax.nn.sigmoid(other.log_var - one.log_var)
    return Normal(share * one.mean + (1 - share) * other.mean, -jnp.logaddexp(-one.log_var, -other.log_var))
