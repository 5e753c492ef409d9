"""Which data sets there are, and which are ready here. Light: it imports neither jax nor TFDS."""

import contextlib
import difflib
import json
import logging
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from jaxae import home
from jaxae.errors import InputError
from jaxae.names import BUILT_IN, TFDS

NAME = re.compile(r"(?:tfds:)?(\w+)(?:/([^:/]+))?(?::(\d+\.\d+\.\d+))?")


class Entry(NamedTuple):
    name: str
    about: str
    ready: bool
    """It can be loaded here and now: built in, or prepared in the TFDS data folder."""


def data_dir() -> Path:
    """Where TFDS keeps prepared data: $TFDS_DATA_DIR, or its default in the home folder."""
    return home.expanded(os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


def prepared(name: str, root: Path | None = None) -> Path | None:
    """Where the newest prepared version of `name`, `tfds:name/config` or `name:1.0.0` is, or None."""
    match = NAME.fullmatch(name)
    if match is None:
        raise InputError(f"{name!r} is no name of a TFDS data set: expected NAME, tfds:NAME/CONFIG or NAME:1.0.0")
    base, config, version = match.groups()
    folder = (root or data_dir()) / base
    if config:
        return newest(folder / config, version)
    configs = [] if newest(folder, version) else [path.name for path in subfolders(folder) if newest(path, version)]
    if len(configs) > 1:
        choices = ", ".join(f"tfds:{base}/{each}" for each in configs)
        raise InputError(f"{name!r} is prepared in several configurations: expected one of {choices}")
    return newest(folder / configs[0] if configs else folder, version)


def subfolders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def newest(folder: Path, version: str | None = None) -> Path | None:
    """The highest complete array_record version in a folder of versions, or just the one asked for."""
    found = [
        path
        for path in subfolders(folder)
        if re.fullmatch(r"\d+\.\d+\.\d+", path.name)
        and file_format(path) == "array_record"
        and version in (None, path.name)
    ]
    return max(found, key=lambda path: [int(part) for part in path.name.split(".")], default=None)


def file_format(version: Path) -> str | None:
    """How a version's records are stored; None where the folder holds no finished data set."""
    try:
        return json.loads((version / "dataset_info.json").read_text()).get("fileFormat")
    except (OSError, ValueError):
        return None


def is_ready(name: str) -> bool:
    try:
        return prepared(name) is not None
    except InputError:  # several configurations: each one is ready by its full name
        return True


def catalogue() -> list[Entry]:
    """Every data set known by name, then every other image data set prepared in the TFDS data folder."""
    entries = [Entry(name, about, True) for name, about in BUILT_IN.items()]
    entries += [Entry(name, about, is_ready(name)) for name, about in TFDS.items()]
    for folder in subfolders(data_dir()):
        if folder.name not in TFDS:
            for path in (folder, *subfolders(folder)):
                found = newest(path)
                if found and has_images(found):
                    config = "" if path == folder else f"/{path.name}"
                    entries.append(
                        Entry(f"tfds:{folder.name}{config}", f"prepared by TFDS, version {found.name}", True)
                    )
    return entries


def has_images(version: Path) -> bool:
    """Whether a prepared data set's features name an image: read as text, which needs no TFDS."""
    try:
        return "image_feature.Image" in (version / "features.json").read_text()
    except OSError:
        return False


def near(name: str, known: Iterable[str]) -> set[str]:
    """The names to suggest in place of an unknown one: the catalogue's and the nearest of TFDS's hundreds."""
    every = {entry.name for entry in catalogue()}
    return every | set(difflib.get_close_matches(name, {*every, *known}, n=1))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences TFDS's remarks about optional packages, and keeps standard output for results."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        logger.setLevel(level)
