"""AAE, FactorVAE and VAE/GAN: discriminators find known density ratios; each player descends its own objective."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.integrate
import scipy.stats
import small
from jax.nn import log_sigmoid

from jaxae import densities, gaussian, likelihoods, methods, optim, random
from jaxae.errors import InputError
from jaxae.methods.aae import discriminator
from jaxae.methods.factor_vae import permuted
from jaxae.networks.heads import MLP
from jaxae.train import make_train_chunk, make_train_step
from jaxae.types import Batch, Net, TrainState

N, LATENT = 12, 2
STEP = jnp.asarray(0)
keys = small.keys
HYPER = {
    "aae": {"weight": 3.0, "discriminator_width": 8},
    "factor_vae": {"gamma": 5.0, "discriminator_width": 8},
    "vae_gan": {"gamma": 0.3, "features": 5},
}
adversarial = pytest.mark.parametrize("name", list(HYPER))


@cache
def batch():
    return small.batch(N, binary=False)


def made(name, likelihood="gaussian_learned", **hyper):
    return small.method(name, likelihood, LATENT, **{**HYPER[name], **hyper})


@cache
def variables(name):
    return small.variables(made(name), batch(), size=0.6)


def judge(params, z, depth):
    """The discriminator's logit of codes."""
    return MLP(1, 8, depth, "leaky_relu").apply({"params": params}, z)[:, 0]


def by_hand_aae(params, keys):
    """What each entry of the parameters descends, with no stop_gradient: the others are not differentiated."""
    parts = gaussian.parts_of.bind(small.net("gaussian_learned", LATENT), LATENT)
    of = variables("aae")._replace(params=params)
    z = parts.encode(of, batch())
    reconstruction = parts.reconstruction(of, z, batch())[0]
    real, fake = (judge(params["discriminator"], codes, 2) for codes in (random.normal(keys, (LATENT,)), z))
    whole = reconstruction - 3 * log_sigmoid(fake)
    own = -log_sigmoid(real) - log_sigmoid(-fake)
    return {"encoder": whole, "decoder": whole, "likelihood": whole, "discriminator": own}


def by_hand_factor_vae(params, keys):
    for_code, for_order = random.split(keys)
    base = gaussian.bind(small.net("gaussian_learned", LATENT))
    terms = base.terms(variables("factor_vae")._replace(params=params), for_code, batch())
    joint, product = (judge(params["discriminator"], z, 3) for z in (terms.z, permuted(for_order, terms.z)))
    whole = terms.reconstruction + terms.kl + 5 * (log_sigmoid(joint) - log_sigmoid(-joint))
    own = -(log_sigmoid(joint) + log_sigmoid(-product)) / 2
    return {"encoder": whole, "decoder": whole, "likelihood": whole, "discriminator": own}


def by_hand_vae_gan(params, keys):
    """Larsen et al. 2015, algorithm 1, its last three lines."""
    for_code, for_prior = random.split(keys)
    base, body = gaussian.bind(small.net("gaussian_learned", LATENT)), small.Encoder(5)
    of = variables("vae_gan")._replace(params=params)
    terms = base.terms(of, for_code, batch())
    own = params["discriminator"]
    images = (batch().x, base.parts.decode(of, terms.z), base.parts.decode(of, base.prior.draw(of, for_prior)))
    features = [body.apply({"params": own["body"]}, x) for x in images]
    logits = [MLP(1, 5, 1, "leaky_relu").apply({"params": own["head"]}, f)[:, 0] for f in features]
    alike = 0.5 * jnp.sum(jnp.square(features[0] - features[1]), axis=1)
    gan = log_sigmoid(logits[0]) + log_sigmoid(-logits[1]) + log_sigmoid(-logits[2])
    return {
        "encoder": terms.kl + alike,
        "decoder": 0.3 * alike + gan,
        "likelihood": terms.reconstruction,
        "discriminator": -gan,
    }


BY_HAND = {"aae": by_hand_aae, "factor_vae": by_hand_factor_vae, "vae_gan": by_hand_vae_gan}


@pytest.mark.slow
@adversarial
def test_a_step_is_the_separate_steps_of_the_players(name):
    """Two of them, by SGD, which hides no scale: the discriminator's with its own rate and momentum."""
    method = made(name, discriminator_learning_rate=0.02)
    tx = optim.make("sgd", 0.01, b1=0.0, own=method.optimizers)
    start = variables(name)
    state = TrainState(jnp.zeros((), jnp.int32), start, tx.init(start.params))
    step = small.jit(make_train_step(method, tx))
    params = start.params
    rules = {entry: optax.sgd(0.02, momentum=0.5) if entry == "discriminator" else optax.sgd(0.01) for entry in params}
    kept = {entry: rules[entry].init(params[entry]) for entry in params}

    @small.jit
    def gradients(params, count):
        def one(entry):
            def own(part):
                drawn = random.example_keys(jax.random.key(4), count, batch().index)
                return BY_HAND[name]({**params, entry: part}, drawn)[entry].mean()

            return jax.grad(own)(params[entry])

        return {entry: one(entry) for entry in params}

    for count in range(2):
        state, _ = step(jax.random.key(4), state, batch())
        moved = {}
        for entry, grads in gradients(params, count).items():
            updates, kept[entry] = rules[entry].update(grads, kept[entry])
            moved[entry] = optax.apply_updates(params[entry], updates)
        params = moved
        small.assert_close(state.variables.params, params, rtol=1e-4, atol=1e-6)
    assert not np.allclose(params["likelihood"]["log_var"], start.params["likelihood"]["log_var"], atol=1e-4)


