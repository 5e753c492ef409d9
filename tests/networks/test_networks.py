import subprocess
import sys
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import likelihoods, networks
from jaxae.errors import InputError
from jaxae.networks import catalogue, layers

SHAPES = [(28, 28, 1), (64, 64, 3), (9, 7, 3), (1, 1, 1), (2, 33, 5)]
LATENT = 3
KEY = jax.random.key(2, impl="unsafe_rbg")  # threefry takes many times as long to compile


def make(name, shape, latent=LATENT, likelihood="bernoulli", **options):
    if name != "linear":
        options.setdefault("width", 8)
    return networks.make(name, shape, latent, likelihoods.make(likelihood), **options)


def images(shape, batch=2):
    return jnp.asarray(np.random.default_rng(0).uniform(size=(batch, *shape)), jnp.float32)


def codes(batch=2):
    return jnp.asarray(np.random.default_rng(1).normal(size=(batch, LATENT)), jnp.float32)


def abstract(net, shape, outputs=LATENT):
    """The shapes of the encoder's and the decoder's variables."""
    x, z = images(shape, 1), codes(1)
    return jax.eval_shape(net.encoder(outputs).init, KEY, x), jax.eval_shape(net.decoder.init, KEY, z)


def some(net, shape):
    """Any variables, where the initial ones would only cost their compilation."""
    draw = np.random.default_rng(0).normal
    return jax.tree.map(lambda v: jnp.asarray(draw(0, 0.2, v.shape), v.dtype), abstract(net, shape))


def shapes(variables):
    """{path: shape} of every parameter."""
    return {
        jax.tree_util.keystr(p, simple=True, separator="/"): v.shape for p, v in jax.tree.leaves_with_path(variables)
    }


@pytest.mark.parametrize("name", networks.NETWORKS)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("outputs", small.first([1, 2 * LATENT]))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_shapes_and_dtypes(name, shape, outputs, dtype):
    net = make(name, shape, dtype=dtype)
    h, encoder = jax.eval_shape(net.encoder(outputs).init_with_output, KEY, images(shape))
    x, decoder = jax.eval_shape(net.decoder.init_with_output, KEY, codes())
    assert (h.shape, x.shape) == ((2, outputs), (2, *shape))
    assert {v.dtype for v in jax.tree.leaves((h, x, encoder, decoder))} == {jnp.dtype("float32")}
    assert decoder["params"]["bias"].shape == shape
    assert set(encoder) == set(decoder) == {"params"}
    assert list(decoder["params"]["pixels"]) == ["kernel"]


@pytest.mark.parametrize(
    ("name", "shape"),
    small.first([*((name, (9, 7, 3)) for name in networks.NETWORKS), ("conv", (1, 1, 1)), ("resnet", (1, 1, 1))], 4),
)
def test_every_parameter_has_a_finite_gradient_and_calls_repeat(name, shape):
    net = make(name, shape)

    @small.jit
    def graded(variables, x, z):
        def loss(variables):
            h, out = net.encoder(LATENT).apply(variables[0], x), net.decoder.apply(variables[1], z)
            return jnp.sum(jnp.square(h - 1)) - jnp.sum(net.likelihood.log_prob(None, out, x)), (h, out)

        return jax.grad(loss, has_aux=True)(variables)

    variables, x = some(net, shape), images(shape, 8)
    first, again = graded(variables, x, codes(8)), graded(variables, x, codes(8))
    jax.tree.map(np.testing.assert_array_equal, first, again)
    for path, gradient in jax.tree.leaves_with_path(first[0]):
        assert np.isfinite(gradient).all() and np.any(gradient), path


@pytest.mark.parametrize(
    ("name", "likelihood"), [*((name, "gaussian") for name in networks.NETWORKS), ("mlp", "bernoulli")]
)
def test_the_untrained_mean_is_near_the_training_mean(name, likelihood):
    shape = (4, 3, 2)
    mean = np.linspace(0.1, 0.9, 4 * 3 * 2, dtype=np.float32).reshape(shape)
    net = make(name, shape, likelihood=likelihood, mean=mean, width=None if name == "linear" else 32)
    out, variables = small.jit(net.decoder.init_with_output)(KEY, codes(16))
    expected = partial(net.likelihood.mean, net.likelihood.init())
    np.testing.assert_allclose(expected(variables["params"]["bias"]), mean, atol=1e-5)
    assert 0.001 < np.mean(np.abs(np.asarray(expected(out)) - mean)) < 0.1


def test_without_a_mean_the_bias_is_zero():
    net = make("linear", (4, 4, 1))
    assert not jnp.any(net.decoder.init(KEY, codes())["params"]["bias"])


@pytest.mark.parametrize("name", networks.NETWORKS)
def test_bfloat16_computes_about_the_same(name):
    shape = (4, 3, 1)
    full, half = make(name, shape), make(name, shape, dtype="bfloat16")
    encoder, decoder = some(full, shape)
    apply = small.jit(
        lambda net, e, d: (net.encoder(LATENT).apply(e, images(shape)), net.decoder.apply(d, codes())),
        static_argnums=0,
    )
    for a, b in zip(apply(full, encoder, decoder), apply(half, encoder, decoder)):
        assert not np.array_equal(a, b)
        np.testing.assert_allclose(a, b, atol=0.05)


