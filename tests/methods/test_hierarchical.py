"""Two Gaussian layers in closed form against hvae2; the ladder's levels against the formulas of its paper."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import small

from jaxae import densities, gaussian, random
from jaxae.errors import InputError
from jaxae.methods import ladder_vae
from jaxae.networks.heads import MLP, normal
from jaxae.types import Normal

N, LATENT, TOP, SCALE = 4, 3, 2, 0.7
BATCH = small.batch(N, binary=False)
over_draws = partial(small.over_draws, BATCH)
made = partial(small.method, likelihood="gaussian", latent=LATENT, scale=SCALE)
two = partial(made, "hvae2", top=TOP, layers=0)


def same_keys(n=N):
    """The same noise at every call."""
    return small.keys(n, 5)


def linear():
    """hvae2's variables with both maps between h1 and h2 linear, of constant variance."""
    variables = small.variables(two(), BATCH, size=0.5)
    own = {}
    for name, units in (("up", TOP), ("down", LATENT)):
        head = variables.params[name]["head"]
        own[name] = {"head": {**head, "kernel": head["kernel"].at[:, units:].set(0.0)}}
    return variables._replace(params={**variables.params, **own})


LINEAR = linear()


class Linear:
    """y = x A + a + noise, the noise's variance exp(log_var)."""

    def __init__(self, dense, units):
        kernel, bias = (np.asarray(dense[name], np.float64) for name in ("kernel", "bias"))
        self.a, self.at, self.cov = kernel[:, :units], bias[:units], np.diag(np.exp(bias[units:]))

    def joint(self, mean, cov):
        """Mean and covariance of (x, y) for x ~ N(mean, cov)."""
        cross = cov @ self.a
        both = np.block([[cov, cross], [cross.T, self.a.T @ cross + self.cov]])
        return np.concatenate([mean, mean @ self.a + self.at]), both


UP, DOWN = Linear(LINEAR.params["up"]["head"], TOP), Linear(LINEAR.params["down"]["head"], LATENT)
PIXELS = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), LINEAR.params["decoder"]["dense"])


def prior_of_h1():
    mean, cov = DOWN.joint(np.zeros(TOP), np.eye(TOP))
    return mean[TOP:], cov[TOP:, TOP:]


def q_of_h1():
    return [np.asarray(leaf, np.float64) for leaf in small.method("vae", latent=LATENT).posterior(LINEAR, BATCH)]


def regression(w, at, noise, mean, cov):
    """Of h ~ N(mean, cov) given y = h w + at + noise: (weights, bias, variances), the covariances left out."""
    gain = cov @ w @ np.linalg.inv(w.T @ cov @ w + noise)
    return gain.T, mean - gain @ (mean @ w + at), np.diag(cov - gain @ w.T @ cov)


def fitted():
    """LINEAR, with the best q(h1|x) and q(h2|h1) that are diagonal, a little wider."""
    params = dict(LINEAR.params)
    of_h1 = regression(PIXELS["kernel"], PIXELS["bias"], SCALE**2 * np.eye(small.D), *prior_of_h1())
    of_h2 = regression(DOWN.a, DOWN.at, DOWN.cov, np.zeros(TOP), np.eye(TOP))
    for name, inner, (weights, bias, variance) in (("encoder", "dense", of_h1), ("up", "head", of_h2)):
        dense = {
            "kernel": np.concatenate([weights, np.zeros_like(weights)], axis=1),
            "bias": np.concatenate([bias, np.log(1.2 * variance)]),
        }
        params[name] = {inner: jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), dense)}
    return LINEAR._replace(params=params)


def test_hvae2_bound_meets_the_exact_log_likelihood():
    (mean, cov), w = prior_of_h1(), PIXELS["kernel"]
    exact = scipy.stats.multivariate_normal(mean @ w + PIXELS["bias"], w.T @ cov @ w + SCALE**2 * np.eye(small.D))
    exact = exact.logpdf(np.asarray(BATCH.x).reshape(N, -1))
    v = fitted()
    found = over_draws(lambda keys: two(k=1000, bound="iwae").loss(v, keys, BATCH, jnp.asarray(0)).metrics, 40)
    bound, se = found["bound"].mean(axis=0), found["bound"].std(axis=0, ddof=1) / np.sqrt(40)
    bias = 20 * np.square(se)  # half the variance: the log of a mean, to first order
    assert se.max() < 0.02 and bias.max() < 0.01
    np.testing.assert_array_less(np.abs(bound + bias - exact), 4 * se)
    assert (found["elbo"].mean(axis=0) < exact - 0.02).all()


