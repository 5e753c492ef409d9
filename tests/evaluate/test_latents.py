"""Diagnosis in words, probes and codebook counts, on codes whose answer is known."""

import numpy as np
import pytest

from jaxae import run
from jaxae.evaluate import latents
from jaxae.evaluate.units import units
from tests import made

RNG = np.random.default_rng(0)
COUNT = 400


def gaussian(*spreads):
    """Codes whose unit j has posterior means of standard deviation `spreads[j]`, and the variance that makes the
    aggregate N(0, 1)."""
    spreads = np.array(spreads)
    mean = spreads * np.sign(RNG.normal(size=(COUNT, len(spreads))))
    return units({"z": mean, "mean": mean, "log_var": np.log(np.broadcast_to(1 - spreads**2, mean.shape))})


@pytest.mark.parametrize(
    ("spreads", "said"),
    [
        ((0.0, 0.0), "posterior collapse: all 2 latent units have gone back to the prior"),
        ((0.9, 0.0, 0.8), "1 of 3 latent units has gone back to the prior (KL below 0.01 nats), which tells nothing"),
        ((0.9, 0.8), "no collapse: all 2 latent units are in use"),
        ((0.0,), "posterior collapse: the one latent unit has gone back to the prior"),
        ((0.8,), "no collapse: the one latent unit is in use"),
        ((0.0, 0.0, 0.8), "2 of 3 latent units have gone back"),
    ],
)
def test_the_diagnosis_of_posteriors(spreads, said):
    assert latents.diagnosis(gaussian(*spreads)).startswith(said)


def test_a_unit_that_costs_nats_and_hardly_moves_is_named():
    mean = np.stack([np.full(COUNT, 2.0), RNG.normal(size=COUNT)], axis=1)  # far from the prior, the same for all
    of = units({"z": mean, "mean": mean, "log_var": np.full_like(mean, -1.0)})
    assert "1 of 2 latent units hardly moves" in latents.diagnosis(of)


@pytest.mark.parametrize(
    ("z", "said"),
    [
        (np.zeros((COUNT, 3)), "collapsed: the code of 3 latent units is the same for every example"),
        (RNG.normal(size=(COUNT, 3)) * [1, 1, 0.01], "1 of 3 latent units varies less than a hundredth"),
        (RNG.normal(size=(COUNT, 3)) * 1e-5, "no collapse: all 3 latent units vary"),
        (
            np.array([1000, 0, 0]) + RNG.normal(size=(COUNT, 3)) * [0, 1e-4, 1e-4],
            "1 of 3 latent units varies less than",
        ),
        (1000 + RNG.normal(size=(COUNT, 3)) * 1e-5, "collapsed: the code of 3 latent units is the same"),
    ],
)
def test_the_diagnosis_of_codes_without_a_prior_is_one_of_scale_alone(z, said):
    assert latents.diagnosis(units({"z": z})).startswith(said)


def test_means_that_are_equal_have_collapsed_under_any_prior():
    still = {"z": np.ones((COUNT, 2)), "mean": np.ones((COUNT, 2)), "log_var": np.zeros((COUNT, 2))}
    rounded = {**still, "mean": 1000 + 1e-5 * RNG.normal(size=(COUNT, 2))}
    for codes, standard in ((still, True), (still, False), (rounded, True), (rounded, False)):
        said = latents.diagnosis(units(codes, standard_prior=standard))
        mean = "the mean of " if standard else ""  # the variances may still tell something
        assert said == f"collapsed: {mean}the code of 2 latent units is the same for every example"


def test_units_that_hardly_move_are_counted_beside_those_that_have_gone_back():
    mean = np.stack([np.full(COUNT, 2.0), np.zeros(COUNT), RNG.normal(size=COUNT)], axis=1)
    log_var = np.broadcast_to([-1.0, 0.0, -1.0], mean.shape)
    said = latents.diagnosis(units({"z": mean, "mean": mean, "log_var": log_var}))
    assert said.startswith("1 of 3 latent units has gone back") and "; 1 more hardly moves with the example" in said


def test_draws_of_a_posterior_tell_how_its_mean_moves():
    """E_q[z] of standard deviation 0, 0.05 and 1 over the data, under scatter of 1: without the bias of 1 / k."""
    spread = np.array([0.0, 0.05, 1.0])
    mean = spread * RNG.normal(size=(4000, 3))
    draws = mean[:, None] + RNG.normal(size=(4000, 16, 3))
    of = units({"z": np.ones((4000, 3)), "draws": draws})
    np.testing.assert_allclose(of.variance, mean.var(axis=0), rtol=0.02, atol=0.004)
    np.testing.assert_allclose(of.sd, np.sqrt(mean.var(axis=0) + 1), rtol=0.01)
    assert of.active == 1 and of.kl is None and of.order.tolist() == [2, 1, 0]


