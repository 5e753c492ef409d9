"""A function of one run as one compiled program: over lanes (the members of a sweep), over devices, over both.

The devices form a mesh with the axes "seed", which cuts the lanes, and "data", which cuts each batch. What is laid over
them is always the same pure function; nothing here knows what it computes.
"""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from jaxae import random
from jaxae.compiler import Options
from jaxae.errors import InputError
from jaxae.types import PyTree

Own = Any
Shared = Any


def virtual(count: int) -> None:
    """Lets a machine without accelerators have `count` devices, made of its CPU, unless its user has said how many.
    Only before the first use of a device."""
    said = "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if count > 1 and not said:
        with contextlib.suppress(RuntimeError):  # in use already
            jax.config.update("jax_num_cpu_devices", count)


def make_mesh(seed: int = 1, data: int = 1) -> Mesh:
    """`seed` times `data` devices, those of every process counted and side by side: JAX does not promise that order."""
    devices, count = sorted(jax.devices(), key=lambda device: device.process_index), seed * data
    if count > len(devices):
        hint = f": JAX_NUM_CPU_DEVICES={count} makes so many of a CPU" if devices[0].platform == "cpu" else ""
        raise InputError(f"devices {count}: there are {len(devices)} ({devices[0].platform}){hint}")
    if jax.process_count() > 1 and count != len(devices):
        raise InputError(
            f"devices {count}: the {jax.process_count()} processes have {len(devices)}: expected all of them "
            f"(--devices {len(devices)})"
        )
    return Mesh(np.array(devices[:count]).reshape(seed, data), ("seed", "data"))


def over_lanes(fn: Callable[[Own, Shared], PyTree], lanes: str, block: int) -> Callable[[Own, Shared], PyTree]:
    """fn(own, shared) for many lanes at once, `own` and the result with a leading axis of lanes.

    "map": one lane after the other, each the very arithmetic of the lane alone. "vmap": `block` lanes side by side,
    block after block: in one sweep always the same number, for it enters the rounding.
    """
    if lanes == "map":
        return lambda own, shared: jax.lax.map(lambda one: fn(one, shared), own)
    beside = jax.vmap(fn, in_axes=(0, None))

    def blocks(own: Own, shared: Shared) -> PyTree:
        cut = jax.tree.map(lambda x: x.reshape(-1, block, *x.shape[1:]), own)
        made = jax.lax.map(lambda one: beside(one, shared), cut)
        return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), made)

    return blocks


def _spread(fn: Callable[[Own, Shared], PyTree]) -> Callable[..., PyTree]:
    def training(state: PyTree, rest: PyTree, feed: PyTree, shared: Shared) -> PyTree:
        return fn((state, rest, feed), shared)

    return training


