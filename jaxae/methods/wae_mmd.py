from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae import axis, divergences, random
from jaxae.errors import known
from jaxae.parts import Parts, autoencoder, bind
from jaxae.schedules import at_step
from jaxae.types import Codes, Keys, Method, Net, Objective, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}
KERNELS = {"imq": divergences.imq, "rbf": divergences.rbf}


def wae_mmd(net: Net, *, weight: Weight = 100.0, kernel: str = "imq") -> Method:
    """Wasserstein autoencoder, MMD: codes without noise whose distribution is held near N(0, 1) by a kernel's distance.

    Tolstikhin et al. 2017 (arXiv:1711.01558), algorithm 2, with its deterministic encoder.

    loss = -log p(x | z) + weight MMD(codes, draws from N(0, 1)), z = encoder(x), in nats an example; MMD is the squared
    distance's unbiased estimate, negative at times. The paper's weight of 10 stands beside
    the squared error, which the Gaussian likelihood of scale 0.1 multiplies by 50: 500 here. On the digits 100 brings
    MMD as far down and costs less.

    couples: MMD, which compares the global batch's codes with as many draws from the prior
    weight: of MMD, beside the reconstruction
    kernel: imq, the inverse multiquadratics of the paper; or rbf
    """
    return matched(net, weight, "mmd", to_prior(net, kernel))


def to_prior(net: Net, kernel: str) -> Callable[[Keys, Codes], Float[Array, ""]]:
    """(keys, z) -> MMD of the global batch's codes to as many draws from N(0, 1)."""
    known("kernel", kernel, KERNELS)
    of = KERNELS[kernel](net.latent)

    def distance(keys, z):
        return divergences.mmd(axis.gather(z), axis.gather(random.normal(keys, (net.latent,))), of)

    return distance


def matched(net: Net, weight: Weight, name: str, distance: Callable[[Keys, Codes], Float[Array, ""]]) -> Method:
    """The autoencoder with a metric `name`, the distance of the global batch's codes to the prior, in its loss."""
    parts = bind(net, outputs=net.latent)

    def loss(variables, keys, batch, step):
        z = parts.encode(variables, batch)
        reconstruction, state = parts.reconstruction(variables, z, batch)
        far = jnp.full_like(reconstruction, distance(keys, z))
        metrics = {"reconstruction": reconstruction, name: far}
        return Objective(reconstruction + at_step(weight, step) * far, state, metrics)

    return deterministic(net, parts, loss)


def deterministic(net: Net, parts: Parts, loss: Callable) -> Method:
    """An autoencoder without noise whose codes are to be N(0, 1), so that there is a prior to sample from."""

    def sample(variables, keys):
        return parts.decode(variables, random.normal(keys, (net.latent,)))

    return autoencoder(parts, loss, sample=sample)
