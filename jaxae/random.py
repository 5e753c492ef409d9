"""Keys as a pure function of (seed, stream, step, example), so that no generator state is ever saved.

A resumed run draws what the uninterrupted run would have drawn, and no device index ever enters a key.
"""

import zlib
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from jaxae.types import Keys


def fixed(seed: int) -> Key[Array, ""]:
    """The key of what measures or shows: of one generator whatever JAX draws by, so that all runs are measured on the
    same images by the same noise."""
    return jax.random.key(seed, impl="threefry2x32")


def stream(key: Key[Array, ""], name: str) -> Key[Array, ""]:
    """The key of one named use of a run's key: "init", "order", "noise", "pixels", "evaluation", ..."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def example_keys(key: Key[Array, ""], step: int | Array, index: Int[Array, " batch"]) -> Keys:
    """One key an example: fold_in(fold_in(key, step), index)."""
    at_step = jax.random.fold_in(key, step)
    return jax.vmap(jax.random.fold_in, (None, 0))(at_step, index)


def split(keys: Keys, num: int = 2) -> tuple[Keys, ...]:
    """Splits every example's key: num arrays of keys, each [batch]."""
    parts = jax.vmap(jax.random.split, (0, None))(keys, num)
    return tuple(parts[:, i] for i in range(num))


def numbered(keys: Keys, number: int | Int[Array, ""]) -> Keys:
    """The keys of one of an example's several draws: fold_in(key, number)."""
    return jax.vmap(jax.random.fold_in, (0, None))(keys, number)


def normal(keys: Keys, shape: tuple[int, ...]) -> Float[Array, "batch *shape"]:
    """Standard normal noise, [batch, *shape], each row from its own key: in single precision, under x64 too."""
    return jax.vmap(lambda key: jax.random.normal(key, shape, jnp.float32))(keys)


def uniform(keys: Keys, shape: tuple[int, ...]) -> Float[Array, "batch *shape"]:
    """Uniform noise in [0, 1), [batch, *shape], each row from its own key: in single precision too."""
    return jax.vmap(lambda key: jax.random.uniform(key, shape, jnp.float32))(keys)


def below(keys: Keys, limit: int) -> Int[Array, " batch"]:
    """A whole number from 0 to limit - 1 for each key, all equally likely: the same under x64."""
    return jax.vmap(lambda key: jax.random.randint(key, (), 0, limit, jnp.int32))(keys)


def is_key(of: Any) -> bool:
    """Whether it is an array of keys, or a description of one."""
    return hasattr(of, "dtype") and jax.dtypes.issubdtype(of.dtype, jax.dtypes.prng_key)
