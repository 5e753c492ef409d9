"""Annealing against linear models whose log p(x) is known, from below and from above."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import small

from jaxae import methods, random
from jaxae.errors import InputError
from jaxae.evaluate import annealed, chains
from jaxae.types import Variables

SCALE, N, MANY = 0.5, 20, 4000


class Linear:
    """x = z w + b + noise of standard deviation SCALE: the method's model, its variables, the Gaussian of x."""

    def __init__(self, latent, size=0.8):
        rng = np.random.default_rng(latent)
        self.w, self.b = size * rng.normal(size=(latent, small.D)), rng.normal(size=small.D)
        params = {"decoder": {"dense": {"kernel": self.w, "bias": self.b}}, "likelihood": {}}
        params = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), params)
        self.variables = Variables(params, {"likelihood": ()})
        self.model = small.method("vae", "gaussian", latent, scale=SCALE).generative
        self.of_x = scipy.stats.multivariate_normal(self.b, cov_of_x(self.w, np.eye(latent)))

    def log_p(self, x):
        return self.of_x.logpdf(np.asarray(x, np.float64).reshape(len(x), -1))


def cov_of_x(w, cov_of_z):
    return w.T @ cov_of_z @ w + SCALE**2 * np.eye(small.D)


@cache
def linear(latent):
    return Linear(latent)


def keys(seed, n=N, order=slice(None)):
    return random.example_keys(jax.random.key(8), seed, jnp.arange(n)[order])


def simulated(model, variables, keys, batch):
    """(latents, images) as `bdmc` makes them: the first two of five keys are theirs."""
    for_z, for_x, *_ = random.split(keys, 5)
    z = model.draw(variables, for_z)
    return z, model.simulate(variables, for_x, z, batch)


@cache
def images(latent):
    own = linear(latent)
    return simulated(own.model, own.variables, keys(0), small.batch(N))


@cache
def compiled(name, latent, *settings):
    return small.jit(getattr(annealed, name)(linear(latent).model, *settings))


def estimates(name, latent, *settings, seed=0, order=slice(None)):
    batch = small.part(small.batch(N)._replace(x=images(latent)[1]), np.arange(N)[order])
    of = compiled(name, latent, *settings)(linear(latent).variables, keys(seed, N, order), batch)
    return jax.device_get(of)


def assert_within_its_error(of, exact, largest):
    error, se = of["log_p"] - exact, np.sqrt(of["log_p_var"])
    assert abs(error.mean()) < 4 * np.sqrt(np.square(se).sum()) / N < largest
    assert np.abs(error / se).max() < 5


# --- the estimates


@pytest.mark.slow
@pytest.mark.parametrize(("latent", "steps", "largest"), [(1, 100, 0.1), (4, 300, 0.2)])
def test_annealing_is_right_within_its_own_error(latent, steps, largest):
    of = estimates("annealed", latent, steps, 24, 5)
    assert_within_its_error(of, linear(latent).log_p(images(latent)[1]), largest)
    assert (of["ess"] > 8).all() and (of["ess"] < 24).all()
    assert (np.abs(of["acceptance"] - 0.7) < 0.2).all()


@pytest.mark.slow
def test_the_stated_error_is_what_repetition_shows():
    of = [estimates("annealed", 1, 100, 24, 5, seed=seed) for seed in range(60)]
    repeated = np.std([each["log_p"].mean() for each in of], ddof=1)
    stated = [np.sqrt(each["log_p_var"].sum()) / N for each in of]
    assert np.median(stated) == pytest.approx(repeated, rel=0.3)


@pytest.mark.slow
def test_an_examples_estimate_goes_with_its_key_wherever_it_stands():
    whole, turned = (estimates("annealed", 1, 100, 24, 5, order=slice(None, None, by)) for by in (1, -1))
    small.assert_close(turned, {name: value[::-1] for name, value in whole.items()}, rtol=1e-3, atol=1e-3)


