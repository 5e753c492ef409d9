"""The lesson's measures by value, on latent spaces whose holes are known; and the whole of it, in small."""

import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from experiments import latent_continuity
from experiments.continuity import claims, classifier, figures, measures, models
from experiments.continuity.measures import Images, Model
from jaxae import cli, run
from jaxae.build import build
from jaxae.config import Config

pytestmark = pytest.mark.optimised


def line(t):
    """Images of 1 x 2 pixels on the straight line (t, 1 - t)."""
    return np.stack([t, 1 - t], axis=-1).reshape(-1, 1, 2, 1)


def perfect():
    """The autoencoder that has that line for its manifold; its second unit is the distance from it."""

    def encode(x):
        return np.stack([x[:, 0, 0, 0], x[:, 0].sum(axis=(1, 2)) - 1], axis=1)

    def decode(z):
        return line(z[:, 0]) + z[:, 1, None, None, None] * np.array([0.0, 1.0]).reshape(1, 1, 2, 1)

    return Model(encode, decode, lambda rng, x: encode(x))


@pytest.fixture(scope="module")
def images():
    t = np.linspace(0, 1, 201)
    return Images(line(np.linspace(0, 1, 2001)), line(t), (t > 0.5).astype(np.int32))


def sure_of_all(x):
    return np.tile([0.95, 0.05], (len(x), 1))


def test_a_perfect_autoencoder_of_a_straight_manifold_has_nothing_to_show(images):
    found = measures.measure(perfect(), images, sure_of_all, seed=0)
    assert found["mse"] == pytest.approx(0, abs=1e-12)
    for name in ("codes", "midpoint", "standard", "fitted", "box"):
        assert found[f"cycle_{name}"] == pytest.approx(0, abs=1e-6)
        assert found[f"echo_{name}"] == pytest.approx(0, abs=1e-6)
        assert found.get(f"sure_{name}", 1) == 1
    assert found["nearest_reconstruction"] < 1e-6


def test_squared_distance_is_to_the_nearest_reference_and_summed_over_pixels():
    references = line(np.array([0.0, 1.0]))
    found = measures.squared_distance(line(np.array([0.0, 0.1, 0.5, 0.8])), references)
    np.testing.assert_allclose(found, [0, 0.02, 0.5, 0.08], atol=1e-6)


def test_off_manifold_is_the_ratio_of_the_means():
    references = line(np.array([0.0]))
    assert measures.off_manifold(line(np.array([0.2, 0.4])), line(np.array([0.1, 0.1])), references) == (
        pytest.approx(10, rel=1e-4)
    )


def test_cycle_error_of_a_code_that_comes_back_shifted():
    model = Model(lambda x: x.reshape(len(x), 2) + np.array([3.0, 4.0]), lambda z: z.reshape(-1, 1, 2, 1), None)
    assert measures.cycle_error(model, np.zeros((7, 2)), scale=2.0) == pytest.approx(2.5)


def test_echo_error_is_of_the_image_and_blind_to_units_that_are_not_in_it():
    """Each pass dims the image by a half; the second unit is never decoded and comes back as 7."""
    model = Model(
        lambda x: np.stack([x[:, 0, 0, 0], np.full(len(x), 7.0)], axis=1),
        lambda z: z[:, :1, None, None] / 2,
        None,
    )
    made = np.array([2.0, 4.0]).reshape(2, 1, 1, 1)
    assert measures.echo_error(model, made, variance=5.0) == pytest.approx((1 + 4) / 2 / 5)


def test_spread_is_the_root_mean_square_distance_from_the_mean():
    assert measures.spread(np.array([[0.0, 5.0], [6.0, 13.0]])) == pytest.approx(5)


def test_confident_share_counts_what_is_above_nine_tenths():
    p = np.array([[0.95, 0.05], [0.9, 0.1], [0.5, 0.5], [0.02, 0.98]])
    assert measures.confident_share(p) == 0.5


def test_codes_that_follow_the_law_of_their_region_leave_the_nominal_share():
    shares = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        codes = rng.standard_normal((1000, 2))
        shares.append(measures.hole_share(codes, measures.standard(2), rng))
    assert np.mean(shares) == pytest.approx(measures.TAIL, abs=3 * np.std(shares) / np.sqrt(20))
    assert np.std(shares) < 0.02


def test_two_clusters_in_a_box_leave_the_share_that_lies_between_them():
    """Codes fill two fifths of an interval; the rest is hole, but for the distance r at its two edges."""
    rng = np.random.default_rng(0)
    codes = np.concatenate([rng.uniform(0, 1, 2000), rng.uniform(4, 5, 2000)])[:, None]
    found = measures.hole_share(codes, lambda rng, n: rng.uniform(0, 5, (n, 1)), rng, points=20_000)
    assert found == pytest.approx(0.6, abs=0.02)


