"""The groups of measures on a bench: what is possible for whom, against closed forms, alone and side by side."""

import dataclasses
import json
import re
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import small

from jaxae import methods, sphere
from jaxae.data import pixels
from jaxae.data.source import Source, Split
from jaxae.data.view import View
from jaxae.errors import InputError
from jaxae.evaluate import latents, measures, metrics
from jaxae.evaluate.bench import Bench, Model, Settings
from jaxae.methods.svae import direction
from jaxae.names import METRICS
from jaxae.types import Variables

N, SHAPE, LATENT = 60, (4, 4, 1), 4
EVERY = list(methods.entries())
SETTINGS = Settings(samples=8, ais_examples=4, ais_chains=4, ais_steps=10, features="pixels")


@cache
def source():
    """Bright images of class 1, dark ones of class 0."""
    rng = np.random.default_rng(0)

    def split():
        label = np.arange(N) % 2
        rows = (rng.random((N, *SHAPE)) < 0.2 + 0.6 * label[:, None, None, None]).astype(np.float32)
        return Split(rows, label.astype(np.int32))

    return Source("made", SHAPE, split(), split(), split(), about="noise")


def bench(name="vae", lanes="map", block=2, likelihood="bernoulli", of=None, split="test", **hyperparameters):
    of = of or source()

    def view(split):
        return View(of.split(split), pixels.make("none"), jax.random.key(3), 25)

    def make(numbers):
        return small.method(name, likelihood, LATENT, SHAPE, **{**hyperparameters, **numbers})

    return Bench(name, make, of, view, split, settings=SETTINGS, lanes=lanes, block=block)


def models(of, count=3):
    first = of.view("test").take(np.arange(12))
    return [Model({}, small.variables(of.method, first, seed), 5) for seed in range(count)]


def measured(names, of, models):
    found = [{} for _ in models]
    for part in metrics.measures(names, of)(models):
        found = [measures.merged(*both) for both in zip(found, part)]
    return found


@pytest.mark.parametrize("name", EVERY)
def test_a_group_is_possible_where_the_method_has_what_it_needs(name):
    of = bench(name)
    method = of.method
    lacks = {
        "decomposition": method.posterior is None or method.generative is None,
        "ais": method.generative is None,
        "codebook": method.discrete is None,
        "disentanglement": True,  # the data has no factors
        "samples": method.sample is None,
    }
    for group in METRICS:
        if lacks.get(group, False):
            with pytest.raises(InputError):
                metrics.measures([group], of)
        else:
            metrics.measures([group], of)
    metrics.measures(["all"], of)  # leaves out the others


def test_every_group_has_its_function():
    assert tuple(metrics.GROUPS) == METRICS


def test_a_wrong_name_is_answered_with_the_right_one():
    with pytest.raises(InputError, match="unknown metrics 'latent': did you mean 'latents'"):
        metrics.measures(["latent"], bench())


@cache
def alone():
    of = bench()
    return measured(["all"], of, models(of))


def test_all_of_a_vae_has_every_number_and_each_is_finite():
    for found in alone():
        numbers = {name: value for name, value in found.items() if name not in ("notes", "settings", "kl_of_units")}
        assert found["notes"]["codebook"][0].startswith("not measured: vae has no finite latent space")
        wanted = (
            "elbo",
            "nll",
            "ais_nll",
            "active_units",
            "mutual_information",
            "linear_probe",
            "frechet",
            "precision",
        )
        assert set(wanted) <= set(numbers)
        assert all(np.isfinite(value) for value in numbers.values())
        assert found["settings"]["samples"]["feature_space"].startswith("the pixels themselves")


@pytest.mark.slow
def test_models_side_by_side_are_measured_as_alone():
    """Three models in blocks of two: the last block is filled up, and what fills it is not counted."""
    of = bench(lanes="vmap")
    beside = measured(["all"], of, models(of))
    assert len(beside) == 3
    for one, other in zip(beside, alone()):
        numbers = [name for name, value in other.items() if isinstance(value, float)]
        small.assert_close(*({n: found[n] for n in numbers} for found in (one, other)), rtol=2e-3, atol=2e-3)


