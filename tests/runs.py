"""Small runs and sweeps for the tests of training: the config, the command line, what they say and leave behind."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from jaxae import cli, log, loop, run, sweep
from jaxae.config import Config
from jaxae.data import digits
from jaxae.errors import Interrupted
from jaxae.folder import SweepFolder
from jaxae.progress import Progress
from jaxae.sweep import wave

SMALL: dict[str, Any] = {
    "steps": 60, "batch_size": 100, "width": 24, "latent": 3, "log_every": 7, "validate_every": 20,
    "checkpoint_every": 15, "samples": 2,
}  # fmt: skip
GRID = {"beta": (1.0, 4.0)}


def configured(**changes: Any) -> Config:
    return Config(**{**SMALL, **changes})


def digest_of(folder: Path, checkpoint: str = "last") -> str:
    return run.final_digest(run.load(folder, checkpoint))


def rows(folder: Any, name: str = "loss") -> dict[tuple[int, str], Any]:
    """The values of a metric by step: what does not depend on the clock."""
    return {(row["step"], name): row[name] for row in log.read(folder.metrics_file) if name in row}


def plan_of(
    seeds: Iterable[int] = (0, 1, 2), grid: dict[str, Any] = GRID, shared: bool = False, **changes: Any
) -> sweep.Plan:
    return sweep.Plan(configured(**changes), tuple(seeds), grid, shared)


def digests(folder: Path, plan: sweep.Plan) -> dict[str, str]:
    return {m.name: digest_of(SweepFolder(folder).member(m.name).path) for m in plan.members}


class Saying(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.said: list[Any] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    warn = say


def say(capsys: Any, *words: Any) -> tuple[int, str, str]:
    """(exit code, standard output, standard error) of `jaxae WORDS`, in this process."""
    code = cli.status([str(word) for word in words])
    return code, *capsys.readouterr()


def flags(given: dict[str, Any]) -> list[str]:
    return [word for name, value in given.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def start(*args: str) -> subprocess.Popen:
    """`jaxae ARGS` in a process of its own, on the platform of this one."""
    words = [sys.executable, "-m", "jaxae", *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True)


def kill_at(process: subprocess.Popen, folder: Path, step: int, number: int = signal.SIGKILL) -> tuple[str, str]:
    """Sends the signal once metrics.jsonl tells of `step`; the process's output."""
    file = folder / "metrics.jsonl"
    for _ in range(6000):
        rows = file.read_text().splitlines() if file.exists() else []
        if rows and rows[-1].endswith("}") and json.loads(rows[-1])["step"] >= step:
            break
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(number)
    return process.communicate(timeout=60)


def change_a_pixel(monkeypatch: Any) -> None:
    """The digits are other data from now on."""
    same = digits.load

    def changed(validation: int | None = None) -> Any:
        source = same(validation)
        source.train.rows[0, 0, 0, 0] ^= 1
        return source

    monkeypatch.setattr(digits, "load", changed)


def cut_off_at_the_third(plan: sweep.Plan, folder: Path) -> None:
    """The sweep, of one wave, cut off while it is handed out: its third member has no outcome."""
    save, calls = wave.Wave.save, []

    def dying(self, *args):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        save(self, *args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wave, "WRITERS", 1)
        patch.setattr(wave.Wave, "save", dying)
        with pytest.raises(KeyboardInterrupt):
            sweep.sweep(plan, folder)


def cut_off_at_a_save(plan: sweep.Plan, folder: Path, step: int = 0) -> None:
    """The sweep, stopped by a signal at the first save of its wave, or that of `step`."""
    save = loop.Loop.save

    def stopped(self):
        save(self)
        if step in (0, self.step):
            self.asked.append(signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.Loop, "save", stopped)
        with pytest.raises(Interrupted):
            sweep.sweep(plan, folder)


def empty_files(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