def test_holes_do_not_depend_on_the_unit_the_codes_are_measured_in():
    def share(unit):
        rng = np.random.default_rng(3)
        codes = np.concatenate([rng.normal(-4, 1, (500, 2)), rng.normal(4, 1, (500, 2))]) * unit
        return measures.hole_share(codes, measures.fitted(codes), rng)

    assert share(1.0) == pytest.approx(share(100.0), abs=0.002)
    assert share(1.0) > 0.3


def test_regions_have_the_moments_and_quantiles_they_are_fitted_to():
    rng = np.random.default_rng(0)
    codes = rng.standard_normal((5000, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]]) + [3.0, -1.0]
    drawn = measures.fitted(codes)(rng, 20_000)
    np.testing.assert_allclose(drawn.mean(axis=0), codes.mean(axis=0), atol=0.05)
    np.testing.assert_allclose(np.cov(drawn.T), np.cov(codes.T), rtol=0.05)
    low, high = np.quantile(codes, [0.01, 0.99], axis=0)
    boxed = measures.box(codes)(rng, 20_000)
    assert (boxed >= low).all() and (boxed <= high).all()
    np.testing.assert_allclose(boxed.mean(axis=0), (low + high) / 2, atol=0.05)


def test_pairs_are_of_different_label_and_as_many_as_asked_for():
    labels = np.repeat(np.arange(10), 5)
    i, j = measures.pairs(np.random.default_rng(0), labels, 500)
    assert len(i) == len(j) == 500 and (labels[i] != labels[j]).all()


def test_the_interval_is_students():
    found = claims.interval([1.0, 2.0, 3.0])
    assert found.mean == 2 and found.n == 3
    assert found.high - 2 == pytest.approx(4.302653 / np.sqrt(3), rel=1e-6)
    assert str(found) == "2.0 ± 2.5"
    assert claims.interval([1.0]).high == np.inf
    alike = claims.interval([0.25, 0.25, 0.25])
    assert (alike.mean, alike.low, alike.high) == (0.25, -np.inf, np.inf) and claims.verdict(alike) == claims.OPEN
    assert str(alike) == "0.250 ± –"


def both(ae, vae):
    """Values of every measure, those named as given (four seeds)."""
    keys = [m.key for m in claims.MEASURES] + ["sure_reconstruction", "midpoint_crossfade"]
    tiny = np.array([0.0, 1.0, -1.0, 0.5]) * 1e-3
    same = dict.fromkeys(keys, 0.5 + tiny)
    return same | {k: v + tiny for k, v in ae.items()}, same | {k: v - tiny for k, v in vae.items()}


def test_verdicts_follow_from_the_numbers_alone():
    high, low = {"holes_fitted": 0.3, "sure_fitted": 0.9}, {"holes_fitted": 0.1, "sure_fitted": 0.6}
    ae, vae = both(high, low)
    found = {c.measure.key: c for c in claims.compare(ae, vae)}
    assert found["holes_fitted"].verdict == claims.HOLDS
    assert found["sure_fitted"].verdict == claims.FAILS
    assert found["sure_box"].verdict == claims.OPEN
    assert found["holes_fitted"].difference.mean == pytest.approx(0.2, abs=2e-3)
    text = claims.summary(list(found.values()))
    assert "the claim holds in 1 (holes: fitted Gaussian);" in text
    assert "measured in 1 (classifier: fitted Gaussian);" in text
    swapped = {c.measure.key: c.verdict for c in claims.compare(vae, ae)}
    assert swapped["holes_fitted"] == claims.FAILS and swapped["sure_fitted"] == claims.HOLDS


def test_the_difference_is_paired_by_seed():
    ae, vae = both({}, {})
    ae["mse"], vae["mse"] = np.array([1.0, 5.0, 9.0]), np.array([1.1, 5.11, 9.1])
    found = claims.compare(ae, vae)[0]
    assert found.verdict == claims.HOLDS and found.ae.low < found.vae.mean < found.ae.high


def test_the_classifier_is_calibrated_on_what_it_has_not_seen():
    """Labels that are wrong one time in five: a calibrated classifier is never surer than that."""
    rng = np.random.default_rng(0)

    def data(n):
        y = rng.integers(2, size=n)
        x = np.where(y == 1, 0.8, 0.2)[:, None, None, None] + 0.02 * rng.standard_normal((n, 2, 2, 1))
        return x, np.where(rng.random(n) < 0.2, 1 - y, y).astype(np.int32)

    judge = classifier.train(data(300), data(2000), steps=1000)
    assert judge.probabilities(data(500)[0]).max(axis=1).mean() == pytest.approx(0.8, abs=0.05)


