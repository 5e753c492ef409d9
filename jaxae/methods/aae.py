from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Array, Float

from jaxae import random
from jaxae.errors import at_least_one, not_negative
from jaxae.methods.wae_mmd import deterministic
from jaxae.networks.heads import MLP, started
from jaxae.parts import Init, bind, frozen, with_params
from jaxae.schedules import at_step
from jaxae.types import Codes, Method, Net, Objective, Variables, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def aae(
    net: Net,
    *,
    weight: Weight = 10.0,
    discriminator_width: int = 128,
    discriminator_depth: int = 2,
    discriminator_learning_rate: Weight = 1e-3,
) -> Method:
    """Adversarial autoencoder: the encoder makes codes that a discriminator cannot tell from draws of the prior.

    Makhzani et al. 2015 (arXiv:1511.05644), section 2, with its deterministic encoder and the prior N(0, 1).

    loss = -log p(x | z) - weight log D(z), z = encoder(x), in nats an example; the discriminator descends
    -log D(z') - log(1 - D(z)), z' ~ N(0, 1). The encoder's is the form that does not saturate (Goodfellow et al. 2014,
    arXiv:1406.2661, section 3). The paper alternates the updates; here both players move at once, in one step. Where
    the codes are the prior's, D is 1/2, the metric "generator" log 2 and "discriminator" 2 log 2.

    moves: the discriminator
    weight: of the encoder's adversarial term; the paper's phases of their own have none
    discriminator_width: units in a hidden layer of the discriminator
    discriminator_depth: hidden layers of the discriminator
    discriminator_learning_rate: of the discriminator, under the run's optimiser with b1 = 0.5
    """
    at_least_one(discriminator_width=discriminator_width)
    not_negative(discriminator_depth=discriminator_depth)
    parts = bind(net, outputs=net.latent)
    start, logit = discriminator(net.latent, discriminator_width, discriminator_depth)

    def loss(variables, keys, batch, step):
        z = parts.encode(variables, batch)
        reconstruction, state = parts.reconstruction(variables, z, batch)
        generator = jax.nn.softplus(-logit(frozen(variables, "discriminator"), z))
        drawn = random.normal(keys, (net.latent,))
        adversary = told_apart(logit(variables, drawn), logit(variables, jax.lax.stop_gradient(z)))
        metrics = {"reconstruction": reconstruction, "generator": generator, "discriminator": adversary}
        return Objective(reconstruction + at_step(weight, step) * generator, state, metrics, adversary)

    return deterministic(net, parts, loss)._replace(
        init=with_params(parts.init, discriminator=start),
        optimizers={"discriminator": {"learning_rate": discriminator_learning_rate, "b1": 0.5}},
    )


def discriminator(
    inputs: int, width: int, depth: int
) -> tuple[Init, Callable[[Variables, Codes], Float[Array, " batch"]]]:
    """A discriminator of codes: how `params["discriminator"]` starts, and the logit of D."""
    net = MLP(1, width, depth, "leaky_relu")

    def logit(variables, z):
        score: Any = net.apply({"params": variables.params["discriminator"]}, z)
        return score[:, 0]

    return started(net, inputs), logit


def told_apart(real: Float[Array, " batch"], fake: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """-log D(real) - log(1 - D(fake)) of their logits, in nats. Least where the logit is the log-ratio of densities."""
    return jax.nn.softplus(-real) + jax.nn.softplus(fake)