def test_hvae2_kl_and_reconstruction_in_closed_form():
    """KL(q(h1, h2 | x) || p(h1, h2)) of two Gaussians over both layers at once."""
    mean, log_var = q_of_h1()
    p_mean, p_cov = DOWN.joint(np.zeros(TOP), np.eye(TOP))
    order = [*range(TOP, TOP + LATENT), *range(TOP)]  # h1 first, as in q
    p_mean, p_cov = p_mean[order], p_cov[np.ix_(order, order)]
    kls, nlls = [], []
    for x, m, v in zip(np.asarray(BATCH.x, np.float64).reshape(N, -1), mean, np.exp(log_var)):
        q_mean, q_cov = UP.joint(m, np.diag(v))
        d, ratio = q_mean - p_mean, np.linalg.solve(p_cov, q_cov)
        kls.append(0.5 * (np.trace(ratio) + d @ np.linalg.solve(p_cov, d) - len(d) - np.linalg.slogdet(ratio)[1]))
        error = np.square(x - m @ PIXELS["kernel"] - PIXELS["bias"]).sum() + v @ np.square(PIXELS["kernel"]).sum(1)
        nlls.append(0.5 * error / SCALE**2 + small.D * (np.log(SCALE) + 0.5 * np.log(2 * np.pi)))
    found = over_draws(lambda keys: two(k=50).loss(LINEAR, keys, BATCH, jnp.asarray(0)).metrics, 200)
    for name, exact in (("kl", kls), ("reconstruction", nlls), ("elbo", -np.add(kls, nlls))):
        se = found[name].std(axis=0, ddof=1) / np.sqrt(200)
        np.testing.assert_array_less(np.abs(found[name].mean(axis=0) - exact), 4 * se)


def test_hvae2_prior_of_both_layers_is_their_joint_gaussian():
    h1, h2 = two().generative.draw(LINEAR, same_keys())
    exact = scipy.stats.multivariate_normal(*DOWN.joint(np.zeros(TOP), np.eye(TOP)))
    found = two().generative.log_prior(LINEAR, (h1, h2))
    np.testing.assert_allclose(found, exact.logpdf(np.concatenate([h2, h1], axis=1)), rtol=1e-5)


def test_hvae2_with_one_sample_is_minus_its_log_weight_whatever_the_bound():
    log_w = small.jit(two().log_weight)(LINEAR, same_keys(), BATCH)
    for bound in ("elbo", "iwae"):
        objective = small.jit(two(bound=bound).loss)(LINEAR, same_keys(), BATCH, jnp.asarray(0))
        np.testing.assert_allclose(objective.loss, -log_w.total, rtol=1e-5)
        np.testing.assert_allclose(objective.metrics["kl"], log_w.posterior - log_w.prior, rtol=1e-4, atol=1e-5)


def test_hvae2_samples_have_the_priors_moments():
    n = 20_000
    x = np.asarray(two().sample(LINEAR, same_keys(n)), np.float64).reshape(n, -1)
    mean, cov = prior_of_h1()
    w = PIXELS["kernel"]
    exact = w.T @ cov @ w
    np.testing.assert_array_less(np.abs(x.mean(0) - mean @ w - PIXELS["bias"]), 4.5 * np.sqrt(np.diag(exact) / n))
    spread = np.sqrt((exact**2 + np.outer(np.diag(exact), np.diag(exact))) / n)
    np.testing.assert_array_less(np.abs(np.cov(x.T) - exact), 4.5 * spread)


@pytest.mark.slow
@pytest.mark.parametrize(("estimator", "k", "bound"), [("stl", 3, "elbo"), ("dreg", 6, "iwae")])
def test_hvae2_estimators_agree_on_average(estimator, k, bound):
    """q(h2|h1) moves with h1: only its own parameters' score may be left out, not the path through h1."""
    of = partial(made, "hvae2", top=TOP, hidden=4, layers=1, k=k, bound=bound)
    variables = small.variables(of(), BATCH, size=0.5)

    def gradients(estimator):
        def mean_loss(params, keys):
            found = of(estimator=estimator).loss(variables._replace(params=params), keys, BATCH, jnp.asarray(0))
            return jnp.mean(found.loss)

        return over_draws(partial(jax.grad(mean_loss), variables.params), 1000)

    plain, other = gradients("plain"), gradients(estimator)
    for name in ("decoder", "down"):
        small.assert_close(other[name], plain[name], rtol=1e-3, atol=1e-4)
    difference = [jax.tree.map(np.subtract, other[name], plain[name]) for name in ("encoder", "up")]
    for leaf in jax.tree.leaves(difference):
        se = leaf.std(axis=0, ddof=1) / np.sqrt(1000)
        assert se.min() > 0
        np.testing.assert_array_less(np.abs(leaf.mean(axis=0)), 4.5 * se)