def test_models_differ_and_share_their_noise():
    """The same parameters give the same numbers; other parameters others."""
    of = bench()
    first = models(of, 1)[0]
    one, again = measured(["likelihood", "ais"], of, [first, first])
    assert one == again
    assert one["nll"] != alone()[1]["nll"]


@pytest.mark.slow
def test_annealing_stands_beside_importance_samples_of_the_same_images():
    """Of all images both are the likelihood's own; of some, the likelihood of these."""
    of = bench()
    whole = dataclasses.replace(of, settings=SETTINGS._replace(ais_examples=10**6))
    (all_of,) = measured(["likelihood", "ais"], whole, models(of, 1))
    assert all_of["ais_importance_nll"] == pytest.approx(all_of["nll"], rel=1e-5)
    assert all_of["ais_importance_nll_mc_se"] == pytest.approx(all_of["nll_mc_se"], rel=1e-4)
    (some,) = measured(["ais"], of, models(of, 1))
    assert some["ais_importance_nll"] != all_of["ais_importance_nll"]
    less = some["ais_importance_nll"] - some["ais_nll"]
    assert (
        f"the same 4 images have {some['ais_importance_nll']:.3f} nats by 8 importance samples"
        in some["notes"]["ais"][0]
    )
    assert f"annealing finds {abs(less):.3f} nats (standard error " in some["notes"]["ais"][0]
    assert re.search(r"\) less$" if less >= 0 else r"\) more(: its chains are too short)?$", some["notes"]["ais"][0])


def test_the_error_of_short_chains_is_more_than_a_nat_an_image():
    """By the delta method it could not be."""
    of = bench(likelihood="gaussian")
    of = dataclasses.replace(of, settings=SETTINGS._replace(ais_steps=1, ais_chains=2))
    (found,) = measured(["ais"], of, models(of, 1))
    assert found["ais_nll_mc_se"] > 2 / np.sqrt(found["settings"]["ais"]["examples"])


def test_the_kl_is_its_parts_within_their_errors():
    found = alone()[0]
    parts = found["mutual_information"] + found["aggregated_kl"]
    assert parts == pytest.approx(found["kl"], abs=4 * found["mutual_information_mc_se"] + 0.02)
    whole = found["total_correlation"] + found["dimension_wise_kl"]
    assert whole == pytest.approx(found["aggregated_kl"], abs=1e-5)


def test_too_few_samples_are_warned_of():
    """An encoder that knows nothing of a peaked posterior: few of eight samples count."""
    of = bench(likelihood="gaussian")
    warned = measured(["likelihood"], of, models(of, 1))[0]
    assert "8 importance samples are too few" in warned["notes"]["likelihood"][0]
    assert warned["nll_bias"] > 0.05
    first = models(of, 1)[0]
    nothing = first._replace(variables=jax.tree.map(jnp.zeros_like, first.variables))  # q is the posterior: the prior
    certain = measured(["likelihood"], of, [nothing])[0]
    assert certain["nll_bias"] < 1e-6 and certain["notes"]["likelihood"] == []


@pytest.mark.slow
@pytest.mark.parametrize("lanes", ["map", "vmap"])
def test_a_model_that_makes_no_finite_number_loses_none_of_anothers(lanes):
    of = bench(lanes=lanes)
    whole, other = models(of, 2)
    broken = other._replace(variables=jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), other.variables))
    of_broken, of_whole = measured(["all"], of, [broken, whole])
    json.dumps([of_broken, of_whole], allow_nan=False)
    assert of_broken["nll"] is None and of_broken["mutual_information"] is None
    assert of_broken["notes"]["likelihood"][-1].startswith("not finite: elbo, nll")
    assert of_broken["notes"]["probes"] == of_broken["notes"]["samples"]
    assert of_broken["notes"]["probes"] == ["what the model makes is not finite: nothing to measure"]
    for name in ("nll", "linear_probe", "frechet"):
        assert of_whole[name] == pytest.approx(alone()[0][name], rel=2e-3)


