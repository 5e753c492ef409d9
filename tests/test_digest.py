"""The digest is what its docstring says, and changes with every name, shape, dtype and byte."""

import hashlib
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae.digest import digest, named_leaves


class Pair(NamedTuple):
    b: object
    a: object


TREE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": (jnp.int32(7), jnp.ones(2, jnp.bfloat16))}


def test_digest_is_what_the_docstring_says():
    by_hand = hashlib.sha256()
    by_hand.update(b'["a","float32",[2,3]]\n' + np.arange(6, dtype="<f4").tobytes())
    by_hand.update(b'["b/0","int32",[]]\n' + (7).to_bytes(4, "little"))
    by_hand.update(b'["b/1","bfloat16",[2]]\n' + bytes.fromhex("803f803f"))
    assert digest(TREE) == by_hand.hexdigest()


def test_digest_of_nothing_is_sha256_of_nothing():
    assert digest(()) == digest({"a": None, "b": ()}) == hashlib.sha256().hexdigest()


def test_container_type_does_not_matter_where_names_agree():
    assert digest(Pair(**TREE)) == digest(TREE) == digest({"b": list(TREE["b"]), "a": jnp.array(TREE["a"])})


def test_memory_layout_does_not_matter():
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert digest({"x": x}) == digest({"x": np.asfortranarray(x)}) == digest({"x": x.astype(">f4")})
    assert digest({"x": x}) == digest({"x": np.repeat(x, 2, axis=1)[:, ::2]})


@pytest.mark.parametrize(
    "other",
    [
        {"x": np.zeros(4, np.float32), "z": np.ones(())},
        {"x": np.zeros((4, 1), np.float32), "y": np.ones(())},
        {"x": np.zeros(4, np.int32), "y": np.ones(())},
        {"x": np.array([0, 0, 0, -0.0], np.float32), "y": np.ones(())},
        {"x": np.zeros(4, np.float32), "y": np.nextafter(np.ones(()), 2)},
        {"x": np.zeros(4, np.float32), "y": np.ones(()), "z": np.zeros(0)},
        {"x": {"y": np.zeros(4, np.float32)}, "y": np.ones(())},
    ],
)
def test_digest_changes_with_name_shape_dtype_and_byte(other):
    assert digest(other) != digest({"x": np.zeros(4, np.float32), "y": np.ones(())})


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "float16", "bfloat16", "float8_e4m3fn", "complex64"])
def test_every_dtype_one_bit_counts(dtype):
    x = np.zeros((3, 2), jnp.dtype(dtype))
    y = x.copy()
    y.reshape(-1).view(np.uint8)[-1] = 1
    assert digest(x) == digest(jnp.asarray(x)) != digest(y)


def test_sharding_does_not_matter():
    mesh = jax.sharding.Mesh(np.array(jax.devices()), "d")
    x = jnp.arange(len(jax.devices()) * 4.0).reshape(-1, 4)
    for spec in [jax.sharding.PartitionSpec("d"), jax.sharding.PartitionSpec()]:
        assert digest({"x": jax.device_put(x, jax.sharding.NamedSharding(mesh, spec))}) == digest({"x": x})


def test_ambiguous_names_and_what_is_no_array_are_refused():
    with pytest.raises(ValueError, match="two leaves of the tree are named 'a/b'"):
        named_leaves({"a": {"b": 1}, "a/b": 2})
    with pytest.raises(TypeError, match="leaf 'a' is not an array of numbers: str"):
        digest({"a": "text"})
