"""Normalising flows on codes: every one returns (y, log_det), with log_det = log |det dy/dz| in nats, [batch].

A flow's density follows from it: log p(y) = log p(z) - log_det for a sample z that is pushed to y, and
log p(z) = log p(y) + log_det for a point z that is read as y.
"""

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jaxtyping import Array, Float

from jaxae import densities
from jaxae.errors import InputError
from jaxae.types import Codes

Context = Float[Array, "batch context"]
LogDet = Float[Array, " batch"]


class MADE(nn.Module):
    """Two outputs an input, each a function of the inputs before it alone, and of all of the context.

    Germain et al. 2015 (arXiv:1502.03509), section 4: a unit of degree d sees the inputs of rank at most d, and the
    output of rank r sees the units of degree below r. Here degrees start at 0: those units carry the context to the
    first output. `order` lists the inputs, first to last; () is the order they come in.
    """

    latent: int
    width: int
    depth: int = 1
    order: tuple[int, ...] = ()

    @nn.compact
    def __call__(self, z: Codes, context: Context | None = None) -> tuple[Codes, Codes]:
        order = self.order or tuple(range(self.latent))
        if sorted(order) != list(range(self.latent)):
            raise InputError(f"order {order}: expected a permutation of 0 ... {self.latent - 1}; name each input once")
        rank = np.argsort(order) + 1
        degree = np.arange(self.width) * self.latent // self.width
        h, seen = z, rank
        for i in range(self.depth):
            h = self._masked(f"hidden_{i}", h, seen[:, None] <= degree[None], nn.initializers.lecun_normal())
            if context is not None:
                h = h + nn.Dense(self.width, use_bias=False, name=f"context_{i}")(context)
            h, seen = nn.elu(h), degree
        before = seen[:, None] < rank[None]
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        first, second = jnp.split(self._masked("outputs", h, np.tile(before, 2), small), 2, axis=-1)
        return first, second

    def _masked(self, name: str, x: Array, mask: np.ndarray, init: nn.initializers.Initializer) -> Array:
        kernel = self.param(f"{name}_kernel", init, mask.shape, jnp.float32)
        bias = self.param(f"{name}_bias", nn.initializers.zeros, mask.shape[1:], jnp.float32)
        return x @ jnp.where(mask, kernel, 0.0) + bias[None]


class IAF(nn.Module):
    """Inverse autoregressive flow: Kingma et al. 2016 (arXiv:1606.04934), algorithm 1.

    z' = sigma z + (1 - sigma) m, with m and s functions of the units before, sigma = sigmoid(s + 2): near the identity
    at the start, where z' is about 0.88 z. The order of the units is reversed from step to step. Read the other way,
    data to noise, one pass is the density of a masked autoregressive flow (Papamakarios et al. 2017, arXiv:1705.07057).
    """

    latent: int
    steps: int
    width: int
    depth: int = 1

    @nn.compact
    def __call__(self, z: Codes, context: Context | None = None) -> tuple[Codes, LogDet]:
        log_det = jnp.zeros_like(z[:, 0])
        for step in range(self.steps):
            order = tuple(range(self.latent))[:: -1 if step % 2 else 1]
            m, s = MADE(self.latent, self.width, self.depth, order, name=f"step_{step}")(z, context)
            z = nn.sigmoid(s + 2) * z + nn.sigmoid(-s - 2) * m
            log_det = log_det + jnp.sum(nn.log_sigmoid(s + 2), axis=-1)
        return z, log_det


@dataclass(frozen=True)
class Planar:
    """Planar flow whose every parameter is an example's own: the encoder makes `outputs` more numbers for it.

    Rezende and Mohamed 2015 (arXiv:1505.05770), eq. 10, with the amortised parameters of their inference network.
    """

    latent: int
    steps: int

    @property
    def outputs(self) -> int:
        """How many numbers `context` holds: u, w and b of each step."""
        return self.steps * (2 * self.latent + 1)

    def __call__(self, z: Codes, context: Context) -> tuple[Codes, LogDet]:
        if context.shape[-1] != self.outputs:
            raise InputError(f"a context of {context.shape[-1]} numbers: expected {self.outputs}, Planar.outputs")
        each = context.reshape(len(context), self.steps, 2 * self.latent + 1)
        return planar(z, each[..., : self.latent], each[..., self.latent : -1], each[..., -1])


