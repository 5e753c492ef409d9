"""Small data of known contents: files as users have them, and TFDS data sets prepared from such files."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from jaxae.data import builders, fetch

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("TFDS_DATA_DIR") or ROOT.parent / "shared" / "data" / "tfds").absolute()
TRAIN, TEST, VALIDATION = 60, 24, 30


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """No test reads or writes the user's cache or prepared data."""
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "prepared"))


@pytest.fixture
def real_tfds(monkeypatch):
    """MNIST as prepared on this machine, where it is."""
    if not (REAL / "mnist").is_dir():
        pytest.skip("no prepared MNIST: set TFDS_DATA_DIR")
    monkeypatch.setenv("TFDS_DATA_DIR", str(REAL))
    return REAL


def idx_bytes(array):
    kind = {"u1": 8, "i4": 12, "f4": 13}[array.dtype.str[1:]]
    head = bytes([0, 0, kind, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture
def to_idx():
    """Writes an array as idx, compressed where the name says so."""

    def write(path, array):
        data = idx_bytes(array)
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        return path

    return write


def images(n, seed):
    return np.random.default_rng(seed).integers(0, 256, (n, 28, 28), dtype=np.uint8)


def labels(n, seed):
    return np.random.default_rng(seed).integers(0, 10, n, dtype=np.uint8)


def amat(bits):
    return "".join(" ".join(map(str, image.ravel())) + "\n" for image in bits).encode()


@pytest.fixture(scope="session")
def mnist_arrays():
    return {"train": (images(TRAIN, 0), labels(TRAIN, 1)), "test": (images(TEST, 2), labels(TEST, 3))}


@pytest.fixture(scope="session")
def bits():
    sizes = {"train": TRAIN, "validation": VALIDATION, "test": TEST}
    return {split: images(n, 4 + at) % 2 for at, (split, n) in enumerate(sizes.items())}


@pytest.fixture(scope="session")
def downloads(tmp_path_factory, mnist_arrays, bits):
    """The files one would have downloaded: MNIST's four, and the three of the static binarisation."""
    folder = tmp_path_factory.mktemp("downloads")
    for split, files in builders.IDX.items():
        for file, array in zip(files, mnist_arrays[split]):
            (folder / file).write_bytes(gzip.compress(idx_bytes(array)))
    for split, (file,) in builders.AMAT.items():
        (folder / file).write_bytes(amat(bits[split]))
    return folder


@pytest.fixture
def trusted(downloads, monkeypatch):
    """TFDS's register, but with the checksums of the small files."""
    real = builders.registered

    def registered(name):
        return {file: entry._replace(sha256=fetch.sha256(downloads / file)) for file, entry in real(name).items()}

    monkeypatch.setattr(builders, "registered", registered)


@pytest.fixture(scope="session")
def prepared_once(tmp_path_factory, downloads):
    """A TFDS data folder with small versions of all four sets, written by our builders."""
    root = tmp_path_factory.mktemp("prepared")
    for name, splits in builders.FILES.items():
        files = {file: downloads / file for parts in splits.values() for file in parts}
        builders.write(name, builders.arrays(name, files), root)
    return root


@pytest.fixture
def prepared(prepared_once, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared_once))
    return prepared_once
