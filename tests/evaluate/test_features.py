"""The feature spaces: the classifier's accuracy, bits and cache; the user's own function; what each says it is."""

import dataclasses
import hashlib
import io
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import run
from jaxae.build import build
from jaxae.config import Config
from jaxae.data import feed
from jaxae.data.source import Split
from jaxae.errors import InputError
from jaxae.evaluate import features, judge
from tests import made

IMAGES = np.random.default_rng(0).random((7, 4, 5, 1)).astype(np.float32)


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    """A cache of the test's own: the files of it that are classifiers."""
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    return lambda: sorted((tmp_path / "cache" / "features").iterdir())


@pytest.fixture
def brief(monkeypatch):
    """Eighty steps of training, four between two looks at the validation split."""
    monkeypatch.setattr(features, "LEAST", 80)
    monkeypatch.setattr(features, "MOST", 80)


def bits(of, images=IMAGES):
    return np.asarray(of.of(jnp.asarray(images))).tobytes()


@pytest.mark.slow
def test_digits_are_told_apart_in_a_space_that_repeats(digits, tmp_path, monkeypatch, place):
    images = digits.test.rows.astype(np.float32) / 255
    one = features.classifier(digits)
    assert one.accuracy >= 0.95
    assert one.space.startswith("64 penultimate units of jaxae's own classifier of digits (seed 0,")
    assert one.space.endswith(f"validation accuracy {one.accuracy:.4f} on 180 images")
    assert one.of(jnp.asarray(images)).shape == (360, 64)
    (file,) = place()
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "another"))
    again = features.classifier(digits)
    assert (again.space, bits(again, images)) == (one.space, bits(one, images))
    monkeypatch.setenv("JAXAE_CACHE", str(file.parents[1]))
    monkeypatch.setattr(features, "_train", None)  # cannot be called
    kept = features.classifier(digits)
    assert (kept.space, kept.accuracy, bits(kept, images)) == (one.space, one.accuracy, bits(one, images))


@pytest.mark.slow
def test_another_seed_or_other_data_is_another_space(brief, place):
    of = [features.classifier(made.source(seed=data), seed) for data, seed in [(0, 0), (0, 1), (1, 0)]]
    assert len(place()) == 3
    assert len({bits(each) for each in of}) == len({each.space for each in of}) == 3


def npz(**arrays):
    np.savez(content := io.BytesIO(), **arrays)
    return content.getvalue()


DAMAGE = {
    "cut": lambda whole: whole[:-100],
    "flipped": lambda whole: whole.replace(whole[5000:5010], b"0123456789"),
    "pickled": lambda whole: npz(accuracy=np.array([{}], object)),
    "of other arrays": lambda whole: npz(accuracy=0.5, x=np.zeros(3)),
}


@pytest.mark.parametrize(
    "damage", ["flipped", *(pytest.param(d, marks=pytest.mark.slow) for d in DAMAGE if d != "flipped")]
)
def test_a_damaged_file_is_made_again_with_one_line(damage, brief, place, caplog):
    source = made.source()
    before = bits(features.classifier(source))
    (file,) = place()
    file.write_bytes(DAMAGE[damage](whole := file.read_bytes()))
    with caplog.at_level(logging.WARNING, "jaxae"):
        assert bits(features.classifier(source)) == before
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert "damaged and made again" in record.getMessage() and "\n" not in record.getMessage()
    assert place() == [file] and len(file.read_bytes()) == len(whole)


