"""Every flow's log-determinant against its Jacobian's, its structure, inverse and start, its density's integral."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from jaxae import flows
from jaxae.errors import InputError

BATCH, CONTEXT = 6, 5
planar = jax.jit(flows.planar)


def draw(seed, *shape, size=1.0):
    return jnp.asarray(size * np.random.default_rng(seed).normal(size=shape), jnp.float32)


def somewhere(module, *inputs, size=0.8, seed=0, **how):
    """Random parameters, far from the initial ones."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *inputs, **how))
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda s: jnp.asarray(size * rng.normal(size=s.shape), s.dtype), shapes)


def jacobians(flow, z, *others):
    """d flow(z)[0] / d z of each example, in double precision: [batch, latent, latent]."""
    one = jax.jacfwd(lambda row, *rest: flow(row[None], *(r[None] for r in rest))[0][0])
    with jax.enable_x64(True):
        return np.asarray(small.jit(jax.vmap(one))(*(np.asarray(x, np.float64) for x in (z, *others))))


def assert_log_det(flow, z, *others):
    sign, log_det = np.linalg.slogdet(jacobians(flow, z, *others))
    assert (sign == 1).all()
    assert np.ptp(log_det) > 0.1  # not a constant
    np.testing.assert_allclose(small.jit(flow)(z, *others)[1], log_det, rtol=1e-4, atol=1e-4)


def assert_finite_slopes(flow, variables, z, *others):
    def total(variables, z, *others):
        y, log_det = flow(variables, z, *others)
        return jnp.sum(jnp.square(y)) + jnp.sum(log_det)

    slopes = small.jit(jax.grad(total, tuple(range(2 + len(others)))))(variables, z, *others)
    for leaf in jax.tree.leaves(slopes):
        assert np.isfinite(leaf).all()
        assert np.abs(leaf).sum() > 0


def made(latent, order=(), depth=2, width=16):
    return flows.MADE(latent, width, depth, order)


@pytest.mark.parametrize("order", [(), (3, 2, 1, 0), (2, 0, 3, 1)], ids=str)
@pytest.mark.parametrize(("depth", "width"), [(1, 16), (2, 16), (2, 7)])
def test_made_reads_the_inputs_before_and_all_of_them(order, depth, width):
    module, z = made(4, order, depth, width), draw(0, BATCH, 4)
    variables = somewhere(module, z)
    rank = np.argsort(order or range(4))
    before = rank[None] < rank[:, None]  # [output, input]
    for which in (0, 1):
        slopes = jacobians(lambda z, which=which: (module.apply(variables, z)[which],), z)
        assert (slopes[:, ~before] == 0).all()
        assert (np.abs(slopes).max(axis=0)[before] > 1e-3).all()


@pytest.mark.parametrize("latent", [1, 4])
def test_made_gives_the_context_to_every_output(latent):
    module, z, context = made(latent), draw(0, BATCH, latent), draw(1, BATCH, CONTEXT)
    variables = somewhere(module, z, context)
    for which in (0, 1):
        read = jacobians(lambda c, z, which=which: (module.apply(variables, z, c)[which],), context, z)
        assert read.shape == (BATCH, latent, CONTEXT)
        assert (np.abs(read).max(axis=0) > 1e-3).all()


def test_made_refuses_an_order_that_is_no_permutation():
    with pytest.raises(InputError, match=r"\(0, 0, 1\): expected a permutation of 0 ... 2"):
        made(3, (0, 0, 1)).init(jax.random.key(0), draw(0, 2, 3))


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_iaf_log_det_is_the_jacobian_s(latent):
    module, z, context = flows.IAF(latent, 3, 16), draw(0, BATCH, latent), draw(1, BATCH, CONTEXT)
    variables = somewhere(module, z, context, size=0.5)
    assert_log_det(lambda z, c: module.apply(variables, z, c), z, context)


def test_iaf_steps_are_triangular_and_their_order_is_reversed():
    z = draw(0, BATCH, 4)
    variables = somewhere(flows.IAF(4, 2, 16), z)

    def slopes(steps):
        return jacobians(lambda z: flows.IAF(4, steps, 16).apply(variables, z), z)

    one, two = slopes(1), slopes(2)
    np.testing.assert_array_equal(np.triu(one, 1), 0)
    assert (np.abs(two).max(axis=0) > 1e-4).all()
    second = two @ np.linalg.inv(one)
    np.testing.assert_allclose(np.tril(second, -1), 0, atol=1e-4)


