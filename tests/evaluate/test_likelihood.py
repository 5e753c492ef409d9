"""Held-out likelihoods against a linear-Gaussian model's closed form; their errors against repetition."""

import contextlib
import inspect
from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small

from jaxae import Config, random, run
from jaxae.build import build
from jaxae.data import arrays, pixels
from jaxae.data.source import Source, Split
from jaxae.data.view import View, at_once
from jaxae.evaluate import likelihood as module
from jaxae.evaluate.bench import Bench, Model, Settings
from jaxae.evaluate.likelihood import _means, by_parts, importance, likelihood, monte_carlo
from jaxae.types import Batch, LogWeight, Variables
from tests import made

N, SCALE = 23, 0.5
ROWS = np.random.default_rng(1).random((N, *small.SHAPE)).astype(np.float32)
FLAT = ROWS.reshape(N, -1).astype(np.float64)
SPLIT = Split(ROWS, np.zeros(N, np.int32))
SOURCE = Source("noise", small.SHAPE, SPLIT, SPLIT, SPLIT, about="noise")
GREY = pixels.make("none")
KEY = jax.random.key(4)
LATENTS = [1, 4]
WIDER = 0.8  # of the log-variance: the q that is not the posterior


def view(chunk=10):
    return View(SPLIT, GREY, KEY, chunk)


def evaluate(method, variables, view, samples, step):
    bench = Bench("it", lambda numbers: method, SOURCE, lambda split: view, settings=Settings(samples))
    return likelihood(bench)([Model({}, variables, step)])[0]


@cache
def whole():
    return view(N).take(np.arange(N))


@cache
def vae(latent):
    return small.method("vae", "gaussian", latent, scale=SCALE)


@cache
def model(latent, wider=0.0):
    """(known weights, log p(x) of every row under them). q is the posterior, but for `wider`, added to its
    log-variance. The decoder's columns are orthogonal, so that the posterior is diagonal."""
    rng = np.random.default_rng(latent)
    w = np.linalg.qr(rng.normal(size=(small.D, latent)))[0].T * np.linspace(0.6, 1.4, latent)[:, None]
    b = rng.normal(size=small.D)
    m = w @ w.T + SCALE**2 * np.eye(latent)
    to_mean = w.T @ np.linalg.inv(m)
    log_var = np.log(SCALE**2 / np.diag(m)) + wider
    encoder = {
        "kernel": np.concatenate([to_mean, np.zeros_like(to_mean)], axis=1),
        "bias": np.concatenate([-b @ to_mean, log_var]),
    }
    params = {"encoder": {"dense": encoder}, "decoder": {"dense": {"kernel": w, "bias": b}}, "likelihood": {}}
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), params)
    return Variables(params, {"likelihood": ()}), log_marginal(w, b)


def log_marginal(w, b):
    """log N(x; b, W'W + s^2 I) of every row."""
    c = w.T @ w + SCALE**2 * np.eye(small.D)
    centred = FLAT - b
    quadratic = np.einsum("ni,ij,nj->n", centred, np.linalg.inv(c), centred)
    return -0.5 * (small.D * np.log(2 * np.pi) + np.linalg.slogdet(c)[1] + quadratic)


@cache
def estimator(latent, samples, block):
    estimate = importance(vae(latent), samples, block)
    return small.jit(lambda variables, key, batch: estimate(variables, random.example_keys(key, 0, batch.index), batch))


def estimates(variables, samples, block, latent=2):
    return estimator(latent, samples, block)(variables, KEY, whole())


@pytest.fixture(scope="module")
def measures():
    return evaluate(vae(2), model(2, WIDER)[0], view(), 3000, 7)


@pytest.mark.parametrize("latent", LATENTS)
def test_with_the_exact_posterior_every_weight_is_the_likelihood(latent):
    variables, log_p = model(latent)
    of = estimates(variables, 3000, 1000, latent)
    np.testing.assert_allclose(of["log_p"], log_p, atol=1e-4)
    np.testing.assert_allclose(of["elbo"], log_p, atol=1e-4)
    np.testing.assert_allclose(of["ess"], 3000, rtol=1e-4)
    assert float(of["log_p_var"].max()) < 1e-7
    assert float(of["elbo_var"].max()) < 1e-7


