"""Compiler options: which programs take them, and that they change rounding alone."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import Config
from jaxae.loop import wide
from jaxae.parallel import products

IWAE = {"method": "iwae", "hyperparameters": {"k": 50}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"batch_size": 20, **IWAE}, True), ({"batch_size": 9, **IWAE}, False), ({"batch_size": 512}, True),
        ({"batch_size": 128}, False), ({"batch_size": 512, "network": "conv"}, False),
        ({"batch_size": 512, "exact": True}, False),
        ({"batch_size": 100, "method": "miwae", "hyperparameters": {"groups": 5, "k": 1}}, True),
    ],
)  # fmt: skip
def test_products_of_many_rows_are_wide(values, expected):
    assert wide(Config(**values).resolved()) == expected


@pytest.mark.parametrize("value", [None, 0.5, "linear(1, 2)"])
def test_a_users_method_may_mean_something_else_by_k(value):
    config = dataclasses.replace(Config(**IWAE).resolved(), batch_size=600)
    object.__setattr__(config, "hyperparameters", {"k": value})
    assert wide(config)
    object.__setattr__(config, "batch_size", 100)
    assert not wide(config)


def test_the_options_change_rounding_alone():
    x, w = (jnp.asarray(np.random.default_rng(0).normal(size=(600, 600)), jnp.float32) for _ in range(2))
    compiled = jax.jit(jnp.matmul, compiler_options=products()).lower(x, w).compile()
    np.testing.assert_allclose(
        compiled(x, w), np.asarray(x, np.float64) @ np.asarray(w, np.float64), rtol=1e-4, atol=1e-3
    )
    if jax.default_backend() == "cpu":
        assert "ynn" not in compiled.as_text()