@pytest.mark.parametrize("sd", [1.0, 5.0])
def test_draws_of_a_posterior_that_tells_nothing_make_no_unit_active(sd):
    """However wide it is, and few the examples: an estimate of zero is not above 0.01 by chance."""
    draws = sd * RNG.normal(size=(60, 16, 400))
    of = units({"z": np.ones((60, 400)), "draws": draws})
    assert of.variance.std() > (0.004 if sd == 1 else 0.1) and of.active <= 1
    told = units({"z": np.ones((60, 400)), "draws": draws + 3 * sd * RNG.normal(size=(60, 1, 400))})
    assert told.active == 400


def test_chance_is_that_of_examples_of_all_widths():
    """Var_x(E_q[z]) is 0 for every unit; widths of q(z|x) differ, and the wide ones decide how well that is known."""
    wide = np.exp(RNG.normal(size=(2000, 1, 300)))
    of = units({"z": np.ones((2000, 300)), "draws": wide * RNG.normal(size=(2000, 16, 300))})
    assert np.mean(of.variance > 0.01) > 0.1 and of.active <= 6
    often = RNG.normal(size=(400, 50, 16, 30)) * np.exp(0.5 * RNG.normal(size=(400, 50, 1, 30)))
    every = [units({"z": np.ones((50, 30)), "draws": draws}) for draws in often]
    mean_of_16 = often.mean(axis=2).var(axis=1) - often.var(axis=2, ddof=1).mean(axis=1) / 16
    stated = np.sqrt(np.mean(np.square([of.noise for of in every])))
    assert stated == pytest.approx(mean_of_16.std(), rel=0.04)  # of 50 examples 2 % less


@pytest.mark.parametrize(
    ("told", "said"),
    [
        (0.03, "posterior collapse: the code of 2 latent units tells 0.030 nats an example, next to nothing"),
        (-0.001, "posterior collapse: the code of 2 latent units tells 0.000 nats"),
        (3.5, "no collapse: the code of 2 latent units tells 3.50 nats an example"),
    ],
)
def test_a_code_whose_units_have_no_kl_is_judged_by_its_own(told, said):
    of = units({"z": RNG.normal(size=(COUNT, 2)) * [1, 0.01]})
    assert latents.diagnosis(of, told).startswith(said)


def classes(far):
    """Two classes on a line, `far` standard deviations apart."""
    label = np.arange(2 * COUNT) % 2
    return far * label[:, None] + RNG.normal(size=(2 * COUNT, 1)), label


def test_the_probe_reaches_the_best_a_line_can():
    """Two unit Gaussians 2 apart: the best accuracy is Phi(1) = 0.841."""
    found = latents.linear_probe(classes(2.0), classes(2.0))
    assert found["linear_probe"] == pytest.approx(0.8413, abs=3 * found["linear_probe_se"])
    assert found["linear_probe_se"] == pytest.approx(np.sqrt(0.8413 * 0.1587 / (2 * COUNT)), rel=0.1)


def test_what_no_line_parts_its_neighbours_do():
    """A class between two parts of the other."""
    z = RNG.uniform(-3, 3, (2 * COUNT, 1))
    both = z, (np.abs(z[:, 0]) > 1.5).astype(int)
    assert latents.linear_probe(both, both)["linear_probe"] < 0.65
    assert latents.nearest_neighbours(both, both)["nearest_neighbours"] > 0.97


def test_a_probe_that_is_always_right_has_the_error_of_half_an_example():
    found = latents.nearest_neighbours(classes(50.0), classes(50.0))
    assert found == {"nearest_neighbours": 1.0, "nearest_neighbours_se": 0.5 / (2 * COUNT)}


def test_use_and_perplexity_of_a_codebook():
    """Position 0 uses codes 0 and 1 alike, position 1 code 2 alone: together 1/4, 1/4, 1/2 of 8."""
    codes = np.stack([np.arange(COUNT) % 2, np.full(COUNT, 2)], axis=1)
    found = latents.codebook_use(codes, 8)
    assert found["codebook_use"] == 3 / 8 and found["position_use"] == (2 / 8 + 1 / 8) / 2
    assert found["codebook_use_expected"] == pytest.approx(1, abs=1e-9)
    large = latents.codebook_use(codes, 2**31 - 1)  # the codes decide what it takes
    assert large["codebook_use"] == 3 / (2**31 - 1) and large["codebook_perplexity"] == found["codebook_perplexity"]
    assert latents.codebook_use(codes[:2], 8)["codebook_use_expected"] == pytest.approx(1 - (7 / 8) ** 4)
    assert found["codebook_perplexity"] == pytest.approx(np.exp(0.5 * np.log(4) + 0.5 * np.log(2)))
    assert found["position_perplexity"] == pytest.approx((2 + 1) / 2)


def test_of_one_example_no_unit_is_called_active_or_not(tmp_path):
    of = run.on(made.trained(tmp_path / "r"), np.zeros((1, 4, 5, 1), np.uint8))
    (found,) = run.evaluate_runs([of], ["latents"])
    assert found["active_units"] is None and len(found["kl_of_units"]) == 2
    assert found["notes"]["latents"] == ["of one example: which units vary over examples is not known"]
