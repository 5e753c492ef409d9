"""Where jaxae keeps what belongs to no run: decoded data, compiled programs, the user's own methods that it knows."""

import hashlib
import logging
import os
import platform
import sys
from pathlib import Path

from jaxae.errors import InputError

log = logging.getLogger(__name__)


def expanded(path: str | Path) -> Path:
    """The path, with ~ and ~NAME in place."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise InputError(f"{path}: there is no such home folder: expected a path without ~") from None


def cache() -> Path:
    """$JAXAE_CACHE, or the platform's folder for caches."""
    try:
        if given := os.environ.get("JAXAE_CACHE"):
            return Path(given).expanduser()
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Caches" / "jaxae"
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "jaxae"
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "jaxae"
    except RuntimeError:
        raise InputError("this user has no home folder: set JAXAE_CACHE to a folder that can be written") from None


def keep_compiled() -> None:
    """Has JAX keep what XLA compiles for the next process, unless the user's environment says where. Commands call it;
    in a notebook its user does, for it holds for all that the process compiles. Each kind of processor has a folder of
    its own: a home folder may be shared by many. Raises InputError without a home folder."""
    cpu = Path("/proc/cpuinfo")
    lines = cpu.read_text().splitlines() if cpu.exists() else []
    flags = next((line for line in lines if line.startswith("flags")), "")
    kind = hashlib.sha256(f"{platform.machine()}{flags}".encode()).hexdigest()[:8]
    folder = cache() / "xla" / kind
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ and not _can_be_written(folder):
        log.warning("%s: cannot be written: nothing compiled is kept: set JAXAE_CACHE to a folder that can", folder)
        return
    wanted = {"compilation_cache_dir": str(folder), "persistent_cache_min_compile_time_secs": "0"}
    for name, value in wanted.items():
        if f"JAX_{name.upper()}" not in os.environ:
            os.environ[f"JAX_{name.upper()}"] = value
            if jax := sys.modules.get("jax"):  # it has read its variables already
                jax.config.update(f"jax_{name}", type(getattr(jax.config, f"jax_{name}") or value)(value))


def _can_be_written(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return False
    return os.access(folder, os.W_OK)
