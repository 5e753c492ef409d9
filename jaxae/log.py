"""Metrics of a run: one JSON object a line, TensorBoard event files, and Weights & Biases where asked for."""

import contextlib
import hashlib
import json
import math
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxae import files
from jaxae.errors import InputError
from jaxae.values import said

OnRow = Callable[[dict[str, Any]], object]
OnMemberRow = Callable[[str, dict[str, Any]], object]
"""(a member's name, its row)"""


def check_on_row(on_row: object, of: str = "a row") -> None:
    """Raises InputError where there is something that cannot be called."""
    if on_row is not None and not callable(on_row):
        raise InputError(f"on_row {said(on_row)}: expected a function of {of}, such as print")


class Meter:
    """Means since the last log line. `pending` goes into a checkpoint, so a resumed run logs the same lines."""

    def __init__(self, pending: dict[str, Any] | None = None):
        self.count = int(pending["count"]) if pending else 0
        self.sums: dict[str, float] = dict(pending["sums"]) if pending else {}

    def add(self, metrics: dict[str, np.ndarray]) -> None:
        """`metrics`: each [steps], one value a step. Summed one by one: the grouping in chunks changes no bit."""
        for name, values in metrics.items():
            total = self.sums.get(name, 0.0)
            for value in values.tolist():
                total += value
            self.sums[name] = total
        self.count += len(values)

    def flush(self) -> dict[str, float]:
        means = {name: total / self.count for name, total in self.sums.items()}
        self.count, self.sums = 0, {}
        return means

    def pending(self) -> dict[str, Any]:
        return {"count": self.count, "sums": dict(self.sums)}


class Log:
    """Appends rows to metrics.jsonl and the event files. Rows behind `step`, from a run that was cut off after its last
    checkpoint, are dropped: the resumed run writes them again. `on_row` is called with each, beside its step."""

    def __init__(
        self,
        file: Path,
        events: Path,
        step: int,
        wandb_project: str | None,
        config: dict[str, Any],
        on_row: OnRow | None = None,
    ):
        keep_until(file, step)
        self._file = file.open("a")
        self._board = _Board(events, step)
        self._wandb = _wandb(wandb_project, file.parent, config) if wandb_project else None
        self._on_row = on_row

    def write(self, step: int, row: dict[str, Any]) -> None:
        row = _finite(row)
        self._file.write(_line(step, row))
        self._file.flush()
        self._board.write(step, row)
        if self._wandb:
            self._wandb.log(row, step=step)
        if self._on_row:
            self._on_row({"step": step, **row})

    def close(self) -> None:
        self._file.close()
        self._board.close()
        if self._wandb:
            self._wandb.finish()


class _Board:
    """TensorBoard's event file, written at once: tensorboardX's SummaryWriter hands rows to a thread, which dies of a
    full disk and leaves all others waiting for it. What is there behind `step` is not shown any more."""

    def __init__(self, events: Path, step: int):
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import Event, SessionLog

        events.mkdir(parents=True, exist_ok=True)
        self._file = EventsWriter(str(events / "events"), f".{step}")  # named by the second else
        started = SessionLog(status=SessionLog.START)
        self._file.write_event(Event(wall_time=time.time(), step=step + 1, session_log=started))

    def write(self, step: int, row: dict[str, Any]) -> None:
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.proto.summary_pb2 import Summary
        from tensorboardX.summary import scalar

        values = [scalar(name, value).value[0] for name, value in row.items() if value is not None]
        with self._failing_once():
            self._file.write_event(Event(wall_time=time.time(), step=step, summary=Summary(value=values)))
            self._file.flush()

    def close(self) -> None:
        if not self._file._py_recordio_writer._writer.closed:
            with self._failing_once():
                self._file.close()

    @contextlib.contextmanager
    def _failing_once(self) -> Iterator[None]:
        """What found no room on a disk is not tried again when Python ends, which prints lines of its own."""
        try:
            yield
        except OSError:
            self._file._py_recordio_writer._writer.raw.close()
            raise


class Rows:
    """metrics.jsonl alone, opened for each row: a sweep has more members than a process may have open files."""

    def __init__(self, file: Path, step: int, on_row: OnRow | None = None):
        keep_until(file, step)
        self._file, self._on_row = file, on_row

    def write(self, step: int, row: dict[str, Any]) -> None:
        row = _finite(row)
        with self._file.open("a") as file:
            file.write(_line(step, row))
        if self._on_row:
            self._on_row({"step": step, **row})


class NoLog:
    """The log of a process that does not lead."""

    def write(self, step: int, row: dict[str, Any]) -> None: ...


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {name: (None if isinstance(v, float) and not math.isfinite(v) else v) for name, v in row.items()}


def _line(step: int, row: dict[str, Any]) -> str:
    return json.dumps({"step": step, **row}) + "\n"


def to_tensorboard(file: Path, events: Path) -> None:
    """The event files of a finished metrics.jsonl, in place of any that are there."""
    shutil.rmtree(events, ignore_errors=True)
    with contextlib.closing(_Board(events, 0)) as board:
        for row in read(file):
            board.write(row.pop("step"), row)


def read(file: Path) -> list[dict[str, Any]]:
    """The rows of a metrics.jsonl. What is no row is passed over: a last line cut short by a kill, a damaged one."""
    return [row for line in _lines(file) if (row := _row(line)) is not None]


def keep_until(file: Path, step: int) -> None:
    """Drops the rows behind `step`, and a last line cut short, whole or not at all; other damage stays as it is."""
    lines = _lines(file)
    rows = [_row(line) for line in lines]
    kept = [line + b"\n" for line, row in zip(lines, rows) if row is None or row["step"] <= step]
    if rows and rows[-1] is None:
        kept.pop()
    if file.exists() and (whole := b"".join(kept)) != file.read_bytes():
        files.whole(file, whole)


def _lines(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines() if file.exists() else []


def _row(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError):
        return None
    is_row = isinstance(found, dict) and isinstance(found.get("step"), int)
    return found if is_row and all(isinstance(value, files.NUMBER) for value in found.values()) else None


def import_wandb(project: str) -> Any:
    """The optional wandb library."""
    try:
        import wandb
    except ImportError:
        raise InputError(f"wandb {project!r}: not installed: pip install wandb") from None
    return wandb


def _wandb(project: str, folder: Path, config: dict[str, Any]) -> Any:
    place = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]  # of two folders of one name
    return import_wandb(project).init(
        project=project, dir=str(folder), config=config, name=folder.name, id=place, resume="allow"
    )
