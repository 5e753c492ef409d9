"""The step over devices: a batch sharded over a mesh, everything else on each device."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae.errors import InputError


def data_mesh(count: int) -> Mesh:
    """A mesh of `count` local devices with the one axis "data"."""
    devices = jax.devices()
    if count > len(devices):
        raise InputError(f"devices {count}: this machine has {len(devices)} ({devices[0].platform})")
    return Mesh(np.array(devices[:count]), ("data",))


def replicate(mesh: Mesh, tree: Any) -> Any:
    """Every device holds the whole tree."""
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def shard(mesh: Mesh) -> Callable[[Any], Any]:
    """Inside a jitted program: cuts the leading axis of every leaf over the mesh; the program still sees it whole."""
    over = NamedSharding(mesh, PartitionSpec("data"))
    return lambda tree: jax.lax.with_sharding_constraint(tree, over)
