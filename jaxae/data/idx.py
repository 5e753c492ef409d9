"""The idx format of MNIST: two zero bytes, a type, a number of axes, the big-endian lengths, the values."""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from jaxae.errors import InputError

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
TRAIN, TEST = "train", "t10k"


def read(path: Path) -> np.ndarray:
    """The array of an idx or idx.gz file; a memory map where it is not compressed."""
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
            file.seek(0)
            data = gzip.decompress(file.read()) if zipped else file.read(64)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: cannot be read ({error}): a damaged or incomplete file?") from None
    size = len(data) if zipped else path.stat().st_size
    dtype, shape, start = header(data, path)
    expected = start + math.prod(shape) * dtype.itemsize
    if size != expected:
        raise InputError(f"{path}: {size:,} bytes, but its header means {expected:,}: a damaged or incomplete file?")
    if math.prod(shape) == 0:
        raise InputError(f"{path}: its shape is {' x '.join(map(str, shape))}: there is nothing in it")
    if zipped:
        return np.frombuffer(data, dtype, offset=start).reshape(shape)
    return np.memmap(path, dtype, "r", start, shape)


def header(data: bytes, path: Path) -> tuple[np.dtype, tuple[int, ...], int]:
    """(dtype, shape, where the values start)"""
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in TYPES or not 1 <= data[3] <= 8:
        raise InputError(f"{path}: not an idx file: it begins with {data[:4].hex(' ') or 'nothing'}")
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise InputError(f"{path}: {len(data)} bytes end within its header: an incomplete file?")
    return np.dtype(TYPES[data[2]]), tuple(map(int, np.frombuffer(data, ">u4", data[3], 4))), start


def labels_beside(path: Path) -> Path | None:
    """The labels of a file of images by MNIST's naming: train-images-idx3-ubyte, train-labels-idx1-ubyte."""
    if "images" not in path.name:
        return None
    plain = path.name.removesuffix(".gz").replace("images", "labels").replace("idx3", "idx1")
    return next((each for each in (path.with_name(plain), path.with_name(plain + ".gz")) if each.is_file()), None)


def images_in(folder: Path, stem: str) -> Path | None:
    """The file of images that MNIST's naming gives a split (`train` or `t10k`), compressed or not."""
    names = [f"{stem}-images{mark}idx3-ubyte{end}" for mark in "-." for end in ("", ".gz")]
    return next((folder / name for name in names if (folder / name).is_file()), None)
