"""jaxae from Python, as a notebook uses it: what is one's own, and what does not fit together."""

import dataclasses
import errno
import inspect
import os
import re
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp
import numpy as np
import pandas
import pytest
import small
from flax import linen as nn

from jaxae import artifacts, cli, compare, data, files, likelihoods, log, optim, parts, report, run, samplers, sweep
from jaxae.artifacts import make, pieces
from jaxae.build import build
from jaxae.config import Config
from jaxae.data import in_memory
from jaxae.data.source import Split
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.evaluate import features, latents, metrics, settings
from jaxae.folder import RunFolder
from jaxae.samplers import draw
from jaxae.types import Net
from tests.runs import configured

SIZE: dict = {"steps": 3, "latent": 2, "width": 8, "batch_size": 8, "samples": 4}


class Encoder(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs)(nn.tanh(nn.Dense(8)(x.reshape(len(x), -1))))


class Decoder(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(64)(z).reshape(-1, 8, 8, 1)


Tanh = Encoder


class Encoder(nn.Module):  # of the same name, as where a cell of a notebook is changed and run again
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dense(self.outputs)(nn.relu(nn.Dense(8)(x.reshape(len(x), -1))))


def net(encoder=Tanh, likelihood=None):
    return Net(encoder, Decoder(), likelihood or likelihoods.bernoulli(), latent=2)


@pytest.fixture(scope="module")
def images():
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60, 6, 5), np.uint8), rng.integers(0, 3, 60)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return run.train(Config(**SIZE), tmp_path_factory.mktemp("python") / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "other", [net(Encoder), net(likelihood=likelihoods.gaussian(0.5))], ids=["activation", "likelihood"]
)
def test_a_net_that_computes_otherwise_is_another(tmp_path, other):
    config = Config(steps=2, batch_size=8, samples=4)
    run.train(config, tmp_path / "run", net=net())
    longer = dataclasses.replace(config, steps=4)
    with pytest.raises(InputError, match=r"another (net|config)"):
        run.train(longer, tmp_path / "run", net=other)
    assert run.train(longer, tmp_path / "run", net=net()).step == 4


@pytest.mark.slow
def test_the_scale_of_a_fixed_likelihood_is_the_nets(tmp_path):
    of = net(likelihood=likelihoods.gaussian(0.3))
    run.train(Config(steps=2, batch_size=8, samples=4), tmp_path / "run", net=of)
    assert run.load(tmp_path / "run", net=of).setup.config.scale == 0.3
    with pytest.raises(InputError, match=r"scale 0\.3: net= takes its place"):
        run.load(tmp_path / "run", net=net(likelihood=likelihoods.gaussian(0.5)))


@pytest.mark.slow
def test_runs_of_several_kinds_are_measured_each_by_its_own(tmp_path, trained):
    other = run.train(Config(**{**SIZE, "likelihood": "gaussian", "scale": 0.3}), tmp_path / "a")
    seed = run.train(Config(**SIZE, seed=1), tmp_path / "b")
    together = run.evaluate_runs([trained, other, seed])
    for of, found in zip((trained, other, seed), together):
        alone = run.evaluate_runs([of])[0]
        assert found["digest"] == alone["digest"] and found["nll"] == pytest.approx(alone["nll"], rel=1e-6)
    with pytest.raises(InputError, match=r"differs from .* in more than seeds and numbers"):
        run.evaluate_runs([trained, other], on=run.bench(trained.setup))
    with pytest.raises(InputError, match=r"expected a list of at least one: \[trained\]"):
        run.evaluate_runs([])


MINE = """
import jax.numpy as jnp
from jaxae.methods.vae import vae
def mine(net):
    '''Mine.'''
    of = vae(net)
    return of._replace(reconstruct=lambda variables, batch: jnp.full_like(batch.x, VALUE))
"""


