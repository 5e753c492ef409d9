"""The layer on orbax: one folder a step, with the arrays by name and their sealed facts. Never a pickle."""

import contextlib
import functools
import itertools
import logging
import shutil
import sys
import tempfile
from collections.abc import Callable, Container
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from jaxae import files
from jaxae.errors import InputError
from jaxae.facts import Damaged, Facts, reason, seal, unseal

# orbax tells its progress and its stack traces through absl; what matters is raised as one line of ours
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
LATE = ("orbax", "OCDBT")  # when one array cannot be read, asyncio reports the others later, on its own
logging.getLogger("asyncio").addFilter(lambda record: not any(name in record.getMessage() for name in LATE))

REMOVED = "removed"  # where a step goes that is to go: a kill leaves none half there


class Store:
    """Steps on disk. Reading raises Damaged for what is not what was saved; writing raises InputError. Where there are
    several processes, only process 0 has one."""

    def __init__(self, folder: Path, latest: int, best: int, write: bool, aside: Path):
        self.folder, self._write, self._aside = folder, write, aside
        self._values: dict[int, float] = {}
        self.unranked: dict[int, str] = {}
        """Steps whose facts, and so their value, cannot be read; and why."""

        def kept(steps: list[int]) -> set[int]:
            """The newest, the best, and those that cannot be ranked: one may be the best."""
            return {*sorted(steps)[-latest:], *self.ranked(steps)[:best], *self.unranked}

        if write:
            _prepare(folder)
        alone = ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0})
        options = ocp.CheckpointManagerOptions(
            preservation_policy=_Kept(kept),
            lightweight_initialize=True,
            enable_async_checkpointing=False,
            todelete_subdir=REMOVED,
            read_only=not write,
            create=False,
            # orbax would wait for every process in each call, also from the thread that writes
            multiprocessing_options=alone if jax.process_count() > 1 else ocp.options.MultiprocessingOptions(),
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
        """On the host. Names, shapes and dtypes of `like` must be those saved: orbax casts silently."""
        blank = {name: np.empty(leaf.shape, leaf.dtype) for name, leaf in like.items()}
        return self._read(step, state=ocp.args.StandardRestore(blank))

    def save(self, step: int, arrays: dict[str, Any], facts: Facts) -> None:
        """Write a step, or replace it: the old one waits aside until the new one is whole."""
        if not self._write:
            raise InputError(f"checkpoints in {self.folder} are open for reading only")
        if not self.folder.is_dir():
            raise InputError(f"{self.folder} is gone: it was moved or removed while this was training there")
        hook = _quiet_when_late()
        try:
            if step in self.steps():
                (self.folder / str(step)).rename(self.folder / f"replaced-{step}")
                self._reload()
            if facts["value"] is not None:
                self._values[step] = facts["value"]
            state, meta = ocp.args.StandardSave(arrays), ocp.args.JsonSave(seal(facts))
            self._manager.save(step, args=ocp.args.Composite(state=state, meta=meta), force=True)
            _tidy(self.folder)
            sys.unraisablehook = hook
        except Exception as why:  # as in _read: tensorstore says "disk full" by a ValueError
            self._recover()
            raise InputError(f"cannot write a checkpoint in {self.folder}: {reason(why)}") from why

    def close(self) -> None:
        self._manager.close()

    def set_aside(self, step: int) -> str:
        """Move a damaged step to `aside`; what was done, in words."""
        if not self._write:
            return "passed over"
        home = self._aside
        names = (f"step-{step}" + (f"-{k}" if k else "") for k in itertools.count())
        place = next(home / name for name in names if not (home / name).exists())
        try:
            home.mkdir(exist_ok=True)
            (self.folder / str(step)).rename(place)
        except OSError as why:
            return f"passed over, and left there: {reason(why)}"
        self._reload()
        return f"passed over, and moved to {place}"

    def _read(self, step: int, **item: Any) -> Any:
        hook = _quiet_when_late()
        try:
            (value,) = self._manager.restore(step, args=ocp.args.Composite(**item)).values()
            # only here: after a failure the other reads still come in, at any time
            sys.unraisablehook = hook
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
        self.unranked.clear()
        for step in self.steps():
            try:
                value = self.facts(step)["value"]
                self._values |= {} if value is None else {step: value}
            except (Damaged, InputError) as why:
                self.unranked[step] = str(why)

    def _recover(self) -> None:
        with contextlib.suppress(OSError):
            _tidy(self.folder)
        self._reload()


class _Kept:
    """The steps that `which` names. orbax's own policies go by its list, at whose end a step stands that was saved
    again, and by its own metrics file, which once damaged stops its manager from opening."""

    def __init__(self, which: Callable[[list[int]], Container[int]]):
        self._which = which

    def should_preserve(self, checkpoints: Any, *, context: Any) -> list[bool]:
        steps = [info.step for info in checkpoints]
        kept = self._which(steps)
        return [step in kept for step in steps]


def _quiet_when_late() -> Callable[[Any], object]:
    """From now on; the hook to put back where nothing failed."""
    hook = sys.unraisablehook
    if getattr(hook, "func", None) is not _unless_late:
        sys.unraisablehook = functools.partial(_unless_late, hook)
    return hook


def _unless_late(hook: Callable[[Any], object], caught: Any) -> None:
    """tensorstore's other reads, when one has failed, answer to an event loop that orbax has closed."""
    if not (isinstance(caught.exc_value, RuntimeError) and "loop is closed" in str(caught.exc_value)):
        hook(caught)


def _prepare(folder: Path) -> None:
    files.check_place(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        _tidy(folder)
    except OSError as why:
        raise InputError(f"cannot write checkpoints in {folder}: {reason(why)}") from why


def _tidy(folder: Path) -> None:
    """Clear what a kill or a failure left: half-written steps, and those that were to go; a replaced one, or back with
    it if need be."""
    for half in (*folder.glob("*.orbax-checkpoint-tmp*"), folder / REMOVED):
        shutil.rmtree(half, ignore_errors=True)
    for aside in folder.glob("replaced-*"):
        place = folder / aside.name.removeprefix("replaced-")
        if place.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(place)
