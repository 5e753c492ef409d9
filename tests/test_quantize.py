"""Quantisers against numpy; statistics of a batch that is whole, and cut over devices; every point of the grid."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from sklearn.cluster import KMeans
from small import draw

from jaxae import axis, quantize, random
from jaxae.errors import InputError
from jaxae.quantize import Codebook

KEY = jax.random.key(3)
BATCH, POSITIONS, DIM, K = 16, 3, 2, 7
LEVELS = [(2,), (3,), (8, 5, 5, 5), (2, 3, 4), (4, 4)]
Z = jnp.asarray(draw(0, BATCH, POSITIONS, DIM))
VECTORS = jnp.asarray(draw(1, K, DIM))


def squared(z, codebook):
    """In float64, one pair at a time."""
    return np.square(np.asarray(z, np.float64)[..., None, :] - np.asarray(codebook, np.float64)).sum(-1)


def over(devices, fn, *args):
    """fn of the whole, or of each device's share of the rows: one result, after all devices were seen to agree."""
    if devices == 1:
        return jax.device_get(small.jit(fn)(*args))

    def local(*shares):
        with axis.over("data"):
            return fn(*shares)

    shares = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), args)
    found = jax.device_get(jax.pmap(local, "data", devices=jax.devices()[:devices])(*shares))
    for leaf in jax.tree.leaves(found):
        np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape), "devices disagree")
    return jax.tree.map(lambda leaf: leaf[0], found)


@pytest.mark.parametrize("shape", [(40,), (5, 4), (2, 3, 4)])
def test_nearest_equals_a_search_in_numpy(shape):
    z, codebook = draw(2, *shape, 3), draw(3, 9, 3)
    found = quantize.nearest(jnp.asarray(z), jnp.asarray(codebook))
    assert found.dtype == jnp.int32 and found.shape == shape
    np.testing.assert_array_equal(found, squared(z, codebook).argmin(-1))
    np.testing.assert_array_equal(quantize.lookup(jnp.asarray(codebook), found), codebook[np.asarray(found)])


def test_nearest_keeps_its_digits_far_from_the_origin():
    z, codebook = draw(4, 200, 2) + np.float32(3000), draw(5, 50, 2) + np.float32(3000)
    found = np.asarray(quantize.nearest(jnp.asarray(z), jnp.asarray(codebook)))
    distances = squared(z, codebook)
    np.testing.assert_allclose(distances[np.arange(200), found], distances.min(-1), atol=1e-5)


def test_of_equal_codes_the_first_is_nearest():
    codebook = jnp.asarray([[5.0, 5.0], [1.0, 1.0], [1.0, 1.0]])
    np.testing.assert_array_equal(quantize.nearest(jnp.zeros((3, 2)), codebook), [1, 1, 1])


def test_an_index_past_the_end_is_no_other_vector():
    assert np.isnan(quantize.lookup(VECTORS, jnp.asarray([K]))).all()


def test_straight_through_is_the_code_to_the_bit_and_its_gradient_that_of_z():
    z, code = jnp.asarray(1e3 * draw(6, 50, 2)), jnp.asarray(1e-3 * draw(7, 50, 2))
    np.testing.assert_array_equal(quantize.straight_through(z, code), code)
    weights = jnp.asarray(draw(8, 50, 2))
    slopes = jax.grad(lambda z, code: jnp.sum(weights * quantize.straight_through(z, code)), (0, 1))
    slopes = small.jit(slopes)(z, code)
    np.testing.assert_array_equal(slopes[0], weights)
    np.testing.assert_array_equal(slopes[1], jnp.zeros((50, 2)))


def test_a_codebook_starts_as_if_each_code_had_been_used_equally():
    found = quantize.start(VECTORS)
    np.testing.assert_allclose(found.count, np.full(K, 1 / K), rtol=1e-6)
    np.testing.assert_allclose(found.total / found.count[:, None], VECTORS, rtol=1e-6)


def steps(devices, decay=0.8, count=4):
    """The codebook after some batches, each Z moved on; counts that add up to 3, as after restarts they may."""
    codebook = Codebook(VECTORS, jnp.full(K, 3 / K), VECTORS * 3 / K)

    def step(z):
        update = codebook
        for t in range(count):
            moved = z * (1 + 0.3 * t)
            update = quantize.ema_update(update, moved, quantize.nearest(moved, update.vectors), decay)
        return update

    return over(devices, step, Z)


