"""Compiler options: which programs take them, and what they may change."""

import dataclasses
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxae import Config
from jaxae.build import build
from jaxae.loop import make_feed, make_programs, wide
from jaxae.parallel import Layout, in_place, make_mesh, products

IWAE = {"method": "iwae", "hyperparameters": {"k": 50}}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"batch_size": 20, **IWAE}, True), ({"batch_size": 9, **IWAE}, False), ({"batch_size": 512}, True),
        ({"batch_size": 128}, False), ({"batch_size": 512, "network": "conv"}, False),
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


def test_products_change_rounding_alone():
    x, w = (jnp.asarray(np.random.default_rng(0).normal(size=(600, 600)), jnp.float32) for _ in range(2))
    compiled = jax.jit(jnp.matmul, compiler_options=products()).lower(x, w).compile()
    np.testing.assert_allclose(
        compiled(x, w), np.asarray(x, np.float64) @ np.asarray(w, np.float64), rtol=1e-4, atol=1e-3
    )
    if jax.default_backend() == "cpu":
        assert "ynn" not in compiled.as_text()


@pytest.fixture
def trained(monkeypatch):
    """(compiled chunk's text, state after 7 steps) of a VAE, with its options or without."""

    def of(options):
        monkeypatch.setattr("jaxae.loop.in_place", lambda: options)
        setup = build(Config(data="digits", width=200, batch_size=20, steps=7, chunk=7).resolved())
        layout = Layout(make_mesh())
        feed = make_feed(setup, layout)
        rest = (setup.numbers(), setup.key, np.asarray(7, np.int32))
        args = setup.init(), rest, layout.put_feed(feed.at(0, 7)), feed.data
        program = make_programs(setup, layout).chunk.lower(*args).compile()
        return program.as_text(), program(*args).state

    return of


def test_in_place_leaves_no_copy_of_a_weight_in_the_loop_and_every_bit_as_it_was(trained):
    (text, ours), (_, plain) = trained(in_place()), trained({})
    if jax.default_backend() == "cpu":
        weights = {f"{a},{b}" for x in jax.tree.leaves(ours.variables) if x.ndim == 2 for a, b in [x.shape]}
        loop = max(text.split("\n\n"), key=lambda block: block.count("fusion("))
        assert "dot(" in loop or "ynn_fusion" in loop
        assert not weights & set(re.findall(r"= f32\[(\d+,\d+)\]\S* copy\(", loop))
    jax.tree.map(np.testing.assert_array_equal, ours, plain)


def test_exact_takes_no_options():
    args = (jnp.zeros(3), (), (), ())
    unknown = {"xla_no_such_option": "1"}

    def fn(own, shared):
        return own[0] + 1

    np.testing.assert_array_equal(Layout(make_mesh(), exact=True).training(fn, unknown)(*args), np.ones(3))
    with pytest.raises(Exception, match="xla_no_such_option"):
        Layout(make_mesh()).training(fn, unknown)(jnp.zeros(3), (), (), ())