@pytest.mark.slow
@adversarial
def test_adam_of_the_discriminator_has_its_own_settings(name):
    """Its first step is the sign of the gradient times its own rate, which may be a schedule; then its own decays."""
    method = made(name, discriminator_learning_rate=lambda step: 0.5 / (step + 1))
    tx = optim.make("adam", 0.01, own=method.optimizers)
    params = variables(name).params
    b2 = {"factor_vae": 0.9}.get(name, 0.999)
    rules = {"discriminator": optax.adam(lambda step: 0.5 / (step + 1), 0.5, b2), "encoder": optax.adam(0.01)}
    kept, theirs = tx.init(params), {entry: rule.init(params[entry]) for entry, rule in rules.items()}
    for seed in (0, 1):
        grads = small.variables(made(name), batch(), seed=seed + 5).params
        updates, kept = tx.update(grads, kept, params)
        for entry, rule in rules.items():
            expected, theirs[entry] = rule.update(grads[entry], theirs[entry])
            small.assert_close(updates[entry], expected, rtol=1e-5)


@adversarial
@pytest.mark.slow
def test_the_reported_loss_has_no_gradient_to_the_discriminator_nor_the_adversary_to_the_others(name):
    def mean(params, which):
        return getattr(made(name).loss(variables(name)._replace(params=params), keys(), batch(), STEP), which).mean()

    for which in ("loss", "adversary"):
        grads = small.jit(jax.grad(lambda params, which=which: mean(params, which)))(variables(name).params)
        for entry, tree in grads.items():
            reached = any(np.any(leaf) for leaf in jax.tree.leaves(tree))
            assert reached == ((entry == "discriminator") == (which == "adversary")), (which, entry)


@adversarial
def test_a_discriminator_without_units_is_refused(name):
    size = "features" if name == "vae_gan" else "discriminator_width"
    with pytest.raises(InputError, match=f"{size} 0: expected a whole number of at least 1"):
        made(name, **{size: 0})
    if name != "vae_gan":
        with pytest.raises(InputError, match="discriminator_depth -1: expected a whole number of at least 0"):
            made(name, discriminator_depth=-1)


def test_the_metrics_are_the_terms_of_the_loss():
    said = {name: made(name).loss(variables(name), keys(), batch(), STEP) for name in HYPER}
    m = said["aae"].metrics
    np.testing.assert_allclose(said["aae"].loss, m["reconstruction"] + 3 * m["generator"], rtol=1e-5)
    m = said["factor_vae"].metrics
    np.testing.assert_allclose(said["factor_vae"].loss, -m["elbo"] + 5 * m["total_correlation"], rtol=1e-5)
    m = said["vae_gan"].metrics
    np.testing.assert_allclose(said["vae_gan"].loss, m["kl"] + 1.3 * m["features"] + m["deception"], rtol=1e-5)
    for objective in said.values():
        np.testing.assert_array_equal(objective.metrics["discriminator"], objective.adversary)


def test_vae_gan_compares_images_in_nats_of_its_features():
    """-log N(f(x); f(x'), 1), by scipy; and the likelihood of pixels at the same code, as it trains nothing else."""
    method, of = made("vae_gan"), variables("vae_gan")
    metrics = method.loss(of, keys(), batch(), STEP).metrics
    terms = gaussian.bind(small.net("gaussian_learned", LATENT)).terms(of, random.split(keys())[0], batch())
    body = of.params["discriminator"]["body"]
    x, rebuilt = (
        np.asarray(small.Encoder(5).apply({"params": body}, images), np.float64)
        for images in (batch().x, method.decode(of, terms.z))
    )
    np.testing.assert_allclose(metrics["features"], -scipy.stats.norm.logpdf(x, rebuilt).sum(1), rtol=1e-4)
    np.testing.assert_allclose(metrics["reconstruction"], terms.reconstruction, rtol=1e-5)
    assert method.log_weight is None


# --- known densities: the discriminator alone learns, and the encoder copies pixels


