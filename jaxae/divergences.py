"""Distances between sets of codes, and the parts of the KL to the prior, as estimated from a batch.

Every set here is the GLOBAL batch: the caller gathers it (`jaxae.axis.gather`), so that no result depends on the
number of devices. Divergences of densities are in nats.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxae import densities
from jaxae.errors import InputError
from jaxae.types import Codes, Normal

Kernel = Callable[[Float[Array, "n m"]], Float[Array, "n m"]]
"""Squared distances -> values of a kernel that knows nothing else of its two points."""
SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
"""Of a kernel's width: fine where the codes are near the prior, wide enough for a gradient where they are far."""


def squared_distances(x: Float[Array, "n latent"], y: Float[Array, "m latent"]) -> Float[Array, "n m"]:
    """|x_i - y_j|^2 in memory n m: |x|^2 + |y|^2 - 2 x.y, about a common centre so that few digits cancel."""
    centre = jax.lax.stop_gradient(jnp.mean(y, axis=0))[None]
    x, y = x - centre, y - centre
    norms = jnp.sum(jnp.square(x), axis=1)[:, None] + jnp.sum(jnp.square(y), axis=1)[None]
    return jnp.maximum(norms - 2 * jnp.matmul(x, y.T, precision="highest"), 0)


def rbf(latent: int) -> Kernel:
    """The sum over SCALES s of exp(-|x - y|^2 / (2 latent s)).

    2 latent is the expected squared distance of two draws from the prior N(0, 1).
    """
    return lambda squared: sum(jnp.exp(-squared / (2 * latent * s)) for s in SCALES)  # type: ignore


def imq(latent: int) -> Kernel:
    """The inverse multiquadratics' sum over SCALES s of C / (C + |x - y|^2), C = 2 latent s.

    Tolstikhin et al. 2017 (arXiv:1711.01558), section 4, give C at s = 1; the sum is their published code's. Its
    tails are heavier than the RBF's, so codes far from the prior still feel it.
    """

    def kernel(squared):
        widths = [2 * latent * s for s in SCALES]
        return sum(width / (width + squared) for width in widths)

    return kernel


def mmd(x: Float[Array, "n latent"], y: Float[Array, "m latent"], kernel: Kernel) -> Float[Array, ""]:
    """The squared maximum mean discrepancy's unbiased estimate: negative about half the time where x and y are alike.

    Gretton et al. 2012 (JMLR 13:723), eq. 3: the mean of k(x_i, x_j) and of k(y_i, y_j) over i != j, minus twice the
    mean of k(x_i, y_j). Raises InputError for a set of one, which has no pairs.
    """
    if min(len(x), len(y)) < 2:
        raise InputError(f"MMD of {len(x)} and {len(y)} codes: expected at least 2 of each: a larger batch or split")

    def within(points):
        n = len(points)
        pairs = jnp.where(jnp.eye(n, dtype=bool), 0, kernel(squared_distances(points, points)))
        return jnp.sum(pairs) / (n * (n - 1))

    return within(x) + within(y) - 2 * jnp.mean(kernel(squared_distances(x, y)))


def sliced_wasserstein(
    x: Float[Array, "n latent"], y: Float[Array, "n latent"], directions: Float[Array, "count latent"]
) -> Float[Array, ""]:
    """The squared 2-Wasserstein distance of the two sets' projections, mean over directions of any length but 0.

    Kolouri et al. 2018 (arXiv:1804.01947). On a line the optimal plan pairs the sorted points, so a distance costs a
    sort; for directions uniform on the sphere (normal draws are) the mean is at most 1 / latent of the squared
    2-Wasserstein distance of the sets. Raises InputError for sets of one, whose distance is that of two points, and of
    different sizes.
    """
    if x.shape != y.shape:
        raise InputError(f"codes of shape {x.shape} and {y.shape}: expected as many of each")
    if len(x) < 2:
        raise InputError(f"Wasserstein distance of {len(x)} code: expected at least 2: a larger batch or split")
    directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
    x, y = (jnp.sort(jnp.matmul(points, directions.T, precision="highest"), axis=0) for points in (x, y))
    return jnp.mean(jnp.square(x - y))


class LogAggregate(NamedTuple):
    """The aggregate posterior q(z) = mean over the data set of q(z | n), at each row's z, in nats."""

    joint: Float[Array, " batch"]
    """log q(z)"""
    marginals: Float[Array, "batch latent"]
    """log q(z_j)"""


