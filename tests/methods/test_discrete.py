"""Discrete codes: losses by hand in float64, codebooks against k-means in numpy, sums over every code of a model."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import quantize
from jaxae.errors import InputError
from jaxae.types import Variables

N, SCALE = 12, 0.5
STEP = jnp.asarray(0)
keys = small.keys
SETTINGS = {
    "vqvae": {"dim": 2, "codebook": 5},
    "rvq": {"dim": 2, "codebook": 3, "stages": 3},
    "fsq": {"levels": "4,3"},
    "categorical_vae": {"categories": 2},
}
POSITIONS = {"vqvae": 2, "rvq": 6, "fsq": 2, "categorical_vae": 2}
SIZES = {"vqvae": 5, "rvq": 3, "fsq": 12, "categorical_vae": 2}

every = pytest.mark.parametrize("name", list(SETTINGS))


def ready(name, latent=4, size=0.8, n=N, **hyper):
    """A method on linear networks with Gaussian pixels, its variables and a batch of grey images."""
    method = small.method(name, "gaussian", latent, **{**SETTINGS[name], **hyper})
    batch = small.batch(n, binary=False)
    return method, small.variables(method, batch, size=size), batch


start = small.jit(jax.vmap(quantize.start))


def with_books(variables, vectors):
    """Those variables with codebooks [stages, codes, dim] in the state."""
    books = start(np.asarray(vectors, np.float32))
    return variables._replace(state={**variables.state, "codebook": books})


def draw(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def linear(variables, side, x):
    layer = variables.params[side]["dense"]
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def pixels(batch):
    return np.asarray(batch.x, np.float64).reshape(len(batch.x), -1)


def nll(variables, z, batch):
    """-log p(x|z) of the linear decoder, in float64."""
    error = pixels(batch) - linear(variables, "decoder", z)
    return 0.5 * np.sum((error / SCALE) ** 2 + np.log(2 * np.pi * SCALE**2), axis=1)


def stages_by_hand(z, books):
    """(inputs, index, codes) of every stage, one search after the other; z [batch, positions, dim]."""
    left, found = z, []
    for book in np.asarray(books, np.float64):
        index = np.square(left[..., None, :] - book).sum(-1).argmin(-1)
        found.append((left, index, book[index]))
        left = left - book[index]
    return [np.stack(part) for part in zip(*found)]


def quantised_by_hand(variables, batch, books, dim=2):
    z = linear(variables, "encoder", pixels(batch)).reshape(len(batch.x), -1, dim)
    return z, *stages_by_hand(z, books)


# --- what all of them promise


@every
def test_whole_numbers_stand_for_the_reconstruction(name):
    method, variables, batch = ready(name)
    variables = started(variables)
    codes = method.discrete.encode(variables, batch)
    assert codes.shape == (N, POSITIONS[name]) and jnp.issubdtype(codes.dtype, jnp.integer)
    assert method.discrete.size == SIZES[name]
    assert 0 <= codes.min() < codes.max() < SIZES[name]
    np.testing.assert_allclose(
        method.discrete.decode(variables, codes), method.reconstruct(variables, batch), rtol=1e-5, atol=1e-6
    )
    other = method.discrete.decode(variables, (np.asarray(codes) + 1) % SIZES[name])
    assert np.abs(np.asarray(other) - np.asarray(method.reconstruct(variables, batch))).max() > 0.1


def started(variables):
    """With codebooks to choose from, where there are any."""
    own = variables.state.get("codebook")
    return variables if own is None else with_books(variables, draw(8, *own.vectors.shape))


@every
def test_a_state_of_zeros_stays_finite(name):
    method, variables, batch = ready(name)

    def loss(params):
        objective = method.loss(Variables(params, variables.state), keys(), batch, STEP)
        return objective.loss.mean(), objective

    grads, objective = small.jit(jax.grad(loss, has_aux=True))(variables.params)
    for leaf in jax.tree.leaves((grads, objective, small.jit(method.embed)(variables, batch))):
        assert np.isfinite(leaf).all()


@every
def test_an_examples_loss_and_gradient_do_not_depend_on_the_size_of_the_batch(name):
    method, variables, batch = ready(name)
    variables = started(variables)

    def losses(x, keys):
        return method.loss(variables, keys, batch._replace(x=x), STEP).loss

    some = np.asarray([7, 2, 4])
    part = small.part(batch, some)

    def losses_of_some(x):
        found = method.loss(variables, keys()[some], part._replace(x=x), STEP).loss
        return found.sum(), found

    whole = np.asarray(small.jit(losses)(batch.x, keys()))
    slopes = np.asarray(small.jit(jax.jacobian(lambda x: losses(x, keys())))(batch.x))
    own, alone = small.jit(jax.grad(losses_of_some, has_aux=True))(part.x)
    np.testing.assert_allclose(alone, whole[some], rtol=1e-5)
    np.testing.assert_allclose(own, slopes[some, some], rtol=1e-4, atol=1e-4)
    others = slopes[~np.eye(N, dtype=bool)]
    assert not others.any()


@pytest.mark.parametrize(
    ("name", "hyper", "said"),
    [
        ("vqvae", {"dim": 3}, "latent 4: expected a multiple of dim 3"),
        ("vqvae", {"dim": 0}, "dim 0: expected"),
        ("vqvae", {"codebook": 0}, "codebook 0: expected"),
        ("vqvae", {"update": "emma"}, "did you mean 'ema'"),
        ("rvq", {"stages": 0}, "stages 0: expected"),
        ("rvq", {"dim": 8}, "latent 4: expected a multiple of dim 8"),
        ("fsq", {"levels": "8,5,5"}, "latent 4: expected a multiple of 3"),
        ("fsq", {"levels": "8;5"}, "levels '8;5': expected numbers of at least 2"),
        ("fsq", {"levels": "4,1"}, "levels '4,1'"),
        ("fsq", {"levels": ""}, "levels ''"),
        ("fsq", {"levels": "4,-3"}, "levels '4,-3'"),
        ("fsq", {"levels": "65536,65536"}, "a product under 2^31"),
        ("categorical_vae", {"categories": 3}, "latent 4: expected a multiple of the 3 categories"),
        ("categorical_vae", {"categories": 0}, "categories 0: expected"),
    ],
)
def test_bad_input_is_said_in_one_line(name, hyper, said):
    with pytest.raises(InputError) as error:
        small.method(name, "gaussian", 4, **hyper)
    assert said in str(error.value) and "\n" not in str(error.value)


# --- vqvae


BOOK = draw(3, 1, 5, 2)


def by_straight_through(variables, e, batch):
    """The gradient of -log p(x|e) in e, which is passed on to the encoder."""
    kernel = np.asarray(variables.params["decoder"]["dense"]["kernel"], np.float64)
    return (linear(variables, "decoder", e.reshape(N, -1)) - pixels(batch)) / SCALE**2 @ kernel.T


def test_the_loss_and_its_gradient_by_hand_with_moving_averages():
    method, variables, batch = ready("vqvae", commitment=0.7)
    variables = with_books(variables, BOOK)
    z, _, _, codes = quantised_by_hand(variables, batch, BOOK)
    e = codes[0]
    objective = method.loss(variables, keys(), batch, STEP)
    reconstruction, distance = nll(variables, e.reshape(N, -1), batch), np.square(z - e).sum((1, 2))
    np.testing.assert_allclose(objective.metrics["reconstruction"], reconstruction, rtol=1e-5)
    np.testing.assert_allclose(objective.metrics["commitment"], distance, rtol=1e-4)
    np.testing.assert_allclose(objective.loss, reconstruction + 0.7 * distance, rtol=1e-5)
    np.testing.assert_allclose(method.embed(variables, batch), e.reshape(N, -1), rtol=1e-5)

    def mean_loss(params):
        return method.loss(variables._replace(params=params), keys(), batch, STEP).loss.mean()

    slope = small.jit(jax.grad(mean_loss))(variables.params)["encoder"]["dense"]["bias"]
    to_encoder = by_straight_through(variables, e, batch) + 2 * 0.7 * (z - e).reshape(N, -1)
    np.testing.assert_allclose(slope, to_encoder.mean(0), rtol=1e-4)


def test_the_codebook_by_gradient_descends_its_own_term_alone():
    method, variables, batch = ready("vqvae", update="gradient", commitment=0.7)
    assert set(variables.state) == {"likelihood"}
    variables = variables._replace(params={**variables.params, "codebook": jnp.asarray(BOOK, jnp.float32)})
    z, _, index, codes = quantised_by_hand(variables, batch, BOOK)
    objective = method.loss(variables, keys(), batch, STEP)
    distance = np.square(z - codes[0]).sum((1, 2))
    expected = nll(variables, codes[0].reshape(N, -1), batch) + 1.7 * distance
    np.testing.assert_allclose(objective.loss, expected, rtol=1e-5)

    def summed(params):
        return method.loss(variables._replace(params=params), keys(), batch, STEP).loss.sum()

    slopes = small.jit(jax.grad(summed))(variables.params)
    by_hand = np.stack([2 * (BOOK[0, k] - z[index[0] == k]).sum(0) for k in range(5)])[None]
    np.testing.assert_allclose(slopes["codebook"], by_hand, rtol=1e-4, atol=1e-5)
    to_encoder = by_straight_through(variables, codes[0], batch) + 2 * 0.7 * (z - codes[0]).reshape(N, -1)
    np.testing.assert_allclose(slopes["encoder"]["dense"]["bias"], to_encoder.sum(0), rtol=1e-4)


@pytest.mark.parametrize("name", ["vqvae", "rvq"])
def test_every_codebook_becomes_the_moving_average_of_what_it_was_given(name):
    method, variables, batch = ready(name, decay=0.8, restart=0.0)
    books = draw(4, *variables.state["codebook"].vectors.shape)
    variables = with_books(variables, books)
    stages, size, _ = books.shape
    count, total, vectors = np.full((stages, size), 1 / size), books / size, books
    for shift in range(3):  # the encoder moves, and with it what each code is given
        bias = np.asarray(variables.params["encoder"]["dense"]["bias"]) + np.float32(0.3 * shift)
        params = {**variables.params, "encoder": {"dense": {**variables.params["encoder"]["dense"], "bias": bias}}}
        variables = variables._replace(params=params)
        _, inputs, index, _ = quantised_by_hand(variables, batch, vectors)
        for s, k in itertools.product(range(stages), range(size)):
            mine = inputs[s][index[s] == k]
            count[s, k] = 0.8 * count[s, k] + 0.2 * len(mine) / index[s].size
            total[s, k] = 0.8 * total[s, k] + 0.2 * mine.sum(0) / index[s].size
        vectors = total / count[..., None]
        variables = variables._replace(state=method.loss(variables, keys(), batch, STEP).state)
    found = variables.state["codebook"]
    small.assert_close((found.vectors, found.count, found.total), (vectors, count, total), rtol=2e-4, atol=1e-5)


def test_a_loss_is_scored_with_the_codebook_before_its_update():
    """So that a held-out loss, whose new state nobody keeps, is a function of the model alone."""
    slow, variables, batch = ready("vqvae", decay=0.99)
    fast = ready("vqvae", decay=0.1, restart=1.0)[0]
    variables = with_books(variables, BOOK)
    one, other = (method.loss(variables, keys(), batch, STEP) for method in (slow, fast))
    small.assert_same_bits((one.loss, one.metrics), (other.loss, other.metrics))
    moved = (np.asarray(found.state["codebook"].vectors) for found in (one, other))
    assert np.abs(np.subtract(*moved)).max() > 0.1


@pytest.mark.parametrize("name", ["vqvae", "rvq"])
def test_a_batch_said_twice_moves_the_codebook_no_further(name):
    method, variables, batch = ready(name, restart=0.0)
    variables = started(variables)
    twice = jax.tree.map(lambda x: np.concatenate([x, x]), batch)
    once = method.loss(variables, keys(), batch, STEP).state
    small.assert_close(method.loss(variables, keys(2 * N), twice, STEP).state, once, rtol=1e-4, atol=1e-5)


def test_dead_codes_begin_again_at_vectors_of_the_batch():
    """Under a tenth of equal use is dead: of 5 codes, a share under 0.02."""
    method, variables, batch = ready("vqvae", decay=0.05, restart=0.1)
    own = linear(variables, "encoder", pixels(batch)).reshape(-1, 2)
    far = np.concatenate([own[[0, 5, 12]], np.full((1, 2), 100.0), np.full((1, 2), 200.0)])[None]
    variables = with_books(variables, far)
    z, _, index, _ = quantised_by_hand(variables, batch, far)
    assert not np.isin([3, 4], index).any() and (np.bincount(index.ravel(), minlength=5)[:3] > 0).all()
    book = method.loss(variables, keys(), batch, STEP).state["codebook"]
    book = jax.device_get(book)
    distance = np.abs(book.vectors[0, 3:][:, None] - z.reshape(-1, 2)[None]).max(-1)
    assert (distance.min(1) < 1e-5).all()
    assert distance[0].argmin() != distance[1].argmin()
    kept = ready("vqvae", decay=0.05, restart=0.0)[0].loss(variables, keys(), batch, STEP).state["codebook"]
    kept = jax.device_get(kept)
    np.testing.assert_allclose(book.vectors[0, :3], kept.vectors[0, :3], rtol=1e-6)
    np.testing.assert_allclose(kept.vectors[0, 3:], far[0, 3:], rtol=1e-3)


@pytest.mark.parametrize("name", ["vqvae", "rvq"])
def test_perplexity_is_that_of_the_use_of_the_codes(name):
    method, variables, batch = ready(name)
    variables = started(variables)
    codes = np.asarray(method.discrete.encode(variables, batch))
    stages = SETTINGS[name].get("stages", 1)
    expected = []
    for stage in range(stages):  # the stages of a position stand side by side
        share = np.bincount(codes[:, stage::stages].ravel()) / codes[:, stage::stages].size
        expected.append(np.exp(-sum(p * np.log(p) for p in share if p)))
    found = method.loss(variables, keys(), batch, STEP).metrics["batch_perplexity"]
    np.testing.assert_allclose(found, np.full(N, np.mean(expected)), rtol=1e-5)


@pytest.mark.parametrize("name", ["vqvae", "rvq"])
def test_codebooks_start_where_the_codes_are(name):
    """As draws with the moments of what they are given: most of the first codebook is in use at once."""
    method = small.method(name, "gaussian", 4, **{**SETTINGS[name], "codebook": 32})
    batch = small.batch(500, binary=False)
    variables = method.init(jax.random.key(1), batch)
    encoded = np.asarray(pixels(batch) @ np.asarray(variables.params["encoder"]["dense"]["kernel"])).reshape(-1, 2)
    vectors = np.asarray(variables.state["codebook"].vectors)
    np.testing.assert_allclose(vectors[0].mean(0), encoded.mean(0), atol=4 * encoded.std() / math.sqrt(32))
    np.testing.assert_allclose(vectors[0].std(0), encoded.std(0), rtol=0.5)
    stages = SETTINGS[name].get("stages", 1)
    used = np.unique(np.asarray(method.discrete.encode(variables, batch))[:, ::stages])
    assert len(used) > 16
    spreads = vectors.std(axis=(1, 2))
    assert (spreads[1:] < 0.7 * spreads[:-1]).all(), "each stage's codebook is as small as what is left over"


# --- rvq


def test_the_residual_loss_by_hand():
    method, variables, batch = ready("rvq", commitment=0.3)
    books = np.stack([draw(5, 3, 2), 0.5 * draw(6, 3, 2), 0.2 * draw(7, 3, 2)])
    variables = with_books(variables, books)
    z, _, index, codes = quantised_by_hand(variables, batch, books)
    partial_sums = np.cumsum(codes, axis=0)
    distances = sum(np.square(z - e).sum((1, 2)) for e in partial_sums)
    objective = method.loss(variables, keys(), batch, STEP)
    np.testing.assert_allclose(objective.metrics["commitment"], distances, rtol=1e-4)
    expected = nll(variables, partial_sums[-1].reshape(N, -1), batch) + 0.3 * distances
    np.testing.assert_allclose(objective.loss, expected, rtol=1e-5)
    np.testing.assert_allclose(method.embed(variables, batch), partial_sums[-1].reshape(N, -1), rtol=1e-4, atol=1e-5)
    found = np.asarray(method.discrete.encode(variables, batch)).reshape(N, 2, 3)
    np.testing.assert_array_equal(found, np.moveaxis(index, 0, -1))


def test_one_stage_is_a_vq_vae():
    one, variables, batch = ready("rvq", stages=1, codebook=5)
    plain = ready("vqvae")[0]
    variables = with_books(variables, BOOK)
    found, expected = (method.loss(variables, keys(), batch, STEP) for method in (one, plain))
    small.assert_same_bits(found, expected)


# --- fsq


@pytest.mark.parametrize("levels", ["4,3", "2,2", "5,5", "8,2"])
def test_the_grid_has_exactly_as_many_codes_as_said(levels):
    method, variables, batch = ready("fsq", size=20.0, n=3000, levels=levels, latent=2)
    first, second = map(int, levels.split(","))
    assert method.discrete.size == first * second
    # wide enough to reach the ends of each range, narrow enough not to jump over what is between
    spread = {"kernel": 3 * np.eye(6, 2, dtype=np.float32), "bias": np.full(2, -1.5, np.float32)}
    params = {**variables.params, "encoder": {"dense": spread}}
    batch = batch._replace(x=2 * np.asarray(batch.x) - 0.5)
    variables = variables._replace(params=params)
    codes, z = (np.asarray(part(variables, batch)) for part in (method.discrete.encode, method.embed))
    assert len(np.unique(codes)) == first * second
    for unit, level in enumerate((first, second)):
        np.testing.assert_allclose(
            np.unique(z[:, unit].round(5)), (np.arange(level) - level // 2) / (level // 2), atol=1e-5
        )
    assert len(np.unique(np.column_stack([codes[:, 0], z.round(5)]), axis=0)) == first * second


def test_fsq_trains_on_the_reconstruction_alone():
    method, variables, batch = ready("fsq")
    objective = method.loss(variables, keys(), batch, STEP)
    expected = nll(variables, np.asarray(method.embed(variables, batch), np.float64), batch)
    np.testing.assert_allclose(objective.loss, expected, rtol=1e-5)
    assert set(objective.metrics) == {"reconstruction"}
    slope = jax.grad(lambda p: method.loss(variables._replace(params=p), keys(), batch, STEP).loss.sum())
    assert all(np.any(leaf) for leaf in jax.tree.leaves(small.jit(slope)(variables.params)["encoder"]))


# --- categorical_vae


def log_q(variables, batch, categories=2):
    """log q of each variable's categories [batch, variables, categories], in float64."""
    logits = linear(variables, "encoder", pixels(batch)).reshape(len(batch.x), -1, categories)
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def enumerated(variables, batch, categories=2, count=2):
    """log p(x|z), log p(z), log q(z|x) [codes, batch] of every code."""
    parts = []
    for numbers in itertools.product(range(categories), repeat=count):
        z = np.tile(np.eye(categories)[list(numbers)].reshape(1, -1), (len(batch.x), 1))
        q = log_q(variables, batch, categories)[:, range(count), numbers].sum(-1)
        parts.append((-nll(variables, z, batch), np.full(len(q), -count * np.log(categories)), q))
    return [np.stack(part) for part in zip(*parts)]


