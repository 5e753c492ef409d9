"""The grid network: where in the image each number of the code is, and what becomes of sizes that do not divide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import likelihoods, methods, networks
from jaxae.networks import grid
from jaxae.types import Batch

KEY = jax.random.key(4, impl="unsafe_rbg")  # threefry takes many times as long to compile
SIZE, PLACES = 64, 16
BLOB = np.random.default_rng(0).random((4, 4, 1)).astype(np.float32)
Y, X = 7, 6  # a place in the middle
NEAR = 2  # places about it; the two convolutions of a block see two more on each side, still not the edge


def make(shape, latent, **options):
    return networks.make("grid", shape, latent, likelihoods.make("gaussian"), width=8, **options)


def some(module, like):
    """Weights drawn by numpy."""
    draw = np.random.default_rng(1).normal
    shapes = jax.eval_shape(module.init, KEY, like)
    return jax.tree.map(lambda v: jnp.asarray(draw(0, 0.3, v.shape), v.dtype), shapes)


def blob(down=0, right=0):
    x = np.zeros((1, SIZE, SIZE, 1), np.float32)
    x[0, 4 * (Y + down) : 4 * (Y + down + 1), 4 * (X + right) : 4 * (X + right + 1)] = BLOB
    return jnp.asarray(x)


def around(places, down=0, right=0, scale=1):
    """The part of a [height, width, ...] array within NEAR places of the blob's."""
    top, left = scale * (Y + down - NEAR), scale * (X + right - NEAR)
    side = scale * (2 * NEAR + 1)
    return np.asarray(places)[top : top + side, left : left + side]


def moves():
    return [(0, 1), (1, 0), (2, -1)]


@pytest.mark.parametrize(
    ("shape", "places"),
    [((28, 28, 1), (7, 7)), ((8, 8, 1), (2, 2)), ((32, 32, 3), (8, 8)), ((9, 7, 3), (3, 2)), ((1, 1, 1), (1, 1))],
)
def test_a_place_is_a_quarter_of_each_side(shape, places):
    net = make(shape, 1)
    assert grid.places(net.decoder.spec) == places


@pytest.mark.parametrize("down_right", moves())
def test_what_moves_by_four_pixels_moves_by_one_place_of_the_code(down_right):
    """The normalisation sees the whole image, but not where in it anything is."""
    encoder = make((SIZE, SIZE, 1), 2 * PLACES**2, depth=1).encoder(2 * PLACES**2)
    variables = some(encoder, blob())
    encode = small.jit(lambda x: encoder.apply(variables, x).reshape(PLACES, PLACES, 2))
    here, there = encode(blob()), encode(blob(*down_right))
    np.testing.assert_allclose(around(there, *down_right), around(here), rtol=1e-4, atol=1e-4)
    assert np.abs(around(there) - around(here)).max() > 0.1


@pytest.mark.parametrize("down_right", moves())
def test_a_place_of_the_code_is_decoded_to_its_place_in_the_image(down_right):
    net = make((SIZE, SIZE, 1), 2 * PLACES**2, depth=1)

    def code(down=0, right=0):
        z = np.zeros((PLACES, PLACES, 2), np.float32)
        z[Y + down, X + right] = 1, -2
        return jnp.asarray(z.reshape(1, -1))

    variables = some(net.decoder, code())
    variables["params"]["bias"] = jnp.zeros_like(variables["params"]["bias"])  # a picture of its own, which stays
    decode = small.jit(lambda z: net.decoder.apply(variables, z)[0])
    here, there = decode(code()), decode(code(*down_right))
    np.testing.assert_allclose(around(there, *down_right, 4), around(here, scale=4), rtol=1e-4, atol=1e-4)
    assert np.abs(around(there, scale=4) - around(here, scale=4)).max() > 0.1


def test_positions_of_a_quantised_code_are_places():
    net = make((SIZE, SIZE, 1), 2 * PLACES**2, depth=1)
    method = methods.factory("fsq")(net, levels="5,4")
    like = Batch(blob(), jnp.zeros(1, jnp.int32), jnp.zeros(1, jnp.int32))
    shapes = jax.eval_shape(method.init, jax.random.key(0), like)
    draw = np.random.default_rng(2).normal
    params = jax.tree.map(lambda s: jnp.asarray(draw(0, 1.0, s.shape), s.dtype), shapes.params)
    encode = small.jit(lambda x: method.discrete.encode(shapes._replace(params=params), like._replace(x=x)))
    here, there = (encode(x).reshape(PLACES, PLACES) for x in (blob(), blob(1, 2)))
    np.testing.assert_array_equal(around(there, 1, 2), around(here))
    assert np.mean(around(there) != around(here)) > 0.3


@pytest.mark.parametrize("numbers", [4, 8, 12])
def test_a_multiple_of_the_places_is_the_grid_itself(numbers):
    spec = make((8, 8, 1), numbers).decoder.spec
    np.testing.assert_array_equal(grid.shares(spec, numbers), np.eye(numbers))


@pytest.mark.parametrize("numbers", [1, 2, 3, 5, 6, 10, 16, 48, 50, 97])
def test_other_sizes_share_neighbours_and_leave_none_out(numbers):
    spec = make((28, 28, 1), numbers).decoder.spec
    of = grid.shares(spec, numbers)
    assert of.shape == (49 * -(-numbers // 49), numbers)
    np.testing.assert_array_equal(of.sum(axis=1), 1)
    owner = of.argmax(axis=1)
    assert set(np.diff(owner)) <= {0, 1}, "in order"
    assert owner[0] == 0 and owner[-1] == numbers - 1
    assert np.ptp(of.sum(axis=0)) <= 1, "as equal as can be"


def test_a_smaller_code_is_the_mean_of_cells_and_decodes_as_their_copies():
    x = jnp.asarray(np.random.default_rng(3).random((2, 8, 8, 1)), jnp.float32)
    net = make((8, 8, 1), 3)
    whole, fewer = net.encoder(4), net.encoder(3)
    variables = some(whole, x)
    cells, numbers = (np.asarray(small.jit(side.apply)(variables, x)) for side in (whole, fewer))
    np.testing.assert_allclose(numbers, np.stack([cells[:, :2].mean(1), cells[:, 2], cells[:, 3]], 1), rtol=1e-5)

    decoder = some(net.decoder, jnp.zeros((1, 4)))
    decode = small.jit(net.decoder.apply)
    np.testing.assert_allclose(
        decode(decoder, jnp.asarray(numbers)), decode(decoder, jnp.asarray(numbers[:, [0, 0, 1, 2]])), rtol=1e-5
    )


def test_there_is_no_dense_layer():
    """The weights of a larger image are the same, but for the bias that is a picture."""
    x, z = jnp.zeros((1, 8, 8, 1)), jnp.zeros((1, 8))
    small, large = make((8, 8, 1), 8), make((32, 32, 1), 128)
    encoders = [jax.eval_shape(net.encoder(n).init, KEY, x) for net, n, x in
                ((small, 8, x), (large, 128, jnp.zeros((1, 32, 32, 1))))]  # fmt: skip
    assert encoders[0] == encoders[1]
    decoders = [jax.eval_shape(net.decoder.init, KEY, z)["params"] for net, z in
                ((small, z), (large, jnp.zeros((1, 128))))]  # fmt: skip
    assert [d.pop("bias").shape for d in decoders] == [(8, 8, 1), (32, 32, 1)]
    assert decoders[0] == decoders[1]
