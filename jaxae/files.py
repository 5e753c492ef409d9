"""Files written whole or not at all: bytes, JSON, arrays as .npz; and the codes that a user brings. Never a pickle."""

import io
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxae.errors import InputError

NUMBER = int | float | None
SCALAR = str | NUMBER
NAMED = {
    dict: "an object", list: "a list", str: "text", int: "a whole number", bool: "true or false",
    NUMBER: "a number or null", SCALAR: "a number, text, true, false or null",
}  # fmt: skip
ANY = ""
"""The name, in the form of an object, of all that it has no form for."""


def check_out(out: Path, suffixes: tuple[str, ...]) -> None:
    """Raises InputError, before any work is done, where `out` could not be written."""
    if out.suffix.lower() not in suffixes:
        raise InputError(f"{out}: expected a name that ends in {' or '.join(suffixes)}")
    if out.is_dir():
        raise InputError(f"{out} is a folder: expected a file to write")
    if not out.parent.is_dir():
        raise InputError(f"{out}: there is no folder {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise InputError(f"{out}: cannot write in {out.parent}")


def check_place(folder: Path) -> None:
    """Raises InputError where orbax could not keep a checkpoint: it takes its own path for a pattern, in which [1] is
    no [1] and * may be somebody else's folder; tensorstore takes \\ for /."""
    path = str(folder.absolute())
    if strange := sorted(set(path) & set("*?[\\")):
        raise InputError(
            f"{path}: no checkpoint can be kept where a path has {' '.join(strange)}: expected another name"
        )


def whole(path: Path, content: bytes) -> None:
    """Written beside, synced, renamed: a reader finds all of it or what was there before. Raises OSError."""
    target = Path(os.path.realpath(path))  # where a link leads to
    try:
        with tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{path.name}", delete=False) as file:
            try:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.chmod(file.name, 0o666 & ~_umask())
                os.replace(file.name, target)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from None  # and not the file beside it


def _umask() -> int:
    os.umask(mask := os.umask(0o077))
    return mask


def write(out: Path, content: bytes) -> None:
    """`whole`, of a file that the user asked for."""
    try:
        whole(out, content)
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from None


def write_json(path: Path, value: Any) -> None:
    whole(path, f"{json.dumps(value, indent=2, allow_nan=False)}\n".encode())


def read_json(path: Path, form: Mapping[str, Any] = {}) -> dict[str, Any]:
    """The object in a file of JSON. Raises InputError where it is none, or where what it has of `form` is of another
    type. A form is a type of `NAMED`; that of an object {name: form}; that of a list [the form of each]."""
    try:
        value = json.loads(path.read_text())
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not JSON: {error}: restore it, or move it away") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: expected a JSON object")
    _check(value, form, f"{path}:")
    return value


def _check(value: Any, form: Any, name: str) -> None:
    kind: Any = type(form) if isinstance(form, dict | list) else form
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InputError(f"{name} {str(value)[:60]!r}: expected {NAMED[kind]}: restore it")
    if isinstance(form, dict):
        for key, inner in value.items():
            if within := form.get(key, form.get(ANY)):
                _check(inner, within, f"{name} {key}")
    elif isinstance(form, list):
        for inner in value:
            _check(inner, form[0], name)


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(file, **named)
    return file.getvalue()


def read_codes(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """The codes in a .npy, or in a .npz: its array z, or the only one there is; and its array label, if there is one
    beside z."""
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {"z": found} if isinstance(found, np.ndarray) else dict(found)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        why = " ".join(str(error).split())
        why = "it is neither, or of Python objects" if "pickle" in why else why
        raise InputError(f"{path}: expected a .npz or .npy of numbers: {why}") from None
    if "z" not in arrays and len(arrays) != 1:
        raise InputError(f"{path} holds {', '.join(arrays) or 'nothing'}: expected an array named z")
    return arrays.get("z", next(iter(arrays.values()))), arrays.get("label") if "z" in arrays else None
