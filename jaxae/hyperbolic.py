"""The hyperbolic space of curvature -c, in normal coordinates about its origin.

A point is the vector u of R^n that points to it from the origin, |u| being its distance; in the Poincare ball it is
tanh(sqrt(c) |u| / 2) u / (sqrt(c) |u|). Nothing is lost there near the rim, where a ball's own coordinates run out of
digits: distances up to 80 / sqrt(c) are right to float32, but for what
is left of two long moves that nearly undo each other. What moves a point is computed on the hyperboloid, whose
isometries are linear.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxae.parts import Latents
from jaxae.types import Codes

_FEW = 1e-2  # of a squared angle: below it the terms of the series are exact to float32
_LARGE = 1e6  # above it arcsinh(a) is log(2 a)
_BACK = 1.0  # of a squared distance: where both ways are longer, one back along the other cancels most digits


def moved(v: Codes, by: Codes, c: float) -> Codes:
    """The point that v becomes when the origin is carried to `by` along the geodesic: exp_by of v in the tangent space
    there, v having been carried along."""
    if v.shape[-1] == 1:  # a line is flat
        return v + by
    root = math.sqrt(c)
    v, by = root * v, root * by
    far = jnp.minimum(_squared(v), _squared(by)) > _BACK
    unit = jnp.zeros_like(v).at[..., 0].set(1.0)
    at = jnp.where(
        far, _far(*(jnp.where(far, x, unit) for x in (v, by))), _near(*(jnp.where(far, unit, x) for x in (v, by)))
    )
    return _shortened(at) / root


def _near(v: Codes, by: Codes) -> Codes:
    """sinh of the moved point's distance, times its direction: a point of the hyperboloid less its last coordinate."""
    a, b = _squared(v), _squared(by)
    along = jnp.sum(by * v, axis=-1, keepdims=True) * _sinhc(a)
    return _sinhc(a) * v + (jnp.square(_sinhc(b / 4)) / 2 * along + _sinhc(b) * _cosh(a)) * by


def _far(v: Codes, by: Codes) -> Codes:
    """The same of two that are not short. With one way back along the other cosh(b) sinh(a) cos + sinh(b) cosh(a) would
    cancel; here what is between their directions is small, and sinh(b - a) has all its digits."""
    a, b = (jnp.sqrt(_squared(each)) for each in (v, by))
    v, by = v / a, by / b
    side = jnp.where(jnp.sum(v * by, axis=-1, keepdims=True) < 0, 1.0, -1.0)
    between = v + side * by
    less = _squared(between) / 2  # 1 - |cos|
    return jnp.sinh(a) * between + (jnp.sinh(b - side * a) + side * less * jnp.sinh(a) * (jnp.cosh(b) - 1)) * by


def log_spread(u: Latents, c: float) -> Float[Array, "*samples batch"]:
    """The log of a small volume at u, over its volume in coordinates: (n - 1) log(sinh(r) / r), r = sqrt(c) |u|."""
    return (u.shape[-1] - 1) * jnp.log(_sinhc(c * _squared(u)))[..., 0]


def gyroplanes(
    u: Latents, normals: Float[Array, "latent planes"], offsets: Float[Array, " planes"], c: float
) -> Float[Array, "*samples batch planes"]:
    """The signed distances of u from hyperplanes, times the length of their normals. A plane stands upright on the line
    from the origin along its normal a, at the signed distance `offset`: as c goes to 0, it is a.u - |a| offset.

    Ganea et al. 2018 (arXiv:1805.09112), section 3.1, with the plane's point on its normal as in Shimizu et al. 2021
    (arXiv:2006.08210).
    """
    root, squared = math.sqrt(c), c * _squared(u)
    lengths = jnp.sqrt(jnp.sum(jnp.square(normals), axis=0, keepdims=True) + 1e-12)
    if u.shape[-1] == 1:  # a line is flat
        return jnp.matmul(u, normals) - jnp.broadcast_to(lengths[0] * offsets, (*u.shape[:-1], len(offsets)))
    shift = root * offsets[None]
    point = jnp.concatenate([_sinhc(squared) * root * u, _cosh(squared)], axis=-1)  # of the hyperboloid
    upright = jnp.concatenate([jnp.cosh(shift) * normals / lengths, -jnp.sinh(shift)])
    at = jnp.matmul(point, upright, precision="highest")  # of large numbers, which cancel
    if u.shape[-1] == 2:
        at = jnp.where(squared > _BACK, _of_directions(root * u, normals / lengths, shift, squared > _BACK), at)
    distances = jnp.arcsinh(at)
    return distances * jnp.broadcast_to(lengths[0] / root, distances.shape)


def _of_directions(
    u: Latents,
    units: Float[Array, "latent planes"],
    shift: Float[Array, "1 planes"],
    far: Bool[Array, "*samples batch 1"],
) -> Float[Array, "*samples batch planes"]:
    """sinh(r) cosh(shift) cos - cosh(r) sinh(shift), where `far`, by the directions' difference: `_far` says why. With
    more than two units hardly a point lies so near a normal, or its opposite, that its cosine has not the digits."""
    u = jnp.where(far, u, 1.0)
    r = jnp.sqrt(_squared(u))
    axes = (1,) * (u.ndim - 1)
    units, shift = units.reshape(*axes, *units.shape), shift.reshape(*axes, -1)
    unit = (u / r)[..., None]
    side = jnp.where(jnp.sum(unit * units, axis=-2, keepdims=True) < 0, -1.0, 1.0)
    less = jnp.sum(jnp.square(unit - side * units), axis=-2) / 2  # 1 - |cos|
    side = side[..., 0, :]
    return side * (jnp.sinh(r - side * shift) - less * jnp.sinh(r) * jnp.cosh(shift))


def _squared(u: Latents) -> Float[Array, "*samples batch 1"]:
    return jnp.sum(jnp.square(u), axis=-1, keepdims=True)


def _sinhc(squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """sinh(a) / a, of a^2."""
    far = squared > _FEW
    a = jnp.sqrt(jnp.where(far, squared, 1.0))
    return jnp.where(far, jnp.sinh(a) / a, 1 + squared / 6 * (1 + squared / 20 * (1 + squared / 42)))


def _cosh(squared: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """cosh(a), of a^2."""
    far = squared > _FEW
    a = jnp.sqrt(jnp.where(far, squared, 1.0))
    return jnp.where(far, jnp.cosh(a), 1 + squared / 2 * (1 + squared / 12 * (1 + squared / 30)))


def _shortened(x: Codes) -> Codes:
    """arcsinh(|x|) x / |x|, without the square of a large number."""
    scale = jax.lax.stop_gradient(jnp.maximum(jnp.max(jnp.abs(x), axis=-1, keepdims=True), 1.0))
    x = x / scale
    squared = _squared(x)
    far, large = squared > _FEW, scale > _LARGE
    length = jnp.sqrt(jnp.where(far, squared, 1.0))
    angle = jnp.where(large, jnp.log(2 * length) + jnp.log(scale), jnp.arcsinh(jnp.where(large, 1.0, scale) * length))
    near = 1 - squared / 6 * (1 - squared * 9 / 20 * (1 - squared * 25 / 42 * (1 - squared * 49 / 72)))
    return jnp.where(far, angle / length, near) * x
