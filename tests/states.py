"""Small states for the tests of checkpoints."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxae.checkpoint import Checkpoints
from jaxae.types import TrainState, Variables


def make_state(fill: float, width: int = 3) -> TrainState:
    params = {
        "encoder": {"kernel": jnp.full((4, width), fill), "bias": jnp.full(width, fill, jnp.bfloat16)},
        "log_var": jnp.float32(fill),
    }
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3), optax.add_decayed_weights(0.0))
    return TrainState(jnp.int32(fill), Variables(params, ()), tx.init(params))


ABSTRACT = jax.eval_shape(lambda: make_state(0))


def save_two_steps(folder: Path) -> Path:
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_state(step), {"config": {"latent": step}})
    return folder


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def flip(path, place=0.5, bit=0):
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)