@pytest.mark.slow
def test_a_method_file_that_is_edited_changes_nothing_that_is_in_memory(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    file = tmp_path / "mine.py"
    file.write_text(MINE.replace("VALUE", "0.5"))
    of = run.train(Config(**SIZE, method=f"{file}:mine"), tmp_path / "run")
    before = run.evaluate_run(of, samples=4)["mse"]
    file.write_text(MINE.replace("VALUE", "0.1"))
    assert run.evaluate_run(of, samples=4)["mse"] == before
    again = run.load(tmp_path / "run")
    assert run.evaluate_run(again, samples=4)["mse"] == before, "by its copy"


def test_a_setup_is_another_configs_where_seeds_and_numbers_differ_alone(trained):
    setup = trained.setup
    assert setup.like(dataclasses.replace(setup.config, seed=3, learning_rate=0.1)).config.seed == 3
    with pytest.raises(InputError, match="latent: 2 -> 4: expected a config that differs in its seeds"):
        setup.like(dataclasses.replace(setup.config, latent=4))
    with pytest.raises(InputError, match="is a run of another setup: seed: 0 -> 1"):
        run.load(trained.folder.path, setup=setup.like(dataclasses.replace(setup.config, seed=1)))


def test_what_is_asked_of_a_setup_is_named_or_counted(trained):
    with pytest.raises(InputError, match=r"weight 'lr': .*learning_rate"):
        trained.setup.make({"lr": 1e-4})
    for step in (3.5, -1, 2**31):
        with pytest.raises(InputError, match=f"^step {step}: expected a whole number from 0 to 2147483647"):
            trained.setup.batch_at(step)
    for scale in (0, -1.0, float("nan"), float("inf"), "a", "0.1", np.full((8, 8, 1), 0.1)):
        with pytest.raises(InputError, match=r"scale .*: expected a standard deviation above 0"):
            inspect.unwrap(likelihoods._positive)(scale)


@pytest.mark.slow
def test_the_numbers_of_a_net_may_be_numpys(tmp_path):
    small_net = net(likelihood=likelihoods.gaussian(0.1)._replace(scale=np.float32(0.1)))
    usual, other = (
        run.train(Config(steps=2), tmp_path / kind(2).__class__.__name__, net=small_net._replace(latent=kind(2)))
        for kind in (int, np.int64)
    )
    assert run.final_digest(usual) == run.final_digest(other)
    assert build(Config(), small_net._replace(latent=np.array(2))).net.latent == 2
    for latent in (2.0, 0, True, "2"):
        with pytest.raises(InputError, match=f"^net: latent {latent!r}: expected a whole number of at least 1"):
            build(Config(), small_net._replace(latent=latent))


class Half(nn.Module):
    """What the module gives, in half precision, and then in that of `last`."""

    module: nn.Module
    last: type

    @nn.compact
    def __call__(self, x):
        return self.module(x).astype(jnp.bfloat16).astype(self.last)


@pytest.mark.slow
@pytest.mark.parametrize("name", small.first(["ae", "vae", "iwae", "hvae2"]))
def test_modules_of_half_precision_are_scored_in_single_precision(name):
    """As if they had cast their own outputs back."""
    found = []
    for last in (jnp.bfloat16, jnp.float32):
        mine = net(lambda outputs, last=last: Half(Tanh(outputs), last))._replace(decoder=Half(Decoder(), last))
        setup = build(Config(method=name, batch_size=8), mine)
        batch, variables = setup.batch_at(0), setup.init().variables
        loss = setup.method.loss(variables, setup.view("train").keys(batch, "noise"), batch, jnp.asarray(0))
        found.append((loss.loss, loss.metrics, setup.method.reconstruct(variables, batch)))
    assert {leaf.dtype for leaf in jax.tree.leaves(found)} == {np.dtype(np.float32)}
    jax.tree.map(np.testing.assert_array_equal, *found)
    assert parts.single(jnp.arange(3)).dtype == jnp.int32, "the numbers of code vectors stay numbers"


def test_all_runs_are_measured_by_one_generator_whatever_trains_them(tmp_path, trained, monkeypatch):
    setup = build(Config(**SIZE, binarize="dynamic"))
    usual = run.evaluate_run(run.of(setup, setup.init(), tmp_path), samples=4)
    with jax.default_prng_impl("rbg"):
        fast = build(Config(**SIZE, binarize="dynamic"))
        made = run.of(fast, jax.tree.map(np.asarray, setup.init()), tmp_path)
        assert run.evaluate_run(made, samples=4) == usual
        assert fast.key.dtype != setup.key.dtype, "it trains by the other"
    with jax.threefry_partitionable(False), pytest.raises(InputError, match="JAX_THREEFRY_PARTITIONABLE=0"):
        build(Config(**SIZE))


def test_a_run_says_what_it_is_in_a_line(trained):
    assert repr(trained) == f"<vae on digits, step 3: {trained.folder.path}>"


@pytest.mark.slow
def test_a_sweep_of_ones_own_net_and_arrays_is_runs_of_them(tmp_path, images):
    x, y = images
    of, source = net(), data.arrays(np.pad(x, ((0, 0), (1, 1), (1, 2))), y)
    plan = sweep.Plan(Config(steps=3, batch_size=8, samples=4), (0, 1), {"beta": (1.0,)})
    swept = sweep.sweep(plan, tmp_path / "s", net=of, source=source)
    alone = run.train(Config(steps=3, batch_size=8, samples=4, seed=1), tmp_path / "run", net=of, source=source)
    member = run.load(tmp_path / "s", member="seed=1,beta=1", net=of, source=source)
    assert run.final_digest(member) == run.final_digest(alone) and swept.table["nll"].notna().all()
    again = sweep.load(tmp_path / "s", net=of, source=source)
    assert again.table.equals(swept.table) and len(again.groups()[0].members) == 2
    assert len(sweep.evaluate(tmp_path / "s", net=of, source=source)) == 2
    with pytest.raises(InputError, match=r"is a run of another net .*what they compute"):
        sweep.sweep(dataclasses.replace(plan, seeds=(0, 1, 2)), tmp_path / "s", net=net(Encoder), source=source)
    with pytest.raises(InputError, match="holds a sweep of 2 runs: say which"):
        run.load(tmp_path / "s")
    with pytest.raises(InputError, match="grid latent: net= or source= decides it"):
        sweep.sweep(sweep.Plan(Config(), (0,), {"latent": (2, 4)}), tmp_path / "t", net=of)


@pytest.mark.slow
def test_arrays_in_memory_are_trained_on_as_a_file_of_them(tmp_path, images):
    x, y = images
    np.savez(tmp_path / "mine.npz", x=x, y=y)
    filed = run.train(Config(**SIZE, data=str(tmp_path / "mine.npz")), tmp_path / "filed")
    source = data.arrays(x, y)
    here = run.train(Config(**SIZE), tmp_path / "here", source=source)
    assert run.final_digest(here) == run.final_digest(filed) and here.setup.config.data == "arrays:mine"
    assert run.load(tmp_path / "here", source=source).step == 3
    with pytest.raises(InputError, match="arrays that were in memory: from Python, source= them"):
        run.load(tmp_path / "here")
    with pytest.raises(InputError, match="has changed since step 3 of this run"):
        run.load(tmp_path / "here", source=data.arrays(255 - x, y))
    with pytest.raises(InputError, match=r"data 'sprites': source= is 'arrays:mine'"):
        run.train(Config(**SIZE, data="sprites"), tmp_path / "other", source=source)


def test_arrays_come_in_splits_and_are_checked(images):
    x, y = images
    source = data.arrays(x[:40], y[:40], test=(x[40:], y[40:]), validation=7, name="a-1")
    assert source.sizes() == {"train": 33, "validation": 7, "test": 20} and source.name == "arrays:a-1"
    np.testing.assert_array_equal(source.test.labels, y[40:])
    assert data.arrays(x, validation=x[:5]).sizes()["validation"] == 5
    with pytest.raises(InputError, match=r"train: value 255\.0 at image .*floats lie in \[0, 1\]: divide by 255"):
        data.arrays(np.full((9, 4, 4), 255.0))
    with pytest.raises(InputError, match="name 'a/b': expected letters"):
        data.arrays(x, name="a/b")
    assert data.arrays(x, validation=np.int64(7)).sizes()["validation"] == 7
    with pytest.raises(InputError, match=r"validation: a tuple of 1: expected x or \(x, y\)"):
        data.arrays(x, validation=(x[:5],))


def test_other_images_are_measured_in_place_of_the_test_split(trained, digits):
    whole = run.scores(trained, samples=4)
    same = run.on(trained, digits.test.rows[..., 0], digits.test.labels)
    assert run.scores(same, samples=4)["nll"].tolist() == whole["nll"].tolist()
    dark = run.on(trained, np.zeros((5, 8, 8), np.uint8))
    found = run.evaluate_run(dark, samples=4)
    assert found["examples"] == 5 and found["reconstruction"] != run.evaluate_run(trained, samples=4)["reconstruction"]
    with pytest.raises(InputError, match="measures of other data"):
        run.store(dark, found)
    with pytest.raises(InputError, match=r"images of shape \(9, 9, 1\): expected \(8, 8, 1\), those of digits"):
        run.on(trained, np.zeros((5, 9, 9), np.uint8))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [np.uint8, np.int64, bool])
