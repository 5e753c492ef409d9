"""Compiler options: which programs take them, and what they may change."""

import dataclasses
import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from jaxae import Config
from jaxae.build import build
from jaxae.compiler import in_place, products
from jaxae.errors import InputError
from jaxae.parallel import Layout, make_mesh
from jaxae.programs import make_feed, make_programs, wide

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
        monkeypatch.setattr("jaxae.compiler.in_place", lambda: options)
        setup = build(
            Config(
                data="digits", width=200, batch_size=20, steps=7, log_every=7, validate_every=7, checkpoint_every=7
            ).resolved()
        )
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


@dataclasses.dataclass(frozen=True)
class Device:
    """One of several processes' devices, as far as a mesh looks at it, seen from process 1."""

    id: int
    process_index: int
    client = SimpleNamespace(process_index=lambda: 1)


@pytest.fixture
def devices(monkeypatch):
    """Makes JAX tell of other devices, by their processes."""

    def of(*processes):
        made = [Device(id, process) for id, process in enumerate(processes)]
        monkeypatch.setattr(jax, "devices", lambda: made)
        monkeypatch.setattr(jax, "process_count", lambda: len(set(processes)))
        return np.array(made)

    return of


@pytest.mark.parametrize(
    ("seed", "data", "batch_size"), [(3, 2, 128), (4, 2, 100), (4, 2, 6), (1, 4, 128), (4, 1, 7), (1, 1, 5)]
)
def test_one_process_reads_the_whole_batch_whatever_the_mesh(devices, seed, data, batch_size):
    devices(*[1] * 8)
    assert Layout(make_mesh(seed, data), lanes="map").columns(batch_size) == slice(0, batch_size)


@pytest.mark.parametrize("processes", [(0, 0, 1, 1), (0, 1, 0, 1), (1, 0, 0, 1), (1, 1, 0, 0)])
def test_a_process_reads_one_piece_of_the_batch_in_whatever_order_jax_tells_the_devices(devices, processes):
    devices(*processes)
    mesh = make_mesh(data=4)
    assert [device.process_index for device in mesh.devices.flat] == [0, 0, 1, 1]
    assert Layout(mesh).columns(96) == slice(48, 96)
    assert Layout(make_mesh(2, 2), lanes="map").columns(96) == slice(0, 96)


def test_a_process_with_two_pieces_of_the_batch_is_refused(devices):
    mesh = Mesh(devices(0, 1, 0, 1).reshape(1, 4), ("seed", "data"))
    with pytest.raises(InputError, match="places 1, 3 of the data axis: expected places side by side"):
        Layout(mesh).columns(96)


@pytest.mark.parametrize(("lanes", "leading"), [(None, (5,)), ("map", (3, 5))])
def test_the_batch_of_several_processes_has_the_size_that_was_asked_for(devices, monkeypatch, lanes, leading):
    made = []
    monkeypatch.setattr(jax, "make_array_from_process_local_data", lambda *args: made.append(args[1:]))
    devices(0, 0, 1, 1)
    mine = np.zeros((*leading, 48, 2))
    Layout(make_mesh(data=4), lanes=lanes).put_feed(mine)
    ((local, shape),) = made
    assert local.shape == mine.shape and shape == (*leading, 96, 2)


def test_pmap_moves_one_copy_at_a_time(monkeypatch):
    """All of them stacked on one device first would take its memory as many times."""
    put, moved = jax.device_put, []
    monkeypatch.setattr(jax, "device_put", lambda x, *args: moved.append(x.nbytes) or put(x, *args))
    data = np.arange(12, dtype=np.uint8).reshape(6, 2)
    (found,) = Layout(make_mesh(data=4), "pmap").put_shared((data,))
    assert max(moved) == data.nbytes
    np.testing.assert_array_equal(found, np.stack([data] * 4))
    assert [shard.device for shard in found.addressable_shards] == jax.devices()[:4]
