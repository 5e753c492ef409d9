"""Where jaxae keeps what belongs to no run: decoded data, compiled programs, the user's own methods that it knows."""

import os
import sys
from pathlib import Path

from jaxae.errors import InputError


def expanded(path: str | Path) -> Path:
    """The path, with ~ and ~NAME in place."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no such home folder: expected a path without ~") from None


def cache() -> Path:
    """$JAXAE_CACHE, or the platform's folder for caches."""
    try:
        return _cache()
    except RuntimeError:
        raise InputError("this user has no home folder: set JAXAE_CACHE to a folder that can be written") from None


def _cache() -> Path:
    if given := os.environ.get("JAXAE_CACHE"):
        return Path(given).expanduser()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "jaxae"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "jaxae"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxae"
