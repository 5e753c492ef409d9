"""The registry: what every method promises, tried on every method that is registered."""

import ast
import dataclasses
import re
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from flax import linen as nn

from jaxae import axis, densities, methods, optim, random
from jaxae.config import Config
from jaxae.errors import InputError
from jaxae.train import make_train_chunk, make_train_step
from jaxae.types import Normal, TrainState, Weight

ENTRIES = methods.entries()
KEY = jax.random.key(1)
SHAPE, LATENT, N = (8, 8, 1), 4, 64
STEPS, DRAWS = 60, 200

every = pytest.mark.parametrize("name", list(ENTRIES))
documented = pytest.mark.parametrize("entry", list(ENTRIES.values()), ids=list(ENTRIES))


@cache
def method(name):
    return small.method(name, "bernoulli", LATENT, SHAPE)


batch = partial(small.digits, N)


@cache
def started(name):
    """init, compiled once"""
    return small.jit(method(name).init)


@cache
def variables(name):
    """Parameters drawn by numpy, beside the state that init makes: a codebook is there."""
    state = started(name)(jax.random.key(0), batch()).state
    return small.variables(method(name), batch())._replace(state=state)


def keys(seed=0, index=None):
    return random.example_keys(jax.random.key(seed), 0, jnp.arange(N) if index is None else index)


@cache
def of(name):
    """All that a method says of the batch, compiled at once."""
    return jax.device_get(small.jit(partial(said, method(name)))(variables(name), batch()))


@cache
def couples(name):
    """Whether its loss reaches across the batch, by the functions that see the global one."""
    args = variables(name), keys(), batch(), jnp.asarray(0)  # made here: what is traced inside must not be kept
    return axis.couples(lambda: method(name).loss(*args))