def draws(fn, count=4000):
    return jax.device_get(
        small.jit(lambda seeds: jax.lax.map(lambda seed: fn(keys(seed=seed)), seeds))(jnp.arange(count))
    )


def test_the_elbo_and_the_evidence_are_the_sums_over_all_codes():
    method, variables, batch = ready("categorical_vae")
    log_px, log_pz, log_qz = enumerated(variables, batch)
    q = np.exp(log_qz)
    np.testing.assert_allclose(q.sum(0), 1, rtol=1e-9)
    log_w = draws(lambda keys: method.log_weight(variables, keys, batch))
    every = np.stack([log_px, log_pz, log_qz], -1)
    found = np.stack([log_w.likelihood, log_w.prior, log_w.posterior], -1)
    assert np.abs(found[:, None] - every[None]).max(-1).min(1).max() < 1e-3, "each draw is one of the codes"
    total = found.astype(np.float64) @ [1, 1, -1]

    elbo = (q * (log_px + log_pz - log_qz)).sum(0)
    sd = np.sqrt((q * np.square(log_px + log_pz - log_qz - elbo)).sum(0) / len(found))
    np.testing.assert_array_less(np.abs(total.mean(0) - elbo), 4.5 * sd)

    evidence = np.log(np.exp(log_px + log_pz).sum(0))
    weights = np.exp(total - evidence)  # of mean one
    se = np.sqrt((q * np.square(np.exp(log_px + log_pz - log_qz - evidence) - 1)).sum(0) / len(found))
    np.testing.assert_array_less(np.abs(weights.mean(0) - 1), 4.5 * se)
    assert (elbo < evidence).all()


