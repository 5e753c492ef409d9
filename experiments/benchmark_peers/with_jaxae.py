"""jaxae itself, and what it is measured against inside: the same step without its loop.

Variant `loop` is what `jaxae train` runs between two checkpoints: `jaxae.loop.Loop` with its adaptive compiled calls,
its feed, its meter, and a log line every epoch (what the default `--log-every` is in the default run of 100 epochs) to
metrics.jsonl and TensorBoard. Validation and checkpoints are off, for the peers have none. `stream` is the same with
the rows streamed from the host. `lanes` is that loop with `number` members side by side, each with its own noise,
order and log, from the same parameters; every member's examples count, the curve is the first one's. `lax-conv` is the
loop with `lax.conv` in place of jaxae's matrix-product convolutions.

`scan` is the bare compiled scan of the same step, its metrics kept, data on the device, indices made beforehand.
`alone` is that with one batch for all steps: the step and nothing else.

`start` writes the parameters that all peers start from: jaxae's initial ones, for seed 0.
"""

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmark_parts.works import WINDOW
from experiments.benchmark_peers import protocol
from experiments.benchmark_peers.jaxae_setup import setup_of, start, started
from experiments.benchmark_peers.protocol import Meter, Task
from jaxae import compiler, log, random, run
from jaxae.data.order import batch_indices
from jaxae.lane import Lane, Watch, stacked
from jaxae.loop import Loop
from jaxae.networks import conv2d
from jaxae.parallel import Layout, make_mesh
from jaxae.programs import make_feed, make_programs
from jaxae.progress import Progress
from jaxae.setup import Setup
from jaxae.train import make_train_step
from jaxae.types import TrainState


class Heard(log.Meter):
    """The run's own meter, which tells the benchmark's as well."""

    def __init__(self, meter: Meter):
        super().__init__()
        self.heard = meter

    def add(self, metrics: dict[str, np.ndarray]) -> None:
        super().add(metrics)
        self.heard.add(loss=metrics["loss"], minus_elbo=-metrics["elbo"])


@contextlib.contextmanager
def loop_of(
    setup: Setup, state: TrainState, kind: type[Loop] = Loop, checkpoints: Callable[[Path], Any] = lambda folder: None
) -> Iterator[Any]:
    """A loop as `run.train` makes it, logging into a folder that goes with it."""
    progress = Progress(quiet=True)
    with tempfile.TemporaryDirectory() as name, progress.bar(setup, 0) as bar:
        folder = Path(name)
        with contextlib.closing(log.Log(folder / "metrics.jsonl", folder / "events", 0, None, {})) as written:
            lanes = [Lane(setup, Watch(), written)]
            kept = checkpoints(folder / "checkpoints")
            layout = run.layout_of(setup.config)
            loop = kind(lanes, layout, make_programs(setup, layout), state, 0, kept, progress, bar, [])
            with contextlib.closing(loop):
                yield loop


def loop(task: Task, **changes: Any) -> dict[str, Any]:
    setup = setup_of(task, **changes)
    with loop_of(setup, started(task, setup)) as running:
        return run_loop(task, running)


def run_loop(task: Task, running: Loop) -> dict[str, Any]:
    meter, call = Meter.of(task, jax.block_until_ready), 1
    running.lanes[0].meter = Heard(meter)
    while meter.more(running.state):
        call = running.advance(call)
        if running.due("log"):
            running.write_logs()
    return meter.result()


def lanes(task: Task) -> dict[str, Any]:
    setup, count = setup_of(task, stream="no"), task.number
    setups = [setup.like(replace(setup.config, seed=task.seed + n)) for n in range(count)]
    layout, progress = Layout(make_mesh(), lanes="vmap", block=count), Progress(quiet=True)
    with tempfile.TemporaryDirectory() as name, progress.bar(setup, 0) as bar:
        rows = [log.Rows(Path(name) / f"{n}.jsonl", 0) for n in range(count)]
        members = [Lane(one, Watch(), written) for one, written in zip(setups, rows)]
        state = stacked(jax.device_get([started(task, setup)] * count))
        loop = Loop(members, layout, make_programs(setup, layout), state, 0, None, progress, bar, [])
        with contextlib.closing(loop):
            found = run_loop(task, loop)
    return {**found, "rate": count * found["rate"], "rates": [count * rate for rate in found["rates"]]}


def with_lax_conv(task: Task) -> dict[str, Any]:
    for kind, lax_one in ((conv2d.Conv, conv2d.conv_lax), (conv2d.ConvTranspose, conv2d.conv_transpose_lax)):
        kind.implementations = (lax_one, lax_one)
    return loop(task)


def scan(task: Task, fixed: bool = False) -> dict[str, Any]:
    """`fixed`: one batch for all steps."""
    setup = setup_of(task)
    feed = make_feed(setup, run.layout_of(setup.config))
    method, tx = setup.make({})
    step, key, size = make_train_step(method, tx), setup.key, len(setup.source.train)
    rows = jnp.asarray(batch_indices(task.seed, 0, 2 * WINDOW // task.training().batch, task.training().batch, size))
    same = feed.fetch(key, jnp.zeros((), jnp.int32), feed.data, rows[0]) if fixed else None

    @partial(jax.jit, donate_argnums=0, compiler_options=compiler.in_place())  # as the loop: only the loop is to differ
    def chunk(state, data, rows):
        def one(state, row):
            batch = same if fixed else feed.fetch(key, state.step, data, row)
            return step(random.stream(key, "noise"), state, batch)

        return jax.lax.scan(one, state, rows)

    state, meter = started(task, setup), Meter.of(task, jax.block_until_ready)
    while meter.more(state):
        state, metrics = chunk(state, feed.data, rows)
        meter.add(loss=metrics["loss"])
    return meter.result()


if __name__ == "__main__":
    resident = partial(loop, stream="no")
    protocol.main({
        "start": start, "loop": resident, "stream": partial(loop, stream="yes"), "lax-conv": with_lax_conv,
        "lanes": lanes, "scan": scan, "alone": partial(scan, fixed=True),
    })  # fmt: skip
