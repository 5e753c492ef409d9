"""One process of several, for tests/test_hosts.py: `python -m tests.host_worker FLAGS WHAT [FOLDER]`.

It stands for `jaxae train`: it enters by the supervisor, and steps through a psum over all devices of all processes.
"""

import json
import os
import signal
import sys
import time
from functools import partial

import click

from jaxae.cli import supervise, supervised
from jaxae.cli.hosts import host_options
from jaxae.errors import InputError, Interrupted


@click.command()
@host_options
@click.argument("what")
@click.argument("folder", default="")
def command(hosts, what, folder):
    supervise.enter(hosts, module="tests.host_worker")
    import jax

    jax.config.update("jax_numpy_rank_promotion", "raise")
    WHAT[what](*filter(None, [folder]))


def status(args):
    try:
        command.main(args, standalone_mode=False)
    except InputError as error:
        print(f"jaxae: {error}", file=sys.stderr)
        return 2
    except Interrupted as stop:
        print(f"jaxae: {stop}", file=sys.stderr)
        return 128 + stop.signal
    return 0


def say(**values):
    print(json.dumps(values), flush=True)


def values():
    import jax
    import jax.numpy as jnp
    import numpy as np

    from jaxae import hosts

    mine = jax.process_index()
    bits = np.array([-0.0, 1e-42, 3.5, np.inf], np.float32)
    bits[0:1].view(np.uint32)[:] = 0x7FC0BEEF  # a NaN that sums would not keep
    tree = {"bits": bits, "half": jnp.float32(2.5).astype(jnp.bfloat16), "n": np.int64(2**40), "none": ()}
    other = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(np.shape(leaf), leaf.dtype), tree)
    found = hosts.same(tree if mine == 0 else other)
    long = hosts.first(lambda: {"by": mine, "text": "é" * 1000})
    say(
        process=mine,
        count=hosts.count(),
        leads=hosts.leads(),
        devices=[len(jax.devices()), len(jax.local_devices())],
        first=long["by"],
        length=len(long["text"]),
        nothing=hosts.first(lambda: None),
        agree=hosts.agree(np.array([2**40 + mine, -mine])).tolist(),
        scalar=hosts.agree(np.float64(0.1 + mine)).tolist(),
        same=[found["bits"].tobytes().hex(), float(found["half"]), str(found["half"].dtype), int(found["n"])],
    )
    for error in (InputError("bad --steps"), FileNotFoundError(2, "No such file", "x.npz")):
        try:
            hosts.first(partial(_raise, error))
        except (InputError, OSError) as caught:
            say(process=mine, caught=type(caught).__name__, text=str(caught))
    hosts.must_agree({"seed": 3, "data": {"x": [1.5]}})
    try:
        hosts.must_agree({"learning_rate": 1e-3 * mine, "seed": 3, "data": {"x": [mine]}})
    except InputError as caught:
        say(process=mine, differ=str(caught))
    hosts.barrier("end")
    hosts.first(partial(_raise, InputError("--data x: unknown")))


def _raise(error):
    raise error


def checkpoints(folder):
    """Saves two steps of a state that lies on every device, one leaf in parts; reads them back, placed and not."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from jaxae import hosts
    from jaxae.checkpoint import Checkpoints
    from jaxae.digest import digest

    mesh = Mesh(np.array(jax.devices()), "d")
    shardings = {"w": NamedSharding(mesh, PartitionSpec()), "parts": NamedSharding(mesh, PartitionSpec("d"))}
    state = {"w": np.float32([0.5, -0.0, np.nan]), "parts": np.arange(8, dtype=np.int32)}
    placed = {name: hosts.place(array, shardings[name]) for name, array in state.items()}
    with Checkpoints(folder) as saved:
        assert saved.restore(state) is None
        saved.save(1, placed, {"n": [1]}, value=2.0)
        saved.save(2, placed, {"n": [2]}, value=3.0)
        saved.wait()
        there = sorted(os.listdir(folder))
        steps, best = saved.steps(), saved.best_step()
        like = {name: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding) for name, a in placed.items()}
        found = saved.restore(like, 1)
        assert all(found.state[name].sharding == shardings[name] for name in state)
        again = digest({name: hosts.whole(leaf) for name, leaf in found.state.items()})
        newest = saved.restore(jax.eval_shape(lambda: state))
        refused = ""
        try:
            saved.restore(like, 7)
        except InputError as error:
            refused = str(error)
    say(there=there, steps=steps, best=best, digests=[again, digest(newest.state), digest(state)])
    say(step=newest.step, meta=newest.meta, refused=refused)


def restore(folder):
    import jax
    import numpy as np

    from jaxae.checkpoint import Checkpoints
    from jaxae.digest import digest

    like = {"w": np.zeros(3, np.float32), "parts": np.zeros(8, np.int32)}
    with Checkpoints(folder, write=False) as saved:
        found = saved.restore(jax.eval_shape(lambda: like))
    say(step=found.step, digest=digest(found.state))


def loop():
    """Steps until a signal comes to any process."""
    import jax
    import numpy as np
    from jax.sharding import Mesh, NamedSharding, PartitionSpec

    from jaxae import hosts

    asked = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, frame: asked.append(number))
    mesh = Mesh(np.array(jax.devices()), "d")
    spec = PartitionSpec("d")
    step = jax.jit(jax.shard_map(lambda x: x + jax.lax.psum(x, "d") / 4, mesh=mesh, in_specs=spec, out_specs=spec))
    x = hosts.place(np.ones((4, 1000), np.float32), NamedSharding(mesh, spec))
    for call in range(10**9):
        for _ in range(5):
            x = jax.block_until_ready(step(x) / 2)  # jax 0.10 can hang with several steps in flight
        say(call=call, pid=os.getpid())
        signals = hosts.agree(np.array(asked[-1] if asked else 0)).max()
        if signals:
            raise Interrupted(int(signals), f"stopped at {call}")
        time.sleep(0.01)


def alone():
    """Process 1 refuses, and the others do not know."""
    import jax

    if jax.process_index() == 1:
        raise InputError("process 1 has no data")
    loop()


def bug():
    import jax

    if jax.process_index() == 1:
        raise ZeroDivisionError("a bug")
    loop()


def crash():
    import jax

    if jax.process_index() == 1:
        os.write(2, b"a library's last words\n")
        os.abort()
    loop()


def late():
    """Process 0 has more to do at the end."""
    import jax

    if jax.process_index() == 0:
        time.sleep(2)
    say(done=jax.process_index())


WHAT = {f.__name__: f for f in (values, checkpoints, restore, loop, alone, bug, crash, late)}

if __name__ == "__main__":
    if supervise.STREAMS in os.environ:
        supervised.work(status)
    sys.exit(status(sys.argv[1:]))
