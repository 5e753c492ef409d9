"""The hyperbolic space: against the Poincare ball's own formulas in double precision, and by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import small

from jaxae import hyperbolic

RNG = np.random.default_rng(0)
V, MU = RNG.normal(size=(2, 40, 3)) * RNG.uniform(0.01, 2, size=(2, 40, 1))
curvatures = pytest.mark.parametrize("c", [0.3, 1.0, 2.5])


# the Poincare ball of Mathieu et al. 2019, section 2, in double precision


def add(x, y, c):
    """Mobius addition."""
    xy, x2, y2 = ((a * b).sum(-1, keepdims=True) for a, b in ((x, y), (x, x), (y, y)))
    return ((1 + 2 * c * xy + c * y2) * x + (1 - c * x2) * y) / (1 + 2 * c * xy + c**2 * x2 * y2)


def conformal(x, c):
    return 2 / (1 - c * (x * x).sum(-1, keepdims=True))


def exp(mu, v, c):
    """v in the coordinates of the ball's tangent space at mu."""
    length = np.sqrt(c) * np.linalg.norm(v, axis=-1, keepdims=True)
    return add(mu, np.tanh(conformal(mu, c) * length / 2) * v / length, c)


def distance(x, y, c):
    return 2 / np.sqrt(c) * np.arctanh(np.sqrt(c) * np.linalg.norm(add(-x, y, c), axis=-1))


def ball(u, c):
    """The point of normal coordinates u, whose tangent vector at 0 has half their length."""
    return exp(np.zeros_like(u), u / 2, c)


def f32(x):
    return jnp.asarray(x, jnp.float32)


@curvatures
def test_a_point_moved_is_the_exponential_map_of_the_ball(c):
    """`v` carried to mu has the same Riemannian length there: v / conformal(mu) in the ball's coordinates."""
    mu = ball(MU, c)
    expected = exp(mu, V / conformal(mu, c), c)
    moved = hyperbolic.moved(f32(V), f32(MU), c)
    np.testing.assert_allclose(ball(np.asarray(moved, np.float64), c), expected, atol=2e-6)
    np.testing.assert_allclose(distance(mu, expected, c), np.linalg.norm(V, axis=-1), rtol=1e-6)


@pytest.mark.parametrize("n", [1, 2, 3, 16])
def test_what_is_moved_most_of_the_way_back_keeps_its_digits(n):
    """On the hyperboloid, in double precision; half of the points lie near the line that they are moved along."""
    c, rng = 25.0, np.random.default_rng(n)
    v, by = rng.normal(size=(2, 400, n))
    v, by = (2 * x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1) for x in (v, by))
    v[::2] = -by[::2] * rng.uniform(0.5, 1.5, size=(200, 1)) * (1 + 1e-3 * rng.normal(size=(200, n)))
    v, by = (np.float64(np.float32(x)) for x in (v, by))
    a, b = (np.sqrt(c) * np.linalg.norm(x, axis=-1, keepdims=True) for x in (v, by))
    to, along = v * np.sqrt(c) / a, by * np.sqrt(c) / b
    cosine = (to * along).sum(-1, keepdims=True)
    at = np.sinh(a) * to + (np.sinh(a) * cosine * (np.cosh(b) - 1) + np.sinh(b) * np.cosh(a)) * along
    length = np.linalg.norm(at, axis=-1, keepdims=True)
    expected = np.arcsinh(length) * at / length / np.sqrt(c)
    moved = jax.jit(hyperbolic.moved, static_argnums=2)
    np.testing.assert_allclose(moved(f32(v), f32(by), c), expected, atol=5e-3 if n > 1 else 1e-5)
    slopes = jax.jit(jax.grad(lambda v, by: hyperbolic.moved(v, by, c).sum(), (0, 1)))(f32(v), f32(by))
    assert all(np.isfinite(slope).all() for slope in slopes)
    if n == 1:
        np.testing.assert_array_equal(slopes, np.ones_like(slopes))


@pytest.mark.slow
@pytest.mark.parametrize("n", [1, 2])
def test_far_points_near_a_plane_s_normal_keep_their_distances(n):
    c, rng = 100.0, np.random.default_rng(n)
    u, normals, offsets = rng.normal(size=(200, n)), rng.normal(size=(n, 9)), rng.uniform(-1, 1, 9)
    u[::2] = (normals / np.linalg.norm(normals, axis=0)).T[np.arange(100) % 9] * rng.normal(size=(100, 1))
    u, normals, offsets = (np.float64(np.float32(x)) for x in (u, normals, offsets))
    lengths, r = np.linalg.norm(normals, axis=0), np.sqrt(c) * np.linalg.norm(u, axis=-1)[:, None]
    side = np.sign(u @ normals)
    apart = np.linalg.norm(
        u[:, None] * np.sqrt(c) / r[..., None] - side[..., None] * (normals / lengths).T[None], axis=-1
    )
    shift = np.sqrt(c) * offsets[None]
    inner = side * (np.sinh(r - side * shift) - apart**2 / 2 * np.sinh(r) * np.cosh(shift))
    read = hyperbolic.gyroplanes(f32(u), f32(normals), f32(offsets), c)
    np.testing.assert_allclose(read, lengths * np.arcsinh(inner) / np.sqrt(c), rtol=1e-3, atol=2e-2 if n > 1 else 1e-5)
    slopes = jax.grad(lambda *of: hyperbolic.gyroplanes(*of, c).sum(), (0, 1, 2))(f32(u), f32(normals), f32(offsets))
    assert all(np.isfinite(slope).all() for slope in slopes)


