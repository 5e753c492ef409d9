import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxae.data import load
from jaxae.data.tfds import read_split


def test_real_mnist_begins_as_tfds_has_it(real_tfds):
    builder = tfds.builder_from_directory(real_tfds / "mnist" / "3.0.1")
    examples = builder.as_data_source(split="train[:10]")
    rows, labels = read_split("ten digits", examples, "image", "label", None)
    assert labels.tolist() == [4, 1, 0, 7, 8, 1, 2, 7, 1, 6]
    assert rows.sum((1, 2, 3), dtype=int).tolist() == [
        16400,
        14493,
        37856,
        26159,
        38345,
        18171,
        30952,
        21195,
        16458,
        31065,
    ]


@pytest.mark.slow
def test_whole_of_real_mnist(real_tfds):
    source = load("mnist")
    assert source.sizes() == {"train": 50_000, "validation": 10_000, "test": 10_000}
    counts = np.bincount(np.concatenate([source.train.labels, source.validation.labels]))
    assert counts.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert source.digest[:16] == "740a93cbd14a0f05"
