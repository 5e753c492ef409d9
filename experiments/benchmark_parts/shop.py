"""Where the programs are run: a temporary folder with the data and the parameters, one process after the other."""

import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark_parts.cases import Program
from experiments.benchmark_parts.works import SIDE, TRAINING

ROOT = Path(__file__).parents[2]
DATA_SEED = 0
COMMANDS = {
    "help": ["-m", "jaxae", "--help"],
    "import": ["-c", "import jaxae"],
    "import-all": ["-c", "from jaxae import run, sweep"],
}
LAST = 2000  # characters of what a program that failed has said
ACCELERATOR = "import jax; d = jax.devices()[0]; print('' if d.platform == 'cpu' else d.device_kind)"


class Failed(Exception):
    """A program ended with an error."""


class Shop:
    def __init__(self, folder: Path, seconds: float):
        self.folder, self.seconds, self.count = folder, seconds, 0
        self.images = folder / "images.npy"

    def prepare(self) -> None:
        """MNIST's 60,000 training images, each pixel drawn once with its grey level as the probability."""
        from jaxae import data

        source = data.load("mnist")
        rows = np.concatenate([source.train.rows, source.validation.rows])
        assert rows.shape[1:] == (SIDE, SIDE, 1)
        drawn = np.random.default_rng(DATA_SEED).random(rows.shape, np.float32) < rows / np.float32(255)
        np.save(self.images, (255 * drawn).astype(np.uint8))

    def rate(self, program: Program, seed: int) -> dict[str, Any]:
        """What the program found, of training with that seed for its noise and order."""
        if program.module == "matmul":
            return {"rate": self.matmul(program.work) / TRAINING[program.work].flops, "curves": {}}
        if program.module == "start":
            return {"s": self.started(program.variant)}
        return self.run(program, seed)

    def run(self, program: Program, seed: int, **environment: str) -> dict[str, Any]:
        if program.work in TRAINING and program.variant != "start" and not self.start_of(program.work).is_file():
            self.run(Program("with_jaxae", program.work, "start"), 0)
        words, out = self.task(program, seed)
        self.process(words, **environment)
        return json.loads(out.read_text())

    def task(self, program: Program, seed: int, turns: int = 1) -> tuple[list[str], Path]:
        """Python's arguments, and where the result will be."""
        self.count += 1
        task, out = (self.folder / f"{self.count}-{name}.json" for name in ("task", "out"))
        values = {
            "work": program.work, "variant": program.variant, "number": program.number, "seconds": self.seconds,
            "seed": seed, "images": str(self.images), "start": str(self.start_of(program.work)), "out": str(out),
            "turns": turns,
        }  # fmt: skip
        task.write_text(json.dumps(values))
        return ["-m", f"experiments.benchmark_peers.{program.module}", str(task)], out

    def in_turns(self, programs: list[Program], rounds: int) -> dict[Program, list[dict[str, Any]]]:
        """What each found in every round. All are started together and stay; one at a time is timed, round by round,
        every second round from the last to the first. What fails is told, and left out."""
        self.run(Program("with_jaxae", programs[0].work, "start"), 0)
        stays = {program: Stays(self, program, rounds) for program in programs}
        try:
            for one in stays.values():  # nobody is timed while others still compile
                if not one.reached(one.ready(0)):
                    one.process.kill()
            for number in range(rounds):
                for program in programs if number % 2 == 0 else reversed(programs):
                    stays[program].turn(number)
            return {program: found for program, one in stays.items() if (found := one.result())}
        finally:
            for one in stays.values():
                one.process.kill()

    def start_of(self, work: str) -> Path:
        return self.folder / f"start-{work}.npz"

    def process(self, words: list[str], **environment: str) -> float:
        """Its wall time in seconds. Its output is kept until the next."""
        said, begun = self.folder / "said.txt", time.perf_counter()
        with said.open("w") as file:
            env = {**os.environ, **environment}
            ended = subprocess.run([sys.executable, *words], cwd=ROOT, env=env, stdout=file, stderr=file)
        elapsed = time.perf_counter() - begun
        if ended.returncode:
            raise Failed(f"{' '.join(words)}: exit code {ended.returncode}\n{said.read_text()[-LAST:]}")
        return elapsed

    def matmul(self, work: str) -> float:
        """The machine's matrix-product rate: the better library's, in operations a second."""
        return max(self.run(Program("matmul", work, library), 0)["rate"] for library in ("jax", "torch"))

    def started(self, variant: str) -> float:
        """Wall time of a whole process; or from its start to the first step made."""
        if variant in COMMANDS:
            return self.process(COMMANDS[variant])
        cache = self.folder / f"cache-{self.count}"
        kept = {"JAX_COMPILATION_CACHE_DIR": str(cache), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        found = [0.0]
        for _ in range(2 if variant == "warm" else 1):
            begun = time.time()
            found.append(self.run(Program("jaxae_whole", "digits", "first"), 0, **kept)["done"] - begun)
        return found[-1]


class Stays:
    """A program that takes turns with others: `protocol.Turns` is its side."""

    patience = 600.0
    """Seconds in which it must be ready, or done with its turn."""

    def __init__(self, shop: Shop, program: Program, rounds: int):
        words, self.out = shop.task(program, 0, rounds)
        self.program, self.rounds, self.said = program, rounds, self.out.with_suffix(".txt")
        env = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # a GPU's memory is for all of them
        with self.said.open("w") as file:
            self.process = subprocess.Popen([sys.executable, *words], cwd=ROOT, env=env, stdout=file, stderr=file)

    def ready(self, number: int) -> Path:
        return Path(f"{self.out}.ready-{number}")

    def turn(self, number: int) -> None:
        if self.reached(self.ready(number)):
            Path(f"{self.out}.go-{number}").touch()
            done = self.out if number == self.rounds - 1 else self.ready(number + 1)
            if not self.reached(done):  # nor may it go on in another's turn
                self.process.kill()

    def reached(self, mark: Path) -> bool:
        until = time.monotonic() + self.patience
        while not mark.is_file() and self.process.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        return mark.is_file()

    def result(self) -> list[dict[str, Any]]:
        if not self.out.is_file() or self.process.wait():
            print(f"{self.program}: {self.said.read_text()[-LAST:]}", file=sys.stderr)
            return []
        found = json.loads(self.out.read_text())
        return [{**found, "rate": rate} for rate in found["rates"]]


@contextlib.contextmanager
def others() -> Iterator[list[float | None]]:
    """The share of the machine's time that went to programs which are not ours: filled in at the end; None where the
    system does not tell."""
    found: list[float | None] = [None]
    before = _times()
    yield found
    if before and (after := _times()):
        total, busy, own = (end - start for end, start in zip(after, before))
        found[0] = max(0.0, busy - own) / total if total else None


def _times() -> tuple[float, float, float] | None:
    """Seconds of all cores: gone by, busy, busy with this process and its children that have ended."""
    stat = Path("/proc/stat")
    if not stat.is_file():
        return None
    ticks = [int(word) for word in stat.read_text().split("\n", 1)[0].split()[1:9]]
    each, idle = os.sysconf("SC_CLK_TCK"), ticks[3] + ticks[4]
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(ticks) / each, (sum(ticks) - idle) / each, sum(use.ru_utime + use.ru_stime for use in used)


def accelerator() -> str:
    """Its name, asked for in a process that does not keep it; "" where there is none."""
    return subprocess.run([sys.executable, "-c", ACCELERATOR], capture_output=True, text=True).stdout.strip()


def processor() -> str:
    """With the system and Python, in words."""
    info = Path("/proc/cpuinfo")
    models = [line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    name = models[0] if models else platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}"
