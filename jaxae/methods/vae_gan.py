from typing import Any

import jax
import jax.numpy as jnp

from jaxae import densities, gaussian, random
from jaxae.errors import at_least_one
from jaxae.methods.aae import told_apart
from jaxae.networks.heads import MLP, started
from jaxae.parts import frozen, of_likelihood, only_params, with_params
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def vae_gan(net: Net, *, features: int = 64, gamma: Weight = 1.0, discriminator_learning_rate: Weight = 3e-4) -> Method:
    """VAE/GAN: a VAE whose images are compared by what a discriminator sees in them, and which is to deceive it.

    Larsen et al. 2015 (arXiv:1512.09300), algorithm 1. Its three updates, here made at once; x' = decoder(z),
    z ~ q(z | x); x'' = decoder(z''), z'' ~ N(0, 1); f the discriminator's features, an encoder of its own.

    loss = KL(q(z | x) || N(0, 1)) - log N(f(x); f(x'), 1) for the encoder, plus
    -gamma log N(f(x); f(x'), 1) + log(1 - D(x')) + log(1 - D(x'')) for the decoder, in nats an example. The
    discriminator descends -log D(x) - log(1 - D(x')) - log(1 - D(x'')). The loss moves with the discriminator: compare
    "reconstruction". The likelihood of pixels trains nothing but its own parameters: what is modelled is a density of
    features, and there is no ELBO of images.

    moves: the discriminator, by whose features images are compared
    features: of an image, from the discriminator's encoder: what images are compared by
    gamma: weight of the comparison against the deception, for the decoder
    discriminator_learning_rate: of the discriminator, under the run's optimiser with b1 = 0.5
    """
    at_least_one(features=features)
    base = gaussian.bind(net)
    body, head = net.encoder(features), MLP(1, features, activation="leaky_relu")

    def start(key, batch):
        for_body, for_head = jax.random.split(key)
        own = only_params(body.init(for_body, batch.x[:1]))
        return {"body": own, "head": started(head, features)(for_head, batch)}

    def judge(variables, x):
        """(features, logit of D)"""
        own = variables.params["discriminator"]
        seen = body.apply({"params": own["body"]}, x)
        score: Any = head.apply({"params": own["head"]}, seen)
        return seen, score[:, 0]

    def loss(variables, keys, batch, step):
        for_code, for_prior = random.split(keys)
        terms, drawn = base.terms(variables, for_code, batch), base.prior.draw(variables, for_prior)
        z, judged = jax.lax.stop_gradient(terms.z), frozen(variables, "discriminator")
        target, _ = judge(judged, batch.x)

        def compared(variables, z):
            x = base.parts.decode(frozen(variables, "likelihood"), z)
            seen, logit = judge(judged, x)
            return -densities.gaussian(seen, jnp.zeros(()), target), logit, x

        to_encoder, _, _ = compared(frozen(variables, "decoder"), terms.z)
        to_decoder, logit, rebuilt = compared(variables, z)
        sampled = base.parts.decode(frozen(variables, "likelihood"), drawn)
        deception = -jax.nn.softplus(logit) - jax.nn.softplus(judge(judged, sampled)[1])
        real, *fake = (judge(variables, jax.lax.stop_gradient(x))[1] for x in (batch.x, rebuilt, sampled))
        adversary = told_apart(real, fake[0]) + jax.nn.softplus(fake[1])
        value = terms.kl + to_encoder + at_step(gamma, step) * to_decoder + deception
        metrics = {"reconstruction": terms.reconstruction, "kl": terms.kl, "features": to_decoder}
        metrics |= {"deception": deception, "discriminator": adversary}
        return Objective(value + of_likelihood(base.parts, variables, z, batch), terms.state, metrics, adversary)

    return base.method(
        loss,
        init=with_params(base.parts.init, discriminator=start),
        log_weight=None,
        generative=None,
        optimizers={"discriminator": {"learning_rate": discriminator_learning_rate, "b1": 0.5}},
    )