def steps_in_numpy(decay=0.8, count=4):
    vectors = np.asarray(VECTORS, np.float64)
    used, total = np.full(K, 3 / K), vectors * 3 / K
    for t in range(count):
        rows = np.asarray(Z, np.float64).reshape(-1, DIM) * (1 + 0.3 * t)
        index = squared(rows, vectors).argmin(-1)
        for k in range(K):
            mine = rows[index == k]
            used[k] = decay * used[k] + (1 - decay) * len(mine) / len(rows)
            total[k] = decay * total[k] + (1 - decay) * mine.sum(0) / len(rows)
        vectors = np.where(np.isin(np.arange(K), index)[:, None], total / used[:, None], vectors)
    return Codebook(vectors, used, total)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_moving_averages_equal_numpys_on_any_devices(devices):
    found = steps(devices)
    small.assert_close(found, steps_in_numpy(), rtol=1e-4, atol=1e-5)
    assert found.count.sum() == pytest.approx(1 + 2 * 0.8**4, rel=1e-5)


def test_a_decay_of_zero_is_one_step_of_k_means():
    index = quantize.nearest(Z, VECTORS)
    found = quantize.ema_update(quantize.start(VECTORS), Z, index, 0.0)
    for k in set(np.asarray(index).ravel().tolist()):
        np.testing.assert_allclose(found.vectors[k], np.asarray(Z)[np.asarray(index) == k].mean(0), rtol=1e-4)


@pytest.mark.parametrize("decay", [0.99, 0.9999])
def test_a_code_forgotten_for_long_moves_to_the_one_vector_that_finds_it(decay):
    """And no further: at one of 50,000 its count is small, and nothing may be added to it."""
    codebook = quantize.start(VECTORS)._replace(count=jnp.zeros(K), total=jnp.zeros((K, DIM)))
    z = jnp.full((50_000, 1, DIM), 5.0)
    index = jnp.zeros((50_000, 1), jnp.int32).at[0].set(1)
    found = quantize.ema_update(codebook, z, index, decay)
    np.testing.assert_allclose(found.vectors[1], np.full(DIM, 5.0), rtol=1e-4)


def test_a_decay_of_one_moves_nothing():
    found = quantize.ema_update(
        quantize.start(VECTORS)._replace(count=jnp.zeros(K)), Z, quantize.nearest(Z, VECTORS), 1.0
    )
    np.testing.assert_array_equal(found.vectors, VECTORS)


def test_a_code_unused_for_ever_stays_finite():
    codebook = quantize.start(VECTORS)._replace(count=jnp.zeros(K), total=jnp.zeros((K, DIM)))
    found = quantize.ema_update(codebook, Z, jnp.zeros((BATCH, POSITIONS), jnp.int32), 0.5)
    assert all(np.isfinite(leaf).all() for leaf in found)


def test_a_code_that_nothing_is_near_stays_where_it_is():
    """And is not drawn to the origin, which total / smoothed count would do once both have faded."""
    vectors, z = jnp.asarray([[5.0, 5.0], [9.0, 9.0]]), jnp.full((4, 1, 2), 5.0)

    def step(codebook, _):
        return quantize.ema_update(codebook, z, quantize.nearest(z, codebook.vectors), 0.5), None

    codebook, _ = jax.lax.scan(step, quantize.start(vectors), None, 300)
    np.testing.assert_allclose(codebook.vectors, vectors, rtol=1e-5)


def test_nothing_is_differentiated_through_the_averages():
    def total(z):
        index = quantize.nearest(z, VECTORS)
        return jnp.sum(quantize.ema_update(quantize.start(VECTORS), z, index, 0.5).vectors)

    np.testing.assert_array_equal(small.jit(jax.grad(total))(Z), jnp.zeros(Z.shape))


def restarted(devices, z, count, threshold=0.05):
    codebook = quantize.start(VECTORS)._replace(count=jnp.asarray(count, jnp.float32))
    keys = random.example_keys(jax.random.clone(KEY), 0, jnp.arange(len(z)))
    return codebook, over(devices, lambda keys, z: quantize.restart(codebook, keys, z, threshold), keys, z)


@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("positions", [(), (POSITIONS,)])
def test_dead_codes_begin_again_at_vectors_of_the_batch_in_the_order_of_its_draws(devices, positions):
    z = jnp.asarray(draw(9, BATCH, *positions, DIM))
    codebook, found = restarted(devices, z, [0.3, 0.0, 0.3, 0.049, 0.051, 0.0, 0.3])
    keys = random.example_keys(jax.random.clone(KEY), 0, jnp.arange(BATCH))
    draws = np.stack([jax.random.uniform(keys[i], positions) for i in range(BATCH)]).ravel()
    dead, alive = [1, 3, 5], [0, 2, 4, 6]
    fresh = np.asarray(z).reshape(-1, DIM)[np.argsort(draws)[:3]]
    np.testing.assert_array_equal(found.vectors[dead], fresh)
    np.testing.assert_allclose(found.count[dead], np.full(3, 1 / K), rtol=1e-6)
    np.testing.assert_allclose(found.total[dead], fresh / K, rtol=1e-6)
    small.assert_same_bits(
        [leaf[jnp.asarray(alive)] for leaf in found], [leaf[jnp.asarray(alive)] for leaf in codebook]
    )


