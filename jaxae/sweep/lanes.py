"""How the members of a wave share the device: one after the other or side by side, and how many at once.

All of it is decided by rule and by the compiler's account of the memory, nothing by the clock: how many lanes lie side
by side enters the rounding, and the same command must give the same digits again.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import memory, optim
from jaxae.errors import InputError
from jaxae.parallel import Layout
from jaxae.programs import Programs, make_feed
from jaxae.setup import Setup

DEVICE_SHARE = 0.9  # of an accelerator's memory, at most, for a wave
HOST_SHARE = 0.5  # of the free memory, where the device is a CPU: what is logged and saved lies there too
COPIES = 5  # of the states on the host: of all lanes, of those that go on, for the writer, as written, as read back
NARROW, WIDE = 8, 64  # most lanes side by side, unless told otherwise: on a CPU, whose cache is small; elsewhere


def choose(exact: bool) -> str:
    """ "map" or "vmap". On a CPU map: no slower, and each member has the bits of the run alone. Elsewhere vmap: one run
    of a usual model leaves most of an accelerator idle."""
    return "map" if exact or jax.default_backend() == "cpu" else "vmap"


def block(members: int, need: Callable[[int], int], limit: int) -> int:
    """Lanes side by side: all members, or as few equal blocks as the device does well, and on an accelerator fit in
    `limit` bytes; need(n) says what n lanes take. A CPU's free memory is no rule: it changes."""
    most = NARROW if jax.default_backend() == "cpu" else WIDE
    while True:
        lanes = -(-members // -(-members // most))
        if lanes == 1 or jax.default_backend() == "cpu" or need(lanes) <= limit:
            return lanes
        most = lanes // 2


def needed(setup: Setup, layout: Layout, programs: Programs, lanes: int) -> int:
    """Bytes that a device needs for a wave of `lanes` members, by the compiler's own account: to train it, or to score
    what is held out, side by side in batches of their own, beside what training keeps there. A wave of so many is
    trained and scored by what is compiled here."""
    try:
        trains = _account(programs.chunk, *arguments(setup, layout, lanes))
        scores = _account(programs.score, *scored(setup, layout, lanes)) if layout.lanes == "vmap" else None
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return 2**62
        raise
    whole = trains.argument_size_in_bytes + trains.output_size_in_bytes + trains.temp_size_in_bytes
    whole -= trains.alias_size_in_bytes
    if scores is None:
        return int(whole)
    beside = trains.argument_size_in_bytes + scores.output_size_in_bytes + scores.temp_size_in_bytes
    return int(max(whole, beside))


def copies(setup: Setup, lanes: int) -> int:
    """Bytes beside the program's, for each device, where the device is the host: the states of a wave when they are
    saved, which may be twice what the program itself takes."""
    if memory.accelerator():
        return 0
    state = sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(setup.shapes()))
    return COPIES * lanes * state // jax.local_device_count()


def _account(program: Any, *args: Any) -> Any:
    """What the compiler tells of the memory of a jitted program."""
    return program.lower(*args).compile().memory_analysis()


def available() -> int:
    """Bytes that a wave may take on each device."""
    if limit := memory.accelerator():
        return int(DEVICE_SHARE * limit)
    return int(HOST_SHARE * memory.free() / jax.local_device_count())


def wave_size(
    members: int, multiple: int, need: Callable[[int], int], limit: int, remedy: str = "choose a smaller model"
) -> tuple[int, int]:
    """(lanes in a wave, bytes it needs on a device): all members where they fit in `limit` bytes, else the fewest equal
    waves that do, as the needs of the smallest wave and of all members tell by a straight line. Raises InputError, with
    the `remedy`, where not even the smallest does."""
    everyone = _up(members, multiple)
    whole = need(everyone)
    if whole <= limit:
        return everyone, whole
    least = need(multiple)
    if least > limit or everyone == multiple:
        raise InputError(
            f"{multiple} members at once need {least / 1e9:.1f} GB, and {limit / 1e9:.1f} GB may be used: {remedy}"
        )
    each = (min(whole, 2**50) - least) / (everyone - multiple)
    if whole >= 2**62:  # the compiler itself gave up: the slope comes from two small waves
        each = (need(2 * multiple) - least) / multiple
    fit = multiple + int((limit - least) / max(each, 1)) // multiple * multiple
    waves = -(-everyone // fit)
    size = _up(-(-members // waves), multiple)
    return size, int(least + each * (size - multiple))


def _up(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def arguments(setup: Setup, layout: Layout, lanes: int) -> tuple[Any, ...]:
    """Shapes and places of the chunk's arguments, as the loop has them."""
    lanes = _up(lanes, layout.multiple())
    feed = make_feed(setup, layout, lanes)
    key = jax.eval_shape(lambda: jax.random.key(0))
    rest = _many(setup.numbers(), lanes), layout.put_rest(_many(key, lanes)), _many(np.int32(0), lanes)
    state, feed_of = layout.put(_many(setup.shapes(), lanes)), layout.put_feed(_many(feed.at(0, 1), lanes))
    args = state, rest, feed_of, layout.put_shared(feed.data)
    feed.close()
    return args


def scored(setup: Setup, layout: Layout, lanes: int) -> tuple[Any, ...]:
    """Shapes and places of the score's arguments, as the loop has them."""
    lanes, view = _up(lanes, layout.multiple()), setup.view("validation")
    variables = layout.put(_many(jax.eval_shape(optim.evaluated, setup.shapes()), lanes))
    batch = view.take(view.only[: view.chunk])
    return (variables, _many(setup.numbers(), lanes)), (view.keys(batch, "noise"), batch, jnp.asarray(setup.total - 1))


def _many(tree: Any, lanes: int) -> Any:
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype), tree)
