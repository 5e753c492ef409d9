"""A step whose bits do not depend on the number of devices.

The global batch is always cut into the same number of shards, however many devices share them. Each shard's gradient
comes from the same compiled loop body; a device adds its own in a binary tree and the devices' sums go on up the same
tree, so the order of the additions is fixed; the update is a loop body of its own too. A loop body is what XLA compiles
apart: fused with what surrounds it, the same formula may round differently.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

from jaxae import axis
from jaxae.errors import InputError
from jaxae.types import PyTree


def mean_over_shards(
    fn: Callable[[PyTree], PyTree], parts: PyTree, shards: int, axis_name: str | None, step: Int[Array, ""]
) -> PyTree:
    """The mean of fn over `shards` equal pieces of the global batch, of which `parts` (leaves [local batch, ...]) is
    this device's share along `axis_name`. Raises InputError where the devices do not divide the shards, or the
    shards the batch."""
    devices = 1 if axis_name is None else jax.lax.axis_size(axis_name)
    if shards % devices:
        raise InputError(f"{devices} devices do not divide {shards} shards")
    local = shards // devices
    if len(jax.tree.leaves(parts)[0]) % local:
        raise InputError(f"{shards} shards do not divide a batch of {devices * len(jax.tree.leaves(parts)[0])}")
    parts = jax.tree.map(lambda x: x.reshape(local, -1, *x.shape[1:]), parts)
    with axis.over(None):  # a shard is a whole batch to the function
        total = _add_up(_each(fn, parts, local, step))
    if axis_name is not None:
        total = _add_up(jax.lax.all_gather(total, axis_name))
    return jax.tree.map(lambda x: (x / shards).astype(x.dtype), total)


def _each(fn: Callable[[PyTree], PyTree], parts: PyTree, count: int, step: Array) -> PyTree:
    """fn of each of `count` parts, stacked."""
    places = max(count, 2)  # of one place the compiler knows the number, and would take the part out of the loop
    if count < places:
        parts = jax.tree.map(lambda x: jnp.concatenate([x] * places), parts)

    def part(i):
        return jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), parts)

    def body(carry):
        i, made = carry
        new = fn(part(i))
        return i + 1, jax.tree.map(lambda all, one: all.at[i].set(one), made, new)

    shapes = jax.eval_shape(fn, jax.eval_shape(part, jnp.zeros((), jnp.int32)))
    empty = jax.tree.map(lambda s: jnp.zeros((places, *s.shape), s.dtype), shapes)
    bound = unknown(count, step)
    made = jax.lax.while_loop(lambda carry: carry[0] < bound, body, (jnp.zeros((), jnp.int32), empty))[1]
    return jax.tree.map(lambda x: x[:count], made)


def apart(fn: Callable[..., Any], step: Int[Array, ""], *args: Any) -> Any:
    """fn(*args), compiled apart from what surrounds it. The arguments change in the loop, as far as the compiler sees:
    what does not would be moved out of it."""
    shapes = jax.eval_shape(fn, *args)
    empty = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def body(carry):
        i, _, args = carry
        return i + 1, fn(*args), jax.tree.map(jnp.zeros_like, args)

    bound = unknown(1, step)
    return jax.lax.while_loop(lambda carry: carry[0] < bound, body, (jnp.zeros((), jnp.int32), empty, args))[1]


def unknown(count: int, step: Int[Array, ""]) -> Array:
    """`count`, as a number that the compiler cannot know: it would unroll a loop of one."""
    return count + jnp.minimum(step, 0)


def _add_up(stacked: PyTree) -> PyTree:
    """The sum over the leading axis, in a binary tree: (a + b) + (c + d)."""

    def tree_sum(x):
        while len(x) > 1:
            x = x[::2] + x[1::2]
        return x[0]

    return jax.tree.map(tree_sum, stacked)
