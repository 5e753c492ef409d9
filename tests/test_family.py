"""What every registered method promises of its training step: the same under vmap, pmap and a sharded jit, and resumed.

SGD where executions are compared: Adam hides a gradient of the wrong scale.
"""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import methods, optim, parallel, random, run
from jaxae.config import Config
from jaxae.train import make_train_chunk, make_train_step
from jaxae.types import TrainState

ENTRIES = methods.entries()
KEY = jax.random.key(3)
SHAPE, LATENT, N, STEPS, RATE, MOMENTUM = (8, 8, 1), 4, 32, 3, 1e-3, 0.5

every = pytest.mark.parametrize("name", list(ENTRIES))
# What couples its batch is where devices can go wrong; of the others a plain one is enough for the default run.
ALWAYS = {"vae", *(name for name, entry in ENTRIES.items() if entry.couples)}
coupled_first = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in ALWAYS else pytest.mark.slow) for name in ENTRIES]
)
# A plain one, a codebook, an adversary, a multiplier: the others are like one of these.
RICH = ("vae", "vqvae", "factor_vae", "geco_vae")
rich_first = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in RICH else pytest.mark.slow) for name in ENTRIES]
)


batch = partial(small.digits, N)


def made(name, rate=RATE, **weights):
    """The method and SGD with momentum, the adversary's the same."""
    method = small.method(name, "bernoulli", LATENT, SHAPE, **weights)
    slow = {key: {"learning_rate": rate} for key in method.optimizers}
    return method, optim.make("sgd", rate, b1=MOMENTUM, own=slow)


@cache
def start(name):
    """From `init`, so that what methods start their state and parameters at is tried too."""
    method, tx = made(name)

    def init(key, batch):
        variables = method.init(key, batch)
        return TrainState(jnp.zeros((), jnp.int32), variables, tx.init(variables.params))

    return jax.device_get(small.jit(init)(jax.random.key(5), batch()))


def train(step, state, data):
    seen = []
    for _ in range(STEPS):
        state, metrics = step(KEY, state, data)
        seen.append(metrics)
    return state.variables, state.opt_state, seen


@cache
def alone(name):
    return jax.device_get(train(small.jit(make_train_step(*made(name))), start(name), batch()))


def assert_same_training(one, other):
    small.assert_close(one, other, rtol=2e-3, atol=2e-5)


@coupled_first
def test_pmap_over_two_devices_is_one_device(name):
    step = jax.pmap(make_train_step(*made(name), "data"), "data", in_axes=(None, 0, 0), devices=jax.devices()[:2])
    shares = jax.tree.map(lambda x: x.reshape(2, -1, *x.shape[1:]), batch())
    state = jax.tree.map(lambda x: np.stack([x] * 2), start(name))
    found = jax.device_get(train(step, state, shares))
    small.assert_same_bits(*(jax.tree.map(lambda x, d=d: x[d], found[0].state) for d in (0, 1)))
    assert_same_training(jax.tree.map(lambda x: x[0], found), alone(name))


@coupled_first
def test_sharded_jit_over_two_devices_is_one_device(name):
    layout = parallel.Layout(parallel.make_mesh(data=2))
    step = small.jit(make_train_step(*made(name)))
    found = train(step, layout.put(start(name)), layout.shard(batch()))
    assert_same_training(jax.device_get(found), alone(name))


@rich_first
def test_vmap_over_learning_rates_is_each_alone(name):
    def steps(rate, state):
        return train(make_train_step(*made(name, rate)), state, batch())

    both = jax.device_get(small.jit(jax.vmap(steps, (0, None)))(jnp.asarray([RATE, 2 * RATE]), start(name)))
    one, two = (jax.tree.map(lambda x, i=i: x[i], both) for i in (0, 1))
    assert_same_training(one, alone(name))
    assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(one[0].params), jax.tree.leaves(two[0].params)))


@rich_first
def test_the_step_in_the_form_it_has_on_an_accelerator_is_the_same(name, monkeypatch):
    """There what is read more than once is made once, behind a barrier, which vmap and gradients must pass."""
    expected, state = alone(name), jax.tree.map(lambda x: x[None], start(name))

    def beside():
        return jax.vmap(make_train_step(*made(name)), (None, 0, None))

    def program():
        return str(jax.make_jaxpr(beside())(KEY, state, batch()))

    on_a_cpu = program()
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert program() != on_a_cpu
    found = jax.device_get(train(small.jit(beside()), state, batch()))
    assert_same_training(jax.tree.map(lambda x: x[0], found), expected)


@rich_first
def test_a_chunk_cut_in_two_is_the_chunk(name):
    """Bitwise: what a method keeps is in its state, and all of it."""
    chunk = small.jit(make_train_chunk(make_train_step(*made(name)), lambda key, step, data, row: data))
    feed = jnp.zeros(4)
    whole = chunk(KEY, start(name), batch(), feed, 4).state
    first = jax.device_get(chunk(KEY, start(name), batch(), feed, 1).state)
    small.assert_same_bits(chunk(KEY, first, batch(), feed, 3).state, whole)


SMALL = {"steps": 6, "batch_size": 64, "latent": 4, "checkpoint_every": 3, "keep": 9, "samples": 2}


@pytest.mark.slow
@every
def test_a_run_on_digits_resumes_bitwise(name, tmp_path):
    config = Config(method=name, **SMALL)
    whole = run.train(config, tmp_path / "whole")
    cut = run.train(Config(method=name, **{**SMALL, "steps": 3}), tmp_path / "cut")
    assert cut.step == 3
    assert run.final_digest(run.train(config, tmp_path / "cut")) == run.final_digest(whole)
    measures = run.evaluate_run(whole, samples=2)
    assert np.isfinite(measures["reconstruction"])
    assert np.isfinite(measures["mse"])


ADVERSARIAL = [name for name in ENTRIES if small.method(name, "bernoulli", LATENT, SHAPE).optimizers]


@pytest.mark.parametrize("name", ADVERSARIAL)
def test_an_adversary_descends_its_own_loss_alone(name):
    """One gradient of loss + adversary is the two separate gradients: neither player moves the other's parameters."""
    method = small.method(name, "bernoulli", LATENT, SHAPE)
    variables = small.variables(method, batch())

    def of(part, params):
        keys = random.example_keys(KEY, 0, batch().index)
        objective = method.loss(variables._replace(params=params), keys, batch(), jnp.asarray(0))
        return getattr(objective, part).mean()

    loss, adversary = (small.jit(jax.grad(partial(of, part)))(variables.params) for part in ("loss", "adversary"))
    for entry in variables.params:
        silent, moved = (loss, adversary) if entry in method.optimizers else (adversary, loss)
        assert not any(np.any(leaf) for leaf in jax.tree.leaves(silent[entry])), entry
        assert all(np.any(leaf) for leaf in jax.tree.leaves(moved[entry])), entry