@pytest.mark.slow
def test_a_seed_is_the_same_model_as_the_library_trains(tmp_path):
    config = Config(
        method="vae", network="mlp", width=8, depth=1, likelihood="bernoulli", binarize="none", latent=2,
        steps=6, batch_size=16, seed=4,
    )  # fmt: skip
    trained = run.train(config, tmp_path / "run")
    (_, model) = models.train_seeds(config, [3, 4])
    x = models.images_of(config).test[:5]
    z = jnp.array([[0.3, -1.0], [2.0, 0.1]])
    np.testing.assert_allclose(model.decode(z), trained.setup.method.decode(trained.variables, z), atol=1e-6)
    assert model.encode(x).shape == (5, 2)


def test_of_a_large_split_some_are_taken_evenly_spread():
    setup = build(Config(data="digits"))
    x, labels = models.pixels_of(setup, "train")
    some, of_some = models.pixels_of(setup, "train", 5)
    at = np.linspace(0, len(x) - 1, 5).round().astype(int)
    np.testing.assert_array_equal(some, x[at])
    np.testing.assert_array_equal(of_some, labels[at])


@pytest.fixture(scope="module")
def lesson(tmp_path_factory):
    """Two seeds and few steps of the real command."""
    out = tmp_path_factory.mktemp("lesson")
    flags = ["--seeds", "2", "--steps", "8", "--width", "8", "--latent", "2", "--out", str(out)]
    latent_continuity.main(flags)
    return out


@pytest.mark.slow
def test_the_record_has_every_seeds_values_and_the_verdicts(lesson):
    found = json.loads((lesson / "latent_continuity.json").read_text())
    assert found["seeds"] == [0, 1]
    assert set(found["values"]["2"]) == {"ae", "vae"}
    for values in found["values"]["2"].values():
        assert {m.key for m in claims.MEASURES} <= set(values)
        assert all(len(each) == 2 and np.isfinite(each).all() for each in values.values())
        assert values["mse"][0] != values["mse"][1]
    assert set(found["verdicts"]["2"].values()) <= {claims.HOLDS, claims.FAILS, claims.OPEN}
    assert found["command"].endswith("--latent 2 --seeds 2 --steps 8 --width 8")
    assert str(lesson) not in json.dumps(found)


@pytest.mark.slow
def test_the_page_is_whole_and_needs_nothing_from_elsewhere(lesson):
    text = (lesson / "latent_continuity.html").read_text()
    words = {
        "encoder",
        "latent space",
        "decoder",
        "reconstruction loss",
        "reparameterisation",
        "KL divergence",
    }
    assert words <= {" ".join(term.split()) for term in re.findall(r"<dfn>(.*?)</dfn>", text, re.S)}
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)[^"']*""", text)
    assert "http" not in text.replace("http://www.w3.org", "")
    assert text.count("<svg") == 4 + len(claims.GROUPS)
    assert "n = 2 seeds" in text


@pytest.mark.slow
def test_the_printed_table_says_what_was_measured(lesson, capsys):
    found = json.loads((lesson / "latent_continuity.json").read_text())
    text = latent_continuity.tell(found)
    assert str(claims.interval(found["values"]["2"]["ae"]["mse"])) in text
    assert text.count("does not hold") == list(found["verdicts"]["2"].values()).count("does not hold")


def test_codes_of_more_units_are_shown_on_principal_components():
    codes = np.random.default_rng(0).standard_normal((30, 5))
    assert "component 2" in figures.plane(codes, np.zeros(30, int), ("a",), "codes")


@pytest.mark.parametrize(
    ("flags", "says"),
    [(["--seeds", "0"], "seeds 0"), (["--latent", "2", "0"], "latent 0"), (["--data", "digist"], "digits")],
)
def test_bad_input_is_one_line_and_exit_2(flags, says, capsys, tmp_path):
    assert cli.ended(lambda: latent_continuity.main([*flags, "--out", str(tmp_path / "out")])) == 2
    error = capsys.readouterr().err
    assert says in error and error.count("\n") == 1


def test_the_kept_record_says_what_its_own_numbers_say():
    kept = json.loads(Path(latent_continuity.__file__).with_suffix(".json").read_text())
    for name, found in kept.items():
        assert found["data"]["name"] == name and found["seeds"] == list(range(10))
        assert latent_continuity.verdicts(found["values"]) == found["verdicts"]
        for values in found["values"].values():
            for c in claims.compare(**{m: claims.arrays(each) for m, each in values.items()}):
                if c.measure.key in ("mse", "sure_fitted", "holes_fitted"):
                    assert str(c.ae) in latent_continuity.__doc__ and str(c.vae) in latent_continuity.__doc__
