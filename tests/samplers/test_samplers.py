"""Samplers: densities fitted to codes whose own density is known, and what a run's folder keeps of a fit."""

import dataclasses
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from scipy import stats
from sklearn.mixture import GaussianMixture

from jaxae import Config, artifacts, cli, random, run, samplers
from jaxae.cli import artifacts as verbs
from jaxae.data.source import Split
from jaxae.errors import InputError
from jaxae.samplers import autoregressive, codes, draw, fit, fitted, flow, mixture, two_stage
from jaxae.samplers.codes import Splits
from jaxae.samplers.density import standardised
from jaxae.types import Discrete
from tests import made

pytestmark = pytest.mark.optimised

SHARES, MEANS, SD = np.array([0.3, 0.7]), np.array([[-2.0, 1.0], [1.0, 4.0]]), np.array([0.6, 0.3])
keys = small.keys
TRAINED = {"flow": flow, "two-stage": two_stage, "autoregressive": autoregressive}


def two_gaussians(n, seed):
    rng = np.random.default_rng(seed)
    return (MEANS[rng.choice(2, n, p=SHARES)] + SD * rng.normal(size=(n, 2))).astype(np.float32)


def true_log_prob(z):
    of_each = [stats.multivariate_normal(mean, np.diag(SD**2)).logpdf(z) for mean in MEANS]
    return np.logaddexp(*(np.log(share) + log_p for share, log_p in zip(SHARES, of_each)))


def of(n):
    return Splits(*(two_gaussians(count, seed) for seed, count in enumerate((n, 1000, 1000))))


def use(monkeypatch, steps, learning_rate=1e-3):
    """Trains that long, whatever the codes."""
    for module in TRAINED.values():
        monkeypatch.setattr(module, "budget", lambda *_, **__: fit.Budget(steps, 128, learning_rate))


def held_out(density, model, z):
    return float(np.mean(jax.jit(density.log_prob)(model, keys(len(z)), z)))


def drawn(density, model, n=4000):
    return np.asarray(jax.jit(density.draw)(model, keys(n, seed=1)))


def assert_drawn_from_two_gaussians(z):
    """The share, the mean and the standard deviations of each, within five standard errors of the sample."""
    first = z[:, 0] + z[:, 1] < 2  # midway between the means, 8 standard deviations from either
    assert abs(first.mean() - SHARES[0]) < 5 * np.sqrt(SHARES.prod() / len(z))
    for part, mean in ((z[first], MEANS[0]), (z[~first], MEANS[1])):
        np.testing.assert_array_less(np.abs(part.mean(axis=0) - mean), 5 * SD / np.sqrt(len(part)) + 0.02)
        np.testing.assert_allclose(part.std(axis=0), SD, rtol=0.1)


def test_a_mixture_finds_the_two_gaussians_that_the_codes_come_from():
    data, density = of(20_000), standardised(mixture.gaussians(2))
    model = density.fit(0, data)
    assert held_out(density, model, data.test) == pytest.approx(true_log_prob(data.test).mean(), abs=0.005)
    assert_drawn_from_two_gaussians(drawn(density, model))


def test_a_mixtures_density_is_sklearns_and_a_gaussians_the_closed_form():
    data = of(500)
    z = data.test[:50] * 1.5
    density = mixture.gaussians(3)
    expected = GaussianMixture(3, max_iter=200, random_state=4).fit(data.train.astype(np.float64)).score_samples(z)
    np.testing.assert_allclose(density.log_prob(density.fit(4, data), keys(50), z), expected, rtol=2e-4, atol=2e-4)
    one = standardised(mixture.gaussians(1))
    closed = stats.multivariate_normal(data.train.mean(axis=0), np.cov(data.train.T, bias=True)).logpdf(z)
    np.testing.assert_allclose(one.log_prob(one.fit(0, data), keys(50), z), closed, rtol=1e-4, atol=1e-4)


def test_a_unit_that_never_moves_keeps_its_value():
    data = Splits(*(np.concatenate([z, np.full((len(z), 1), 7, np.float32)], axis=1) for z in of(300)))
    density = standardised(mixture.gaussians(10))
    z = drawn(density, density.fit(0, data), 50)
    assert np.isfinite(z).all() and np.abs(z[:, 2] - 7).max() < 0.01


