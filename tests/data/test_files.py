import os

import numpy as np
import pytest

from jaxae.data import arrays, cache, checks, load
from jaxae.errors import InputError
from tests.userfiles import as_set, saved, zipped

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (60, 5, 4), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 60)


def joined(source):
    return np.concatenate([split.rows for split in (source.train, source.validation, source.test)])


def test_npy_is_split_by_a_fixed_rule_into_all_its_images(tmp_path):
    source = load(saved(tmp_path, GREY))
    assert source.shape == (5, 4, 1)
    assert source.sizes() == {"train": 40, "validation": 8, "test": 12}
    assert joined(source).dtype == np.uint8
    assert as_set(joined(source)) == as_set(GREY)
    assert (source.train.labels == -1).all()
    assert source.digest == load(saved(tmp_path, GREY, "other.npy")).digest
    assert source.digest != load(saved(tmp_path, GREY[::-1], "reversed.npy")).digest


def test_validation_size_is_the_users(tmp_path):
    path = saved(tmp_path, GREY)
    assert load(path, validation=5).sizes() == {"train": 43, "validation": 5, "test": 12}
    np.testing.assert_array_equal(load(path, validation=5).test.rows, load(path).test.rows)
    with pytest.raises(InputError, match="validation: cannot hold out 48 of 48"):
        load(path, validation=48)


def test_test_size_is_the_users(tmp_path):
    path = saved(tmp_path, GREY)
    source = load(path, test=20, validation=10)
    assert source.sizes() == {"train": 30, "validation": 10, "test": 20} and as_set(joined(source)) == as_set(GREY)
    assert load(path, test=20).sizes() == {"train": 34, "validation": 6, "test": 20}
    with pytest.raises(InputError, match="test: cannot hold out 60 of 60"):
        load(path, test=60)
    mine = arrays(GREY, LABELS, test=20, validation=np.int64(10))
    assert mine.digest != source.digest  # it has labels
    for split in ("train", "validation", "test"):
        np.testing.assert_array_equal(mine.split(split).rows, source.split(split).rows)
    with pytest.raises(InputError, match=r"test 0.2: expected how many examples, such as 12"):
        arrays(GREY, LABELS, test=0.2)
    with pytest.raises(InputError, match="test 9: digits has a test split of its own"):
        load("digits", test=9)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (GREY.astype(np.int64), GREY),
        (GREY > 100, (GREY > 100) * np.uint8(255)),
        ((GREY > 100).astype(np.uint8), (GREY > 100) * np.uint8(255)),
        ((GREY > 100).astype(np.int32), (GREY > 100) * np.uint8(255)),
        ((GREY / 255).astype(np.float32), (GREY / 255).astype(np.float32)),
        (GREY / 255, (GREY / 255).astype(np.float32)),
        ((GREY / 255).astype(">f8"), (GREY / 255).astype(np.float32)),
        ((GREY > 100).astype(np.float16), (GREY > 100).astype(np.float32)),
    ],
    ids=["int64", "bool", "uint8 0/1", "int32 0/1", "float32", "float64", "big-endian", "float16"],
)
def test_pixels_come_in_one_of_two_forms(tmp_path, given, expected):
    rows = joined(load(saved(tmp_path, given)))
    assert rows.dtype == expected.dtype
    assert as_set(rows) == as_set(expected)


def test_binary_rule_is_told_and_holds_for_all_splits_or_none(tmp_path):
    dark = (GREY > 100).astype(np.uint8)
    assert "become 0 and 255" in load(saved(tmp_path, dark)).about
    with pytest.raises(InputError, match=r"x_test\]: no value above 1, but .*x_train\] go up to 255: expected one"):
        load(zipped(tmp_path, x_train=GREY, x_test=dark))
    with pytest.raises(InputError, match="expected one scale in every split"):
        load(zipped(tmp_path, x_train=dark.astype(bool), x_test=dark))
    source = load(zipped(tmp_path, x_train=GREY, x_test=dark * np.uint8(0)))
    assert source.test.rows.max() == 0 and "become" not in source.about


def test_what_is_not_read_of_an_archive_is_said(tmp_path, caplog):
    source = load(zipped(tmp_path, x_train=GREY, x_Test=GREY, y_train=np.arange(len(GREY)), extra=np.zeros(2)))
    assert source.train.labels.max() > 0
    assert "x.npz: not read: x_Test, extra" in caplog.text


def test_there_are_homes_of_nobody(monkeypatch):
    with pytest.raises(InputError, match=r"~nosuchuser/x\.npy: there is no such home folder"):
        load("~nosuchuser/x.npy")
    monkeypatch.setenv("TFDS_DATA_DIR", "~nosuchuser/t")
    with pytest.raises(InputError, match="~nosuchuser/t: there is no such home folder"):
        load("mnist")


