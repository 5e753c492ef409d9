"""From a config to its objects: what no compiled step could refuse is refused here, before anything is trained."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small

from jaxae import likelihoods, optim, random, run, sweep
from jaxae.build import build, training_mean
from jaxae.config import Config
from jaxae.data import load
from jaxae.data.feed import Feed
from jaxae.data.source import Split
from jaxae.errors import InputError
from jaxae.names import LIKELIHOODS
from jaxae.train import make_train_step
from jaxae.types import Net, TrainState, Variables
from tests import made

REFUSED = {
    ("ciwae", "beta", 2.0): "beta 2.0: expected a number from 0 to 1",
    ("denoising_ae", "level", 3.0): "level 3.0: expected a number from 0 to 1",
    ("geco_vae", "tolerance", 0.0): "tolerance 0.0: expected a root mean squared error above 0",
    ("categorical_vae", "temperature", 0.0): "temperature 0.0: expected a number above 0",
    ("infovae", "alpha", 1.5): "alpha 1.5: expected a number from 0 to 1",
    ("infovae", "lambda_z", 0.1): "alpha 0.5, lambda_z 0.1: expected a sum of at least 1",
    ("ciwae", "beta", "linear(0, 2, 100%)"): r"beta linear\(0, 2, 100%\), at step \d+: beta 1\.\d+: expected a number",
    ("categorical_vae", "temperature", "linear(1, 0, 50%)"): r"at step \d+: temperature 0.0: expected a number above 0",
    ("geco_vae", "tolerance", "piecewise(0.1, 500, 0)"): r"at step 5\d\d: tolerance 0.0: expected a root mean",
    ("ciwae", "beta", "piecewise(0.5, 700, 2, 703, 0.5)"): r"at step 70\d: beta 2.0: expected a number from 0 to 1",
}


@pytest.mark.parametrize(("method", "name", "value"), REFUSED)
def test_a_weight_that_its_method_refuses_is_refused_before_training(digits, method, name, value):
    config = Config(method=method, hyperparameters={name: value}, steps=1000)
    with pytest.raises(InputError, match=REFUSED[method, name, value]):
        build(config, source=digits)


def test_so_are_a_runs_and_a_members(tmp_path):
    with pytest.raises(InputError, match=r"beta 2\.0: expected a number from 0 to 1"):
        run.train(Config(method="ciwae", hyperparameters={"beta": 2.0}, steps=2), tmp_path / "run")
    plan = sweep.Plan(Config(method="ciwae", steps=2), (0, 1), {"beta": (0.5, 2.0)})
    with pytest.raises(InputError, match=r"beta 2\.0: expected a number from 0 to 1"):
        sweep.sweep(plan, tmp_path / "s")
    assert not (tmp_path / "run").exists() and not (tmp_path / "s" / "sweep.json").exists()


@pytest.mark.parametrize("beta", [0.5, "linear(0, 1, 100%)", "cyclic(0, 1, 10e, 0.5)"])
def test_what_it_takes_is_taken(digits, beta):
    assert build(Config(method="ciwae", hyperparameters={"beta": beta}), source=digits).method


def relabelled(**splits):
    source = made.source(n=6)
    parts = {
        name: Split(source.train.rows, np.asarray(labels, np.int32))
        for name, labels in (
            {"train": [0, 1, 2] * 2, "validation": [0, 1, 2] * 2, "test": [0, 1, 2] * 2} | splits
        ).items()
    }
    return dataclasses.replace(source, **parts)


LABELS = {
    "test": ([0, 1, 4] * 2, "label 4 is in its test split, and no training example has it"),
    "validation": ([0, 3, 4] * 2, "label 3 is in its validation split"),
}


@pytest.mark.parametrize("split", LABELS)
def test_a_method_that_is_told_the_label_needs_examples_of_each(split):
    labels, message = LABELS[split]
    source = relabelled(**{split: labels})
    with pytest.raises(InputError, match=message):
        build(Config(method="cvae", batch_size=4, steps=2), source=source)
    assert build(Config(method="vae", batch_size=4, steps=2), source=source).method, "others do not look at it"


@pytest.mark.slow
def test_a_class_without_an_example_is_neither_drawn_nor_averaged():
    """Labels may begin at one, as EMNIST's letters do."""
    splits = dict.fromkeys(("train", "validation", "test"), [1, 3, 3] * 2)
    setup = build(Config(method="cvae", batch_size=4, steps=2, latent=2, width=4), source=relabelled(**splits))
    assert (setup.net.classes, setup.net.seen) == (4, (1, 3))
    variables = setup.init().variables

    def keys():
        return jax.random.split(jax.random.key(0), 20)

    z = jnp.zeros((1, 2))
    one, three = (setup.method.given(jnp.asarray(y)).decode(variables, z) for y in (1, 3))
    np.testing.assert_allclose(setup.method.decode(variables, z), (one + three) / 2, rtol=1e-5)
    for_codes = [random.split(keys())[0] for _ in range(2)]  # as `sample` draws them where it draws a label too
    known = [setup.method.given(jnp.full(20, y)).sample(variables, k) for y, k in zip((1, 3), for_codes)]
    drawn = setup.method.sample(variables, keys())
    assert all(any(np.allclose(x, of[n], rtol=1e-5) for of in known) for n, x in enumerate(drawn))


