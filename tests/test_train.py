"""The step does what the formula says, however the batch is cut; a chunk is its steps and nothing else."""

from functools import cache, partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from jax.sharding import PartitionSpec
from sklearn.decomposition import PCA

from jaxae import optim, parallel, random
from jaxae.build import build
from jaxae.config import Config
from jaxae.data import pixels
from jaxae.data.feed import Feed
from jaxae.data.source import Split
from jaxae.names import LIKELIHOODS
from jaxae.train import init_state, make_eval_step, make_train_chunk, make_train_step
from jaxae.types import Method, Objective, TrainState, Variables

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
    (loss, (reconstruction, kl)), grads = jax.jit(jax.value_and_grad(by_hand, has_aux=True))(
        state.variables.params, 4
    )
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


def test_microbatches_pass_the_methods_state_on():
    """gaussian_optimal's running weight counts every piece."""
    state, _ = run(*made("gaussian_optimal", microbatches=3), steps=1)
    assert float(state.variables.state["likelihood"]["weight"]) == pytest.approx(1 - 0.99**3)


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
    return run(jax.shard_map(step, mesh=parallel.data_mesh(4), **specs), state)


def by_sharded_jit(step, state):
    mesh = parallel.data_mesh(4)
    place = parallel.shard(mesh)
    return run(lambda key, state, batch: step(key, state, place(batch)), parallel.replicate(mesh, state))


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
    return Method(
        lambda key, batch: Variables(jnp.ones(2), jnp.zeros((12, 2), jnp.uint32)), loss, *[nothing] * 3
    )


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


# --- chunks

STEPS, CAPACITY, ADAM = 24, 24, optax.adam(1e-2)
ROWS = np.random.default_rng(0).integers(0, 256, (29, *small.SHAPE), dtype=np.uint8)
SPLIT = Split(ROWS, np.arange(29, dtype=np.int32) % 3)
SPLITS = {"one by one": (24, [1] * 24), "unequal": (24, [5, 7, 12]), "small calls": (5, [5, 4, 5, 5, 5]),
          "room to spare": (31, [23, 1])}  # fmt: skip


def feed_of(capacity, resident=True):
    return Feed(SPLIT, pixels.make("dynamic"), 3, 12, capacity, resident=resident)


@cache
def compiled(capacity):
    """(chunk, feed); the chunk may be traced once."""
    feed = feed_of(capacity)
    chunk = make_train_chunk(make_train_step(small.method(), ADAM), feed.fetch)
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(chunk, n=1), donate_argnums=1), feed


def chunked(capacity, counts):
    chunk, feed = compiled(capacity)
    state, metrics = small.state(small.method(), ADAM, BATCH), []
    for count in counts:
        result = chunk(KEY, state, feed.data, feed.at(int(state.step), count), count)
        assert int(result.done) == count
        state = result.state
        metrics.append(jax.tree.map(lambda x, n=count: np.asarray(x[:n]), result.metrics))
    assert chunk._cache_size() == 1
    return jax.device_get(state), jax.tree.map(lambda *rows: np.concatenate(rows), *metrics)


@pytest.fixture(scope="module")
def at_once():
    return chunked(CAPACITY, [STEPS])


def test_a_chunk_is_its_steps_one_after_the_other(at_once):
    feed, state, step = (
        feed_of(1),
        small.state(small.method(), ADAM, BATCH),
        make_train_step(small.method(), ADAM),
    )
    one = jax.jit(
        lambda state, row: step(
            random.stream(KEY, "noise"), state, feed.fetch(KEY, state.step, feed.data, row)
        )
    )
    for t in range(STEPS):
        state, metrics = one(state, feed.at(t, 1)[0])
        assert float(metrics["loss"]) == pytest.approx(float(at_once[1]["loss"][t]), rel=1e-5)
    small.assert_close(jax.device_get(state), at_once[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("split", SPLITS)
def test_no_split_into_calls_changes_a_bit_nor_compiles_again(at_once, split):
    small.assert_same_bits(chunked(*SPLITS[split]), at_once)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_a_step_leads_to_a_state_of_the_same_type(likelihood):
    """Down to JAX's weak types: else the second call would compile again."""
    method = small.method("vae", likelihood)
    before = jax.eval_shape(partial(init_state, method, ADAM), KEY, BATCH)
    after, _ = jax.eval_shape(make_train_step(method, ADAM), KEY, before, BATCH)
    kinds = [
        jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype, leaf.weak_type), tree) for tree in (before, after)
    ]
    assert kinds[0] == kinds[1]


def test_the_state_is_donated():
    chunk, feed = compiled(CAPACITY)
    state = jax.device_put(small.state(small.method(), ADAM, BATCH))
    result = chunk(KEY, state, feed.data, feed.at(0, 2), 2)
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves(state.variables.params))
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((result.state, feed.data)))


def bad_at(fifth, otherwise):
    """A method whose loss of a scalar parameter is `fifth` at step 5."""

    def loss(variables, keys, batch, step):
        value = jax.lax.cond(step == 5, fifth, otherwise, variables.params)
        return Objective(jnp.full(len(batch.x), value), (), {})

    return Method(lambda *_: Variables(jnp.ones(())), loss, *[lambda *_: None] * 3)


