"""Copies of the files of the user's own that a run or a sweep was made with, in its folder: such a file goes on to
change, and what it has made is still read by what it was. Nothing here runs one: see `jaxae.own`.
"""

from pathlib import Path
from typing import Any

from jaxae import files, own

FOLDER = "code"


def keep(folder: Path, name: str, sha256: str) -> None:
    """Copies the file of the function `name`, as it was read with that SHA-256, into the folder of a run, where it is
    not there yet."""
    copy = _copy(folder, name, sha256)
    content = own.as_read(sha256)
    if content is not None and not own.is_the_file(copy, sha256):
        copy.parent.mkdir(parents=True, exist_ok=True)
        files.whole(copy, content)


def found(folder: Path, name: str, sha256: Any) -> str:
    """The function `name` of the file with that SHA-256: where it was, near the folder, or in the folder's copy. `name`
    as it is where nothing is known of it, or nowhere such a file."""
    if not isinstance(sha256, str):
        return name
    copy = f"{_copy(folder, name, sha256)}:{name.rpartition(':')[2]}"
    places = (name, own.moved(name, str(folder / FOLDER)), copy)
    return next((place for place in places if own.is_the_file(Path(place.rpartition(":")[0]), sha256)), name)


def _copy(folder: Path, name: str, sha256: str) -> Path:
    """By the file's own name, which is told: two of one name are kept apart."""
    return folder.resolve() / FOLDER / sha256[:12] / own.short(name).rpartition(":")[0]