def test_iaf_is_inverted_unit_by_unit():
    """z_i = (y_i - (1 - sigma_i) m_i) / sigma_i, where sigma_i and m_i need only the units already found."""
    module, y = flows.IAF(4, 1, 16), draw(0, BATCH, 4)
    variables = somewhere(module, y, size=0.5)
    inner = {"params": variables["params"]["step_0"]}
    network = small.jit(flows.MADE(4, 16, 1, (0, 1, 2, 3)).apply)
    z = np.zeros_like(y)
    for _ in range(4):
        m, s = map(np.asarray, network(inner, z))
        sigma = 1 / (1 + np.exp(-s - 2))
        z = (np.asarray(y) - (1 - sigma) * m) / sigma
    np.testing.assert_allclose(small.jit(module.apply)(variables, z)[0], y, rtol=1e-4, atol=1e-4)


def test_iaf_starts_near_the_identity_and_its_slopes_are_finite():
    module, z, context = flows.IAF(3, 2, 16), draw(0, BATCH, 3), draw(1, BATCH, CONTEXT)
    variables = small.jit(module.init)(jax.random.key(0), z, context)
    y, log_det = small.jit(module.apply)(variables, z, context)
    gate = 1 / (1 + np.exp(-2))
    np.testing.assert_allclose(y, gate**2 * z, atol=0.15)
    np.testing.assert_allclose(log_det, 2 * 3 * np.log(gate), atol=0.15)
    assert_finite_slopes(module.apply, somewhere(module, z, context), z, context)


@pytest.mark.parametrize("latent", [1, 2, 5])
def test_planar_log_det_is_the_jacobian_s(latent):
    flow = flows.Planar(latent, 4)
    assert flow.outputs == 4 * (2 * latent + 1)
    assert_log_det(flow, draw(0, BATCH, latent), draw(1, BATCH, flow.outputs, size=1.5))


def test_planar_steps_compose_in_order():
    z, u, w, b = draw(0, 3, 2), draw(1, 3, 2, 2), draw(2, 3, 2, 2), draw(3, 3, 2)
    middle, first = planar(z, u[:, :1], w[:, :1], b[:, :1])
    end, second = planar(middle, u[:, 1:], w[:, 1:], b[:, 1:])
    context = jnp.concatenate([u, w, b[..., None]], axis=-1).reshape(3, -1)
    whole, log_det = flows.Planar(2, 2)(z, context)
    np.testing.assert_allclose(whole, end, rtol=1e-5)
    np.testing.assert_allclose(log_det, first + second, rtol=1e-5, atol=1e-6)


def test_planar_equals_its_formula():
    """u^ of Rezende and Mohamed 2015, appendix A.1, with this library's m; in double precision."""
    z, u, w, b = (np.asarray(draw(i, 64, 1, 3), np.float64) for i in range(4))
    b, a = b[..., 0], np.sum(u * w, axis=-1)
    m = np.log1p(np.exp(a + np.log(np.e - 1))) - 1
    u_hat = u + (m - a)[..., None] * w / np.sum(w * w, axis=-1, keepdims=True)
    expected = z[:, 0] + (u_hat * np.tanh(np.sum(w * z, axis=-1) + b)[..., None])[:, 0]
    ours = planar(*(jnp.asarray(x, jnp.float32) for x in (z[:, 0], u, w, b)))[0]
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-4)


def test_planar_is_monotone_where_u_alone_would_fold():
    """Along w, with w.u = -9: z + u tanh(w.z) turns back there, and the flow does not."""
    line = jnp.linspace(-4, 4, 401)[:, None] * jnp.asarray([[1.0, 1.0]])
    w, u = (jnp.broadcast_to(jnp.asarray(x), (401, 1, 2)) for x in ([1.5, 1.5], [-3.0, -3.0]))
    b = jnp.full((401, 1), 0.2)
    along = np.asarray(planar(line, u, w, b)[0].sum(-1))
    folded = np.asarray((line + u[:, 0] * jnp.tanh(jnp.sum(w[:, 0] * line, -1) + b[:, 0])[:, None]).sum(-1))
    assert (np.diff(folded) < 0).any()
    assert (np.diff(along) > 0).all()


@pytest.mark.parametrize("size", [0.0, 1e-18, 1e-6, 1.0, 7.0])
def test_planar_and_its_slopes_are_finite_for_any_w(size):
    z, u, w, b = draw(0, BATCH, 3), draw(1, BATCH, 2, 3), size * draw(2, BATCH, 2, 3), draw(3, BATCH, 2)

    def total(*inputs):
        y, log_det = planar(*inputs)
        return y.sum() + log_det.sum(), y

    (value, y), slopes = small.jit(jax.value_and_grad(total, (0, 1, 2, 3), has_aux=True))(z, u, w, b)
    assert all(np.isfinite(leaf).all() for leaf in (value, *slopes))
    if size < 1:  # u^ stays bounded as w goes to 0
        assert np.abs(y - z).max() < 2 * np.linalg.norm(u, axis=-1).max()