def test_hvae2_leaves_out_the_score_of_q_and_keeps_the_path_through_h1():
    """The gradient of log w with q's density held at fixed parameters, its samples not: stl, in the linear model."""

    def halves(dense, h):
        return Normal(*jnp.split(h @ dense["kernel"] + dense["bias"][None], 2, axis=-1))

    def log_w(params, fixed):
        first, second = random.split(same_keys())
        x = BATCH.x.reshape(N, -1)
        h1 = gaussian.reparameterise(first, halves(params["encoder"]["dense"], x), (1,))[0]
        h2 = gaussian.reparameterise(second, halves(params["up"]["head"], h1), (1,))[0]
        dense = params["decoder"]["dense"]
        error = x - h1 @ dense["kernel"] - dense["bias"][None]
        log_q = densities.normal(h1, halves(fixed["encoder"]["dense"], x))
        log_q += densities.normal(h2, halves(fixed["up"]["head"], h1))
        log_p = densities.normal(h1, halves(params["down"]["head"], h2)) + densities.standard_normal(h2)
        return jnp.mean(-0.5 * jnp.square(error).sum(-1) / SCALE**2 + log_p - log_q)

    def minus_bound(params):
        found = two(bound="iwae", estimator="dreg").loss(
            LINEAR._replace(params=params), same_keys(), BATCH, jnp.asarray(0)
        )
        return -jnp.mean(found.loss)

    by_hand = small.jit(jax.grad(log_w))(LINEAR.params, LINEAR.params)
    small.assert_close(small.jit(jax.grad(minus_bound))(LINEAR.params), by_hand, rtol=1e-3, atol=1e-4)


def test_hvae2_refuses_what_it_cannot_train():
    with pytest.raises(InputError, match=r"^unknown bound 'iwea': did you mean 'iwae'"):
        two(bound="iwea")
    with pytest.raises(InputError, match=r"^unknown estimator of the bound elbo 'dreg'"):
        two(estimator="dreg")
    with pytest.raises(InputError, match=r"^layers -1: expected"):
        made("hvae2", layers=-1)
    with pytest.raises(InputError, match=r"^top 0: expected"):
        made("hvae2", top=0)


def test_ladder_product_is_the_normalised_product_of_the_densities():
    rng = np.random.default_rng(0)
    one, other = (Normal(*jnp.asarray(rng.normal(size=(2, 5, 1)), jnp.float32)) for _ in range(2))
    both = ladder_vae.product(one, other)
    grid = jnp.linspace(-2.0, 2.0, 9)[:, None, None] * jnp.ones((9, 5, 1))

    def log_p(p):
        return np.asarray(densities.normal(grid, Normal(*(jnp.broadcast_to(leaf, grid.shape) for leaf in p))))

    constant = log_p(one) + log_p(other) - log_p(both)
    np.testing.assert_allclose(constant, np.broadcast_to(constant[:1], constant.shape), atol=1e-4)


def test_ladder_product_is_finite_where_one_is_certain():
    far = ladder_vae.product(Normal(jnp.ones((1, 1)), jnp.full((1, 1), -200.0)), Normal(*jnp.zeros((2, 1, 1))))
    np.testing.assert_allclose(far, [[[1.0]], [[-200.0]]])


def of_ladder(levels, latent, hidden=5):
    method = small.method("ladder_vae", "gaussian", latent=latent, scale=SCALE, levels=levels, hidden=hidden)
    return method, small.variables(method, BATCH)


def head(variables, name, inputs):
    """One of the ladder's maps, from its parameters alone."""
    params = variables.params[name]
    return normal(MLP(params["head"]["bias"].shape[0], 5, activation="tanh"), params, inputs)


def features(variables):
    dense = variables.params["encoder"]["dense"]
    return BATCH.x.reshape(N, -1) @ dense["kernel"] + dense["bias"][None]


