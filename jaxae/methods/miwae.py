import jax.numpy as jnp

from jaxae import bounds, gaussian
from jaxae.errors import at_least_one, known
from jaxae.types import Method, Net, Objective


def miwae(net: Net, *, groups: int = 4, k: int = 4, estimator: str = "plain") -> Method:
    """Multiply importance weighted autoencoder: the mean of several IWAE bounds, each from its own samples.

    Rainforth et al. 2018 (arXiv:1802.04537).

    loss = -(1/m) sum_j log (1/k) sum_i p(x, z_ij) / q(z_ij | x), z_ij ~ q(z | x), in nats an example. Between the ELBO
    over m samples (k = 1) and IWAE (m = 1): more groups raise the signal-to-noise ratio of the encoder's gradient,
    more samples in each lower it and tighten the bound.

    groups: independent bounds that are averaged, m
    k: importance samples in each bound
    estimator: of the encoder's gradient: plain, stl (without the score of q), or dreg (unbiased for k > 1 too)
    """
    at_least_one(groups=groups, k=k)
    known("estimator", estimator, bounds.ESTIMATORS)
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        log_w, state = base.log_weights(variables, keys, batch, (groups, k), estimator)
        bound = jnp.mean(bounds.importance_weighted(log_w.total), axis=0)
        return Objective(-bound, state, bounds.averages(log_w, bound))

    return base.method(loss)