@pytest.mark.parametrize("block", [1, 3, 4, 7])
def test_weights_of_zero_are_weights(block):
    """The first three of seven: log p is that of the others, and the ELBO has no floor, whatever the block."""
    log_w = jnp.asarray([-jnp.inf, -jnp.inf, -jnp.inf, 0.3, -1.0, 0.7, -jnp.inf])
    none = jnp.zeros(N)

    def weight(variables, numbers, batch):
        return LogWeight(jnp.broadcast_to(log_w[numbers], (N,)), none, none)

    method = vae(2)._replace(log_weight=weight)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "numbered", lambda keys, number: jnp.full(N, number))
        of = importance(method, 7, block)(None, jnp.zeros((N,), jnp.int32), whole())
    np.testing.assert_allclose(of["log_p"], np.log(np.mean(np.exp(log_w))), rtol=1e-5)
    w = np.exp(np.asarray(log_w, np.float64))
    np.testing.assert_allclose(of["ess"], w.sum() ** 2 / np.sum(w**2), rtol=1e-5)
    assert (np.asarray(of["elbo"]) == -np.inf).all()
    np.testing.assert_array_equal(of["kl"], 0.0)  # its terms are those of each weight, not what is left of infinity


@pytest.mark.parametrize("latent", LATENTS)
def test_importance_weighting_is_right_within_its_own_error(latent):
    variables, log_p = model(latent, WIDER)
    of = estimates(variables, 3000, 1000, latent)
    se = np.sqrt(np.asarray(of["log_p_var"]).sum()) / N
    assert abs(float(of["log_p"].mean()) - log_p.mean()) < 3 * se < 0.1
    assert (np.asarray(of["elbo"]) < log_p).all()


def test_nll_is_right_within_its_own_error(measures):
    assert abs(measures["nll"] + model(2)[1].mean()) < 3 * measures["nll_mc_se"] < 0.1
    assert (measures["samples"], measures["step"]) == (3000, 7)


def test_elbo_is_log_p_less_the_divergence_from_the_posterior(measures):
    """KL(q || posterior) where q is wider: (exp(0.8) - 0.8 - 1) / 2 a unit."""
    gap = 2 * (np.exp(WIDER) - WIDER - 1) / 2
    assert abs(measures["elbo"] - (model(2)[1].mean() - gap)) < 4 * measures["elbo_mc_se"] < 0.05
    assert measures["elbo"] < -measures["nll"]
    assert measures["elbo"] == pytest.approx(-(measures["reconstruction"] + measures["kl"]), rel=1e-6)


def test_terms_of_the_elbo_are_the_analytic_ones(measures):
    variables, _ = model(2, WIDER)
    q = vae(2).posterior(variables, whole())
    mean, var = np.asarray(q.mean, np.float64), np.exp(np.asarray(q.log_var, np.float64))
    kl = 0.5 * (mean**2 + var - np.log(var) - 1).sum(1)
    decoder = variables.params["decoder"]["dense"]
    w = np.asarray(decoder["kernel"], np.float64)
    error = np.square(FLAT - mean @ w - np.asarray(decoder["bias"])).sum(1)
    expected = error + var @ np.square(w).sum(1)  # E_q of the squared error
    reconstruction = 0.5 * (small.D * np.log(2 * np.pi * SCALE**2) + expected / SCALE**2)
    assert abs(measures["kl"] - kl.mean()) < 3 * measures["kl_mc_se"] < 0.05
    assert abs(measures["reconstruction"] - reconstruction.mean()) < 3 * measures["reconstruction_mc_se"] < 0.05
    assert measures["mse"] == pytest.approx(error.mean() / small.D, rel=1e-4)


