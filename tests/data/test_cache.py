import os
import time

import numpy as np
import pytest

from jaxae.data import cache

ROWS = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)
LABELS = np.arange(6, dtype=np.int32)


class Counted:
    """Pieces that count how often they are read."""

    def __init__(self, rows=ROWS):
        self.rows, self.times = rows, 0

    def __call__(self):
        self.times += 1
        for start in range(0, len(self.rows), 4):
            yield self.rows[start : start + 4], LABELS[start : start + 4]


def kept(pieces, mark=0):
    return cache.kept("some data", mark, ROWS.shape, ROWS.dtype, pieces)


def test_a_process_that_comes_second_leaves_the_files_that_the_first_has_mapped():
    entry = cache.entry_of("some data", "two processes")
    for _ in range(2):
        cache.write(entry, ROWS.shape, ROWS.dtype, Counted())
        first = (entry / "rows.npy").stat().st_ino
        cache.write(entry, ROWS.shape, ROWS.dtype, Counted())
        assert (entry / "rows.npy").stat().st_ino == first
        assert [each.name for each in entry.parent.iterdir()] == [entry.name]


def test_second_reading_is_the_first_ones_memory_map():
    pieces = Counted()
    for _ in range(2):
        rows, labels = kept(pieces)
        assert isinstance(rows, np.memmap)
        np.testing.assert_array_equal(rows, ROWS)
        np.testing.assert_array_equal(labels, LABELS)
    assert pieces.times == 1


def test_another_mark_is_read_afresh_and_replaces_the_old_entry():
    kept(Counted())
    rows, _ = kept(Counted(ROWS + 1), mark=1)
    np.testing.assert_array_equal(rows, ROWS + 1)
    (place,) = (cache.folder() / "data").iterdir()
    assert len(list(place.iterdir())) == 1


@pytest.mark.parametrize("damage", ["cut", "empty", "labels", "a bit of the rows", "a bit of the labels"])
def test_damaged_entry_is_made_again(damage):
    kept(Counted())
    (rows,) = (cache.folder() / "data").rglob("rows.npy")
    if damage == "cut":
        rows.write_bytes(rows.read_bytes()[:-1])
    elif damage == "empty":
        rows.write_bytes(b"")
    elif damage.startswith("a bit"):
        file = rows if damage.endswith("rows") else rows.with_name("labels.npy")
        file.write_bytes(file.read_bytes()[:-1] + bytes([file.read_bytes()[-1] ^ 1]))
    else:
        rows.with_name("labels.npy").unlink()
    again = Counted()
    np.testing.assert_array_equal(kept(again)[0], ROWS)
    assert again.times == 1
    assert isinstance(kept(again)[0], np.memmap)
    assert again.times == 1


def test_unwritable_cache_costs_only_a_warning(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "file"))
    rows, labels = kept(Counted())
    np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(labels, LABELS)
    assert "some data is not cached in" in caplog.text


def test_full_disk_costs_only_a_warning_and_leaves_nothing(monkeypatch, caplog):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    np.testing.assert_array_equal(kept(Counted())[0], ROWS)
    assert "No space left on device" in caplog.text
    assert not [path for path in cache.folder().rglob("*") if path.is_file()]


def test_failed_reading_leaves_nothing():
    def broken():
        yield ROWS[:4], LABELS[:4]
        raise ValueError("a damaged image")

    with pytest.raises(ValueError, match="a damaged image"):
        kept(broken)
    assert not [path for path in cache.folder().rglob("*") if path.is_file()]


def test_leftovers_of_a_killed_writer_go_after_a_day():
    kept(Counted())
    (place,) = (cache.folder() / "data").iterdir()
    old, new = place / "part-old", place / "part-new"
    for folder in (old, new):
        folder.mkdir()
    os.utime(old, (time.time() - 90_000,) * 2)
    kept(Counted(), mark=1)
    assert not old.exists()
    assert new.exists()


def test_fingerprint_sees_a_change_that_keeps_size_and_time(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"one")
    stat, before = path.stat(), cache.fingerprint([path])
    assert cache.fingerprint([path]) == before
    time.sleep(0.02)
    path.write_bytes(b"two")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.fingerprint([path]) != before
