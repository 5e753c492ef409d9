import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from jaxae.data import load
from tests import userfiles

RNG = np.random.default_rng(1)


def picture(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def grey(height=6, width=5):
    return RNG.integers(0, 256, (height, width), np.uint8)


def flat(folder, n=12):
    arrays = [grey() for _ in range(n)]
    for at, array in enumerate(arrays):
        picture(folder / f"{at:02}.png", array)
    return arrays


def refused(path, **options):
    return userfiles.refused(load, str(path), **options)


def test_flat_folder(tmp_path):
    arrays = flat(tmp_path)
    (tmp_path / "notes.txt").write_text("not an image, and not taken for one")
    (tmp_path / ".hidden.png").write_text("neither")
    source = load(str(tmp_path))
    assert source.shape == (6, 5, 1)
    assert source.sizes() == {"train": 9, "validation": 1, "test": 2}
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    assert sorted(row.tobytes() for row in rows) == sorted(array.tobytes() for array in arrays)
    assert (source.train.labels == -1).all()


def test_sub_folders_are_classes_and_splits(tmp_path):
    known = {}
    for split, n in (("train", 7), ("val", 2), ("test", 3)):
        for label, name in enumerate(("cat", "dog")):
            for at in range(n):
                known[picture(tmp_path / split / name / f"{at}.png", array := grey()) and array.tobytes()] = label
    source = load(str(tmp_path))
    assert source.classes == ("cat", "dog")
    assert source.sizes() == {"train": 14, "validation": 4, "test": 6}
    for split in (source.train, source.validation, source.test):
        assert [known[row.tobytes()] for row in split.rows] == split.labels.tolist()


def test_grey_among_colour_becomes_colour(tmp_path):
    flat(tmp_path, 5)
    colour = RNG.integers(0, 256, (6, 5, 3), np.uint8)
    picture(tmp_path / "colour.png", colour)
    source = load(str(tmp_path))
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    assert source.shape == (6, 5, 3)
    assert sum((row == colour).all() for row in rows) == 1
    assert sum((row == row[..., :1]).all() for row in rows) == 5


def test_black_and_white_images_use_the_whole_range(tmp_path):
    bits = RNG.integers(0, 2, (6, 4, 4)).astype(bool)
    for at, array in enumerate(bits):
        picture(tmp_path / f"{at}.png", array)
    source = load(str(tmp_path))
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    assert sorted(row.tobytes() for row in rows) == sorted((array * np.uint8(255)).tobytes() for array in bits)


def test_photographs_stored_on_their_side_are_turned_upright(tmp_path):
    array = np.zeros((4, 8), np.uint8)
    array[:, :2] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    for at in range(6):
        picture(tmp_path / f"{at}.png", array, exif=exif)
    source = load(str(tmp_path))
    assert source.shape == (8, 4, 1)
    np.testing.assert_array_equal(source.train.rows[0, ..., 0], np.rot90(array, -1))


def test_changed_picture_is_read_again(tmp_path):
    flat(tmp_path / "data")
    before = load(str(tmp_path / "data"))
    assert load(str(tmp_path / "data")).digest == before.digest
    path = tmp_path / "data" / "03.png"
    stat = path.stat()
    picture(path, grey())
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert load(str(tmp_path / "data")).digest != before.digest


def test_another_size_names_both_files(tmp_path):
    flat(tmp_path)
    picture(tmp_path / "odd.png", grey(7, 5))
    message = refused(tmp_path)
    assert f"{tmp_path / 'odd.png'}: 7 x 5 pixels, but {tmp_path / '00.png'} has 6 x 5" in message


def test_same_size_but_on_its_side_is_refused(tmp_path):
    flat(tmp_path)
    picture(tmp_path / "08.png", grey(5, 6))
    assert f"{tmp_path / '08.png'}: 5 x 6 pixels, but {tmp_path / '00.png'} has 6 x 5" in refused(tmp_path)


def test_sixteen_bits_are_refused(tmp_path):
    picture(tmp_path / "deep.png", RNG.integers(0, 60_000, (4, 4)).astype(np.uint16))
    assert "pixels of mode I;16" in refused(tmp_path)


def test_alpha_in_some_only_is_refused(tmp_path):
    flat(tmp_path)
    picture(tmp_path / "see-through.png", RNG.integers(0, 256, (6, 5, 4), np.uint8))
    assert "see-through.png: has an alpha channel, but" in refused(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no picture", "cut", "flipped"])
def test_damaged_picture_is_named(tmp_path, content):
    flat(tmp_path)
    path = picture(tmp_path / "06.png", RNG.integers(0, 256, (60, 50), np.uint8)[:6, :5])
    data = bytearray(path.read_bytes())
    if content == "cut":
        content = data[: len(data) - 30]
    elif content == "flipped":
        data[len(data) // 2] ^= 255
        content = data
    path.write_bytes(bytes(content))
    assert str(path) in refused(tmp_path)


def test_folders_that_cannot_be_meant(tmp_path):
    assert "no image in it" in refused(tmp_path)
    picture(tmp_path / "test" / "0.png", grey())
    assert "a folder test but no folder train" in refused(tmp_path)
    flat(tmp_path / "train")
    (tmp_path / "valid").mkdir()
    assert "valid: no image in it" in refused(tmp_path)
    (tmp_path / "val").mkdir()
    assert "two folders for the validation split" in refused(tmp_path)


def test_images_beside_classes_are_refused(tmp_path):
    flat(tmp_path)
    picture(tmp_path / "cat" / "0.png", grey())
    assert "images both here (00.png) and in sub-folders (cat)" in refused(tmp_path)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["bus", "car", "train"], "folder train beside bus: is train a split or a class?"),
        (["train", "others"], "folder train beside others: is train a split or a class?"),
        (["test", "bus"], "folder test beside bus: is test a split or a class?"),
        (["train/cat", "val/cat", "more/cat"], "folder train beside more: is train a split or a class?"),
        (["train", "test", "."], "folder test beside 00.png: is test a split or a class?"),
    ],
)
def test_what_lies_beside_the_folders_of_splits_is_not_passed_over(tmp_path, folders, words):
    for folder in folders:
        flat(tmp_path / folder, 3)
    assert f"{tmp_path}: {words} " in refused(tmp_path)


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        (["cat/train", "cat/test", "dog/train"], "is cat/test a split? Splits come first, test/cat: move them"),
        (["mnist/training/0", "mnist/testing/0"], "is mnist/testing/0 a split? Splits come first, testing/mnist"),
        (["faces/ann", "faces/bob"], "all is in faces, which would be the one class: give {path}/faces"),
        (["train/faces/ann", "train/faces/bob", "test/ann"], "all is in faces, which would be the one class"),
    ],
)
def test_splits_and_classes_one_level_down_are_not_one_class(tmp_path, folders, words):
    for folder in folders:
        flat(tmp_path / folder, 3)
    assert words.format(path=tmp_path) in refused(tmp_path)


