"""A folder of images: flat, or a sub-folder a class; all in one, or under train, validation and test."""

import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxae.data import cache
from jaxae.data.checks import to_source
from jaxae.data.labels import check_names, natural
from jaxae.data.source import SPLITS, Source
from jaxae.data.splits import Held, Raw
from jaxae.errors import InputError, first_line

SUFFIXES = (".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm")
MODES = {"1": 1, "L": 1, "P": 3, "RGB": 3, "CMYK": 3, "YCbCr": 3, "LA": 4, "RGBA": 4}
PILLOW = {1: "L", 3: "RGB", 4: "RGBA"}
PIECE = 256  # images
ALIASES = {"val": "validation", "valid": "validation", "training": "train", "testing": "test"}
log = logging.getLogger(__name__)


def load(name: str, path: Path, held_out: Held, size: int | None = None) -> Source:
    """Images of one size, or cut to the square in their middle and scaled to `size`; grey among colour becomes colour.
    Sub-folders of a split are its classes."""
    parts = split_folders(path) or {"train": path}
    found = {split: listed(each) for split, each in parts.items()}
    named = {split: {label for _, label in files if label is not None} for split, files in found.items()}
    classes = tuple(sorted(named["train"], key=natural))
    for split, labels in named.items():
        if strange := sorted(labels - named["train"]):
            raise InputError(
                f"{parts[split]}: class {strange[0]!r} has no image in {parts['train'].name}: expected classes to "
                f"train on; images whose class is not known lie in {parts[split].name} itself"
            )
    check_names(classes, str(path))
    every = [file for files in found.values() for file, _ in files]
    whole, shape, raw = cache.fingerprint(every), None, {}  # of all: one colour image makes every grey one colour
    for split, files in found.items():
        what = f"folder {path.resolve()} {split}" + ("" if size is None else f" to {size} x {size}")
        mark = [whole, [str(file.relative_to(path)) for file, _ in files]]  # links may move between the splits
        held = cache.mapped(cache.entry_of(what, mark))
        if held is None:
            shape = shape or common_shape(every, size)
            held = decoded(what, mark, [file for file, _ in files], shape, size)
        numbers = [-1 if label is None else classes.index(label) for _, label in files]
        raw[split] = Raw(held[0], np.array(numbers, np.int32), str(parts[split]))
    scaled = "" if size is None else f", the square in the middle of each, scaled to {size} x {size}"
    return to_source(name, raw, f"the user's folder of images {path}{scaled}", held_out, classes)


def split_folders(path: Path) -> dict[str, Path]:
    """{split: its folder}; empty where no sub-folder is named after a split."""
    parts: dict[str, Path] = {}
    for each in subfolders(path):
        split = ALIASES.get(each.name.lower(), each.name.lower())
        if split in parts:
            raise InputError(f"{path}: two folders for the {split} split, {parts[split].name} and {each.name}")
        if split in SPLITS:
            parts[split] = each
    if parts:
        refuse_classes_beside(path, list(parts.values()))
    if parts and "train" not in parts:
        raise InputError(f"{path}: a folder {next(iter(parts.values())).name} but no folder train beside it")
    return parts


def refuse_classes_beside(path: Path, splits: list[Path]) -> None:
    """Raises InputError where images lie beside the folders of splits: they would be passed over."""
    folders = [each for each in subfolders(path) if each not in splits and images(each, "**/*")]
    others = folders or images(path, "*")
    if others:
        raise InputError(
            f"{path}: folder {splits[0].name} beside {others[0].name}: is {splits[0].name} a split or a class? "
            f"A class: rename it; a split: move {others[0].name} into it, or away"
        )


def subfolders(path: Path) -> list[Path]:
    return sorted(each for each in path.iterdir() if each.is_dir() and shown(each.relative_to(path)))


