"""A folder of images: flat, or a sub-folder a class; all in one, or under train, validation and test."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from jaxae.data import cache
from jaxae.data.checks import Raw, to_source
from jaxae.data.source import SPLITS, Source
from jaxae.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MODES = {"1": 1, "L": 1, "P": 3, "RGB": 3, "CMYK": 3, "YCbCr": 3, "RGBA": 4}
PILLOW = {1: "L", 3: "RGB", 4: "RGBA"}
PIECE = 256  # images
ALIASES = {"val": "validation", "valid": "validation"}


def load(name: str, path: Path, validation: int | None = None) -> Source:
    """Images of one size; grey among colour becomes colour. Sub-folders of a split are its classes."""
    parts = split_folders(path) or {"train": path}
    found = {split: listed(each) for split, each in parts.items()}
    classes = tuple(sorted({label for files in found.values() for _, label in files if label is not None}))
    every = [file for files in found.values() for file, _ in files]
    shape = common_shape(every)
    raw = {}
    for split, files in found.items():
        numbers = np.array([-1 if label is None else classes.index(label) for _, label in files], np.int32)
        rows, labels = decoded(str(parts[split].resolve()), [file for file, _ in files], numbers, shape)
        raw[split] = Raw(rows, labels, str(parts[split]))
    return to_source(name, raw, f"the user's folder of images {path}", validation, classes)


def split_folders(path: Path) -> dict[str, Path]:
    """{split: its folder}; empty where no sub-folder is named after a split."""
    parts: dict[str, Path] = {}
    for each in subfolders(path):
        split = ALIASES.get(each.name.lower(), each.name.lower())
        if split in parts:
            raise InputError(
                f"{path}: two folders for the {split} split, {parts[split].name} and {each.name}"
            )
        if split in SPLITS:
            parts[split] = each
    if parts and "train" not in parts:
        raise InputError(f"{path}: a folder {next(iter(parts.values())).name} but no folder train beside it")
    return parts


def subfolders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))


def listed(path: Path) -> list[tuple[Path, str | None]]:
    """(file, its class's name or None), in the order of their names."""

    def images(files: Iterator[Path]) -> list[Path]:
        return sorted(
            each
            for each in files
            if each.suffix.lower() in SUFFIXES and not each.name.startswith(".") and each.is_file()
        )

    flat: list[tuple[Path, str | None]] = [(each, None) for each in images(path.iterdir())]
    classed = [(each, folder.name) for folder in subfolders(path) for each in images(folder.rglob("*"))]
    if flat and classed:
        raise InputError(
            f"{path}: images both here ({flat[0][0].name}) and in sub-folders ({classed[0][1]}): move them"
        )
    if not (flat or classed):
        raise InputError(
            f"{path}: no image in it: expected {', '.join(SUFFIXES)} files, or MNIST's idx files"
        )
    return flat or classed


def common_shape(files: list[Path]) -> tuple[int, int, int]:
    """(height, width, channels) of all of them, read from their headers only."""
    shapes: dict[tuple[int, int], Path] = {}
    channels: dict[int, Path] = {}
    for file in files:
        with opened(file) as image:
            width, height = image.size
            if image.getexif().get(0x0112, 1) >= 5:  # EXIF: stored lying on its side
                width, height = height, width
            if image.mode not in MODES:
                raise InputError(f"{file}: pixels of mode {image.mode}: expected 8 bits, grey, RGB or RGBA")
            shapes.setdefault((height, width), file)
            channels.setdefault(MODES[image.mode], file)
        if len(shapes) > 1:
            (one, a), (two, b) = shapes.items()
            raise InputError(
                f"{b}: {two[0]} x {two[1]} pixels, but {a} has {one[0]} x {one[1]}: "
                "expected one size: resize them first"
            )
    if 4 in channels and len(channels) > 1:
        other = next(file for count, file in channels.items() if count != 4)
        raise InputError(
            f"{channels[4]}: has an alpha channel, but {other} has none: expected all or none to have one"
        )
    return (*next(iter(shapes)), max(channels))


def opened(file: Path):
    """A Pillow image; one line where it is none."""
    from PIL import Image

    try:
        return Image.open(file)
    except Exception as error:  # Pillow's plugins raise all sorts on damaged files
        raise InputError(f"{file}: not an image that can be read ({reason(error, file)})") from None


def reason(error: Exception, file: Path) -> str:
    return str(error).replace(f" {str(file)!r}", "").split("\n")[0] or type(error).__name__


def decoded(
    what: str, files: list[Path], labels: np.ndarray, shape: tuple[int, int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """(rows [n, height, width, channels] uint8, labels [n]), kept in the cache until a file changes."""

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(files), PIECE):
            rows = np.stack([pixels(file, shape[2]) for file in files[start : start + PIECE]])
            yield rows, labels[start : start + PIECE]

    mark = [cache.fingerprint(files), labels.tolist(), shape]
    return cache.kept(f"folder {what}", mark, (len(files), *shape), np.dtype(np.uint8), pieces)


def pixels(file: Path, channels: int) -> np.ndarray:
    from PIL import ImageOps

    with opened(file) as image:
        try:
            upright = ImageOps.exif_transpose(image).convert(PILLOW[channels])
        except Exception as error:
            raise InputError(f"{file}: a damaged or incomplete image ({reason(error, file)})") from None
    return np.asarray(upright).reshape(upright.height, upright.width, channels)
