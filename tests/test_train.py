"""The step does what the formula says, however the batch is cut, and a chunk is its steps and nothing else."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from jax.sharding import PartitionSpec

from jaxae import optim, parallel, random
from jaxae.data import pixels
from jaxae.data.feed import Feed
from jaxae.data.source import Split
from jaxae.names import LIKELIHOODS
from jaxae.train import init_state, make_eval_step, make_train_chunk, make_train_step
from jaxae.types import Method, Objective, TrainState, Variables

KEY = jax.random.key(5)
P = PartitionSpec
BATCH = small.batch()
CUTS = {"vae": ("vae", "bernoulli"), "vae, a variance of the whole batch": ("vae", "gaussian_optimal"), "ae": ("ae", "gaussian")}


def made(name="vae", likelihood="bernoulli", **options):
    method = small.method(name, likelihood)
    return make_train_step(method, small.sgd(0.1), **options), small.state(method, small.sgd(0.1), BATCH)


def run(step, state, steps=3, key=KEY):
    step = jax.jit(step)
    for _ in range(steps):
        state, metrics = step(key, state, BATCH)
    return jax.device_get((state, metrics))


@pytest.fixture(scope="module")
def alone():
    """Three steps on one device, by the names of CUTS."""
    return {name: run(*made(*which)) for name, which in CUTS.items()}


def by_hand(params, step):
    """-ELBO at beta 2.5 of the small VAE, mean over BATCH, from the formula and jax.random alone."""
    at = jax.random.fold_in(KEY, step)
    noise = jnp.stack([jax.random.normal(jax.random.fold_in(at, i), (2,)) for i in range(len(BATCH.x))])
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
    assert {k: float(v) for k, v in metrics.items()} == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-4)
    assert int(new.step) == 5


@pytest.mark.parametrize("pieces", [2, 3, 12])
def test_microbatches_are_the_whole_batch_to_rounding(alone, pieces):
    state, metrics = run(*made(microbatches=pieces))
    small.assert_close(state, alone["vae"][0], rtol=1e-4, atol=1e-6)
    small.assert_close(metrics, alone["vae"][1], rtol=1e-4)


def test_microbatches_pass_the_methods_state_on():
    """gaussian_optimal's running weight counts every piece."""
    state, _ = run(*made("vae", "gaussian_optimal", microbatches=3), steps=1)
    assert float(state.variables.state["likelihood"]["weight"]) == pytest.approx(1 - 0.99**3)


@pytest.mark.parametrize("name", CUTS)
@pytest.mark.parametrize("way", ["pmap", "vmap", "shard_map", "sharded jit"])
def test_devices_share_a_batch_and_nothing_changes(alone, name, way):
    state, metrics = DEVICES[way](*CUTS[name])
    small.assert_close(state, alone[name][0], rtol=1e-4, atol=1e-6)
    small.assert_close(metrics, alone[name][1], rtol=1e-4)


def by_pmap(*which, count=2):
    step, state = made(*which, axis_name="data")
    each = jax.pmap(step, "data", in_axes=(None, None, 0), devices=jax.devices()[:count])
    return in_shares(each, state, count)


def by_vmap(*which, count=4):
    step, state = made(*which, axis_name="data")
    return in_shares(jax.jit(jax.vmap(step, in_axes=(None, None, 0), axis_name="data")), state, count)


def in_shares(each, state, count):
    shares = jax.tree.map(lambda x: x.reshape(count, -1, *x.shape[1:]), BATCH)
    for _ in range(3):
        state, metrics = jax.device_get(each(KEY, state, shares))
        for leaf in jax.tree.leaves((state, metrics)):
            np.testing.assert_array_equal(leaf, np.broadcast_to(leaf[:1], leaf.shape), "replicas drift apart")
        state, metrics = jax.tree.map(lambda leaf: leaf[0], (state, metrics))
    return state, metrics


def by_shard_map(*which):
    step, state = made(*which, axis_name="data")
    specs = {"in_specs": (P(), P(), P("data")), "out_specs": P()}
    return run(jax.shard_map(step, mesh=parallel.data_mesh(4), **specs), state)


def by_sharded_jit(*which):
    step, state = made(*which)
    mesh = parallel.data_mesh(4)
    place = parallel.shard(mesh)
    return run(lambda key, state, batch: step(key, state, place(batch)), parallel.replicate(mesh, state))


DEVICES = {"pmap": by_pmap, "vmap": by_vmap, "shard_map": by_shard_map, "sharded jit": by_sharded_jit}


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
    small.assert_same_bits(state.variables, method.init(KEY, BATCH))
    small.assert_same_bits(state.opt_state, tx.init(state.variables.params))


def test_eval_step_is_the_loss_of_each_example():
    method = small.method()
    variables = small.variables(method, BATCH)
    keys = random.example_keys(KEY, 0, BATCH.index)
    terms = make_eval_step(method)(variables, keys, BATCH, jnp.asarray(0))
    objective = method.loss(variables, keys, BATCH, jnp.asarray(0))
    small.assert_same_bits(terms, {"loss": objective.loss, **objective.metrics})
    assert terms["loss"].shape == (12,)


# --- chunks

STEPS, CAPACITY = 24, 24
ROWS = np.random.default_rng(0).integers(0, 256, (29, *small.SHAPE), dtype=np.uint8)
SPLIT = Split(ROWS, np.arange(29, dtype=np.int32) % 3)
SPLITS = {"one by one": (24, [1] * 24), "unequal": (24, [5, 7, 12]), "small calls": (5, [5, 4, 5, 5, 5]),
          "room to spare": (31, [23, 1])}  # fmt: skip


