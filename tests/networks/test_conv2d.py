import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.networks.conv2d import Conv, ConvTranspose

pytestmark = pytest.mark.optimised

MODULES = {"conv": Conv, "transpose": ConvTranspose}
CASES = [
    *((kernel, stride, (7, 5)) for kernel in (3, 4, 5) for stride in (1, 2)),
    *((5, stride, (1, 2)) for stride in (1, 2)),  # smaller than the kernel
    *((2, 3, (4, 7)), (1, 2, (3, 3))),  # strides past the kernel
]
FEATURES = 4
KEY = jax.random.key(1, impl="unsafe_rbg")  # threefry takes many times as long to compile


def example(size):
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, *size, 3)), jnp.float32)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
@pytest.mark.parametrize(("kernel", "stride", "size"), CASES)
def test_matrix_products_equal_lax_with_their_gradients(module, kernel, stride, size):
    x = example(size)
    by_lax, by_matmul = (module(FEATURES, kernel, stride, matmul=matmul) for matmul in (False, True))
    params = by_lax.init(KEY, x)

    @jax.jit
    def both(params, x):
        def graded(net):
            loss = lambda params, x: (jnp.sum(jnp.sin(y := net.apply(params, x))), y)  # noqa: E731
            return jax.grad(loss, (0, 1), has_aux=True)(params, x)

        return graded(by_lax), graded(by_matmul)

    expected, found = both(params, x)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), expected, found)
    grown = [-(-n // stride) if module is Conv else n * stride for n in size]
    assert found[1].shape == (2, *grown, FEATURES)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_both_implementations_have_the_same_parameters(module):
    x = example((5, 5))
    a, b = (module(FEATURES, 3, 2, matmul=matmul).init(KEY, x) for matmul in (False, True))
    assert jax.tree.map(jnp.shape, a) == {"params": {"kernel": (3, 3, 3, FEATURES), "bias": (FEATURES,)}}
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_the_cpu_takes_matrix_products_and_accelerators_lax(module, monkeypatch):
    def primitives():
        net = module(FEATURES, 3, 2)
        return str(jax.make_jaxpr(lambda key, x: net.init_with_output(key, x))(KEY, example((5, 5))))

    assert "conv_general_dilated" not in primitives()
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert "conv_general_dilated" in primitives()


@pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)
def test_forward_mode_and_vmap(module):
    net = module(FEATURES, 4, 2, matmul=True)
    x = example((6, 5))
    params = net.init(KEY, x)

    @jax.jit
    def results(x):
        def apply(x):
            return net.apply(params, x)

        _, tangent = jax.jvp(apply, (x,), (x,))
        return apply(x), tangent + apply(0 * x), jax.vmap(apply)(x[:, None])[:, 0]

    out, by_tangent, one_by_one = results(x)
    np.testing.assert_allclose(by_tangent, out, atol=1e-5)  # it is affine in x
    np.testing.assert_allclose(one_by_one, out, atol=1e-5)
