"""Each likelihood reads the output as its density says, starts at the training mean, and stays finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from jaxae import densities, likelihoods, names
from jaxae.errors import InputError
from jaxae.types import Variables

D = 12
SHAPE = (4, 2, 3, 2)
OUT = jnp.asarray(np.random.default_rng(0).normal(size=SHAPE), jnp.float32)
X = jnp.asarray(np.random.default_rng(1).integers(0, 256, SHAPE) / 255, jnp.float32)
FLAT = (np.asarray(OUT, np.float64).reshape(4, -1), np.asarray(X, np.float64).reshape(4, -1))
EXPECTED = {
    "bernoulli": lambda out, x: (x * out - np.logaddexp(0, out)).sum(1),
    "gaussian": lambda out, x: scipy.stats.norm.logpdf(x, out, 0.2).sum(1),
    "gaussian_learned": lambda out, x: scipy.stats.norm.logpdf(x, out, 0.2).sum(1),
    "gaussian_optimal": lambda out, x: scipy.stats.norm.logpdf(x, out, 0.2).sum(1),
    "discretised_logistic": lambda out, x: np.asarray(
        densities.discretised_logistic(jnp.asarray(out), jnp.log(0.2), jnp.asarray(x))
    ),
}
optimal = likelihoods.gaussian_optimal(0.2)


def test_names_are_the_implementations():
    assert {likelihoods.make(name).name for name in names.LIKELIHOODS} == set(names.LIKELIHOODS) == set(EXPECTED)


@pytest.mark.parametrize("name", names.LIKELIHOODS)
def test_log_prob_before_training_is_the_density_at_the_given_scale(name):
    likelihood = likelihoods.make(name, 0.2)
    ours = likelihood.log_prob(likelihood.init(), OUT, X)
    np.testing.assert_allclose(ours, EXPECTED[name](*FLAT), rtol=1e-4)


@pytest.mark.parametrize("name", names.LIKELIHOODS)
def test_the_bias_makes_the_decoder_start_at_the_training_mean(name):
    likelihood, mean = likelihoods.make(name), X[0]
    start = likelihood.mean(likelihood.bias(mean)[None])[0]
    np.testing.assert_allclose(start, jnp.clip(mean, 0.001, 0.999) if name == "bernoulli" else mean, atol=1e-6)


def test_the_bernoulli_bias_is_finite_for_pixels_that_never_change():
    bias = likelihoods.bernoulli().bias(jnp.asarray([0.0, 1.0]).reshape(1, 2, 1))
    np.testing.assert_allclose(bias.ravel(), [-6.9068, 6.9068], rtol=1e-3)


@pytest.mark.parametrize(("name", "discrete"), [*zip(names.LIKELIHOODS, [True, False, False, False, True])])
def test_only_probabilities_are_discrete(name, discrete):
    assert likelihoods.make(name).discrete is discrete


@pytest.mark.parametrize("name", ["bernoulli", "discretised_logistic"])
def test_means_are_images(name):
    mean = likelihoods.make(name).mean(OUT * 100)
    assert float(mean.min()) >= 0
    assert float(mean.max()) <= 1


@pytest.mark.parametrize("name", names.LIKELIHOODS)
@pytest.mark.parametrize("out", [-120.0, 0.0, 120.0])
def test_loss_and_gradients_are_finite_far_out(name, out):
    likelihood = likelihoods.make(name)
    own = likelihood.init()

    def loss(params, out):
        scored, _ = likelihood.fit(Variables(params, own.state), out, X)
        return -likelihood.log_prob(scored, out, X).sum()

    value, slopes = jax.jit(jax.value_and_grad(loss, (0, 1)))(own.params, jnp.full(SHAPE, out))
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(slopes))
    assert float(jnp.abs(slopes[1]).max()) > 0


@pytest.mark.parametrize(("name", "own"), [("gaussian_learned", "log_var"), ("discretised_logistic", "log_scale")])
def test_learned_scales_start_as_given_and_are_learned(name, own):
    likelihood = likelihoods.make(name, 0.2)
    params = likelihood.init().params
    assert float(params[own]) == pytest.approx(np.log(0.2) * (2 if own == "log_var" else 1))
    slope = jax.grad(lambda p: likelihood.log_prob(Variables(p), OUT, X).sum())(params)[own]
    assert float(slope) != 0


def trained(out):
    scored, _ = optimal.fit(optimal.init(), out, X)
    return -optimal.log_prob(scored, out, X).mean()


def test_gaussian_optimal_is_the_log_of_the_batch_mse_in_training():
    """Rybkin et al. 2021, eq. 8: D/2 (log(2 pi MSE) + 1); its gradient too."""

    def closed(out):
        return D / 2 * (jnp.log(2 * jnp.pi * jnp.mean(jnp.square(X - out))) + 1)

    assert float(trained(OUT)) == pytest.approx(float(closed(OUT)), rel=1e-6)
    np.testing.assert_allclose(jax.grad(trained)(OUT), jax.grad(closed)(OUT), rtol=1e-4, atol=1e-7)


def test_gaussian_optimal_beats_every_other_variance():
    scored, _ = optimal.fit(optimal.init(), OUT, X)
    variance = float(scored.state["variance"])
    best = float(trained(OUT))
    for factor in (0.9, 1.1):
        other = -scipy.stats.norm.logpdf(FLAT[1], FLAT[0], np.sqrt(factor * variance)).sum(1).mean()
        assert other > best


def test_gaussian_optimal_scores_held_out_data_by_its_running_variance():
    kept, seen = optimal.init(), []
    for shift in (0.0, 0.5, 1.0):
        out = OUT + shift
        seen.append(float(jnp.mean(jnp.square(X - out))))
        kept = Variables({}, optimal.fit(kept, out, X)[1])
    weights = np.array([0.99**2, 0.99, 1.0])
    variance = np.dot(weights, seen) / weights.sum()  # a mean of what was seen: no trace of the start at zero
    expected = scipy.stats.norm.logpdf(FLAT[1], FLAT[0], np.sqrt(variance)).sum(1)
    np.testing.assert_allclose(optimal.log_prob(kept, OUT, X), expected, rtol=1e-4)
    one = optimal.log_prob(kept, OUT[:1], X[:1])
    np.testing.assert_allclose(one, expected[:1], rtol=1e-4, err_msg="a density knows no other example")


def test_gaussian_optimal_stays_finite_where_the_fit_is_perfect():
    value, slope = jax.value_and_grad(trained)(X)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize(
    ("name", "scale", "message"),
    [
        ("bernouli", 0.1, "unknown likelihood 'bernouli': did you mean 'bernoulli'"),
        ("gaussian", 0.0, "scale 0.0: expected a standard deviation above 0"),
        ("gaussian_learned", -1.0, "scale -1.0"),
        ("gaussian_optimal", float("nan"), "scale nan"),
    ],
)
def test_bad_input_is_refused_by_value(name, scale, message):
    with pytest.raises(InputError, match=message):
        likelihoods.make(name, scale)