def planar(
    z: Codes,
    u: Float[Array, "batch steps latent"],
    w: Float[Array, "batch steps latent"],
    b: Float[Array, "batch steps"],
) -> tuple[Codes, LogDet]:
    """Steps of z' = z + u^ tanh(w.z + b), each invertible: Rezende and Mohamed 2015, eq. 10 to 12, appendix A.1.

    u^ is u moved along w until w.u^ = m(w.u) > -1. Appendix A.1 takes m(a) = -1 + softplus(a), with m(0) not 0: u^ is
    then unbounded as w goes to 0. Here m(a) = -1 + softplus(a + log(e - 1)), which is 0 at 0 and keeps it bounded.
    """
    log_det = jnp.zeros_like(z[:, 0])
    for step in range(u.shape[1]):
        u_k, w_k = u[:, step], w[:, step]
        a = jnp.sum(w_k * u_k, axis=-1)
        length = jnp.maximum(jnp.sum(jnp.square(w_k), axis=-1), 1e-18)  # whose square is a float32 too
        u_hat = u_k + w_k * (_gap(a) / length)[:, None]
        x = jnp.sum(w_k * z, axis=-1) + b[:, step]
        flat = 4 * nn.sigmoid(2 * x) * nn.sigmoid(-2 * x)  # tanh'(x)
        z = z + u_hat * jnp.tanh(x)[:, None]
        # 1 + tanh'(x) m(a), as a sum of two terms that are not negative
        log_det = log_det + jnp.log(jnp.square(jnp.tanh(x)) + flat * nn.softplus(a + math.log(math.e - 1)))
    return z, log_det


class RealNVP(nn.Module):
    """Affine couplings: Dinh et al. 2016 (arXiv:1605.08803), eq. 7 and 8, the identity at the start.

    A layer reads one half of the units, and scales and shifts the other; the halves change places from layer to layer.
    The log-scale is a learned factor times a tanh (their section 4.1), so it is bounded. A single unit has no other
    half: its layers are learned affine maps.
    """

    latent: int
    layers: int
    width: int
    depth: int = 1

    def setup(self):
        first = self.latent // 2
        moved = [first if self._moves_first(i) else self.latent - first for i in range(self.layers)]
        self.couplings = [Coupling(count, self.width, self.depth, name=f"layer_{i}") for i, count in enumerate(moved)]

    def __call__(self, z: Codes) -> tuple[Codes, LogDet]:
        return self.forward(z)

    def forward(self, z: Codes) -> tuple[Codes, LogDet]:
        """(the noise u, log |det du/dz|) at the code z."""
        log_det = jnp.zeros_like(z[:, 0])
        for i, coupling in enumerate(self.couplings):
            given, moved = self._halves(z, i)
            scale, shift = coupling(given)
            z = self._whole(given, moved * jnp.exp(scale) + shift, i)
            log_det = log_det + jnp.sum(scale, axis=-1)
        return z, log_det

    def inverse(self, u: Codes) -> Codes:
        """The code z whose noise is u: with u ~ N(0, 1), a sample of the flow."""
        for i, coupling in reversed(list(enumerate(self.couplings))):
            given, moved = self._halves(u, i)
            scale, shift = coupling(given)
            u = self._whole(given, (moved - shift) * jnp.exp(-scale), i)
        return u

    def log_prob(self, z: Codes) -> LogDet:
        """log p(z) = log N(u; 0, 1) + log |det du/dz|, in nats."""
        u, log_det = self.forward(z)
        return densities.standard_normal(u) + log_det

    def _moves_first(self, i: int) -> bool:
        return i % 2 == 1 and self.latent > 1

    def _halves(self, z: Codes, i: int) -> tuple[Array, Array]:
        """(the units that layer i reads, the units that it moves)"""
        first, second = jnp.split(z, [self.latent // 2], axis=-1)
        return (second, first) if self._moves_first(i) else (first, second)

    def _whole(self, given: Array, moved: Array, i: int) -> Codes:
        return jnp.concatenate([moved, given] if self._moves_first(i) else [given, moved], axis=-1)


class Coupling(nn.Module):
    """(log-scale, shift) of the units that are moved, from those that are given; both zero at the start."""

    moved: int
    width: int
    depth: int

    @nn.compact
    def __call__(self, given: Float[Array, "batch given"]) -> tuple[Float[Array, "batch moved"], ...]:
        h = given if given.shape[-1] else jnp.ones_like(given, shape=(len(given), 1))
        for i in range(self.depth):
            h = nn.elu(nn.Dense(self.width, name=f"hidden_{i}")(h))
        outputs = nn.Dense(2 * self.moved, kernel_init=nn.initializers.zeros, name="outputs")(h)
        scale, shift = jnp.split(outputs, 2, axis=-1)
        factor = self.param("factor", nn.initializers.ones, (self.moved,), jnp.float32)
        return factor[None] * jnp.tanh(scale), shift


def _gap(a: Float[Array, " batch"]) -> Float[Array, " batch"]:
    """m(a) - a of `planar`, without the cancellation near 0: log1p(expm1(-a) / e), and its equal where a < 0."""
    up, down = jnp.where(a < 0, 0.0, a), jnp.where(a < 0, a, 0.0)
    below = jnp.log1p((1 - 1 / math.e) * jnp.expm1(down)) - down
    return jnp.where(a < 0, below, jnp.log1p(jnp.expm1(-up) / math.e))
