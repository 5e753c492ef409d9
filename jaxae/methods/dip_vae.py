import jax.numpy as jnp

from jaxae import axis, divergences, gaussian
from jaxae.errors import known
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight

KINDS = ("i", "ii")


def dip_vae(net: Net, *, kind: str = "ii", lambda_od: Weight = 10.0, lambda_d: Weight = 10.0) -> Method:
    """DIP-VAE: a VAE that asks the covariance of its codes over the data to be the prior's, the identity.

    Kumar et al. 2017 (arXiv:1711.00848), eq. 6 (kind i) and eq. 7 (kind ii).

    loss = -log p(x | z) + KL(q(z | x) || N(0, 1)) + lambda_od sum_{i != j} C_ij^2 + lambda_d sum_i (C_ii - 1)^2,
    in nats an example. C is the covariance of the posterior means; for kind ii with the posteriors' mean variances on
    its diagonal, which makes it that of q(z).

    couples: C, the covariance over the global batch
    kind: i, the covariance of the posterior means; ii, that of the codes
    lambda_od: weight of the covariances
    lambda_d: weight of the variances' distance to 1
    """
    known("kind", kind, KINDS)
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        terms = base.terms(variables, keys, batch)
        cov = divergences.covariance(axis.gather(terms.q.mean))
        if kind == "ii":
            cov = cov + jnp.diag(jnp.mean(jnp.exp(axis.gather(terms.q.log_var)), axis=0))
        penalty = divergences.dip(cov, at_step(lambda_od, step), at_step(lambda_d, step))
        dip = jnp.full_like(terms.kl, penalty)
        return Objective(terms.reconstruction + terms.kl + dip, terms.state, terms.metrics(dip=dip))

    return base.method(loss)