def feed_of(capacity, resident=True):
    return Feed(SPLIT, pixels.make("dynamic"), 3, 12, capacity, resident=resident)


def made_chunk(likelihood="bernoulli", tx=None, capacity=CAPACITY, traces=1):
    """(compiled chunk, first state, feed). It may be traced `traces` times."""
    method, tx = small.method("vae", likelihood), tx or optax.adam(1e-2)
    feed = feed_of(capacity)
    chunk = make_train_chunk(make_train_step(method, tx), feed.fetch)
    chex.clear_trace_counter()
    return jax.jit(chex.assert_max_traces(chunk, n=traces), donate_argnums=1), small.state(method, tx, BATCH), feed


def chunked(capacity, counts, **options):
    chunk, state, feed = made_chunk(capacity=capacity, **options)
    metrics = []
    for count in counts:
        result = chunk(KEY, state, feed.data, feed.at(int(state.step), count), count)
        assert int(result.done) == count
        state = result.state
        metrics.append(jax.tree.map(lambda x, n=count: np.asarray(x[:n]), result.metrics))
    return jax.device_get(state), jax.tree.map(lambda *rows: np.concatenate(rows), *metrics)


@pytest.fixture(scope="module")
def at_once():
    return chunked(CAPACITY, [STEPS])


def test_a_chunk_is_its_steps_one_after_the_other(at_once):
    method, tx, feed = small.method(), optax.adam(1e-2), feed_of(1)
    state, step = small.state(method, tx, BATCH), make_train_step(method, tx)
    one = jax.jit(lambda state, row: step(random.stream(KEY, "noise"), state, feed.fetch(KEY, state.step, feed.data, row)))
    for t in range(STEPS):
        state, metrics = one(state, feed.at(t, 1)[0])
        assert float(metrics["loss"]) == pytest.approx(float(at_once[1]["loss"][t]), rel=1e-5)
    small.assert_close(jax.device_get(state), at_once[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("split", SPLITS)
def test_no_split_into_calls_changes_a_bit(at_once, split):
    small.assert_same_bits(chunked(*SPLITS[split]), at_once)


@pytest.mark.parametrize("likelihood", LIKELIHOODS)
def test_one_trace_serves_calls_of_every_length(likelihood):
    chunk, state, feed = made_chunk(likelihood)
    for count in (1, 8, 3):
        state = chunk(KEY, state, feed.data, feed.at(int(state.step), count), count).state
    assert chunk._cache_size() == 1


def test_the_state_is_donated():
    chunk, state, feed = made_chunk()
    state = jax.device_put(state)
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


def trained(method, x, steps, rate, latent_key=KEY):
    """Full batches, by the compiled chunk, with a learning rate that falls to zero."""
    tx = optax.adam(optax.cosine_decay_schedule(rate, steps))
    whole = small.batch(len(x))._replace(x=jnp.asarray(x, jnp.float32))
    state = small.state(method, tx, whole, seed=1)
    chunk = jax.jit(make_train_chunk(make_train_step(method, tx), lambda key, step, data, row: data))
    done = chunk(latent_key, state, whole, jnp.zeros(steps), steps)
    assert int(done.done) == steps
    return done.state.variables, whole


def test_a_linear_vae_reaches_the_likelihood_of_probabilistic_pca():
    """Tipping and Bishop 1999, eq. 4, 7 and 8: the maximum likelihood of N(mean, W W' + s^2 I), in closed form."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 2)) @ rng.normal(size=(2, small.D)) + 0.3 * rng.normal(size=(200, small.D)) + 0.5
    s = np.cov(x.T, bias=True)
    spectrum, axes = np.linalg.eigh(s)
    noise = spectrum[:-2].mean()
    w = axes[:, -2:] * np.sqrt(spectrum[-2:] - noise)
    best = marginal(x, w.T, x.mean(0), noise).mean()
    variables, whole = trained(small.method("vae", "gaussian_learned"), x.reshape(-1, *small.SHAPE), 3000, 0.03)
    decoder = jax.tree.map(np.asarray, variables.params["decoder"]["dense"])
    variance = float(np.exp(variables.params["likelihood"]["log_var"]))
    reached = marginal(x, decoder["kernel"], decoder["bias"], variance).mean()
    assert best - 0.02 < reached <= best + 1e-4
    elbo = small.method("vae", "gaussian_learned").loss(
        variables, random.example_keys(KEY, 0, whole.index), whole, jnp.asarray(0)
    ).metrics["elbo"]  # fmt: skip
    assert abs(float(elbo.mean()) - best) < 4 * float(elbo.std()) / np.sqrt(200)


def marginal(x, w, b, variance):
    """log N(x; b, w'w + variance I), in float64."""
    c = np.asarray(w, np.float64).T @ w + variance * np.eye(x.shape[1])
    centred = x - b
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(c), centred)
    return -0.5 * (x.shape[1] * np.log(2 * np.pi) + np.linalg.slogdet(c)[1] + quadratic)


@pytest.mark.parametrize("likelihood", ["gaussian", "gaussian_optimal"])
def test_a_linear_ae_reaches_the_reconstruction_error_of_pca(digits, likelihood):
    from sklearn.decomposition import PCA

    x = digits.train.rows[:600].astype(np.float64) / 255
    flat = x.reshape(len(x), -1)
    pca = PCA(8).fit(flat)
    best = np.square(pca.inverse_transform(pca.transform(flat)) - flat).mean()
    method = small.method("ae", likelihood, latent=8, shape=(8, 8, 1))
    variables, whole = trained(method, x, 1200, 0.01)
    error = float(jnp.mean(jnp.square(method.reconstruct(variables, whole) - whole.x)))
    assert best * (1 - 1e-4) <= error < 1.01 * best