def test_images_of_two_values_are_of_one_scale_wherever_they_come_from(tmp_path, images, kind):
    """Whole numbers of 0 and 1 become 0 and 255 where they are trained on: so they do where they are measured."""
    x, y = images
    bits = (x > 128).astype(kind)
    made = run.train(Config(**SIZE, binarize="none"), tmp_path / "r", source=data.arrays(bits, y))
    there = run.scores(made, samples=4)
    for other in (bits, bits.astype(bool), bits.astype(np.uint8), bits.astype(np.uint8) * np.uint8(255)):
        again = run.scores(run.on(made, other[there["row"]]), samples=4)
        np.testing.assert_array_equal(again["nll"], there["nll"])
    with pytest.raises(
        InputError, match="x: images are 6 x 5 x 1 float32, but those of arrays:mine are 6 x 5 x 1 uint8"
    ):
        run.on(made, bits.astype(float))


def test_images_cannot_take_the_place_of_what_a_source_renders():
    with pytest.raises(InputError, match="x: sprites renders its images: others cannot take their place"):
        in_memory.split(data.load("sprites"), np.zeros((2, 64, 64), np.uint8))


def test_images_of_another_scale_than_the_runs_are_refused(trained):
    with pytest.raises(InputError, match="x: no value above 1, but those of digits go up to 255: expected one scale"):
        run.on(trained, np.eye(8, dtype=np.uint8)[None])


@pytest.mark.slow
def test_conditional_methods_meet_no_label_that_they_do_not_know_and_say_what_has_none(tmp_path, images):
    x, y = images
    made = run.train(Config(**SIZE, method="cvae"), tmp_path / "r", source=data.arrays(x, y))
    few = made.setup.net._replace(classes=int(max(y)))
    with pytest.raises(InputError, match=f"net: {max(y)} classes, but .* has the label {max(y)}: expected at least"):
        run.train(Config(method="cvae", batch_size=SIZE["batch_size"], steps=3), source=data.arrays(x, y), net=few)
    with pytest.raises(InputError, match="label 59 is in its test split, and no training example has it"):
        run.on(made, x, np.full(len(x), 59))
    brief = run.Settings(samples=4, ais_steps=3, ais_chains=2)
    (whole,) = run.evaluate_runs([run.on(made, x, y)], ["likelihood", "ais"], settings=brief)
    assert whole["settings"]["likelihood"] == {"density_of": "p(x | label)"}
    some = np.where(np.arange(len(x)) < 7, -1, y)
    (part,) = run.evaluate_runs([run.on(made, x, some)], ["likelihood", "ais"], settings=brief)
    for group in ("likelihood", "ais"):
        assert part["settings"][group]["density_of"] == "p(x | label), where there is one"
        assert any("7 of 60 examples have no label" in note for note in part["notes"][group])
    codes = artifacts.encode(made)
    rebuilt = artifacts.reconstruct(made, index=codes["index"]).reconstructions
    np.testing.assert_allclose(artifacts.decode(made, codes["z"], codes["label"]), rebuilt, rtol=1e-5, atol=1e-6)
    assert np.abs(artifacts.decode(made, codes["z"]) - rebuilt).max() > 1e-3
    with pytest.raises(InputError, match=r"label of shape \[3\]: expected one, or \[12\] as there are codes"):
        artifacts.decode(made, codes["z"], codes["label"][:3])


