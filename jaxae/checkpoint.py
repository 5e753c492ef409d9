"""Checkpoints that come back as they were saved, or are refused: one flipped byte is found.

The arrays' digest (`jaxae.digest`) is kept with them and compared on the way back. A damaged checkpoint is
moved aside, never deleted. `save` copies the arrays to the host and returns; the digest and the writing
happen behind, one save at a time.
"""

import contextlib
import json
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxae.digest import digest, leaf_name, named_leaves
from jaxae.errors import InputError
from jaxae.facts import Damaged, gather, kinds, must_match
from jaxae.store import Store
from jaxae.types import PyTree


class Restored(NamedTuple):
    step: int
    state: PyTree
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints in `folder`, one folder a step.

    Kept are the `keep_latest` newest, the `keep_best` with the lowest `value`, and each step that
    `keep_every` divides. `warn` gets one line for each damaged checkpoint passed over. With `write=False`
    nothing on disk is made, moved or deleted. Raises InputError where the folder cannot be made or written.
    A save that failed is an InputError from the next call, whichever it is.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_latest: int = 2,
        keep_best: int = 1,
        keep_every: int | None = None,
        warn: Callable[[str], object] = warnings.warn,
        write: bool = True,
    ):
        self.folder = Path(folder).absolute()
        self._warn = warn
        self._store = Store(self.folder, keep_latest, keep_best, keep_every, write)
        self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: futures.Future[None] | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        self.wait()
        return self._store.steps()

    def latest_step(self) -> int | None:
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step saved with the lowest value (the earliest of equals); None where none has a value."""
        return next(iter(self._store.ranked(self.steps())), None)

    def meta(self, step: int) -> dict[str, Any]:
        """The `meta` saved with `step`, without reading its arrays."""
        with self._the_one(step):
            return self._store.facts(step)["meta"]

    def save(self, step: int, state: PyTree, meta: dict[str, Any], value: float | None = None) -> None:
        """Start saving, and return once `state` may be donated.

        `meta` is anything JSON holds, `value` what `best_step` goes by (an infinity or NaN counts as none).
        What was saved as `step` before is replaced, unless it is the same.
        """
        self.wait()
        arrays = {name: np.array(leaf) for name, leaf in jax.device_get(named_leaves(state)).items()}
        meta = json.loads(json.dumps(meta))
        value = None if value is None else float(value)
        self._pending = self._worker.submit(self._save, int(step), arrays, meta, value)

    def wait(self) -> None:
        """Until what was saved is whole on disk. Raises InputError if it could not be written."""
        if self._pending:
            futures.wait([self._pending])
            done, self._pending = self._pending, None
            done.result()

    def close(self) -> None:
        try:
            self.wait()
        finally:
            self._worker.shutdown()
            self._store.close()

    def restore(self, abstract_state: PyTree, step: int | None = None) -> Restored | None:
        """The checkpoint of `step`, or the newest whole one; None where there is none at all.

        `abstract_state` gives structure, shapes and dtypes, and shardings where its leaves have them. Raises
        InputError for a step that is absent or damaged, a folder where all are damaged, and another model's.
        """
        if step is not None:
            with self._the_one(step):
                return self._load(step, abstract_state)
        found = self.steps()
        for newest in reversed(found):
            try:
                return self._load(newest, abstract_state)
            except Damaged as why:
                place, done = self.folder / str(newest), self._store.set_aside(newest)
                self._warn(f"checkpoint {place} is damaged ({why}): {done}")
        if found:
            raise InputError(f"no whole checkpoint in {self.folder}: all {len(found)} are damaged")
        return None

    def _save(self, step: int, arrays: dict[str, np.ndarray], meta: Any, value: float | None) -> None:
        facts = gather(step, arrays, meta, value)
        if step in self._store.steps():
            with contextlib.suppress(Damaged, InputError):
                if self._store.facts(step) == facts:
                    return
        self._store.save(step, arrays, facts)

    def _load(self, step: int, abstract_state: PyTree) -> Restored:
        facts = self._store.facts(step)
        wanted = named_leaves(abstract_state)
        must_match(self.folder / str(step), kinds(wanted), facts["leaves"])
        arrays = self._store.arrays(step, wanted)
        if digest(arrays) != facts["digest"]:
            raise Damaged("its arrays do not have the digest they were saved with")

        def place(path, leaf):
            return jax.device_put(arrays[leaf_name(path)], getattr(leaf, "sharding", None))

        return Restored(step, jax.tree_util.tree_map_with_path(place, abstract_state), facts["meta"])

    @contextlib.contextmanager
    def _the_one(self, step: int) -> Iterator[None]:
        if step not in (found := self.steps()):
            known = ", ".join(map(str, found)) or "none"
            raise InputError(f"no checkpoint of step {step} in {self.folder}: there are {known}")
        try:
            yield
        except Damaged as why:
            raise InputError(f"checkpoint {self.folder / str(step)} is damaged: {why}") from why
