"""Rows read once and kept as .npy on disk, so that the next run maps them instead of decoding them again."""

import hashlib
import json
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from jaxae.home import cache as folder

Pieces = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
"""() -> (rows, labels) a piece at a time. Called again when the disk fails."""
FORMAT = 2  # raise it when what is kept changes its meaning
LARGE = 2**30  # bytes: what is smaller is simply held in memory
log = logging.getLogger(__name__)


def fingerprint(paths: Iterable[Path]) -> list[tuple[str, int, int, int, int]]:
    """What changes when a file does: path, size, both times, inode. Contents take too long to hash."""
    marks = []
    for path in paths:
        stat = path.stat()
        marks.append((str(path.resolve()), stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
    return marks


def entry_of(what: str, mark: object) -> Path:
    """A folder for the data, and in it one for its state: only the newest state is kept."""
    place = folder() / "data" / hashlib.sha256(what.encode()).hexdigest()[:16]
    return place / hashlib.sha256(json.dumps([FORMAT, mark]).encode()).hexdigest()[:16]


def kept(
    what: str, mark: object, shape: tuple[int, ...], dtype: np.dtype, pieces: Pieces
) -> tuple[np.ndarray, np.ndarray]:
    """(rows, labels) as memory maps of the cache; made from `pieces` unless it has `what` with this mark.

    A cache that cannot be written (no space, no permission) costs a warning, and the rows stay in memory.
    """
    entry = entry_of(what, mark)
    found = mapped(entry, shape, dtype)
    if found is None:
        failure: OSError | None = None
        try:
            write(entry, shape, dtype, pieces)
        except OSError as error:
            failure = error
        found = mapped(entry, shape, dtype)  # another process may have written it meanwhile
        if found is None:
            log.warning("%s is not cached in %s (%s): it is read again in every run", what, folder(), failure)
    return found or in_memory(shape, dtype, pieces)


def mapped(
    entry: Path, shape: tuple[int, ...] | None = None, dtype: np.dtype | None = None
) -> tuple[np.ndarray, np.ndarray] | None:
    """The entry's arrays; None when it is absent, damaged or of another form."""
    try:
        if (entry / "sums").read_text() != sums(entry):
            return None
        rows = np.load(entry / "rows.npy", mmap_mode="r", allow_pickle=False)
        labels = np.load(entry / "labels.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    as_asked = shape in (None, rows.shape) and dtype in (None, rows.dtype)
    return (rows, labels) if as_asked and len(labels) == len(rows) else None


def sums(entry: Path) -> str:
    """Checksums of its files: a disk may flip a bit."""
    found = []
    for name in ("rows.npy", "labels.npy"):
        crc = 0
        with open(entry / name, "rb") as file:
            while piece := file.read(2**20):
                crc = zlib.crc32(piece, crc)
        found.append(crc)
    return json.dumps(found)


def write(entry: Path, shape: tuple[int, ...], dtype: np.dtype, pieces: Pieces) -> None:
    """The whole entry or nothing: written beside, then renamed. Older entries of the same data go."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix="part-", dir=entry.parent))
    try:
        labels = []
        with open(part / "rows.npy", "wb") as file:  # plain writes: a full disk raises here, and kills under a map
            header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_2_0(file, header)
            for rows, label in pieces():
                file.write(np.ascontiguousarray(rows, dtype).tobytes())
                labels.append(label)
            file.flush()
            os.fsync(file.fileno())
        with open(part / "labels.npy", "wb") as file:
            np.save(file, np.concatenate(labels), allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        (part / "sums").write_text(sums(part))
        if mapped(entry, shape, dtype) is not None:  # another process, maybe elsewhere, was first: it maps its files
            return
        for old in entry.parent.iterdir():
            if not old.name.startswith("part-") or time.time() - old.stat().st_mtime > 86_400:
                shutil.rmtree(old, ignore_errors=True)
        os.replace(part, entry)
    finally:
        shutil.rmtree(part, ignore_errors=True)


def in_memory(shape: tuple[int, ...], dtype: np.dtype, pieces: Pieces) -> tuple[np.ndarray, np.ndarray]:
    rows, labels, at = np.empty(shape, dtype), np.full(shape[0], -1, np.int32), 0
    for piece, label in pieces():
        rows[at : at + len(piece)], labels[at : at + len(piece)] = piece, label
        at += len(piece)
    return rows, labels
