"""Several processes that act as one: what one of them decides or reads is had by all. In one process nothing happens.

Each function but `place` is a meeting: every process calls it, in the same order, and waits there for the others.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Sharding

from jaxae.errors import InputError
from jaxae.types import PyTree

CHUNK = 2**26  # bytes that `same` sends at once: they lie on every device for a moment


def count() -> int:
    """The number of processes."""
    return jax.process_count()


def leads() -> bool:
    """Whether this is process 0: the one that reads and writes the run's folder."""
    return jax.process_index() == 0


def barrier(name: str) -> None:
    """Until every process is here."""
    if count() > 1:
        multihost_utils.sync_global_devices(name)


def agree(values: np.ndarray) -> np.ndarray:
    """Every process's `values` [...], stacked: [processes, ...]. Shape and dtype are the same in all."""
    values = np.asarray(values)
    if count() == 1:
        return values[None]
    raw = np.frombuffer(values.tobytes(), np.uint8)  # as bytes: JAX would make 64 bits 32
    return multihost_utils.process_allgather(raw).copy().view(values.dtype).reshape(count(), *values.shape)


def first(fn: Callable[[], Any]) -> Any:
    """What `fn` returns on process 0, the only one that calls it: anything JSON holds.

    Where it raises InputError or OSError, every process refuses in the same words.
    """
    if count() == 1:
        return fn()
    answer, caught = {}, None
    if leads():
        try:
            answer = {"value": fn()}
        except (InputError, OSError) as error:
            answer, caught = {"refused": _in_words(error)}, error
    answer = json.loads(_first_bytes(json.dumps(answer).encode()))
    if caught is not None:
        raise caught
    if "refused" in answer:
        raise InputError(answer["refused"])
    return answer["value"]


def must_agree(facts: Mapping[str, Any]) -> None:
    """Raises InputError, in all, where the processes were given different facts: anything JSON holds, by the same names
    in each."""
    hashed = [hashlib.sha256(json.dumps(fact, sort_keys=True).encode()).digest() for fact in facts.values()]
    every = agree(np.stack([np.frombuffer(each, np.uint8) for each in hashed]))
    if differing := [name for name, each in zip(facts, every.swapaxes(0, 1)) if (each != each[0]).any()]:
        raise InputError(
            f"the processes differ in {', '.join(differing)}: expected the same command, files and versions in each"
        )


def same(tree: PyTree) -> PyTree:
    """Process 0's arrays, in all, bit for bit. The others give anything of their structure, shapes and dtypes."""
    if count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    sizes = [int(np.prod(leaf.shape)) * np.dtype(leaf.dtype).itemsize for leaf in leaves]
    mine = b"".join(np.asarray(leaf).tobytes() for leaf in leaves) if leads() else bytes(sum(sizes))
    theirs = b"".join(_broadcast(mine[at : at + CHUNK]) for at in range(0, len(mine), CHUNK))
    ends = np.cumsum(sizes)
    parts = (np.frombuffer(theirs[end - size : end], np.uint8) for end, size in zip(ends, sizes))
    found = [part.view(leaf.dtype).reshape(leaf.shape) for part, leaf in zip(parts, leaves)]
    return jax.tree.unflatten(structure, found)


def whole(leaf: Any) -> Any:
    """An array that this process can read all of: parts that lie with others are fetched, by all."""
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable and not leaf.is_fully_replicated:
        return multihost_utils.process_allgather(leaf, tiled=True)
    return leaf


def place(array: np.ndarray, sharding: Sharding | None) -> jax.Array:
    """An array that every process has whole, on devices, which may be others' too: no meeting."""
    if sharding is None or sharding.is_fully_addressable:
        return jax.device_put(array, sharding)
    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def _in_words(error: InputError | OSError) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
    return str(error)


def _first_bytes(mine: bytes) -> bytes:
    """Process 0's bytes, however many. Their number is rounded up, for each is a compiled program."""
    size = int.from_bytes(_broadcast(len(mine).to_bytes(8)))
    room = max(256, 1 << (size - 1).bit_length())
    return _broadcast(mine[:room].ljust(room))[:size]


def _broadcast(mine: bytes) -> bytes:
    """Process 0's, of as many bytes in all."""
    return multihost_utils.broadcast_one_to_all(np.frombuffer(mine, np.uint8)).tobytes()
