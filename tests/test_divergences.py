"""Every divergence against a double loop, a closed form or another library; estimates over all minibatches."""

import inspect
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import scipy.spatial
import scipy.special
import scipy.stats
import small
from small import draw

from jaxae import densities, divergences
from jaxae.divergences import LogAggregate
from jaxae.errors import InputError
from jaxae.types import Normal

KERNELS = {"rbf": divergences.rbf, "imq": divergences.imq}
N = 6  # examples of the small data set
POSTERIORS = Normal(*(jnp.asarray(np.random.default_rng(s).normal(size=(N, 2)) * 0.8, jnp.float32) for s in (0, 1)))
SCALES = (0.1, 0.2, 0.5, 1, 2, 5, 10)


def one_value(name, squared, latent):
    """The kernel's formula, in float64 and one pair at a time."""
    widths = [2 * latent * s for s in SCALES]
    return sum(np.exp(-squared / c) if name == "rbf" else c / (c + squared) for c in widths)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("shift", [0.0, 1000.0])
def test_mmd_equals_a_double_loop(name, shift):
    """And stays itself when both sets move far away, where |x|^2 + |y|^2 - 2 x.y would lose its digits."""
    x, y = draw(0, 7, 3) + np.float32(shift), 0.5 + 2 * draw(1, 5, 3) + np.float32(shift)

    def mean(a, b, same):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and i == j)]
        return np.mean([one_value(name, np.sum((a[i].astype(float) - b[j]) ** 2), 3) for i, j in pairs])

    expected = mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)
    found = divergences.mmd(jnp.asarray(x), jnp.asarray(y), KERNELS[name](3))
    assert float(found) == pytest.approx(expected, abs=2e-5 if shift == 0 else 1e-4)


def mmds(name, mean, std, draws=3000, n=8, latent=2):
    """MMD of n codes of N(mean, std^2) and n of N(0, 1), many times."""
    kernel = KERNELS[name](latent)
    x, y = jnp.asarray(mean + std * draw(2, draws, n, latent)), jnp.asarray(draw(3, draws, n, latent))
    return np.asarray(small.jit(jax.vmap(lambda x, y: divergences.mmd(x, y, kernel)))(x, y))


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (0.7, 1.0), (0.3, 0.4)])
def test_mmd_of_gaussians_has_the_closed_form_as_its_mean(mean, std):
    """E exp(-|x - y|^2 / c) for x - y ~ N(m, v) is (1 + 2 v / c)^(-latent / 2) exp(-|m|^2 / (c + 2 v))."""

    def expectation(m, v, latent=2):
        widths = 2 * latent * np.array(SCALES)
        return np.sum((1 + 2 * v / widths) ** (-latent / 2) * np.exp(-latent * m**2 / (widths + 2 * v)))

    expected = expectation(0, 2 * std**2) + expectation(0, 2) - 2 * expectation(mean, 1 + std**2)
    found = mmds("rbf", mean, std)
    assert abs(found.mean() - expected) < 4 * found.std() / np.sqrt(len(found))


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_of_equal_distributions_is_negative_as_often_as_an_unbiased_estimate_must_be(name):
    found = mmds(name, 0.0, 1.0)
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
    assert 0.3 < (found < 0).mean() < 0.8


@pytest.mark.parametrize("name", KERNELS)
def test_mmd_draws_codes_to_the_prior_even_from_afar_and_where_codes_coincide(name):
    slope = small.jit(jax.grad(lambda x, y: divergences.mmd(x, y, KERNELS[name](2))))
    y = jnp.asarray(draw(4, 16, 2))
    assert (np.asarray(slope(4 + 0.1 * jnp.asarray(draw(5, 16, 2)), y)).mean(axis=0) > 0).all()
    assert np.isfinite(slope(jnp.broadcast_to(y[:1], y.shape), y)).all()


def test_mmd_of_one_code_is_refused():
    with pytest.raises(InputError, match="MMD of 1 and 5 codes: expected at least 2 of each"):
        divergences.mmd(jnp.ones((1, 2)), jnp.ones((5, 2)), divergences.imq(2))


def test_sliced_wasserstein_equals_scipy_on_a_line():
    """Against the optimal assignment; and scipy's W1, to which W2 is equal for a shift."""
    x, y = draw(6, 50, 1), 3 * draw(7, 50, 1)
    cost = scipy.spatial.distance.cdist(x, y, "sqeuclidean")
    rows, columns = scipy.optimize.linear_sum_assignment(cost)
    found = divergences.sliced_wasserstein(jnp.asarray(x), jnp.asarray(y), jnp.asarray([[-7.0], [0.1]]))
    assert float(found) == pytest.approx(cost[rows, columns].mean(), rel=1e-4)
    moved = divergences.sliced_wasserstein(jnp.asarray(x), jnp.asarray(x + 1.5), jnp.ones((1, 1)))
    assert np.sqrt(moved) == pytest.approx(scipy.stats.wasserstein_distance(x[:, 0], x[:, 0] + 1.5), rel=1e-4)


