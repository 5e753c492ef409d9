"""The Fréchet distance against closed forms, neighbour measures against definitions, errors against repetition."""

import numpy as np
import pytest

from jaxae.errors import InputError
from jaxae.evaluate.samples import expected_coverage, frechet, neighbours, sample_scores


def normals(n, d, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def exactly(mean, root, n=200, seed=0):
    """Points whose sample mean and covariance, root @ root.T, are exactly these."""
    x = normals(n, root.shape[1], seed)
    x = x - x.mean(axis=0)
    white = x @ np.linalg.inv(np.linalg.cholesky(x.T @ x / (n - 1))).T
    return mean + white @ root.T


def rotation(d, seed=3):
    return np.linalg.qr(normals(d, d, seed))[0]


def test_frechet_of_diagonal_gaussians():
    """Commuting covariances: |m1 - m2|^2 + sum (s1 - s2)^2."""
    s1, s2, shift = np.array([1.0, 2.0, 3.0]), np.array([0.5, 2.0, 4.0]), np.array([1.0, -2.0, 0.0])
    one, two = exactly(0.0, np.diag(s1)), exactly(shift, np.diag(s2), n=300, seed=1)
    assert frechet(one, two).value == pytest.approx(5 + 0.25 + 1, rel=1e-12)
    turn = rotation(3)
    assert frechet(one @ turn, two @ turn).value == pytest.approx(6.25, rel=1e-12)


def test_frechet_of_gaussians_on_other_axes():
    """In two dimensions tr (C1^1/2 C2 C1^1/2)^1/2 = (tr C1 C2 + 2 (det C1 det C2)^1/2)^1/2."""
    c, s = np.cos(0.7), np.sin(0.7)
    r1, r2 = np.diag([3.0, 1.0]), np.array([[c, -s], [s, c]]) @ np.diag([2.0, 0.5])
    c1, c2 = r1 @ r1.T, r2 @ r2.T
    cross = np.sqrt(np.trace(c1 @ c2) + 2 * np.sqrt(np.linalg.det(c1) * np.linalg.det(c2)))
    expected = np.trace(c1) + np.trace(c2) - 2 * cross
    one, two = exactly(0.0, r1), exactly(0.0, r2, seed=1)
    assert frechet(one, two).value == pytest.approx(expected, rel=1e-12)
    assert frechet(two, one) == pytest.approx(frechet(one, two), rel=1e-12)


def test_frechet_of_equal_sets_is_zero_and_of_singular_ones_exact():
    x = normals(50, 8)
    assert frechet(x, x[::-1]).value == pytest.approx(0.0, abs=1e-13)
    # two lines at 60 degrees in five dimensions: C1^1/2 C2 C1^1/2 = 4 cos^2 on the first
    one, two = np.zeros((5, 1)), np.zeros((5, 1))
    one[0], two[:2, 0] = 1.0, [2 * 0.5, 2 * np.sqrt(0.75)]
    assert frechet(exactly(0.0, one), exactly(0.0, two)).value == pytest.approx(1 + 4 - 2 * 2 * 0.5, rel=1e-12)
    few = normals(4, 30)  # fewer examples than features
    assert frechet(few, few + 1).value == pytest.approx(30.0, rel=1e-12)
    assert frechet(few, 3 * few).value >= 0


def test_frechet_of_fewer_examples_than_features_is_that_of_the_space_they_lie_in():
    one, two = normals(40, 6), 1.5 * normals(30, 6, seed=1) + 0.2
    wide = np.linalg.qr(normals(80, 80))[0][:6]  # a rotation into 80 dimensions
    assert frechet(one @ wide, two @ wide) == pytest.approx(frechet(one, two), rel=1e-10)


def test_frechet_error_is_the_spread_of_repeated_draws():
    def draw(seed):
        x, y = normals(300, 3, seed), 0.7 * normals(500, 3, seed + 1000) @ np.diag([1.0, 2.0, 1.0]) + 0.5
        return frechet(x, y)

    values, errors = np.array([draw(seed) for seed in range(200)]).T
    assert values.std(ddof=1) == pytest.approx(np.sqrt(np.square(errors).mean()), rel=0.15)


def by_definition(real, fake, k=3, k_density=5):
    def apart(a, b):
        return np.sqrt(np.square(a[:, None] - b[None]).sum(axis=2))

    def radius(x, k):
        return np.sort(apart(x, x), axis=1)[:, k]  # the nearest of all is the point itself

    between = apart(fake, real)
    inside = between <= radius(real, k_density)
    return {
        "precision": (between <= radius(real, k)).any(axis=1).mean(),
        "recall": (between <= radius(fake, k)[:, None]).any(axis=0).mean(),
        "density": inside.sum() / (k_density * len(fake)),
        "coverage": inside.any(axis=0).mean(),
    }


def values(scores):
    return {name: score.value for name, score in scores.items()}


@pytest.mark.parametrize(("n", "m", "k", "k_density"), [(150, 90, 3, 5), (90, 150, 5, 2), (100, 100, 1, 1)])
def test_neighbours_are_as_defined_whatever_the_chunk(n, m, k, k_density):
    real, fake = normals(n, 6), 0.9 * normals(m, 6, seed=1) + 0.3
    expected = by_definition(real, fake, k, k_density)
    for chunk in (1, 7, 64, 1000):
        assert values(neighbours(real, fake, k, k_density, chunk)) == pytest.approx(expected, abs=1e-12)
    far = neighbours(1e4 + real, 1e4 + fake, k, k_density)
    assert values(far) == pytest.approx(expected, abs=1e-12)


def test_ties_are_inside():
    """Images of zeros and ones have few different distances; a set and itself have each neighbour at the radius."""
    rng = np.random.default_rng(0)
    real, fake = (rng.random((120, 10)) > 0.5).astype(np.float32), (rng.random((80, 10)) > 0.4).astype(np.float32)
    assert values(neighbours(real, fake)) == pytest.approx(by_definition(real, fake), abs=1e-12)
    x = normals(100, 4).astype(np.float32)
    same = values(neighbours(x, x[::-1], chunk=7))
    assert same == pytest.approx(
        {"precision": 1, "recall": 1, "density": 6 / 5, "coverage": 1}
    )  # itself and five others


def test_what_failures_look_like():
    real = normals(300, 4) + 100 * (np.arange(300) % 3)[:, None]  # three modes
    apart = values(neighbours(real, normals(300, 4, 1) - 100))
    assert apart == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    dropped = values(neighbours(real, real[np.arange(300) % 3 > 0]))
    assert dropped["precision"] == 1 and dropped["recall"] == pytest.approx(2 / 3) == dropped["coverage"]
    memorised = values(neighbours(real, np.repeat(real[:5], 60, axis=0)))
    assert memorised["precision"] == 1 and memorised["recall"] == pytest.approx(5 / 300)
    assert memorised["coverage"] < 0.2


@pytest.mark.slow
def test_of_one_density_density_is_one_and_coverage_as_expected():
    scores = [neighbours(normals(60, 3, 2 * seed), normals(90, 3, 2 * seed + 1)) for seed in range(150)]
    mean = {name: np.mean([score[name].value for score in scores]) for name in scores[0]}
    assert mean["density"] == pytest.approx(1, abs=0.02)
    assert mean["coverage"] == pytest.approx(expected_coverage(60, 90), abs=0.01)
    for name in mean:
        spread = np.std([score[name].value for score in scores], ddof=1)
        error = np.sqrt(np.mean([score[name].se ** 2 for score in scores]))
        assert 0.6 < spread / error < 1.5, name


@pytest.mark.slow
def test_where_the_balls_hold_all_of_a_half_the_error_of_density_is_that_of_its_sum():
    """Fakes near the middle of 64 dimensions lie in most balls: the halves differ too little."""
    scores = [
        neighbours(normals(120, 64, 2 * seed), 0.6 * normals(120, 64, 2 * seed + 1))["density"] for seed in range(40)
    ]
    spread = np.std([score.value for score in scores], ddof=1)
    assert scores[0].value > 5 and 0.6 < spread / np.sqrt(np.mean([score.se**2 for score in scores])) < 2.2


def test_a_share_at_its_end_has_an_error():
    apart = neighbours(normals(50, 4), normals(80, 4, 1) - 100)
    assert {name: score.se for name, score in apart.items()} == {
        "precision": 0.5 / 80, "recall": 0.5 / 50, "density": 0.5 / 80, "coverage": 0.5 / 50,
    }  # fmt: skip


def test_a_share_is_no_surer_than_the_balls_as_given_leave_it():
    """Halves may all agree: 57 of 60 fakes inside had an error of 0."""
    for seed in range(30):
        real, fake = normals(60, 2, 2 * seed), normals(40, 2, 2 * seed + 1)
        scores = neighbours(real, fake)
        for name, n in (("precision", 40), ("recall", 60)):
            share = scores[name].value
            assert scores[name].se >= max(np.sqrt(share * (1 - share) / n), 0.5 / n) * (1 - 1e-9)
        assert scores["coverage"].se >= 0.5 / 60


def test_expected_coverage_is_the_share_of_orders():
    assert expected_coverage(2, 1, 1) == pytest.approx(1 / 2)
    assert expected_coverage(10_000, 10_000, 5) == pytest.approx(1 - 2**-5, abs=1e-4)
    assert expected_coverage(100, 0, 5) == 0


def test_features_of_no_example_are_one_line():
    real, fake = normals(60, 3), normals(40, 3, 1)
    for wrong in (np.asarray(5.0), fake[0], fake[:0]):
        for score in (sample_scores, neighbours, frechet):
            with pytest.raises(InputError, match=r"^fake features \(.*\): expected \[examples, features\]"):
                score(real, wrong)


def test_sample_scores_name_every_measure_and_the_floor_is_of_as_many():
    real, fake, other = normals(60, 3), normals(40, 3, 1), normals(400, 3, 2)
    scores = sample_scores(real, fake, other)
    measures = {"frechet", "frechet_floor", "precision", "recall", "density", "coverage"}
    assert set(scores) == measures | {f"{name}_se" for name in measures} | {"coverage_expected"}
    assert all(type(score) is float for score in scores.values())
    some = other[np.linspace(0, 399, 40).round().astype(int)]
    assert scores["frechet_floor"] == frechet(real, some).value
    assert "frechet_floor" not in sample_scores(real, fake)
    assert sample_scores(real, fake) == sample_scores(real, fake), "the cuts are drawn from a fixed seed"


@pytest.mark.parametrize(
    ("real", "fake", "says"),
    [
        (normals(60, 3), normals(60, 4), r"real features \(60, 3\), fake \(60, 4\)"),
        (normals(60, 3), normals(29, 3), r"fake features \(29, 3\): expected .* at least 30 examples"),
        (np.zeros(60), normals(60, 3), r"real features \(60,\)"),
        (normals(60, 3), np.full((60, 3), np.nan), "fake features: expected finite numbers, found nan"),
    ],
)
def test_bad_features_are_one_line(real, fake, says):
    with pytest.raises(InputError, match=says) as caught:
        sample_scores(real, fake)
    assert "\n" not in str(caught.value)


def test_a_bad_k_is_one_line():
    with pytest.raises(InputError, match="k 0: expected"):
        neighbours(normals(60, 3), normals(60, 3), k=0)
