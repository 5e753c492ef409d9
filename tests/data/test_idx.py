import numpy as np
import pytest

from jaxae.data import idx, load
from tests import userfiles


@pytest.mark.parametrize("name", ["x.idx", "x.idx.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32])
def test_round_trip(tmp_path, to_idx, name, dtype):
    array = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(dtype) * dtype(2)
    found = idx.read(to_idx(tmp_path / name, array))
    np.testing.assert_array_equal(found, array)
    assert isinstance(found, np.memmap) == (name == "x.idx")


def refused(path):
    said = userfiles.refused(load, str(path))
    assert str(path) in said
    return said


def test_file_takes_the_labels_beside_it(tmp_path, to_idx, mnist_arrays):
    images, labels = mnist_arrays["train"]
    path = to_idx(tmp_path / "train-images-idx3-ubyte.gz", images)
    assert (load(str(path)).train.labels == -1).all()
    to_idx(tmp_path / "train-labels-idx1-ubyte", labels)
    source = load(str(path))
    pairs = {image.tobytes(): label for image, label in zip(images, labels)}
    assert source.sizes() == {"train": 40, "validation": 8, "test": 12}
    for split in (source.train, source.validation, source.test):
        assert [pairs[row.tobytes()] for row in split.rows] == split.labels.tolist()


def test_folder_of_mnists_four_files(downloads, mnist_arrays):
    source = load(str(downloads))
    images, labels = mnist_arrays["test"]
    assert source.sizes() == {"train": 50, "validation": 10, "test": 24}
    np.testing.assert_array_equal(source.test.rows[..., 0], images)
    np.testing.assert_array_equal(source.test.labels, labels)


def test_labels_that_do_not_match_are_refused(tmp_path, to_idx, mnist_arrays):
    images, labels = mnist_arrays["train"]
    path = to_idx(tmp_path / "train-images-idx3-ubyte", images)
    to_idx(tmp_path / "train-labels-idx1-ubyte", labels[:-1])
    assert "60 images but 59 labels" in refused(path)


@pytest.mark.parametrize("name", ["x.idx", "x.idx.gz"])
def test_cut_and_prolonged_files_are_refused(tmp_path, to_idx, name, mnist_arrays):
    path = to_idx(tmp_path / name, mnist_arrays["train"][0])
    whole = path.read_bytes()
    for length in (1, 3, 6, 12, 18, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path)
    path.write_bytes(whole + b"more")
    refused(path)


def test_header_that_lies_is_refused(tmp_path, to_idx):
    path = to_idx(tmp_path / "x.idx", np.zeros((4, 2, 2), np.uint8))
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert "32 bytes, but its header means 17,179,869,196" in refused(path)
    data[2] = 99
    path.write_bytes(data)
    assert "not an idx file: it begins with 00 00 63 03" in refused(path)


def test_file_of_labels_is_no_file_of_images(downloads):
    assert "its shape is 60" in refused(downloads / "train-labels-idx1-ubyte.gz")