def test_a_flow_comes_near_the_true_density(monkeypatch):
    use(monkeypatch, 600, 5e-3)
    data, density = of(10_000), standardised(flow.real_nvp(2, 4, 32))
    model = density.fit(0, data)
    truth = true_log_prob(data.test).mean()
    normal = stats.norm(data.train.mean(axis=0), data.train.std(axis=0)).logpdf(data.test).sum(axis=1).mean()
    assert normal < truth - 0.9
    assert truth - 0.1 < held_out(density, model, data.test) < truth + 0.02
    z = drawn(density, model)
    assert true_log_prob(z).mean() == pytest.approx(truth, abs=0.3)
    np.testing.assert_allclose(z.mean(axis=0), SHARES @ MEANS, atol=0.12)


def test_a_second_vae_comes_near_a_density_from_below(monkeypatch):
    """Of a Gaussian it can be exact: its decoder then is linear, and its posterior the true one."""
    use(monkeypatch, 500, 5e-3)
    truth = stats.multivariate_normal([3, -1], [[4, 1.9], [1.9, 1]])
    data = Splits(*(np.float32(truth.rvs(n, random_state=n)) for n in (10_000, 1001, 1002)))
    density = standardised(two_stage.second(2, 16, 1))
    model = density.fit(0, data)
    expected = truth.logpdf(data.test).mean()
    independent = stats.norm([3, -1], [2, 1]).logpdf(data.test).sum(axis=1).mean()
    assert independent < expected - 1
    assert expected - 0.1 < held_out(density, model, data.test) < expected + 0.02
    z = drawn(density, model)
    np.testing.assert_allclose(z.mean(axis=0), [3, -1], atol=0.2)
    np.testing.assert_allclose(np.cov(z.T), truth.cov, rtol=0.2)


START, MOVE = np.array([0.6, 0.3, 0.1]), np.array([[0.8, 0.1, 0.1], [0.1, 0.2, 0.7], [0.05, 0.9, 0.05]])
WORDS = np.stack(np.unravel_index(np.arange(81), (3, 3, 3, 3)), axis=1).astype(np.int32)
JOINT = START[WORDS[:, 0]] * np.prod([MOVE[WORDS[:, i], WORDS[:, i + 1]] for i in range(3)], axis=0)


@pytest.mark.slow
def test_a_transformer_learns_the_joint_of_the_codes_and_draws_from_it(monkeypatch):
    use(monkeypatch, 300, 3e-3)
    rng = np.random.default_rng(0)
    data = Splits(*(WORDS[rng.choice(81, n, p=JOINT)] for n in (20_000, 2000, 2000)))
    density = autoregressive.causal(4, 3, 32, 2, 2)
    model = density.fit(0, data)
    log_p = np.asarray(jax.jit(density.log_prob)(model, keys(81), WORDS), np.float64)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-4)  # so no position sees itself or what comes after it
    divergence = np.sum(JOINT * (np.log(JOINT) - log_p))
    assert 0 < divergence < 0.02
    z = drawn(density, model, 8000)
    found = np.bincount(z @ [27, 9, 3, 1], minlength=81) / len(z)
    np.testing.assert_array_less(np.abs(found - np.exp(log_p)), 5 * np.sqrt(np.exp(log_p) / len(z)) + 1e-3)


@pytest.mark.parametrize("wanted", [0.0, 1.0], ids=["the start", "the end"])
def test_the_step_that_suits_the_held_out_codes_is_kept_and_is_a_function_of_the_seed(wanted):
    def loss(p, keys, rows):
        return jnp.sum(jnp.square(rows + 0.1 * random.normal(keys, (1,)) - p[None]), axis=-1)

    def descended(seed):
        train, held = np.ones((50, 1), np.float32), np.full((300, 1), wanted, np.float32)
        return fit.descend(jax.random.key(seed), jnp.zeros(1), loss, train, held, fit.Budget(400, 8, 0.02))

    found = descended(0)
    np.testing.assert_allclose(found, wanted, atol=0.03)
    assert descended(0) == found and (descended(1) != found or wanted == 0)


def test_held_out_codes_that_fill_up_the_last_piece_count_once():
    held = np.arange(300, dtype=np.float32)[:, None]
    mean = fit._mean_loss(jax.random.key(0), None, lambda _, keys, rows: rows[:, 0], jnp.asarray(held))
    assert float(mean) == pytest.approx(149.5)


def test_a_budget_is_whole_rounds_within_its_bounds():
    for count, steps in ((10, 1000), (12_570, 1980), (50_000, 7820), (10**6, 10_000)):
        assert fit.budget(count) == (steps, 128, 1e-3)


