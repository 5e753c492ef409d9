import jax.numpy as jnp

from jaxae import gaussian, random
from jaxae.errors import InputError, a_share
from jaxae.methods.wae_mmd import to_prior
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight

ROUNDING = 1e-6  # of a sum of what schedules come to


def infovae(net: Net, *, alpha: Weight = 0.5, lambda_z: Weight = 10.0, kernel: str = "rbf") -> Method:
    """InfoVAE: less of the KL of each posterior, more of a distance of all the codes together to the prior.

    Zhao et al. 2017 (arXiv:1706.02262), eq. 6, with MMD as the divergence of q(z) and p(z).

    loss = -log p(x | z) + (1 - alpha) KL(q(z | x) || N(0, 1)) + (alpha + lambda_z - 1) MMD(codes, draws from N(0, 1)),
    z ~ q(z | x), in nats an example; MMD is the squared distance's unbiased estimate. alpha = 0, lambda_z = 1 is the
    VAE; alpha = 1 has no KL at all: the paper's MMD-VAE.

    couples: MMD, which compares the global batch's codes with as many draws from the prior
    alpha: how much of the mutual information of x and z is left unpunished, from 0 (as in the VAE) to 1
    lambda_z: weight of the divergence of the aggregate q(z) to the prior, lambda in the paper
    kernel: rbf, or imq
    """
    a_share(alpha=alpha)
    if isinstance(alpha, int | float) and isinstance(lambda_z, int | float) and alpha + lambda_z < 1 - ROUNDING:
        raise InputError(f"alpha {alpha}, lambda_z {lambda_z}: expected a sum of at least 1, or MMD is rewarded")
    base, distance = gaussian.bind(net), to_prior(net, kernel)

    def loss(variables, keys, batch, step):
        for_code, for_prior = random.split(keys)
        terms = base.terms(variables, for_code, batch)
        mmd = jnp.full_like(terms.kl, distance(for_prior, terms.z))
        information, scaling = at_step(alpha, step), at_step(lambda_z, step)
        value = terms.reconstruction + (1 - information) * terms.kl + (information + scaling - 1) * mmd
        return Objective(value, terms.state, terms.metrics(mmd=mmd))

    return base.method(loss)
