"""What beta, a capacity, free bits and GECO make of a VAE's two terms: values, gradients, the multiplier's course."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from jaxae import densities, gaussian, random, similarity
from jaxae.errors import InputError
from jaxae.methods import geco_vae
from jaxae.train import make_train_step
from jaxae.types import TrainState, Variables

N = 12
STEP = jnp.asarray(0)
keys = small.keys


@cache
def batch():
    return small.batch(N, binary=False)


@cache
def variables(seed=0):
    """Of any of these methods: they share their parameters."""
    return small.variables(small.method("geco_vae", "gaussian"), batch(), seed)


def loss(name, at=None, likelihood="gaussian", batch=batch, **hyper):
    method = small.method(name, likelihood, **hyper)
    return method.loss(at or variables(), keys(), batch(), STEP)


def gradient(name, at=None, **hyper):
    at = at or variables()
    of = jax.grad(lambda params: loss(name, Variables(params, at.state), **hyper).loss.mean())
    return small.jit(of)(at.params)


def unit_kls(at=None):
    q = small.method("vae", "gaussian").posterior(at or variables(), batch())
    return np.asarray(densities.kl_to_standard(q), np.float64)


# --- beta_vae


def test_beta_vae_is_the_vae_at_four():
    small.assert_same_bits(loss("beta_vae").loss, loss("vae", beta=4.0).loss)
    small.assert_same_bits(loss("beta_vae", beta=1.0), loss("vae"))


# --- msssim_vae


def test_msssim_vae_is_the_kl_and_the_weighted_unlikeness_of_the_decoded_sample():
    method = small.method("msssim_vae", "gaussian", weight=7.0)
    made, usual = loss("msssim_vae", weight=7.0), loss("vae")
    z = gaussian.reparameterise(keys(), method.posterior(variables(), batch()))
    decoded = method.decode(variables(), z)
    alike = similarity.multiscale(batch().x, decoded)
    np.testing.assert_allclose(made.metrics["similarity"], alike, rtol=1e-5)
    np.testing.assert_allclose(made.loss, usual.metrics["kl"] + 7 * (1 - alike), rtol=1e-5)
    small.assert_close({n: made.metrics[n] for n in usual.metrics}, usual.metrics, rtol=1e-5)


# --- capacity_vae


def test_the_kl_of_each_example_is_charged_for_its_distance_from_the_capacity():
    kl = unit_kls().sum(axis=1)
    capacity = float(np.median(kl))
    assert kl.min() < capacity < kl.max()
    objective = loss("capacity_vae", gamma=30.0, capacity=capacity)
    expected = np.asarray(objective.metrics["reconstruction"]) + 30 * np.abs(kl - capacity)
    np.testing.assert_allclose(objective.loss, expected, rtol=1e-4)
    np.testing.assert_allclose(objective.metrics["kl"], kl, rtol=1e-5)


@pytest.mark.parametrize(("capacity", "beta"), [(0.0, 30.0), (1000.0, -30.0)])
def test_below_its_capacity_the_kl_is_raised_and_above_it_lowered(capacity, beta):
    ours, theirs = gradient("capacity_vae", gamma=30.0, capacity=capacity), gradient("vae", beta=beta)
    small.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_scheduled_capacity_is_read_at_the_step():
    method = small.method("capacity_vae", "gaussian", gamma=2.0, capacity=lambda step: 0.5 * step)
    late = method.loss(variables(), keys(), batch(), jnp.asarray(6))
    small.assert_close(late, loss("capacity_vae", gamma=2.0, capacity=3.0), rtol=1e-6)


# --- free_bits_vae


def between():
    """Free nats that one of the two units carries in the mean, and the other does not."""
    mean = unit_kls().mean(axis=0)
    assert mean.max() > 1.2 * mean.min()
    return float(mean.mean()), int(mean.argmin())


def test_the_cost_is_the_larger_of_each_units_mean_kl_and_the_free_nats():
    free, _ = between()
    for value in (0.0, free, 1000.0):
        objective = loss("free_bits_vae", free=value)
        expected = np.maximum(value, unit_kls().mean(axis=0)).sum()
        np.testing.assert_allclose(objective.metrics["cost"], expected, rtol=1e-5)
        np.testing.assert_allclose(objective.loss, objective.metrics["reconstruction"] + expected, rtol=1e-5)
        np.testing.assert_allclose(objective.metrics["kl"], unit_kls().sum(axis=1), rtol=1e-5)


def test_within_its_free_nats_a_unit_is_not_pulled_to_the_prior():
    free, within = between()
    ours, alone, both = gradient("free_bits_vae", free=free), gradient("vae", beta=0.0), gradient("vae")
    columns = [within, within + 2]  # its mean's and its log-variance's
    others = [1 - within, 3 - within]
    kernel = [np.asarray(g["encoder"]["dense"]["kernel"]) for g in (ours, alone, both)]
    np.testing.assert_allclose(kernel[0][:, columns], kernel[1][:, columns], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(kernel[0][:, others], kernel[2][:, others], rtol=1e-5, atol=1e-6)
    assert np.abs(kernel[1] - kernel[2]).min() > 1e-4
    small.assert_close(ours["decoder"], both["decoder"], rtol=1e-5, atol=1e-6)


def test_free_nats_are_those_of_the_global_batch():
    """Two shares, of which one is within the free nats by itself and the other is not."""
    order = np.argsort(unit_kls()[:, 0])
    shares = jax.tree.map(lambda x: x[order].reshape(2, N // 2, *x.shape[1:]), batch())
    halves = unit_kls()[order, 0].reshape(2, -1).mean(axis=1)
    free = float(halves.mean() - 0.25 * (halves[1] - halves[0]))
    assert halves[0] < free < halves[1]
    method, tx = small.method("free_bits_vae", "gaussian", free=free), small.sgd(1e-2)
    start = TrainState(STEP, variables(), tx.init(variables().params))
    whole, metrics = small.jit(make_train_step(method, tx))(jax.random.key(0), start, batch())
    step = small.jit(jax.vmap(make_train_step(method, tx, "data"), (None, None, 0), axis_name="data"))
    parts, seen = step(jax.random.key(0), start, shares)
    for device in (0, 1):
        mine = jax.tree.map(lambda x, d=device: x[d], (parts.variables, seen))
        small.assert_close(mine, (whole.variables, metrics), rtol=1e-4, atol=1e-5)


# --- geco_vae


def at(log=0.0, average=0.0, weight=0.0):
    multiplier = {"log": log, "average": average, "weight": weight}
    return variables()._replace(state={**variables().state, "multiplier": jax.tree.map(jnp.asarray, multiplier)})


def test_at_a_multiplier_of_one_it_is_the_vae_with_pixels_as_wide_as_the_tolerance():
    """The small Gaussian has the standard deviation 0.5: the loss differs by a constant, the gradient in nothing."""
    constant = loss("vae").loss - loss("geco_vae", tolerance=0.5).loss
    np.testing.assert_allclose(constant, small.D * (0.5 + 0.5 * np.log(2 * np.pi * 0.25)), rtol=1e-4)
    small.assert_close(gradient("geco_vae", tolerance=0.5), gradient("vae"), rtol=1e-4, atol=1e-5)


def test_the_multiplier_weighs_the_constraint_alone():
    one, three = loss("geco_vae", at(), tolerance=0.2), loss("geco_vae", at(log=np.log(3.0)), tolerance=0.2)
    np.testing.assert_allclose(one.loss, one.metrics["kl"] + one.metrics["constraint"], rtol=1e-5)
    np.testing.assert_allclose(three.loss - one.loss, 2 * one.metrics["constraint"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(three.metrics["multiplier"], 3.0, rtol=1e-5)


def test_the_multiplier_takes_the_course_of_algorithm_1():
    tolerances, average, log = [0.2, 0.9, 0.9, 0.3], None, 0.0
    here = at()
    for tolerance in tolerances:
        objective = loss("geco_vae", here, tolerance=tolerance, period=7)
        violation = float(np.asarray(objective.metrics["constraint"], np.float64).mean()) / small.D
        weight = 1.0 if average is None else weight * 0.99 + 1
        average = violation if average is None else average + (violation - average) / weight
        log += average / 7
        np.testing.assert_allclose(objective.state["multiplier"]["log"], log, rtol=1e-4)
        here = here._replace(state=objective.state)
    assert abs(log) > 0.05
    frozen = at(average=average, weight=1.0)  # long since started: the plain moving average of the paper
    after = loss("geco_vae", frozen, tolerance=0.2, period=7)
    violation = float(after.metrics["constraint"].mean()) / small.D
    np.testing.assert_allclose(after.state["multiplier"]["log"] * 7, 0.99 * average + 0.01 * violation, rtol=1e-4)


@pytest.mark.parametrize(("log", "tolerance", "limit"), [(13.999, 0.001, 14.0), (-13.999, 1e4, -14.0)])
def test_a_constraint_out_of_reach_does_not_overflow(log, tolerance, limit):
    objective = loss("geco_vae", at(log=log), tolerance=tolerance, period=1)
    assert float(objective.state["multiplier"]["log"]) == limit == np.sign(limit) * geco_vae.LIMIT
    assert np.isfinite(objective.loss).all()


def test_a_held_out_batch_does_not_move_the_multiplier_it_is_scored_with():
    """The loss of an example depends on the state and on nothing of the others."""
    method, here = small.method("geco_vae", "gaussian"), at(log=1.0, average=3.0, weight=0.5)
    some = small.part(batch(), [2, 7])
    few = method.loss(here, random.example_keys(jax.random.key(0), 0, some.index), some, STEP)
    np.testing.assert_allclose(few.loss, loss("geco_vae", here).loss[np.array([2, 7])], rtol=1e-5)


def test_the_likelihoods_own_scale_descends_its_likelihood():
    of = {name: small.method(name, "gaussian_learned") for name in ("geco_vae", "vae")}
    start = small.variables(of["geco_vae"], batch())

    def slope(name):
        def mean_loss(params):
            return of[name].loss(Variables(params, start.state), keys(), batch(), STEP).loss.mean()

        return small.jit(jax.grad(mean_loss))(start.params)["likelihood"]["log_var"]

    assert abs(slope("vae")) > 0.1
    np.testing.assert_allclose(slope("geco_vae"), slope("vae"), rtol=1e-5)


def test_the_tolerance_is_reached():
    """On data of one dimension and noise: the error settles at what is allowed, not at the least it could be."""
    line = np.random.default_rng(0).random((256, 1)) * np.linspace(0.2, 1, small.D)
    x = jnp.asarray(line.reshape(256, *small.SHAPE), jnp.float32)
    of, tx = small.method("geco_vae", "gaussian", latent=1, tolerance=0.1, period=300), optax.adam(1e-2)
    data = small.batch(256)._replace(x=x)
    state = small.state(of, tx, data)
    step = make_train_step(of, tx)

    def advance(state, _):
        state, metrics = step(jax.random.key(0), state, data)
        return state, (metrics["constraint"], metrics["multiplier"])

    _, (constraint, multiplier) = small.jit(lambda state: jax.lax.scan(advance, state, length=5000))(state)
    mse = 0.01 * (1 + 2 * np.asarray(constraint) / small.D)
    assert mse[500:1000].mean() < 0.002
    assert mse[-500:].mean() == pytest.approx(0.01, rel=0.05)
    assert float(multiplier[-1]) < 0.3


@pytest.mark.parametrize("wrong", [{"tolerance": 0.0}, {"period": 0}])
def test_a_tolerance_or_period_of_zero_is_refused(wrong):
    with pytest.raises(InputError, match=f"{next(iter(wrong))} 0.*: expected"):
        small.method("geco_vae", **wrong)
