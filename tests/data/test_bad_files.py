import zipfile
from pathlib import Path

import numpy as np
import pytest

from jaxae.data import load
from tests import userfiles
from tests.userfiles import saved, zipped

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (60, 5, 4), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 60)


def refused(path, **options):
    """The one line that a bad file is refused with; it names the file."""
    message = userfiles.refused(load, str(path), **options)
    assert str(path).split("[")[0] in message
    return message


def spoiled(value, dtype=np.float32):
    rows = (GREY / 255).astype(dtype) if np.dtype(dtype).kind == "f" else GREY.astype(dtype)
    rows[7, 2, 3] = value
    return rows


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (spoiled(np.nan), "value nan at image 7, row 2, column 3, channel 0: floats lie in [0, 1]"),
        (spoiled(np.inf), "value inf at image 7"),
        (spoiled(-0.5), "value -0.5 at image 7"),
        (
            spoiled(200.0),
            "value 200.0 at image 7, row 2, column 3, channel 0: floats lie in [0, 1]: divide by 255",
        ),
        (spoiled(1e9), "divide by the greatest value"),
        (GREY / 255 * 16.0, "floats lie in [0, 1]: divide by the greatest value, which is "),
        (spoiled(300, np.int16), "value 300 at image 7"),
        (spoiled(-1, np.int64), "value -1 at image 7, row 2, column 3, channel 0: integers lie in 0..255"),
        (GREY.astype(complex), "complex128"),
        (np.array(["a", "b"]), "expected pixels as uint8"),
        (GREY[0, 0], "its shape is 4: expected [n, height, width]"),
        (GREY.reshape(60, 20), "its shape is 60 x 20"),
        (GREY[None, None], "its shape is 1 x 1 x 60 x 5 x 4"),
        (np.uint8(3), "a single number"),
        (GREY[:0], "there is no pixel"),
        (GREY[:, :, :0], "there is no pixel"),
        (GREY[:2], "too few examples"),
        (GREY[:1], "too few examples"),
        (np.zeros((9, 3, 8, 8), np.uint8), "channels come last"),
        (
            np.zeros((8, 8, 3, 50), np.uint8),
            "images come first here: transpose(3, 0, 1, 2)",
        ),
        (np.zeros((4, 4, 65), np.uint8), "images come first here: transpose(2, 0, 1); or x[..., None]"),
        (np.zeros((9, 4, 8, 6), np.uint8), "channels come last"),
        (np.zeros((9, 1, 8, 6), np.float32), "channels come last"),
        (
            np.full((9, 8, 8), 1e300),
            "value 1e+300 at image 0, row 0, column 0, channel 0: floats lie in [0, 1]: divide by the greatest",
        ),
        (np.array([GREY, None], dtype=object), "Python objects, which are never loaded"),
    ],
)
def test_bad_array_is_one_line_that_names_the_value(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    assert message in refused(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GREY, "y": LABELS[:-1]}, "60 images but 59 labels"),
        ({"x": GREY, "y": LABELS + 0.5}, "labels are float64"),
        ({"x": GREY, "y": np.eye(60, dtype=int)}, "of shape 60 x 60"),
        ({"x": GREY, "y": LABELS - 2}, "label -2 of image"),
        ({"x": GREY, "y": LABELS + 2**40}, "label 10995"),
        ({"x_train": GREY, "x_test": GREY[:, :4]}, "4 x 4 x 1 uint8"),
        ({"x_train": GREY, "x_test": GREY / 255}, "5 x 4 x 1 float32"),
        ({"x_train": GREY, "x_val": GREY, "x_validation": GREY}, "two arrays for the validation split"),
        ({"x_test": GREY}, "no train split: found test"),
        ({"pictures": GREY}, "holds pictures: expected x, images or arr_0"),
        ({"x": np.array([None, 1], dtype=object)}, "never loaded"),
        ({}, "holds nothing"),
    ],
)
def test_bad_archive_is_one_line(tmp_path, arrays, message):
    assert message in refused(zipped(tmp_path, **arrays))


def test_damaged_files_are_one_line_wherever_they_are_cut(tmp_path):
    for path in (saved(tmp_path, GREY), zipped(tmp_path, x=GREY, y=LABELS)):
        whole = Path(path).read_bytes()
        for length in (0, 1, 5, 9, 60, 200, len(whole) // 2, len(whole) - 1):
            Path(path).write_bytes(whole[:length])
            assert len(refused(path)) < 400


def test_flipped_byte_in_an_archive_is_found(tmp_path):
    path = tmp_path / "x.npz"
    np.savez_compressed(path, x=GREY)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert "cannot be read" in refused(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.npy", b"", "the file is empty"),
        ("x.npy", b"hello, world", "begins with b'hello,'"),
        ("x.gz", b"\x1f\x8bnot really", "cannot be read"),
        ("x.csv", b"1,2,3", "which no format read here does"),
        ("x.npy", b"\x80\x04pickle", "which no format read here does"),
        ("photo.png", b"\x89PNG\r\n", "give the folder it is in"),
    ],
)
def test_other_files_are_one_line(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    assert message in refused(tmp_path / name)


def test_zip_that_is_no_archive_of_arrays(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("x.npy", "not an array")
    assert "not an array" in refused(tmp_path / "x.zip")


def test_missing_file_suggests_its_neighbour(tmp_path):
    saved(tmp_path, GREY, "faces.npy")
    assert f"did you mean {tmp_path / 'faces.npy'}?" in refused(tmp_path / "face.npy")
    assert "no such file" in refused(tmp_path / "no" / "where.npy")


def test_an_archive_of_images_is_told_to_be_unpacked(tmp_path):
    path = tmp_path / "images.npz"
    with zipfile.ZipFile(path, "w") as archive:
        for n in range(2000):
            archive.writestr(f"img_{n}.png", b"")
    said = refused(path)
    assert "img_4.png and 1,995 more: expected x, images or arr_0" in said
    assert said.endswith("; of images: unpack it, a folder of them is read")
