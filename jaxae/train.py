"""One training step as a pure function, and a compiled chunk of them. No I/O; a Config is never seen here."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key

from jaxae import axis, exact, random
from jaxae.errors import InputError, whole
from jaxae.types import Batch, Method, Objective, PyTree, TrainState, Variables

Step = Callable[[Array, TrainState, Batch], tuple[TrainState, dict[str, Array]]]


def init_state(method: Method, tx: optax.GradientTransformation, key: Array, batch: Batch) -> TrainState:
    """The state before the first step; `batch` gives the shapes (and, to some methods, data to start from)."""
    variables = jax.tree.map(_strong, method.init(key, batch))
    return TrainState(jnp.zeros((), jnp.int32), variables, tx.init(variables.params))


def _strong(x: Any) -> Array:
    """A number or an array, of a type that no other changes: weak ones compile twice."""
    x = jnp.asarray(x)
    return jnp.asarray(x, x.dtype)


def make_train_step(
    method: Method,
    tx: optax.GradientTransformation,
    axis_name: str | None = None,
    microbatches: int = 1,
    shards: int | None = None,
) -> Step:
    """train_step(key, state, batch) -> (state, metrics): one update, on the mean loss over the global batch.

    `key` (the run's "noise" stream) is constant; every example's key is fold_in(fold_in(key, step), batch.index). With
    `axis_name` the batch is one device's share along that mapped axis. With `microbatches` the gradient is the mean
    over that many equal pieces of the batch, one at a time: a large batch in little memory. With `shards` (a power of
    two that the devices divide) the result is the same to the bit on any number of devices: see `jaxae.exact`; each is
    one piece then, whatever `microbatches`.
    metrics: scalars in nats an example, among them "loss"; and "grad_norm" of the global gradient.
    Raises InputError, when first traced too, for a batch that cannot be cut so.
    """
    whole("microbatches", microbatches, 1)
    if shards is not None:
        whole("shards", shards, 1)

    def update(grads, kept, metrics, state):
        # Only when every gradient is there: else XLA copies the parameters that the backward pass still reads.
        grads = jax.lax.optimization_barrier(grads)
        updates, opt_state = tx.update(grads, state.opt_state, state.variables.params)
        params = optax.apply_updates(state.variables.params, updates)
        metrics = {**metrics, "grad_norm": global_norm(grads)}
        return TrainState(state.step + 1, Variables(params, kept), opt_state), metrics

    def train_step(key: Key[Array, ""], state: TrainState, batch: Batch):
        with axis.over(axis_name):
            if shards is not None:
                found = _exact_gradient(method, state, key, batch, shards, axis_name)
                return exact.apart(update, state.step, *found, state)
            keys = random.example_keys(key, state.step, batch.index)
            grads, kept, metrics = _mean_gradient(method, state, keys, batch, microbatches)
            grads, metrics = axis.mean((grads, metrics))
            return update(grads, kept, metrics, state)

    return train_step


FOLD = 16  # slices that a long vector is summed in


def global_norm(tree: PyTree) -> Float[Array, ""]:
    """The Euclidean norm of all leaves together. XLA's CPU adds up one number after the other; slices added to each
    other are sums of vectors, several times faster: with small batches the norm is a fifth of the step otherwise."""
    return jnp.sqrt(sum(_sum_of(jnp.square, leaf.reshape(-1)) for leaf in jax.tree.leaves(tree)))


def _sum_of(fn: Callable[[Array], Array], x: Float[Array, " size"]) -> Float[Array, ""]:
    if x.size < FOLD**3:
        return jnp.sum(fn(x))
    cut = x.size // FOLD * FOLD
    first, *rest = map(fn, jnp.split(x[:cut], FOLD))  # fn after the cut: before it, its values would be kept in memory
    folded = sum(rest, first)
    return _sum_of(lambda y: y, folded) + jnp.sum(fn(x[cut:]))


def _exact_gradient(
    method: Method, state: TrainState, key: Array, batch: Batch, shards: int, axis_name: str | None
) -> tuple[PyTree, PyTree, dict[str, Array]]:
    """As `_mean_gradient`, over devices too, by sums in a fixed order. A loss that couples its batch must see all of it
    at once: then every device computes the whole batch."""

    def gradient(part):
        keys = random.example_keys(key, state.step, part.index)
        return _mean_gradient(method, state, keys, part, 1)

    def loss():
        keys = random.example_keys(key, state.step, batch.index)
        return method.loss(state.variables, keys, batch, state.step)

    if axis.couples(loss):
        parts, pieces, name = jax.tree.map(axis.gather, batch), 1, None
    else:
        parts, pieces, name = batch, shards, axis_name
    return exact.mean_over_shards(gradient, parts, pieces, name, state.step)


def _mean_gradient(
    method: Method, state: TrainState, keys: Array, batch: Batch, pieces: int
) -> tuple[PyTree, PyTree, dict[str, Array]]:
    """(gradient of the mean loss, new Variables.state, mean metrics), over `pieces` microbatches in turn."""

    def mean_loss(params, kept, keys, batch):
        objective = _whole(method.loss(Variables(params, kept), keys, batch, state.step))
        descended = objective.loss if objective.adversary is None else objective.loss + objective.adversary
        # Both this mean and the one after the gradient are needed: together they are right in pmap, vmap and shard_map.
        return axis.mean(jnp.mean(descended)), (objective.state, _means(objective))

    gradient = jax.grad(mean_loss, has_aux=True)
    params = state.variables.params
    if len(batch.index) % pieces:
        raise InputError(f"microbatches {pieces}: expected a divisor of the batch, {len(batch.index)} examples")
    if pieces == 1:
        grads, (kept, metrics) = gradient(params, state.variables.state, keys, batch)
        return grads, kept, metrics
    if axis.couples(lambda: method.loss(state.variables, keys, batch, state.step)):
        raise InputError(f"accumulate {pieces} (microbatches): this loss couples the examples of a batch: expected 1")

    def piece(part):  # the state of an uncoupled loss depends on no example: it moves once, whatever the pieces
        grads, (kept, metrics) = gradient(params, state.variables.state, *part)
        return kept, (grads, metrics)

    parts = jax.tree.map(lambda x: x.reshape(pieces, -1, *x.shape[1:]), (keys, batch))
    first, rest = jax.tree.map(lambda x: x[0], parts), jax.tree.map(lambda x: x[1:], parts)
    kept, total = piece(first)

    def add(total, part):
        return jax.tree.map(jnp.add, total, piece(part)[1]), None

    total, _ = jax.lax.scan(add, total, rest)
    grads, metrics = jax.tree.map(lambda x: x / pieces, total)
    return grads, kept, metrics


def _whole(x: PyTree) -> PyTree:
    """`x`, made once, on an accelerator: XLA else makes it anew in each of the products and sums that read it, and
    merges the mean over a batch into the sum over pixels, for which all pixels' terms go through memory."""
    return x if jax.default_backend() == "cpu" else jax.lax.optimization_barrier(x)


def _means(objective: Objective) -> dict[str, Array]:
    return {name: jnp.mean(value) for name, value in {"loss": objective.loss, **objective.metrics}.items()}


class Chunk(NamedTuple):
    """What a chunk of steps returns."""

    state: TrainState
    done: Int[Array, ""]
    """Steps made; fewer than asked where the last of them met a value that is not finite."""
    metrics: dict[str, Float[Array, " capacity"]]
    """Of each step, in the first `done` places."""


def make_train_chunk(step: Step, fetch: Callable[[Array, Array, Any, PyTree], Batch]) -> Callable[..., Chunk]:
    """chunk(key, state, data, feed, count) -> Chunk: `count` steps in one compiled loop; `key` is the run's.

    fetch(key, step, data, row) -> Batch makes a step's batch; `feed` has a leading axis of the chunk's capacity and
    `row` is its slice: no more steps are made. `count` is traced, so one program serves every length, and the length
    changes no bit. The loop ends after the first step with a loss or gradient that is not finite.
    """

    def chunk(key: Key[Array, ""], state: TrainState, data: PyTree, feed: PyTree, count: Int[Array, ""]) -> Chunk:
        capacity = jax.tree.leaves(feed)[0].shape[0]

        def one(state, i):
            row = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, i, keepdims=False), feed)
            return step(random.stream(key, "noise"), state, _whole(fetch(key, state.step, data, row)))

        shapes = jax.eval_shape(one, state, jnp.zeros((), jnp.int32))[1]
        start, count = jnp.full((capacity, len(shapes)), jnp.nan, jnp.float32), jnp.minimum(count, capacity)

        def more(carry):
            i, _, _, finite = carry
            return (i < count) & finite

        def body(carry):
            i, state, kept, _ = carry
            state, metrics = one(state, i)
            finite = jnp.isfinite(metrics["loss"]) & jnp.isfinite(metrics["grad_norm"])
            row = jnp.stack([metrics[name].astype(jnp.float32) for name in shapes])
            return i + 1, state, kept.at[i].set(row), finite

        begin = (jnp.zeros((), jnp.int32), state, start, jnp.array(True))
        done, state, kept, _ = jax.lax.while_loop(more, body, begin)
        return Chunk(state, done, dict(zip(shapes, kept.T)))

    return chunk


def make_eval_step(method: Method) -> Callable[..., dict[str, Array]]:
    """eval_step(variables, keys, batch, step) -> per-example metrics [batch] in nats, "loss" among them."""

    def eval_step(variables, keys, batch, step):
        objective = method.loss(variables, keys, batch, step)
        return {"loss": objective.loss, **objective.metrics}

    return eval_step