@curvatures
def test_moving_keeps_distances(c):
    first, second = (np.asarray(hyperbolic.moved(f32(v), f32(MU), c), np.float64) for v in (V, V[::-1]))
    before = distance(ball(V, c), ball(V[::-1], c), c)
    np.testing.assert_allclose(distance(ball(first, c), ball(second, c), c), before, rtol=1e-4, atol=1e-4)


def test_little_curvature_is_none():
    np.testing.assert_allclose(hyperbolic.moved(f32(V), f32(MU), 1e-8), V + MU, rtol=1e-4, atol=1e-5)
    normals, offsets = RNG.normal(size=(3, 7)), RNG.normal(size=7)
    flat = V @ normals - np.linalg.norm(normals, axis=0) * offsets
    read = hyperbolic.gyroplanes(f32(V), f32(normals), f32(offsets), 1e-6)
    np.testing.assert_allclose(read, flat, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(hyperbolic.log_spread(f32(V), 1e-8), 0, atol=1e-6)


@curvatures
def test_spread_is_the_jacobian_of_moving(c):
    """Isometries keep volumes: log S(moved) - log S(v) is minus the log-determinant of moving, in coordinates."""

    def moved(v, by):
        return hyperbolic.moved(v[None], by[None], c)[0]

    slopes = np.asarray(small.jit(jax.vmap(jax.jacobian(moved)))(f32(V), f32(MU)), np.float64)
    at = hyperbolic.moved(f32(V), f32(MU), c)
    change = hyperbolic.log_spread(at, c) - hyperbolic.log_spread(f32(V), c)
    np.testing.assert_allclose(-change, np.linalg.slogdet(slopes)[1], rtol=1e-4, atol=1e-4)
    assert np.ptp(change) > 0.5


def test_spread_is_the_area_of_a_disc():
    """Of radius 1.5 in the plane of curvature -c: 2 pi (cosh(sqrt(c) r) - 1) / c."""
    c, radius = 0.7, 1.5
    r = np.linspace(0, radius, 2001)
    spread = np.exp(np.float64(hyperbolic.log_spread(f32(np.stack([r, 0 * r], axis=-1)), c)))
    area = scipy.integrate.simpson(2 * np.pi * r * spread, x=r)
    assert area == pytest.approx(2 * np.pi * (np.cosh(np.sqrt(c) * radius) - 1) / c, rel=1e-5)


@curvatures
def test_gyroplanes_are_the_distances_of_the_ball(c):
    """Mathieu et al. 2019, eq. 10: |a| (sign <a, -p + z>) arcsinh(2 sqrt(c) |<-p + z, a>| / ((1 - c |-p + z|^2) |a|)) /
    sqrt(c), with `+` the Mobius addition."""
    normals, offsets = RNG.normal(size=(3, 7)), RNG.normal(size=7)
    read = hyperbolic.gyroplanes(f32(V), f32(normals), f32(offsets), c)
    for a, offset, found in zip(normals.T, offsets, np.asarray(read).T):
        length = np.linalg.norm(a)
        p = ball((offset * a / length)[None], c)
        difference = add(-p, ball(V, c), c)
        inner = 2 * np.sqrt(c) * (difference @ a) / ((1 - c * (difference**2).sum(-1)) * length)
        np.testing.assert_allclose(found, length * np.arcsinh(inner) / np.sqrt(c), rtol=1e-4, atol=1e-5)


def test_samples_may_come_before_the_batch():
    normals, offsets = f32(RNG.normal(size=(3, 7))), f32(RNG.normal(size=7))
    many = f32(V.reshape(4, 10, 3))
    read = hyperbolic.gyroplanes(many, normals, offsets, 1.0)
    assert read.shape == (4, 10, 7) and hyperbolic.log_spread(many, 1.0).shape == (4, 10)
    np.testing.assert_allclose(read[2], hyperbolic.gyroplanes(many[2], normals, offsets, 1.0), rtol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-6, 0.05, 0.11, 5.0, 35.0])
def test_values_and_slopes_are_finite_and_right_near_and_far(size):
    """Along one line the distances add up."""
    direction = np.array([0.6, 0.0, -0.8])
    v, by = f32(size * direction)[None], f32(1.1 * size * direction)[None]

    def along(v, by):
        return jnp.sum(hyperbolic.moved(v, by, 1.0) @ f32(direction))

    value, slopes = jax.value_and_grad(along, (0, 1))(v, by)
    np.testing.assert_allclose(value, 2.1 * size, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(np.concatenate(slopes) @ direction, 1, rtol=1e-4)
    spread, slope = jax.value_and_grad(lambda v: hyperbolic.log_spread(v, 1.0)[0])(v)
    ratio = np.log(np.sinh(size) / size) if size else 0.0
    np.testing.assert_allclose(spread, 2 * ratio, rtol=1e-4, atol=1e-9)
    assert np.isfinite(slope).all()
