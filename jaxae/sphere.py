"""The von Mises-Fisher distribution on the unit sphere of R^m, m >= 2: density C_m(kappa) exp(kappa mu.z), in nats.

Everything is written in the angle a = acos(mu.z), whose density is exp(-2 kappa sin^2(a / 2)) sin(a)^(m - 2) / J: the
factor exp(kappa) is taken out, so that nothing cancels in float32 where kappa is large. An `m` is a plain integer, a
`kappa` is >= 0 with one concentration an example, and every vector is of length one: gradients are right along the
sphere, not off it.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae import random
from jaxae.errors import InputError
from jaxae.types import Keys

_POINTS, _WEIGHTS = np.polynomial.legendre.leggauss(64)
_REACH = 12.0  # in standard deviations of the angle: what lies further out is far below float32's resolution
_LAST = float(np.nextafter(np.float32(np.pi), np.float32(0)))  # float32's pi is above pi: its sine is negative
_FEW = 0.01  # of kappa^2 / (m (m + 2)): below it four terms of the series in kappa are exact to float32


def log_area(m: int) -> float:
    """The log of the area of the unit sphere of R^m, 2 pi^(m / 2) / Gamma(m / 2)."""
    return math.log(2) + m / 2 * math.log(math.pi) - math.lgamma(m / 2)


def log_prob(
    z: Float[Array, "batch m"], mu: Float[Array, "batch m"], kappa: Float[Array, " batch"]
) -> Float[Array, " batch"]:
    """log vMF(z; mu, kappa), a density with respect to the sphere's area."""
    m = z.shape[-1]
    versine = jnp.sum(jnp.square(z - mu), axis=-1) / 2  # 1 - mu.z, with all its digits
    return -kappa * versine - _log_integral(kappa, m) - log_area(m - 1)


def kl_to_uniform(kappa: Float[Array, " batch"], m: int) -> Float[Array, " batch"]:
    """KL(vMF(mu, kappa) || uniform) = kappa A + log C_m(kappa) + log_area(m): Davidson et al. 2018, section 3.

    Near zero it is kappa^2 / (2 m), which the sum of three large terms would lose.
    """
    few, small, terms = _series(kappa, m)
    near = jnp.square(small) / m * sum((2 * j + 1) / (2 * j + 2) * term for j, term in enumerate(terms))
    far = -kappa * _mean_versine(kappa, m) - _log_integral(kappa, m) + (log_area(m) - log_area(m - 1))
    return jnp.where(few, near, far)


def uniform(keys: Keys, m: int) -> Float[Array, "batch m"]:
    """Uniform on the sphere."""
    return _unit(random.normal(keys, (m,)))


def sample(keys: Keys, mu: Float[Array, "batch m"], kappa: Float[Array, " batch"]) -> Float[Array, "batch m"]:
    """z ~ vMF(mu, kappa): Davidson et al. 2018, algorithm 1, reparameterised in mu and in kappa.

    The angle to mu comes by rejection, with the implicit gradient of Figurnov et al. 2018 (arXiv:1805.08498); the
    direction around mu is uniform, turned into place by the Householder reflection that swaps the first axis and mu.
    """
    m = _checked(mu.shape[-1])
    for_angle, for_direction = random.split(keys)
    drawn = jax.vmap(lambda key, k: _rejection(key, k, m))(for_angle, jax.lax.stop_gradient(kappa))
    angle = _follow(drawn, kappa, m)
    around = uniform(for_direction, m - 1)
    return jnp.cos(angle)[:, None] * mu + jnp.sin(angle)[:, None] * _tangent(mu, around)


def _tangent(mu: Float[Array, "batch m"], around: Float[Array, "batch others"]) -> Float[Array, "batch m"]:
    """`around`, a direction in the hyperplane of all axes but the first, in mu's tangent plane.

    The reflection takes the first axis to mu or to -mu, whichever is further away: in the published form, always mu,
    the gradient is unbounded as mu nears the first axis.
    """
    sign = jnp.where(mu[:, :1] < 0, -1.0, 1.0).astype(mu.dtype)
    along = jnp.sum(mu[:, 1:] * around, axis=-1, keepdims=True)
    first = jnp.ones_like(along)
    normal = jnp.concatenate([sign * first + mu[:, :1], mu[:, 1:]], axis=-1)
    return normal * along / (1 + sign * mu[:, :1]) - jnp.pad(around, ((0, 0), (1, 0)))


def _rejection(key: Array, kappa: Float[Array, ""], m: int) -> Float[Array, ""]:
    """The angle between z and mu: Wood 1994 (Commun. Stat. Simul. Comput. 23:157), after Ulrich 1984.

    The proposal's e / (1 - e), for e ~ Beta((m - 1) / 2, (m - 1) / 2), is a ratio of two sums of m - 1 squared normals,
    and tan^2(angle / 2) is b times it. A kappa that is not a number is accepted at once, rather than never.
    """
    b = (m - 1) / (2 * kappa + jnp.sqrt(4 * jnp.square(kappa) + (m - 1) ** 2))
    rim = 2 * b / (1 + b)  # 1 - x_0

    def propose(carry):
        trial, _, _ = carry
        for_noise, for_choice = jax.random.split(jax.random.fold_in(key, trial))
        squares = jnp.sum(jnp.square(jax.random.normal(for_noise, (2, m - 1), kappa.dtype)), axis=-1)
        angle = 2 * jnp.arctan2(jnp.sqrt(b * squares[0]), jnp.sqrt(squares[1]))
        versine = 2 * jnp.square(jnp.sin(angle / 2))
        log_ratio = (m - 1) * jnp.log((rim + (1 - rim) * versine) / (rim * (2 - rim)))
        bound = kappa * (rim - versine) + log_ratio
        return trial + 1, angle, -jax.random.exponential(for_choice, (), kappa.dtype) > bound

    start = (jnp.zeros((), jnp.int32), jnp.zeros_like(kappa), jnp.ones((), bool))
    return jax.lax.while_loop(lambda carry: carry[2], propose, start)[1]


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _follow(angle: Float[Array, " batch"], kappa: Float[Array, " batch"], m: int) -> Float[Array, " batch"]:
    """`angle`, as the function of kappa that stays at its place in the distribution: F(angle; kappa) is constant."""
    return angle