def said(method, variables, batch):
    def loss(batch, seed=0):
        objective = method.loss(variables, keys(seed, batch.index), batch, jnp.asarray(0))
        return {"loss": objective.loss, **objective.metrics}

    def log_weight(seed):
        return method.log_weight(variables, keys(seed), batch).total, loss(batch, seed)["elbo"]

    z, seeds = method.embed(variables, batch), jnp.arange(DRAWS)
    decode = method.decode if method.given is None else method.given(batch.label).decode
    halves = jax.tree.map(lambda x: x.reshape(2, N // 2, *x.shape[1:]), batch)
    return {
        "loss": loss(batch),
        "halves": jax.tree.map(lambda x: x.reshape(N), jax.lax.map(loss, halves)),
        "z": z,
        "x": method.reconstruct(variables, batch),
        "decoded": decode(variables, z),
        "sample": method.sample and method.sample(variables, keys()),
        "reversed": method.sample and method.sample(variables, keys(0, jnp.arange(N)[::-1])),
        "posterior": method.posterior and method.posterior(variables, batch),
        "draws": method.log_weight and jax.lax.map(log_weight, seeds),
    }


# --- its file


@documented
def test_file_is_small_and_defines_its_name(entry):
    file = Path(methods.__file__).parent / f"{entry.name}.py"
    assert 10 <= len(file.read_text().splitlines()) <= 90
    assert methods.factory(entry.name).__name__ == entry.name


@documented
def test_docstring_has_summary_citation_equation_and_unit(entry):
    doc = methods.factory(entry.name).__doc__
    assert entry.summary and entry.summary.endswith((".", ";")) and len(entry.summary) <= 120
    assert re.search(r"\b(19|20)\d\d\b", entry.citation), "no year in the citation"
    assert re.search(r"arXiv:\d{4}\.\d{4,5}|ICLR|ICML|NeurIPS|JMLR|Science|Cybernetics", entry.citation)
    assert re.search(r"^\s*loss = ", doc, re.MULTILINE), "no equation"
    assert "nats" in doc


@documented
def test_what_couples_the_batch_is_told(entry):
    assert bool(entry.couples) == couples(entry.name)


@documented
def test_the_standard_prior_is_said_where_p_z_is_one(entry):
    generative = method(entry.name).generative
    if generative is None:
        return
    latents = generative.draw(variables(entry.name), keys())
    standard = isinstance(latents, jax.Array) and np.allclose(
        generative.log_prior(variables(entry.name), latents), densities.standard_normal(latents), rtol=1e-5
    )
    assert method(entry.name).standard_prior == standard


WRONG = [
    ("vqvae", {"decay": 1.5}, "decay 1.5: expected a number from 0 to 1"),
    ("rvq", {"restart": 5.0}, "restart 5.0: expected a number from 0 to 1"),
]


@pytest.mark.parametrize(("name", "hyperparameters", "message"), WRONG)
def test_a_hyperparameter_out_of_its_range_is_refused_when_the_method_is_made(name, hyperparameters, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        methods.factory(name)(small.net(), **hyperparameters)


@documented
def test_hyperparameters_are_documented_and_scheduled_where_they_are_weights(entry):
    for h in entry.hyperparameters:
        assert len(h.help) > 10, f"{h.name} is not described"
        assert "`" not in h.help
        annotation = methods.factory(entry.name).__annotations__[h.name]
        assert h.scheduled == (annotation == Weight)
        assert Config(method=entry.name, hyperparameters={h.name: h.default}).hyperparameters[h.name] == h.default


@documented
def test_defaults_are_fields_that_config_accepts(entry):
    assert set(entry.defaults) <= {field.name for field in dataclasses.fields(Config)}
    assert {"network", "likelihood", "binarize"} <= set(entry.defaults)
    Config(method=entry.name, **entry.defaults)


def test_the_registry_reads_what_a_file_says(tmp_path):
    file = tmp_path / "toy.py"
    file.write_text(
        'DEFAULTS = {"network": "mlp"}\n\n'
        "def toy(net, *, alpha: Weight = 2.0, rounds: int = 3):\n"
        '    """Toy: a summary.\n\n    Doe 2020 (arXiv:2001.00001),\n    eq. 1.\n\n    loss = alpha x.\n\n'
        '    couples: rounds\n    moves: alpha\n    alpha: weight of x\n    rounds: how often\n    """\n'
    )
    entry = methods.read(file, "toy")
    assert (entry.summary, entry.citation) == ("Toy: a summary.", "Doe 2020 (arXiv:2001.00001), eq. 1.")
    assert (entry.couples, entry.moves) == ("rounds", "alpha")
    alpha, rounds = entry.hyperparameters
    assert (alpha.name, alpha.default, alpha.scheduled, alpha.help) == ("alpha", 2.0, True, "weight of x")
    assert (rounds.name, rounds.default, rounds.scheduled, rounds.help) == ("rounds", 3, False, "how often")
    assert entry.defaults == {"network": "mlp", "likelihood": "bernoulli", "binarize": "dynamic"}
    with pytest.raises(InputError, match=r"toy\.py: expected a function other"):
        methods.read(file, "other")


def test_every_sibling_is_found():
    siblings = {file.stem for file in Path(methods.__file__).parent.glob("*.py")} - {"__init__"}
    assert set(ENTRIES) == siblings >= {"ae", "vae"}
    with pytest.raises(InputError, match="unknown method 'VEA': did you mean 'vae'"):
        methods.factory("VEA")


def test_nothing_names_a_method():
    """A variant is a file of its own, which may build on another; nothing else knows either by name."""
    package = Path(methods.__file__).parents[1]
    usual = {"config.py", "__init__.py", "cli/train.py", "samplers/two_stage.py"}  # the default; and what builds on it
    for file in package.rglob("*.py"):
        if file.parent.name == "methods" or str(file.relative_to(package)) in usual:
            continue
        strings = {node.value for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Constant)}
        named = [name for name in ENTRIES if name in strings]
        assert not named, f"{file.relative_to(package)} names {named}"


# --- its functions


@every
def test_init_is_deterministic_and_its_key_matters(name):
    first, again, other = (started(name)(jax.random.key(seed), batch()) for seed in (0, 0, 1))
    small.assert_same_bits(first, again)
    pairs = zip(jax.tree.leaves(first.params), jax.tree.leaves(other.params))
    assert any(not np.array_equal(a, b) for a, b in pairs)


@every
def test_loss_falls_and_every_parameter_moves(name):
    """The loss, or, where an adversary pulls the other way, the reconstruction's part of it. A parameter that no
    gradient reaches is a mistake: Adam leaves it where it was."""
    of = method(name)
    tx = optim.make("adam", 1e-2, own=of.optimizers)
    start = small.variables(of, batch(), size=0.1)
    state = TrainState(jnp.zeros((), jnp.int32), start, tx.init(start.params))
    chunk = small.jit(make_train_chunk(make_train_step(of, tx), lambda key, step, data, row: data))
    done = chunk(KEY, state, batch(), jnp.zeros(STEPS), STEPS)
    losses = np.asarray(done.metrics["reconstruction" if of.optimizers else "loss"])
    assert int(done.done) == STEPS
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), start.params, done.state.variables.params)
    assert not [jax.tree_util.keystr(path) for path, way in jax.tree_util.tree_leaves_with_path(moved) if not way]
    middle = STEPS // 2
    assert losses[-10:].mean() < 0.8 * losses[0]
    assert losses[-10:].mean() < losses[middle - 5 : middle + 5].mean()