def test_labels_that_are_not_known_are_no_class():
    source = relabelled(train=[0, -1, 1, -1, 2, 2], test=[-1] * 6)
    assert build(Config(method="cvae", batch_size=4, steps=2), source=source).net.classes == 3
    assert build(Config(method="cvae"), source=load("digits")).net.classes == 10


def net(likelihood=None, shape=(8, 8, 1)):
    return Net(small.Encoder, small.Decoder(shape), likelihood or likelihoods.bernoulli(), latent=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("likelihood", "values"),
    small.first([("bernoulli", 2), ("gaussian_learned", 17), ("discretised_logistic", 17), ("of my own", 17)]),
)
def test_ones_own_likelihood_decides_what_becomes_of_the_pixels(digits, likelihood, values):
    """Of sixteen grey levels and zero a Bernoulli makes two."""
    known = likelihood if likelihood in LIKELIHOODS else "gaussian"
    setup = build(Config(), net(likelihoods.make(known, 0.1)._replace(name=likelihood)), digits)
    x = np.asarray(setup.batch_at(0).x)
    assert len(np.unique(x)) == values
    assert setup.config.likelihood == (likelihood if likelihood in LIKELIHOODS else "bernoulli")  # the method's
    assert setup.config.latent == 2


def test_a_setting_that_ones_own_net_takes_the_place_of_is_refused(digits):
    for name, value in {"network": "conv", "width": 9, "dtype": "bfloat16", "likelihood": "gaussian"}.items():
        with pytest.raises(InputError, match=f"{name} '?{value}'?: net= takes its place"):
            build(Config(**{name: value}), net(), digits)


@pytest.mark.parametrize("shape", [(8, 8, 3), (1, 1, 1), (64,)])
@pytest.mark.parametrize("likelihood", ["bernoulli", "gaussian"])
def test_a_decoder_of_another_shape_is_refused(digits, shape, likelihood):
    with pytest.raises(InputError, match=r"the decoder makes images of shape .*: expected \(8, 8, 1\), the data's"):
        build(Config(), net(likelihoods.make(likelihood, 0.1), shape), digits)


MINE = """
from jax import numpy as jnp
from jaxae.parts import bind, with_state
from jaxae.types import LogWeight, Method, Net, Normal, Objective

def mine(net: Net) -> Method:
    '''Mine.'''
    parts = bind(net, outputs=net.latent)
    def reconstruct(variables, batch):
        return parts.decode(variables, parts.encode(variables, batch))
    def loss(variables, keys, batch, step):
        value, state = parts.reconstruction(variables, parts.encode(variables, batch), batch)
        return RESULT
    return METHOD
"""
GOOD = {"RESULT": "Objective(value, state, {'reconstruction': value})",
        "METHOD": "Method(parts.init, loss, parts.encode, reconstruct, parts.decode)"}  # fmt: skip
