"""Discrete codes: the nearest vector of a codebook, a codebook learned by moving averages, and rounding to a grid.

Statistics of a batch are shares of its vectors, not numbers of them, so that the mean over devices is that of the
global batch and no constant depends on the batch size.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from jaxae import axis, random
from jaxae.errors import InputError
from jaxae.types import Keys

MOST_EDGE = 0.25  # of a level: what is left out must not be the last one
EDGE = 1e-3  # the share of its range that FSQ leaves out at the ends, as the paper's code does


def nearest(z: Float[Array, "*shape dim"], codebook: Float[Array, "codes dim"]) -> Int[Array, "*shape"]:
    """The index (int32) of the codebook's vector nearest to each z; of equally near ones the first.

    argmin_k |e_k|^2 / 2 - z.e_k, which is |z - e_k|^2 without the |z|^2 that all share: one matrix product, and
    nothing as large as [*shape, codes, dim]. Distances are about the codebook's centre, so a codebook far from the
    origin loses no digits, and at full precision: a TPU's or GPU's fast product picks wrong neighbours.
    """
    centre = jnp.mean(codebook, axis=0, keepdims=True)
    rows, vectors = z.reshape(-1, z.shape[-1]) - centre, codebook - centre
    half_norms = 0.5 * jnp.sum(jnp.square(vectors), axis=1)
    scores = half_norms[None] - jnp.matmul(rows, vectors.T, precision="highest")
    return jnp.argmin(scores, axis=1).astype(jnp.int32).reshape(z.shape[:-1])


def lookup(codebook: Float[Array, "codes dim"], index: Int[Array, "*shape"]) -> Float[Array, "*shape dim"]:
    """The codebook's vectors at these indices; NaN at an index past its end, rather than some other vector."""
    return jnp.take(codebook, index, axis=0)


def straight_through(
    z: Float[Array, "*shape dim"], quantised: Float[Array, "*shape dim"]
) -> Float[Array, "*shape dim"]:
    """The value of `quantised`, to the bit, with its gradient sent to z unchanged: van den Oord et al. 2017
    (arXiv:1711.00937), section 3.2."""
    return jax.lax.stop_gradient(quantised) + (z - jax.lax.stop_gradient(z))


class Codebook(NamedTuple):
    """A codebook kept by moving averages, which belongs in `Variables.state`: the optimiser does not touch it."""

    vectors: Float[Array, "codes dim"]
    count: Float[Array, " codes"]  # type: ignore[assignment]  # over a tuple's method, as is `index` below
    """The moving average of each code's share of the vectors; they add up to about 1."""
    total: Float[Array, "codes dim"]
    """The moving average of (the sum of the vectors assigned to each code) / (the number of vectors)."""


def start(vectors: Float[Array, "codes dim"]) -> Codebook:
    """A codebook with these vectors, as if each had been used equally often: the averages need no warm-up."""
    count = jnp.full(len(vectors), 1 / len(vectors), vectors.dtype)
    return Codebook(vectors, count, vectors * count[:, None])


def ema_update(
    codebook: Codebook,
    z: Float[Array, "batch *positions dim"],
    index: Int[Array, "batch *positions"],
    decay: float | Array,
) -> Codebook:
    """One step of online k-means: van den Oord et al. 2017 (arXiv:1711.00937), appendix A.1, in shares.

    count <- decay count + (1 - decay) share of z assigned; total likewise; vector = total / count. A code that the
    batch does not use stays where it is: its total and count fade alike. z and index are this device's rows; the
    statistics are the global batch's, and nothing is differentiated.
    """
    z, codes = jax.lax.stop_gradient(z), len(codebook.vectors)
    chosen = jax.nn.one_hot(index.reshape(-1), codes, dtype=z.dtype)
    total = jnp.matmul(chosen.T, z.reshape(-1, z.shape[-1]), precision="highest") / len(chosen)
    seen = axis.mean((jnp.mean(chosen, axis=0), total))
    old = (codebook.count, codebook.total)
    count, total = jax.tree.map(lambda old, new: decay * old + (1 - decay) * new, old, seen)
    moves = (seen[0] > 0) & (count > 0)  # not at a decay of one
    vectors = jnp.where(moves[:, None], total / jnp.where(moves, count, 1.0)[:, None], codebook.vectors)
    return Codebook(vectors, count, total)


def restart(
    codebook: Codebook, keys: Keys, z: Float[Array, "batch *positions dim"], threshold: float | Array
) -> Codebook:
    """Codes whose share of the use is under `threshold` begin again at vectors of the global batch, drawn at random.

    Each example draws one number a vector from its key; their order is a random permutation of the global batch's
    vectors, the same on any number of devices, of which the i-th dead code takes the i-th. Its count becomes that of
    equal use, so it has time to be found. Where more codes are dead than there are vectors, the last ones wait.
    """
    *positions, dim = z.shape[1:]
    draws = random.uniform(keys, tuple(positions))
    order = jnp.argsort(axis.gather(draws).reshape(-1))
    shuffled = axis.gather(jax.lax.stop_gradient(z)).reshape(-1, dim)[order]
    dead = codebook.count < threshold * jnp.sum(codebook.count)
    turn = jnp.cumsum(dead) - 1
    replaced = (dead & (turn < len(shuffled)))[:, None]
    fresh = start(shuffled[jnp.clip(turn, 0, len(shuffled) - 1)])
    return Codebook(
        jnp.where(replaced, fresh.vectors, codebook.vectors),
        jnp.where(replaced[:, 0], fresh.count, codebook.count),
        jnp.where(replaced, fresh.total, codebook.total),
    )