def with_two_gaussians(folder):
    """An autoencoder whose linear encoder is the inverse of its linear decoder, of images that two Gaussians made."""
    trained = made.trained(folder, name="ae", likelihood="gaussian")
    rng = np.random.default_rng(3)
    kernel, bias = rng.normal(size=(2, 20)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    inverse = np.linalg.pinv(kernel)
    params = {
        **trained.variables.params,
        "encoder": {"dense": {"kernel": jnp.asarray(inverse), "bias": jnp.asarray(-bias @ inverse)}},
        "decoder": {"dense": {"kernel": jnp.asarray(kernel), "bias": jnp.asarray(bias)}},
    }
    splits = {
        name: Split((z @ kernel + bias[None]).reshape(-1, 4, 5, 1), np.full(len(z), -1, np.int32))
        for name, z in of(4000)._asdict().items()
    }
    setup = dataclasses.replace(trained.setup, source=dataclasses.replace(trained.setup.source, **splits))
    trained = trained._replace(setup=setup, variables=trained.variables._replace(params=params))
    return trained, lambda images: (images.reshape(-1, 20) - bias[None]) @ inverse


def test_images_are_the_decoders_at_codes_of_the_training_splits_density(tmp_path):
    trained, encode = with_two_gaussians(tmp_path / "run")
    made = draw.sample(trained, "mixture", 3000, seed=1)
    assert made.label is None
    assert_drawn_from_two_gaussians(encode(made.samples))
    truth = true_log_prob(of(1)[2]).mean()
    assert made.measures["log_likelihood"] == pytest.approx(truth, abs=0.03)  # 10 components for the 2 there are


def test_a_vaes_codes_are_samples_of_its_posterior_many_from_each_of_few_examples(tmp_path):
    trained = made.trained(tmp_path / "run", latent=3)
    found = codes.vectors(trained, 0)
    assert [len(z) for z in found] == [400, 40, 40]
    q = artifacts.encode(trained, "train")
    noise = (found.train.reshape(10, 40, 3) - q["mean"]) / np.exp(q["log_var"] / 2)
    assert stats.kstest(noise.ravel(), "norm").pvalue > 0.01
    assert len(np.unique(noise)) == noise.size
    assert np.abs(codes.vectors(trained, 1).train - found.train).min() > 0


@pytest.mark.parametrize("name", ["iaf_vae", "categorical_vae"])
def test_codes_of_a_posterior_that_is_no_gaussian_are_samples_of_it_too(tmp_path, name):
    trained = made.trained(tmp_path / "run", name, latent=4)
    read = codes.numbers if trained.setup.method.discrete else codes.vectors
    found, again, other = read(trained, 0), read(trained, 0), read(trained, 1)
    assert all((one == two).all() for one, two in zip(found, again))
    assert (found.train != other.train).any()
    if read is codes.vectors:
        each = found.train.reshape(10, 40, 4)
        assert len(np.unique(each)) == each.size
        mean = trained.setup.method.embed(trained.variables, trained.setup.view("train").take(np.arange(40)))
        assert np.abs(each - np.asarray(mean)).mean() > 0.1


@pytest.fixture
def discrete(tmp_path):
    """A VAE whose codes may also be read as three bits."""
    trained = made.trained(tmp_path / "discrete", latent=3)
    method = trained.setup.method

    def bits(variables, batch):
        return (method.embed(variables, batch) > 0).astype(jnp.int32)

    def decode(variables, bits):
        return method.decode(variables, bits.astype(jnp.float32))

    trained.setup.__dict__["method"] = method._replace(discrete=Discrete(bits, decode, 2))
    return trained


SETTINGS = {
    "flow": {"layers": 1, "width": 4}, "two-stage": {"width": 8, "depth": 1},
    "autoregressive": {"width": 8, "layers": 1, "heads": 2},
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[pytest.mark.slow] * (n in ("flow", "two-stage"))) for n in samplers.entries()]
)
def test_a_sample_does_not_depend_on_the_count_and_is_the_same_of_a_fit_that_was_kept(discrete, name, monkeypatch):
    use(monkeypatch, 20)
    make = samplers.factory(name)
    monkeypatch.setattr(samplers, "factory", lambda name: lambda t, s: make(t, s, **SETTINGS.get(name, {})))
    few = draw.sample(discrete, name, 3, seed=5)
    kept = list(discrete.folder.path.glob("samplers/*"))
    assert [file.name.rsplit("-", 1)[0] for file in kept] == ([] if name == "prior" else [name])
    monkeypatch.setattr(fitted, "_fit", None)  # it is not called again
    many = draw.sample(discrete, name, 130, seed=5)
    assert few.samples.shape == (3, 4, 5, 1) and few.measures == many.measures
    np.testing.assert_array_equal(few.samples, many.samples[:3])
    assert len(np.unique(many.samples, axis=0)) == (8 if name == "autoregressive" else 130)
    if name == "autoregressive":
        measures = few.measures
        assert measures["nats_per_code"] == pytest.approx(-measures["log_likelihood"] / 3)
        assert measures["nats_per_code"] < 0.75  # near log 2 at the worst: the start is uniform


