"""How the members of a wave share the device: one after the other or side by side, and how many at once.

All of it is decided by rule and by the compiler's account of the memory, nothing by the clock: how many lanes lie side
by side enters the rounding, and the same command must give the same digits again.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxae import memory
from jaxae.errors import InputError
from jaxae.parallel import Layout
from jaxae.programs import Programs, make_feed
from jaxae.setup import Setup

DEVICE_SHARE = 0.9  # of an accelerator's memory, at most, for a wave
HOST_SHARE = 0.5  # of the free memory, where the device is a CPU: what is logged and saved lies there too
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
    """Bytes that a device needs for a wave of `lanes` members, by the compiler's own account. A wave of so many trains
    by what is compiled here."""
    chunk: Any = programs.chunk  # jitted
    try:
        found = chunk.lower(*arguments(setup, layout, lanes)).compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return 2**62
        raise
    parts = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return int(parts - found.alias_size_in_bytes)


def available() -> int:
    """Bytes that a wave may take on each device."""
    if limit := memory.accelerator():
        return int(DEVICE_SHARE * limit)
    return int(HOST_SHARE * memory.free() / jax.local_device_count())


def wave_size(members: int, multiple: int, need: Callable[[int], int], limit: int) -> tuple[int, int]:
    """(lanes in a wave, bytes it needs on a device): all members where they fit in `limit` bytes, else the fewest equal
    waves that do, as the needs of the smallest wave and of all members tell by a straight line."""
    everyone = _up(members, multiple)
    whole = need(everyone)
    if whole <= limit:
        return everyone, whole
    least = need(multiple)
    if least > limit or everyone == multiple:
        raise InputError(
            f"{multiple} members at once need {least / 1e9:.1f} GB, and {limit / 1e9:.1f} GB may be used: "
            "choose --lanes map, a smaller --block or a smaller model"
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
    state, key = setup.shapes(), jax.eval_shape(lambda: jax.random.key(0))

    def many(tree: Any) -> Any:
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct((lanes, *x.shape), x.dtype), tree)

    rest = many(setup.numbers()), layout.put_rest(many(key)), many(np.int32(0))
    args = layout.put(many(state)), rest, layout.put_feed(many(feed.at(0, 1))), layout.put_shared(feed.data)
    feed.close()
    return args