def shares(index: Int[Array, "batch ..."], codes: int) -> Float[Array, " codes"]:
    """Each code's share of the global batch's vectors."""
    return axis.mean(jnp.mean(jax.nn.one_hot(index.reshape(-1), codes), axis=0))


def perplexity(index: Int[Array, "batch ..."], codes: int) -> Float[Array, ""]:
    """exp(entropy of the shares) in the global batch: as many codes, equally used, would be as hard to guess."""
    return jnp.exp(jnp.sum(jax.scipy.special.entr(shares(index, codes))))


class Residual(NamedTuple):
    """A residual quantisation. Stages come first, so `jax.vmap(ema_update, (0, 0, 0, None))` updates all of them."""

    quantised: Float[Array, "*shape dim"]
    """The sum over stages of their codes; its gradient reaches the codebooks."""
    index: Int[Array, "stages *shape"]  # type: ignore[assignment]
    inputs: Float[Array, "stages *shape dim"]
    """What each stage was given: z, then what the stages before had left over."""


def residual(z: Float[Array, "*shape dim"], codebooks: Float[Array, "stages codes dim"]) -> Residual:
    """Each stage quantises what the last one left over: Zeghidour et al. 2021 (arXiv:2107.03312), algorithm 1.

    What is left over counts the codes before it as constants: a stage's loss moves no other stage's codebook.
    """

    def stage(left, codebook):
        index = nearest(left, codebook)
        code = lookup(codebook, index)
        return left - jax.lax.stop_gradient(code), (code, index, left)

    _, (codes, index, inputs) = jax.lax.scan(stage, z, codebooks)
    return Residual(jnp.sum(codes, axis=0), index, inputs)


def fsq(
    z: Float[Array, "*shape latent"], levels: Sequence[int]
) -> tuple[Float[Array, "*shape latent"], Int[Array, "*shape"]]:
    """(z rounded to a grid of levels[j] values in unit j, in [-1, 1], its index) without a codebook to learn.

    Finite scalar quantisation, Mentzer et al. 2023 (arXiv:2309.15505), section 3 and the code of its appendix A.1.
    The gradient is that of the bound, straight through the rounding. An even number of levels has no level at 1: the
    grid is -1, ..., 1 - 2 / levels[j].
    """
    bounded = fsq_bound(z, levels)
    half_width = _row([level // 2 for level in levels], z)
    quantised = straight_through(bounded, jnp.round(bounded)) / half_width
    return quantised, fsq_index(quantised, levels)


def fsq_bound(z: Float[Array, "*shape latent"], levels: Sequence[int]) -> Float[Array, "*shape latent"]:
    """z squeezed by tanh to where rounding gives exactly levels[j] integers, from -(levels[j] // 2) up.

    An even number of integers is not symmetric about 0: the range moves down by a half, and z by the paper's tan(half /
    range), which sends 0 near 0 and, unlike atanh, is finite for two levels too.
    """
    _check(levels, z.shape[-1])
    half_range = _row([max((level - 1) * (1 - EDGE) / 2, (level - 1) / 2 - MOST_EDGE) for level in levels], z)
    offset = _row([0.0 if level % 2 else 0.5 for level in levels], z)
    return jnp.tanh(z + jnp.tan(offset / half_range)) * half_range - offset


def fsq_index(quantised: Float[Array, "*shape latent"], levels: Sequence[int]) -> Int[Array, "*shape"]:
    """The index (int32) in 0, ..., prod(levels) - 1 of a point of the grid; the first unit is the lowest digit."""
    _check(levels, quantised.shape[-1])
    half_width = _row([level // 2 for level in levels], quantised)
    digits = jnp.round(quantised * half_width + half_width).astype(jnp.int32)
    return jnp.sum(digits * _row(_places(levels), digits), axis=-1, dtype=jnp.int32)  # under x64, too


def fsq_codes(index: Int[Array, "*shape"], levels: Sequence[int]) -> Float[Array, "*shape {len(levels)}"]:
    """The grid's point at each index: the inverse of `fsq_index`."""
    _check(levels, len(levels))
    index = index[..., None]
    digits = index // _row(_places(levels), index) % _row(levels, index)
    half_width = _row([level // 2 for level in levels], index)
    return (digits - half_width) / half_width


def _places(levels: Sequence[int]) -> list[int]:
    """What a step in each digit is worth."""
    return [math.prod(levels[:j]) for j in range(len(levels))]


def _row(values: Sequence[float], like: Array) -> Array:
    """One value a unit of the last axis, to be broadcast over the others."""
    return jnp.asarray(values, like.dtype).reshape((1,) * (like.ndim - 1) + (-1,))


def _check(levels: Sequence[int], latent: int) -> None:
    if len(levels) != latent:
        raise InputError(f"levels {tuple(levels)}: expected one for each of the {latent} latent units")
    if not levels or min(levels) < 2 or math.prod(levels) >= 2**31:
        raise InputError(f"levels {tuple(levels)}: expected at least 2 of each, and a product under 2^31 for the index")
