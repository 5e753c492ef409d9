import jax
import jax.numpy as jnp

from jaxae import random
from jaxae.artifacts.make import latent_size
from jaxae.errors import at_least_one
from jaxae.flows import RealNVP
from jaxae.run import Trained
from jaxae.samplers.codes import VECTORS
from jaxae.samplers.density import Density, standardised
from jaxae.samplers.fit import budget, descend
from jaxae.samplers.fitted import Fitted, fitted

NEEDS = "decode"


def flow(trained: Trained, seed: int = 0, *, layers: int = 6, width: int = 64) -> Fitted:
    """A normalising flow of affine couplings, trained by maximum likelihood on the standardised codes.

    Dinh et al. 2016 (arXiv:1605.08803), eq. 7 and 8, as a density fitted after the autoencoder.

    layers: couplings
    width: hidden units of each coupling's network
    """
    at_least_one(layers=layers, width=width)
    density = standardised(real_nvp(latent_size(trained), layers, width))
    return fitted(trained, seed, "flow", {"layers": layers, "width": width}, density, VECTORS)


def real_nvp(latent: int, layers: int, width: int) -> Density:
    """It starts as N(0, 1), so that is the worst that the held-out codes can choose."""
    net = RealNVP(latent, layers, width, depth=2)

    def log_prob(params, keys, z):
        return net.apply({"params": params}, z, method="log_prob")

    def fit(seed, codes):
        key = random.stream(random.fixed(seed), "flow")
        params = jax.jit(net.init)(random.stream(key, "init"), jnp.zeros((1, latent)))["params"]

        def loss(params, keys, z):
            return -log_prob(params, keys, z)

        return descend(key, params, loss, codes.train, codes.validation, budget(len(codes.train)))

    def draw(params, keys):
        return net.apply({"params": params}, random.normal(keys, (latent,)), method="inverse")

    return Density(fit, log_prob, draw)
