"""The step does what the formula says, however the batch is cut."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from jax.sharding import PartitionSpec

from jaxae import optim, parallel, random
from jaxae.errors import InputError
from jaxae.train import FOLD, global_norm, init_state, make_eval_step, make_train_step
from jaxae.types import Method, Objective, Variables

pytestmark = pytest.mark.optimised

KEY = jax.random.key(5)
P = PartitionSpec
BATCH = small.batch()


def made(likelihood="bernoulli", **options):
    method = small.method("vae", likelihood)
    return make_train_step(method, small.sgd(0.1), **options), small.state(method, small.sgd(0.1), BATCH)


def run(step, state, steps=3, key=KEY):
    step = jax.jit(step)
    for _ in range(steps):
        state, metrics = step(key, state, BATCH)
    return jax.device_get((state, metrics))


def by_hand(params, step):
    """-ELBO at beta 2.5 of the small VAE, mean over BATCH, from the formula and jax.random alone."""
    at = jax.random.fold_in(KEY, step)
    noise = jax.vmap(lambda i: jax.random.normal(jax.random.fold_in(at, i), (2,)))(jnp.arange(12))
    x = BATCH.x.reshape(-1, small.D)
    encoder, decoder = (params[side]["dense"] for side in ("encoder", "decoder"))
    code = x @ encoder["kernel"] + encoder["bias"][None]
    mean, log_var = code[:, :2], code[:, 2:]
    logits = (mean + jnp.exp(0.5 * log_var) * noise) @ decoder["kernel"] + decoder["bias"][None]
    log_px = (x * jax.nn.log_sigmoid(logits) + (1 - x) * jax.nn.log_sigmoid(-logits)).sum(1)
    kl = 0.5 * (mean**2 + jnp.exp(log_var) - log_var - 1).sum(1)
    return jnp.mean(-log_px + 2.5 * kl), (-log_px.mean(), kl.mean())


def test_step_is_gradient_descent_on_the_vae_loss_written_by_hand():
    method = small.method("vae", beta=2.5)
    state = small.state(method, small.sgd(), BATCH)._replace(step=jnp.asarray(4, jnp.int32))
    new, metrics = jax.jit(make_train_step(method, small.sgd()))(KEY, state, BATCH)
    (loss, (reconstruction, kl)), grads = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(state.variables.params, 4)
    ours = jax.tree.map(jnp.subtract, state.variables.params, new.variables.params)
    small.assert_close(ours, grads, rtol=1e-4, atol=1e-6)
    expected = {"loss": loss, "reconstruction": reconstruction, "kl": kl, "elbo": -reconstruction - kl,
                "grad_norm": optax.tree.norm(grads)}  # fmt: skip
    assert {k: float(v) for k, v in metrics.items()} == pytest.approx(
        {k: float(v) for k, v in expected.items()}, rel=1e-4
    )
    assert int(new.step) == 5


def test_microbatches_are_the_whole_batch_to_rounding():
    whole = run(*made())
    for pieces in (3, 12):
        small.assert_close(run(*made(microbatches=pieces)), whole, rtol=1e-4, atol=1e-6)


def test_a_batch_is_not_cut_in_unequal_pieces():
    step, state = made(microbatches=5)
    with pytest.raises(InputError, match=r"microbatches 5: expected a divisor of the batch"):
        run(step, state)
    for name, wrong in (("microbatches", 0), ("microbatches", True), ("shards", 0), ("shards", True)):
        with pytest.raises(InputError, match=f"{name} {wrong!r}: expected a whole number of at least 1"):
            made(**{name: wrong})


def test_microbatches_move_the_methods_state_once_a_step():
    """What of the state depends on no example is the whole batch's too: here it counts the losses."""
    method, tx = small.method("vae"), small.sgd(0.1)

    def loss(variables, keys, batch, step):
        objective = method.loss(variables, keys, batch, step)
        return objective._replace(state={**objective.state, "pieces": variables.state["pieces"] + 1})

    state = small.state(method, tx, BATCH)
    counting = {**state.variables.state, "pieces": jnp.zeros(())}
    state = state._replace(variables=state.variables._replace(state=counting))
    state, _ = run(make_train_step(method._replace(loss=loss), tx, microbatches=3), state, steps=2)
    assert float(state.variables.state["pieces"]) == 2


def test_microbatches_see_one_spectral_norm():
    method, tx = small.method("rae_sn", "gaussian"), small.sgd(0.1)
    state = small.state(method, tx, BATCH)
    whole, pieces = (run(make_train_step(method, tx, microbatches=m), state, steps=2) for m in (1, 4))
    small.assert_close(pieces, whole, rtol=1e-4, atol=1e-6)


def test_a_loss_that_couples_its_batch_is_not_cut_into_pieces():
    """Whoever's method it is: gaussian_optimal's variance is that of the whole batch."""
    step, state = made("gaussian_optimal", microbatches=3)
    with pytest.raises(
        InputError, match=r"accumulate 3 \(microbatches\): this loss couples the examples of a batch: expected 1"
    ):
        step(KEY, state, BATCH)


def in_shares(each, state, count):
    shares = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), BATCH)
    for _ in range(3):
        state, metrics = jax.device_get(each(KEY, state, shares))
        for leaf in jax.tree.leaves((state, metrics)):
            np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape), "replicas drift apart")
        state, metrics = jax.tree.map(lambda leaf: leaf[0], (state, metrics))
    return state, metrics


