"""What a person sees while a run goes on: a Rich bar on a terminal, a line now and then elsewhere."""

import contextlib
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

T = TypeVar("T")
PATIENCE = 30  # seconds between two lines where there is no terminal


class Bar:
    """Where the training is. Steps are counted over all members of a sweep."""

    def __init__(self, rich: RichProgress | None, done: int, total: int, epoch: float, batch_size: int):
        self._rich, self._epoch, self._batch_size = rich, epoch, batch_size
        self._done, self._step, self._marked = done, done, time.perf_counter()
        self._rate = 0.0
        if rich:
            fields: dict[str, Any] = {"epoch": 0.0, "loss": float("nan"), "rate": 0.0, "what": ""}
            self._task = rich.add_task("train", total=total, completed=done, **fields)

    def begin(self, what: str, done: int, step: int) -> None:
        """A wave of a sweep begins (or goes on) at `step`, with `done` steps behind it in all."""
        self._done, self._step, self._marked = done, step, time.perf_counter()
        if self._rich:
            shown: dict[str, Any] = {"what": what}
            self._rich.update(self._task, completed=done, **shown)

    def advance(self, step: int, loss: float, runs: int = 1) -> None:
        """`runs` members have come to `step`."""
        now, made = time.perf_counter(), (step - self._step) * runs
        rate = made * self._batch_size / max(now - self._marked, 1e-9)
        self._rate = rate if not self._rate else 0.8 * self._rate + 0.2 * rate
        self._done, self._step, self._marked = self._done + made, step, now
        if self._rich:
            shown: dict[str, Any] = {"epoch": step / self._epoch, "loss": float(loss), "rate": self._rate}
            self._rich.update(self._task, completed=self._done, **shown)

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

    def validated(self, step: int, row: dict[str, float], runs: int) -> None:
        """`row` is the median over `runs` members."""
        terms = "  ".join(f"{name} {value:.3f}" for name, value in row.items())
        of = f", median of {runs:,}" if runs > 1 else ""
        self.say(f"step {step:>7,}  validation{of}  {terms}")

    def track(self, what: str, items: Iterable[T], total: int) -> Generator[T, None, None]:
        """The items, and how many of them are done for whoever waits. To be closed: what it shows then goes."""
        if self.console.is_terminal and not self.quiet:
            with RichProgress(console=self.console, transient=True) as rich:
                self.console.show_cursor(True)  # a signal that ends the process brings none back
                yield from rich.track(items, total, description=what)
            return
        told = time.monotonic()
        for number, item in enumerate(items, 1):
            yield item
            if time.monotonic() - told > PATIENCE:
                told = time.monotonic()
                self.say(f"{what}: {number:,} of {total:,}")

    @contextlib.contextmanager
    def bar(self, setup: Any, done: int, runs: int = 1) -> Iterator[Bar]:
        """A bar for `runs` runs like `setup`, with `done` steps behind them."""
        numbers = (done, runs * setup.total, setup.epoch, setup.config.batch_size)
        if self.quiet or not self.console.is_terminal:
            yield Bar(None, *numbers)
            return
        columns = (
            TextColumn("{task.fields[what]}"), MofNCompleteColumn(), BarColumn(),
            TextColumn("epoch {task.fields[epoch]:.1f}"), TextColumn("loss {task.fields[loss]:.2f}"),
            TextColumn("{task.fields[rate]:,.0f} examples/s"), TimeRemainingColumn(),
            TextColumn("left", style="progress.remaining"),
        )  # fmt: skip
        with RichProgress(*columns, console=self.console, transient=True) as rich:
            yield Bar(rich, *numbers)
