"""What every timed program shares: it reads its task, trains until the time is up, and writes what it found.

    python -m experiments.benchmark_peers.NAME TASK.json

The task names the work, the files and the seconds. `Meter` keeps the warm-up (imports, compilation, the first steps)
apart from what is timed, and the loss of every step from the first on.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.benchmark_parts.works import TRAINING, WINDOW, Work

WARM_STEPS, WARM_SHARE = 10, 0.3  # at least so many steps and this share of the timed seconds come before the clock


class Task(NamedTuple):
    work: str
    variant: str
    """Which of its forms a program takes."""
    seconds: float
    seed: int
    """Of the noise and the order of the data."""
    images: str
    """.npy: uint8 [n, 28, 28, 1], each pixel 0 or 255."""
    start: str
    """.npz: the parameters that all peers start from, in jaxae's layout: kernel0, bias0, kernel1, ..."""
    out: str
    """Where the result goes, as JSON."""
    number: int = 0
    """Members of a sweep, or importance samples."""
    turns: int = 1
    """Stretches that are timed: see `Turns`."""

    def training(self) -> Work:
        return TRAINING[self.work]

    def pixels(self) -> np.ndarray:
        """float32 [n, 784] of zeros and ones."""
        rows = np.load(self.images)
        return rows.reshape(len(rows), -1).astype(np.float32) / 255

    def parameters(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(kernel, bias) of every layer, the encoder's and then the decoder's."""
        with np.load(self.start) as file:
            return [(file[f"kernel{n}"], file[f"bias{n}"]) for n in range(len(file.files) // 2)]


class Turns:
    """When a program is timed: once, as soon as it is warm; or several times, each when its turn has come. Files beside
    its result tell: it makes `ready-N` and waits for `go-N`."""

    def __init__(self, out: str = "", count: int = 1):
        self.out, self.count, self.taken = out, count, 0

    def take(self) -> None:
        if self.count > 1:
            Path(f"{self.out}.ready-{self.taken}").touch()
            while not Path(f"{self.out}.go-{self.taken}").is_file():
                time.sleep(0.002)
        self.taken += 1

    @property
    def over(self) -> bool:
        return self.taken == self.count


class Meter:
    """The program's clock. `wait` blocks until what it is given is computed, where the library runs ahead."""

    def __init__(
        self,
        batch: int,
        seconds: float,
        wait: Callable[[Any], Any] = lambda state: None,
        turns: Turns | None = None,
    ):
        self.batch, self.seconds, self._wait, self.turns = batch, seconds, wait, turns or Turns()
        self.curves: dict[str, list[Any]] = {}
        self.steps = 0
        self.rates: list[float] = []
        self._first: float | None = None
        self._begun: tuple[float, int] | None = None

    @classmethod
    def of(cls, task: Task, wait: Callable[[Any], Any] = lambda state: None) -> "Meter":
        return cls(task.training().batch, task.seconds, wait, Turns(task.out, task.turns))

    def add(self, **losses: Any) -> None:
        """The mean loss of the step just made, or an array of several steps' losses, by what it is."""
        for name, loss in losses.items():
            self.curves.setdefault(name, []).append(loss)
        self.count(int(np.prod(np.shape(next(iter(losses.values()))))))

    def count(self, steps: int = 1) -> None:
        """Steps made whose losses the program keeps itself."""
        self.steps += steps

    def more(self, state: Any = None) -> bool:
        """Whether to go on; asked before every step (or compiled call), with what must be ready for the clock."""
        now = time.perf_counter()
        if self._begun is None:
            if self.steps and self._first is None:  # the first step has compiled
                self._wait(state)
                self._first = time.perf_counter()
            elif self._first and self.steps >= WARM_STEPS and now - self._first >= WARM_SHARE * self.seconds:
                self._wait(state)
                self._begin()
            return True
        if now - self._begun[0] < self.seconds:
            return True
        self._wait(state)
        elapsed, steps = time.perf_counter() - self._begun[0], self.steps - self._begun[1]
        self.rates.append(steps * self.batch / elapsed)
        if self.turns.over:
            return False
        self._begin()
        return True

    def _begin(self) -> None:
        self.turns.take()
        self._begun = time.perf_counter(), self.steps

    def result(self) -> dict[str, Any]:
        """Examples a second, of each turn and of the first; the curves of all that was trained."""
        curves = {name: self.windowed(values) for name, values in self.curves.items()}
        return {"rate": self.rates[0], "rates": self.rates, "curves": curves}

    def windowed(self, values: Sequence[Any]) -> list[float]:
        """Means over windows of WINDOW examples; a window that was not finished is left out."""
        each = WINDOW // self.batch
        steps = np.concatenate([np.ravel(np.asarray(value, np.float64)) for value in values])
        whole = len(steps) // each
        return steps[: whole * each].reshape(whole, each).mean(axis=1).tolist()


def main(programs: dict[str, Callable[[Task], dict[str, Any]]]) -> None:
    """Runs the program that the task's variant names, and adds its peak memory, where the system tells it."""
    task = Task(**json.loads(Path(sys.argv[1]).read_text()))
    found = programs[task.variant](task)
    Path(task.out).write_text(json.dumps({**found, **peak()}))


def peak() -> dict[str, float]:
    """The most memory that this process has held, in MB. Not `getrusage`'s: that begins with the parent's."""
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.is_file() else []:
        if line.startswith("VmHWM:"):
            return {"peak_mb": int(line.split()[1]) / 1024}
    return {}