def after_two_steps(name, likelihood, twos):
    """The variables' shapes under x64, where the step is the body of a loop; the hyperparameters `twos` are 2."""
    with jax.enable_x64(True):
        of, tx = small.method(name, likelihood, LATENT, SHAPE, **dict.fromkeys(twos, 2)), optax.adam(1e-3)
        step, like = make_train_step(of, tx), small.batch(N, SHAPE)

        def two(key):
            start = of.init(key, like)
            state = TrainState(jnp.zeros((), jnp.int32), start, tx.init(start.params))
            return jax.lax.scan(lambda state, _: step(key, state, like), state, None, length=2)

        state, _ = jax.eval_shape(two, KEY)
    return state.variables


WIDE_TYPES = [
    "vae",
    "vqvae",
    "rvq",
    "contractive_ae probes",
    "rae_gp probes",
]  # one that is plain, and those that failed


@pytest.mark.parametrize(
    "name", [*WIDE_TYPES, *(pytest.param(name, marks=pytest.mark.slow) for name in ENTRIES if name not in WIDE_TYPES)]
)
def test_a_step_can_follow_another_under_x64(name):
    name, *own = name.split()
    kinds = {str(leaf.dtype) for leaf in jax.tree.leaves(after_two_steps(name, "bernoulli", own))}
    assert "float32" in kinds and "float64" not in kinds, "what is learned is in single precision there too"


DOUBLE = ["vae gaussian_optimal", "geco_vae gaussian", "hamiltonian_vae bernoulli", "rae_gp gaussian probes"]  # failed


@pytest.mark.parametrize("name", small.first([*DOUBLE, *(f"{name} bernoulli" for name in ENTRIES)], len(DOUBLE)))
def test_a_step_can_follow_another_of_modules_in_double_precision(name, monkeypatch):
    monkeypatch.setattr(small, "nn", SimpleNamespace(Dense=partial(nn.Dense, param_dtype=jnp.float64)))
    name, likelihood, *own = name.split()
    found = after_two_steps(name, likelihood, own)
    assert "float64" in {str(leaf.dtype) for leaf in jax.tree.leaves(found.params)}


@every
def test_metrics_are_nats_of_each_example(name):
    for value in of(name)["loss"].values():
        assert (value.shape, value.dtype) == ((N,), np.float32)
        assert np.isfinite(value).all()
    reconstruction = of(name)["loss"]["reconstruction"]
    assert len(np.unique(reconstruction)) > N // 2, "summed over pixels, not over the batch"


@every
def test_an_example_knows_nothing_of_its_batch(name):
    if couples(name):
        pytest.skip("its loss couples the batch: see test_family")
    small.assert_close(of(name)["halves"], of(name)["loss"], rtol=1e-5, atol=1e-4)


@every
def test_reconstruct_decodes_the_embedding_to_an_image(name):
    assert of(name)["z"].shape == (N, LATENT)
    assert float(of(name)["z"].std(axis=0).min()) > 0
    x = of(name)["x"]
    np.testing.assert_allclose(x, of(name)["decoded"], rtol=1e-5)
    assert x.shape == (N, *SHAPE)
    assert 0 < x.min() < x.max() < 1
    assert x.std(axis=0).max() > 0.01, "the same picture for every example"


@every
def test_embed_alone_is_embed_beside_the_rest(name):
    embed = small.jit(method(name).embed)
    np.testing.assert_allclose(embed(variables(name), batch()), of(name)["z"], rtol=1e-5, atol=1e-6)


@every
def test_samples_are_each_keys_own(name):
    if method(name).sample is None:
        pytest.skip("it has no prior")
    x = of(name)["sample"]
    assert x.shape == (N, *SHAPE)
    assert 0 <= x.min() < x.max() <= 1
    np.testing.assert_allclose(of(name)["reversed"], x[::-1], rtol=1e-5)
    assert len({row.tobytes() for row in x}) == N or method(name).discrete is not None


@every
def test_posterior_is_a_normal_at_the_embedding(name):
    q = of(name)["posterior"]
    if q is None:
        pytest.skip("it has no Gaussian posterior")
    assert isinstance(q, Normal)
    np.testing.assert_allclose(q.mean, of(name)["z"], rtol=1e-5, atol=1e-6)
    assert q.log_var.shape == (N, LATENT)
    assert q.log_var.std() > 0


