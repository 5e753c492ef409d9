import jax
import jax.numpy as jnp

from jaxae import gaussian, random
from jaxae.errors import InputError
from jaxae.methods.vae import weighted
from jaxae.parts import bind, generative, with_params
from jaxae.types import Method, Net, Weight


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
    flat, prior = bind(net, 2 * net.latent, code=net.latent + net.classes, channels=1), gaussian.standard(net.latent)

    def told(z, label):
        """[..., latent + classes]; one label, or one an example."""
        y = jax.nn.one_hot(label, net.classes)
        return jnp.concatenate([z, jnp.broadcast_to(y, (*z.shape[:-1], net.classes))], axis=-1)

    def beside(variables, batch):
        plane = jnp.einsum("bk,khwc->bhwc", jax.nn.one_hot(batch.label, net.classes), variables.params["planes"])
        return batch._replace(x=jnp.concatenate([batch.x, plane], axis=-1))

    parts = flat._replace(
        init=with_params(
            flat.init, planes=lambda key, batch: jnp.zeros((net.classes, *batch.x.shape[1:3], 1), batch.x.dtype)
        ),
        encode=lambda variables, batch: flat.encode(variables, beside(variables, batch)),
        log_prob=lambda variables, z, batch: flat.log_prob(variables, told(z, batch.label), batch),
        reconstruction=lambda variables, z, batch: flat.reconstruction(variables, told(z, batch.label), batch),
    )
    base = weighted(net, beta, parts=parts)

    def decode(variables, z):
        return jnp.mean(jax.vmap(lambda y: flat.decode(variables, told(z, y)))(seen), axis=0)

    def draw(variables, keys, label):
        return flat.decode(variables, told(prior.draw(variables, keys), label))

    def sample(variables, keys):
        for_z, for_label = random.split(keys)
        return draw(variables, for_z, seen[random.below(for_label, len(seen))])

    def given(label):
        return method._replace(
            decode=lambda variables, z: flat.decode(variables, told(z, label)),
            sample=lambda variables, keys: draw(variables, keys, label),
        )

    method = base._replace(
        reconstruct=lambda variables, batch: flat.decode(variables, told(base.embed(variables, batch), batch.label)),
        decode=decode,
        sample=sample,
        generative=generative(flat, prior.draw, prior.log_prob, code=lambda z, batch: told(z, batch.label)),
        given=given,
    )
    return method
