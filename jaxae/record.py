"""What a run's folder tells of how and where it was made: record.json."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any

import jax

from jaxae import command
from jaxae.config import Config
from jaxae.data.source import Source
from jaxae.errors import InputError

LIBRARIES = ("jaxae", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def made(
    config: Config, folder: Path, source: Source, code: dict[str, str], modules: dict | None = None
) -> dict[str, Any]:
    """What it takes to repeat the run and to know where it ran; `code`: what `Config.code` was when it was read. With
    modules of the user's own no command does: `modules`, what tells their net from another, is kept instead."""
    devices = jax.devices()
    how: dict[str, Any] = {"command": command.of_run(config, folder)}
    if modules:
        how = {"network": "the user's own modules", "modules": modules}
    return {
        **how,
        "versions": {name: _version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "device": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "threads": _threads(),
        "prng": str(jax.random.key_impl(jax.random.key(0))),
        "data": {"name": source.name, "about": source.about, "sha256": source.digest, "sizes": source.sizes()},
        **code,
    }


def _threads() -> int | None:
    """Of the CPU backend's pool, whose size changes bits: $NPROC, or the cores this process may use."""
    if pinned := os.environ.get("NPROC"):
        if not pinned.isdecimal() or pinned == "0":
            raise InputError(f"NPROC {pinned!r}: expected a whole number of threads, at least 1, or no such variable")
        return int(pinned)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
