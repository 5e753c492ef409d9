import subprocess
import sys

import pytest

from jaxae.data import catalogue, load, names
from jaxae.errors import InputError
from jaxae.names import is_path


def version(root, *parts, info='{"fileFormat": "array_record"}', features="image_feature.Image"):
    folder = root.joinpath(*parts)
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(info)
    (folder / "features.json").write_text(features)
    return folder


def test_import_and_catalogue_need_neither_jax_nor_tfds():
    code = (
        "import sys, jaxae.data; jaxae.data.catalogue(); "
        "print([name for name in ('jax', 'tensorflow', 'tensorflow_datasets') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_source_types_are_found_lazily():
    import jaxae.data
    from jaxae.data.source import Source, hold_out

    assert jaxae.data.Source is Source
    assert jaxae.data.hold_out is hold_out
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = jaxae.data.nothing_here


@pytest.mark.parametrize("name", ["./mnist", "faces.npy", "a/b", "train-images-idx3-ubyte", "x.gz", "x.npz"])
def test_these_are_paths(name):
    assert is_path(name)


@pytest.mark.parametrize("name", ["digits", "mnist", "tfds:emnist/balanced", "svhn_cropped", "mnist:3.0.1"])
def test_these_are_names(name):
    assert not is_path(name)


def test_existing_folder_is_a_path_unless_it_has_a_data_sets_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("faces", "mnist"):
        (tmp_path / name).mkdir()
    assert is_path("faces")
    assert not is_path("mnist")
    assert is_path("./mnist")


def test_newest_whole_array_record_version_is_taken(tmp_path):
    for number in ("1.9.0", "1.10.0"):
        version(tmp_path, "thing", number)
    version(tmp_path, "thing", "2.0.0", info='{"fileFormat": "tfrecord"}')
    version(tmp_path, "thing", "incomplete.AB_3.0.0")
    version(tmp_path, "thing", "4.0.0", info="{")
    assert names.prepared("thing", tmp_path).name == "1.10.0"
    assert names.prepared("tfds:thing:1.9.0", tmp_path).name == "1.9.0"
    assert names.prepared("thing:2.0.0", tmp_path) is None
    assert names.prepared("nothing", tmp_path) is None


def test_configurations(tmp_path):
    version(tmp_path, "emnist", "balanced", "3.1.0")
    assert names.prepared("emnist", tmp_path).parent.name == "balanced"
    version(tmp_path, "emnist", "digits", "3.1.0")
    assert names.prepared("tfds:emnist/digits", tmp_path).parent.name == "digits"
    with pytest.raises(InputError, match="expected one of tfds:emnist/balanced, tfds:emnist/digits"):
        names.prepared("emnist", tmp_path)


def test_catalogue_tells_what_is_ready():
    root = names.data_dir()
    version(root, "mnist", "3.0.1")
    version(root, "emnist", "balanced", "3.1.0")
    version(root, "speech", "1.0.0", features="audio")
    ready = {entry.name: entry.ready for entry in catalogue()}
    assert ready == {
        "digits": True,
        "sprites": True,
        "mnist": True,
        "binarized_mnist": False,
        "fashion_mnist": False,
        "kmnist": False,
        "cifar10": False,
        "tfds:emnist/balanced": True,
    }


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("minst", "did you mean 'mnist'"),
        ("didgits", "did you mean 'digits'"),
        ("svhn_croped", "did you mean 'svhn_cropped'"),
        ("zzzzz", "known: binarized_mnist, cifar10"),
        ("mnist", "run `jaxae data prepare mnist`"),
        ("tfds:emnist/balanced", "run `jaxae data prepare tfds:emnist/balanced`"),
        ("tfds:a b", "no name of a TFDS data set"),
        ("emnist/balanced", "written tfds:emnist/balanced"),
    ],
)
def test_bad_name_is_one_line_that_says_what_to_do(name, message):
    with pytest.raises(InputError) as caught:
        load(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