@pytest.mark.slow
def test_one_step_is_importance_sampling_from_the_prior():
    own, batch = linear(4), small.batch(N)._replace(x=images(4)[1])
    _, for_chains = random.split(keys(0))

    def chain(number):
        for_start, _ = random.split(jax.vmap(jax.random.fold_in, (0, None))(for_chains, number))
        return own.model.log_likelihood(own.variables, own.model.draw(own.variables, for_start), batch)

    log_w = np.float64([chain(number) for number in range(6)])
    of, w = estimates("annealed", 4, 1, 6), np.exp(log_w - log_w.max(0))
    np.testing.assert_allclose(of["log_p"], log_w.max(0) + np.log(w.mean(0)), rtol=1e-5)
    np.testing.assert_allclose(of["log_p_var"], w.var(0, ddof=1) / 6 / w.mean(0) ** 2, rtol=1e-3)
    np.testing.assert_allclose(of["ess"], w.sum(0) ** 2 / np.square(w).sum(0), rtol=1e-4)
    one, other = (log_w.max(0) + np.log(w[part::2].mean(0)) for part in (0, 1))
    np.testing.assert_allclose(of["log_p_half"], (one + other) / 2, rtol=1e-5)
    np.testing.assert_allclose(of["log_p_apart"], (one - other) ** 2 / 2, rtol=1e-3)


def test_weights_of_two_steps_average_to_p_of_x_and_back_to_its_inverse():
    """However far the chains lag, E[w] = p(x) and E[1/w] = 1 / p(x): so log w is too low on average, or too high. One
    chain each way for many images."""
    own, batch = Linear(1, size=0.3), small.batch(MANY)
    of = jax.device_get(small.jit(annealed.bdmc(own.model, 2, 1, 5))(own.variables, keys(0, MANY), batch))
    exact = own.log_p(simulated(own.model, own.variables, keys(0, MANY), batch)[1])
    up, down = of["lower"] - exact, of["upper"] - exact
    for ratio in (np.exp(up), np.exp(-down)):
        se = ratio.std() / np.sqrt(MANY)
        assert abs(ratio.mean() - 1) < 4 * se < 0.1
    assert up.mean() < -10 * up.std() / np.sqrt(MANY)
    assert down.mean() > 10 * down.std() / np.sqrt(MANY)
    assert np.isnan(of["lower_var"]).all() and np.isnan(of["upper_var"]).all(), "one chain has no stated error"
    told, entropy = annealed.summary(of), own.of_x.entropy()
    assert told["lower"] < -entropy < told["upper"]
    assert told["gap_se"] == pytest.approx(np.std(of["upper"] - of["lower"], ddof=1) / np.sqrt(MANY), rel=1e-3)
    assert told["gap"] == pytest.approx(told["upper"] - told["lower"], rel=1e-4)
    assert annealed.summary({name: value[:1] for name, value in of.items()})["gap_se"] is None


def test_with_many_steps_the_bounds_close_on_the_exact_value():
    exact = linear(4).log_p(images(4)[1])
    assert (exact - estimates("annealed", 4, 1, 6)["log_p"]).mean() > 2, "with one they are far from it"
    of = estimates("bdmc", 4, 400, 4, 5)
    for side, sign in (("lower", 1), ("upper", -1)):
        error = sign * (of[side] - exact)
        assert error.mean() < 3 * error.std(ddof=1) / np.sqrt(N)
    told = annealed.summary(of)
    assert abs(told["gap"]) < 4 * told["gap_se"] < 0.6
    np.testing.assert_allclose(of["gap"], of["upper"] - of["lower"], atol=1e-4)
    np.testing.assert_allclose([of["lower"], of["upper"]], [exact, exact], atol=1.2)
    assert np.abs(of["lower_acceptance"] - of["upper_acceptance"]).max() < 0.1
    assert (of["lower_ess"] > 2).all() and (of["upper_var"] < 0.3).all()


@pytest.mark.slow
def test_latents_of_several_layers_are_annealed_together():
    """h2 ~ N(0, 1), h1 = h2 a + noise, x = h1 w + b + noise: hvae2 with linear maps."""
    latent = 3
    model = small.method("hvae2", "gaussian", latent, scale=SCALE, top=2, layers=0)
    v = small.variables(model, small.batch(N), size=0.6)
    head = v.params["down"]["head"]
    head = {**head, "kernel": head["kernel"].at[:, latent:].set(0.0)}
    v = v._replace(params={**v.params, "down": {"head": head}})
    of = small.jit(annealed.bdmc(model.generative, 100, 8, 5))(v, keys(0), small.batch(N))

    (_, x), pixels = simulated(model.generative, v, keys(0), small.batch(N)), v.params["decoder"]["dense"]
    pixels, head = (jax.tree.map(np.float64, leaf) for leaf in (pixels, head))
    a, at, w = head["kernel"][:, :latent], head["bias"], pixels["kernel"]
    of_x = cov_of_x(w, a.T @ a + np.diag(np.exp(at[latent:])))
    exact = scipy.stats.multivariate_normal(at[:latent] @ w + pixels["bias"], of_x).logpdf(x.reshape(N, -1))
    assert_within_its_error({"log_p": of["lower"], "log_p_var": of["lower_var"]}, exact, 0.3)
    assert abs(np.mean(of["upper"] - exact)) < 4 * np.std(of["upper"] - exact) / np.sqrt(N) < 0.8