SLIPS = {
    ("METHOD", "None"): "mine.py:mine: it returns a NoneType: expected a jaxae.types.Method",
    ("RESULT", "(value, state, {})"): "mine.py:mine: its loss is a tuple: expected a jaxae.types.Objective",
    ("RESULT", "Objective(value.mean(), state, {})"): r"mine.py:mine: loss is float32\[\]: expected one real",
    (
        "RESULT",
        "Objective(value, state, {'beta_now': step})",
    ): r"mine.py:mine: beta_now is int32\[\]: expected one real",
    ("RESULT", "Objective(value.astype(int), state, {})"): r"loss is int32\[500\]: expected one real number an example",
    ("RESULT", "Objective(value, state, {'a': None})"): "a is None: expected one real number",
    ("RESULT", "Objective(value, state, [value])"): r"metrics \[.*\]: expected a dict, of arrays by name",
    ("RESULT", "Objective(value, state, {}, value[:1])"): r"adversary is float32\[1\]: expected one real number",
    (
        "RESULT",
        "Objective(value, state, {'validation_loss': value})",
    ): "a metric validation_loss: jaxae has a number of",
    (
        "RESULT",
        "Objective(value if step > 0 else -value, state, {})",
    ): "Attempted boolean conversion.*jnp.where in place of",
    (
        "METHOD",
        "Method(with_state(parts.init, key=lambda key, batch: key), loss, parts.encode, reconstruct, parts.decode)",
    ): "its state has a random key, which no checkpoint holds",
    (
        "METHOD",
        GOOD["METHOD"].replace(")", ", posterior=lambda v, b: Normal(parts.encode(v, b), jnp.zeros(16)))"),
    ): r"posterior gives Normal\(.*float32\[16\]'\): expected arrays of shape \[500, 16\]",
    (
        "METHOD",
        GOOD["METHOD"].replace(")", ", draw=lambda v, k, b: parts.encode(v, b)[:, :2])"),
    ): r"draw gives float32\[500, 2\]: expected arrays of shape \[500, 16\]",
    (
        "METHOD",
        GOOD["METHOD"].replace(")", ", log_weight=lambda v, k, b: LogWeight(jnp.zeros(500), 0.0, jnp.zeros(500)))"),
    ): r"log_weight gives LogWeight\(.*\): expected arrays of shape \[500\]",
    ("RESULT", "Objective(value, state, {'loss': value})"): "mine.py:mine: a metric loss: jaxae has a number of that",
    ("RESULT", "Objective(value, {}, {})"): r"mine.py:mine: its loss leaves the state \{\}: expected the form that",
    (
        "METHOD",
        "Method(parts.init, loss, parts.encode, reconstruct, lambda v, z: z)",
    ): r"decode gives float32\[500, 16",
    (
        "METHOD",
        GOOD["METHOD"].replace(")", ", log_weight=lambda v, k, b: b.x.sum((1, 2, 3)))"),
    ): "mine.py:mine: log_weight gives a ShapeDtypeStruct: expected a LogWeight",
    ("RESULT", "Objective(value, state, {'step': value})"): "mine.py:mine: a metric step: jaxae has a number of that",
    (
        "RESULT",
        "Objective(value - 2 * value.mean(), state, {})",
    ): "the losses of 3 examples together are not those of each alone: .* by jaxae.axis",
    (
        "RESULT",
        "Objective(value, state, {}, value - 2 * value.mean())",
    ): "the losses of 3 examples together are not those of each alone",
    ("RESULT", "Objective(value, state, {'nll': value})"): "mine.py:mine: a metric nll: jaxae has a number of that",
}


@pytest.mark.parametrize(("what", "slip"), small.first([(None, None), *SLIPS], 12))
def test_slips_of_ones_own_method_are_told_before_training(digits, tmp_path, monkeypatch, what, slip):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    code = MINE
    for name, good in GOOD.items():
        code = code.replace(name, slip if name == what else good)
    (tmp_path / "mine.py").write_text(code)
    config = Config(method=f"{tmp_path / 'mine.py'}:mine")
    if what is None:
        assert build(config, source=digits).method
    else:
        with pytest.raises(InputError, match=SLIPS[what, slip]):
            build(config, source=digits)