def test_a_class_without_a_training_image_is_refused(tmp_path):
    for folder in ("train/cat/images", "train/dog/images", "val/images"):
        flat(tmp_path / folder, 4)
    said = refused(tmp_path)
    assert f"{tmp_path}/val: class 'images' has no image in train: expected classes to train on" in said
    assert "images whose class is not known lie in val itself" in said
    for file in (tmp_path / "val" / "images").iterdir():
        file.rename(tmp_path / "val" / file.name)
    source = load(str(tmp_path))
    assert source.classes == ("cat", "dog") and (source.validation.labels == -1).all()


def test_files_that_are_no_images_are_counted(tmp_path, caplog):
    flat(tmp_path / "cat")
    for name in ("0.jp2", "1.jp2", "2.npy", ".hidden.txt"):
        (tmp_path / "cat" / name).write_text("no image")
    load(str(tmp_path))
    assert f"{tmp_path}: 3 files are no images that are read here: .jp2 (2), .npy (1)" in caplog.text


def test_folders_without_images_may_lie_beside_those_of_splits(tmp_path):
    for folder in ("train", "test", ".cache", "__MACOSX"):
        flat(tmp_path / folder)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "train.json").write_text("{}")
    assert load(str(tmp_path)).sizes() == {"train": 10, "validation": 2, "test": 12}


def test_images_in_hidden_folders_are_left_out(tmp_path):
    for folder in ("cat", "dog"):
        flat(tmp_path / folder / "more", 4)
        flat(tmp_path / folder / ".ipynb_checkpoints", 4)
        flat(tmp_path / folder / "__MACOSX" / "deeper", 4)
    source = load(str(tmp_path))
    assert source.classes == ("cat", "dog") and sum(source.sizes().values()) == 8


def test_a_hidden_folder_may_be_the_data(tmp_path):
    flat(tmp_path / ".mine" / "cat")
    assert sum(load(str(tmp_path / ".mine")).sizes().values()) == 12


def test_sixteen_bits_of_colour_are_refused_too(tmp_path):
    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    size = struct.pack(">IIBBBBB", 5, 6, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + RNG.bytes(5 * 6) for _ in range(6))
    parts = chunk(b"IHDR", size) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    (tmp_path / "deep.png").write_bytes(b"\x89PNG\r\n\x1a\n" + parts)
    assert "deep.png: pixels of mode RGB of 16 bits: expected 8 bits" in refused(tmp_path)


