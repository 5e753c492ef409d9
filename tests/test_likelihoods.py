"""Each likelihood reads the output as its density says, starts at the training mean, and stays finite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
import small

from jaxae import densities, likelihoods, names, random
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
    start = likelihood.mean(likelihood.init(), likelihood.bias(mean)[None])[0]
    np.testing.assert_allclose(start, jnp.clip(mean, 0.001, 0.999) if likelihood.discrete else mean, atol=1e-6)


def test_the_bernoulli_bias_is_finite_for_pixels_that_never_change():
    bias = likelihoods.bernoulli().bias(jnp.asarray([0.0, 1.0]).reshape(1, 2, 1))
    np.testing.assert_allclose(bias.ravel(), [-6.9068, 6.9068], rtol=1e-3)


@pytest.mark.parametrize(("name", "discrete"), [*zip(names.LIKELIHOODS, [True, False, False, False, True])])
def test_only_probabilities_are_discrete(name, discrete):
    assert likelihoods.make(name).discrete is discrete


@pytest.mark.parametrize("name", ["bernoulli", "discretised_logistic"])
def test_means_are_images(name):
    likelihood = likelihoods.make(name)
    mean = likelihood.mean(likelihood.init(), OUT * 100)
    assert float(mean.min()) >= 0
    assert float(mean.max()) <= 1


@pytest.mark.parametrize("scale", [0.005, 0.05, 0.3])
def test_the_discretised_logistics_mean_is_that_of_its_levels(scale):
    """Of all 256, by its own log_prob; black and white, too, and what lies outside of them."""
    likelihood, levels = likelihoods.make("discretised_logistic", scale), np.arange(256, dtype=np.float32) / 255
    own = likelihood.init()
    slopes = small.jit(jax.grad(lambda at: likelihood.mean(own, at).sum()))
    for out in (-0.2, 0.0, 0.05, 0.5, 0.8, 1.0, 1.3):
        at = jnp.full((256, 1, 1, 1), out)
        p = np.exp(likelihood.log_prob(own, at, jnp.asarray(levels).reshape(at.shape)))
        assert float(likelihood.mean(own, at)[0, 0, 0, 0]) == pytest.approx(
            p @ levels, abs=5e-4 if scale < 0.01 else 2e-5
        )
        slope = slopes(at)
        assert float(slope.min()) >= 0
        assert scale < 0.05 or float(slope.min()) > 0, "an output outside of [0, 1] comes back"


@pytest.mark.parametrize("scale", [29.0, 31.0, 1e5, 1e30])
def test_the_discretised_logistics_mean_keeps_its_digits_at_any_scale(scale):
    likelihood, out = likelihoods.make("discretised_logistic", scale), np.linspace(-1, 2, 13)
    slopes = jax.grad(lambda at: likelihood.mean(likelihood.init(), at).sum())(jnp.asarray(out, jnp.float32))
    found = likelihood.mean(likelihood.init(), jnp.asarray(out, jnp.float32))
    np.testing.assert_allclose(found, 1 / (1 + np.exp(-(out - 0.5) / scale)), atol=5e-6)
    assert np.isfinite(slopes).all() and slopes.min() >= 0
    own = Variables({"log_scale": jnp.asarray(100.0)})  # whose scale is infinite in single precision
    assert float(jax.grad(lambda at: likelihood.mean(own, at))(0.3)) == 0


@pytest.mark.parametrize("name", names.LIKELIHOODS)
@pytest.mark.parametrize("out", [-120.0, 0.0, 120.0])
def test_loss_and_gradients_are_finite_far_out(name, out):
    likelihood = likelihoods.make(name)
    own = likelihood.init()

    def loss(params, out):
        scored, _ = likelihood.fit(Variables(params, own.state), out, X)
        return -likelihood.log_prob(scored, out, X).sum()

    value, slopes = small.jit(jax.value_and_grad(loss, (0, 1)))(own.params, jnp.full(SHAPE, out))
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in jax.tree.leaves(slopes))
    assert float(jnp.abs(slopes[1]).max()) > 0


@pytest.mark.parametrize(("name", "own"), [("gaussian_learned", "log_var"), ("discretised_logistic", "log_scale")])
def test_learned_scales_start_as_given_and_are_learned(name, own):
    likelihood = likelihoods.make(name, 0.2)
    params = likelihood.init().params
    assert float(params[own]) == pytest.approx(np.log(0.2) * (2 if own == "log_var" else 1))
    slope = small.jit(jax.grad(lambda p: likelihood.log_prob(Variables(p), OUT, X).sum()))(params)[own]
    assert float(slope) != 0


def trained(out):
    scored, _ = optimal.fit(optimal.init(), out, X)
    return -optimal.log_prob(scored, out, X).mean()


def test_gaussian_optimal_is_the_log_of_the_batch_mse_in_training():
    """Rybkin et al. 2021, eq. 8: D/2 (log(2 pi MSE) + 1); its gradient too."""

    def closed(out):
        return D / 2 * (jnp.log(2 * jnp.pi * jnp.mean(jnp.square(X - out))) + 1)

    assert float(trained(OUT)) == pytest.approx(float(closed(OUT)), rel=1e-6)
    np.testing.assert_allclose(*(small.jit(jax.grad(of))(OUT) for of in (trained, closed)), rtol=1e-4, atol=1e-7)


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
    value, slope = small.jit(jax.value_and_grad(trained))(X)
    assert np.isfinite(value)
    assert np.isfinite(slope).all()


# --- its draws

DRAWS = 20_000


def drawn(name, out, scale=0.2, variables=None):
    """Images [DRAWS, ...] about the same output, each from its own key; in float64."""
    likelihood = likelihoods.make(name, scale)
    repeated = np.broadcast_to(out, (DRAWS, *out.shape))
    draw = small.jit(likelihood.draw)
    return np.asarray(draw(variables or likelihood.init(), small.keys(DRAWS, 2), repeated), np.float64)


def close(found, expected, variance):
    """Within five standard errors of a mean of DRAWS."""
    np.testing.assert_array_less(np.abs(found - expected), 5 * np.sqrt(variance / DRAWS) + 1e-9)


def test_bernoulli_draws_are_zero_or_one_with_the_logits_probability():
    out = jnp.asarray([-3.0, -0.5, 0.0, 1.0, 4.0, 200.0]).reshape(1, 6, 1)
    x, p = drawn("bernoulli", out), scipy.special.expit(np.asarray(out, np.float64))
    assert set(np.unique(x)) == {0.0, 1.0}
    close(x.mean(0), p, p * (1 - p))


GAUSSIAN = {
    "gaussian": None,
    "gaussian_learned": Variables({"log_var": jnp.asarray(2 * np.log(0.2))}),
    "gaussian_optimal": Variables({}, {"variance": jnp.asarray(0.02), "weight": jnp.asarray(0.5)}),
}


@pytest.mark.parametrize("name", GAUSSIAN)
def test_gaussian_draws_have_the_densitys_moments_and_are_not_clipped(name):
    out = jnp.asarray([-0.3, 0.0, 0.5, 1.2]).reshape(2, 2, 1)
    variance = 0.2**2
    x = drawn(name, out, scale=0.2, variables=GAUSSIAN[name])
    close(x.mean(0), np.asarray(out), variance)
    close(x.var(0), variance, 2 * variance**2)
    assert x.min() < -0.3 and x.max() > 1.2
    close(scipy.stats.norm.cdf((x - np.asarray(out)) / 0.2).mean(0), 0.5, 1 / 12)
    pairs = np.corrcoef(x.reshape(DRAWS, -1).T) - np.eye(4)
    assert np.abs(pairs).max() < 5 / np.sqrt(DRAWS)


@pytest.mark.parametrize("name", names.LIKELIHOODS)
def test_log_prob_of_what_is_drawn_averages_to_minus_the_entropy(name):
    """Of one pixel: the mean of log p over its own draws is the sum of p log p, or the Gaussian's closed form."""
    out = jnp.asarray(0.9).reshape(1, 1, 1)
    likelihood, x = likelihoods.make(name, 0.2), drawn(name, out)
    log_p = np.float64(
        likelihood.log_prob(likelihood.init(), jnp.broadcast_to(out, x.shape), jnp.asarray(x, jnp.float32))
    )
    if likelihood.discrete:
        levels = jnp.asarray([0.0, 1.0] if name == "bernoulli" else np.arange(256) / 255, jnp.float32)
        each = np.float64(
            likelihood.log_prob(likelihood.init(), jnp.full((len(levels), 1, 1, 1), 0.9), levels.reshape(-1, 1, 1, 1))
        )
        expected = np.sum(np.exp(each) * each)
    else:
        expected = -0.5 * np.log(2 * np.pi * np.e * 0.2**2)
    close(log_p.mean(), expected, log_p.var())


