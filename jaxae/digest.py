"""One line that names a tree of arrays: equal digests mean equal names, shapes, dtypes and bytes.

To recompute it by hand, start a SHA-256 and take the leaves sorted by name. A leaf's name is its keys from
the root, joined by "/": a dictionary's key, a NamedTuple's field, a position in a tuple or list. Each adds
  1. the ASCII line `["params/encoder/Dense_0/kernel","float32",[784,512]]` and a newline: the JSON, without
     spaces, of the name, the dtype's name and the shape;
  2. the elements' bytes in C order, little endian.
The digest is the 64 hexadecimal digits. Containers without leaves, such as () or None, add nothing.
"""

import hashlib
import json
from typing import Any

import jax
import numpy as np

from jaxae.types import PyTree


def leaf_name(path: tuple[Any, ...]) -> str:
    """A key path as a name: "params/encoder/Dense_0/kernel"."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def named_leaves(tree: PyTree) -> dict[str, Any]:
    """The leaves by name, sorted by name. Raises ValueError where two leaves would have the same name."""
    leaves = [(leaf_name(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]
    named = dict(sorted(leaves, key=lambda item: item[0]))
    if len(named) < len(leaves):
        names = [name for name, _ in leaves]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"two leaves of the tree are named {twice!r}")
    return named


def digest(tree: PyTree) -> str:
    """SHA-256 in hexadecimal of every leaf's name, dtype, shape and bytes, as the module describes."""
    hasher = hashlib.sha256()
    for name, leaf in jax.device_get(named_leaves(tree)).items():
        array = np.asarray(leaf)
        if array.dtype.hasobject or array.dtype.kind in "USmM":
            raise TypeError(f"leaf {name!r} is not an array of numbers: {type(leaf).__name__}")
        header = json.dumps([name, array.dtype.name, array.shape], separators=(",", ":"))
        hasher.update(header.encode() + b"\n")
        little = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
        hasher.update(little.reshape(-1).view(np.uint8).data)
    return hasher.hexdigest()