def trained(name, latent, draw, rate, steps, n=512, **hyper):
    """The variables after `steps` steps whose images' first pixels are draw(key, n) [n, latent], the main rate zero."""
    net = Net(small.Encoder, small.Decoder(), likelihoods.gaussian(1.0), latent)
    method = methods.factory(name)(net, discriminator_learning_rate=lambda t: rate * (1 - t / steps), **hyper)

    def fetch(key, step, data, row):
        z = draw(jax.random.fold_in(jax.random.key(21), step), n)
        index = jnp.arange(n, dtype=jnp.int32)
        return Batch(jnp.pad(z, ((0, 0), (0, small.D - latent))).reshape(n, *small.SHAPE), index, index)

    start = method.init(jax.random.key(1), fetch(None, 0, None, None))
    kernel = jnp.eye(*start.params["encoder"]["dense"]["kernel"].shape).at[:, latent:].set(0)
    bias = jnp.where(jnp.arange(kernel.shape[1]) < latent, 0.0, -20.0)  # means, and log-variances where there are
    start = start._replace(params={**start.params, "encoder": {"dense": {"kernel": kernel, "bias": bias}}})
    tx = optim.make("adam", 0.0, own=method.optimizers)
    state = TrainState(jnp.zeros((), jnp.int32), start, tx.init(start.params))
    chunk = small.jit(make_train_chunk(make_train_step(method, tx), fetch))
    done = chunk(jax.random.key(2), state, None, jnp.zeros(steps), steps)
    small.assert_same_bits(done.state.variables.params["encoder"], start.params["encoder"])
    return done.state.variables, jax.device_get(done.metrics)


@pytest.mark.slow
def test_the_discriminator_of_codes_finds_the_ratio_of_prior_and_codes():
    """N(0, 1) against N(1, 1): log p(z) / q(z) = 1/2 - z; its loss is 2 log 2 minus twice the Jensen-Shannon
    divergence, here by quadrature."""
    variables, metrics = trained("aae", 1, lambda key, n: 1 + jax.random.normal(key, (n, 1)), 0.01, 1500)
    z = np.linspace(-1.5, 2.5, 21)
    logit = discriminator(1, 128, 2)[1](variables, jnp.asarray(z, jnp.float32)[:, None])
    np.testing.assert_allclose(logit, 0.5 - z, atol=0.25)

    def least(z):
        p, q = scipy.stats.norm.pdf(z), scipy.stats.norm.pdf(z, 1)
        return -p * np.log(p / (p + q)) - q * np.log(q / (p + q))

    tail = metrics["discriminator"][-300:]
    assert abs(tail.mean() - scipy.integrate.quad(least, -8, 9)[0]) < 0.01


@pytest.mark.slow
def test_the_discriminator_of_permuted_codes_finds_the_total_correlation():
    """Of N(0, [[1, r], [r, 1]]): log q(z) / q(z_1) q(z_2) in closed form, its mean -log(1 - r^2) / 2."""
    r = 0.8
    root = jnp.linalg.cholesky(jnp.array([[1, r], [r, 1]]))
    variables, metrics = trained("factor_vae", 2, lambda key, n: jax.random.normal(key, (n, 2)) @ root.T, 0.01, 1500)
    a, b = (grid.ravel() for grid in np.meshgrid(np.linspace(-1, 1, 5), np.linspace(-1, 1, 5)))
    logit = discriminator(2, 128, 3)[1](variables, jnp.asarray(np.stack([a, b], 1), jnp.float32))
    expected = -0.5 * np.log(1 - r**2) - (r**2 * (a**2 + b**2) - 2 * r * a * b) / (2 * (1 - r**2))
    np.testing.assert_allclose(logit, expected, atol=0.4)
    assert abs(metrics["total_correlation"][-300:].mean() + 0.5 * np.log(1 - r**2)) < 0.03


@pytest.mark.slow
def test_at_the_prior_itself_the_discriminator_can_do_no_better_than_a_coin():
    _, metrics = trained("aae", 1, lambda key, n: jax.random.normal(key, (n, 1)), 0.01, 500)
    assert abs(metrics["discriminator"][-100:].mean() - 2 * np.log(2)) < 0.01
    assert abs(metrics["generator"][-100:].mean() - np.log(2)) < 0.03


def test_the_comparison_by_features_does_not_follow_the_scale_of_the_likelihood():
    """What it trains is its own parameters alone: elsewhere the loss knows the pixels' density only by its value."""
    at = [small.method("vae_gan", "gaussian", LATENT, scale=scale, **HYPER["vae_gan"]) for scale in (0.1, 1.0)]
    of = small.variables(at[0], batch(), size=0.6)
    losses = [method.loss(of, keys(), batch(), STEP) for method in at]
    np.testing.assert_array_equal(losses[0].loss, losses[1].loss)
    assert np.all(losses[0].metrics["reconstruction"] != losses[1].metrics["reconstruction"])
    assert float(densities.LOG_2PI) * 5 / 2 < float(losses[0].metrics["features"].min())