def test_the_stated_monte_carlo_errors_are_what_repetition_shows():
    variables, _ = model(2, WIDER)
    estimate = estimator(2, 64, 64)
    of = [jax.device_get(estimate(variables, jax.random.key(seed), whole())) for seed in range(200)]
    for value in ("log_p", "elbo", "reconstruction", "kl"):
        repeated = np.std([each[value].mean() for each in of], ddof=1)
        stated = np.sqrt([each[f"{value}_var"].sum() for each in of]) / N
        assert np.median(stated) == pytest.approx(repeated, rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize(("spread", "samples"), [(0.5, 64), (2.0, 64), (2.5, 200)])
def test_error_and_bias_are_what_repetition_shows_however_heavy_the_weights(spread, samples):
    """Weights exp(spread noise), whose mean is exp(spread^2 / 2): where the spread is wide, a few have all the mass,
    and the delta method takes the error for a half to three quarters of itself, the bias for a third."""
    count, exact = 400, spread**2 / 2
    batch = Batch(jnp.zeros((count, 1, 1, 1)), jnp.zeros(count, jnp.int32), jnp.arange(count, dtype=jnp.int32))

    def weight(variables, keys, batch):
        return LogWeight(spread * random.normal(keys, ()), jnp.zeros(count), jnp.zeros(count))

    estimate = small.jit(importance(vae(2)._replace(log_weight=weight), samples, 50))
    keys = [random.example_keys(jax.random.key(seed), 0, batch.index) for seed in range(80)]
    of = [jax.device_get(estimate(None, each, batch)) for each in keys]
    stated = np.array([monte_carlo(each) for each in of])
    values = np.array([each["log_p"].mean(dtype=np.float64) for each in of])
    assert np.sqrt(np.mean(stated[:, 0] ** 2)) == pytest.approx(values.std(ddof=1), rel=0.25)
    assert stated[:, 1].mean() == pytest.approx(exact - values.mean(), rel=0.25)
    delta = np.sqrt(np.mean([each["log_p_var"].sum() for each in of])) / count
    again = small.jit(by_parts)(spread * np.random.default_rng(0).standard_normal((samples, count)))
    assert np.mean(again["log_p_apart"]) == pytest.approx(np.mean([each["log_p_apart"] for each in of]), rel=0.25)
    assert (delta < 0.85 * values.std(ddof=1)) == (spread > 1)


@pytest.mark.parametrize("samples", [2, 3, 4, 7])
def test_the_error_of_a_few_draws_is_what_repetition_shows(samples):
    """Weights exp(2 noise): the delta method, which never tells of more than one nat an example, has half of it."""
    count, wide = 400, 2 * np.random.default_rng(samples).standard_normal((60, samples, 400)).astype(np.float32)
    of = [jax.device_get(each) for each in map(small.jit(by_parts), wide)]
    log_p = [np.log(np.mean(np.exp(log_w, dtype=np.float64), axis=0)) for log_w in wide]
    known = {"log_p_var": np.zeros(count)}
    stated = [monte_carlo(each | known | {"log_p": whole})[0] for each, whole in zip(of, log_p)]
    assert np.sqrt(np.mean(np.square(stated))) == pytest.approx(np.std([each.mean() for each in log_p]), rel=0.25)


def test_the_error_of_one_draw_is_not_known():
    of = jax.device_get(by_parts(jnp.ones((1, 5))))
    assert np.isnan(monte_carlo(of | {"log_p": np.ones(5), "log_p_var": np.full(5, np.nan)})[0])


def test_where_weights_are_zero_the_error_is_the_delta_methods():
    of = {"log_p": np.zeros(5), "log_p_half": np.zeros(5), "log_p_quarter": np.full(5, -0.1)}
    of |= {"log_p_var": np.full(5, 0.2), "log_p_apart": np.full(5, 9.0)}
    delta = (np.sqrt(0.2 / 5), 0.1)
    assert monte_carlo(of | {"log_p_half": np.full(5, -np.inf)}) == pytest.approx(delta)
    falling = of | {"log_p_half": np.full(5, -0.04)}  # as k to the power log2(0.06 / 0.04)
    assert monte_carlo(falling | {"log_p_var": np.zeros(5)}) == pytest.approx((np.sqrt(5 * 9 / 1.5) / 5, 0.04 / 0.5))


def test_errors_of_the_split_are_those_of_its_examples(measures):
    key = random.stream(KEY, "importance")
    of = jax.device_get(estimator(2, 3000, 1000)(model(2, WIDER)[0], key, whole()))
    log_p, elbo = (np.asarray(of[name], np.float64) for name in ("log_p", "elbo"))
    expected = {
        "nll": -log_p.mean(),
        "nll_mc_se": monte_carlo(of)[0],
        "nll_data_se": log_p.std(ddof=1) / np.sqrt(N),
        "elbo": elbo.mean(),
        "elbo_mc_se": np.sqrt(np.asarray(of["elbo_var"]).sum()) / N,
        "elbo_data_se": elbo.std(ddof=1) / np.sqrt(N),
        "kl_mc_se": np.sqrt(np.asarray(of["kl_var"]).sum()) / N,
        "reconstruction_mc_se": np.sqrt(np.asarray(of["reconstruction_var"]).sum()) / N,
        "effective_samples": np.median(of["ess"]),
    }
    assert {name: measures[name] for name in expected} == pytest.approx(expected, rel=1e-3)


def test_the_chunk_changes_nothing(measures):
    small.assert_close(evaluate(vae(2), model(2, WIDER)[0], view(7), 3000, 7), measures, rtol=1e-3)


@pytest.mark.parametrize("block", [3, 64])
def test_ten_samples_however_many_at_once_are_their_mean_and_spread(block):
    """Each number from the ten log-weights themselves, in float64."""
    variables, _ = model(2, WIDER)
    log_w = np.asarray(ten_log_weights(variables, KEY), np.float64)
    w = np.exp(log_w)
    of = estimates(variables, 10, block)
    np.testing.assert_allclose(of["log_p"], np.log(w.mean(0)), rtol=1e-4)
    np.testing.assert_allclose(of["elbo"], log_w.mean(0), rtol=1e-4)
    np.testing.assert_allclose(of["elbo_var"], log_w.var(0, ddof=1) / 10, rtol=1e-3)
    np.testing.assert_allclose(of["log_p_var"], w.var(0, ddof=1) / 10 / w.mean(0) ** 2, rtol=1e-3)
    np.testing.assert_allclose(of["ess"], w.sum(0) ** 2 / np.square(w).sum(0), rtol=1e-3)


@small.jit
def ten_log_weights(variables, key):
    def one(number):
        keys = random.example_keys(key, 0, jnp.arange(N))
        return vae(2).log_weight(variables, jax.vmap(jax.random.fold_in, (0, None))(keys, number), whole()).total

    return jax.vmap(one)(jnp.arange(10))


def test_weights_of_any_size_are_summed_without_overflow():
    """log p of thousands of nats, as a real image's: exp of it is no float32."""

    def log_weight(*args):
        parts = vae(2).log_weight(*args)
        return parts._replace(likelihood=parts.likelihood - 5000.0)

    variables, log_p = model(2)
    keys = random.example_keys(KEY, 0, whole().index)
    of = small.jit(importance(vae(2)._replace(log_weight=log_weight), 8, 4))(variables, keys, whole())
    np.testing.assert_allclose(of["log_p"], log_p - 5000, atol=0.01)
    np.testing.assert_allclose(of["ess"], 8, rtol=0.01)


def test_a_method_without_a_density_has_its_losses_and_no_likelihood():
    method = small.method("ae", "gaussian", scale=SCALE)
    variables = small.variables(method, whole())
    measures = evaluate(method, variables, view(), 5, 3)
    assert measures["elbo"] is measures["nll"] is measures["kl"] is None
    error = np.square(np.asarray(method.reconstruct(variables, whole()), np.float64) - ROWS).reshape(N, -1)
    assert measures["mse"] == pytest.approx(error.mean(), rel=1e-4)
    nats = 0.5 * (small.D * np.log(2 * np.pi * SCALE**2) + error.sum(1) / SCALE**2)
    assert measures["reconstruction"] == pytest.approx(nats.mean(), rel=1e-4)


def test_what_is_one_number_a_batch_has_no_error_of_its_examples():
    """MMD, say: of 1,200 examples in three batches there are three values, and their scatter is not that of a mean."""
    mmd, error = np.repeat([1.0, 1.2, 1.1], 400), np.arange(1200.0)
    found = _means({"mmd": mmd, "reconstruction": error}, batches=3)
    assert found["mmd"] == pytest.approx(1.1) and found["mmd_data_se"] is None
    assert found["reconstruction_data_se"] == pytest.approx(error.std(ddof=1) / np.sqrt(1200))


@pytest.mark.parametrize("name", ["wae_mmd", "vae"])
def test_only_means_over_examples_have_the_error_of_one(name, tmp_path):
    trained = made.trained(tmp_path / "run", name=name, likelihood="gaussian")
    found = run.evaluate_run(trained, samples=3)
    assert found["reconstruction_data_se"] > 0 and found["mse_data_se"] > 0 and found.get("mmd_data_se") is None


def test_large_images_are_decoded_fewer_at_a_time(monkeypatch):
    assert [at_once(shape) for shape in ((28, 28, 1), (64, 64, 3), (256, 256, 3), (4096, 4096, 3))] == [500, 500, 42, 1]
    blocks = []
    monkeypatch.setattr(module, "importance", lambda method, samples, block: blocks.append(block))
    for shape, chunk in (((28, 28, 1), 500), ((256, 256, 3), 42), ((4096, 4096, 3), 1)):
        bench = SimpleNamespace(
            settings=SimpleNamespace(samples=5000), source=SimpleNamespace(shape=shape), over=lambda fn, name: fn
        )
        with contextlib.suppress(TypeError):  # the stand-in makes nothing
            inspect.unwrap(module.weighing)(bench, chunk)(None, None, None, None, None)
    assert blocks == [2, 2, 1]


def test_a_setup_sees_large_images_fewer_at_a_time():
    source = arrays(np.zeros((60, 256, 256, 3), np.uint8), validation=4, test=4)
    setup = build(Config(network="linear", latent=2, batch_size=4), source=source)
    assert setup.view("train").chunk == 42 and setup.view("test").chunk == 4
