import jax
import jax.numpy as jnp

from jaxae import densities, gaussian, leapfrog, random
from jaxae.gaussian import reparameterise
from jaxae.parts import with_params
from jaxae.types import Method, Net, Weight


def hamiltonian_vae(
    net: Net, *, leaps: int = 3, step_size: float = 0.05, tempering: float = 1.0, beta: Weight = 1.0
) -> Method:
    """Hamiltonian VAE: a Gaussian sample is moved along the slope of log p(x, z), by leapfrog steps with momentum.

    Caterini, Doucet and Sejdinovic 2018 (arXiv:1805.11328), algorithm 1.

    loss = -log p(x | z_K) + beta (log q(z_0 | x) - log N(z_K; 0, 1) + (|r_K|^2 - |g|^2) / 2), z_0 ~ q(z | x), r_0 = g
    / sqrt(b_0), g ~ N(0, 1), in nats an example. After a leap of (z, r) by the slope of log p(x, z), r is cooled by
    sqrt(b_(k-1) / b_k), where 1 / sqrt(b_k) falls from 1 / sqrt(b_0) to 1 as the square of k / K. Beta weighs the KL
    divergence, at the sample, of (z_K, r_K) from their prior: no less than that of z_K alone. The code is where the
    mean of z_0 goes without momentum. Training needs second derivatives, of the decoder.

    leaps: leapfrog steps, K
    step_size: of a leap, where training starts; each unit's own is learned, up to five times as long
    tempering: b_0, the inverse temperature of the first momentum, where training starts; at 1 it stays untempered
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    base, course = gaussian.bind(net), leapfrog.learned(net.latent, leaps, step_size, tempering)

    def move(variables, batch, z, g):
        """(z_K, r_K) from z_0 and g."""
        size, hot, coolings = course.of(variables)

        def slope(z):
            return jax.grad(lambda z: jnp.sum(base.parts.log_prob(variables, z, batch)))(z) - z

        def leap(carry, cooling):
            z, r, force = carry
            halfway = r + size / 2 * force
            z = z + size * halfway
            force = slope(z)
            return (z, cooling * (halfway + size / 2 * force), force), None

        return jax.lax.scan(leap, (z, hot * g, slope(z)), coolings)[0][:2]

    def draw(variables, keys, batch):
        for_z, for_r = random.split(keys)
        q = base.posterior(variables, batch)
        z0 = reparameterise(for_z, q)
        g = random.normal(for_r, (net.latent,)).astype(z0.dtype)
        z, r = move(variables, batch, z0, g)
        return z, densities.normal(z0, q) + densities.standard_normal(g) - densities.standard_normal(r)

    def embed(variables, batch):
        mean = base.posterior(variables, batch).mean
        return move(variables, batch, mean, jnp.zeros_like(mean))[0]

    parts = base.parts._replace(init=with_params(base.parts.init, leaps=course.init))
    return gaussian.drawn(net, parts, draw, embed, beta)