def test_what_the_data_does_not_allow_is_left_out_and_the_rest_measured():
    def cut(split):
        return Split(split.rows[:20], np.zeros(20, np.int32))

    of = bench(of=Source("few", SHAPE, *map(cut, (source().train, source().validation, source().test)), about="few"))
    found = measured(["all"], of, models(of, 1))[0]
    assert found["nll"] is not None and "linear_probe" not in found and "frechet" not in found
    assert "one label alone" in found["notes"]["probes"][0]
    assert "fewer than 30 images" in found["notes"]["samples"][0]
    for group, words in {"probes": "one label alone", "samples": "fewer than 30 images"}.items():
        with pytest.raises(InputError, match=words):
            metrics.measures([group], of)


def test_the_training_split_is_not_measured_against_itself():
    of = bench(split="train")
    with pytest.raises(InputError, match="split train are fitted to it"):
        metrics.measures(["probes"], of)
    assert measured(["samples"], of, models(of, 1))[0]["frechet_floor"] > 0.01


def test_one_sample_has_no_error_and_is_refused():
    for group, few in {"likelihood": Settings(samples=1), "ais": Settings(ais_chains=1)}.items():
        with pytest.raises(InputError, match="1: expected a whole number from 2 to"):
            metrics.measures([group], dataclasses.replace(bench(), settings=few))


def test_no_batch_of_a_view_has_an_example_twice():
    for only, sizes in ((None, [25, 25, 25]), (np.arange(7), [7])):
        view = View(source().test, pixels.make("none"), jax.random.key(3), 25, only)
        found = [np.asarray(batch.index) for batch in view.batches()]
        assert [len(index) for index in found] == sizes
        assert all(len(set(index.tolist())) == len(index) for index in found)


def test_active_units_of_a_spherical_code_are_those_of_its_mean():
    """A(kappa) mu, which hardly moves where kappa is small, however mu does."""
    of = bench("svae")
    model = models(of, 1)[0]
    found = measured(["latents"], of, [model])[0]
    mean = of.view("test").map(lambda batch: _mean_of_svae(model.variables, batch))
    assert found["active_units"] == int(np.sum(mean.var(axis=0) > 0.01))
    told = float(found["notes"]["latents"][0].split()[-4])
    kl = small.jit(lambda batch: sphere.kl_to_uniform(_of_svae(model.variables, batch)[1], LATENT))
    assert told == pytest.approx(of.view("test").map(kl).mean(), abs=0.3)


@small.one_program
def _of_svae(variables, batch):
    """(mu, kappa)"""
    out = small.Encoder(LATENT + 1).apply({"params": variables.params["encoder"]}, batch.x)
    return direction(out[:, :LATENT]), 1 + jax.nn.softplus(out[:, LATENT])


def _mean_of_svae(variables, batch):
    mu, kappa = _of_svae(variables, batch)
    return scipy.special.ive(LATENT / 2, kappa)[:, None] / scipy.special.ive(LATENT / 2 - 1, kappa)[:, None] * mu


def test_a_posterior_that_is_its_prior_has_collapsed_whatever_its_form():
    for name in ("vampprior", "mog_prior"):
        of = bench(name)
        still = jax.tree.map(jnp.zeros_like, models(of, 1)[0].variables)
        said = measured(["latents"], of, [Model({}, still, 5)])[0]["notes"]["latents"][0]
        assert said.startswith("posterior collapse: the code of"), (name, said)