def test_codes_with_a_value_that_comes_again_and_again_have_no_log_likelihood():
    """A sparse code is a union of planes: exact zeros in every unit, though none is always zero."""
    method, rng = small.method("ae"), np.random.default_rng(0)
    dense = rng.normal(size=(400, 4)).astype(np.float32)
    assert fitted._fill_a_volume(method, dense)
    sparse = np.where(rng.random((400, 4)) < 0.5, 0, dense)
    assert not fitted._fill_a_volume(method, sparse)


def test_settings_that_no_sampler_could_have_are_one_line(tmp_path, discrete, monkeypatch):
    trained = made.trained(tmp_path / "run")
    wrong = {"mixture": "components", "flow": "layers", "two-stage": "depth"}
    for name, setting in wrong.items():
        with pytest.raises(InputError, match=f"{setting} 0: expected a whole number of at least 1"):
            draw.fit(trained, name, **{setting: 0})
    with pytest.raises(InputError, match="heads 3: expected a divisor of the width, which is 64"):
        draw.fit(discrete, "autoregressive", heads=3)
    monkeypatch.setattr(autoregressive, "MOST", 1)
    with pytest.raises(InputError, match=r"autoregressive: a position has [0-9]+ codes: expected at most 1"):
        draw.fit(discrete, "autoregressive")


@pytest.mark.parametrize("name", small.first(["categorical_vae", "svae", "topk_ae", "vae"]))
def test_codes_that_fill_no_volume_have_no_log_likelihood(tmp_path, name):
    """Finitely many, on a sphere, with a unit that never moves; a VAE's fill one."""
    trained = made.trained(tmp_path / "run", name, latent=4)
    if name == "topk_ae":  # three units that are never among the two largest
        encoder = jax.tree.map(lambda leaf: leaf.at[..., 1:].set(0.0), trained.variables.params["encoder"])
        bias = jnp.asarray([0.0, 9.0, -9.0, -9.0])
        encoder["dense"]["bias"] = bias
        trained = trained._replace(
            variables=trained.variables._replace(params={**trained.variables.params, "encoder": encoder})
        )
    for _ in range(2):  # fitted, then read
        found = draw.sample(trained, "gaussian", 2)
        assert ("log_likelihood" in found.measures) == (name == "vae")
        assert np.isfinite(found.samples).all()


@pytest.mark.slow
def test_a_held_out_likelihood_has_its_error_and_a_bound_is_called_one(tmp_path, monkeypatch):
    use(monkeypatch, 20)
    trained = made.trained(tmp_path / "run", latent=2)
    exact, bound = (draw.sample(trained, name, 2).measures for name in ("gaussian", "two-stage"))
    assert set(exact) == {"log_likelihood", "log_likelihood_se"}
    assert set(bound) == {"log_likelihood_bound", "log_likelihood_bound_se"}
    assert exact["log_likelihood_se"] > 0


def test_one_code_is_too_few(tmp_path):
    trained = made.trained(tmp_path / "run", "ae", n=1)
    for name in ("gaussian", "mixture"):
        with pytest.raises(InputError, match="one code of the training split"):
            draw.sample(trained, name, 2)


def test_two_fits_are_the_same_bytes(tmp_path):
    folders = [made.trained(tmp_path / name) for name in ("one", "two")]
    for trained in folders:
        draw.fit(trained, "mixture", 7, components=2)
    one, two = (next(trained.folder.path.glob("samplers/*")) for trained in folders)
    assert one.name == two.name and one.read_bytes() == two.read_bytes()
    with np.load(one, allow_pickle=False) as arrays:
        assert {"model/mean", "measures/log_likelihood"} < set(arrays.files)


