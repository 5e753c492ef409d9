"""MNIST and its like written as TFDS writes them, without TensorFlow: same names, versions, features."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxae.data import idx
from jaxae.data.fetch import Registered
from jaxae.errors import InputError

Arrays = dict[str, tuple[np.ndarray, np.ndarray | None]]
"""{split: (images [n, 28, 28] uint8, labels [n] or None)}"""
SIDE = 28
IDX: dict[str, tuple[str, ...]] = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
AMAT: dict[str, tuple[str, ...]] = {
    "train": ("binarized_mnist_train.amat",),
    "validation": ("binarized_mnist_valid.amat",),
    "test": ("binarized_mnist_test.amat",),
}
FILES = {"mnist": IDX, "fashion_mnist": IDX, "kmnist": IDX, "binarized_mnist": AMAT}
"""{data set: {split: its files}}"""


def registered(name: str) -> dict[str, Registered]:
    """{file: its URL, size and SHA-256}, as the installed TFDS has them."""
    import tensorflow_datasets as tfds

    infos = tfds.builder_cls(name).url_infos
    return {url.rsplit("/", 1)[1]: Registered(url, int(info.size), info.checksum) for url, info in infos.items()}


def arrays(name: str, files: dict[str, Path]) -> Arrays:
    """The images and labels in files already verified; {file name: path}."""
    found: Arrays = {}
    for split, parts in FILES[name].items():
        if FILES[name] is AMAT:
            found[split] = read_amat(files[parts[0]]), None
            continue
        images, labels = (idx.read(files[part]) for part in parts)
        if images.shape[1:] != (SIDE, SIDE) or labels.shape != images.shape[:1]:
            raise InputError(f"{files[parts[0]]}: images {images.shape} and labels {labels.shape} do not match")
        found[split] = images, labels
    return found


def read_amat(path: Path) -> np.ndarray:
    """[n, 28, 28] uint8, 0 or 1, from lines of 784 digits with a space between."""
    text = np.frombuffer(path.read_bytes(), np.uint8)
    line = 2 * SIDE * SIDE
    if len(text) == 0 or len(text) % line:
        raise InputError(f"{path}: {len(text):,} bytes: expected lines of {line}")
    digits = text.reshape(-1, line)[:, ::2] - ord("0")
    if digits.max() > 1:
        raise InputError(f"{path}: a digit that is neither 0 nor 1")
    return digits.reshape(-1, SIDE, SIDE)


def write(name: str, data: Arrays, root: Path) -> Path:
    """The folder of the finished data set. TFDS builds it under another name and renames it at the end."""
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()
    builder = builder_of(tfds, name, data)(data_dir=root)
    config = tfds.download.DownloadConfig(try_download_gcs=False)
    builder.download_and_prepare(download_config=config, file_format="array_record")
    return Path(builder.data_dir)


def builder_of(tfds: Any, dataset: str, data: Arrays) -> type:
    """TFDS's own description of the data set, its version and features, with our way to make the examples."""
    from PIL import Image

    parent: Any = tfds.builder_cls(dataset)

    class Builder(parent, skip_registration=True):  # type: ignore[call-arg]
        name = dataset

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator]:
            return {split: self._generate_examples(*pair) for split, pair in data.items()}

        def _generate_examples(self, images: np.ndarray, labels: np.ndarray | None) -> Iterator:
            for at, image in enumerate(images):
                example = {"image": Image.fromarray(image)}  # Pillow's PNG encoder in place of TensorFlow's
                yield at, example if labels is None else {**example, "label": int(labels[at])}

    return Builder