def test_a_probe_reads_no_label_that_the_encoder_was_told(monkeypatch):
    of = bench("cvae")
    model, seen = models(of, 1)[0], []
    monkeypatch.setattr(latents, "linear_probe", lambda train, test: seen.append(test[0]) or {})
    found = measured(["probes"], of, [model])[0]
    none = jnp.full(25, -1, jnp.int32)
    untold = of.view("test").map(lambda batch: of.method.embed(model.variables, batch._replace(label=none)))
    np.testing.assert_allclose(seen[0], untold, rtol=1e-5, atol=1e-6)
    assert found["notes"]["probes"] == ["codes of the encoder at no label"]
    broken = Model({}, jax.tree.map(lambda leaf: leaf * jnp.nan, model.variables), 5)
    nothing, untold_of = measured(["probes"], of, [broken])[0]["notes"]["probes"]
    assert "not finite" in nothing and untold_of == "codes of the encoder at no label"
    likely = measured(["likelihood"], of, [model])[0]
    assert likely["settings"]["likelihood"] == {"density_of": "p(x | label)"}


def test_discrete_codes_are_counted():
    of = bench("vqvae", dim=2, codebook=4)
    found = measured(["codebook"], of, models(of, 1))[0]
    codes = of.view("test").map(lambda batch: of.method.discrete.encode(models(of, 1)[0].variables, batch))
    assert found["codebook_use"] == len(np.unique(codes)) / 4
    assert found["notes"]["codebook"] == []
    of = bench("vqvae", dim=2, codebook=64)
    assert (
        "codes tell little of a codebook of 64" in measured(["codebook"], of, models(of, 1))[0]["notes"]["codebook"][0]
    )


def test_a_part_of_a_view_keeps_each_examples_pixels_and_keys():
    whole = View(source().test, pixels.make("dynamic"), jax.random.key(3), 25)
    part = whole.spread(7)
    every = whole.map(lambda batch: batch.x)
    assert part.only.tolist() == [0, 10, 20, 30, 39, 49, 59]
    np.testing.assert_array_equal(part.map(lambda batch: batch.x), every[part.only])
    np.testing.assert_array_equal(part.labels, source().test.labels[part.only])
    keys = whole.map(lambda batch: jax.random.key_data(whole.keys(batch, "noise")))
    np.testing.assert_array_equal(
        part.map(lambda batch: jax.random.key_data(part.keys(batch, "noise"))), keys[part.only]
    )


@pytest.mark.slow
def test_codes_that_are_the_factors_are_scored_as_such():
    """The whole grid is looked up by its factors, which take different numbers of values."""
    sizes = (4, 3, 2)
    grid = np.indices(sizes, dtype=np.uint8).reshape(3, -1).T

    def decode(rows):
        shares = rows.astype(jnp.float32) / jnp.asarray(sizes, jnp.float32)[None]
        return jnp.zeros((len(rows), *SHAPE)).at[:, 0, :3, 0].set(shares)

    part = Split(grid, np.full(len(grid), -1, np.int32), grid.astype(np.int32))
    made = Source(
        "made", SHAPE, part, part, part, about="a grid", factor_names=("a", "b", "c"), factor_sizes=sizes, decode=decode
    )
    plain = bench("ae", of=made, likelihood="gaussian")

    def method(numbers):
        return plain.make(numbers)._replace(embed=lambda variables, batch: batch.x[:, 0, :3, 0])

    def view(split):
        return View(made.split(split), pixels.make("none", decode), jax.random.key(3), 10)

    of = dataclasses.replace(plain, make=method, view=view)
    (found,) = measured(["disentanglement"], of, [Model({}, Variables({}, ()), 5)])
    for name in ("beta_vae_score", "factor_vae_score", "mig", "dci_disentanglement", "modularity", "irs"):
        assert found[name] == pytest.approx(1.0, abs=0.03), name
    assert found["notes"]["disentanglement"][0].startswith("disentanglement is of every combination of the factors")