NOT_FINITE = {
    "a loss of nan": (lambda p: p * jnp.nan, np.nan),
    "a loss of infinity": (lambda p: p / 0.0, np.inf),
    "a gradient of infinity": (lambda p: jnp.sqrt(p - jax.lax.stop_gradient(p)), 0.0),
}


@pytest.mark.parametrize("what", NOT_FINITE)
def test_stops_after_the_first_step_that_is_not_finite(what):
    fifth, value = NOT_FINITE[what]
    feed = feed_of(10)
    step = make_train_step(bad_at(fifth, lambda p: p * 1.0), small.sgd(0.1))
    state = TrainState(jnp.zeros((), jnp.int32), Variables(jnp.ones(())), small.sgd().init(jnp.ones(())))
    done = jax.jit(make_train_chunk(step, feed.fetch))(KEY, state, feed.data, feed.at(0, 10), 10)
    assert int(done.done) == int(done.state.step) == 6
    np.testing.assert_allclose(done.metrics["loss"][:5], 1 - 0.1 * np.arange(5), rtol=1e-6)
    np.testing.assert_equal(np.asarray(done.metrics["loss"][5]), np.float32(value))
    assert not np.isfinite([done.metrics["loss"][5], done.metrics["grad_norm"][5]]).all()
    assert np.isnan(done.metrics["loss"][6:]).all()


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


# --- the lesson of the textbook: linear models find the principal subspace


def trained(method, x, steps, rate):
    """Full batches, by the compiled chunk, with a learning rate that falls to zero."""
    tx = optax.adam(optax.cosine_decay_schedule(rate, steps))
    whole = small.batch(len(x))._replace(x=jnp.asarray(x, jnp.float32))
    chunk = jax.jit(make_train_chunk(make_train_step(method, tx), lambda key, step, data, row: data))
    done = chunk(KEY, small.state(method, tx, whole, seed=1), whole, jnp.zeros(steps), steps)
    assert int(done.done) == steps
    return done.state.variables, whole


def test_a_linear_vae_reaches_the_likelihood_of_probabilistic_pca():
    """Tipping and Bishop 1999, eq. 4, 7, 8: the maximum likelihood of N(mean, W W' + s^2 I) in closed form."""
    rng = np.random.default_rng(0)
    x = (
        rng.normal(size=(200, 2)) @ rng.normal(size=(2, small.D))
        + 0.3 * rng.normal(size=(200, small.D))
        + 0.5
    )
    s = np.cov(x.T, bias=True)
    spectrum, axes = np.linalg.eigh(s)
    noise = spectrum[:-2].mean()
    w = axes[:, -2:] * np.sqrt(spectrum[-2:] - noise)
    best = marginal(x, w.T, x.mean(0), noise).mean()
    method = small.method("vae", "gaussian_learned")
    variables, whole = trained(method, x.reshape(-1, *small.SHAPE), 2000, 0.03)
    decoder = jax.tree.map(np.asarray, variables.params["decoder"]["dense"])
    variance = float(np.exp(variables.params["likelihood"]["log_var"]))
    reached = marginal(x, decoder["kernel"], decoder["bias"], variance).mean()
    assert best - 0.02 < reached <= best + 1e-4
    keys = random.example_keys(KEY, 0, whole.index)
    elbo = jax.jit(method.loss)(variables, keys, whole, jnp.asarray(0)).metrics["elbo"]
    assert abs(float(elbo.mean()) - best) < 4 * float(elbo.std()) / np.sqrt(200)


def marginal(x, w, b, variance):
    """log N(x; b, w'w + variance I), in float64."""
    c = np.asarray(w, np.float64).T @ w + variance * np.eye(x.shape[1])
    centred = x - b
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(c), centred)
    return -0.5 * (x.shape[1] * np.log(2 * np.pi) + np.linalg.slogdet(c)[1] + quadratic)


def test_a_linear_ae_reaches_the_reconstruction_error_of_pca_on_digits():
    """Baldi and Hornik 1989: the global minimum of its squared error is PCA: no four-unit code beats that."""
    setup = build(
        Config(method="ae", latent=4, batch_size=200, steps=800, learning_rate="cosine(0.03, 0, 100%)")
    )
    feed = Feed(setup.source.train, setup.pixels, 0, 200, setup.total, resident=True)
    chunk = jax.jit(make_train_chunk(make_train_step(setup.method, setup.tx), feed.fetch))
    state = chunk(setup.key, setup.init(), feed.data, feed.at(0, setup.total), setup.total).state
    reconstruct = jax.jit(setup.method.reconstruct)
    error = setup.view("train").map(
        lambda b: jnp.mean(jnp.square(reconstruct(state.variables, b) - b.x), (1, 2, 3))
    )
    flat = setup.source.train.rows.reshape(1257, -1) / 255
    pca = PCA(4).fit(flat)
    best = np.square(pca.inverse_transform(pca.transform(flat)) - flat).mean()
    assert best * (1 - 1e-4) <= error.mean() < 1.01 * best