def test_a_fit_belongs_to_its_parameters_data_seed_and_settings(tmp_path):
    trained = made.trained(tmp_path / "run")
    other = trained._replace(variables=jax.tree.map(lambda x: x + 1, trained.variables))
    source = dataclasses.replace(trained.setup.source, test=trained.setup.source.train)
    data = trained._replace(setup=dataclasses.replace(trained.setup, source=source))
    cases = [(trained, 0, {"a": 1}), (trained, 1, {"a": 1}), (trained, 0, {"a": 2}), (other, 0, {"a": 1})]
    files = {fitted.place(t, seed, "flow", settings) for t, seed, settings in [*cases, (data, 0, {"a": 1})]}
    assert len(files) == 5
    assert fitted.place(trained, 0, "flow", {"a": 1}) in files


def cut(file):
    file.write_bytes(file.read_bytes()[:-40])


def changed(**arrays):
    def change(file):
        with np.load(file) as old:
            new = {name: old[name] for name in old.files} | arrays
        np.savez(file, **{name: array for name, array in new.items() if array is not None})

    return change


DAMAGE = {
    "cut short": cut,
    "text": lambda file: file.write_text("none"),
    "an array is missing": changed(**{"model/inner/root": None}),
    "not a number": changed(**{"model/mean": np.full(2, np.nan, np.float32)}),
    "another size": changed(**{"model/mean": np.zeros(3, np.float32)}),
    "a pickle": changed(**{"model/mean": np.array([{}, {}])}),
}


@pytest.mark.parametrize("damage", small.first(DAMAGE, 2))
def test_a_damaged_fit_is_one_warning_and_made_again(tmp_path, damage, capsys):
    trained = made.trained(tmp_path / "run")
    first = draw.fit(trained, "gaussian")
    file = next(trained.folder.path.glob("samplers/*"))
    whole = file.read_bytes()
    DAMAGE[damage](file)
    capsys.readouterr()
    assert draw.fit(trained, "gaussian").measures == first.measures
    warning, fitting = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {file} is damaged and made again: ")
    assert fitting == "fitting gaussian to 400 codes of the training split"
    assert file.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_a_warning(tmp_path, capsys):
    trained = made.trained(tmp_path / "run")
    (tmp_path / "run" / "samplers").write_text("a file")
    assert len(draw.sample(trained, "gaussian", 2).samples) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("warning: the fit is not kept: ")


@pytest.fixture(scope="module")
def cvae(tmp_path_factory):
    net = small.net(latent=2, shape=(4, 5, 1))._replace(classes=3)
    return made.trained(tmp_path_factory.mktemp("cvae") / "run", name="cvae", net=net)


def test_a_prior_without_labels_is_that_of_artifacts_to_the_bit(discrete):
    made = draw.sample(discrete, count=130, seed=3)
    assert made.label is None and made.measures == {}
    np.testing.assert_array_equal(made.samples, artifacts.sample(discrete, 130, seed=3))


def test_labels_are_drawn_all_alike_whatever_the_count_or_the_one_asked_for(cvae):
    method, variables = cvae.setup.method, cvae.variables
    many = draw.sample(cvae, count=600, seed=2)
    np.testing.assert_array_less(np.abs(np.bincount(many.label, minlength=3) - 200), 5 * np.sqrt(600 * 2 / 9))
    few = draw.sample(cvae, count=3, seed=2)
    np.testing.assert_array_equal(few.label, many.label[:3])
    np.testing.assert_array_equal(few.samples, many.samples[:3])
    of = random.example_keys(random.stream(jax.random.key(2), "sample"), 0, jnp.arange(600))
    expected = method.given(jnp.asarray(many.label)).sample(variables, of)
    np.testing.assert_allclose(many.samples, expected, rtol=1e-5, atol=1e-6)
    asked = draw.sample(cvae, count=600, seed=2, label=1)
    assert (asked.label == 1).all()
    same = many.label == 1
    np.testing.assert_allclose(asked.samples[same], many.samples[same], rtol=1e-5, atol=1e-6)
    assert np.abs(asked.samples[~same] - many.samples[~same]).max(axis=(1, 2, 3)).min() > 1e-3