@dataclass(frozen=True)
class Layout:
    """Where the lanes and the batch lie."""

    mesh: Mesh
    parallel: str = "jit"
    """How devices share a batch: "jit" or "pmap"."""
    lanes: str | None = None
    """None for a run alone, else "map" or "vmap"."""
    block: int = 8
    """Lanes that vmap takes side by side."""
    exact: bool = False
    """Bits that do not depend on the number of devices."""

    @cached_property
    def data(self) -> int:
        return self.mesh.shape["data"]

    @property
    def whole(self) -> bool:
        """Whether a step sees the whole batch, wherever it lies; else a device's share of it, along the axis "data"."""
        return self.data == 1 or (self.parallel == "jit" and not self.exact and self.lanes is None)

    @property
    def axis_name(self) -> str | None:
        return None if self.whole else "data"

    def multiple(self) -> int:
        """What the number of lanes must be a multiple of."""
        return self.mesh.shape["seed"] * (self.block if self.lanes == "vmap" else 1)

    def training(self, fn: Callable[[Own, Shared], PyTree], options: Options | None = None) -> Callable[..., PyTree]:
        """program(state, rest, feed, shared), of fn((state, rest, feed), shared), for what the `put`s below placed.
        `state` is donated; the result lies as the state does. `options` are the compiler's: none under `exact`, whose
        bits are the same by pmap, which takes none."""
        if self._by_pmap:
            devices = None if jax.process_count() > 1 else list(self.mesh.devices.flat)
            axes = (0, None, 0, 0)
            return jax.pmap(_spread(fn), axis_name="data", in_axes=axes, devices=devices, donate_argnums=0)
        program = _spread(over_lanes(fn, self.lanes, self.block) if self.lanes else fn)
        if self.lanes or not self.whole:
            program = self._mapped(program, (self._lane_spec, self._lane_spec, self._feed_spec, P()))
        return jax.jit(program, donate_argnums=0, compiler_options=None if self.exact else options)

    def reading(self, fn: Callable[[Own, Shared], PyTree]) -> Callable[[Own, Shared], PyTree]:
        """program(part, shared), of a function that needs no data axis, for each part of what `parts` gives. Where
        lanes have the bits of the run alone, it is the very program of the run alone."""
        if self.lanes == "vmap":
            return jax.jit(self._mapped(over_lanes(fn, self.lanes, self.block), (P("seed"), P())))
        return jax.jit(fn)

    def parts(self, own: PyTree, count: int) -> list[PyTree]:
        """What `reading`'s program takes at a time, of what `near` gives: by "map" one of the first `count` lanes; else
        all lanes, those too that only fill the block."""
        if self.lanes == "map":
            return [jax.tree.map(lambda x, n=lane: x[n], own) for lane in range(count)]
        return [own]

    def _mapped(self, fn: Callable, specs: tuple) -> Callable:
        if self.mesh.size == 1:
            return fn
        return jax.shard_map(fn, mesh=self.mesh, in_specs=specs, out_specs=self._lane_spec, check_vma=False)

    @property
    def _by_pmap(self) -> bool:
        return self.parallel == "pmap" and self.data > 1

    @property
    def _lane_spec(self) -> P:
        return P("seed") if self.lanes else P()

    @property
    def _feed_spec(self) -> P:
        return P("seed", None, "data") if self.lanes else P(None, "data")

    def put(self, state: PyTree) -> PyTree:
        """The state, on every device that needs it."""
        return self._put(state, self._lane_spec)

    def put_rest(self, tree: PyTree) -> PyTree:
        """What is small, and the same on all devices of a lane."""
        if self._by_pmap:
            return tree
        return jax.tree.map(lambda x: self._place(x, self._lane_spec), tree)

    def put_shared(self, tree: PyTree) -> PyTree:
        """What all lanes and devices read."""
        return self._put(tree, P())

    def put_feed(self, tree: PyTree) -> PyTree:
        """Leaves [lanes?, capacity, batch, ...]: of several processes, this one's part of the batch."""
        if self._by_pmap:
            count = len(self.mesh.local_devices)
            return jax.tree.map(lambda x: np.stack(np.split(x, count, axis=1)), tree)
        if self.mesh.size == 1:
            return tree
        return jax.tree.map(lambda x: self._place(x, self._feed_spec, local=True), tree)

    def _put(self, tree: PyTree, spec: P) -> PyTree:
        """For pmap a copy for each local device."""
        if not self._by_pmap:
            return jax.tree.map(lambda x: self._place(x, spec), tree)
        local = self.mesh.local_devices
        over = NamedSharding(Mesh(np.array(local), ("data",)), P("data"))

        def copies(x):
            one = x[None]
            each = [jax.device_put(one, device) for device in local]
            return jax.make_array_from_single_device_arrays((len(local), *x.shape), over, each)

        return jax.tree.map(copies, tree)

    def _place(self, x: Any, spec: P, local: bool = False) -> Any:
        """`x` where it belongs; of a shape, its description there."""
        alone = self.mesh.size == 1
        sharding = SingleDeviceSharding(self.mesh.devices.item()) if alone else NamedSharding(self.mesh, spec)
        if isinstance(x, jax.ShapeDtypeStruct):
            return jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding)
        if alone or jax.process_count() == 1:
            return jax.device_put(x, sharding)
        if random.is_key(x):
            return jax.random.wrap_key_data(self._place(np.asarray(jax.random.key_data(x)), spec))
        x = np.asarray(x)
        if local:
            return jax.make_array_from_process_local_data(sharding, x, self._global(x.shape))
        return jax.make_array_from_callback(x.shape, sharding, lambda index: x[index])

    def _global(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of all processes' feed together, where this one's has `shape`."""
        batch = 2 if self.lanes else 1
        return (*shape[:batch], shape[batch] // len(self._places) * self.data, *shape[batch + 1 :])

    def get(self, tree: PyTree) -> PyTree:
        """The lanes' values, or the run's alone, on the host."""
        return jax.device_get(self.near(tree))

    def near(self, tree: PyTree) -> PyTree:
        """The same, on a device of this process where one holds all of it."""

        def one(x):
            if self.mesh.size == 1 or self.lanes:
                return x
            x = x.addressable_shards[0].data
            return x[0] if self._by_pmap else x

        return jax.tree.map(one, tree)

    def columns(self, batch_size: int) -> slice:
        """This process's part of the global batch."""
        first, end = self._places[0], self._places[-1] + 1
        if end - first > len(self._places):
            told = ", ".join(map(str, self._places))
            raise InputError(f"this process has the places {told} of the data axis: expected places side by side")
        return slice(first * batch_size // self.data, end * batch_size // self.data)

    @cached_property
    def _places(self) -> list[int]:
        """Of this process's devices, along the data axis."""
        local = self.mesh.local_devices
        return sorted({place for (_, place), device in np.ndenumerate(self.mesh.devices) if device in local})

    def shard(self, tree: PyTree) -> PyTree:
        """Inside a program that sees the whole batch: cuts the leading axis of every leaf over the devices."""
        if self.data == 1 or not self.whole:
            return tree
        return jax.lax.with_sharding_constraint(tree, NamedSharding(self.mesh, P("data")))
