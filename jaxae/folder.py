"""A run's folder: config.json, record.json, metrics.jsonl, tensorboard/, checkpoints/, evaluation.json, report.html; a
sweep's member has an outcome.json, and samplers/ holds what was fitted to the codes."""

import contextlib
import fcntl
import hashlib
import importlib.metadata
import os
import platform
import re
import shlex
from collections.abc import Collection, Iterator
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxae import own
from jaxae.config import Config, from_dict
from jaxae.errors import InputError
from jaxae.files import read_json, write_json

if TYPE_CHECKING:
    from jaxae.data.source import Source

LOCK = ".lock"
LEFTOVER = re.compile(r"\.lock|\.(config|record|sweep)\.json\w{8}")
"""The lock, and what `write_json` writes beside the file to come."""
LIBRARIES = ("jaxae", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


class RunFolder:
    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.config_file = self.path / "config.json"
        self.record_file = self.path / "record.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.evaluation_file = self.path / "evaluation.json"
        self.events = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.outcome_file = self.path / "outcome.json"
        self.report = self.path / "report.html"

    def config(self) -> Config:
        """The config of the run that lives here."""
        if not self.config_file.is_file():
            raise InputError(f"{self.path}: no run here (no config.json): `jaxae train --run {self.path}` makes one")
        return from_dict(read_json(self.config_file), str(self.config_file))

    def check(self, config: Config) -> None:
        """Raises InputError unless this folder may hold a run of `config`: it is new, or its run is this one."""
        if self.config_file.is_file():
            old = self.config()
            changed = [line for line in old.difference(config) if not self._longer(old, line)]
            if changed:
                raise InputError(
                    f"{self.path} holds a run of another config: {'; '.join(changed)}: choose another --run, "
                    "or the same config"
                )
            self.check_code(config)
        elif occupied(self.path):
            raise InputError(f"{self.path} is not empty and holds no run: choose another --run")

    def check_code(self, config: Config) -> None:
        """Raises InputError where the user's own method file is no longer the one that the run began with."""
        if not own.is_own(config.method) or not self.record_file.is_file():
            return
        begun = read_json(self.record_file).get("method_sha256")
        if begun is not None and begun != own.sha256(config.method):
            file = own.split(config.method)[0]
            raise InputError(f"{file} has changed since {self.path} began: choose another --run, or the file as it was")

    @staticmethod
    def _longer(old: Config, line: str) -> bool:
        """A longer run of the same config goes on, unless a schedule is stretched over the whole of it."""
        return line.startswith("steps:") and not old.needs_horizon()

    @contextlib.contextmanager
    def claimed(self, config: Config, record: dict[str, Any]) -> Iterator[None]:
        """Makes a new folder this run's, and keeps other processes out while inside."""
        with locked(self.path):
            if not self.config_file.is_file():
                self.write(config, record)
            yield

    def write(self, config: Config, record: dict[str, Any]) -> None:
        """Tells what the folder's run is: at its start, and again where a resumed one changes a free field. The config
        first: with it alone the folder is the run's already."""
        write_json(self.config_file, config.to_dict())
        write_json(self.record_file, record)


def member_folder(sweep: Path, name: str) -> Path:
    """Where the member of that name of a sweep lies: in its name, or in what file systems take of it."""
    safe = re.sub(r"[^\w.,=+()%-]", "_", name)
    if safe != name or len(safe) > 200:
        safe = f"{safe[:180]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return sweep / "members" / safe


def occupied(path: Path) -> bool:
    """Whether something lies there already: more than a command leaves that was refused or killed at its start."""
    return path.exists() and (not path.is_dir() or any(not LEFTOVER.fullmatch(entry.name) for entry in path.iterdir()))


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Makes the folder, and keeps other processes out of it while inside."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("w")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{path}: another process is training here") from None
        yield


def record(config: Config, folder: Path, source: "Source", own_net: bool = False) -> dict[str, Any]:
    """What it takes to repeat the run and to know where it ran. With modules of the user's own no command does."""
    import jax

    devices = jax.devices()
    code = {"method_sha256": own.sha256(config.method)} if own.is_own(config.method) else {}
    how = {"network": "the user's own modules"} if own_net else {"command": command(config, folder)}
    return {
        **how,
        "versions": {name: _version(name) for name in LIBRARIES} | {"python": platform.python_version()},
        "device": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "threads": _threads(),
        "prng": str(jax.random.key_impl(jax.random.key(0))),
        "data": {"name": source.name, "about": source.about, "sha256": source.digest, "sizes": source.sizes()},
        **code,
    }


def command(config: Config, folder: Path) -> str:
    """The command line that repeats the run."""
    return shlex.join(["jaxae", "train", "--run", str(folder), *flags(config)])


def flags(config: Config, leave: Collection[str] = ()) -> list[str]:
    """Every flag that is not its default, but those to `leave` out."""
    words: list[str] = []
    for spec in fields(Config):
        value = getattr(config, spec.name)
        if spec.name != "hyperparameters" and spec.name not in leave and value != spec.default:
            words += [f"--{spec.name.replace('_', '-')}", *([] if value is True else [str(value)])]
    for name, value in config.hyperparameters.items():
        if name not in leave:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words


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