def test_the_loss_is_minus_the_elbo_and_its_kl_is_in_closed_form():
    method, variables, batch = ready("categorical_vae")
    log_px, log_pz, log_qz = enumerated(variables, batch)
    q = np.exp(log_qz)
    metrics = method.loss(variables, keys(), batch, STEP).metrics
    np.testing.assert_allclose(metrics["kl"], (q * (log_qz - log_pz)).sum(0), rtol=1e-4)
    loss = draws(lambda keys: method.loss(variables, keys, batch, STEP).loss)
    elbo = (q * (log_px + log_pz - log_qz)).sum(0)
    sd = np.sqrt((q * np.square(log_px - (q * log_px).sum(0))).sum(0) / len(loss))
    np.testing.assert_array_less(np.abs(loss.mean(0) + elbo), 4.5 * sd + 1e-3)


def test_gumbel_draws_are_as_frequent_as_their_probability():
    """What is drawn is told by its log q: the codes of an example all have their own."""
    method, variables, batch = ready("categorical_vae")
    _, _, log_qz = enumerated(variables, batch)
    found = draws(lambda keys: method.log_weight(variables, keys, batch).posterior)
    which = np.abs(found[:, None] - log_qz[None]).argmin(1)
    assert np.abs(np.diff(np.sort(log_qz, axis=0), axis=0)).min() > 1e-3
    for code in range(len(log_qz)):
        p = np.exp(log_qz[code])
        share = (which == code).mean(0)
        np.testing.assert_array_less(np.abs(share - p), 4.5 * np.sqrt(p * (1 - p) / len(found)))