def test_sets_of_different_sizes_have_no_sorted_pairs():
    of, x = inspect.unwrap(divergences.sliced_wasserstein), jnp.ones((4, 2))
    for other in (x[:1], x[:3]):
        with pytest.raises(InputError, match=r"codes of shape \(4, 2\) and \(\d, 2\): expected as many of each"):
            of(x, other, jnp.ones((1, 2)))


def test_sliced_wasserstein_is_the_mean_of_the_projections_optimal_assignments():
    x, y, directions = draw(8, 9, 3), 1 + 0.5 * draw(9, 9, 3), draw(10, 4, 3)
    costs = []
    for direction in directions / np.linalg.norm(directions, axis=1, keepdims=True):
        cost = np.square((x @ direction)[:, None] - (y @ direction)[None])
        costs.append(cost[scipy.optimize.linear_sum_assignment(cost)].mean())
    found = divergences.sliced_wasserstein(*map(jnp.asarray, (x, y, directions)))
    assert float(found) == pytest.approx(np.mean(costs), rel=1e-4)


def test_sliced_wasserstein_of_gaussians_is_the_closed_form():
    """A projection on u of N(m, diag s^2) is N(m.u, sum u^2 s^2); W2^2 on a line: the means' plus the stds' squares."""
    std, mean = np.array([2.0, 0.5]), np.array([1.0, -1.0])
    x, y = (scipy.stats.norm.ppf(scipy.stats.qmc.Sobol(2, seed=seed).random(2**14)) for seed in (0, 1))
    y = mean + std * y
    u = np.array([[1.0, 0.0], [0.0, 3.0], [0.6, 0.8]])
    unit = u / np.linalg.norm(u, axis=1, keepdims=True)
    expected = np.square(unit @ mean) + np.square(np.sqrt(unit**2 @ std**2) - 1)
    for i in range(3):
        found = divergences.sliced_wasserstein(*(jnp.asarray(a, jnp.float32) for a in (x, y, u[i : i + 1])))
        assert float(found) == pytest.approx(expected[i], rel=0.01)


def log_q(z, q=POSTERIORS):
    """log q(z_j | n) of every row and example, by scipy: [rows, N, latent]."""
    std = np.exp(np.asarray(q.log_var, np.float64) / 2)
    return scipy.stats.norm.logpdf(np.asarray(z)[:, None], np.asarray(q.mean)[None], std[None])


def exact(z, q=POSTERIORS):
    """The aggregate of the whole data set."""
    each = log_q(z, q)
    log_n = np.log(len(q.mean))
    joint = scipy.special.logsumexp(each.sum(-1), axis=1) - log_n
    return LogAggregate(joint, scipy.special.logsumexp(each, axis=1) - log_n)