def test_the_share_and_not_the_count_decides():
    codebook, found = restarted(1, Z, [30.0, 4.9, 30, 30, 30, 30, 30], threshold=0.05)
    changed = (found.vectors != np.asarray(codebook.vectors)).any(1)
    np.testing.assert_array_equal(np.flatnonzero(changed), [1])


@pytest.mark.parametrize("levels", [2, 5, 8, 1001, 1002, 40_000])
def test_every_level_can_be_reached(levels):
    z = jnp.asarray([[-1e3], [1e3]], jnp.float32)
    index = quantize.fsq(z, (levels,))[1]
    assert index.tolist() == [0, levels - 1]


def test_codes_for_which_there_is_no_vector_wait():
    codebook, found = restarted(1, Z[:4, 0], [1.0, 0, 0, 0, 0, 0, 0])
    changed = (found.vectors != np.asarray(codebook.vectors)).any(1)
    np.testing.assert_array_equal(np.flatnonzero(changed), [1, 2, 3, 4])
    assert {tuple(row) for row in found.vectors[1:5].tolist()} == {tuple(row) for row in np.asarray(Z[:4, 0]).tolist()}


@pytest.mark.parametrize("devices", [1, 4])
def test_perplexity_of_the_global_batch(devices):
    def perplexity(index):
        return float(over(devices, lambda index: quantize.perplexity(index, 8), index))

    each = jnp.arange(8, dtype=jnp.int32)
    assert perplexity(jnp.stack([each, each], axis=1)) == pytest.approx(8, rel=1e-5), "a device alone sees two codes"
    assert perplexity(jnp.full(8, 5, jnp.int32)) == pytest.approx(1, rel=1e-5)
    entropy = -sum(p * np.log(p) for p in (1 / 2, 1 / 4, 1 / 8, 1 / 8))
    skewed = jnp.asarray([0, 0, 0, 0, 1, 1, 7, 3], jnp.int32)
    assert perplexity(skewed) == pytest.approx(np.exp(entropy), rel=1e-5)


def fitted(stages=4, codes=6):
    """Codebooks by sklearn: each k-means of what the ones before have left over."""
    left, codebooks = draw(10, 300, DIM).astype(np.float64), []
    for stage in range(stages):
        codebooks.append(KMeans(codes, n_init=2, random_state=stage).fit(left).cluster_centers_)
        left = left - codebooks[-1][squared(left, codebooks[-1]).argmin(-1)]
    return jnp.asarray(draw(10, 300, DIM)), jnp.asarray(np.stack(codebooks), jnp.float32)


def test_residual_quantisation_is_greedy_and_what_is_left_over_falls():
    z, codebooks = fitted()
    found = small.jit(quantize.residual)(z, codebooks)
    left, norms = np.asarray(z, np.float64), []
    for stage, codebook in enumerate(np.asarray(codebooks, np.float64)):
        np.testing.assert_allclose(found.inputs[stage], left, atol=1e-5)
        index = squared(left, codebook).argmin(-1)
        np.testing.assert_array_equal(found.index[stage], index)
        norms.append(np.square(left).sum(-1).mean())
        left = left - codebook[index]
    np.testing.assert_allclose(found.quantised, np.asarray(z) - left, atol=1e-5)
    norms.append(np.square(np.asarray(z) - np.asarray(found.quantised)).sum(-1).mean())
    assert all(after < 0.5 * before for before, after in itertools.pairwise(norms)), norms


def test_a_stages_input_moves_no_codebook_and_the_sum_moves_each():
    z, codebooks = Z[:, :, None], jnp.asarray(draw(11, 3, K, DIM))
    z = jnp.broadcast_to(z, (BATCH, POSITIONS, 4, DIM))
    slopes = small.jit(jax.grad(lambda z, c: jnp.sum(quantize.residual(z, c).inputs), (0, 1)))(z, codebooks)
    np.testing.assert_array_equal(slopes[0], jnp.full(z.shape, 3.0))
    np.testing.assert_array_equal(slopes[1], jnp.zeros(codebooks.shape))
    counts = np.asarray(small.jit(jax.grad(lambda c: jnp.sum(quantize.residual(z, c).quantised)))(codebooks))
    index = small.jit(quantize.residual)(z, codebooks).index
    for stage in range(3):
        np.testing.assert_allclose(counts[stage, :, 0], np.bincount(np.asarray(index[stage]).ravel(), minlength=K))