def test_samples_are_uniform_over_the_codes():
    method, variables, _ = ready("categorical_vae")
    codes = jnp.asarray(list(itertools.product(range(2), repeat=2)), jnp.int32)
    pictures = np.asarray(method.discrete.decode(variables, codes)).reshape(4, -1)
    found = np.asarray(method.sample(variables, keys(4000))).reshape(4000, -1)
    distance = np.abs(found[:, None] - pictures[None]).max(-1)
    assert distance.min(1).max() < 1e-5
    share = np.bincount(distance.argmin(1), minlength=4) / 4000
    np.testing.assert_array_less(np.abs(share - 0.25), 4.5 * np.sqrt(0.25 * 0.75 / 4000))


def test_embed_is_the_most_likely_code():
    method, variables, batch = ready("categorical_vae", latent=6, categories=3)
    expected = np.eye(3)[log_q(variables, batch, 3).argmax(-1)].reshape(N, -1)
    np.testing.assert_array_equal(method.embed(variables, batch), expected)


def test_the_temperature_moves_the_relaxed_loss_to_the_hard_one_and_the_hard_gradient_alone():
    _, variables, batch = ready("categorical_vae")

    def graded(hard, temperature):
        method = ready("categorical_vae", hard=hard, temperature=temperature)[0]
        mean = lambda p: method.loss(variables._replace(params=p), keys(), batch, STEP).loss.mean()  # noqa: E731
        value, slopes = jax.device_get(small.jit(jax.value_and_grad(mean))(variables.params))
        return float(value), slopes

    (one, slope), (cold, colder) = graded(True, 1.0), graded(True, 0.3)
    assert one == cold
    assert np.abs(slope["encoder"]["dense"]["bias"] - colder["encoder"]["dense"]["bias"]).max() > 1e-2
    small.assert_close(slope["decoder"], colder["decoder"], rtol=1e-5)
    soft = [graded(False, temperature)[0] for temperature in (1.0, 0.3, 1e-3)]
    assert abs(soft[0] - one) > abs(soft[1] - one) > 1e-3
    assert soft[2] == pytest.approx(one, rel=1e-4)


