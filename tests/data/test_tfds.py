import io
import json
import subprocess
import sys
from functools import partial

import numpy as np
import tensorflow_datasets as tfds
from PIL import Image

from jaxae.data import cache, load, names
from tests import userfiles
from tests.userfiles import as_set

IMAGE = tfds.features.Image(shape=(None, None, 3))
CLASS = tfds.features.ClassLabel(names=["no", "yes"])


class PackedFloats(tfds.features.Image):
    """Takes its PNG ready made, for TFDS packs floats by way of TensorFlow."""

    def encode_example(self, example):
        buffer = io.BytesIO()
        example.save(buffer, "png")
        return buffer.getvalue()


def pictures(n, height=4, width=5, channels=3):
    arrays = np.random.default_rng(n).integers(0, 256, (n, height, width, channels), np.uint8)
    return arrays[..., 0] if channels == 1 else arrays


def write(name, features, splits, supervised=None, file_format="array_record"):
    """A prepared data set of the test's own: {split: [example, ...]}."""

    class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            return tfds.core.DatasetInfo(
                builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=supervised
            )

        def _split_generators(self, dl_manager):
            return {split: enumerate(examples) for split, examples in splits.items()}

        def _generate_examples(self):
            raise NotImplementedError

    Toy.name = name
    builder = Toy(data_dir=names.data_dir())
    builder.download_and_prepare(file_format=file_format)
    return builder.data_path


def examples(arrays, **more):
    return [{"image": Image.fromarray(array), **more} for array in arrays]


refused = partial(userfiles.refused, load)


def test_own_splits_and_labels(prepared, mnist_arrays):
    source = load("mnist")
    assert source.shape == (28, 28, 1)
    assert source.sizes() == {"train": 50, "validation": 10, "test": 24}
    assert source.classes == tuple("0123456789")
    for images, labels, splits in (
        (*mnist_arrays["train"], (source.train, source.validation)),
        (*mnist_arrays["test"], (source.test,)),
    ):
        given = {image.tobytes(): label for image, label in zip(images, labels)}
        found = {row.tobytes(): label for split in splits for row, label in zip(split.rows, split.labels)}
        assert found == given


def test_binary_images_become_black_and_white(prepared, bits):
    source = load("binarized_mnist")
    for split, images in bits.items():
        assert as_set(source.split(split).rows) == as_set(images * np.uint8(255))
        assert (source.split(split).labels == -1).all()
    assert "own validation split has 30" in refused("binarized_mnist", validation=10)


def test_second_load_reads_the_cache_and_gives_the_same(prepared, monkeypatch):
    first = load("mnist")
    monkeypatch.setattr(cache, "write", None)  # would fail if anything were read again
    again = load("mnist")
    assert again.digest == first.digest
    assert isinstance(again.test.rows, np.memmap)
    assert load("mnist", validation=7).sizes() == {"train": 53, "validation": 7, "test": 24}


def test_data_prepared_anew_is_never_served_stale():
    path = write("thing", {"image": IMAGE}, {"train": examples(pictures(12))})
    before = load("thing").digest
    path.rmtree()
    write("thing", {"image": IMAGE}, {"train": examples(255 - pictures(12))})
    assert load("thing").digest != before


def test_train_alone_is_divided(tmp_path):
    arrays = pictures(30)
    write("thing", {"image": IMAGE, "label": CLASS}, {"train": examples(arrays, label=1)})
    source = load("tfds:thing:1.0.0")
    assert source.sizes() == {"train": 20, "validation": 4, "test": 6}
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    assert as_set(rows) == as_set(arrays)
    assert source.classes == ("no", "yes")
    assert set(source.train.labels) == {1}


def test_other_splits_are_left_alone():
    write("thing", {"image": IMAGE}, {"train": examples(pictures(12)), "unlabelled": examples(pictures(3))})
    assert sum(load("thing").sizes().values()) == 12
    write("other", {"image": IMAGE}, {"everything": examples(pictures(3))})
    assert "none of its splits is one of train" in refused("other")


def test_images_of_several_sizes_are_refused():
    write("thing", {"image": IMAGE}, {"train": examples([*pictures(3), *pictures(1, height=6)])})
    message = refused("thing")
    assert "4 x 5 x 3" in message
    assert "6 x 5 x 3" in message


def test_sixteen_bit_images_are_refused():
    deep = tfds.features.Image(shape=(4, 5, 1), dtype=np.uint16)
    write("thing", {"image": deep}, {"train": examples(np.zeros((6, 4, 5), np.uint16))})
    assert "its images are uint16: only uint8 and float32 are read" in refused("thing")


def test_float_images_are_read_as_they_are():
    values = np.random.default_rng(0).random((12, 4, 5, 1)).astype(np.float32)
    packed = values.view(np.uint8).reshape(12, 4, 5, 4)  # TFDS stores the four bytes of a float as RGBA
    feature = PackedFloats(shape=(4, 5, 1), dtype=np.float32)
    write("thing", {"image": feature}, {"train": examples(packed)})
    source = load("thing")
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    assert rows.dtype == np.float32
    assert as_set(rows) == as_set(values)


def test_which_image_and_label_an_example_is_read_for():
    grey = tfds.features.Image(shape=(4, 5, 1))
    both = [
        {"left": Image.fromarray(a), "right": Image.fromarray(b), "kind": 1, "fold": 0}
        for a, b in zip(pictures(12, channels=1), pictures(13, channels=1))
    ]
    features = {"left": grey, "right": grey, "kind": CLASS, "fold": CLASS}
    write("pair", features, {"train": both}, supervised=("right", "kind"))
    source = load("pair")
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    assert as_set(rows) == as_set(pictures(13, channels=1)[:12])
    assert set(source.train.labels) == {1}
    write("unclear", features, {"train": both})
    assert "several images in an example (left, right)" in refused("unclear")


def test_data_without_images_and_damaged_data_are_refused():
    write("words", {"text": tfds.features.Text()}, {"train": [{"text": "hello"}]})
    assert "not an image data set: its features are text" in refused("words")
    path = write("thing", {"image": IMAGE}, {"train": examples(pictures(12))})
    (record,) = path.glob("*array_record*")
    record.write_bytes(record.read_bytes()[:100])
    assert "cannot be read" in refused("thing")


def test_tfrecord_counts_as_not_prepared(prepared, tmp_path, monkeypatch):
    info = json.loads((prepared / "mnist" / "3.0.1" / "dataset_info.json").read_text())
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({**info, "fileFormat": "tfrecord"}))
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert "is not prepared in" in refused("mnist")


def test_no_tensorflow_is_imported(prepared):
    code = "import sys, jaxae.data; jaxae.data.load('mnist'); sys.exit('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
