import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae import axis, gaussian, random
from jaxae.errors import InputError, at_least_one, not_negative
from jaxae.methods.aae import discriminator, told_apart
from jaxae.parts import frozen, with_params
from jaxae.schedules import at_step
from jaxae.types import Codes, Keys, Method, Net, Objective, Weight


def factor_vae(
    net: Net,
    *,
    gamma: Weight = 10.0,
    discriminator_width: int = 128,
    discriminator_depth: int = 3,
    discriminator_learning_rate: Weight = 1e-4,
) -> Method:
    """FactorVAE: a discriminator tells codes from permuted ones, which weighs the dependence among the latent units.

    Kim and Mnih 2018 (arXiv:1802.05983), eq. 2 and 3, algorithm 2. The paper's discriminator is larger, six layers of
    1000 units with slopes of 0.2 below zero (here 0.01), and its permuted codes come from a second batch; here they are
    this batch's own. Both players move at once.

    loss = -log p(x | z) + KL(q(z | x) || N(0, 1)) + gamma log D(z) / (1 - D(z)), z ~ q(z | x), in nats an example. The
    discriminator descends (-log D(z) - log(1 - D(z'))) / 2, z' with each latent unit permuted over the global batch; at
    its optimum the last term's mean is the total correlation.

    couples: the permuted codes of the discriminator's loss, from the global batch
    moves: the discriminator
    gamma: weight of the total correlation; 35 in the paper on dSprites
    discriminator_width: units in a hidden layer of the discriminator
    discriminator_depth: hidden layers of the discriminator
    discriminator_learning_rate: of the discriminator, under the run's optimiser with b1 = 0.5 and b2 = 0.9
    """
    at_least_one(discriminator_width=discriminator_width)
    not_negative(discriminator_depth=discriminator_depth)
    base = gaussian.bind(net)
    start, logit = discriminator(net.latent, discriminator_width, discriminator_depth)

    def loss(variables, keys, batch, step):
        for_code, for_order = random.split(keys)
        terms = base.terms(variables, for_code, batch)
        correlation = logit(frozen(variables, "discriminator"), terms.z)
        z = jax.lax.stop_gradient(terms.z)
        adversary = told_apart(logit(variables, z), logit(variables, permuted(for_order, z))) / 2
        metrics = terms.metrics(total_correlation=correlation, discriminator=adversary)
        value = terms.reconstruction + terms.kl + at_step(gamma, step) * correlation
        return Objective(value, terms.state, metrics, adversary)

    return base.method(
        loss,
        init=with_params(base.parts.init, discriminator=start),
        optimizers={"discriminator": {"learning_rate": discriminator_learning_rate, "b1": 0.5, "b2": 0.9}},
    )


def permuted(keys: Keys, z: Codes) -> Float[Array, "batch latent"]:
    """The rows at hand of the global batch's codes, each unit in a random order of its own: algorithm 1 of the paper.
    The order is that of uniform draws, one an example and unit."""
    draws = axis.gather(random.uniform(keys, z.shape[1:]))
    if len(draws) < 2:
        raise InputError("1 code to permute: expected at least 2: a larger batch or split")
    order = jnp.argsort(draws, axis=0)
    return jnp.take_along_axis(axis.gather(z), order[axis.places(len(z))], axis=0)