def test_the_hard_gradient_is_the_softmaxs_at_the_one_hot_sample():
    """Jang et al. 2016, section 2.2: what reaches the one-hot z goes through the softmax's Jacobian."""
    tau = 0.6
    method, variables, batch = ready("categorical_vae", temperature=tau)
    noise = small.jit(jax.vmap(lambda key: jax.random.gumbel(key, (2, 2))))(keys())
    log_p = log_q(variables, batch)
    y = (log_p + np.asarray(noise, np.float64)) / tau
    soft = np.exp(y) / np.exp(y).sum(-1, keepdims=True)
    z = np.eye(2)[y.argmax(-1)].reshape(N, -1)
    kernel = np.asarray(variables.params["decoder"]["dense"]["kernel"], np.float64)
    error = (linear(variables, "decoder", z) - pixels(batch)) / SCALE**2
    to_soft = (error @ kernel.T).reshape(N, 2, 2)
    through = soft * (to_soft - (soft * to_soft).sum(-1, keepdims=True)) / tau
    p = np.exp(log_p)
    kl = p * (log_p - (p * log_p).sum(-1, keepdims=True))
    total = lambda params: method.loss(variables._replace(params=params), keys(), batch, STEP).loss.sum()  # noqa: E731
    slope = small.jit(jax.grad(total))(variables.params)
    np.testing.assert_allclose(
        slope["encoder"]["dense"]["bias"], (through + kl).reshape(N, -1).sum(0), rtol=1e-3, atol=1e-4
    )


@pytest.mark.parametrize("name", ["vqvae", "rvq", "fsq"])
def test_without_a_density_there_is_nothing_to_sample(name):
    method = small.method(name, "gaussian", 4, **SETTINGS[name])
    assert method.sample is None and method.log_weight is None and method.posterior is None


def test_a_schedule_anneals_the_temperature():
    _, variables, batch = ready("categorical_vae")

    def loss(temperature, step):
        method = ready("categorical_vae", hard=False, temperature=temperature)[0]
        return method.loss(variables, keys(), batch, jnp.asarray(step)).loss

    np.testing.assert_allclose(loss(lambda step: 2.0 - step / 10, 5), loss(1.5, 0), rtol=1e-5)
