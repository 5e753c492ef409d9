import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae import likelihoods, methods, random
from jaxae.artifacts.make import latent_size
from jaxae.errors import at_least_one
from jaxae.evaluate.likelihood import importance
from jaxae.networks.heads import MLP
from jaxae.run import Trained
from jaxae.samplers.codes import VECTORS
from jaxae.samplers.density import Density, standardised
from jaxae.samplers.fit import budget, descend
from jaxae.samplers.fitted import Fitted, fitted
from jaxae.types import Batch, Net, Variables

NEEDS = "decode"
SCALE = 0.3  # of the standardised codes, at the start
FASTER = 10  # than the network, so many times: Adam moves every parameter by about the rate a step
WEIGHED = 64  # importance samples of log p(z), a lower bound on average


def two_stage(trained: Trained, seed: int = 0, *, width: int = 128, depth: int = 2) -> Fitted:
    """A second, small VAE on the codes, with as many latents as they have: u ~ N(0, 1), then z ~ p(z|u).

    Dai and Wipf 2019 (arXiv:1903.05789), section 4: the two-stage VAE, its decoder's variance learned.

    width: units of each hidden layer of its encoder and decoder
    depth: hidden layers of each
    """
    at_least_one(width=width, depth=depth)
    density = standardised(second(latent_size(trained), width, depth))
    return fitted(trained, seed, "two-stage", {"width": width, "depth": depth}, density, VECTORS)


class Reshaped(nn.Module):
    """A small network from anything [batch, ...] to [batch, *shape]."""

    shape: tuple[int, ...]
    width: int
    depth: int

    @nn.compact
    def __call__(self, x: Float[Array, "batch ..."]) -> Array:
        outputs = MLP(math.prod(self.shape), self.width, self.depth, "gelu")(x.reshape(len(x), -1))
        return outputs.reshape(-1, *self.shape)


def second(latent: int, width: int, depth: int) -> Density:
    """The method `vae` itself: to it a code is an image of one pixel, with `latent` channels."""
    likelihood = likelihoods.make("gaussian_learned", 1.0)
    decoder = Reshaped((1, 1, latent), width, depth)
    net = Net(lambda outputs: Reshaped((outputs,), width, depth), decoder, likelihood, latent)
    method = methods.factory("vae")(net)
    weigh = importance(method, WEIGHED, WEIGHED)

    def pixels(z):
        index = jnp.arange(len(z), dtype=jnp.int32)
        return Batch(z[:, None, None], jnp.full_like(index, -1), index)

    def variables(params):
        """The log-variance starts low, at SCALE: from the codes' own, 1, the latents would come to tell nothing. It
        learns FASTER, or it would still be on its way when the steps are over."""
        log_var = 2 * math.log(SCALE) + FASTER * params["likelihood"]["log_var"]  # 0 at the start
        return Variables({**params, "likelihood": {"log_var": log_var}}, {"likelihood": ()})

    def fit(seed, codes):
        key = random.stream(random.fixed(seed), "two-stage")
        start = jax.jit(method.init)(random.stream(key, "init"), pixels(jnp.zeros((1, latent))))

        def loss(params, keys, z):
            return method.loss(variables(params), keys, pixels(z), jnp.asarray(0)).loss

        time = budget(len(codes.train), learning_rate=2e-3, least=2_000)
        return descend(key, start.params, loss, codes.train, codes.validation, time)

    def log_prob(params, keys, z):
        return weigh(variables(params), keys, pixels(z))["log_p"]

    def draw(params, keys):
        for_u, for_z = random.split(keys)
        of = variables(params)
        mean = method.decode(of, random.normal(for_u, (latent,)))[:, 0, 0]
        return mean + jnp.exp(of.params["likelihood"]["log_var"] / 2) * random.normal(for_z, (latent,))

    return Density(fit, log_prob, draw, bound=True)