def test_a_loss_of_ones_own_may_couple_its_batch_by_the_axis(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    coupled = "Objective(value - 2 * axis.gather(value).mean(), state, {})"
    code = "from jaxae import axis\n" + MINE.replace("RESULT", coupled).replace("METHOD", GOOD["METHOD"])
    (tmp_path / "mine.py").write_text(code)
    assert build(Config(method=f"{tmp_path / 'mine.py'}:mine"), source=digits).method


@pytest.mark.slow
def test_a_number_is_a_state_and_floats_and_weights_are_what_they_are_called(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    code = MINE.replace(
        "(net: Net)", "(net: Net, *, gamma: 'float' = 1, beta: 'Weight' = 3.0, weigh: types.Weight = 2)"
    )
    code = code.replace("RESULT", GOOD["RESULT"]).replace(
        "from jaxae.parts", "from jaxae import types\nfrom jaxae.parts"
    )
    code = code.replace("METHOD", GOOD["METHOD"].replace("parts.init", "with_state(parts.init, lam=lambda k, b: 1.0)"))
    (tmp_path / "mine.py").write_text(code)
    given = {"gamma": 0.5, "beta": "linear(0, 1, 20e)", "weigh": 3}
    config = Config(method=f"{tmp_path / 'mine.py'}:mine", hyperparameters=given)
    assert config.hyperparameters == {"gamma": 0.5, "beta": "linear(0, 1, 20e)", "weigh": 3.0}
    setup = build(config, source=digits)
    assert setup.init().variables.state["lam"].dtype == jnp.float32 and set(setup.numbers()) == {
        "weigh",
        "learning_rate",
    }


@pytest.mark.parametrize(
    "branch",
    ["if beta > 3: raise ValueError", "k = float(beta)", "k = np.log1p(beta)", "k = list(range(5))[beta.astype(int)]"],
)
@pytest.mark.parametrize("place", ["mine", "loss"])
def test_a_branch_on_a_weight_is_told_before_training(digits, tmp_path, monkeypatch, branch, place):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    code = MINE.replace("(net: Net)", "(net: Net, *, beta: Weight = 1.0)").replace(
        "Objective\n", "Objective, Weight\n", 1
    )
    code = code.replace("RESULT", GOOD["RESULT"]).replace("METHOD", GOOD["METHOD"])
    before = {"mine": "    parts = bind(", "loss": "        value, state = "}[place]
    indent = " " * (len(before) - len(before.lstrip()))
    guarded = f"{indent}import numpy as np\n{indent}if hasattr(beta, 'astype'):\n{indent}    {branch}\n"
    (tmp_path / "mine.py").write_text(code.replace(before, f"{guarded}{before}", 1))
    with pytest.raises(
        InputError, match=r"mine\.py, line \d+: .*expected jnp\.where in place of if, and jnp in place of np"
    ):
        build(Config(method=f"{tmp_path / 'mine.py'}:mine"), source=digits)


def test_a_rule_that_keeps_a_random_key_is_told_before_training(digits, tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "rules.py").write_text(
        "import optax\ndef mine(learning_rate):\n    return optax.noisy_sgd(learning_rate)\n"
    )
    with pytest.raises(InputError, match=r"rules\.py:mine: its state has a random key, which no checkpoint holds"):
        build(Config(optimizer=f"{tmp_path / 'rules.py'}:mine"), source=digits)


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"accumulate": 2}, {"exact": True, "shards": 4}])
def test_a_loop_of_ones_own_is_told_what_the_step_is(tmp_path, changes):
    config = Config(latent=2, width=8, steps=3, log_every=1, validate_every=3, checkpoint_every=3, **changes)
    setup = build(config)
    shards = setup.config.shards if config.exact else None
    step = jax.jit(make_train_step(setup.method, setup.tx, microbatches=setup.config.accumulate, shards=shards))
    state = setup.init()
    for number in range(setup.total):
        state, _ = step(random.stream(setup.key, "noise"), state, setup.batch_at(number))
    small.assert_close(state.variables, run.train(config, tmp_path / "run").state.variables, rtol=1e-5, atol=1e-7)


@pytest.mark.slow
def test_a_loop_of_ones_own_over_the_batches_is_the_run(tmp_path):
    config = Config(latent=2, width=8, steps=5, log_every=1, validate_every=5, checkpoint_every=5)
    setup = build(config)
    step, state = jax.jit(make_train_step(setup.method, setup.tx)), setup.init()
    for number in range(setup.total):
        state, _ = step(random.stream(setup.key, "noise"), state, setup.batch_at(number))
    trained = run.train(config, tmp_path / "run").state
    small.assert_close(state.variables.params, trained.variables.params, rtol=1e-4, atol=1e-6)
    assert not np.array_equal(setup.batch_at(0).x, setup.batch_at(10).x[: setup.config.batch_size])


USED = {"b1": 0.5, "b2": 0.9, "eps": 1e-2, "weight_decay": 0.3, "clip_norm": 1e-3, "average": 0.5}


@pytest.mark.parametrize("name", USED)
def test_the_optimiser_is_the_configs(digits, name):
    """One update of it is that of the optimiser made by hand."""
    value = {name: USED[name]}
    setup = build(Config(optimizer="adamw", **value), source=digits)
    plain = {"b1": 0.9, "b2": 0.999, "eps": 1e-8, "weight_decay": 0.0}
    usual, by_hand = (optim.make("adamw", 1e-3, **given) for given in (plain, plain | value))
    params = {"w": jnp.asarray([0.5, -2.0])}

    def two_steps(tx):
        at, state = params, tx.init(params)
        for gradient in ([0.3, 4.0], [-0.2, 1e-3]):
            updates, state = tx.update({"w": jnp.asarray(gradient)}, state, at)
            at = optax.apply_updates(at, updates)
        return at, optim.evaluated(TrainState(jnp.asarray(2), Variables(at, ()), state)).params

    found, expected, other = small.jit(lambda: [two_steps(tx) for tx in (setup.tx, by_hand, usual)])()
    small.assert_close(found, expected, rtol=1e-6)
    assert not np.allclose(found[1]["w"], other[1]["w"], rtol=1e-6)