@pytest.mark.parametrize("name", small.first(ENTRIES, 14))
def test_a_drawn_code_is_the_one_that_log_weight_scores(name):
    own = method(name)
    assert (own.draw is None) == (own.log_weight is None or own.posterior is not None)
    if own.draw is None:
        pytest.skip("its code is drawn from a Gaussian, or not drawn")
    calm = jax.tree.map(lambda leaf: leaf / 3, variables(name))  # of logits that float32 can tell from infinite ones
    z = small.jit(own.draw)(calm, keys(), batch())
    assert (np.abs(z - own.embed(calm, batch())).max(axis=1) > 0).mean() > 0.5
    x, p = np.asarray(batch().x, np.float64), np.asarray(own.decode(calm, z), np.float64)
    expected = (x * np.log(p) + (1 - x) * np.log1p(-p)).sum((1, 2, 3))
    found = small.jit(own.log_weight)(calm, keys(), batch())
    np.testing.assert_allclose(found.likelihood, expected, rtol=1e-3)
    if own.discrete is not None:
        numbers = own.discrete.draw(calm, keys(), batch())
        np.testing.assert_allclose(own.discrete.decode(calm, numbers), p, rtol=1e-5)


@every
def test_log_weight_is_the_elbo_in_expectation(name):
    """E[log w] is the ELBO, as training tells it, whatever else its loss weighs."""
    if method(name).log_weight is None:
        pytest.skip("it has no density")
    log_w, elbo = of(name)["draws"]
    se = np.sqrt((log_w.var(axis=0) + elbo.var(axis=0)) / DRAWS)
    assert abs(log_w.mean() - elbo.mean()) < 4 * np.sqrt(np.square(se).sum()) / N
    np.testing.assert_array_less(np.abs(log_w.mean(axis=0) - elbo.mean(axis=0)), 5 * se + 1e-4)


@pytest.mark.parametrize("name", small.first(ENTRIES, 14))
def test_weights_of_the_method_may_be_traced_and_scheduled(name):
    """A grid of them is one vmap; a schedule is read at the step that the loss is given. Each changes the loss, or its
    gradient."""
    start, data = variables(name), batch()  # made outside: what is traced inside must not be kept

    def mean_loss(params, weight, value):
        made = small.method(name, "bernoulli", LATENT, SHAPE, **{weight: value})
        return made.loss(start._replace(params=params), keys(), data, jnp.asarray(3)).loss.mean()

    def slope(weight, value):
        return optax.tree.norm(jax.grad(mean_loss)(start.params, weight, value))

    weights = [h.name for h in ENTRIES[name].hyperparameters if h.scheduled]
    for weight in (w for w in weights if not w.endswith("learning_rate")):  # those are the optimiser's: test_family
        of = partial(mean_loss, start.params, weight)
        grid = small.jit(jax.vmap(of))(jnp.asarray([0.5, 2.0]))
        scheduled = small.jit(lambda value, of=of: of(lambda step: value * step / 3))(2.0)
        np.testing.assert_allclose(grid[1], scheduled, rtol=1e-5)
        if grid[0] == grid[1]:
            slopes = small.jit(jax.vmap(partial(slope, weight)))(jnp.asarray([0.5, 2.0]))
            assert slopes[0] != slopes[1]


def test_beta_weighs_the_divergence():
    none, four = (
        small.method("vae", "bernoulli", LATENT, SHAPE, beta=beta).loss(
            variables("vae"), keys(), batch(), jnp.asarray(0)
        )
        for beta in (0.0, 4.0)
    )
    kl = four.metrics["kl"]
    np.testing.assert_allclose(four.loss - none.loss, 4 * kl, rtol=1e-3)
    np.testing.assert_allclose(four.metrics["elbo"], -four.metrics["reconstruction"] - kl, rtol=1e-5)
    assert float(kl.min()) > 0


@pytest.mark.parametrize("name", ["geco_vae", "msssim_vae", "vae_gan"])
@pytest.mark.parametrize("likelihood", ["gaussian_learned", "discretised_logistic"])
def test_where_the_loss_has_no_density_of_pixels_its_scale_descends_it_all_the_same(name, likelihood):
    """And nothing else, though the decoder's mean is a function of a logistic's scale."""
    of, images = small.method(name, likelihood), small.batch(binary=False)
    start = small.variables(of, images)

    def slope(what):
        def mean(own):
            variables = start._replace(params={**start.params, "likelihood": own})
            keys = random.example_keys(jax.random.key(0), 0, images.index)
            return what(of.loss(variables, keys, images, jnp.zeros((), jnp.int32))).mean()

        return next(iter(small.jit(jax.grad(mean))(start.params["likelihood"]).values()))

    expected = slope(lambda objective: objective.metrics["reconstruction"])
    assert abs(expected) > 0.1
    np.testing.assert_allclose(slope(lambda objective: objective.loss), expected, rtol=1e-4)
