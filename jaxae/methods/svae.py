import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae import sphere
from jaxae.errors import InputError
from jaxae.parts import Latents, bind
from jaxae.schedules import at_step
from jaxae.types import LogWeight, Method, Net, Objective, Weight

TINY = 1e-12  # a squared length: below it a vector has no direction, and no gradient


def svae(net: Net, *, beta: Weight = 1.0) -> Method:
    """Hyperspherical VAE: the code lies on a sphere, by a von Mises-Fisher posterior and a uniform prior.

    Davidson et al. 2018 (arXiv:1804.00891), section 3; the gradient through a sample is implicit, by Figurnov et al.
    2018 (arXiv:1805.08498), where theirs corrects for the rejections.

    loss = -log p(x | z) + beta KL(vMF(z; mu, kappa) || uniform), z ~ q(z | x) = vMF(z; mu, kappa), in nats an example.
    The KL is in closed form, and the densities are with respect to the area of the sphere. A latent of m is the unit
    sphere of R^m, which has m - 1 dimensions. The concentration is kappa = 1 + softplus. The code is mu; `decode` reads
    the direction of any code.

    codes: directions, one number fewer than they have: the decoder reads where a code points, and not how far
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    m = net.latent
    if m < 2:
        raise InputError(f"latent {m}: a hyperspherical code expected 2 or more; set a larger latent")
    parts = bind(net, outputs=m + 1)

    def posterior(variables, batch):
        mu, kappa = jnp.split(parts.encode(variables, batch), [m], axis=-1)
        return direction(mu), 1 + jax.nn.softplus(kappa[:, 0])

    def loss(variables, keys, batch, step):
        mu, kappa = posterior(variables, batch)
        reconstruction, state = parts.reconstruction(variables, sphere.sample(keys, mu, kappa), batch)
        kl = sphere.kl_to_uniform(kappa, m)
        metrics = {"reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl}
        return Objective(reconstruction + at_step(beta, step) * kl, state, metrics)

    def log_weight(variables, keys, batch):
        mu, kappa = posterior(variables, batch)
        z = sphere.sample(keys, mu, kappa)
        log_prior = jnp.full(kappa.shape, -sphere.log_area(m))
        return LogWeight(parts.log_prob(variables, z, batch), log_prior, sphere.log_prob(z, mu, kappa))

    def draw(variables, keys, batch):
        return sphere.sample(keys, *posterior(variables, batch))

    def embed(variables, batch):
        return posterior(variables, batch)[0]

    def decode(variables, z):
        return parts.decode(variables, direction(z))

    def reconstruct(variables, batch):
        return decode(variables, embed(variables, batch))

    def sample(variables, keys):
        return decode(variables, sphere.uniform(keys, m))

    return Method(
        parts.init, loss, embed, reconstruct, decode, sample, draw=draw, log_weight=log_weight, standard_prior=False
    )


def direction(x: Latents) -> Float[Array, "*samples batch latent"]:
    """x / |x|; a vector that has no direction is given the first axis's."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    has_one = squared > TINY
    first = jnp.broadcast_to(jnp.eye(1, x.shape[-1], dtype=x.dtype)[0], x.shape)
    return jnp.where(has_one, x / jnp.sqrt(jnp.where(has_one, squared, 1.0)), first)
