import jax
import jax.numpy as jnp

from jaxae import densities, gaussian, random
from jaxae.errors import InputError
from jaxae.gaussian import Terms, reparameterise
from jaxae.parts import generative, with_params
from jaxae.schedules import at_step
from jaxae.types import LogWeight, Method, Net, Objective, Weight


def cvae(net: Net, *, beta: Weight = 1.0) -> Method:
    """Conditional VAE: encoder and decoder are told the label, and the code is left with the rest.

    Sohn et al. 2015 (NeurIPS); with labels and images in these roles, model M2 of Kingma et al. 2014 (arXiv:1406.5298),
    where every label is known.

    loss = -log p(x | z, y) + beta KL(q(z | x, y) || N(0, 1)), in nats an example: at beta = 1 a bound of -log p(x | y).
    The encoder sees a learned plane of each class beside the image's channels, the decoder the label as a one-hot
    vector beside z; an unknown label (-1) is zero in both. Without a label `decode` is the mean over classes and
    `sample` draws one, all equally likely.

    beta: weight of the KL divergence
    """
    if net.classes < 1:
        raise InputError(f"classes {net.classes}: a conditional VAE expected labels: choose data that has them")
    seen = jnp.asarray(net.known)  # a class without an example has learned nothing
    base = gaussian.bind(net, code=net.latent + net.classes, channels=1)
    parts = base.parts
    init = with_params(
        parts.init, planes=lambda key, batch: jnp.zeros((net.classes, *batch.x.shape[1:3], 1), batch.x.dtype)
    )

    def told(z, label):
        """[..., latent + classes]; one label, or one an example."""
        y = jax.nn.one_hot(label, net.classes)
        return jnp.concatenate([z, jnp.broadcast_to(y, (*z.shape[:-1], net.classes))], axis=-1)

    def posterior(variables, batch):
        y = jax.nn.one_hot(batch.label, net.classes)
        plane = jnp.einsum("bk,khwc->bhwc", y, variables.params["planes"])
        return base.posterior(variables, batch._replace(x=jnp.concatenate([batch.x, plane], axis=-1)))

    def loss(variables, keys, batch, step):
        q = posterior(variables, batch)
        z = reparameterise(keys, q)
        reconstruction, state = parts.reconstruction(variables, told(z, batch.label), batch)
        terms = Terms(q, z, reconstruction, jnp.sum(densities.kl_to_standard(q), axis=-1), state)
        return Objective(reconstruction + at_step(beta, step) * terms.kl, state, terms.metrics())

    def log_weight(variables, keys, batch):
        q = posterior(variables, batch)
        z = reparameterise(keys, q)
        log_px = parts.log_prob(variables, told(z, batch.label), batch)
        return LogWeight(log_px, densities.standard_normal(z), densities.normal(z, q))

    def decode(variables, z):
        return jnp.mean(jax.vmap(lambda y: parts.decode(variables, told(z, y)))(seen), axis=0)

    def draw(variables, keys, label):
        return parts.decode(variables, told(base.prior.draw(variables, keys), label))

    def sample(variables, keys):
        for_z, for_label = random.split(keys)
        return draw(variables, for_z, seen[random.below(for_label, len(seen))])

    def given(label):
        return method._replace(
            decode=lambda variables, z: parts.decode(variables, told(z, label)),
            sample=lambda variables, keys: draw(variables, keys, label),
        )

    method = base.method(
        loss,
        init=init,
        embed=lambda variables, batch: posterior(variables, batch).mean,
        reconstruct=lambda variables, batch: parts.decode(
            variables, told(posterior(variables, batch).mean, batch.label)
        ),
        decode=decode,
        sample=sample,
        posterior=posterior,
        log_weight=log_weight,
        generative=generative(parts, base.prior.draw, base.prior.log_prob, code=lambda z, batch: told(z, batch.label)),
    )
    return method._replace(given=given)