def shown(path: Path) -> bool:
    """Whether no part of it is hidden, or what macOS leaves in archives."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def images(folder: Path, pattern: str) -> list[Path]:
    """Those right in the folder ("*"), or at any depth ("**/*")."""
    return [each for each in files_in(folder, pattern) if is_image(each)]


def files_in(folder: Path, pattern: str) -> list[Path]:
    return sorted(each for each in folder.glob(pattern) if shown(each.relative_to(folder)) and each.is_file())


def is_image(file: Path) -> bool:
    return file.suffix.lower() in SUFFIXES


def listed(path: Path) -> list[tuple[Path, str | None]]:
    """(file, its class's name or None), in the order of their names."""
    here = files_in(path, "*")
    below = {folder: files_in(folder, "**/*") for folder in subfolders(path)}
    flat: list[tuple[Path, str | None]] = [(each, None) for each in here if is_image(each)]
    classed: list[tuple[Path, str | None]] = [
        (each, folder.name) for folder, files in below.items() for each in files if is_image(each)
    ]
    refuse_deeper(path, [each for each, _ in classed])
    others = Counter(
        each.suffix or each.name for files in (here, *below.values()) for each in files if not is_image(each)
    )
    if others:
        named = ", ".join(f"{ending} ({count:,})" for ending, count in others.most_common(4))
        log.warning("%s: %s files are no images that are read here: %s", path, f"{others.total():,}", named)
    if flat and classed:
        raise InputError(
            f"{path}: images both here ({flat[0][0].name}) and in sub-folders ({classed[0][1]}): move them"
        )
    if not (flat or classed):
        raise InputError(f"{path}: no image in it: expected {', '.join(SUFFIXES)} files, or MNIST's idx files")
    return flat or classed


def refuse_deeper(path: Path, files: list[Path]) -> None:
    """Raises InputError where the images in sub-folders lie in splits, or in classes, one level further down than they
    are looked for."""
    parts = [file.relative_to(path).parts[:-1] for file in files]
    for top, *rest in parts:
        if splits := [name for name in rest if name.lower() in {*SPLITS, *ALIASES}]:
            raise InputError(
                f"{path}: is {'/'.join([top, *rest])} a split? Splits come first, {splits[0]}/{top}: "
                f"move them, or give {path / top} alone"
            )
    within = {part[1:2] for part in parts}
    if len({part[0] for part in parts}) == 1 and len(within) > 1 and () not in within:
        raise InputError(f"{path}: all is in {parts[0][0]}, which would be the one class: give {path / parts[0][0]}")


def common_shape(files: list[Path], size: int | None) -> tuple[int, int, int]:
    """(height, width, channels) of all of them; the first is decoded, of the others the header is read."""
    channels: dict[int, Path] = {}
    with opened(files[0]) as image:
        height, width = upright(image).size[::-1]
    for file in files:
        with opened(file) as image:
            if size is None and sorted(image.size) != sorted(
                (height, width)
            ):  # on its side or not: `pixels` sees which
                raise other_size(file, image.size[::-1], files[0], (height, width))
            wide = any(";16" in str(tile[3]) for tile in image.tile)  # Pillow would drop the lower byte of colours
            if image.mode not in MODES or wide:
                what = f"mode {image.mode}{' of 16 bits' if wide else ''}"
                raise InputError(f"{file}: pixels of {what}: expected 8 bits, grey, RGB or RGBA")
            if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:  # MPO: a photograph and its preview
                raise InputError(
                    f"{file}: {image.n_frames} frames: expected one image a file: split it, or make a .npy"
                )
            channels.setdefault(4 if "transparency" in image.info else MODES[image.mode], file)
    if 4 in channels and len(channels) > 1:
        other = next(file for count, file in channels.items() if count != 4)
        raise InputError(f"{channels[4]}: has an alpha channel, but {other} has none: expected all or none")
    return (height, width, max(channels)) if size is None else (size, size, max(channels))


def other_size(file: Path, size: tuple[int, ...], first: Path, expected: tuple[int, ...]) -> InputError:
    (a, b), (c, d) = size, expected
    remedy = f"expected one size; --size {min(a, b, c, d)} would bring all to it"
    return InputError(f"{file}: {a} x {b} pixels, but {first} has {c} x {d}: {remedy}")


@contextlib.contextmanager
def opened(file: Path) -> Iterator[Any]:
    """A Pillow image; one line where it is none, or breaks off while it is read."""
    from PIL import Image

    try:
        with Image.open(file) as image:
            yield image
    except InputError:
        raise
    except Exception as error:  # Pillow's plugins raise all sorts on damaged files
        said = first_line(error).replace(f" {str(file)!r}", "")
        raise InputError(f"{file}: not an image that can be read ({said})") from None


def upright(image: Any) -> Any:
    """The image as its EXIF orientation means it to be seen."""
    from PIL import ImageOps

    return ImageOps.exif_transpose(image)


def decoded(
    what: str, mark: object, files: list[Path], shape: tuple[int, int, int], size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """(rows [n, height, width, channels] uint8, no labels [n]), kept in the cache until a file changes."""

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for start in range(0, len(files), PIECE):
            rows = np.stack([pixels(file, shape, files[0], size) for file in files[start : start + PIECE]])
            yield rows, np.full(len(rows), -1, np.int32)

    return cache.kept(what, mark, (len(files), *shape), np.dtype(np.uint8), pieces)


def pixels(file: Path, shape: tuple[int, int, int], first: Path, size: int | None) -> np.ndarray:
    from PIL import Image

    with opened(file) as image:
        turned = upright(image).convert(PILLOW[shape[2]])
    if size is not None:
        side = min(turned.size)
        left, top = ((whole - side) // 2 for whole in turned.size)
        turned = turned.crop((left, top, left + side, top + side)).resize((size, size), Image.Resampling.LANCZOS)
    if turned.size[::-1] != shape[:2]:
        raise other_size(file, turned.size[::-1], first, shape[:2])
    return np.asarray(turned).reshape(shape)
