"""How the members of a wave share the device: one after the other or side by side, and how many at once.

All of it is decided by rule and by the compiler's account of the memory, nothing by the clock: how lanes lie enters the
rounding, and the same command must give the same digits again.
"""

import os
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae.build import Setup
from jaxae.errors import InputError
from jaxae.loop import Chunk, Programs, make_feed, make_programs
from jaxae.parallel import Layout

DEVICE_SHARE = 0.9  # of an accelerator's memory, at most, for a wave
HOST_SHARE = 0.5  # of the free memory, where the device is a CPU: what is logged and saved lies there too
NARROW, WIDE = 8, 64  # most lanes side by side, unless told otherwise: on a CPU, whose cache is small; elsewhere
TRIAL = 20  # steps that `seconds` takes


def choose(exact: bool) -> str:
    """ "map" or "vmap". On a CPU map: no slower, and each member has the bits of the run alone. Elsewhere vmap: one run
    of a usual model leaves most of an accelerator idle."""
    return "map" if exact or jax.default_backend() == "cpu" else "vmap"


def block(members: int, need: Callable[[int], int], limit: int) -> int:
    """Lanes side by side: all members, but for as many as the device does well, and halved until they fit in `limit`
    bytes; need(n) says what n take."""
    lanes = min(members, NARROW if jax.default_backend() == "cpu" else WIDE)
    while lanes > 1 and need(lanes) > limit:
        lanes = -(-lanes // 2)
    return lanes


def seconds(setup: Setup, layout: Layout, lanes: int) -> float:
    """Wall time of a few steps of `lanes` members, the fastest of three."""
    program = make_programs(setup, layout).chunk
    state, *rest = jax.tree.map(_blank, _arguments(setup, layout, lanes))
    times = []
    for _ in range(4):  # the first compiles
        begun = time.perf_counter()
        chunk: Chunk = program(state, *rest)
        state = jax.block_until_ready(chunk.state)
        times.append(time.perf_counter() - begun)
    return min(times[1:])


def memory(setup: Setup, layout: Layout, programs: Programs, lanes: int) -> int:
    """Bytes that a device needs for a wave of `lanes` members, by the compiler's own account. A wave of so many trains
    by what is compiled here."""
    chunk: Any = programs.chunk  # jitted
    try:
        found = chunk.lower(*_arguments(setup, layout, lanes)).compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" in str(error):
            return 2**62
        raise
    parts = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return int(parts - found.alias_size_in_bytes)


def available() -> int:
    """Bytes that a wave may take on each device."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return int(DEVICE_SHARE * stats["bytes_limit"])
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return int(HOST_SHARE * free / jax.local_device_count())


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


def _arguments(setup: Setup, layout: Layout, lanes: int) -> tuple[Any, ...]:
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


def _blank(shape: Any) -> Any:
    """Zeros of that shape, in their place; keys are keys, and counts the trial's."""
    if not isinstance(shape, jax.ShapeDtypeStruct):
        return shape
    if jnp.issubdtype(shape.dtype, jax.dtypes.prng_key):
        made = jnp.stack([jax.random.key(0)] * shape.shape[0])
    elif shape.ndim == 1 and shape.dtype == np.int32:
        made = jnp.full(shape.shape, TRIAL, np.int32)
    else:
        made = jnp.zeros(shape.shape, shape.dtype)
    return made if shape.sharding is None else jax.device_put(made, shape.sharding)