@pytest.mark.slow
def test_labels_reach_the_likelihood_and_the_simulation():
    """p(x|y) of a conditional VAE: the label's row of the decoder moves the mean of x."""
    method, batch = small.method("cvae", "gaussian", 1, scale=SCALE), small.batch(N)
    v = small.variables(method, batch, size=1.0)
    of = small.jit(annealed.bdmc(method.generative, 100, 8, 5))(v, keys(0), batch)
    dense = jax.tree.map(np.float64, v.params["decoder"]["dense"])
    means = dense["bias"] + dense["kernel"][1:][np.asarray(batch.label)]
    assert np.ptp(means, axis=0).max() > 1
    _, x = simulated(method.generative, v, keys(0), batch)
    centred = scipy.stats.multivariate_normal(np.zeros(small.D), cov_of_x(dense["kernel"][:1], np.eye(1)))
    exact = centred.logpdf(np.asarray(x).reshape(N, -1) - means)
    assert_within_its_error({"log_p": of["lower"], "log_p_var": of["lower_var"]}, exact, 0.3)
    assert abs(np.mean(of["upper"] - exact)) < 4 * np.std(of["upper"] - exact) / np.sqrt(N) < 0.8


# --- the way


@pytest.mark.parametrize("steps", [1, 7, 1000])
def test_beta_goes_from_zero_to_one(steps):
    betas, raw = chains.betas(steps), scipy.special.expit(np.linspace(-4, 4, steps + 1))
    np.testing.assert_allclose(betas, (raw - raw[0]) / (raw[-1] - raw[0]), atol=1e-12)
    assert (betas[0], betas[-1]) == (0, 1) and (np.diff(betas) > 0).all()


def test_the_pilot_finds_step_sizes_that_shrink_as_the_likelihood_comes_in():
    plan = chains.plan(linear(4).model, 200, 1, 5)
    sizes = small.jit(lambda keys, batch: chains.step_sizes(plan, linear(4).variables, keys, batch))
    found = np.asarray(sizes(keys(0), small.batch(N)._replace(x=images(4)[1])))
    assert found.shape == (200, N) and (found > 0).all()
    assert (found[20] > 2 * found[-1]).all()


@pytest.mark.parametrize("make", [annealed.annealed, annealed.bdmc])
def test_bad_input_is_refused_by_value(make):
    for settings, message in (
        ((0, 4), "^steps 0: expected a whole number of at least 1$"),
        ((10, 0), "^chains 0: expected"),
        ((10, 4, 0), "^leapfrog 0: expected"),
    ):
        with pytest.raises(InputError, match=message):
            make(linear(1).model, *settings)


WIDE = ("vae", "gaussian_learned"), ("ladder_vae", "bernoulli")
OTHERS = [("vae", "bernoulli"), *((name, "bernoulli") for name in methods.entries() if name not in dict(WIDE))]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "likelihood"), [*WIDE, *OTHERS])
def test_annealing_can_be_traced_under_x64(name, likelihood):
    with jax.enable_x64(True):
        method, batch = small.method(name, likelihood, 4), small.batch(4)
        if method.generative is None:
            pytest.skip("it has no density")
        variables = method.init(jax.random.key(0), batch)
        found = jax.eval_shape(annealed.bdmc(method.generative, 5, 2), variables, keys(0, 4), batch)
        assert found["gap"].shape == (4,)
        found = jax.eval_shape(annealed.annealed(method.generative, 5, 2), variables, keys(0, 4), batch)
        assert found["log_p"].shape == (4,)


def test_what_annealing_finds_is_less_or_more():
    found = "annealing finds 1.500 nats (standard error 0.500)"
    said = f"the same 2 images have 20.000 nats by 5,000 importance samples: {found} "
    assert annealed.beside(20.0, 5000, np.array([1.0, 2.0])) == f"{said}less"
    assert annealed.beside(20.0, 5000, np.array([-1.0, -2.0])) == f"{said}more: its chains are too short"
    assert annealed.beside(20.0, 8, np.array([-1.0, 0.5])).endswith("0.250 nats (standard error 0.750) more"), (
        "which may be chance"
    )
    assert annealed.beside(20.0, 8, np.array([0.25])) == (
        "the same 1 image has 20.000 nats by 8 importance samples: annealing finds 0.250 nats less"
    )
