"""Metrics of a run: one JSON object a line, TensorBoard event files, and Weights & Biases where asked for."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from jaxae import files
from jaxae.errors import InputError


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
        return {"count": self.count, "sums": self.sums}


class Log:
    """Appends rows to metrics.jsonl and the event files. Rows behind `step`, from a run that was cut off after its last
    checkpoint, are dropped: the resumed run writes them again."""

    def __init__(self, file: Path, events: Path, step: int, wandb_project: str | None, config: dict[str, Any]):
        keep_until(file, step)
        self._file = file.open("a")
        from tensorboardX import SummaryWriter

        self._board = SummaryWriter(str(events), purge_step=step + 1 if step else None)
        self._wandb = _wandb(wandb_project, file.parent, config) if wandb_project else None

    def write(self, step: int, row: dict[str, Any]) -> None:
        row = _finite(row)
        self._file.write(_line(step, row))
        self._file.flush()
        for name, value in row.items():
            if value is not None:
                self._board.add_scalar(name, value, step)
        if self._wandb:
            self._wandb.log(row, step=step)

    def close(self) -> None:
        self._file.close()
        self._board.close()
        if self._wandb:
            self._wandb.finish()


class Rows:
    """metrics.jsonl alone, opened for each row: a sweep has more members than a process may have open files."""

    def __init__(self, file: Path, step: int):
        keep_until(file, step)
        self._file = file

    def write(self, step: int, row: dict[str, Any]) -> None:
        with self._file.open("a") as file:
            file.write(_line(step, row))


class NoLog:
    """The log of a process that does not lead."""

    def write(self, step: int, row: dict[str, Any]) -> None: ...


def _finite(row: dict[str, Any]) -> dict[str, Any]:
    return {name: (None if isinstance(v, float) and not math.isfinite(v) else v) for name, v in row.items()}


def _line(step: int, row: dict[str, Any]) -> str:
    return json.dumps({"step": step, **_finite(row)}) + "\n"


def to_tensorboard(file: Path, events: Path) -> None:
    """The event files of a finished metrics.jsonl, in place of any that are there."""
    from tensorboardX import SummaryWriter

    shutil.rmtree(events, ignore_errors=True)
    with SummaryWriter(str(events)) as board:
        for row in read(file):
            step = row.pop("step")
            for name, value in row.items():
                if value is not None:
                    board.add_scalar(name, value, step)


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
    return found if isinstance(found, dict) and isinstance(found.get("step"), int) else None


def import_wandb(project: str) -> Any:
    """The optional wandb library."""
    try:
        import wandb
    except ImportError:
        raise InputError(f"wandb {project!r}: not installed: pip install 'jaxae[wandb]'") from None
    return wandb


def _wandb(project: str, folder: Path, config: dict[str, Any]) -> Any:
    name = folder.name
    return import_wandb(project).init(
        project=project, dir=str(folder), config=config, name=name, id=name, resume="allow"
    )