@pytest.mark.parametrize(("mean", "scale"), [(0.5, 0.05), (0.02, 0.02), (0.31, 0.0004), (1.4, 0.3)])
def test_discretised_logistic_draws_each_level_as_often_as_its_mass(mean, scale):
    x = drawn("discretised_logistic", jnp.full((1, 1, 1), mean), scale).ravel()
    likelihood = likelihoods.discretised_logistic(scale)
    levels = jnp.arange(256).reshape(-1, 1, 1, 1) / 255
    mass = np.exp(np.float64(likelihood.log_prob(likelihood.init(), jnp.full((256, 1, 1, 1), mean), levels)))
    count = np.bincount(np.round(255 * x).astype(int), minlength=256)
    np.testing.assert_allclose(x, np.round(255 * x) / 255, atol=1e-7)
    assert mass.sum() == pytest.approx(1, abs=1e-5)
    often = DRAWS * mass > 5
    observed, expected = (np.append(value[often], value[~often].sum()) for value in (count, DRAWS * mass))
    squared = np.sum((observed - expected) ** 2 / np.maximum(expected, 1))
    assert squared < scipy.stats.chi2.ppf(1 - 1e-4, often.sum())


@pytest.mark.parametrize("name", names.LIKELIHOODS)
def test_each_key_draws_its_own_image(name):
    likelihood = likelihoods.make(name)
    draw = small.jit(likelihood.draw)

    def keys(index):
        return random.example_keys(jax.random.key(0), 0, index)

    x = draw(likelihood.init(), keys(jnp.arange(4)), OUT)
    assert x.shape == OUT.shape and x.dtype == OUT.dtype
    np.testing.assert_array_equal(draw(likelihood.init(), keys(jnp.arange(4)[::-1]), OUT[::-1]), x[::-1])
    same = draw(likelihood.init(), keys(jnp.arange(4)), jnp.broadcast_to(OUT[:1], OUT.shape))
    assert len({row.tobytes() for row in np.asarray(same)}) == 4


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
