from functools import partial

import jax
import jax.numpy as jnp

from jaxae import densities, gaussian, leapfrog, random, riemannian
from jaxae.errors import InputError, at_least_one
from jaxae.gaussian import reparameterise
from jaxae.methods.vampprior import inputs, near_images
from jaxae.parts import only_params, with_params
from jaxae.types import Method, Net, Weight


def riemannian_vae(
    net: Net, *, leaps: int = 3, step_size: float = 0.05, tempering: float = 1.0, centroids: int = 50,
    temperature: float = 1.0, regularisation: float = 0.1, rounds: int = 3, beta: Weight = 1.0,
) -> Method:  # fmt: skip
    """Riemannian Hamiltonian VAE: a Gaussian sample moves along the slope of log p(x, z), in a metric that is learned.

    Chadebec, Mantoux and Allassonniere 2020 (arXiv:2010.11518), with learned pseudo-inputs u_k, as a VampPrior has, in
    place of all training images, and with the volume that leaps change while their implicit parts are not solved.

    loss = -log p(x | z_K) + beta (log q(z_K, v_K | x) - log N(z_K; 0, 1) - log N(v_K; 0, G(z_K))), in nats an example;
    (z_K, v_K) is where K leaps of the generalised leapfrog, tempered as in `hamiltonian_vae`, take z_0 ~ q(z | x) and
    v_0 ~ N(0, G(z_0)). G(z)^-1 = mean_k L_k L_k^T exp(-|z - c_k|^2 / T^2) + lambda 1: c_k is the mean of q(z | u_k),
    and L_k, lower triangular, what a second encoder makes of u_k. The code is where the mean of z_0 goes from rest.
    Training needs second derivatives, of the decoder. Where `rounds` are too few for long steps in a large metric,
    leaps fold: the loss and the NLL then count some of the density twice.

    leaps: leapfrog steps, K
    step_size: of a leap, where training starts; each unit's own is learned, up to five times as long
    tempering: b_0, the inverse temperature of the first momentum, where training starts; at 1 it stays untempered
    centroids: pseudo-inputs; every step encodes all of them, twice
    temperature: T over the root of the latent size: how far a centroid reaches
    regularisation: lambda, the least of G^-1
    rounds: iterations for each implicit part of a leap
    beta: weight of the KL divergence; at 1 the loss is minus the ELBO, where no leap takes two points to one
    """
    at_least_one(centroids=centroids, rounds=rounds)
    for name, value in (("temperature", temperature), ("regularisation", regularisation)):
        if not 1e-6 <= value <= 1e6:
            raise InputError(f"{name} {value}: expected a number from 1e-6 to 1e6")
    base, course = gaussian.bind(net), leapfrog.learned(net.latent, leaps, step_size, tempering)
    shaping = net.encoder(net.latent * (net.latent + 1) // 2)

    def second(key, batch):
        return only_params(dict(shaping.init(key, batch.x[:1])))

    def metric(variables):
        seen = inputs(variables.params["inputs"])
        entries = jnp.asarray(shaping.apply({"params": variables.params["metric"]}, seen.x))
        factors = riemannian.lower(entries, net.latent)
        squares = riemannian.product("kil,kjl->kij", factors, factors)
        width = temperature * net.latent**0.5
        return riemannian.Metric(base.posterior(variables, seen).mean, squares, width, regularisation)

    def move(variables, batch, z, g):
        """(z_K, log N(v_0; 0, G(z_0)) - log N(v_K; 0, G(z_K)) - log |det d(z_K, v_K) / d(z_0, v_0)|) from z_0 and g."""
        sizes, hot, coolings = course.of(variables)
        space = metric(variables)

        def slope(z):
            return jax.grad(lambda z: jnp.sum(base.parts.log_prob(variables, z, batch)))(z) - z

        root = riemannian.root_at(space, z)
        v = riemannian.momentum(root, g)
        before = riemannian.log_momentum(root, v)
        z, v, log_det = riemannian.move(space, slope, sizes, coolings, rounds, z, hot * v)
        return z, before - riemannian.log_momentum(riemannian.root_at(space, z), v) - log_det

    def draw(variables, keys, batch):
        for_z, for_v = random.split(keys)
        q = base.posterior(variables, batch)
        z0, g = reparameterise(for_z, q), random.normal(for_v, (net.latent,))
        z, of_momentum = move(variables, batch, z0, g)
        return z, densities.normal(z0, q) + of_momentum

    def embed(variables, batch):
        mean = base.posterior(variables, batch).mean
        return move(variables, batch, mean, jnp.zeros_like(mean))[0]

    init = with_params(base.parts.init, leaps=course.init, inputs=partial(near_images, centroids), metric=second)
    return gaussian.drawn(net, base.parts._replace(init=init), draw, embed, beta)