def by_pmap(step, state):
    return in_shares(jax.pmap(step, "data", in_axes=(None, None, 0), devices=jax.devices()[:2]), state, 2)


def by_vmap(step, state):
    return in_shares(jax.jit(jax.vmap(step, in_axes=(None, None, 0), axis_name="data")), state, 4)


def by_shard_map(step, state):
    specs = {"in_specs": (P(), P(), P("data")), "out_specs": P()}
    return run(jax.shard_map(step, mesh=parallel.make_mesh(data=4), **specs), state)


def by_sharded_jit(step, state):
    layout = parallel.Layout(parallel.make_mesh(data=4))
    return run(lambda key, state, batch: step(key, state, layout.shard(batch)), layout.put(state))


@pytest.fixture(scope="module")
def alone():
    """Three steps on one device, of a loss that couples the batch: its variance is that of all of it."""
    return run(*made("gaussian_optimal"))


@pytest.mark.parametrize(
    ("way", "axis_name"),
    [(by_pmap, "data"), (by_vmap, "data"), (by_shard_map, "data"), (by_sharded_jit, None)],
)
def test_devices_share_a_batch_and_nothing_changes(alone, way, axis_name):
    small.assert_close(way(*made("gaussian_optimal", axis_name=axis_name)), alone, rtol=1e-4, atol=1e-6)


def recorder():
    """A method whose state is the keys that its last loss was given."""

    def loss(variables, keys, batch, step):
        return Objective(jnp.full(len(batch.x), jnp.sum(variables.params)), jax.random.key_data(keys), {})

    nothing = lambda *_: None  # noqa: E731
    return Method(lambda key, batch: Variables(jnp.ones(2), jnp.zeros((12, 2), jnp.uint32)), loss, *[nothing] * 3)


def test_keys_are_a_pure_function_of_seed_step_and_example():
    method = recorder()
    step, state = jax.jit(make_train_step(method, small.sgd())), init_state(method, small.sgd(), KEY, BATCH)
    seen = set()
    for t in range(5):
        state, _ = step(KEY, state, BATCH)
        keys = np.asarray(state.variables.state)
        np.testing.assert_array_equal(keys, jax.random.key_data(random.example_keys(KEY, t, BATCH.index)))
        seen |= {tuple(key) for key in keys.tolist()}
    assert len(seen) == 5 * 12
    order = np.random.default_rng(0).permutation(12)
    again, _ = step(KEY, state._replace(step=jnp.asarray(4, jnp.int32)), small.part(BATCH, order))
    np.testing.assert_array_equal(again.variables.state, keys[order])
    other, _ = step(jax.random.key(6), state, BATCH)
    assert not {tuple(key) for key in np.asarray(other.variables.state).tolist()} & seen


def test_init_state_starts_at_step_zero_with_the_methods_variables_and_a_fresh_optimiser():
    method, tx = recorder(), optax.adam(1.0)
    state = init_state(method, tx, KEY, BATCH)
    assert int(state.step) == 0
    small.assert_same_bits(state.variables, Variables(jnp.ones(2), jnp.zeros((12, 2), jnp.uint32)))
    small.assert_same_bits(state.opt_state, tx.init(state.variables.params))


def test_eval_step_is_the_loss_of_each_example():
    method = small.method()
    variables = small.variables(method, BATCH)

    def call(fn):
        return fn(variables, random.example_keys(KEY, 0, BATCH.index), BATCH, jnp.asarray(0))

    objective = call(method.loss)
    small.assert_same_bits(call(make_eval_step(method)), {"loss": objective.loss, **objective.metrics})


def test_averaged_weights_are_what_is_evaluated():
    tx = optim.make("sgd", 0.5, b1=0.0, average=0.9)
    method = small.method()
    state, step = small.state(method, tx, BATCH), jax.jit(make_train_step(method, tx))
    average = state.variables.params
    for t in range(4):
        state, _ = step(KEY, state, BATCH)
        now = min(0.9, (1 + t) / (10 + t))
        average = jax.tree.map(lambda a, p, d=now: d * a + (1 - d) * p, average, state.variables.params)
    small.assert_close(optim.evaluated(state).params, average, rtol=1e-4)
    assert optim.evaluated(state).state is state.variables.state


@pytest.mark.parametrize("size", [1, FOLD**3 - 1, FOLD**3, FOLD**3 + 1, FOLD**4 + 5 * FOLD**2 + 7])
def test_the_global_norm_is_the_root_of_all_squares(size):
    rng = np.random.default_rng(size)
    tree = {"vector": rng.normal(size=size), "scalar": rng.normal(), "matrix": rng.normal(size=(3, size))}
    flat = np.concatenate([np.ravel(leaf) for leaf in tree.values()])
    norm = jax.jit(global_norm)(jax.tree.map(jnp.float32, tree))
    np.testing.assert_allclose(norm, np.linalg.norm(flat), rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("place", [0, FOLD**3, -1])
def test_the_global_norm_hides_nothing_that_is_not_finite(value, place):
    assert not np.isfinite(global_norm([jnp.zeros(FOLD**3 + 3).at[place].set(value)]))
