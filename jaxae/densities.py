"""Log-probabilities and KL divergences, in nats, summed over the event axes (pixels, latents) and over nothing else.

Every decoder speaks logits or natural parameters, so nothing here needs a clip or an epsilon to stay finite.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.types import Normal

LOG_2PI = float(np.log(2 * np.pi))
MOST = 80.0  # whose exponential is below float32's largest
LOG_1P = (
    0.0052534578, -0.029588507, 0.078361668, -0.1367477, 0.19111431, -0.2484437, 0.33319271, -0.49999502, 1.0,
)  # fmt: skip
"""log(1 + e) / e on [0, 1] to 6e-8: its interpolation at the Chebyshev points, the highest power first."""


def event_sum(x: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """Sums all but the first axis."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def normal(x: Float[Array, "*shape latent"], p: Normal) -> Float[Array, "*shape"]:
    """log N(x; mean, exp(log_var)), diagonal; p broadcasts over axes of samples before its own."""
    mean, log_var = (jnp.broadcast_to(leaf, x.shape) for leaf in p)
    return -0.5 * jnp.sum(LOG_2PI + log_var + jnp.square((x - mean) * jnp.exp(-log_var / 2)), axis=-1)


def standard_normal(x: Float[Array, "*shape latent"]) -> Float[Array, "*shape"]:
    """log N(x; 0, 1)."""
    return -0.5 * jnp.sum(LOG_2PI + jnp.square(x), axis=-1)


def normal_mixture(
    x: Float[Array, "*shape latent"], each: Normal, log_weight: Float[Array, " k"]
) -> Float[Array, "*shape"]:
    """log sum_k w_k N(x; mean_k, exp(log_var_k)), diagonal; `each` is [k, latent].

    All distances come from two matrix products, in a fraction of the time that [*shape, k, latent] differences take.
    Where components are narrower than their spread that loses digits, so the likeliest counts by its own density, and
    the products say only what the others add to it: nothing that shows down to log-variances of about -16 under means
    of spread one (up to a nat below -9, where several such needles overlap). Below that a needle may be taken for none,
    and the density be too low by tens of nats. Of one latent unit, where needles overlap most,
    differences cost no more, and are taken.
    """
    if x.shape[-1] == 1:
        every = jax.vmap(normal, (None, 0), -1)(x, each)
        return jax.nn.logsumexp(every + jnp.broadcast_to(log_weight, every.shape), axis=-1)
    dot = partial(jnp.matmul, precision="highest")
    centre = jnp.mean(each.mean, axis=0)
    at, mean = x - jnp.broadcast_to(centre, x.shape), each.mean - centre[None]
    precision = jnp.exp(jnp.minimum(-each.log_var, MOST))
    constant = log_weight - 0.5 * jnp.sum(LOG_2PI + each.log_var + precision * jnp.square(mean), axis=-1)
    scores = dot(at, (precision * mean).T) - 0.5 * dot(jnp.square(at), precision.T)
    scores += jnp.broadcast_to(constant, scores.shape)
    likeliest = jnp.argmax(scores, axis=-1)
    its_score = jnp.sum(jnp.where(jax.nn.one_hot(likeliest, len(mean), dtype=bool), scores, 0.0), axis=-1)
    its_log_p = log_weight[likeliest] + normal(x, jax.tree.map(lambda leaf: leaf[likeliest], each))
    return its_log_p + (jax.nn.logsumexp(scores, axis=-1) - its_score)


def kl_to_standard(q: Normal) -> Float[Array, "*shape latent"]:
    """KL(q || N(0, 1)) of each latent unit: Kingma and Welling 2013 (arXiv:1312.6114), appendix B."""
    return 0.5 * (jnp.square(q.mean) + jnp.expm1(q.log_var) - q.log_var)


def kl(q: Normal, p: Normal) -> Float[Array, "*shape latent"]:
    """KL(q || p) of each latent unit of two diagonal Gaussians."""
    log_ratio = q.log_var - p.log_var
    return 0.5 * (jnp.square((q.mean - p.mean) * jnp.exp(-p.log_var / 2)) + jnp.expm1(log_ratio) - log_ratio)


def bernoulli(logits: Float[Array, "batch ..."], x: Float[Array, "batch ..."]) -> Float[Array, " batch"]:
    """log p(x) of independent Bernoulli pixels, x l - softplus(l): finite, with its gradient, at every logit."""
    logits = logits.reshape(len(logits), math.prod(logits.shape[1:]))
    if jax.default_backend() == "cpu":  # where XLA's loops over [28, 28, 1] are scalar
        logits = jax.lax.optimization_barrier(logits)
    return event_sum(x.reshape(logits.shape) * logits - softplus(logits))


@jax.custom_jvp
def softplus(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """log(1 + exp(x)), right to 2e-7 of its value: as `jax.nn.softplus`, in a third of its time on a CPU. It is
    max(x, 0) + log(1 + e) with e = exp(-|x|), and on [0, 1] log(1 + e) / e is nearly a polynomial, `LOG_1P`."""
    e = jnp.exp(-jnp.abs(x))
    ratio = jnp.zeros_like(e)
    for coefficient in LOG_1P:
        ratio = ratio * e + coefficient
    return jnp.maximum(x, 0) + e * ratio


@softplus.defjvp
def _softplus_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return softplus(x), jax.nn.sigmoid(x) * dx


def gaussian(
    mean: Float[Array, "batch ..."], log_var: Float[Array, "..."], x: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
    """log p(x) of independent Gaussian pixels; `log_var` broadcasts: a scalar is one variance for all pixels."""
    return -0.5 * event_sum(LOG_2PI + log_var + jnp.square((x - mean) * jnp.exp(-log_var / 2)))


def discretised_logistic(
    mean: Float[Array, "batch ..."], log_scale: Float[Array, "..."], x: Float[Array, "batch ..."]
) -> Float[Array, " batch"]:
    """log P(x) of pixels on the 256 levels 0, 1/255, ..., 1: a logistic's mass in the bin of width 1/255.

    Kingma et al. 2016 (arXiv:1606.04934), appendix C; the outermost bins take the tails, so the levels' masses sum
    to one. With a and b the bin's edges in units of the scale, sigmoid(b) - sigmoid(a) =
    sigmoid(b) sigmoid(-a) (1 - exp(a - b)): each factor has a stable logarithm.
    """
    sharpness = jnp.exp(jnp.minimum(-log_scale, MOST))
    width, centre = sharpness / 255, (x - mean) * sharpness
    low, high = centre - width / 2, centre + width / 2
    log_low = jnp.where(x < 0.5 / 255, 0.0, jax.nn.log_sigmoid(-low))  # P(above the lower edge)
    log_high = jnp.where(x > 1 - 0.5 / 255, 0.0, jax.nn.log_sigmoid(high))  # P(below the upper edge)
    inner = (x >= 0.5 / 255) & (x <= 1 - 0.5 / 255)
    return event_sum(log_low + log_high + jnp.where(inner, jnp.log(-jnp.expm1(-width)), 0.0))
