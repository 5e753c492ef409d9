"""A learned Riemannian metric G of the latent space, and Hamiltonian motion in it.

Chadebec, Mantoux and Allassonniere 2020 (arXiv:2010.11518): G(z)^-1 = mean_k M_k w_k(z) + lambda 1, with the weights
w_k(z) = exp(-|z - c_k|^2 / T^2) of centroids c_k, and matrices M_k = L_k L_k^T. (They have the sum: L_k takes the
factor.)
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.types import Codes

Matrices = Float[Array, "batch latent latent"]


class Metric(NamedTuple):
    centroids: Float[Array, "centroids latent"]
    """c_k"""
    squares: Float[Array, "centroids latent latent"]
    """M_k"""
    width: float
    """T"""
    least: float
    """lambda"""


class Place(NamedTuple):
    """A metric at codes z."""

    metric: Metric
    z: Codes
    weights: Float[Array, "batch centroids"]
    """w_k(z), over the number of centroids"""
    inverse: Matrices
    """G(z)^-1"""


class Pull(NamedTuple):
    """What the place does to a momentum v there."""

    speed: Codes
    """G(z)^-1 v: how z moves"""
    of_speed: Float[Array, "batch centroids"]
    """v^T M_k v"""
    slant: Matrices
    """The derivative, by v, of the gradient of -v^T G(z)^-1 v / 2; transposed, minus that of the speed by z"""


def lower(entries: Float[Array, "batch entries"], latent: int) -> Matrices:
    """Lower triangular matrices of latent (latent + 1) / 2 numbers each; the diagonal is their exponential."""
    rows, columns = jnp.tril_indices(latent)
    filled = jnp.where((rows == columns)[None], jnp.exp(entries), entries)
    return jnp.zeros((len(entries), latent, latent), entries.dtype).at[:, rows, columns].set(filled)


def at(metric: Metric, z: Codes) -> Place:
    between = jnp.sum(jnp.square(z[:, None] - metric.centroids[None]), axis=-1)
    weights = jnp.exp(-between / math.pow(metric.width, 2)) / len(metric.centroids)
    return Place(metric, z, weights, product("bk,kij->bij", weights, metric.squares) + metric.least * _eye(z))


def root_at(metric: Metric, z: Codes) -> Matrices:
    """Of G(z)^-1: lower triangular, C with C C^T the matrix."""
    return root_of(at(metric, z).inverse)


def momentum(root: Matrices, g: Codes) -> Codes:
    """v ~ N(0, G(z)), of g ~ N(0, 1) and the root of G(z)^-1."""
    return product("bji,bj->bi", _inverse_of(root), g)


def log_momentum(root: Matrices, v: Codes) -> Float[Array, " batch"]:
    """log N(v; 0, G(z)), in nats an example."""
    squared = jnp.sum(jnp.square(product("bji,bj->bi", root, v)), axis=-1)
    return _log_diagonal(root) - squared / 2 - v.shape[-1] * math.log(2 * math.pi) / 2


def move(
    metric: Metric,
    slope: Callable[[Codes], Codes],
    sizes: Float[Array, "1 latent"],
    coolings: Float[Array, " leaps"],
    rounds: int,
    z: Codes,
    v: Codes,
) -> tuple[Codes, Codes, Float[Array, " batch"]]:
    """(z, v, log |det|) after as many leaps as there are `coolings`, by which v is multiplied after each: the
    determinant is that of all else.

    The generalised leapfrog of H(z, v) = -log p(x, z) + v^T G(z)^-1 v / 2 + log det(G(z)) / 2, of which `slope` is the
    gradient of log p(x, z): Girolami and Calderhead 2011. Two of its three parts are implicit, and iterated `rounds`
    times. Solved, all three together would keep the volume; as they are, it is followed through every iteration.
    """
    step = sizes / 2

    def stretched(slant, of=None):
        """1 + step slant of"""
        return _eye(z) + step[..., None] * (slant if of is None else product("bij,bjk->bik", slant, of))

    def leap(carry, cooling):
        z, v, uphill, traces, grown = carry
        here = at(metric, z)
        half, by_v = v, _eye(z)
        for _ in range(rounds):
            pulled = pull(here, half)
            half, by_v = v + step * (uphill + bent(here, traces, pulled)), stretched(pulled.slant, by_v)
        left = pull(here, half)
        there, by_z = z, _eye(z)
        for _ in range(rounds):
            pulled = pull(at(metric, there), half)
            there = z + step * (left.speed + pulled.speed)
            by_z = stretched(-left.slant.mT) - step[..., None] * product("bji,bjk->bik", pulled.slant, by_z)
        place = at(metric, there)
        uphill, pulled, traces = slope(there), pull(place, half), traces_of(place)
        v = cooling * (half + step * (uphill + bent(place, traces, pulled)))
        grown = product("bij,bjk,bkl,blm->bim", stretched(pulled.slant), by_z, by_v, grown)
        return (there, v, uphill, traces, grown), None

    whole = jnp.broadcast_to(_eye(z), (*z.shape, z.shape[-1]))
    start = (z, v, slope(z), traces_of(at(metric, z)), whole)
    (z, v, *_, grown), _ = jax.lax.scan(leap, start, coolings)
    return z, v, _log_diagonal(root_of(product("bji,bjk->bik", grown, grown)))


def pull(place: Place, v: Codes) -> Pull:
    each = product("kij,bj->bki", place.metric.squares, v)
    between = place.z[:, None] - place.metric.centroids[None]
    slant = 2 / math.pow(place.metric.width, 2) * product("bk,bki,bkj->bij", place.weights, between, each)
    return Pull(product("bij,bj->bi", place.inverse, v), product("bki,bi->bk", each, v), slant)


def traces_of(place: Place) -> Float[Array, "batch centroids"]:
    """tr(G(z) M_k)"""
    back = _inverse_of(root_of(place.inverse))
    return product("bli,blj,kij->bk", back, back, place.metric.squares)


def bent(place: Place, traces: Float[Array, "batch centroids"], pulled: Pull) -> Codes:
    """Minus the gradient, in z, of v^T G(z)^-1 v / 2 + log det(G(z)) / 2: what the curving of space does to v."""
    by = place.weights * (pulled.of_speed - traces) / math.pow(place.metric.width, 2)
    return jnp.sum(by, axis=-1, keepdims=True) * place.z - product("bk,ki->bi", by, place.metric.centroids)


def root_of(squares: Matrices) -> Matrices:
    """Lower triangular, C with C C^T = the matrix, column by column. LAPACK's, called twice at once by one program,
    waits for itself for ever on a CPU of two threads (jax 0.10)."""
    rows = jnp.arange(squares.shape[-1])

    def column(root, j):
        rest = squares[:, :, j] - product("bij,bj->bi", root, root[:, j])
        scaled = jnp.where((rows >= j)[None], rest, 0.0) / jnp.sqrt(rest[:, j])[:, None]
        return root.at[:, :, j].set(scaled), None

    return jax.lax.scan(column, jnp.zeros_like(squares), rows)[0]


def _inverse_of(root: Matrices) -> Matrices:
    """Of a lower triangular matrix, row by row."""

    def row(inverse, i):
        rest = jax.nn.one_hot(i, root.shape[-1], dtype=root.dtype)[None] - product("bj,bjk->bk", root[:, i], inverse)
        return inverse.at[:, i].set(rest / root[:, i, i][:, None]), None

    return jax.lax.scan(row, jnp.zeros_like(root), jnp.arange(root.shape[-1]))[0]


def _log_diagonal(root: Matrices) -> Float[Array, " batch"]:
    return jnp.sum(jnp.log(jnp.diagonal(root, axis1=-2, axis2=-1)), axis=-1)


def _eye(z: Codes) -> Float[Array, "1 latent latent"]:
    return jnp.eye(z.shape[-1], dtype=z.dtype)[None]


def product(subscripts: str, *factors: Array) -> Any:
    """With all digits on any device."""
    return jnp.einsum(subscripts, *factors, precision="highest")
