"""SSIM and MS-SSIM against loops in double precision, and in cases whose value is known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import similarity

RNG = np.random.default_rng(0)
multiscale = small.jit(similarity.multiscale)


def window(side):
    """Wang et al. 2004: a circular Gaussian of standard deviation 1.5, of sum one."""
    at = np.arange(side) - side // 2
    found = np.exp(-(at[:, None] ** 2 + at[None] ** 2) / (2 * 1.5**2))
    return found / found.sum()


def halved(image):
    height, width, channels = image.shape
    cut = image[: height // 2 * 2, : width // 2 * 2]
    return cut.reshape(height // 2, 2, width // 2, 2, channels).mean((1, 3))


def by_hand(x, y):
    """Of one pair of images [height, width, channels], each window written out."""
    if x.shape[-1] > 1:
        return np.mean([by_hand(x[..., [c]], y[..., [c]]) for c in range(x.shape[-1])])
    shortest = min(x.shape[:2])
    side = min(11, shortest if shortest % 2 else shortest - 1)
    count = sum(shortest // 2**j >= side for j in range(5)) if side == 11 else 1
    beta = np.array([0.0448, 0.2856, 0.3001, 0.2363, 0.1333])[:count]
    beta, c1, c2, w = beta / beta.sum(), 0.01**2, 0.03**2, window(side)[..., None]
    value = 1.0
    for j in range(count):
        if j:
            x, y = (halved(image) for image in (x, y))
        rows, columns = (size - side + 1 for size in x.shape[:2])
        places = []
        for top, left in np.ndindex(rows, columns):
            a, b = (image[top : top + side, left : left + side] for image in (x, y))
            ma, mb = (w * a).sum((0, 1)), (w * b).sum((0, 1))
            va, vb = (w * (a - ma) ** 2).sum((0, 1)), (w * (b - mb) ** 2).sum((0, 1))
            cs = (2 * (w * (a - ma) * (b - mb)).sum((0, 1)) + c2) / (va + vb + c2)
            places.append(cs * (2 * ma * mb + c1) / (ma**2 + mb**2 + c1) if j == count - 1 else cs)
        value *= max(np.mean(places), 1e-4) ** beta[j] if count > 1 else np.mean(places)
    return value


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (45, 51, 3), (7, 20, 2), (2, 5, 1)])
def test_it_is_the_product_over_scales_written_out(shape):
    x = RNG.random((3, *shape)).astype(np.float32)
    noise = np.linspace(0.1, 0.5, shape[-1]) if shape[-1] > 1 else 0.3
    y = np.clip(x + noise * RNG.normal(size=x.shape), 0, 1).astype(np.float32)
    expected = [by_hand(np.float64(a), np.float64(b)) for a, b in zip(x, y)]
    np.testing.assert_allclose(multiscale(x, y), expected, rtol=2e-4)
    assert 0.2 < np.mean(expected) < 0.99


def test_scales_and_windows_are_those_that_fit():
    assert similarity.scales((176, 200)) == (11, 5) and similarity.scales((175, 400)) == (11, 4)
    assert similarity.scales((28, 28)) == (11, 2) and similarity.scales((21, 28)) == (11, 1)
    assert similarity.scales((8, 8)) == (7, 1) and similarity.scales((2, 3)) == (1, 1)


def test_what_is_equal_is_alike_and_flat_images_have_their_luminances():
    x = RNG.random((4, 24, 24, 1)).astype(np.float32)
    np.testing.assert_allclose(multiscale(x, x), 1, rtol=1e-5)
    one, other = np.full_like(x, 0.3), np.full_like(x, 0.8)
    expected = ((2 * 0.3 * 0.8 + 1e-4) / (0.3**2 + 0.8**2 + 1e-4)) ** (0.2856 / (0.0448 + 0.2856))
    np.testing.assert_allclose(multiscale(one, other), expected, rtol=1e-4)
    np.testing.assert_allclose(multiscale(x, 1 - x), multiscale(1 - x, x), rtol=1e-4)


def test_bright_even_images_keep_their_digits_where_products_are_rounded():
    """As on a GPU, by default: products of rounded numbers would make these up to five times as alike as equal ones."""
    text = jax.jit(similarity.multiscale).lower(*(jax.ShapeDtypeStruct((2, 28, 28, 1), "float32"),) * 2).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert len(products) >= 10 and all("precision = [HIGHEST, HIGHEST]" in line for line in products)


def test_of_one_scale_a_negative_similarity_is_told_and_has_a_slope():
    """A decoder that has gone astray must have a way back."""
    x = jnp.asarray(RNG.random((3, 8, 8, 1)), jnp.float32)
    value, slope = small.jit(jax.value_and_grad(lambda y: similarity.multiscale(x, y).sum()))(1 - x)
    assert float(value) == pytest.approx(sum(by_hand(np.float64(a), np.float64(1 - a)) for a in x), rel=1e-3)
    assert float(value) < -0.5 and np.abs(slope).max() > 1e-3


def test_images_that_are_each_others_negatives_have_a_finite_slope():
    """Where the structure is negative the similarity is at its least, and flat."""
    x = jnp.asarray(RNG.random((2, 24, 24, 1)), jnp.float32)
    value, slope = small.jit(jax.value_and_grad(lambda y: similarity.multiscale(x, y).sum()))(1 - x)
    assert 0 < float(value) < 1e-2 and np.isfinite(slope).all()
