"""Small runs for the tests of training: the config, the command line, what a run leaves behind."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jaxae import run
from jaxae.config import Config
from jaxae.data import digits

SMALL: dict[str, Any] = {
    "steps": 60, "batch_size": 100, "width": 24, "latent": 3, "log_every": 7, "validate_every": 20,
    "checkpoint_every": 15, "samples": 2,
}  # fmt: skip


def small(**changes: Any) -> Config:
    return Config(**{**SMALL, **changes})


def digest_of(folder: Path, checkpoint: str = "last") -> str:
    return run.final_digest(run.load(folder, checkpoint))


def flags(config: dict[str, Any]) -> list[str]:
    return [word for name, value in config.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def start(*args: str) -> subprocess.Popen:
    """`jaxae ARGS` in a process of its own."""
    words = [sys.executable, "-m", "jaxae", *args]
    pipe = subprocess.PIPE
    return subprocess.Popen(words, stdout=pipe, stderr=pipe, text=True, env={**os.environ, "JAX_PLATFORMS": "cpu"})


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
