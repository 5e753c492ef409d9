import hashlib

import jax
import numpy as np
import pytest

from jaxae.data import hold_out, load, sprites
from jaxae.errors import InputError

SIZES = np.array(list(sprites.FACTORS.values()))


@pytest.fixture(scope="module")
def source():
    return load("sprites")


@pytest.fixture(scope="module")
def decode(source):
    return jax.jit(source.decode)


def drawn(code):
    """The image of one factor code, drawn directly on the whole canvas: rotated by complex numbers."""
    shape, scale, orientation, x, y = (int(number) for number in code)
    rows, columns = np.indices((64, 64))
    turned = (columns - x - 16 + 1j * (rows - y - 16)) * np.exp(-2j * np.pi * orientation / 40)
    u, v = turned.real / (0.5 + 0.1 * scale), turned.imag / (0.5 + 0.1 * scale)
    if shape == 0:
        inside = (abs(u) < 11.3) & (abs(v) < 11.3)
    elif shape == 1:
        inside = u**2 / 15.7**2 + v**2 / 7.85**2 < 1
    else:
        a, b = u / 12.7, 0.25 - v / 12.7
        inside = (a**2 + b**2 - 1) ** 3 - a**2 * b**3 < 0
    return inside * 255


def test_decoded_images_are_the_shapes_drawn_directly(decode):
    codes = np.random.default_rng(0).integers(0, SIZES, (200, 5)).astype(np.uint8)
    images = np.asarray(decode(codes))
    assert images.shape == (200, 64, 64, 1)
    assert images.dtype == np.uint8
    for code, image in zip(codes, images):
        np.testing.assert_array_equal(image[..., 0], drawn(code), err_msg=str(code))


def test_every_sprite_stays_whole_in_all_four_corners(decode):
    grid = np.indices((3, 6, 40, 2, 2)).reshape(5, -1).T * [1, 1, 1, 31, 31]
    areas = (np.asarray(decode(grid.astype(np.uint8))) == 255).sum((1, 2, 3)).reshape(720, 4)
    np.testing.assert_array_equal(areas, np.repeat((sprites.tiles() > 0).sum((1, 2))[:, None], 4, 1))


def test_area_grows_with_scale_for_every_shape_and_orientation():
    areas = (sprites.tiles() > 0).sum((1, 2)).reshape(3, 6, 40)
    assert (np.diff(areas, axis=1) > 0).all()
    assert areas.min() > 50


def test_a_step_of_x_or_y_moves_the_image_by_one_pixel(decode):
    image, right, down = np.asarray(decode(np.array([[2, 3, 7, 4, 9], [2, 3, 7, 5, 9], [2, 3, 7, 4, 10]])))
    np.testing.assert_array_equal(right, np.roll(image, 1, axis=1))
    np.testing.assert_array_equal(down, np.roll(image, 1, axis=0))


def test_orientations_repeat_by_the_symmetry_of_the_shape_alone():
    table = sprites.tiles().reshape(3, 6, 40, -1)
    for shape, distinct in enumerate((10, 20, 40)):
        for scale in range(6):
            assert len(np.unique(table[shape, scale], axis=0)) == distinct


def test_the_splits_part_the_whole_grid(source):
    assert source.sizes() == {"train": 663_552, "validation": 36_864, "test": 36_864}
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    numbers = np.ravel_multi_index(rows.T, tuple(SIZES))
    np.testing.assert_array_equal(np.sort(numbers), np.arange(737_280))


def test_no_image_is_in_two_splits(source, decode):
    """Looked at as pixels: those of a few places, where every sprite comes to be whole."""
    seen = {}
    for name, split in (("train", source.train), ("validation", source.validation), ("test", source.test)):
        some = split.rows[(split.rows[:, 3] == 7) & np.isin(split.rows[:, 4], [0, 21])]
        pixels = np.packbits(np.asarray(decode(some)).reshape(len(some), -1) > 0, axis=1)
        seen[name] = {bits.tobytes() for bits in pixels}
    assert sum(map(len, seen.values())) == len(set.union(*seen.values())) == 2 * 6 * (10 + 20 + 40)
    assert min(map(len, seen.values())) > 20, "each split has some"


def test_what_belongs_together_is_held_out_together():
    patients = np.random.default_rng(0).integers(0, 60, 300)
    patients[-30:] = np.arange(100, 130)  # of whom there is one image each
    for count in (1, 7, 50, 120):
        kept, held = hold_out(300, count, "mine", patients)
        assert len(held) == count and not set(patients[kept]) & set(patients[held])
        np.testing.assert_array_equal(np.sort(np.concatenate([kept, held])), np.arange(300))
    assert len(hold_out(100, 7, "mine", np.arange(100) // 5)[1]) == 5, "where nobody is alone, as many as fit"
    with pytest.raises(InputError, match="mine: 50 examples belong together, more than the 20 to hold out"):
        hold_out(200, 20, "mine", np.repeat(np.arange(4), 50))
    with pytest.raises(InputError, match=r"alike of shape \(50,\): expected \(100,\)"):
        hold_out(100, 5, "mine", np.arange(50))


def test_shapes_are_held_out_alike(source):
    for split in (source.validation, source.test):
        np.testing.assert_allclose(np.bincount(split.labels) / len(split), 1 / 3, atol=0.01)


def test_factors_and_labels_belong_to_the_rows(source):
    assert source.factor_names == ("shape", "scale", "orientation", "x", "y")
    np.testing.assert_array_equal(source.test.labels, source.test.rows[:, 0])
    assert source.test.labels.dtype == np.int32


def test_pixels_and_splits_never_change(source):
    assert hashlib.sha256(sprites.tiles().tobytes()).hexdigest()[:16] == "6d64110508eeb115"
    assert source.digest[:16] == "c3810cd8c57280fb"


def test_validation_size_is_the_users(source):
    other = load("sprites", validation=1000)
    assert other.sizes() == {"train": 699_416, "validation": 1000, "test": 36_864}
    np.testing.assert_array_equal(other.test.rows, source.test.rows)
    with pytest.raises(InputError, match="cannot hold out 0 of 700416"):
        load("sprites", validation=0)