def test_ladder_of_two_levels_by_the_formulas_of_the_paper():
    method, v = of_ladder(2, 4)
    up = v.params["up_2"]
    d1 = features(v)
    d2 = np.tanh(d1 @ up["Dense_0"]["kernel"] + up["Dense_0"]["bias"][None]) @ up["head"]["kernel"]
    d2 = d2 + up["head"]["bias"][None]
    q2, seen = head(v, "estimate_2", d2), head(v, "estimate_1", d1)
    keys = random.split(same_keys(), 2)
    z2 = gaussian.reparameterise(keys[1], q2)
    p1 = head(v, "prior_1", z2)
    seen_precision, p_precision = 1 / np.exp(seen.log_var), 1 / np.exp(p1.log_var)  # eq. 18 and 19
    variance = 1 / (seen_precision + p_precision)
    mean = (seen.mean * seen_precision + p1.mean * p_precision) * variance
    q1 = Normal(jnp.asarray(mean), jnp.log(variance))
    z1 = gaussian.reparameterise(keys[0], q1)
    assert (z1.shape, z2.shape) == ((N, 4), (N, 2))

    metrics = method.loss(v, same_keys(), BATCH, jnp.asarray(0)).metrics
    np.testing.assert_allclose(metrics["kl_1"], densities.kl(q1, p1).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(metrics["kl_2"], densities.kl_to_standard(q2).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(metrics["kl"], metrics["kl_1"] + metrics["kl_2"], rtol=1e-5)
    log_w = method.log_weight(v, same_keys(), BATCH)
    np.testing.assert_allclose(log_w.prior, densities.normal(z1, p1) + densities.standard_normal(z2), rtol=1e-4)
    np.testing.assert_allclose(log_w.posterior, densities.normal(z1, q1) + densities.normal(z2, q2), rtol=1e-4)
    np.testing.assert_allclose(log_w.likelihood, -metrics["reconstruction"], rtol=1e-4)
    np.testing.assert_allclose(method.generative.log_prior(v, (z1, z2)), log_w.prior, rtol=1e-4)
    np.testing.assert_allclose(method.generative.log_likelihood(v, (z1, z2), BATCH), log_w.likelihood, rtol=1e-4)


def test_ladder_of_one_level_is_a_vae():
    method, v = of_ladder(1, 3)
    q = head(v, "estimate_1", features(v))
    objective = method.loss(v, same_keys(), BATCH, jnp.asarray(0))
    np.testing.assert_allclose(objective.metrics["kl"], densities.kl_to_standard(q).sum(-1), rtol=1e-4)
    np.testing.assert_allclose(method.embed(v, BATCH), q.mean, rtol=1e-4)
    np.testing.assert_allclose(objective.loss, -objective.metrics["elbo"], rtol=1e-6)


@pytest.mark.parametrize(("latent", "sizes"), [(9, [9, 4, 2, 1]), (1, [1, 1, 1, 1])])
def test_ladder_levels_halve_down_to_one_unit(latent, sizes):
    method, v = of_ladder(4, latent)
    assert [v.params[f"estimate_{i}"]["head"]["bias"].size // 2 for i in (1, 2, 3, 4)] == sizes
    assert [v.params[f"prior_{i}"]["Dense_0"]["kernel"].shape[0] for i in (1, 2, 3)] == sizes[1:]
    assert np.isfinite(method.loss(v, same_keys(), BATCH, jnp.asarray(0)).loss).all()


def test_ladder_samples_come_down_through_the_priors():
    """A bottom prior that ignores what is above it, and is certain, decides what is sampled."""
    method, v = of_ladder(3, 4)
    own, c = v.params["prior_1"], jnp.asarray([0.3, -1.0, 0.5, 2.0])
    certain = {"kernel": jnp.zeros_like(own["head"]["kernel"]), "bias": jnp.concatenate([c, jnp.full(4, -40.0)])}
    fixed = v._replace(params={**v.params, "prior_1": {**own, "head": certain}})
    expected = jnp.broadcast_to(method.decode(v, c[None]), (N, *small.SHAPE))
    np.testing.assert_allclose(small.jit(method.sample)(fixed, same_keys()), expected, rtol=1e-5, atol=1e-5)


def test_ladder_refuses_no_levels():
    with pytest.raises(InputError, match=r"^levels 0: expected a whole number of at least 1$"):
        made("ladder_vae", levels=0)