@pytest.mark.slow
def test_codes_are_decoded_at_the_labels_that_stand_beside_them(tmp_path):
    made = run.train(Config(**SIZE, method="cvae"), tmp_path / "r")
    assert cli.status(["encode", str(tmp_path / "r")]) == 0
    assert (
        cli.status(["decode", str(tmp_path / "r"), str(tmp_path / "r" / "codes.npz"), "--out", str(tmp_path / "x.npz")])
        == 0
    )
    with np.load(tmp_path / "x.npz") as found:
        rebuilt = artifacts.reconstruct(made, index=np.arange(len(found["z"]))).reconstructions
        np.testing.assert_allclose(found["images"], rebuilt, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_codes_are_decoded_at_labels_by_their_names_and_a_page_says_what_its_pictures_are_of(tmp_path, images):
    x, y = images
    source = data.arrays(x, np.array(["ant", "bee", "cat"])[y])
    made = run.train(Config(**SIZE, method="cvae"), tmp_path / "r", source=source)
    z = np.zeros((4, 2), np.float32)
    named = artifacts.decode(made, z, np.array(["cat", "ant", "-1", "bee"]))
    np.testing.assert_array_equal(named, artifacts.decode(made, z, np.array([2, 0, -1, 1])))
    np.testing.assert_array_equal(artifacts.decode(made, z, "cat"), artifacts.decode(made, z, 2))
    np.testing.assert_array_equal(artifacts.decode(made, z, np.array(["cat", "ant", -1, "bee"], object)), named)
    half = jnp.asarray(z, jnp.bfloat16)
    np.testing.assert_array_equal(artifacts.decode(made, half, "cat"), artifacts.decode(made, z, 2))
    with pytest.raises(InputError, match="label 'dog': expected one of ant, bee, cat"):
        artifacts.decode(made, z, ["cat", "ant", "dog", "bee"])
    said = " ".join(report.write_report(made).read_text().split())
    for words in (
        "turns an image and its label into its code", "after the encoder, but for its label, which the decoder is told",
        "upwards; each the mean of what the decoder makes of every label.", "decoded at labels that are drawn evenly:",
        "and each half is decoded at its end's label",
    ):  # fmt: skip
        assert words in said
    plain = run.train(Config(**SIZE), tmp_path / "plain", source=source)
    assert "label into its code" not in report.write_report(plain).read_text()


@pytest.mark.slow
def test_a_page_is_written_of_samples_that_were_judged(tmp_path, trained):
    of = trained._replace(folder=RunFolder(tmp_path, by_hand=True))
    settings = run.Settings(4, features="pixels", drawn=40)
    run.store(of, run.evaluate_runs([of], ("likelihood", "samples"), settings=settings)[0])
    assert "scores are of 40 draws from the prior" in report.write_report(of).read_text()


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_measures_that_cannot_be_kept_are_given_all_the_same(tmp_path, trained, monkeypatch, capsys, error):
    of = trained._replace(folder=RunFolder(tmp_path, by_hand=True))

    def full(*_):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr("jaxae.files.write_json", full)
    assert run.store(of, run.evaluate_run(of, samples=4))["nll"] > 0
    assert "evaluation.json is not written" in capsys.readouterr().err


def test_a_file_is_written_with_the_users_mask_and_through_a_link(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "there" / "file")
    before = os.umask(0o077)
    try:
        files.write(tmp_path / "link", b"one")
    finally:
        os.umask(before)
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there" / "file").read_bytes() == b"one"
    assert (tmp_path / "there" / "file").stat().st_mode & 0o777 == 0o600
    files.write(tmp_path / "plain", b"two")
    assert (tmp_path / "plain").stat().st_mode & 0o777 == 0o666 & ~before


def test_labels_may_be_words_or_floats(images):
    x, y = images
    words = np.array(["tabby", "collie", "ant"])[y]
    source = data.arrays(x, words, test=(x[:5], words[:5]))
    assert source.classes == ("ant", "collie", "tabby")
    np.testing.assert_array_equal(np.array(source.classes)[source.test.labels], words[:5])
    same = data.arrays(x, words.astype(object), test=(x[:5], words[:5].tolist()))
    assert same.digest == source.digest and same.classes == source.classes
    of = in_memory.split(source, x[:3], words[:3])
    np.testing.assert_array_equal(of.labels, source.test.labels[:3])
    with pytest.raises(InputError, match="x: label 'bat': expected one of ant, collie, tabby"):
        in_memory.split(source, x[:1], np.array(["bat"]))
    some = np.where(np.arange(len(y)) % 5, words.astype(object), None)
    some[7], some[8] = np.nan, pandas.NA
    of_some = data.arrays(x, some, test=(x[:5], words[:5])).train
    expected = np.where([isinstance(word, str) for word in some], np.unique(words, return_inverse=True)[1], -1)
    np.testing.assert_array_equal(of_some.labels, expected[of_some.rows_read()])
    with pytest.raises(InputError, match="x: label 'ant': expected numbers, as the run's are"):
        in_memory.split(data.arrays(x), x[:1], np.array(["ant"]))
    with pytest.raises(InputError, match="test: its labels are no words, but those of train are"):
        data.arrays(x, words, test=(x[:5], y[:5]))
    missing = np.where(np.arange(len(y)) == 3, -1, y)
    of_floats = data.arrays(x, np.where(missing < 0, np.nan, missing), test=x)
    np.testing.assert_array_equal(of_floats.train.labels, data.arrays(x, missing, test=x).train.labels)
    with pytest.raises(
        InputError, match=r"train: its labels are float64 of shape 60: expected one whole number or one word"
    ):
        data.arrays(x, y + 0.5)
    with pytest.raises(InputError, match=r"train: labels of shape 60 x 3: .*y\.argmax\(axis=1\), of one-hot rows"):
        data.arrays(x, np.eye(3)[y])


def test_classes_whose_names_are_numbers_are_in_their_order(images):
    x, y = images
    source = data.arrays(x, np.array([str(9 + of) for of in y]))
    assert source.classes == ("9", "10", "11")
    assert np.array_equal(source.train.labels, y[source.train.rows_read()])


def test_what_becomes_of_the_users_arrays_changes_no_data_set(images):
    x, y = images
    mine, theirs = x.copy(), x[:5].copy()
    source = data.arrays(mine, y, test=theirs, validation=x[5:9])
    mine[:], theirs[:], before = 0, 0, data.arrays(x, y, test=x[:5], validation=x[5:9])
    assert source.digest == before.digest and source.train.rows.any()
    still = x.copy()
    still.flags.writeable = False
    assert np.shares_memory(data.arrays(still, test=still, validation=still).train.rows, still)


def test_floats_that_numpy_does_not_know_are_floats(images):
    x = np.asarray(images[0] / 255, np.float32)
    half = jnp.asarray(x, jnp.bfloat16)
    np.testing.assert_array_equal(data.arrays(half).train.rows, data.arrays(np.asarray(half, np.float32)).train.rows)


@pytest.mark.slow
def test_each_members_rows_are_told_and_what_the_listener_raises_ends_a_sweep_that_goes_on(tmp_path):
    class Pruned(Exception):
        pass

    told = []

    def prune(member, row):
        told.append((member, row["step"]))
        if row["step"] == 35:
            raise Pruned

    plan = sweep.Plan(configured(), (0, 1), {})
    with pytest.raises(Pruned):
        sweep.sweep(plan, tmp_path / "s", on_row=prune)
    assert {("seed=0", 7), ("seed=1", 7)} < set(told) and told[-1][1] == 35
    swept = sweep.sweep(plan, tmp_path / "s")
    assert (swept.table["outcome"] == "finished").all()
    alone = run.train(configured(seed=1), tmp_path / "alone")
    assert run.final_digest(run.load(tmp_path / "s", member="seed=1")) == run.final_digest(alone)


@pytest.mark.slow
def test_that_colours_are_drawn_as_bits_is_said_where_nobody_asked_for_it(tmp_path, capsys):
    x = np.random.default_rng(0).integers(0, 256, (40, 4, 4, 3), np.uint8)
    source = data.arrays(x)
    run.train(Config(**SIZE), tmp_path / "said", source=source)
    assert "arrays:mine has 3 channels, whose values are drawn as bits (--binarize dynamic)" in capsys.readouterr().err
    run.train(Config(**SIZE, binarize="dynamic"), tmp_path / "asked", source=source)
    run.train(Config(**SIZE, likelihood="gaussian"), tmp_path / "grey", source=source)
    run.train(Config(**SIZE), tmp_path / "digits")
    assert "drawn as bits" not in capsys.readouterr().err
    sweep.sweep(sweep.Plan(Config(**SIZE), (0,), {"method": ("vae", "rae")}), tmp_path / "s", source=source)
    said = capsys.readouterr().err
    assert said.count("drawn as bits") == 1
    assert (
        "pixels are binarised in different ways (dynamic of vae, none of rae): nats and errors of these members" in said
    )


@pytest.mark.slow
def test_a_few_labels_are_enough_for_probes_and_the_classifier(tmp_path, images, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    x, y = images
    some = np.where(np.arange(len(x)) % 2, y, -1)
    made = run.train(Config(**SIZE), tmp_path / "r", source=data.arrays(x, some))
    (found,) = run.evaluate_runs([made], ["probes"])
    known = {split: (made.setup.source.split(split).labels >= 0) for split in ("train", "test")}
    assert found["settings"]["probes"] == {"examples": known["test"].sum(), "fitted": known["train"].sum()}
    codes = {split: artifacts.encode(made, split) for split in ("train", "test")}
    source = dataclasses.replace(made.setup.source, test=Split(x[:9, ..., None], np.full(9, -1)))
    of_run = features.classifier(made.setup.source).space
    monkeypatch.setattr(features, "_train", None)  # is not called again
    assert features.classifier(source).space == of_run
    fitted, tried = ((codes[s]["z"][known[s]], codes[s]["label"][known[s]]) for s in ("train", "test"))
    assert found["linear_probe"] == latents.linear_probe(fitted, tried)["linear_probe"]


@pytest.mark.slow
def test_a_digest_is_of_all_that_is_measured(tmp_path):
    """Averages, and what a loss updates, too; of a run that has neither it is that of the parameters."""
    plain = run.train(Config(**SIZE), tmp_path / "plain")
    assert run.final_digest(plain) == digest({"params": plain.state.variables.params})
    averaged = [run.train(Config(**SIZE, average=rate), tmp_path / f"{rate}") for rate in (0.01, 0.9)]
    assert len({run.final_digest(of) for of in averaged}) == 2
    assert digest(averaged[0].state.variables.params) == digest(averaged[1].state.variables.params)
    decays = [
        run.train(
            Config(**{**SIZE, "steps": 1}, method="vqvae", hyperparameters={"decay": d, "restart": 0.0}),
            tmp_path / f"vq {d}",
        )
        for d in (0.1, 0.9)
    ]
    assert len({run.final_digest(of) for of in decays}) == 2


def test_steps_are_whole():
    for steps in (100.5, "100.5"):
        with pytest.raises(InputError, match=r"steps 100\.5: expected whole steps, epochs \(20e\)"):
            Config(steps=steps)
    assert Config(steps=100.0).steps == 100 and Config(steps="0.5e").steps == "0.5e"


@pytest.mark.slow
def test_what_is_not_there_has_no_history(tmp_path):
    with pytest.raises(InputError, match="no run here"):
        run.history(tmp_path / "nope")
    with pytest.raises(InputError, match="no sweep here"):
        sweep.load(tmp_path / "nope")
    swept = sweep.sweep(sweep.Plan(Config(**SIZE), (0, 1), {}), tmp_path / "s")
    with pytest.raises(InputError, match="holds a sweep of 2 runs: say which: --member seed=0"):
        run.history(tmp_path / "s")
    assert (
        run.history(tmp_path / "s", member="seed=1")["step"].tolist()
        == run.history(swept.folder.member("seed=1").path)["step"].tolist()
    )


def test_the_history_of_a_run_is_a_table_of_its_log(tmp_path):
    of = run.train(Config(**{**SIZE, "steps": 4}, log_every=1, validate_every=2), tmp_path / "run")
    table = run.history(of)
    assert table["step"].tolist() == [1, 2, 3, 4] and table["loss"].notna().all()
    assert table["validation_loss"].notna().tolist() == [False, True, False, True]
    assert run.history(tmp_path / "run").equals(table)


NETS = {
    "its likelihood is none": net()._replace(likelihood=likelihoods.bernoulli),
    "its decoder is no linen module": net()._replace(decoder=Decoder),
    "its encoder is made already": net()._replace(encoder=Tanh(4)),
    "its encoder makes no linen module": net()._replace(encoder=lambda outputs: None),
}


@pytest.mark.parametrize("message", NETS)
def test_a_net_that_is_none_is_told_at_once(digits, message):
    with pytest.raises(InputError, match=f"net: {message}"):
        build(Config(), NETS[message], digits)


class Dropping(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.Dropout(0.5, deterministic=False)(nn.Dense(self.outputs)(x.reshape(len(x), -1)))


class Training(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(self.outputs)(x.reshape(len(x), -1))


class Normed(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm(use_running_average=False)(nn.Dense(self.outputs)(x.reshape(len(x), -1)))


class Undecided(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return nn.BatchNorm()(nn.Dense(self.outputs)(x.reshape(len(x), -1)))


class Pair(nn.Module):
    outputs: int

    @nn.compact
    def __call__(self, x):
        return tuple(jnp.split(nn.Dense(self.outputs)(x.reshape(len(x), -1)), 2, axis=-1))


class Reshaping(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(64)(z).reshape(-1, 28, 28, 1)


class Several(nn.Module):
    @nn.compact
    def __call__(self, z):
        return nn.Dense(64)(z), z


@pytest.mark.parametrize(
    ("decoder", "message"),
    [
        (Reshaping(), r"the decoder \(test_python.py, line \d+\): cannot reshape"),
        (Several(), "the decoder gives a tuple: expected an array of images"),
    ],
)
def test_decoders_that_make_no_images_are_told_in_a_line(digits, decoder, message):
    with pytest.raises(InputError, match=message):
        build(Config(), net()._replace(decoder=decoder), digits)


def test_what_is_no_net_and_no_source_is_told_before_anything_is_asked_of_it(tmp_path, images):
    plan = sweep.Plan(Config(**SIZE), (0,))
    for wrong, said in (({"net": Decoder()}, "net: a Decoder"), ({"source": images[0]}, "source: a ndarray: expected")):
        with pytest.raises(InputError, match=said):
            run.train(Config(**SIZE), tmp_path / "r", **wrong)
        with pytest.raises(InputError, match=said):
            sweep.sweep(plan, tmp_path / "s", **wrong)
    with pytest.raises(InputError, match="source: a tuple: expected data that was read"):
        build(Config(**SIZE), source=images)


def test_settings_of_an_evaluation_are_whole_numbers(trained):
    assert run.evaluate_runs(of for of in [trained]) == [run.evaluate_run(trained)], "also of a generator"
    for name, wrong, said in (
        ("samples", 50.5, "samples 50.5: expected a whole number"),
        ("samples", 50.0, "samples 50.0: expected a whole number"),
        ("samples", 1, "samples 1: expected a whole number from 2 to"),
        ("ais_steps", 2.5, "ais-steps 2.5: expected a whole number"),
        ("drawn", 100.5, "drawn 100.5: expected a whole number"),
        ("seed", 1.5, "seed 1.5: expected a whole number"),
    ):
        with pytest.raises(InputError, match=f"^{re.escape(said)}"):
            run.evaluate_runs([trained], settings=run.Settings(**{name: wrong}))
    with pytest.raises(InputError, match=r"settings \{'samples': 3\}: expected run.Settings"):
        settings.checked({"samples": 3})
    assert run.evaluate_runs([trained], settings=run.Settings(np.int64(4))) == [run.evaluate_run(trained, samples=4)]


@pytest.mark.slow
def test_what_a_loop_of_ones_own_trained_has_a_report_of_its_own(tmp_path):
    setup = build(Config(**SIZE))
    first = run.of(setup, setup.init(), tmp_path / "new" / "by-hand")
    samplers.sample(first, "gaussian", 2)
    assert [file.suffix for file in (tmp_path / "new" / "by-hand" / "samplers").iterdir()] == [".npz"]
    assert report.write_report(first).is_file()
    kept = run.store(first, run.evaluate_run(first, samples=4))
    assert "has not been evaluated yet" not in report.write_report(first).read_text()
    other = build(dataclasses.replace(setup.config, seed=1))
    text = report.write_report(run.of(other, other.init(), tmp_path / "new" / "by-hand")).read_text()
    assert "has not been evaluated yet" in text and f"{kept['nll']:.3f}" not in text
    stacked = jax.tree.map(lambda leaf: np.stack([leaf, leaf]), setup.init())
    for wrong in ((setup, stacked), (setup.config, setup.init())):
        with pytest.raises(InputError, match="of several stacked, one at a time"):
            run.of(*wrong)


@pytest.mark.slow
def test_one_net_has_one_name_whatever_the_method_asks_of_it(tmp_path, digits):
    whole = sweep.sweep(
        sweep.Plan(Config(steps=2, batch_size=64, samples=2), (0,), {"method": ("vae", "ae")}),
        tmp_path / "s",
        net=net(),
    )
    assert "network" not in whole.table and set(whole.table["method"]) == {"vae", "ae"}


class Reading(nn.Module):
    """Of codes and labels alone: no code of the latent's size is one."""

    width: int = 8

    @nn.compact
    def __call__(self, z):
        return nn.Dense(64)(nn.tanh(nn.Dense(self.width)(z.reshape(-1, 12)))).reshape(-1, 8, 8, 1)


@pytest.mark.slow
def test_nets_of_other_sizes_have_other_names_also_where_they_cannot_be_asked(tmp_path):
    for seed, width in enumerate((8, 32)):

        class Hidden(nn.Module):
            @nn.compact
            def __call__(self, z, width=width):
                return Reading(width)(z)

        of = run.train(
            Config(method="cvae", steps=2, batch_size=64, seed=seed),
            tmp_path / str(seed),
            net=net()._replace(decoder=Hidden()),
        )
        run.store(of, run.evaluate_run(of, samples=2))
    assert len(compare.compare(compare.table([tmp_path / "0", tmp_path / "1"])).settings) == 2


def test_masks_flags_and_stacks_of_channels_are_no_images(images, caplog):
    x, _ = images
    for wrong, said in (
        ({"x": np.ma.masked_array(x, x > 3)}, "train: a masked array"),
        ({"x": x, "test": True}, "test True: expected arrays, or how many"),
        ({"x": x, "test": [x[:4], np.zeros(4)]}, "test: a list of arrays of other shapes"),
        ({"x": [np.ma.masked_array(each, each > 3) for each in x]}, "train: a masked array"),
    ):
        with pytest.raises(InputError, match=said):
            data.arrays(**wrong)
    grey = np.linspace(0.3, 0.7, 100)[:, None, None, None]  # no image twice
    assert data.arrays(grey + np.zeros((100, 8, 8, 64))).shape == (8, 8, 64) and not caplog.text
    assert data.arrays(grey + np.zeros((100, 5, 16, 16))).shape == (5, 16, 16)
    assert "read as images of 5 x 16 with 16 channels, which come last: transpose(0, 2, 3, 1) where" in caplog.text


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            Dropping,
            r'the encoder \(test_python.py, line \d+\): Dropout_0 needs PRNG for "dropout": expected a module that',
        ),
        (Training, "the encoder.*missing 1 required positional argument: 'train': expected a module that takes one"),
        (Undecided, r"the encoder \(test_python.py, line \d+\): .*use_running_average"),
        (Pair, r"the encoder gives a tuple in place of outputs of one image: expected \[1, 4\], as it was made for"),
        (nn.Dense, r"the encoder gives shape \[1, 8, 8, 4\] of one image: expected \[1, 4\], as it was made for"),
        (Normed, "the network keeps batch_stats: expected params alone, as LayerNorm and GroupNorm have"),
    ],
)
def test_modules_that_keep_or_take_more_than_parameters_are_told_what_to_use(digits, encoder, message):
    with pytest.raises(InputError, match=message):
        build(Config(), net(encoder), digits)


def test_a_latent_that_the_net_contradicts_is_refused(digits):
    with pytest.raises(InputError, match="latent 3: the net's is 2"):
        build(Config(latent=3), net(), digits)


def test_entries_with_an_optimiser_of_their_own_are_there():
    params = {"encoder": jnp.ones(2), "critic": jnp.ones(2)}
    with pytest.raises(InputError, match=r"optimiser of its own 'crittic'.*critic"):
        optim.make("adam", 1e-3, own={"crittic": {"learning_rate": 0.0}}).init(params)
    with pytest.raises(InputError, match="setting of an optimiser 'lr'"):
        optim.make("adam", 1e-3, own={"critic": {"lr": 0.0}})
    assert jax.tree.leaves(optim.make("adam", 1e-3, own={"critic": {"learning_rate": 0.0}}).init(params))


def test_data_that_was_moved_is_named_and_may_be_named_anew(tmp_path, images):
    np.savez(tmp_path / "mine.npz", x=images[0])
    made = run.train(Config(data=str(tmp_path / "mine.npz"), **SIZE), tmp_path / "r")
    (tmp_path / "lib").mkdir()
    (tmp_path / "mine.npz").rename(tmp_path / "lib" / "mine.npz")
    with pytest.raises(
        InputError, match=r"r/config\.json names the data .*/mine\.npz, which is not there: put it back"
    ):
        run.load(tmp_path / "r")
    there = data.load(str(tmp_path / "lib" / "mine.npz"))
    assert run.final_digest(run.load(tmp_path / "r", source=there)) == run.final_digest(made)
    with pytest.raises(InputError, match="its digest differs"):
        run.load(tmp_path / "r", source=data.arrays(images[0][:-1]))
    text = made.folder.config_file.read_text()
    made.folder.config_file.write_text(text.replace("/mine.npz", "/lib/mine.npz"))
    assert run.final_digest(run.load(tmp_path / "r")) == run.final_digest(made)


def test_what_is_made_of_a_run_goes_to_no_folder_that_it_has_left(tmp_path, capsys):
    made = run.train(Config(**SIZE), tmp_path / "r")
    measures = run.evaluate_run(made, samples=2)
    (tmp_path / "r").rename(tmp_path / "moved")
    for keep in (lambda: run.store(made, measures), lambda: report.write_report(made, measures)):
        with pytest.raises(InputError, match="r: the run is no longer there: load it from where it is now"):
            keep()
    draw.sample(made, "gaussian", 2)
    assert "the fit is not kept" in capsys.readouterr().err and not (tmp_path / "r").exists()


def test_two_that_keep_their_measures_at_once_lose_none(tmp_path):
    made = run.train(Config(**SIZE), tmp_path / "r")
    common = {name: run.evaluate_run(made, samples=2)[name] for name in ("step", "split", "digest", "evaluation_seed")}

    def keep(name):
        for number in range(20):
            run.store(made, {**common, f"{name}{number}": 1.0})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(keep, "abcd"))
    assert {f"{name}{number}" for name in "abcd" for number in range(20)} <= made.folder.evaluation().keys()


def test_a_nan_that_jax_is_asked_to_find_is_told_by_jax(tmp_path):
    wild = Config(**SIZE | {"steps": 10, "optimizer": "sgd", "learning_rate": 1e8})
    with jax.debug_nans(True), pytest.raises(FloatingPointError, match="nan"):
        run.train(wild, tmp_path / "r")


@pytest.mark.slow
def test_codes_and_scores_say_which_row_of_the_data_they_are_of(tmp_path, images):
    x, y = images
    made = run.train(Config(**SIZE), tmp_path / "r", source=data.arrays(x, y))
    for split in ("train", "validation", "test"):
        of = artifacts.encode(made, split)
        np.testing.assert_array_equal(made.setup.source.split(split).rows[of["index"], ..., 0], x[of["row"]])
        np.testing.assert_array_equal(run.scores(made, split)["label"], y[run.scores(made, split)["row"]])
    few = artifacts.encode(made, count=3)
    np.testing.assert_array_equal(few["row"], artifacts.encode(made)["row"][few["index"]])
    assert run.scores(run.on(made, x[:4]))["row"].tolist() == [0, 1, 2, 3]


@pytest.mark.slow
def test_each_row_is_told_and_what_the_listener_raises_ends_a_run_that_goes_on(tmp_path):
    class Pruned(Exception):
        pass

    def prune(row):
        rows.append(row)
        if row["step"] >= 35:
            raise Pruned

    rows: list[dict] = []
    whole = run.train(configured(), tmp_path / "whole", on_row=rows.append)
    assert rows == log.read(whole.folder.metrics_file)
    assert {"loss", "learning_rate"} < set(rows[0]) and any("validation_loss" in row for row in rows)
    rows.clear()
    with pytest.raises(Pruned):
        run.train(configured(), tmp_path / "pruned", on_row=prune)
    assert rows[-1]["step"] == 35
    again = run.train(configured(), tmp_path / "pruned")
    assert run.final_digest(again) == run.final_digest(whole)
    mine = run.history(again).drop(columns="examples_per_second")
    pandas.testing.assert_frame_equal(mine, run.history(whole).drop(columns="examples_per_second"))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda of: inspect.unwrap(run.evaluate_run)(of.folder.path), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(run.scores)(of.folder.path), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(run.final_digest)(of.folder.path), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(draw.fit)(of.folder.path), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(draw.sample)(of.folder.path), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(samplers.evaluate)(of.folder.path), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(run.evaluate_runs)(None), "expected a list of at least one"),
        (lambda of: run.train(of.setup.config, of.folder.path, on_row=3), "on_row 3: expected a function of a row"),
        (
            lambda of: sweep.sweep(sweep.Plan(Config(), (0,), {}), of.folder.path / "s", on_row="x"),
            "on_row 'x': expected",
        ),
        (lambda of: inspect.unwrap(run.on)(of.folder.path, None), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(artifacts.sample)(of.folder.path), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(make.latent_size)(of.folder.path), "expected a run, which run.load gives"),
        (lambda of: inspect.unwrap(pieces.view_of)(of.folder.path, "test", 0), "expected a run, which run.load gives"),
        (
            lambda of: inspect.unwrap(metrics.measures)([len], run.bench(of.setup)),
            r"metrics <built-in .*: expected one of all, likelihood, .*path/to/measures.py:sharpness",
        ),
        (lambda of: inspect.unwrap(metrics.measures)(len, run.bench(of.setup)), "metrics <built-in .*: expected one"),
        (lambda of: run.evaluate_runs([of], settings=run.Settings(features=len)), "features <built-in .* classifier"),
        (lambda of: inspect.unwrap(run.bench)(of.setup, "test", {"samples": 5}), "settings .*: expected run.Settings"),
        (lambda of: inspect.unwrap(run.store)(of, [{}]), "measures: expected those of one run"),
        (lambda of: Config(seed=jax.random.key(0)), "seed .*: expected a whole number"),
        (lambda of: run.train({"steps": 3}), "config .*: expected a jaxae.Config"),
        (lambda of: report.write_report(of, "x.html"), "evaluation 'x.html': expected what evaluate_run gives"),
        (
            lambda of: run.on(of, np.zeros((2, 8, 8), np.float32)),
            r"expected one dtype: np.rint\(255 \* x\).astype\(np.uint8\)",
        ),
    ],
)
def test_a_slip_is_one_line(trained, call, said):
    with pytest.raises(InputError, match=said) as error:
        call(trained)
    assert "\n" not in str(error.value)


def test_what_a_setup_keeps_belongs_to_no_trace_that_asks_first():
    config = Config(**SIZE)
    usual, traced = build(config), build(config)
    jax.eval_shape(traced.init)
    assert digest(jax.jit(traced.init)()) == digest(usual.init())
    assert digest(traced.init()) == digest(usual.init())
    jax.jit(lambda: traced.batch_at(0).x.sum())()
    np.testing.assert_array_equal(traced.batch_at(1).x, usual.batch_at(1).x)


@pytest.mark.slow
def test_a_sweep_of_ones_own_net_that_is_read_without_it_is_not_advised_to_remove_anything(tmp_path):
    size = {name: value for name, value in SIZE.items() if name != "width"}
    sweep.sweep(sweep.Plan(Config(**size), (0, 1)), tmp_path / "s", net=net())
    with pytest.raises(InputError, match=r"expected their net=, or another folder$"):
        sweep.load(tmp_path / "s").groups()