def test_transparency_is_a_channel_in_whatever_form_it_comes(tmp_path):
    for at in range(6):
        picture(tmp_path / "a" / f"{at}.png", grey(), transparency=int(at))
    assert load(str(tmp_path / "a")).shape == (6, 5, 4)
    picture(tmp_path / "a" / "6.png", grey())
    assert "has an alpha channel, but" in refused(tmp_path / "a")
    arrays = [RNG.integers(0, 256, (6, 5, 2), np.uint8) for _ in range(6)]  # grey and alpha
    for at, array in enumerate(arrays):
        picture(tmp_path / "b" / f"{at}.png", array)
    source = load(str(tmp_path / "b"))
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    assert sorted(row[..., 2:].tobytes() for row in rows) == sorted(array.tobytes() for array in arrays)


def test_pages_of_one_file_are_not_passed_over(tmp_path):
    pages = [Image.fromarray(grey()) for _ in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert "a.tif: 3 frames: expected one image a file" in refused(tmp_path)


def test_classes_named_by_numbers_are_in_their_order(tmp_path):
    names = (*map(str, range(11)), "a", "b")
    for at, name in enumerate(names):
        picture(tmp_path / name / "one.png", np.full((6, 5), at, np.uint8))
    source = load(str(tmp_path), validation=1)
    assert source.classes == names
    for split in (source.train, source.validation, source.test):
        np.testing.assert_array_equal(split.rows.max(axis=(1, 2, 3)), split.labels)


def test_a_link_moved_to_another_split_is_seen(tmp_path):
    array = [grey() for _ in range(9)]
    for at in range(9):
        picture(tmp_path / "all" / f"{at}.png", array[at])
        split = tmp_path / "set" / ("test", "test", "train", "train", "train", "train", "validation", "validation",
                                    "validation")[at]  # fmt: skip
        split.mkdir(parents=True, exist_ok=True)
        (split / f"{at}.png").symlink_to(tmp_path / "all" / f"{at}.png")
    assert load(str(tmp_path / "set")).sizes() == {"train": 4, "validation": 3, "test": 2}
    (tmp_path / "set" / "train" / "2.png").rename(tmp_path / "set" / "test" / "2.png")
    source = load(str(tmp_path / "set"))
    assert source.sizes() == {"train": 3, "validation": 3, "test": 3}
    np.testing.assert_array_equal(source.test.rows[..., 0], array[:3])


def test_training_and_testing_are_splits_and_not_two_classes(tmp_path):
    for split in ("training", "testing"):
        for label in ("0", "1"):
            flat(tmp_path / split / label, 6)
    source = load(str(tmp_path), validation=2)
    assert source.classes == ("0", "1") and source.sizes() == {"train": 10, "validation": 2, "test": 12}


def test_a_class_whose_name_is_no_text_is_refused(tmp_path):
    for label in (b"cat", b"caf\xe9"):
        flat(tmp_path / os.fsdecode(label), 6)
    assert "its name is no text: rename it" in refused(tmp_path)


def test_a_class_may_have_the_joiners_and_spaces_of_its_language(tmp_path):
    names = ("\u0645\u06cc\u200c\u0631\u0648\u062f", "a\u3000b")
    for label in names:
        flat(tmp_path / label, 12)
    assert set(load(str(tmp_path), validation=2).classes) == set(names)


def test_images_of_many_sizes_are_cut_to_the_square_in_their_middle_and_scaled(tmp_path):
    """A picture that is one square of one value, between two bands of others."""
    for at, (height, width) in enumerate([(8, 20), (20, 8), (16, 16), (4, 4)] * 3):
        array = np.full((height, width), 255, np.uint8)
        side = min(height, width)
        top, left = (height - side) // 2, (width - side) // 2
        array[top : top + side, left : left + side] = 20 * at
        picture(tmp_path / f"{at:02}.png", array)
    source = load(str(tmp_path), size=6)
    assert source.shape == (6, 6, 1) and "scaled to 6 x 6" in source.about
    rows = np.concatenate([split.rows for split in (source.train, source.validation, source.test)])
    assert sorted(np.unique(rows).tolist()) == [20 * at for at in range(12)]
    assert all(len(np.unique(row)) == 1 for row in rows)
    assert load(str(tmp_path), size=6).digest == source.digest != load(str(tmp_path), size=5).digest
    assert "expected one size; --size 8 would bring all to it" in refused(tmp_path)


def test_a_size_is_for_folders_of_images(tmp_path):
    assert "size 8: the images of digits have theirs" in userfiles.refused(load, "digits", size=8)
    np.save(tmp_path / "x.npy", np.zeros((9, 4, 4), np.uint8))
    assert "it is for a folder of image files" in refused(tmp_path / "x.npy", size=8)