def test_codes_of_a_fitted_density_are_decoded_at_their_labels(cvae):
    given = [draw.sample(cvae, "gaussian", 30, label=label) for label in range(3)]
    own = draw.sample(cvae, "gaussian", 30)
    expected = np.stack([made.samples for made in given])[own.label, np.arange(30)]
    assert set(own.label.tolist()) == {0, 1, 2}
    np.testing.assert_allclose(own.samples, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(given[0].samples - given[1].samples).max() > 1e-3


REFUSED = {
    "unknown sampler 'mixtrue': did you mean 'mixture'? known: ": {"sampler": "mixtrue"},
    "vae has no whole-number codes: choose a --sampler of prior, flow, gaussian, mixture, two-stage": {
        "sampler": "autoregressive"
    },
    "count 0: expected a whole number of at least 1": {"count": 0},
    "count True: expected a whole number of at least 1": {"count": True},
    "seed -1: expected a whole number from 0 to 4294967295": {"seed": -1},
    "label -1: expected": {"label": -1},
    "label 2: ": {"label": 2},
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_sampled_is_refused_in_one_line(tmp_path, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}") as error:
        draw.sample(made.trained(tmp_path / "run"), **REFUSED[message])
    assert "\n" not in str(error.value)


def test_without_a_prior_the_samplers_that_work_are_named(tmp_path):
    trained = made.trained(tmp_path / "run", name="ae", likelihood="gaussian")
    expected = "^ae has no prior to sample from: choose a --sampler of flow, gaussian, mixture, two-stage$"
    with pytest.raises(InputError, match=expected):
        draw.sample(trained)


def test_a_label_that_the_data_has_not_is_refused(cvae):
    with pytest.raises(InputError, match=r"^label 3: expected 0 to 2, of which"):
        draw.sample(cvae, label=3)


def test_every_sampler_is_described_with_its_citation():
    assert list(samplers.entries()) == ["prior", "autoregressive", "flow", "gaussian", "mixture", "two-stage"]
    for entry in samplers.entries().values():
        assert entry.summary.endswith(".") and len(entry.summary) <= 120
        assert re.search(r"(19|20)\d\d \(arXiv:\d{4}\.\d{4,5}\)", entry.citation)


def test_names_help_and_refusals_load_no_jax(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    lines = [f"sample {tmp_path} --sampler x", f"sample {tmp_path} --label -2", f"sample {tmp_path} --count 0"]
    code = "import sys\nfrom jaxae import cli\nassert cli.status(['sample', '--help']) == 0\n"
    code += "".join(f"assert cli.status({line.split()!r}) == 2\n" for line in lines)
    words = [sys.executable, "-c", f"{code}assert 'jax' not in sys.modules"]
    said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True)
    assert ", ".join(samplers.entries()) in " ".join(said.stdout.split())
    assert said.stderr.count("\n") == 3 and "unknown sampler 'x'" in said.stderr


def test_the_command_writes_samples_with_their_labels(cvae, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(verbs, "_load", lambda *_: (cvae, tmp_path / "x.npz"))
    words = ["sample", "RUN", "--sampler", "gaussian", "--count", "4", "--label", "2"]
    assert cli.status(words) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path / 'x.npz'}\n"
    assert re.search(
        r"gaussian: held-out log_likelihood -?\d+\.\d{3} nats \(standard error over examples: \d+\.\d+\)\n", err
    )
    expected = draw.sample(cvae, "gaussian", 4, label=2)
    with np.load(tmp_path / "x.npz") as arrays:
        assert set(arrays.files) == {"samples", "label"}
        np.testing.assert_array_equal(arrays["samples"], expected.samples)
        assert arrays["label"].tolist() == [2, 2, 2, 2]
    monkeypatch.setattr(verbs, "_load", lambda *_: (cvae, tmp_path / "x.png"))
    assert cli.status(words) == 0


@pytest.mark.slow
def test_a_class_without_a_training_example_is_not_drawn(tmp_path):
    x, y = np.zeros((30, 8, 8), np.uint8), np.array([1, 3, 4] * 10)
    np.savez(tmp_path / "x.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    config = Config(method="cvae", data=str(tmp_path / "x.npz"), steps=1, batch_size=8, width=4, latent=2, samples=2)
    trained = run.train(config, tmp_path / "run")
    assert set(draw.sample(trained, count=40).label.tolist()) == {1, 3, 4}
    with pytest.raises(InputError, match=r"^label 2: expected one of 1, 3, 4, of which there are training examples$"):
        draw.sample(trained, label=2)
