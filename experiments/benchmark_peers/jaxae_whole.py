"""jaxae beyond the step: many seeds as one program, checkpoints, the first step, the NLL.

`map` and `vmap` are a sweep of `number` members of a model of the digits, `solo` as many runs one after the other in
one process (of which the first few are made, and the rest counted as taking as long). Both train and measure every
member as their verbs do, and the compilations are in the time: a run compiles its programs, a sweep its own, once. What
neither counts is Python's start and the imports, of which runs in processes of their own would have one each.

`stall` is the share of the training time in which training waits for a checkpoint, at the default cadence of a tenth of
a run of 100 epochs: on the digits over the whole run, its end included; on MNIST up to the second checkpoint.

`first` is the digits' default run up to its first step. `nll` is the importance-weighted NLL of 500 images.
"""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from experiments.benchmark_peers import protocol
from experiments.benchmark_peers.jaxae_setup import setup_of, started
from experiments.benchmark_peers.protocol import Task
from experiments.benchmark_peers.with_jaxae import loop_of
from jaxae import run, sweep
from jaxae.build import build
from jaxae.checkpoint import Checkpoints
from jaxae.config import Config
from jaxae.evaluate.bench import Model, Settings
from jaxae.evaluate.likelihood import weighing
from jaxae.loop import Loop

MODELS = {"digits": Config(), "small": Config(width=64, batch_size=32)}
SOLO = 4  # runs that are really made
SAVES = 2  # checkpoints of MNIST that are waited for


def examples(config: Config) -> int:
    """That one run of it trains on."""
    return build(config).total * config.batch_size


def lanes(task: Task) -> dict[str, Any]:
    config = MODELS[task.work]
    whole = task.number * examples(config)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        plan = sweep.Plan(config, tuple(range(task.number)), {})
        sweep.sweep(plan, Path(folder) / "sweep", sweep.How(lanes=task.variant))
        elapsed = time.perf_counter() - begun
    return {"rate": whole / elapsed}


def solo(task: Task) -> dict[str, Any]:
    config, made = MODELS[task.work], min(task.number, SOLO)
    whole = made * examples(config)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(made):
            trained = run.train(Config(**{**config.to_dict(), "seed": seed}), Path(folder) / str(seed))
            run.store(trained, run.evaluate_run(trained, samples=config.samples))
        elapsed = time.perf_counter() - begun
    return {"rate": whole / elapsed}


class Timed(Loop):
    """Knows how long it has trained, apart from the first call, which compiles, and how long it has waited to save."""

    trained = waited = 0.0
    calls = saves = 0

    def advance(self, call: int) -> int:
        begun = time.perf_counter()
        following = super().advance(call)
        self.trained += time.perf_counter() - begun if self.calls else 0.0
        self.calls += 1
        return following

    def save(self) -> None:
        begun = time.perf_counter()
        super().save()
        self.waited += time.perf_counter() - begun
        self.saves += 1

    def wait(self) -> None:
        begun = time.perf_counter()
        self.checkpoints.wait()
        self.waited += time.perf_counter() - begun


def stall(task: Task) -> dict[str, Any]:
    setup = build(MODELS["digits"]) if task.work == "digits" else setup_of(task, steps="100e", checkpoint_every="10%")
    with loop_of(setup, setup.init(), Timed, Checkpoints) as loop:
        call = 1
        while not loop.ended() and (task.work == "digits" or loop.saves < SAVES):
            call = loop.advance(call)
            if loop.due("log"):
                loop.write_logs()
            if loop.due("checkpoint"):
                loop.save()
        if loop.ended():
            loop.wait()
        loop.checkpoints.close()
    return {"share": loop.waited / (loop.waited + loop.trained)}


def first(task: Task) -> dict[str, Any]:
    setup = build(Config(**{**MODELS["digits"].to_dict(), "validate_every": "100e", "checkpoint_every": "100e"}))
    with loop_of(setup, setup.init()) as loop:
        loop.advance(1)
        return {"done": time.time()}


def nll(task: Task) -> dict[str, Any]:
    """As `jaxae evaluate` has it, for each image: `jaxae.evaluate.likelihood`."""
    setup = setup_of(task)
    on = run.bench(setup, "test", Settings(task.number))
    view = on.view("test")
    held, model = weighing(on, view.chunk), Model(setup.numbers(), started(task, setup).variables, 0)
    found = held([model], view)[0]  # warm
    begun, passes = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begun) < task.seconds:
        held([model], view)
        passes += 1
    return {"rate": passes * len(view) * task.number / elapsed, "nll": (-np.asarray(found["log_p"])).tolist()}


if __name__ == "__main__":
    protocol.main({"map": lanes, "vmap": lanes, "solo": solo, "stall": stall, "first": first, "nll": nll})