@_follow.defjvp
def _follow_jvp(m, primals, tangents):
    angle = _follow(*primals, m)
    return angle, tangents[0] + _slope(angle, primals[1], m) * tangents[1]


def _slope(angle: Float[Array, " batch"], kappa: Float[Array, " batch"], m: int) -> Float[Array, " batch"]:
    """d angle / d kappa = -(dF / d kappa) / F' (Figurnov et al. 2018).

    dF / d kappa is the integral of (cos - A) times the density, from 0 to `angle` or, negated, from there to pi. On the
    side taken the integrand keeps its sign, so nothing cancels.
    """
    angle = jnp.clip(angle, 1e-12, _LAST)
    mean = _mean_versine(kappa, m)
    end = jnp.where(_versine(angle) < mean, *_interval(kappa, m))
    points, weights = (jnp.asarray(x, kappa.dtype)[None] for x in ((_POINTS + 1) / 2, _WEIGHTS / 2))
    at = angle[:, None] + (end - angle)[:, None] * points
    ratio = jnp.exp(_log_density(at, kappa, m) - _log_density(angle[:, None], kappa, m))
    return (end - angle) * jnp.sum(weights * (mean[:, None] - _versine(at)) * ratio, axis=-1)


def _log_integral(kappa: Float[Array, " batch"], m: int) -> Float[Array, " batch"]:
    """log J, the integral over the angle of exp(-2 kappa sin^2(a / 2)) sin(a)^(m - 2)."""
    at, log_weights = _nodes(kappa, m)
    return jax.nn.logsumexp(_log_density(at, kappa, m) + log_weights, axis=-1)


def _mean_versine(kappa: Float[Array, " batch"], m: int) -> Float[Array, " batch"]:
    """E[1 - mu.z] = 1 - A_m(kappa)."""
    at, log_weights = _nodes(kappa, m)
    return jnp.sum(jax.nn.softmax(_log_density(at, kappa, m) + log_weights, axis=-1) * _versine(at), axis=-1)


def _nodes(kappa: Float[Array, " batch"], m: int) -> tuple[Float[Array, "batch nodes"], Float[Array, "batch nodes"]]:
    """Gauss-Legendre angles and log-weights. They are constants to a derivative: that of the sum is then the same
    quadrature of the integrand's derivative, to any order."""
    low, high = (x[:, None] for x in _interval(kappa, m))
    points, weights = (jnp.asarray(x, kappa.dtype)[None] for x in (_POINTS, _WEIGHTS))
    return (low + high) / 2 + (high - low) / 2 * points, jnp.log((high - low) / 2 * weights)


def _interval(kappa: Float[Array, " batch"], m: int) -> tuple[Float[Array, " batch"], Float[Array, " batch"]]:
    """Where the angle's density lies: around its mode, kappa sin^2 = (m - 2) cos, where the second derivative of its
    logarithm is -sqrt((m - 2)^2 + 4 kappa^2)."""
    kappa, n = jax.lax.stop_gradient(kappa), _checked(m) - 2
    curvature = jnp.maximum(jnp.sqrt(n**2 + 4 * jnp.square(kappa)), 1e-6)
    versine = n * (1 + n / (curvature + 2 * kappa)) / (n + curvature)
    mode = 2 * jnp.arcsin(jnp.sqrt(jnp.minimum(versine / 2, 1.0)))
    reach = _REACH / jnp.sqrt(curvature)
    return jnp.maximum(mode - reach, 0.0), jnp.minimum(mode + reach, _LAST)


def _log_density(angle: Float[Array, "batch nodes"], kappa: Float[Array, " batch"], m: int) -> Array:
    """log of exp(-2 kappa sin^2(a / 2)) sin(a)^(m - 2)."""
    return -kappa[:, None] * _versine(angle) + (m - 2) * jnp.log(jnp.sin(angle))


def _versine(angle: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    return 2 * jnp.square(jnp.sin(angle / 2))


def _series(kappa: Float[Array, " batch"], m: int) -> tuple[Array, Array, tuple[Array, ...]]:
    """(where few terms do, kappa there and 0 elsewhere, the terms of m A / kappa in powers of kappa^2).

    The expansion of the Gauss continued fraction A = kappa / (m + kappa^2 / (m + 2 + kappa^2 / (m + 4 + ...))).
    """
    few = jnp.square(kappa) < _FEW * m * (m + 2)
    small = jnp.where(few, kappa, 0.0)
    r, s, t = (jnp.square(small) / ((m + i) * (m + i + 2)) for i in (0, 2, 4))
    return few, small, (jnp.ones_like(r), -r, r * (r + s), -r * (jnp.square(r + s) + s * t))


def _unit(x: Float[Array, "batch m"]) -> Float[Array, "batch m"]:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _checked(m: int) -> int:
    if m < 2:
        raise InputError(f"a sphere in {m} dimension: expected 2 or more; use a code of at least 2 units")
    return m
