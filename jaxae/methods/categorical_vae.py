import jax
import jax.numpy as jnp
import numpy as np

from jaxae.errors import InputError, at_least_one
from jaxae.parts import autoencoder, bind
from jaxae.quantize import straight_through
from jaxae.schedules import at_step
from jaxae.types import Discrete, LogWeight, Method, Net, Objective, Weight


def categorical_vae(net: Net, *, categories: int = 4, temperature: Weight = 1.0, hard: bool = True) -> Method:
    """Categorical VAE: a code of one-hot variables, sampled by the Gumbel-max trick and relaxed to pass gradients.

    Jang et al. 2016 (arXiv:1611.01144), eq. 2 and the straight-through estimator of section 2.2; Maddison et al. 2016
    (arXiv:1611.00712).

    loss = -log p(x | z) + KL(q(z | x) || uniform), z ~ q(z | x), in nats an example; the KL is in closed form. The
    gradient is that of softmax((logits + Gumbel noise) / temperature) in place of the one-hot z. The latent units are
    latent / categories variables. A schedule anneals the temperature: exponential(1, 0.5, 100%).

    codes: one-hot variables of latent / categories; of what lies between, no encoder gives any
    categories: values of each variable; they divide the latent size
    temperature: of the softmax: lower is closer to the discrete model, with noisier gradients
    hard: the decoder sees the one-hot sample, and the loss is minus an ELBO; without, it sees the relaxed one: of none
    """
    at_least_one(categories=categories)
    if isinstance(temperature, int | float) and not temperature > 0:
        raise InputError(f"temperature {temperature}: expected a number above 0")
    if net.latent % categories:
        raise InputError(f"latent {net.latent}: expected a multiple of the {categories} categories of each variable")
    count = net.latent // categories
    parts, log_uniform = bind(net, outputs=net.latent), -count * float(np.log(categories))

    def log_q(variables, batch):
        logits = parts.encode(variables, batch).reshape(len(batch.x), count, categories)
        return jax.nn.log_softmax(logits)

    def noise(keys):
        return jax.vmap(lambda key: jax.random.gumbel(key, (count, categories), jnp.float32))(keys)

    def one_hot(index):
        return jax.nn.one_hot(index, categories).reshape(len(index), -1)

    def loss(variables, keys, batch, step):
        logits = log_q(variables, batch)
        disturbed = logits + noise(keys)
        z = jax.nn.softmax(disturbed / at_step(temperature, step)).reshape(len(logits), -1)
        if hard:
            z = straight_through(z, one_hot(jnp.argmax(disturbed, axis=-1)))
        reconstruction, state = parts.reconstruction(variables, z, batch)
        kl = jnp.sum(jnp.exp(logits) * logits, axis=(1, 2)) - log_uniform
        metrics = {"reconstruction": reconstruction, "kl": kl} | ({"elbo": -reconstruction - kl} if hard else {})
        return Objective(reconstruction + kl, state, metrics)

    def log_weight(variables, keys, batch):
        logits = log_q(variables, batch)
        z = one_hot(drawn(variables, keys, batch))
        log_px = parts.log_prob(variables, z, batch)
        log_qz = jnp.sum(z * logits.reshape(z.shape), axis=-1)
        return LogWeight(log_px, jnp.full_like(log_px, log_uniform), log_qz)

    def drawn(variables, keys, batch):
        return jnp.argmax(log_q(variables, batch) + noise(keys), axis=-1)

    def numbers(variables, batch):
        return jnp.argmax(log_q(variables, batch), axis=-1)

    def embed(variables, batch):
        return one_hot(numbers(variables, batch))

    def to_image(variables, index):
        return parts.decode(variables, one_hot(index))

    return autoencoder(
        parts,
        loss,
        embed,
        sample=lambda variables, keys: to_image(variables, jnp.argmax(noise(keys), axis=-1)),
        draw=lambda variables, keys, batch: one_hot(drawn(variables, keys, batch)),
        log_weight=log_weight,
        discrete=Discrete(numbers, to_image, categories, drawn),
    )
