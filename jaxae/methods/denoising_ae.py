from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array

from jaxae import random
from jaxae.errors import a_share, known
from jaxae.parts import autoencoder, bind
from jaxae.schedules import at_step
from jaxae.types import Images, Keys, Method, Net, Objective, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def denoising_ae(net: Net, *, noise: str = "mask", level: Weight = 0.25) -> Method:
    """Denoising autoencoder: the code of a corrupted image must give back the clean one.

    Vincent et al. 2008 (ICML); the three corruptions: Vincent et al. 2010 (JMLR 11:3371).

    loss = -log p(x | z), z = encoder(corrupted x), in nats an example. `embed` and `reconstruct` see the clean image.
    There is no prior to sample from.

    reconstruction: of corrupted images, held-out ones too

    noise: mask (pixels to 0), salt (salt and pepper: pixels to 0 or 1 by a fair coin) or gaussian (added)
    level: share of the pixels that mask and salt replace; the standard deviation of gaussian
    """
    known("noise", noise, NOISES)
    if noise != "gaussian":
        a_share(level=level)
    parts, corrupt = bind(net, outputs=net.latent), NOISES[noise]

    def loss(variables, keys, batch, step):
        corrupted = batch._replace(x=corrupt(keys, batch.x, at_step(level, step)))
        reconstruction, state = parts.reconstruction(variables, parts.encode(variables, corrupted), batch)
        return Objective(reconstruction, state, {"reconstruction": reconstruction})

    return autoencoder(parts, loss)


def masked(keys: Keys, x: Images, level: float | Array) -> Images:
    return jnp.where(random.uniform(keys, x.shape[1:]) < level, 0.0, x)


def salted(keys: Keys, x: Images, level: float | Array) -> Images:
    u = random.uniform(keys, x.shape[1:])
    return jnp.where(u < level / 2, 0.0, jnp.where(u < level, 1.0, x))


def shaken(keys: Keys, x: Images, level: float | Array) -> Images:
    return x + level * random.normal(keys, x.shape[1:])


NOISES: dict[str, Callable] = {"mask": masked, "salt": salted, "gaussian": shaken}