def test_a_name_that_no_page_could_show_is_refused(tmp_path):
    folder = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")
    os.mkdir(folder)
    with pytest.raises(InputError, match="its name is not UTF-8") as error:
        load(folder)
    str(error.value).encode()


def test_large_files_stay_on_disk_with_the_same_contents(tmp_path, monkeypatch):
    for name, array in (("a.npy", GREY), ("b.npy", GREY / 255), ("c.npy", GREY > 9), ("d.npy", GREY % 2)):
        path = saved(tmp_path, array, name)
        small = load(path)
        monkeypatch.setattr(cache, "LARGE", 0)
        large = load(path)
        monkeypatch.undo()
        assert large.digest == small.digest
        assert isinstance(large.train.rows, np.memmap) and large.train.rows.filename
        assert not isinstance(small.train.rows, np.memmap)


def test_changed_file_is_never_served_from_the_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "LARGE", 0)
    before = load(saved(tmp_path, GREY)).digest
    assert load(saved(tmp_path, 255 - GREY)).digest != before


@pytest.mark.parametrize("names", [("x", "y"), ("images", "labels"), ("arr_0", "arr_1")])
def test_npz_with_labels(tmp_path, names):
    source = load(zipped(tmp_path, **{names[0]: GREY, names[1]: LABELS[:, None]}))
    assert source.sizes() == {"train": 40, "validation": 8, "test": 12}
    pairs = {row.tobytes(): label for row, label in zip(GREY, LABELS)}
    for split in (source.train, source.validation, source.test):
        assert [pairs[row.tobytes()] for row in split.rows] == split.labels.tolist()
        assert split.labels.dtype == np.int32
    assert source.classes == ("0", "1", "2")


@pytest.mark.parametrize("dark", [GREY // 16, GREY.astype(np.float32) / 255 / 5], ids=["0 to 15", "divided twice"])
def test_images_that_are_far_too_dark_are_said_to_be(tmp_path, caplog, dark):
    load(saved(tmp_path, dark))
    assert "no pixel is brighter than a quarter of white" in caplog.text
    caplog.clear()
    for bright in (GREY, GREY > 100, (GREY > 100).astype(np.uint8), GREY / 255):
        load(saved(tmp_path, bright))
    assert not caplog.text


def test_a_class_that_no_training_example_has_is_said(tmp_path, caplog):
    load(zipped(tmp_path, x_train=GREY[:40], y_train=LABELS[:40], x_test=GREY[40:], y_test=LABELS[40:] + 2))
    assert "x.npz: no training example has labels 3, 4 of its test split" in caplog.text


def test_images_that_are_in_two_splits_are_told(tmp_path, caplog, monkeypatch):
    path = zipped(tmp_path, x_train=GREY[:40], x_test=np.concatenate([GREY[40:], GREY[:40:5]]))
    assert "; 8 of its test images are training or validation images, too" in load(path).about
    train = load(path).train.rows  # less those that are held out for validation
    shared = sum(any(np.array_equal(image[..., None], other) for other in train) for image in GREY[:40:5])
    assert 0 < shared < 8 and "x.npz: 8 of its test images are training or validation images, too" in caplog.text
    caplog.clear()
    load(saved(tmp_path, np.concatenate([GREY, GREY]), "twice.npy"))
    assert " of its validation images are training images" in caplog.text and " of its test images" in caplog.text
    caplog.clear()
    load(zipped(tmp_path, x_train=GREY[:40], x_test=GREY[40:]))
    monkeypatch.setattr(checks, "MOST_LOOKED_AT", 59)
    load(path)
    assert not caplog.text


def test_words_that_are_no_text_are_refused(tmp_path):
    words = np.array(["cat", "\ud800"] * 30)
    with pytest.raises(InputError, match=r"class '\\ud800': its name is no text"):
        load(zipped(tmp_path, x=GREY, y=words))


def test_npz_with_its_own_splits_keeps_them(tmp_path):
    parts = {"x_train": GREY[:40], "x_val": GREY[40:45], "x_test": GREY[45:], "y_test": LABELS[45:]}
    source = load(zipped(tmp_path, **parts))
    np.testing.assert_array_equal(source.train.rows[..., 0], GREY[:40])
    np.testing.assert_array_equal(source.validation.rows[..., 0], GREY[40:45])
    np.testing.assert_array_equal(source.test.rows[..., 0], GREY[45:])
    np.testing.assert_array_equal(source.test.labels, LABELS[45:])
    assert "its own splits" in source.about
    with pytest.raises(InputError, match="own validation split has 5 examples"):
        load(str(tmp_path / "x.npz"), validation=3)
    with pytest.raises(InputError, match="own test split has 15 examples: leave out the test size"):
        load(str(tmp_path / "x.npz"), test=3)


def test_colour_keeps_its_channels(tmp_path):
    assert load(saved(tmp_path, RNG.integers(0, 256, (20, 6, 7, 3), np.uint8))).shape == (6, 7, 3)
