"""Flow and spherical posteriors, and the flow prior: by the change of variables, on grids and on the circle."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
import scipy.special
import scipy.stats
import small

from jaxae import gaussian, hyperbolic, random, riemannian, sphere
from jaxae.errors import InputError
from jaxae.methods import flow_prior, svae
from jaxae.types import Normal

N, LATENT, DRAWS = 12, 2, 20_000
BATCH = small.batch(N)
keys = partial(small.keys, seed=5)
ROW = small.part(BATCH, [0])
SMALLER = {
    "iaf_vae": {"length": 3, "hidden": 10, "context": 5},
    "planar_vae": {"length": 3},
    "svae": {},
    "hamiltonian_vae": {"leaps": 3, "step_size": 0.2, "tempering": 0.3},
    "riemannian_vae": {
        "leaps": 2,
        "step_size": 0.1,
        "tempering": 0.5,
        "centroids": 5,
        "regularisation": 0.3,
        "rounds": 2,
    },
    "poincare_vae": {"curvature": 0.8, "planes": 7},
    "flow_prior": {"couplings": 3, "hidden": 10},
    "vae": {},
}
pushed = pytest.mark.parametrize("name", ["iaf_vae", "planar_vae"])
drawn = pytest.mark.parametrize("name", ["iaf_vae", "planar_vae", "hamiltonian_vae", "riemannian_vae", "poincare_vae"])
EVERY = ["iaf_vae", "planar_vae", "svae", "hamiltonian_vae", "riemannian_vae", "poincare_vae", "flow_prior"]
every = pytest.mark.parametrize("name", EVERY)
some = pytest.mark.parametrize("name", small.first(EVERY, 3))
PRIOR = small.programs(flow_prior.prior(LATENT, **SMALLER["flow_prior"]))


def made(name, latent=LATENT, **hyperparameters):
    return small.method(name, latent=latent, **{**SMALLER[name], **hyperparameters})


@cache
def variables(name, size=0.5):
    return small.variables(made(name), BATCH, size=size)


def with_entry(variables, **entries):
    return variables._replace(params={**variables.params, **entries})


def dense(variables, part):
    """(kernel, bias) of a linear part, in double precision."""
    own = variables.params[part]["dense"]
    return np.asarray(own["kernel"], np.float64), np.asarray(own["bias"], np.float64)


def encoded(variables, x=BATCH.x):
    kernel, bias = dense(variables, "encoder")
    return np.asarray(x, np.float64).reshape(len(x), -1) @ kernel + bias


def log_likelihood(variables, z, x):
    """log p(x|z) of the linear decoder and one image, z [n, latent]."""
    kernel, bias = dense(variables, "decoder")
    if "planes" in variables.params:  # what the decoder of poincare_vae reads
        own, c = variables.params["planes"], SMALLER["poincare_vae"]["curvature"]
        z = np.asarray(hyperbolic.gyroplanes(jnp.asarray(z, jnp.float32), own["normals"], own["offsets"], c))
    logits = z @ kernel + bias
    return (logits * np.asarray(x).reshape(1, -1) - np.logaddexp(0, logits)).sum(-1)


def assert_mean(values, expected, bias=0.0):
    """Within 4.5 standard errors (and a rounding's `bias`)."""
    values = np.asarray(values, np.float64)
    se = values.std(0) / np.sqrt(len(values))
    np.testing.assert_array_less(np.abs(values.mean(0) - expected), 4.5 * se + bias + 1e-12)


# --- posteriors by flows


def base(variables):
    """The Gaussian that is pushed."""
    out = encoded(variables)
    return Normal(*(jnp.asarray(x, jnp.float32) for x in (out[:, :LATENT], out[:, LATENT : 2 * LATENT])))


@pushed
def test_log_weight_is_the_change_of_variables(name):
    """The code is where the flow takes the mean, which the encoder's bias moves: so `embed` alone tells the flow."""
    method, v = made(name), variables(name)
    q = base(v)
    z0 = gaussian.reparameterise(keys(), q)

    def flow(at, mean, row):
        own = v.params["encoder"]["dense"]
        bias = own["bias"].at[:LATENT].add(at - mean)
        moved = with_entry(v, encoder={"dense": {**own, "bias": bias}})
        return method.embed(moved, jax.tree.map(lambda leaf: leaf[None], row))[0]

    z = np.asarray(small.jit(jax.vmap(flow))(z0, q.mean, BATCH), np.float64)
    slopes = np.asarray(small.jit(jax.vmap(jax.jacobian(flow)))(z0, q.mean, BATCH), np.float64)
    log_det = np.linalg.slogdet(slopes)[1]
    assert np.ptp(log_det) > 0.1 and np.abs(z - z0).max() > 0.1
    log_q = scipy.stats.norm.logpdf(z0, q.mean, np.exp(np.asarray(q.log_var) / 2)).sum(-1) - log_det
    log_w = small.jit(method.log_weight)(v, keys(), BATCH)
    np.testing.assert_allclose(log_w.posterior, log_q, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_w.prior, scipy.stats.norm.logpdf(z).sum(-1), rtol=1e-4, atol=1e-4)
    log_px = [log_likelihood(v, z[i : i + 1], BATCH.x[i])[0] for i in range(N)]
    np.testing.assert_allclose(log_w.likelihood, log_px, rtol=1e-4, atol=1e-4)


@drawn
def test_loss_is_by_the_sample_and_beta_weighs_the_divergence(name):
    method, v = made(name), variables(name)
    log_w = method.log_weight(v, keys(), BATCH)
    one, two = (made(name, beta=beta).loss(v, keys(), BATCH, jnp.asarray(0)) for beta in (1.0, 2.0))
    np.testing.assert_allclose(one.loss, -log_w.total, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(one.metrics["kl"], log_w.posterior - log_w.prior, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(two.loss, one.loss + one.metrics["kl"], rtol=1e-5, atol=1e-5)


def still(name, v, plain):
    """The plain VAE's variables, with a flow that moves nothing."""
    own = plain.params["encoder"]["dense"]
    more = v.params["encoder"]["dense"]["bias"].size - own["bias"].size
    encoder = {"kernel": jnp.pad(own["kernel"], ((0, 0), (0, more))), "bias": jnp.pad(own["bias"], (0, more))}
    v = with_entry(v, encoder={"dense": encoder}, decoder=plain.params["decoder"])
    if name == "planar_vae":  # u, w and b are what the encoder says: zero
        return v
    flow = jax.tree.map(jnp.zeros_like, v.params["flow"])
    for step in flow.values():  # the second half of the outputs is s: the gate sigmoid(s + 2) is open
        step["outputs_bias"] = step["outputs_bias"].at[LATENT:].set(30.0)
    return with_entry(v, flow=flow)


@pushed
def test_a_flow_that_moves_nothing_is_the_vae(name):
    plain = variables("vae")
    v = still(name, variables(name), plain)
    ours, theirs = made(name), made("vae")
    small.assert_close(ours.log_weight(v, keys(), BATCH), theirs.log_weight(plain, keys(), BATCH), rtol=1e-5)
    np.testing.assert_allclose(ours.embed(v, BATCH), theirs.embed(plain, BATCH), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ours.sample(v, keys()), theirs.sample(plain, keys()), rtol=1e-5)
    many = small.jit(
        jax.vmap(lambda key: ours.loss(v, random.example_keys(key, 0, BATCH.index), BATCH, 0).metrics["kl"])
    )
    closed = theirs.loss(plain, keys(), BATCH, jnp.asarray(0)).metrics["kl"]
    assert_mean(many(jax.random.split(jax.random.key(0), 2000)), closed, bias=1e-5)


@pushed
def test_the_flow_starts_as_no_obstacle(name):
    """From `init`, with nothing from the encoder, the sample is a Gaussian's still, the IAF's gates narrowing it."""
    method = made(name)
    start = method.init(jax.random.key(0), BATCH)
    start = with_entry(start, encoder=jax.tree.map(jnp.zeros_like, start.params["encoder"]))
    log_w = method.log_weight(start, keys(), BATCH)
    noise = np.asarray(gaussian.reparameterise(keys(), Normal(jnp.zeros((N, LATENT)), jnp.zeros((N, LATENT)))))
    gate = scipy.special.expit(2) ** SMALLER[name]["length"] if name == "iaf_vae" else 1.0
    expected = scipy.stats.norm.logpdf(noise).sum(-1) - LATENT * np.log(gate)
    np.testing.assert_allclose(log_w.posterior, expected, atol=0.15)
    np.testing.assert_allclose(log_w.prior, scipy.stats.norm.logpdf(gate * noise).sum(-1), atol=0.15)


def test_the_encoder_steers_every_step_of_the_flows():
    """The slope of log q by what the encoder makes beside the mean and the log-variance is nowhere zero."""
    for name in ("iaf_vae", "planar_vae"):
        method, v = made(name), variables(name)

        def log_q(bias, method=method, v=v):
            own = {**v.params["encoder"]["dense"], "bias": bias}
            return method.log_weight(with_entry(v, encoder={"dense": own}), keys(), BATCH).posterior.sum()

        slope = np.asarray(small.jit(jax.grad(log_q))(v.params["encoder"]["dense"]["bias"]))
        assert slope.size == 2 * LATENT + (5 if name == "iaf_vae" else 3 * (2 * LATENT + 1))
        assert np.abs(slope[2 * LATENT :]).min() > 1e-4


# --- a posterior by leapfrog steps


def leapfrog(v, x, z, g, leaps, size, b0):
    """(z_K, r_K) by Caterini et al. 2018, algorithm 1, in double precision, for a linear decoder of binary pixels."""
    kernel, bias = dense(v, "decoder")
    size = size * 5 * scipy.special.expit(np.asarray(v.params["leaps"]["step_size"], np.float64))
    hot = 1 + (1 / np.sqrt(b0) - 1) * np.exp(float(v.params["leaps"]["tempering"]))

    def root(k):
        """The square root of b_k: their quadratic tempering."""
        return 1 / ((1 - hot) * k**2 / leaps**2 + hot)

    def slope_of_energy(z):
        return z - (x - scipy.special.expit(z @ kernel + bias)) @ kernel.T

    r = g / root(0)
    for k in range(1, leaps + 1):
        r = r - size / 2 * slope_of_energy(z)
        z = z + size * r
        r = root(k - 1) / root(k) * (r - size / 2 * slope_of_energy(z))
    return z, r


@pytest.mark.parametrize(("leaps", "tempering"), [(1, 0.3), (4, 0.5), (3, 1.0)])
def test_hamiltonian_vae_is_the_leapfrog_of_the_algorithm(leaps, tempering):
    method = made("hamiltonian_vae", leaps=leaps, tempering=tempering)
    v = variables("hamiltonian_vae")
    assert len(np.unique(v.params["leaps"]["step_size"])) == LATENT
    q = Normal(*np.split(encoded(v), 2, axis=-1))
    for_z, for_r = random.split(keys())
    z0 = np.asarray(gaussian.reparameterise(for_z, Normal(*(jnp.asarray(x, jnp.float32) for x in q))), np.float64)
    g = np.asarray(random.normal(for_r, (LATENT,)), np.float64)
    x = np.asarray(BATCH.x, np.float64).reshape(N, -1)
    z, r = leapfrog(v, x, z0, g, leaps, 0.2, tempering)
    assert np.abs(z - z0).max() > 0.1
    log_w = small.jit(method.log_weight)(v, keys(), BATCH)
    log_q = scipy.stats.norm.logpdf(z0, q.mean, np.exp(q.log_var / 2)).sum(-1)
    np.testing.assert_allclose(log_w.posterior, log_q + ((r**2) - (g**2)).sum(-1) / 2, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_w.prior, scipy.stats.norm.logpdf(z).sum(-1), rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(method.draw(v, keys(), BATCH), z, rtol=1e-4, atol=1e-4)
    still = leapfrog(v, x, q.mean, np.zeros_like(g), leaps, 0.2, tempering)[0]
    np.testing.assert_allclose(method.embed(v, BATCH), still, rtol=1e-4, atol=1e-4)


def test_hamiltonian_vae_starts_at_the_step_that_is_asked_for_and_learns_it():
    method = made("hamiltonian_vae")
    v = method.init(jax.random.key(0), BATCH)
    np.testing.assert_allclose(5 * scipy.special.expit(np.asarray(v.params["leaps"]["step_size"])), 1, rtol=1e-6)

    def mean(params):
        return method.loss(v._replace(params=params), keys(), BATCH, jnp.asarray(0)).loss.mean()

    found = small.jit(jax.grad(mean))(v.params)
    for part, name, at in (("leaps", "step_size", (1,)), ("leaps", "tempering", ()), ("encoder", "bias", (0,))):
        own = {"leaps": lambda tree: tree["leaps"], "encoder": lambda tree: tree["encoder"]["dense"]}[part]
        h = 1e-2

        def moved(by, own=own, name=name, at=at):
            params = jax.tree.map(lambda leaf: leaf, v.params)  # a copy of its dicts
            own(params)[name] = own(params)[name].at[at].add(by)
            return float(mean(params))

        slope = (moved(h) - moved(-h)) / (2 * h)
        assert abs(slope) > 1e-3
        np.testing.assert_allclose(own(found)[name][at], slope, rtol=0.05, atol=2e-4)


@pytest.mark.parametrize(
    ("name", "still"), [("hamiltonian_vae", {"step_size": 1e-7}), ("poincare_vae", {"curvature": 1e-7})]
)
def test_without_a_step_or_a_curvature_the_posterior_is_the_vae_s(name, still):
    """Of poincare_vae the decoder is another still: the prior and the posterior alone."""
    plain, ours, theirs = variables("vae"), made(name, **still), made("vae")
    v = with_entry(variables(name), encoder=plain.params["encoder"])
    of_code = random.split(keys())[0] if name == "hamiltonian_vae" else keys()
    log_w, expected = ours.log_weight(v, keys(), BATCH), theirs.log_weight(plain, of_code, BATCH)
    np.testing.assert_allclose(log_w.prior, expected.prior, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_w.posterior, expected.posterior, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.embed(v, BATCH), theirs.embed(plain, BATCH), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_riemannian_vae_in_a_flat_space_is_the_hamiltonian_one():
    """Centroids that reach nowhere, and lambda 1: G is the identity."""
    plain = variables("hamiltonian_vae")
    flat = made("riemannian_vae", temperature=1e-3, regularisation=1.0, **SMALLER["hamiltonian_vae"])
    own = small.variables(flat, BATCH, size=0.5).params
    v = with_entry(plain, inputs=own["inputs"], metric=own["metric"])
    ours, theirs = (small.jit(of.log_weight)(v, keys(), BATCH) for of in (flat, made("hamiltonian_vae")))
    small.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(flat.embed(v, BATCH), made("hamiltonian_vae").embed(v, BATCH), rtol=1e-4, atol=1e-4)
    curved = small.jit(made("riemannian_vae", regularisation=1.0, **SMALLER["hamiltonian_vae"]).log_weight)(
        v, keys(), BATCH
    )
    assert np.abs(curved.posterior - theirs.posterior).max() > 0.1


@pytest.mark.slow
def test_riemannian_vae_counts_the_volume_that_unsolved_leaps_change():
    method, v = made("riemannian_vae", rounds=1, tempering=1.0), variables("riemannian_vae", 0.5)
    q, (for_z, for_v) = np.split(encoded(v), 2, axis=-1), random.split(keys())
    z0 = gaussian.reparameterise(for_z, Normal(*(jnp.asarray(of, jnp.float32) for of in q)))
    own, (kernel, bias) = v.params, dense(v, "decoder")
    pseudo = scipy.special.expit(np.asarray(own["inputs"], np.float64))
    at, offset = (np.asarray(own["metric"]["dense"][name], np.float64) for name in ("kernel", "bias"))
    factors = np.asarray(riemannian.lower(jnp.asarray(pseudo.reshape(5, -1) @ at + offset, jnp.float32), LATENT))
    centroids = encoded(v, pseudo)[:, :LATENT]
    space = riemannian.Metric(*map(jnp.asarray, (np.float32(centroids), factors @ factors.mT)), LATENT**0.5, 0.3)

    def slope(z):
        off = jnp.asarray(BATCH.x).reshape(N, -1) - jax.nn.sigmoid(z @ jnp.float32(kernel) + jnp.float32(bias)[None])
        return off @ jnp.float32(kernel).T - z

    root = riemannian.root_at(space, z0)
    momentum = riemannian.momentum(root, random.normal(for_v, (LATENT,)))
    sizes = 5 * 0.1 * jax.nn.sigmoid(own["leaps"]["step_size"])[None]
    z, end, log_det = riemannian.move(space, slope, sizes, jnp.ones(2), 1, z0, momentum)
    assert np.abs(log_det).max() > 1e-2
    last = riemannian.log_momentum(riemannian.root_at(space, z), end)
    log_q = scipy.stats.norm.logpdf(np.asarray(z0), q[0], np.exp(q[1] / 2)).sum(-1)
    log_q += np.asarray(riemannian.log_momentum(root, momentum) - last - log_det)
    log_w = small.jit(method.log_weight)(v, keys(), BATCH)
    np.testing.assert_allclose(log_w.posterior, log_q, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(method.draw(v, keys(), BATCH), z, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_riemannian_vae_is_shaped_by_its_pseudo_inputs():
    """All that is trained has a slope, and the centroids are the encoder's means of them."""
    method = made("riemannian_vae")
    v = method.init(jax.random.key(0), BATCH)
    assert v.params["inputs"].shape == (5, *BATCH.x.shape[1:])

    def mean(params):
        return method.loss(v._replace(params=params), keys(), BATCH, jnp.asarray(0)).loss.mean()

    slopes = small.jit(jax.grad(mean))(v.params)
    assert all(
        np.abs(leaf).max() > 1e-7 for leaf in jax.tree.leaves((slopes["inputs"], slopes["metric"], slopes["leaps"]))
    )
    at, h = (0, 1, 2, 0), 1e-2
    moved = [{**v.params, "inputs": v.params["inputs"].at[at].add(by)} for by in (h, -h)]
    slope = (float(mean(moved[0])) - float(mean(moved[1]))) / (2 * h)
    np.testing.assert_allclose(slopes["inputs"][at], slope, rtol=0.1, atol=3e-4)


# --- the hyperbolic space


@pytest.mark.slow
def test_poincare_vae_is_the_wrapped_normal():
    """log q(u|x), by the Jacobian of the drawn code in its noise."""
    method, v = made("poincare_vae"), variables("poincare_vae")
    mean, log_var = np.split(encoded(v), 2, axis=-1)
    q = Normal(jnp.zeros((N, LATENT)), jnp.asarray(log_var, jnp.float32))
    noise = np.asarray(gaussian.reparameterise(keys(), q), np.float64)
    c = SMALLER["poincare_vae"]["curvature"]

    def pushed(noise, by):
        return hyperbolic.moved(noise[None], by[None], c)[0]

    given = jnp.asarray(noise, jnp.float32), jnp.asarray(mean, jnp.float32)
    u = np.asarray(jax.vmap(pushed)(*given), np.float64)
    log_det = np.linalg.slogdet(np.asarray(jax.vmap(jax.jacobian(pushed))(*given), np.float64))[1]
    assert np.ptp(log_det) > 0.1
    log_w = small.jit(method.log_weight)(v, keys(), BATCH)
    log_q = scipy.stats.norm.logpdf(noise, 0, np.exp(log_var / 2)).sum(-1) - log_det
    np.testing.assert_allclose(log_w.posterior, log_q, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(log_w.prior, scipy.stats.norm.logpdf(u).sum(-1), rtol=1e-4, atol=1e-4)
    log_px = [log_likelihood(v, u[i : i + 1], BATCH.x[i])[0] for i in range(N)]
    np.testing.assert_allclose(log_w.likelihood, log_px, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(method.draw(v, keys(), BATCH), u, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(method.embed(v, BATCH), mean, rtol=1e-4, atol=1e-5)


# --- importance identities, which any error of log p(z), of log q(z|x) or of the sample breaks


def wide(name):
    """A posterior of the flow as wide as the prior, so that p(z) / q(z|x) has a variance."""
    v = variables(name, 0.2)
    if name == "svae":
        return v
    own = v.params["encoder"]["dense"]
    return with_entry(v, encoder={"dense": {**own, "bias": own["bias"].at[LATENT : 2 * LATENT].add(0.9)}})


def evidence(name, v):
    """p(x) of the first image, by quadrature over the prior."""
    if name == "svae":
        angle = np.arange(2000) * 2 * np.pi / 2000
        z = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
        return np.exp(log_likelihood(v, z, ROW.x)).mean()
    side = np.linspace(-8, 8, 401)
    z = np.stack(np.meshgrid(side, side, indexing="ij"), axis=-1).reshape(-1, LATENT)
    if name == "flow_prior":
        log_p = np.asarray(PRIOR.log_prob(v, jnp.asarray(z, jnp.float32)), np.float64)
    else:
        log_p = scipy.stats.norm.logpdf(z).sum(-1)
    p = np.exp(log_p + log_likelihood(v, z, ROW.x)).reshape(401, 401)
    return scipy.integrate.simpson(scipy.integrate.simpson(p, x=side), x=side)


@some
def test_weights_average_to_one_over_the_prior_and_to_the_evidence(name):
    method, v = made(name), wide(name)
    rows = jax.tree.map(lambda leaf: jnp.repeat(leaf, DRAWS, axis=0), ROW)
    log_w = small.jit(method.log_weight)(v, keys(DRAWS), rows)
    ratio = np.exp(np.asarray(log_w.prior - log_w.posterior, np.float64))
    assert 0.05 < ratio.std() < 3  # the average says something, and can be trusted
    assert_mean(ratio, 1, bias=1e-5)
    p = evidence(name, v)
    assert_mean(np.exp(np.asarray(log_w.total, np.float64)) / p, 1, bias=1e-4)
    loss = small.jit(method.loss)(v, keys(DRAWS), rows, jnp.asarray(0)).loss
    assert np.asarray(loss).mean() > -np.log(p)  # minus the ELBO


@some
def test_it_works_at_the_smallest_latent(name):
    latent = 2 if name == "svae" else 1
    method = small.method(name, latent=latent, **SMALLER[name])
    v = method.init(jax.random.key(0), BATCH)

    def mean(params):
        return method.loss(v._replace(params=params), keys(), BATCH, jnp.asarray(0)).loss.mean()

    value, slope = small.jit(jax.value_and_grad(mean))(v.params)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))
    np.testing.assert_array_equal(method.sample(v, keys()).shape, BATCH.x.shape)


# --- the flow prior

SIDE = np.linspace(-12, 12, 601)


@cache
def grid():
    """p(z) on SIDE x SIDE."""
    z = np.stack(np.meshgrid(SIDE, SIDE, indexing="ij"), axis=-1).reshape(-1, LATENT)
    log_p = small.jit(PRIOR.log_prob)(variables("flow_prior", 0.5), jnp.asarray(z, jnp.float32))
    return np.exp(np.asarray(log_p, np.float64)).reshape(601, 601)


def test_prior_integrates_to_one_and_is_no_standard_normal():
    over = scipy.integrate.simpson(scipy.integrate.simpson(grid(), x=SIDE), x=SIDE)
    assert over == pytest.approx(1, abs=1e-3)
    standard = scipy.stats.norm.pdf(SIDE)
    assert np.abs(grid() - standard[:, None] * standard).max() > 0.03


def test_draws_of_the_prior_are_distributed_as_its_density_says():
    z = np.asarray(small.jit(PRIOR.draw)(variables("flow_prior", 0.5), keys(DRAWS)), np.float64)
    for axis in (0, 1):
        marginal = scipy.integrate.simpson(grid(), x=SIDE, axis=1 - axis)
        cdf = scipy.integrate.cumulative_simpson(marginal, x=SIDE, initial=0)
        assert scipy.stats.kstest(z[:, axis], partial(np.interp, xp=SIDE, fp=cdf)).pvalue > 1e-3
    product = grid() * SIDE[:, None] * SIDE
    exact = scipy.integrate.simpson(scipy.integrate.simpson(product, x=SIDE), x=SIDE)
    assert_mean(z[:, 0] * z[:, 1], exact, bias=1e-3)


def test_prior_takes_any_axes_of_samples():
    z = jnp.asarray(np.random.default_rng(0).normal(size=(3, N, LATENT)), jnp.float32)
    v = variables("flow_prior")
    found = PRIOR.log_prob(v, z)
    assert found.shape == (3, N)
    np.testing.assert_allclose(found[1], PRIOR.log_prob(v, z[1]), rtol=1e-5)


def test_loss_of_the_flow_prior_is_by_the_prior_at_the_sample():
    method, v = made("flow_prior"), variables("flow_prior")
    q = method.posterior(v, BATCH)
    z = gaussian.reparameterise(keys(), q)
    log_q = scipy.stats.norm.logpdf(z, q.mean, np.exp(np.asarray(q.log_var) / 2)).sum(-1)
    kl = log_q - np.asarray(PRIOR.log_prob(v, z))
    objective = method.loss(v, keys(), BATCH, jnp.asarray(0))
    np.testing.assert_allclose(objective.metrics["kl"], kl, rtol=1e-4, atol=1e-4)
    double = made("flow_prior", beta=2.0).loss(v, keys(), BATCH, jnp.asarray(0))
    np.testing.assert_allclose(double.loss - objective.loss, kl, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(method.sample(v, keys()), method.decode(v, PRIOR.draw(v, keys())), rtol=1e-5)


def test_the_flow_prior_starts_as_the_vae():
    """Whatever else there is: its own parameters alone are those of `init`."""
    plain, method = variables("vae"), made("flow_prior")
    v = with_entry(plain, prior=method.init(jax.random.key(0), BATCH).params["prior"])
    small.assert_close(method.log_weight(v, keys(), BATCH), made("vae").log_weight(plain, keys(), BATCH), rtol=1e-5)
    np.testing.assert_allclose(method.sample(v, keys()), made("vae").sample(plain, keys()), rtol=1e-6)


# --- the sphere

ANGLES = np.arange(4000) * 2 * np.pi / 4000
CIRCLE = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)


def on_the_circle(v):
    """(the expected reconstruction, the KL) of each example: von Mises densities at ANGLES, in double precision."""
    out = encoded(v)
    kappa = 1 + np.logaddexp(0, out[:, LATENT])
    log_q = scipy.stats.vonmises.logpdf(ANGLES[None], kappa[:, None], np.arctan2(out[:, 1], out[:, 0])[:, None])
    weights = np.exp(log_q) * 2 * np.pi / len(ANGLES)
    log_px = np.stack([log_likelihood(v, CIRCLE, x) for x in BATCH.x])
    return -(weights * log_px).sum(-1), (weights * (log_q + np.log(2 * np.pi))).sum(-1)


def test_svae_is_the_quadrature_on_the_circle():
    """Its loss, its terms and its expected log-weight, for a linear encoder and decoder."""
    method, v = made("svae", beta=2.0), variables("svae", 0.8)
    reconstruction, kl = on_the_circle(v)
    assert np.ptp(kl) > 0.1

    def once(key):
        for_loss, for_weight = (random.example_keys(key, step, BATCH.index) for step in (0, 1))
        return method.loss(v, for_loss, BATCH, jnp.asarray(0)), method.log_weight(v, for_weight, BATCH)

    objective, log_w = small.jit(jax.vmap(once))(jax.random.split(jax.random.key(0), 4000))
    np.testing.assert_allclose(objective.metrics["kl"][0], kl, rtol=1e-4)
    assert_mean(objective.metrics["reconstruction"], reconstruction, bias=1e-4)
    assert_mean(objective.loss, reconstruction + 2 * kl, bias=1e-4)
    assert_mean(objective.metrics["elbo"], -reconstruction - kl, bias=1e-4)
    assert_mean(log_w.total, -reconstruction - kl, bias=1e-4)
    np.testing.assert_allclose(log_w.prior, -np.log(2 * np.pi), rtol=1e-6)


def test_the_slope_of_svae_is_the_quadrature_s():
    """Through the sample, by direction and by concentration: the mean over draws against finite differences."""
    method, v = made("svae"), variables("svae", 0.8)
    own = v.params["encoder"]["dense"]

    def at(bias):
        return with_entry(v, encoder={"dense": {**own, "bias": jnp.asarray(bias, jnp.float32)}})

    def once(key):
        keys = random.example_keys(key, 0, BATCH.index)
        return jax.grad(lambda bias: method.loss(at(bias), keys, BATCH, jnp.asarray(0)).loss.mean())(own["bias"])

    def expected(bias):
        return sum(term.mean() for term in on_the_circle(at(bias)))

    slopes = small.jit(jax.vmap(once))(jax.random.split(jax.random.key(0), 4000))
    bias, h = np.asarray(own["bias"], np.float64), 1e-2
    exact = [(expected(bias + h * e) - expected(bias - h * e)) / (2 * h) for e in np.eye(LATENT + 1)]
    assert np.abs(exact).min() > 1e-2
    assert_mean(slopes, exact, bias=1e-3)


@pytest.mark.parametrize("latent", [2, 5])
def test_codes_and_samples_are_on_the_sphere(latent):
    method = made("svae", latent)
    v = small.variables(method, BATCH)
    mu = encoded(v)[:, :latent]
    z = method.embed(v, BATCH)
    np.testing.assert_allclose(z, mu / np.linalg.norm(mu, axis=-1, keepdims=True), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(method.decode(v, 7 * z), method.decode(v, z), rtol=1e-4)
    expected = method.decode(v, sphere.uniform(keys(), latent))
    np.testing.assert_allclose(method.sample(v, keys()), expected, rtol=1e-5)
    log_w = method.log_weight(v, keys(), BATCH)
    area = 2 * np.pi ** (latent / 2) / scipy.special.gamma(latent / 2)
    np.testing.assert_allclose(log_w.prior, -np.log(area), rtol=1e-5)


def test_an_encoder_that_says_zero_has_a_direction_and_a_slope():
    method = made("svae", 3)
    v = jax.tree.map(jnp.zeros_like, small.variables(method, BATCH))
    np.testing.assert_array_equal(method.embed(v, BATCH), np.eye(1, 3).repeat(N, axis=0))

    def mean(params):
        return method.loss(v._replace(params=params), keys(), BATCH, jnp.asarray(0)).loss.mean()

    value, slope = small.jit(jax.value_and_grad(mean))(v.params)
    assert np.isfinite(value) and all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


@pytest.mark.parametrize("size", [1e-5, 1.0, 1e5])
def test_a_direction_and_its_slope_are_those_of_the_formula(size):
    x = size * np.random.default_rng(0).normal(size=(N, 3))
    given = jnp.asarray(x, jnp.float32)
    length = np.linalg.norm(x, axis=-1)[:, None]
    np.testing.assert_allclose(svae.direction(given), x / length, rtol=1e-5, atol=1e-6)
    slope = small.jit(jax.vmap(jax.jacobian(lambda row: svae.direction(row[None])[0])))(given)
    unit = x / length
    expected = (np.eye(3)[None] - unit[:, :, None] * unit[:, None]) / length[..., None]
    np.testing.assert_allclose(slope, expected, atol=1e-5 / size, rtol=1e-4)


# --- what is refused


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        *(("iaf_vae", wrong) for wrong in ("length", "hidden", "context")),
        *(("flow_prior", wrong) for wrong in ("couplings", "hidden")),
        ("planar_vae", "length"),
        ("hamiltonian_vae", "leaps"),
        *(("riemannian_vae", wrong) for wrong in ("leaps", "centroids", "rounds")),
        ("poincare_vae", "planes"),
    ],
)
def test_none_is_refused(name, wrong):
    with pytest.raises(InputError, match=rf"^{wrong} 0: expected a whole number of at least 1$"):
        small.method(name, **{**SMALLER[name], wrong: 0})


@pytest.mark.parametrize(
    ("name", "wrong", "expected"),
    [
        ("hamiltonian_vae", {"step_size": 0.0}, r"^step_size 0.0: expected a number above 0$"),
        ("hamiltonian_vae", {"step_size": float("inf")}, r"^step_size inf: expected a number above 0$"),
        ("riemannian_vae", {"temperature": 0.0}, r"^temperature 0.0: expected a number from 1e-6 to 1e6$"),
        ("riemannian_vae", {"regularisation": -1.0}, r"^regularisation -1.0: expected a number from 1e-6 to 1e6$"),
        ("hamiltonian_vae", {"tempering": 0.0}, r"^tempering 0.0: expected a number above 0, at most 1$"),
        ("hamiltonian_vae", {"tempering": 1.5}, r"^tempering 1.5: expected a number above 0, at most 1$"),
        ("poincare_vae", {"curvature": -1.0}, r"^curvature -1.0: expected a number above 0; the space has minus that"),
        (
            "poincare_vae",
            {"curvature": 200.0},
            r"^curvature 200.0: expected 1e-30 to .* with latent .*: the prior's codes",
        ),
        ("poincare_vae", {"curvature": 1e-40}, r"^curvature 1e-40: expected 1e-30 to"),
    ],
)
def test_numbers_out_of_range_are_refused(name, wrong, expected):
    with pytest.raises(InputError, match=expected):
        small.method(name, **{**SMALLER[name], **wrong})


def test_a_sphere_of_one_unit_is_refused():
    with pytest.raises(InputError, match=r"^latent 1: a hyperspherical code expected 2 or more; set a larger latent$"):
        made("svae", 1)