def test_planar_refuses_a_context_of_another_size():
    with pytest.raises(InputError, match="a context of 7 numbers: expected 10"):
        flows.Planar(2, 2)(draw(0, 3, 2), draw(1, 3, 7))


def real_nvp(latent, layers=4, size=0.5):
    module = flows.RealNVP(latent, layers, 12)
    return module, somewhere(module, jnp.zeros((1, latent)), size=size)


def inverse(module):
    return small.jit(partial(module.apply, method="inverse"))


@pytest.mark.parametrize("latent", [2, 3, 5])
def test_real_nvp_log_det_is_the_jacobian_s_and_its_inverse_is_one(latent):
    module, variables = real_nvp(latent)
    z = draw(0, BATCH, latent)
    assert_log_det(lambda z: module.apply(variables, z), z)
    u = small.jit(module.apply)(variables, z)[0]
    assert np.abs(u - z).min(axis=0).max() > 1e-2  # every unit is moved
    np.testing.assert_allclose(inverse(module)(variables, u), z, rtol=1e-3, atol=1e-4)


def test_real_nvp_of_one_unit_is_affine():
    module, variables = real_nvp(1, layers=3)
    z = jnp.asarray([[-2.0], [0.0], [1.0], [5.0]])
    u, log_det = map(np.asarray, small.jit(module.apply)(variables, z))
    slope = float(u[2, 0] - u[1, 0])
    assert abs(slope - 1) > 1e-2
    np.testing.assert_allclose(u, slope * z + u[1:2], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(log_det, np.log(slope), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(inverse(module)(variables, u), z, rtol=1e-4, atol=1e-5)


def test_real_nvp_density_integrates_to_one():
    module, variables = real_nvp(2, layers=3)
    line = np.linspace(-12, 12, 601)
    grid = jnp.asarray(np.stack(np.meshgrid(line, line), -1).reshape(-1, 2), jnp.float32)
    log_p = np.asarray(small.jit(lambda z: module.apply(variables, z, method="log_prob"))(grid), np.float64)
    standard = -0.5 * np.sum(np.square(np.asarray(grid)), -1) - np.log(2 * np.pi)
    assert np.abs(np.exp(log_p) - np.exp(standard)).max() > 0.05
    assert np.exp(log_p).sum() * (line[1] - line[0]) ** 2 == pytest.approx(1, abs=2e-3)


@pytest.mark.parametrize("latent", [1, 2, 3])
def test_real_nvp_starts_as_the_identity(latent):
    module, z = flows.RealNVP(latent, 4, 12), draw(0, BATCH, latent)

    @small.jit
    def started(key, z):
        variables = module.init(key, z)
        return module.apply(variables, z), *(
            module.apply(variables, z, method=name) for name in ("inverse", "log_prob")
        )

    (u, log_det), back, log_p = started(jax.random.key(0), z)
    np.testing.assert_array_equal(u, z)
    np.testing.assert_array_equal(log_det, 0)
    np.testing.assert_array_equal(back, z)
    np.testing.assert_allclose(log_p, -0.5 * np.sum(np.square(z) + np.log(2 * np.pi), -1), rtol=1e-5)


def test_real_nvp_slopes_are_finite_and_reach_every_parameter():
    module, variables = real_nvp(3)
    assert_finite_slopes(module.apply, variables, draw(0, BATCH, 3))


def test_real_nvp_learns_a_density():
    """By Adam, from the identity: a correlated, shifted Gaussian's entropy is reached to 0.03 nats."""
    module = flows.RealNVP(2, 4, 16)
    scale = np.array([[1.0, 0.0], [0.9, 0.5]])
    z = jnp.asarray(np.random.default_rng(0).normal(size=(512, 2)) @ scale.T + [1.0, -0.5], jnp.float32)
    entropy = np.log(2 * np.pi) + 1 + 0.5 * np.linalg.slogdet(np.cov(z.T, bias=True))[1]

    def nll(variables):
        return -module.apply(variables, z, method="log_prob").mean()

    tx = optax.adam(1e-2)

    @small.jit
    def train(variables):
        def step(carry, _):
            variables, opt_state = carry
            value, slopes = jax.value_and_grad(nll)(variables)
            updates, opt_state = tx.update(slopes, opt_state)
            return (optax.apply_updates(variables, updates), opt_state), value

        return jax.lax.scan(step, (variables, tx.init(variables)), length=400)[1]

    values = np.asarray(train(small.jit(module.init)(jax.random.key(0), z)))
    assert values[0] > entropy + 0.5
    assert entropy - 0.1 < values[-1] < entropy + 0.03