def log_aggregate(
    z: Codes, q: Normal, places: Int[Array, " batch"], examples: int, stratified: bool = True
) -> LogAggregate:
    """log q(z) and log q(z_j) from a batch. Chen et al. 2018 (arXiv:1802.04942), appendix C.

    z: this device's rows; q: the global batch's posteriors, [global, latent]; places: where the rows stand in it
    (`axis.places`); examples: the size of the data set the batch was drawn from, without replacement (a batch that
    goes over the end of an epoch may hold an example twice: the twin then counts as one of the others).

    The example that z came from is in the batch with certainty, not by chance: it stands for itself alone. Of the
    other N - 1 the M others in the batch are a fair sample. The stratified estimate (C.2) is thus
    q(z | own) / N + (N - 1) / (N M) sum over others of q(z | other), unbiased before the logarithm. The paper's
    weights are 1 / M for all the others but one and (N - M) / (N M) for that one, whichever it be; this is their mean
    over that choice, with the same expectation, no more variance, and exact where the batch is the data set.
    The weighted estimate (C.1), the batch's sum of q(z | n) / (N (M + 1)), is too small: by log N where the posteriors
    coincide, by log(M + 1) where they are far apart. Its gradient, not its value, is what it is used for.
    """
    if examples < 1:
        raise InputError(f"examples {examples}: expected the size of the data set, at least 1")
    total = len(q.mean)
    if total < 2:
        raise InputError("q(z) of 1 code, by itself: expected at least 2: a larger batch or split")
    log_weight = jnp.full((len(z), total), -jnp.log(float(examples) * total))
    if stratified:
        own = places[:, None] == jnp.arange(total)[None]
        others = jnp.log((examples - 1) / (float(examples) * max(total - 1, 1)))
        log_weight = jnp.where(own, -jnp.log(float(examples)), others)
    one_unit_each = Normal(q.mean[..., None], q.log_var[..., None])
    log_q = jax.vmap(jax.vmap(densities.normal, (None, 0)), (0, None))(z[..., None], one_unit_each)
    return LogAggregate(
        jax.nn.logsumexp(log_weight + jnp.sum(log_q, axis=-1), axis=1),
        jax.nn.logsumexp(log_weight[..., None] + log_q, axis=1),
    )


def index_code_mi(z: Codes, q: Normal, aggregate: LogAggregate) -> Float[Array, " batch"]:
    """log q(z | n) - log q(z): its mean is the mutual information of example and code. q: the rows' own posteriors.

    With `total_correlation` and `dimension_wise_kl` it adds up to log q(z | n) - log p(z), whose mean is the KL to the
    prior: Chen et al. 2018 (arXiv:1802.04942), eq. 2.
    """
    return densities.normal(z, q) - aggregate.joint


def total_correlation(aggregate: LogAggregate) -> Float[Array, " batch"]:
    """log q(z) - sum_j log q(z_j): the mean is KL(q(z) || prod_j q(z_j)), zero for independent latent units."""
    return aggregate.joint - jnp.sum(aggregate.marginals, axis=-1)


def dimension_wise_kl(z: Codes, aggregate: LogAggregate) -> Float[Array, " batch"]:
    """sum_j log q(z_j) - log p(z_j) for the prior N(0, 1): its mean is sum_j KL(q(z_j) || p(z_j))."""
    return jnp.sum(aggregate.marginals, axis=-1) - densities.standard_normal(z)


def covariance(x: Float[Array, "n latent"]) -> Float[Array, "latent latent"]:
    """The covariance of these n codes, over n and not n - 1: they are all there is. Raises InputError for one."""
    if len(x) < 2:
        raise InputError("covariance of 1 code: expected at least 2: a larger batch or split")
    centred = x - jnp.mean(x, axis=0, keepdims=True)
    return jnp.matmul(centred.T, centred, precision="highest") / len(x)


def dip(
    cov: Float[Array, "latent latent"], od: float | Float[Array, ""], d: float | Float[Array, ""]
) -> Float[Array, ""]:
    """od sum over i != j of cov_ij^2 + d sum_i (cov_ii - 1)^2: how far a covariance is from the prior's identity.

    Kumar et al. 2017 (arXiv:1711.00848): eq. 6 (DIP-VAE-I) with the covariance of the posterior means; eq. 7
    (DIP-VAE-II) with the posteriors' mean variances added to its diagonal.
    """
    diagonal = jnp.diagonal(cov)
    off = cov * (1 - jnp.eye(len(cov)))
    return od * jnp.sum(jnp.square(off)) + d * jnp.sum(jnp.square(diagonal - 1))
