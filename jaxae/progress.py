"""What a person sees while a run goes on: a Rich bar on a terminal, a line now and then elsewhere."""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress


class Bar:
    """Where the run is."""

    def __init__(self, rich: RichProgress | None, step: int, total: int, epoch: float, batch_size: int):
        self._rich, self._epoch, self._batch_size = rich, epoch, batch_size
        self._step, self._marked = step, (time.perf_counter(), step)
        self._rate = 0.0
        if rich:
            fields: dict[str, Any] = {"epoch": 0.0, "loss": float("nan"), "rate": 0.0}
            self._task = rich.add_task("train", total=total, completed=step, **fields)

    def advance(self, step: int, loss: float) -> None:
        now = time.perf_counter()
        rate = (step - self._step) * self._batch_size / max(now - self._marked[0], 1e-9)
        self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate
        self._step, self._marked = step, (now, step)
        if self._rich:
            shown: dict[str, Any] = {"epoch": step / self._epoch, "loss": float(loss), "rate": self._rate}
            self._rich.update(self._task, completed=step, **shown)

    def speed(self) -> dict[str, float]:
        return {"examples_per_second": round(self._rate, 1)}


class Progress:
    """Says things on standard error; `quiet` says nothing but warnings."""

    def __init__(self, quiet: bool = False):
        self.console, self.quiet = Console(stderr=True, highlight=False), quiet

    def say(self, text: str) -> None:
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def warn(self, text: str) -> None:
        self.console.print(f"warning: {text}", style="yellow", markup=False, soft_wrap=True)

    def validated(self, step: int, row: dict[str, float]) -> None:
        terms = "  ".join(f"{name} {value:.3f}" for name, value in row.items())
        self.say(f"step {step:>7,}  validation  {terms}")

    @contextlib.contextmanager
    def bar(self, step: int, total: int, epoch: float, batch_size: int) -> Iterator[Bar]:
        if self.quiet or not self.console.is_terminal:
            yield Bar(None, step, total, epoch, batch_size)
            return
        columns = (
            MofNCompleteColumn(), BarColumn(), TextColumn("epoch {task.fields[epoch]:.1f}"),
            TextColumn("loss {task.fields[loss]:.2f}"), TextColumn("{task.fields[rate]:,.0f} examples/s"), Remaining(),
        )  # fmt: skip
        with RichProgress(*columns, console=self.console, transient=True) as rich:
            yield Bar(rich, step, total, epoch, batch_size)


class Remaining(TimeRemainingColumn):
    """Time left, in words."""

    def render(self, task: Task):
        text = super().render(task)
        text.append(" left")
        return text
