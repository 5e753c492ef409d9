import json
import os
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxae.data import builders, fetch, names
from jaxae.data.prepare import prepare
from jaxae.errors import InputError
from tests import userfiles

VERSIONS = {"mnist": "3.0.1", "fashion_mnist": "3.0.1", "kmnist": "3.0.1", "binarized_mnist": "1.0.0"}


refused = partial(userfiles.refused, prepare)


def contents(name, root, split):
    """{image bytes: label} by TFDS's ordinary call."""
    source = tfds.data_source(name, split=split, data_dir=root, download=False)
    return {np.asarray(each["image"]).tobytes(): each.get("label") for each in source}


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_tfds_itself_reads_what_was_prepared(name, downloads, trusted, mnist_arrays, tmp_path):
    path = prepare(name, downloads, tmp_path)
    assert path == tmp_path / name / VERSIONS[name]
    for split, (images, labels) in mnist_arrays.items():
        expected = {image.tobytes(): int(label) for image, label in zip(images, labels)}
        assert contents(name, tmp_path, split) == expected


def test_tfds_itself_reads_the_static_binarisation(downloads, trusted, bits, tmp_path):
    path = prepare("binarized_mnist", downloads, tmp_path)
    assert path == tmp_path / "binarized_mnist" / "1.0.0"
    for split, images in bits.items():
        assert contents("binarized_mnist", tmp_path, split).keys() == {image.tobytes() for image in images}


@pytest.mark.parametrize("name", ["mnist", "binarized_mnist"])
def test_description_is_the_one_tfds_gives(name, prepared, real_tfds):
    for file in ("features.json", "dataset_info.json"):
        ours, real = (json.loads((root / name / VERSIONS[name] / file).read_text()) for root in (prepared, real_tfds))
        for each in (ours, real):
            each.pop("moduleName", None)
            each.pop("downloadSize", None)
            for split in each.get("splits", ()):
                split.pop("numBytes")
                split.pop("shardLengths")
        assert ours == real


def test_register_knows_every_file():
    for name, splits in builders.FILES.items():
        register = builders.registered(name)
        assert {file for parts in splits.values() for file in parts} == set(register)
        assert all(len(entry.sha256) == 64 and entry.size > 0 for entry in register.values())
    checksum = builders.registered("mnist")["train-images-idx3-ubyte.gz"].sha256
    assert checksum == "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"


def test_wrong_checksum_names_file_expected_and_found(downloads, tmp_path):
    file = downloads / "train-images-idx3-ubyte.gz"
    message = refused("mnist", downloads, tmp_path)
    for part in (str(file), builders.registered("mnist")[file.name].sha256, fetch.sha256(file)):
        assert part in message
    assert names.prepared("mnist", tmp_path) is None


def test_missing_file_and_folder_are_named(trusted, tmp_path):
    assert "train-images-idx3-ubyte.gz: no such file" in refused("mnist", tmp_path, tmp_path)
    assert "nowhere: no such folder" in refused("mnist", tmp_path / "nowhere", tmp_path)


def test_prepared_already_is_left_as_it_is(prepared):
    path = prepared / "mnist" / "3.0.1"
    before = {each.name: each.stat().st_mtime_ns for each in path.iterdir()}
    assert prepare("mnist") == path
    assert prepare("mnist", path / "nowhere") == path
    assert {each.name: each.stat().st_mtime_ns for each in path.iterdir()} == before


def test_other_file_format_is_not_taken_for_finished(downloads, trusted, tmp_path):
    folder = tmp_path / "mnist" / "3.0.1"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text('{"fileFormat": "tfrecord"}')
    assert "is not in array_record form" in refused("mnist", downloads, tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnits", "did you mean 'mnist'"),
        ("digits", "needs no preparation"),
        ("./x.npy", "needs no preparation"),
        ("mnist:1.0.0", "prepares version 3.0.1, and no other is prepared"),
        ("cifar10", "pip install tensorflow"),
        ("tfds:emnist/balanced", "pip install tensorflow"),
    ],
)
def test_what_cannot_be_prepared_is_one_line(name, message, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert message in refused(name, None, tmp_path)


def test_file_in_place_of_the_data_folder(downloads, trusted, tmp_path):
    (tmp_path / "file").write_text("")
    assert "preparing mnist in" in refused("mnist", downloads, tmp_path / "file")


def test_failure_while_writing_is_one_line_and_leaves_no_data_set(downloads, trusted, tmp_path, monkeypatch):
    broken = {"train": (np.zeros((3, 28, 28), np.uint8), np.array([1, 2, 99]))}  # there is no class 99
    monkeypatch.setattr(builders, "arrays", lambda *_: broken)
    assert "preparing mnist in" in refused("mnist", downloads, tmp_path)
    assert names.prepared("mnist", tmp_path) is None
    monkeypatch.undo()


def test_killed_preparation_leaves_no_half_data_set(tmp_path):
    code = f"""
import numpy as np
from jaxae.data import builders
class Slow:
    def __iter__(self):
        for at in range(10**6):
            if at == 200: print("under way", flush=True)
            if at > 200: import time; time.sleep(0.05)
            yield np.zeros((28, 28), np.uint8)
builders.write("mnist", {{"train": (Slow(), np.zeros(10**6, int))}}, {str(tmp_path)!r})
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        while b"under way" not in child.stdout.readline():
            assert child.poll() is None
        child.send_signal(signal.SIGKILL)
    assert list((tmp_path / "mnist").iterdir())  # it was writing
    assert names.prepared("mnist", tmp_path) is None
    assert not (tmp_path / "mnist" / "3.0.1").exists()


class JaxaeToy(tfds.core.GeneratorBasedBuilder):
    """A registered data set that is not one of the four: it stands for any other of TFDS."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Put the pictures into a folder."

    def _info(self):
        features = tfds.features.FeaturesDict({"image": tfds.features.Image(shape=(4, 4, 1))})
        return tfds.core.DatasetInfo(builder=self, features=features)

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(dl_manager.manual_dir)}

    def _generate_examples(self, folder):
        for path in sorted(folder.iterdir()):
            yield path.name, {"image": Image.open(path)}


def test_any_other_set_goes_through_tfds_with_manual_files(tmp_path, monkeypatch):
    (tmp_path / "manual").mkdir()
    for at in range(3):
        Image.fromarray(np.full((4, 4), at * 9, np.uint8)).save(tmp_path / "manual" / f"{at}.png")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    path = prepare("jaxae_toy", tmp_path / "manual", tmp_path)
    assert names.prepared("jaxae_toy", tmp_path) == path
    assert len(contents("jaxae_toy", tmp_path, "train")) == 3


def test_what_tfds_raises_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    message = refused("jaxae_toy", None, tmp_path)
    assert "TFDS could not prepare 'jaxae_toy'" in message
    assert "Put the pictures into a folder." in message
    assert names.prepared("jaxae_toy", tmp_path) is None


def test_unreachable_host_is_found_before_tfds_starts(tmp_path, monkeypatch):
    def unreachable(url):
        raise InputError(f"cannot reach the host of {url}")

    monkeypatch.setattr("importlib.util.find_spec", lambda _: True)
    monkeypatch.setattr(fetch, "reach", unreachable)
    assert "cannot reach the host of https://www.cs.toronto.edu" in refused("cifar10", None, tmp_path)
    assert not os.listdir(tmp_path)