@pytest.mark.slow
def test_the_scale_and_the_arithmetic_are_the_configs(digits):
    def loss(**changes):
        setup = build(Config(latent=2, width=8, likelihood="gaussian", **changes), source=digits)
        start, batch = setup.init(), setup.batch_at(0)
        keys = random.example_keys(setup.key, 0, batch.index)
        objective = small.jit(setup.method.loss)(start.variables, keys, batch, 0)
        return np.asarray(objective.metrics["reconstruction"], np.float64)

    error = (loss() - 32 * np.log(2 * np.pi * 0.01)) * 2 * 0.01  # of 64 pixels, by the scale of 0.1
    np.testing.assert_allclose(loss(scale=0.5), error / 2 / 0.25 + 32 * np.log(2 * np.pi * 0.25), rtol=1e-4)
    assert not np.array_equal(loss(dtype="bfloat16"), loss())


def test_devices_share_a_batch_as_the_config_says():
    assert run.layout_of(Config(devices=2, parallel="pmap")).parallel == "pmap"


def test_what_schedules_come_to_by_rounding_is_taken(digits):
    """These add up to one all the way, and so there is no MMD."""
    weights = {"alpha": "linear(0, 0.3, 20e)", "lambda_z": "linear(1, 0.7, 20e)"}
    assert build(Config(method="infovae", hyperparameters=weights), source=digits).method


def test_an_encoder_that_is_not_as_asked_for_is_refused(digits):
    fixed = net()._replace(encoder=lambda outputs: small.Encoder(2))
    with pytest.raises(InputError, match=r"the encoder gives shape \[1, 2\] of one image: expected \[1, 4\]"):
        build(Config(), fixed, digits)


@pytest.mark.slow
def test_a_bernoulli_of_ones_own_net_has_its_pixels_drawn_whatever_the_method(digits):
    assert build(Config(method="ae"), net(), digits).config.binarize == "dynamic"
    assert build(Config(method="ae", binarize="none"), net(), digits).config.binarize == "none"


@pytest.mark.slow
def test_ones_own_net_decides_the_scale(digits):
    of = net(likelihoods.gaussian(0.3))
    setup = build(Config(), of, digits)
    assert setup.config.scale == 0.3 and build(Config(scale=0.3), of, digits).config == setup.config
    with pytest.raises(InputError, match=r"scale 0\.2: net= takes its place"):
        build(Config(scale=0.2), of, digits)


def test_batches_of_data_that_does_not_fit_the_device_are_the_same(digits, monkeypatch):
    here = build(Config(), source=digits).batch_at(13)
    made = []
    monkeypatch.setattr("jaxae.setup.fits_on_device", lambda split: False)
    monkeypatch.setattr("jaxae.setup.Feed", lambda *of, **how: made.append(Feed(*of, **how)) or made[-1])
    setup = build(Config(), source=digits)
    for _ in range(2):
        small.assert_close(setup.batch_at(13), here, rtol=0)
    assert [feed.data for feed in made] == [()], "no row is put on the device"
    with pytest.raises(InputError, match="step -1: expected a whole number from 0 to"):
        setup.batch_at(-1)


@pytest.mark.parametrize(("binarize", "expected"), [("none", "grey"), ("threshold", "bits"), ("dynamic", "grey")])
def test_the_first_bias_is_of_the_mean_of_what_is_seen(binarize, expected):
    rows = np.random.default_rng(0).integers(0, 256, (37, 4, 3, 1)).astype(np.uint8)
    source = dataclasses.replace(made.source(shape=(4, 3, 1)), train=Split(rows, np.zeros(37, np.int32)))
    of = {"grey": rows / 255, "bits": rows > 127}[expected]
    np.testing.assert_allclose(training_mean(source, binarize), of.mean(axis=0), rtol=1e-5)