@pytest.mark.parametrize(("name", "depth"), small.first([("gated_mlp", 2), ("conv", 2), ("resnet", 1)]))
def test_a_compiled_loop_computes_what_a_python_loop_does(name, depth):
    """To rounding: their bits agree on most versions of XLA and shapes, but training never leaves its one loop."""
    shape = (5, 8, 1)
    net = make(name, shape, depth=depth)
    data = images((8, *shape), 3)

    def step(i, variables):
        def loss(variables):
            z = net.encoder(LATENT).apply(variables[0], data[i % 3])
            return -jnp.mean(net.likelihood.log_prob(None, net.decoder.apply(variables[1], z), data[i % 3]))

        return jax.tree.map(lambda v, g: v - 1e-3 * g, variables, jax.grad(loss)(variables))

    start = some(net, shape)
    compiled = small.jit(lambda variables, steps: jax.lax.fori_loop(0, steps, step, variables))(start, 5)
    jitted, python = small.jit(step), start
    for i in range(5):
        python = jitted(i, python)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), compiled, python)
    # NaN would equal NaN, and parameters that hardly move would hide a difference in their gradients.
    assert all(np.isfinite(v).all() for v in jax.tree.leaves(python))
    ended, began = (np.asarray(of[1]["params"]["bias"]) for of in (python, start))
    assert np.abs(ended - began).max() > 1e-4


def test_linear_is_one_matrix_on_each_side():
    encoder, decoder = abstract(make("linear", (4, 5, 2)), (4, 5, 2))
    assert shapes(encoder) == {"params/head/kernel": (40, 3), "params/head/bias": (3,)}
    assert shapes(decoder) == {"params/pixels/kernel": (3, 40), "params/bias": (4, 5, 2)}


def test_the_published_networks():
    burda, _ = abstract(make("mlp", (28, 28, 1), width=200, depth=2, activation="tanh"), (28, 28, 1), 100)
    assert [s for p, s in shapes(burda).items() if "kernel" in p] == [(784, 200), (200, 200), (200, 100)]
    tomczak, _ = abstract(make("gated_mlp", (28, 28, 1), width=None), (28, 28, 1), 80)
    assert sorted(s for p, s in shapes(tomczak).items() if "kernel" in p) == sorted(
        [(784, 300), (784, 300), (300, 300), (300, 300), (300, 80)]
    )
    locatello = [
        {p: s for p, s in shapes(v).items() if "Conv" in p and "kernel" in p}.values()
        for v in abstract(make("conv", (64, 64, 1), width=None), (64, 64, 1), 20)
    ]
    assert [*locatello[0]] == [(4, 4, 1, 32), (4, 4, 32, 32), (2, 2, 32, 64), (2, 2, 64, 64)]
    assert [*locatello[1]] == [(4, 4, 64, 64), (4, 4, 64, 32), (4, 4, 32, 32)]


@pytest.mark.parametrize(("name", "deep"), [("mlp", 5), ("gated_mlp", 5), ("resnet", 3)])
def test_depth_neither_shrinks_nor_grows_the_code(name, deep):
    shape = (4, 4, 1)

    def spread(depth):
        net = make(name, shape, width=32, depth=depth)
        code, _ = small.jit(net.encoder(64).init_with_output)(KEY, images(shape))
        return np.std(code)

    assert 0.3 < spread(deep) / spread(1) < 3


def test_the_catalogue_costs_no_jax_and_has_every_activation():
    code = "import sys, jaxae.networks.catalogue; assert not {'jax', 'flax', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert {*catalogue.ACTIVATIONS} == {*layers.ACTIVATIONS} - {None}
    assert tuple(catalogue.NETWORKS) == ("linear", "mlp", "gated_mlp", "conv", "resnet", "grid")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("cnv", {}, "did you mean 'conv'"),
        ("mlp", {"activation": "rleu"}, "did you mean 'relu'"),
        ("mlp", {"depth": 0}, "depth 0: expected at least 1"),
        ("linear", {"width": 64}, "linear network has none"),
        ("mlp", {"mean": np.zeros((4, 4))}, "expected (4, 4, 1)"),
    ],
)
def test_bad_input_is_said_in_one_line(name, options, said):
    with pytest.raises(InputError) as error:
        make(name, (4, 4, 1), **options)
    assert said in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", networks.NETWORKS)
@pytest.mark.parametrize("likelihood", likelihoods.NAMES)
def test_what_is_learned_is_in_single_precision_also_under_x64(name, likelihood):
    with jax.enable_x64(True):
        net = make(name, (28, 28, 1), likelihood=likelihood)
        kinds = {v.dtype for v in jax.tree.leaves((*abstract(net, (28, 28, 1)), net.likelihood.init()))}
    assert kinds == {np.dtype("float32")}


def test_a_shape_needs_three_sizes():
    with pytest.raises(InputError, match="height, width, channels"):
        make("mlp", (28, 28))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_relu_and_its_derivatives_are_jaxs(dtype):
    ours, theirs = layers.relu, jax.nn.relu
    x = jnp.asarray([-np.inf, -2.0, -0.0, 0.0, 1e-30, 3.0, np.inf, np.nan], dtype)
    (one, slope), (other, wanted) = (
        small.jit(lambda x, f=f: (f(x), jax.vmap(jax.grad(f))(x)))(x) for f in (ours, theirs)
    )
    for found, expected in ((one, other), (slope, wanted)):
        np.testing.assert_array_equal(np.asarray(found, np.float32), np.asarray(expected, np.float32))
    assert np.asarray(slope, np.float32)[:7].tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert one.dtype == slope.dtype == dtype

    def squared(relu, x):
        return jnp.sum(relu(x - 1) ** 2 * x)

    at = jnp.asarray([-1.0, 0.5, 2.0, 3.0])
    for derivative in (jax.jacfwd, jax.jacrev, jax.hessian):
        one, other = (small.jit(derivative(partial(squared, relu)))(at) for relu in (ours, theirs))
        np.testing.assert_array_equal(one, other)
        assert np.any(one)