def test_the_stratified_aggregate_of_the_whole_data_set_is_exact():
    z = jnp.asarray(1.5 * draw(11, N, 2))
    found = divergences.log_aggregate(z, POSTERIORS, jnp.arange(N), N)
    for ours, theirs in zip(found, exact(z)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def over_minibatches(own, z, size, stratified):
    """Estimates of q(z) and q(z_j) at a z of example `own`: their mean over all minibatches which contain it."""

    @small.jit
    def estimate(rows, place):
        q = Normal(POSTERIORS.mean[rows], POSTERIORS.log_var[rows])
        return jax.tree.map(jnp.exp, divergences.log_aggregate(z[None], q, place[None], N, stratified))

    others = [n for n in range(N) if n != own]
    found = []
    for turn, rest in enumerate(itertools.combinations(others, size - 1)):
        place = turn % size  # the example's own place must not matter
        found.append(estimate(jnp.asarray([*rest[:place], own, *rest[place:]]), jnp.asarray(place)))
    return [np.mean(part, axis=0)[0] for part in zip(*found)]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_stratified_estimate_is_unbiased_over_minibatches(size):
    """Not so of any other weight of the example itself: the mean over minibatches is exact, no Monte Carlo in it."""
    z = jnp.asarray([0.4, -0.9])
    for own in (0, 4):
        for found, log in zip(over_minibatches(own, z, size, stratified=True), exact(z[None])):
            np.testing.assert_allclose(found, np.exp(log[0]), rtol=1e-5)


def test_the_stratified_estimate_is_the_papers_averaged_over_its_odd_example():
    """Chen et al., C.2: 1/N for itself, 1/M for the others but one, (N - M) / (N M) for that one."""
    z, size = jnp.asarray(draw(12, 4, 2)), 4
    q = Normal(POSTERIORS.mean[:size], POSTERIORS.log_var[:size])
    found = np.exp(divergences.log_aggregate(z, q, jnp.arange(size), N).joint)
    density, m = np.exp(log_q(z, q).sum(-1)), size - 1
    for i in range(size):
        others = [j for j in range(size) if j != i]
        papers = []
        for odd in others:
            weight = np.full(size, 1 / m)
            weight[i], weight[odd] = 1 / N, (N - m) / (N * m)
            papers.append(density[i] @ weight)
        assert found[i] == pytest.approx(np.mean(papers), rel=1e-5)


@pytest.mark.parametrize("size", [2, 5])
def test_the_weighted_estimate_is_biased_down_by_what_its_weights_say(size):
    z = jnp.asarray([0.4, -0.9])
    joint, _ = over_minibatches(4, z, size, stratified=False)
    density = np.exp(log_q(z[None]).sum(-1))[0]
    expected = (density[4] + (size - 1) * np.delete(density, 4).mean()) / (N * size)
    assert joint == pytest.approx(expected, rel=1e-5)
    assert joint < density.mean()


@pytest.mark.parametrize("stratified", [True, False])
def test_a_devices_rows_have_the_values_they_have_in_the_whole(stratified):
    z, places = jnp.asarray(draw(13, N, 2)), jnp.arange(N)
    whole = divergences.log_aggregate(z, POSTERIORS, places, 50, stratified)
    part = divergences.log_aggregate(z[4:], POSTERIORS, places[4:], 50, stratified)
    for ours, theirs in zip(part, whole):
        np.testing.assert_allclose(ours, theirs[4:], rtol=1e-6)


def test_the_log_aggregate_is_finite_with_its_gradient_where_densities_underflow():
    z = jnp.asarray([[300.0, -300.0], [0.0, 0.0]])

    def total(mean):
        q = Normal(mean, POSTERIORS.log_var[:2])
        return jnp.sum(divergences.log_aggregate(z, q, jnp.arange(2), 100).joint)

    value, slope = jax.value_and_grad(total)(POSTERIORS.mean[:2])
    assert np.isfinite(value) and np.isfinite(slope).all()


def test_a_data_set_of_no_examples_is_refused():
    with pytest.raises(InputError, match="examples 0: expected the size of the data set"):
        divergences.log_aggregate(jnp.zeros((N, 2)), POSTERIORS, jnp.arange(N), 0)


def test_the_three_parts_add_up_to_the_kl_to_the_prior():
    z = POSTERIORS.mean + 0.3
    aggregate = divergences.log_aggregate(z, POSTERIORS, jnp.arange(N), 1000, False)
    parts = [
        divergences.index_code_mi(z, POSTERIORS, aggregate),
        divergences.total_correlation(aggregate),
        divergences.dimension_wise_kl(z, aggregate),
    ]
    log_ratio = densities.normal(z, POSTERIORS) - densities.standard_normal(z)
    np.testing.assert_allclose(sum(parts), log_ratio, rtol=1e-4, atol=1e-4)


def test_each_part_is_what_scipy_says_at_the_exact_aggregate():
    z = POSTERIORS.mean - 0.2
    aggregate = LogAggregate(*(jnp.asarray(part, jnp.float32) for part in exact(z)))
    joint, marginals = exact(z)
    own = log_q(z).sum(-1)[np.arange(N), np.arange(N)]
    log_p = scipy.stats.norm.logpdf(z).sum(-1)
    for ours, theirs in [
        (divergences.index_code_mi(z, POSTERIORS, aggregate), own - joint),
        (divergences.total_correlation(aggregate), joint - marginals.sum(-1)),
        (divergences.dimension_wise_kl(z, aggregate), marginals.sum(-1) - log_p),
    ]:
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def gaussian_total_correlation(cov):
    return 0.5 * (np.log(np.diag(cov)).sum() - np.linalg.slogdet(cov)[1])


def test_the_total_correlation_of_a_correlated_gaussian_aggregate_is_the_closed_form():
    """Posteriors of variance 0.25 with means N(0, cov - 0.25), evenly laid out, have N(0, cov) as their aggregate."""
    cov, n = np.array([[1.5, 0.9], [0.9, 1.0]]), 1024
    even = scipy.stats.norm.ppf(scipy.stats.qmc.Sobol(4, seed=0).random(n))
    mean = even[:, :2] @ np.linalg.cholesky(cov - 0.25 * np.eye(2)).T
    q = Normal(jnp.asarray(mean, jnp.float32), jnp.full((n, 2), np.log(0.25), jnp.float32))
    z = q.mean + 0.5 * jnp.asarray(even[:, 2:], jnp.float32)
    found = divergences.total_correlation(
        small.jit(divergences.log_aggregate, static_argnums=3)(z, q, jnp.arange(n), n)
    )
    assert float(found.mean()) == pytest.approx(gaussian_total_correlation(cov), rel=0.03)


def test_covariance_and_dip_equal_numpy():
    x = draw(14, 20, 4) @ draw(15, 4, 4) + 3
    cov = np.cov(x.T.astype(np.float64), bias=True)
    np.testing.assert_allclose(divergences.covariance(jnp.asarray(x)), cov, rtol=1e-4, atol=1e-4)
    off = sum(cov[i, j] ** 2 for i in range(4) for j in range(4) if i != j)
    diagonal = sum((cov[i, i] - 1) ** 2 for i in range(4))
    found = divergences.dip(jnp.asarray(cov, jnp.float32), 3.0, 0.5)
    assert float(found) == pytest.approx(3 * off + 0.5 * diagonal, rel=1e-4)


def test_dip_is_zero_at_the_priors_covariance_alone():
    assert float(divergences.dip(jnp.eye(3), 10.0, 10.0)) == 0
    assert float(divergences.dip(2 * jnp.eye(3), 10.0, 1.0)) == pytest.approx(3)