@pytest.mark.parametrize("devices", [1, 2])
def test_all_stages_averages_are_one_vmap(devices):
    codebooks = jnp.asarray(draw(12, 2, K, DIM))
    books = small.jit(jax.vmap(quantize.start))(codebooks)

    def update(z):
        found = quantize.residual(z, codebooks)
        return jax.vmap(quantize.ema_update, (0, 0, 0, None))(books, found.inputs, found.index, 0.7)

    found, whole = over(devices, update, Z), small.jit(quantize.residual)(Z, codebooks)
    for stage in range(2):
        book = jax.tree.map(lambda leaf, stage=stage: leaf[stage], books)
        alone = quantize.ema_update(book, whole.inputs[stage], whole.index[stage], 0.7)
        small.assert_close(jax.tree.map(lambda leaf, stage=stage: leaf[stage], found), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("levels", LEVELS)
def test_every_point_of_the_grid_is_reached_and_named_once(levels):
    """By z on a mesh finer than the narrowest cell."""
    count = int(np.prod(levels))
    lines = [np.linspace(-2.4, 2.4, 25, dtype=np.float32) for _ in levels]
    z = jnp.asarray(np.stack(np.meshgrid(*lines), axis=-1).reshape(-1, len(levels)))
    points, index = quantize.fsq(z, levels)
    named, first = np.unique(index, return_index=True)
    np.testing.assert_array_equal(named, np.arange(count))
    assert len(np.unique(points[first], axis=0)) == count
    np.testing.assert_array_equal(quantize.fsq_codes(index, levels), points)
    for j, level in enumerate(levels):
        np.testing.assert_allclose(np.unique(points[:, j]), (np.arange(level) - level // 2) / (level // 2), rtol=1e-6)


@pytest.mark.parametrize("levels", LEVELS)
def test_the_index_and_the_point_go_there_and_back(levels):
    index = jnp.arange(int(np.prod(levels)), dtype=jnp.int32)
    codes = quantize.fsq_codes(index, levels)
    back = quantize.fsq_index(codes, levels)
    assert back.dtype == jnp.int32
    np.testing.assert_array_equal(back, index)
    np.testing.assert_array_equal(quantize.fsq_codes(index.reshape(1, -1), levels)[0], codes)
    digits = np.stack(np.unravel_index(np.asarray(index), levels[::-1])[::-1], axis=-1)
    np.testing.assert_allclose(codes, (digits - np.array(levels) // 2) / (np.array(levels) // 2), rtol=1e-6)


def test_fsq_is_the_papers_formula_and_its_gradient_that_of_the_bound():
    levels, z = (8, 5, 2), 2 * draw(13, 6, 4, 3)
    half = (np.array(levels) - 1) * (1 - 1e-3) / 2
    offset = np.where(np.array(levels) % 2 == 1, 0.0, 0.5)
    squeezed = np.tanh(z.astype(np.float64) + np.tan(offset / half))
    width = np.array(levels) // 2
    points, index = quantize.fsq(jnp.asarray(z), levels)
    np.testing.assert_allclose(points, np.round(squeezed * half - offset) / width, rtol=1e-6)
    np.testing.assert_array_equal(quantize.fsq_codes(index, levels), points)
    slopes = small.jit(jax.grad(lambda z: jnp.sum(quantize.fsq(z, levels)[0])))(jnp.asarray(z))
    np.testing.assert_allclose(slopes, (1 - squeezed**2) * half / width, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("end", [-1e4, 1e4])
def test_fsq_stays_on_the_grid_where_tanh_is_flat(end):
    levels = (8, 5, 2)
    index = quantize.fsq(jnp.full((1, 3), end), levels)[1]
    assert int(index[0]) == (0 if end < 0 else 79)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ((8, 5), r"levels \(8, 5\): expected one for each of the 3 latent units"),
        ((8, 5, 1), r"levels \(8, 5, 1\): expected at least 2 of each"),
        ((2**11,) * 3, "a product under 2\\^31"),
    ],
)
def test_levels_that_cannot_be_are_refused(levels, said):
    with pytest.raises(InputError, match=said):
        quantize.fsq(jnp.zeros((4, 3)), levels)
