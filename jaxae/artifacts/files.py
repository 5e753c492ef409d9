"""Artifacts as files: arrays to .npz, grids to .png; codes from .npz or .npy. Never a pickle."""

import contextlib
import io
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxae.errors import InputError


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


def write(out: Path, content: bytes) -> None:
    """Whole or not at all: written beside and renamed."""
    try:
        with tempfile.NamedTemporaryFile(dir=out.parent, prefix=f".{out.name}", delete=False) as file:
            beside = Path(file.name)
            try:
                file.write(content)
                file.flush()
                beside.chmod(0o644)
                beside.replace(out)
            finally:
                with contextlib.suppress(FileNotFoundError):
                    beside.unlink()
    except OSError as error:
        raise InputError(f"{out}: cannot be written: {error.strerror}") from None


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    file = io.BytesIO()
    named: dict[str, Any] = dict(arrays)
    np.savez_compressed(file, **named)
    return file.getvalue()


def read_codes(path: Path) -> np.ndarray:
    """The codes in a .npy, or in a .npz: its array z, or the only one there is."""
    try:
        found = np.load(path, allow_pickle=False)
        arrays = {"z": found} if isinstance(found, np.ndarray) else dict(found)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except Exception as error:  # numpy, zipfile and zlib each raise their own
        why = " ".join(str(error).split())
        raise InputError(f"{path}: expected a .npz or .npy of numbers: {why}") from None
    if "z" not in arrays and len(arrays) != 1:
        raise InputError(f"{path} holds {', '.join(arrays) or 'nothing'}: expected an array named z")
    return arrays.get("z", next(iter(arrays.values())))