def test_a_cache_that_cannot_be_written_costs_one_line(brief, tmp_path, monkeypatch, caplog):
    (tmp_path / "file").touch()
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING, "jaxae"):
        assert features.classifier(made.source()).of(jnp.asarray(IMAGES)).shape == (7, 64)
    assert ["cannot be written" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.slow
def test_rows_that_are_streamed_or_decoded_train_the_same(brief, monkeypatch):
    source = made.source()
    resident = bits(features.classifier(source))
    monkeypatch.setattr(features, "RECIPE", "streamed")  # a file of its own in the cache
    monkeypatch.setattr(features, "fits_on_device", lambda split: False)
    monkeypatch.setattr(feed, "STREAM_BYTES", 3 * features.BATCH * 20)  # three steps at a time
    assert bits(features.classifier(source)) == resident

    def of_each(change):
        return {name: Split(change(source.split(name).rows), source.split(name).labels) for name in source.sizes()}

    decoded = dataclasses.replace(source, decode=lambda rows: 2 * rows, **of_each(lambda rows: rows // 2))
    even = dataclasses.replace(source, **of_each(lambda rows: rows // 2 * 2))
    assert bits(features.classifier(decoded)) == bits(features.classifier(even))


def test_examples_without_a_label_are_left_out(brief):
    source = made.source()
    some = np.where(np.arange(40) % 4 == 1, -1, source.train.labels)
    part = dataclasses.replace(source, train=Split(source.train.rows, some.astype(np.int32)))
    kept = Split(source.train.rows[some >= 0], source.train.labels[some >= 0])
    assert bits(features.classifier(part)) == bits(features.classifier(dataclasses.replace(source, train=kept)))


@pytest.mark.parametrize("label", [None, 0, 1])
def test_no_two_labels_are_one_line(label):
    source = made.source(classes=0)
    if label is not None:
        one = Split(source.train.rows, np.full(len(source.train), label, np.int32))
        source = dataclasses.replace(source, train=one)
    said = "no labels to learn" if label is None else "one class alone"
    with pytest.raises(InputError, match=f"made: its train split has {said}: give --features FILE:FUNCTION"):
        features.classifier(source)


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (64, 64, 3), (5, 9, 2)])
def test_images_of_any_size_have_as_many_features(shape):
    network, images = features.Classifier(shape, 10), jax.ShapeDtypeStruct((3, *shape), jnp.float32)
    out = jax.eval_shape(lambda key, x: network.apply(network.init(key, x), x), jax.random.key(0), images)
    assert [leaf.shape for leaf in out] == [(3, 64), (3, 10)]


def test_pixels():
    of = features.pixels()
    assert "pixels" in of.space and bits(of) == IMAGES.tobytes() and of.of(jnp.asarray(IMAGES)).shape == (7, 20)


MINE = """
import numpy as np

def rows(x):
    return x.mean(axis=(2, 3))

def on_the_host(x):
    return np.asarray(x, np.float64).reshape(len(x), -1)[:, :2]

def flat(x):
    return x.mean(axis=(1, 2, 3))

def short(x):
    return rows(x)[:-1]

nothing = lambda x: None

def infinite(x):
    return rows(x) / (np.arange(len(x))[:, None] != 2)
"""


@pytest.fixture
def mine(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return str(tmp_path / "mine.py")


def test_own_features_are_the_functions_and_say_their_file(mine):
    of, images = features.own(f"{mine}:rows"), jnp.asarray(IMAGES)
    np.testing.assert_array_equal(of.of(images), images.mean(axis=(2, 3)))
    np.testing.assert_allclose(jax.jit(of.of)(images), of.of(images), rtol=1e-6)
    assert of.space == f"the user's own features mine.py:rows, SHA-256 {hashlib.sha256(MINE.encode()).hexdigest()[:8]}"
    assert features.own(f"{mine}:on_the_host").of(images).shape == (7, 2)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("flat", r"features mine.py:flat: an array \(7,\) for 7 images: expected \[7, features\]"),
        ("short", r"features mine.py:short: an array \(6, 4\) for 7 images"),
        ("nothing", "features mine.py:nothing: a NoneType for 7 images"),
        ("infinite", "features mine.py:infinite: not finite for 1 of 7 images"),
    ],
)
def test_own_features_of_another_form_are_one_line(mine, name, says):
    with pytest.raises(InputError, match=says) as caught:
        features.own(f"{mine}:{name}").of(jnp.asarray(IMAGES))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("{mine}:absent", "has no function absent"),
        ("{mine}x.py:rows", "^features .*: no file"),
        ("{mine}", "expected path/to/file.py:function"),
    ],
)
def test_no_such_function_is_one_line(mine, spec, says):
    with pytest.raises(InputError, match=says):
        features.own(spec.format(mine=mine))


SPACES = {
    "the same for 16 images": "return 0 * h",
    "other numbers for the same images each time": "return np.random.rand(len(x), 3)",
    "an image's numbers depend on those beside it": "return h - h.mean(0)[None]",
    r"\(mine.py, line 4\): no such weights": "raise ValueError('no such weights')",
}


@pytest.mark.parametrize("said", SPACES)
def test_what_makes_no_space_judges_nothing(digits, tmp_path, said):
    body = f"    h = x.reshape(len(x), -1)\n    {SPACES[said]}\n"
    (tmp_path / "mine.py").write_text(f"import numpy as np\ndef mine(x):\n{body}")
    bench = run.bench(build(Config(steps=1)), settings=run.Settings(features=f"{tmp_path}/mine.py:mine"))
    with pytest.raises(InputError, match=f"features mine.py:mine.*{said}"):
        judge.judge(bench)
