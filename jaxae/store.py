"""The layer on orbax: one folder a step, with the arrays by name and their sealed facts. Never a pickle."""

import contextlib
import itertools
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from jaxae.errors import InputError
from jaxae.facts import Damaged, Facts, reason, seal, unseal

# orbax tells its progress and its stack traces through absl; what matters is raised as one line of ours
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)


class Store:
    """Steps on disk. Reading raises Damaged for what is not what was saved; writing raises InputError."""

    def __init__(self, folder: Path, latest: int, best: int, every: int | None, write: bool):
        self.folder, self._write = folder, write
        self._values: dict[int, float] = {}
        keep = [policies.LatestN(latest), _BestN(self.ranked, best)]
        keep += [policies.EveryNSteps(every)] if every else []
        if write:
            _prepare(folder)
        options = ocp.CheckpointManagerOptions(
            preservation_policy=policies.AnyPreservationPolicy(keep),
            cleanup_tmp_directories=write,
            lightweight_initialize=True,
            create=write,
            read_only=not write,
        )
        self._manager = ocp.CheckpointManager(folder, options=options)
        self._reload()

    def steps(self) -> list[int]:
        return sorted(self._manager.all_steps())

    def ranked(self, steps: list[int]) -> list[int]:
        """Those of `steps` that have a value, lowest first, the earliest of equals first."""
        valued = [step for step in steps if step in self._values]
        return sorted(valued, key=lambda step: (self._values[step], step))

    def facts(self, step: int) -> Facts:
        return unseal(self._read(step, meta=ocp.args.JsonRestore()), self.folder / str(step))

    def arrays(self, step: int, like: dict[str, Any]) -> dict[str, np.ndarray]:
        """On the host, whatever the devices that saved them. `like` gives shapes and dtypes: orbax would cast."""
        blank = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in like.items()}
        return self._read(step, state=ocp.args.StandardRestore(blank))

    def save(self, step: int, arrays: dict[str, Any], facts: Facts) -> None:
        """Returns when `arrays` may be donated; the writing goes on behind until `wait`."""
        if step in self.steps():
            self._replace(step, arrays, facts)
        else:
            self._start(step, arrays, facts)

    def wait(self) -> None:
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._manager.close()

    def set_aside(self, step: int) -> str:
        """Move a damaged step to `../damaged`; what was done, in words."""
        if not self._write:
            return "passed over"
        home = self.folder.parent / "damaged"
        names = (f"step-{step}" + (f"-{k}" if k else "") for k in itertools.count())
        place = next(home / name for name in names if not (home / name).exists())
        try:
            home.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(place)
        except OSError as why:
            return f"passed over, and left there: {reason(why)}"
        self._reload()
        return f"passed over, and moved to {place}"

    def _start(self, step: int, arrays: dict[str, Any], facts: Facts) -> None:
        if facts["value"] is not None:
            self._values[step] = facts["value"]
        state, meta = ocp.args.StandardSave(arrays), ocp.args.JsonSave(seal(facts))
        with self._writing():
            self._manager.save(step, args=ocp.args.Composite(state=state, meta=meta), force=True)

    def _replace(self, step: int, arrays: dict[str, Any], facts: Facts) -> None:
        """The old one waits aside until the new one is whole; `_tidy` puts it back after a failure or kill."""
        (self.folder / str(step)).rename(self.folder / f"replaced-{step}")
        self._reload()
        try:
            self._start(step, arrays, facts)
            self.wait()
        finally:
            _tidy(self.folder)
            self._reload()

    def _read(self, step: int, **item: Any) -> Any:
        try:
            (value,) = self._manager.restore(step, args=ocp.args.Composite(**item)).values()
            return value
        except PermissionError as why:
            raise InputError(f"cannot read checkpoint {self.folder / str(step)}: {reason(why)}") from why
        except MemoryError:
            raise
        except Exception as why:  # orbax and tensorstore raise every class there is, a bare Exception too
            raise Damaged(reason(why)) from why

    def _reload(self) -> None:
        self._manager.reload()
        self._values.clear()
        for step in self.steps():
            with contextlib.suppress(Damaged, InputError):
                value = self.facts(step)["value"]
                self._values |= {} if value is None else {step: value}

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError, RuntimeError) as why:
            for rest in self.folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(rest, ignore_errors=True)
            self._reload()
            raise InputError(f"cannot write a checkpoint in {self.folder}: {reason(why)}") from why


class _BestN:
    """Ranks by our sealed facts: one damaged metrics file of orbax's own would stop its manager from opening."""

    def __init__(self, rank: Callable[[list[int]], list[int]], n: int):
        self._rank, self._n = rank, n

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        best = self._rank([info.step for info in checkpoints])[: self._n]
        return [info.step in best for info in checkpoints]


def _prepare(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _tidy(folder)
    except OSError as why:
        raise InputError(f"cannot write checkpoints in {folder}: {reason(why)}") from why


def _tidy(folder: Path) -> None:
    """Finish a replacement that was cut short: the new checkpoint where it is whole, else the old one back."""
    for aside in folder.glob("replaced-*"):
        place = folder / aside.name.removeprefix("replaced-")
        if place.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(place)
