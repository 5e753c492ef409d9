"""Checkpoints that come back as they were saved, or are refused: one flipped byte is found.

The arrays' digest (`jaxae.digest`) is kept with them and compared on the way back. A damaged checkpoint is
moved aside, never deleted. `save` copies the arrays to the host and returns; the digest and the writing
happen behind, one save at a time.

Where several processes make one run, process 0 alone touches the disk, and every method but `close` is a meeting of
all of them (`jaxae.hosts`): all call it, and all get process 0's answer, or its refusal.
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

from jaxae import hosts
from jaxae.digest import digest, leaf_name, named_leaves
from jaxae.errors import InputError
from jaxae.facts import Damaged, gather, kinds, must_match, shapes
from jaxae.store import Store
from jaxae.types import PyTree


class Restored(NamedTuple):
    """What a checkpoint held."""

    step: int
    state: PyTree
    meta: dict[str, Any]


class Checkpoints:
    """The checkpoints in `folder`, one folder a step.

    Kept are the `keep_latest` newest and the `keep_best` with the lowest `value`. `warn` gets one line for each damaged
    checkpoint passed over, which goes to the folder `aside` (`damaged`, beside `folder`). With `write=False` nothing on
    disk is made, moved or deleted. With `prove` the first save is read back, so that no training is for nothing. Raises
    InputError where the folder cannot be made or written. A save that failed is an InputError from the next call,
    whichever it is.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        keep_latest: int = 2,
        keep_best: int = 1,
        warn: Callable[[str], object] = warnings.warn,
        write: bool = True,
        aside: Path | None = None,
        prove: bool = True,
    ):
        self.folder = Path(folder).absolute()
        self._aside = (aside or self.folder.parent / "damaged").absolute()
        self._warn, self._write = warn, write
        self._store: Store
        hosts.first(lambda: self._open(keep_latest, keep_best, write))
        self._worker = futures.ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._pending: futures.Future[None] | None = None
        self._proven = not prove

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def steps(self) -> list[int]:
        return hosts.first(self._steps)

    def latest_step(self) -> int | None:
        return max(self.steps(), default=None)

    def best_step(self) -> int | None:
        """The step saved with the lowest value (the earliest of equals); None where none has a value. Warns of a step
        whose value cannot be read: it may have been lower."""
        return hosts.first(self._best)

    def leaves(self, step: int) -> dict[str, jax.ShapeDtypeStruct]:
        """Every leaf saved with `step`, by name: `restore` takes it for a state whose structure is not known."""
        return shapes(hosts.first(lambda: self._leaves(step)))

    def save(self, step: int, state: PyTree, meta: dict[str, Any], value: float | None = None) -> None:
        """Start saving, and return once `state` may be donated.

        `meta` is anything JSON holds, `value` what `best_step` goes by (an infinity or NaN counts as none).
        What was saved as `step` before is replaced, unless it is the same.
        """
        self.wait()
        whole = {name: hosts.whole(leaf) for name, leaf in named_leaves(state).items()}
        meta = json.loads(json.dumps(meta))
        value = None if value is None else float(value)
        if hosts.leads():
            arrays = {name: np.array(leaf) for name, leaf in jax.device_get(whole).items()}
            self._pending = self._worker.submit(self._save, int(step), arrays, meta, value)

    def unrank(self, abstract_state: PyTree) -> None:
        """Takes the value from every step that has one: they are no longer to be compared with those to come."""
        wanted = named_leaves(abstract_state)

        def sound() -> list[int]:
            return [step for step in self._store.ranked(self._steps()) if self._sound(step, wanted)]

        for step in hosts.first(sound):
            found = self.restore(abstract_state, step)
            assert found is not None
            self.save(step, found.state, found.meta)
        self.wait()

    def wait(self) -> None:
        """Until what was saved is whole on disk. Raises InputError if it could not be written."""
        hosts.first(self._settle)

    def close(self) -> None:
        """No meeting: it is also called by a process that ends alone."""
        try:
            self._settle()
        finally:
            self._worker.shutdown()
            if hosts.leads():
                self._store.close()

    def restore(self, abstract_state: PyTree, step: int | None = None, *, on_host: bool = False) -> Restored | None:
        """The checkpoint of `step`, or the newest whole one; None where there is none at all.

        `abstract_state` gives structure, shapes and dtypes, and shardings where its leaves have them; `on_host`: as
        numpy's arrays, on no device. Raises InputError for a step that is absent or damaged, a folder where all are
        damaged, and another model's.
        """
        wanted = named_leaves(abstract_state)
        arrays: dict[str, Any] = wanted

        def read() -> list[Any] | None:
            nonlocal arrays
            found = self._find(wanted) if step is None else self._read(step, wanted)
            if found is None:
                return None
            arrays = found.state
            return [found.step, found.meta]

        if (answer := hosts.first(read)) is None:
            return None
        arrays = hosts.same(arrays)

        def place(path: Any, leaf: Any) -> jax.Array | np.ndarray:
            array = arrays[leaf_name(path)]
            return array if on_host else hosts.place(array, getattr(leaf, "sharding", None))

        return Restored(answer[0], jax.tree_util.tree_map_with_path(place, abstract_state), answer[1])

    # from here on: process 0

    def _open(self, latest: int, best: int, write: bool) -> None:
        self._store = Store(self.folder, latest, best, write, self._aside)

    def _settle(self) -> None:
        if self._pending:
            futures.wait([self._pending])
            done, self._pending = self._pending, None
            done.result()

    def _steps(self) -> list[int]:
        self._settle()
        return self._store.steps()

    def _best(self) -> int | None:
        steps = self._steps()
        for step, why in self._store.unranked.items():
            self._warn(f"checkpoint {self.folder / str(step)} is damaged ({why}): not compared with the others")
        return next(iter(self._store.ranked(steps)), None)

    def _leaves(self, step: int) -> dict[str, str]:
        with self._the_one(step):
            return self._store.facts(step)["leaves"]

    def _save(self, step: int, arrays: dict[str, np.ndarray], meta: Any, value: float | None) -> None:
        facts = gather(step, arrays, meta, value)
        if step in self._store.steps():
            with contextlib.suppress(Damaged, InputError):
                if self._store.facts(step) == facts:
                    return
        self._store.save(step, arrays, facts)
        if not self._proven:
            try:
                self._load(step, arrays)
            except Damaged as why:
                place = self.folder / str(step)
                raise InputError(f"checkpoint {place} does not read back as it was written just now: {why}") from why
            self._proven = True

    def _find(self, wanted: dict[str, Any]) -> Restored | None:
        found, damaged = self._steps(), {}
        for newest in reversed(found):
            try:
                restored = self._load(newest, wanted)
            except Damaged as why:
                damaged[newest] = why
                continue
            for step, reason in damaged.items():  # not before: without a whole one this would look like a new run
                self._set_aside(step, reason)
            return restored
        if found:
            raise InputError(
                f"no whole checkpoint in {self.folder}: all {len(found)} are damaged ({damaged[found[-1]]})"
                + (": restore one, or move the folder away to begin anew" if self._write else "")
            )
        return None

    def _sound(self, step: int, wanted: dict[str, Any]) -> bool:
        """Whether the step is whole; it is set aside where it is not."""
        try:
            self._load(step, wanted)
        except Damaged as why:
            self._set_aside(step, why)
            return False
        return True

    def _set_aside(self, step: int, why: Damaged) -> None:
        place, done = self.folder / str(step), self._store.set_aside(step)
        self._warn(f"checkpoint {place} is damaged ({why}): {done}")

    def _read(self, step: int, wanted: dict[str, Any]) -> Restored:
        with self._the_one(step):
            return self._load(step, wanted)

    def _load(self, step: int, wanted: dict[str, Any]) -> Restored:
        """With the arrays by name, on the host."""
        facts = self._store.facts(step)
        must_match(self.folder / str(step), kinds(wanted), facts["leaves"])
        arrays = self._store.arrays(step, wanted)
        if digest(arrays) != facts["digest"]:
            raise Damaged("its arrays do not have the digest they were saved with")
        return Restored(step, arrays, facts["meta"])

    @contextlib.contextmanager
    def _the_one(self, step: int) -> Iterator[None]:
        if step not in (found := self._steps()):
            known = ", ".join(map(str, found)) or "none"
            raise InputError(f"no checkpoint of step {step} in {self.folder}: there are {known}")
        try:
            yield
        except Damaged as why:
            raise InputError(f"checkpoint {self.folder / str(step)} is damaged: {why}") from why
