"""The user's own data: a .npy, .npz or idx(.gz) file, a folder of MNIST's four idx files or of images."""

import difflib
import logging
import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from jaxae import home
from jaxae.data import folder, idx
from jaxae.data.checks import to_source
from jaxae.data.source import SPLITS, Source
from jaxae.data.splits import Held, Raw
from jaxae.errors import InputError, first_line

ROWS, LABELS = ("x", "images", "arr_0"), ("y", "labels", "arr_1")
log = logging.getLogger(__name__)
EXPECTED = "expected a .npy, .npz, idx or idx.gz file, or a folder of images"


def load(name: str, held_out: Held, size: int | None = None) -> Source:
    """The data at a path; see `splits.complete` for the splits that it lacks."""
    path = home.expanded(name)
    try:
        str(path).encode()
    except UnicodeEncodeError:
        raise InputError(f"{str(path)!a}: its name is not UTF-8: rename it") from None
    try:
        if path.is_dir():
            stems = {"train": idx.TRAIN, "test": idx.TEST}
            found = {split: file for split, stem in stems.items() if (file := idx.images_in(path, stem))}
            if not found:
                return replace(folder.load(name, path, held_out, size), name=path.name)
            raw = {split: read_idx(file) for split, file in found.items()}
        else:
            raw = read_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if size is not None:
        raise InputError(f"size {size}: the images of {path} have theirs: it is for a folder of image files")
    return replace(to_source(name, raw, f"the user's file {path}", held_out), name=path.name)


def read_file(path: Path) -> dict[str, Raw]:
    """The splits in one file, told by how it begins and not by its name."""
    if not path.exists():
        raise missing(path)
    if not path.is_file():
        raise InputError(f"{path}: not a file: {EXPECTED}")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty")
    with open(path, "rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        return {"train": Raw(read_npy(path), None, str(path))}
    if start[:2] == b"PK":
        return read_npz(path)
    if start[:2] in (b"\0\0", b"\x1f\x8b"):
        return {"train": read_idx(path)}
    if path.suffix.lower() in folder.SUFFIXES:
        raise InputError(f"{path}: one image is no data set: give the folder it is in")
    raise InputError(f"{path}: begins with {start!r}, which no format read here does: {EXPECTED}")


def missing(path: Path) -> InputError:
    siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    close = difflib.get_close_matches(path.name, siblings, n=1, cutoff=0.7)
    hint = f": did you mean {path.with_name(close[0])}?" if close else f": {EXPECTED}"
    if not close and re.fullmatch(r"\w+/\w+", str(path)):
        hint = f": a TFDS configuration is written tfds:{path}"
    return InputError(f"{path}: no such file or folder{hint}")


def read_npy(path: Path) -> np.ndarray:
    """A memory map of a .npy file. Pickled objects are never loaded."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy raises what its parsers raise: a damaged header can be any of them
        raise broken(path, error) from None


def broken(path: Path, error: Exception) -> InputError:
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return InputError(f"{path}: holds Python objects, which are never loaded: save the pixels as uint8 or float32")
    return InputError(f"{path}: cannot be read ({first_line(error)}): a damaged or incomplete file?")


def read_npz(path: Path) -> dict[str, Raw]:
    """x, images or arr_0 (with y, labels or arr_1), or the same with _train, _validation and _test."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {}
            for split, (x, y) in arrays_of(path, list(archive.files)).items():
                arrays = archive[x], None if y is None else archive[y]
                if not all(isinstance(array, np.ndarray | None) for array in arrays):
                    raise InputError(f"{path}: {x}.npy or {y}.npy in it is not an array")
                found[split] = Raw(*arrays, f"{path}[{x}]")
            return found
    except InputError:
        raise
    except Exception as error:  # zipfile, zlib and numpy each raise their own
        raise broken(path, error) from None


def arrays_of(path: Path, names: list[str]) -> dict[str, tuple[str, str | None]]:
    """{split: (its images' key, its labels' key or None)} among an archive's keys."""
    found: dict[str, tuple[str, str | None]] = {}
    for end, split in [("", "train"), *((f"_{name}", name) for name in SPLITS)] + [
        (f"_{alias}", name) for alias, name in folder.ALIASES.items()
    ]:
        x = next((key + end for key in ROWS if key + end in names), None)
        if x is None:
            continue
        if split in found:
            raise InputError(f"{path}: two arrays for the {split} split, {found[split][0]} and {x}: expected one")
        found[split] = x, next((key + end for key in LABELS if key + end in names), None)
    read = {key for pair in found.values() for key in pair}
    if found and (left := [name for name in names if name not in read]):
        log.warning("%s: not read: %s", path, _few(left))
    if not found:
        pictures = any(name.lower().endswith(folder.SUFFIXES) for name in names)
        hint = "; of images: unpack it, a folder of them is read" if pictures else ""
        raise InputError(
            f"{path}: holds {_few(names) or 'nothing'}: expected x, images or arr_0, or x_train, x_test and "
            f"x_validation{hint}"
        )
    return found


def _few(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5:,} more" if len(names) > 5 else "")


def read_idx(path: Path) -> Raw:
    beside = idx.labels_beside(path)
    return Raw(idx.read(path), None if beside is None else np.array(idx.read(beside)), str(path))