def test_of_many_examples_the_mean_is_of_evenly_spread_ones(monkeypatch):
    monkeypatch.setattr("jaxae.build.MEAN_EXAMPLES", 5)
    values = (np.arange(41) ** 2 // 8).astype(np.uint8)  # their own mean is another
    rows = values[:, None, None, None] * np.ones((1, 2, 2, 1), np.uint8)
    source = dataclasses.replace(made.source(shape=(2, 2, 1)), train=Split(rows, np.zeros(41, np.int32)))
    np.testing.assert_allclose(training_mean(source, "none"), np.mean(values[::10]) / 255, rtol=1e-5)


def test_a_batch_in_pieces_is_the_batch(tmp_path):
    config = Config(latent=2, width=8, steps=4, batch_size=24, samples=2)
    whole, pieces = (
        run.train(dataclasses.replace(config, accumulate=n), tmp_path / str(n)).state.variables.params for n in (1, 3)
    )
    small.assert_close(whole, pieces, rtol=2e-4, atol=1e-5)


def test_the_log_tells_where_in_the_run_and_by_what_weights(tmp_path):
    config = Config(
        latent=2, width=8, steps=4, batch_size=419, log_every=1, samples=2, validate_every=4,
        learning_rate="linear(0.1, 0, 4)", hyperparameters={"beta": "linear(0, 1, 2)"},
    )  # fmt: skip
    of = run.train(config, tmp_path / "run")
    table = run.history(of)
    np.testing.assert_allclose(table["epoch"], np.arange(1, 5) * 419 / 1257, rtol=1e-6)
    np.testing.assert_allclose(table["learning_rate"], [0.1, 0.075, 0.05, 0.025], rtol=1e-5)
    np.testing.assert_allclose(table["beta"], [0, 0.5, 1, 1], rtol=1e-6)
    np.testing.assert_allclose(table["loss"], table["reconstruction"] + table["beta"] * table["kl"], rtol=1e-5)


def test_held_out_losses_are_by_the_weights_of_the_last_step(tmp_path):
    """So that those of different steps compare, whatever the schedule has come to."""
    config = Config(
        latent=2, width=8, steps=4, batch_size=419, samples=2, validate_every=1,
        hyperparameters={"beta": "linear(0, 8, 4)"},
    )  # fmt: skip
    table = run.history(run.train(config, tmp_path / "run"))
    beta = (table["validation_loss"] - table["validation_reconstruction"]) / table["validation_kl"]
    np.testing.assert_allclose(beta, 6.0, rtol=1e-3)


COMPARING = {"wae_mmd": {}, "infovae": {}, "beta_tcvae": {}, "dip_vae": {}, "factor_vae": {}, "swae": {}}


@pytest.mark.parametrize("name", COMPARING)
def test_a_loss_that_compares_examples_is_given_two(name):
    for changes, said in (({"validation": 1}, "validation 1"), ({"batch_size": 1}, "batch_size 1")):
        with pytest.raises(InputError, match=f"^{said}: .*expected at least 2.*: a larger batch or split$"):
            build(Config(method=name, latent=4, width=8, **changes))


@pytest.mark.slow
def test_what_a_loop_of_ones_own_has_trained_is_measured_as_the_run_is(tmp_path):
    config = Config(latent=2, width=8, steps=3, samples=2)
    trained, setup = run.train(config, tmp_path / "run"), build(config)
    step, state = jax.jit(make_train_step(setup.method, setup.tx)), setup.init()
    for n in range(setup.total):
        state, _ = step(random.stream(setup.key, "noise"), state, setup.batch_at(n))
    by_hand = run.of(setup, state)
    assert by_hand.step == 3 and run.final_digest(by_hand) == run.final_digest(trained)
    assert run.evaluate_run(by_hand, samples=2) == run.evaluate_run(trained, samples=2)


def test_one_that_moves_a_state_by_its_batch_may_have_one():
    assert len(build(Config(method="vqvae", latent=4, width=8, validation=1)).source.validation) == 1
    assert build(Config(method="geco_vae", latent=4, width=8, batch_size=1)).epoch == 1257


def test_the_record_says_what_decides_the_bits(tmp_path):
    of = run.train(Config(latent=2, width=8, steps=1, samples=2), tmp_path / "run")
    record = of.folder.record()
    assert record["versions"]["jax"] == jax.__version__ and record["versions"]["numpy"] == np.__version__
    assert record["device"] == f"{len(jax.devices())} x cpu (cpu)" and record["prng"] == "threefry2x32"
    assert record["data"]["sha256"] == of.setup.source.digest and record["data"]["sizes"] == of.setup.source.sizes()
