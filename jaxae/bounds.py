"""Bounds of the log-likelihood from many samples, and the estimators of their gradient.

The estimators differ in the encoder's gradient alone; their value, and the gradient of the decoder and the prior, are
the same. `plain` differentiates the bound as it stands. `stl` (sticking the landing, Roeder et al. 2017,
arXiv:1703.09194) leaves out the score of q: its mean is zero for one sample, and no longer so for more. `dreg` (doubly
reparameterised, Tucker et al. 2018, arXiv:1810.04152, eq. 8) leaves it out and weighs each path by the squared weight:
unbiased for any number of samples, and its signal does not vanish as that grows.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.errors import known
from jaxae.types import LogWeight, Metrics, Normal, PyTree, Variables

ESTIMATORS = ("plain", "stl", "dreg")


def importance_weighted(log_w: Float[Array, "*groups samples batch"]) -> Float[Array, "*groups batch"]:
    """log (1/k) sum w over the last axis of samples: Burda et al. 2015 (arXiv:1509.00519), eq. 8. In nats."""
    return jax.nn.logsumexp(log_w, axis=-2) - float(np.log(log_w.shape[-2]))


def averages(log_w: LogWeight, bound: Float[Array, " batch"]) -> Metrics:
    """The ELBO and its terms, each the mean over all the samples, beside the bound that is trained."""
    axes = tuple(range(log_w.likelihood.ndim - 1))
    likelihood, prior, posterior = (jnp.mean(part, axis=axes) for part in log_w)
    kl = posterior - prior
    return {"reconstruction": -likelihood, "kl": kl, "elbo": likelihood - kl, "bound": bound}


def estimate(
    weigh: Callable[[Variables, Any, Normal], tuple[LogWeight, PyTree]],
    variables: Variables,
    z: Any,
    q: Any,
    estimator: str,
) -> tuple[LogWeight, PyTree]:
    """weigh(variables, z, q), such that `importance_weighted` of its total has that estimator's gradient. z: a tree of
    samples [*groups, samples, batch, latent] reparameterised from q."""
    known("estimator", estimator, ESTIMATORS)
    if estimator == "plain":
        return weigh(variables, z, q)
    q = jax.lax.stop_gradient(q)
    if estimator == "dreg":
        here = jax.lax.stop_gradient((variables, z))
        share = jax.lax.stop_gradient(jax.nn.softmax(weigh(*here, q)[0].total, axis=-2))
        z = jax.tree.map(lambda leaf: scale_gradient(leaf, jnp.broadcast_to(share[..., None], leaf.shape)), z)
    return weigh(variables, z, q)


@jax.custom_vjp
def scale_gradient(x: Float[Array, "*shape"], by: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """x, whose gradient is multiplied by `by` on its way back."""
    return x


def _forward(x, by):
    return x, by


def _backward(by, gradient):
    return gradient * by, jnp.zeros_like(by)


scale_gradient.defvjp(_forward, _backward)
