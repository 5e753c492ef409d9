"""Every score of constructed codes against its value by hand: perfect, mixed, doubled, missing, constant, random."""

import warnings
from functools import cache
from math import log

import numpy as np
import pytest
import sklearn.linear_model
import sklearn.metrics

from jaxae.errors import InputError
from jaxae.evaluate import disentanglement
from jaxae.evaluate.disentanglement import mig, modularity, mutual_information, scores
from jaxae.evaluate.factors import Table, binned
from jaxae.evaluate.interventions import beta_vae_score, factor_vae_score, irs
from jaxae.evaluate.prediction import dci, sap

NAMES = {
    "beta_vae_score", "factor_vae_score", "mig", "dci_disentanglement", "dci_completeness", "dci_informativeness",
    "sap", "modularity", "irs",
}  # fmt: skip
ON_TABLES = {
    "mig": mig,
    "modularity": modularity,
    "irs": irs,
    "sap": lambda table: sap(table, table),
    "dci": lambda table: dci(table, table),
    "beta_vae_score": lambda table: beta_vae_score(table, np.random.default_rng(0), (300, 200), group=3),
    "factor_vae_score": lambda table: factor_vae_score(table, np.random.default_rng(0), (300, 200), group=3),
}
VOTES = (600, 600)
SIZES = (4, 3, 2)
TIES = {"dci": 5e-3}  # codes that split equally well: the trees take the first of them


def table(sizes, code):
    """Every combination of the factors once, and its codes."""
    factors = np.indices(sizes).reshape(len(sizes), -1).T
    return Table(np.stack(np.broadcast_arrays(*code(*factors.T.astype(float))), axis=1), factors)


def perfect(sizes):
    return table(sizes, lambda *values: values)


def doubled(sizes):
    return table(sizes, lambda *values: (*values, *values))


def mixed(size):
    """Two factors, turned by 45 degrees: each code says as much of one as of the other."""
    middle = (size - 1) / 2
    return table((size, size), lambda a, b: (a + b - 2 * middle, a - b))


def missing():
    """Three factors, the last of which no code tells anything of."""
    return table((4, 4, 4), lambda a, b, c: (a, b, 0 * c))


def noisy(rows=120):
    """Continuous codes, each of one factor more than of the others."""
    rng = np.random.default_rng(3)
    factors = rng.integers(4, size=(rows, 3))
    return Table(factors @ (np.eye(3) + 0.2 * rng.random((3, 3))) + 0.5 * rng.normal(size=(rows, 3)), factors)


@cache
def noisily(name):
    return ON_TABLES[name](noisy())


def scored(code, seed=0, train=120, test=120):
    """The scores of a code on its whole grid, in a network's precision."""
    codes, factors = table(SIZES, code)
    return scores(Table(codes.astype(np.float32), factors), SIZES, seed, train, test)


def beta(pool):
    return beta_vae_score(pool, np.random.default_rng(0), VOTES)


def factor(pool):
    return factor_vae_score(pool, np.random.default_rng(0), VOTES)


def test_mutual_information_is_that_of_the_contingency_table():
    rng = np.random.default_rng(0)
    codes, factors = rng.integers(7, size=(500, 3)), rng.integers(4, size=(500, 2))
    codes[:, 0] += factors[:, 1]
    found = mutual_information(codes, factors)
    for i, j in np.ndindex(3, 2):
        assert found[i, j] == pytest.approx(sklearn.metrics.mutual_info_score(codes[:, i], factors[:, j]), abs=1e-12)


def test_mutual_information_of_a_uniform_factor_with_itself_is_its_entropy_and_of_independent_ones_is_0():
    factors = perfect((6, 5)).factors
    np.testing.assert_allclose(mutual_information(factors, factors), np.diag([log(6), log(5)]), atol=1e-12)
    assert mutual_information(factors, factors)[0, 1] == 0


def test_bins_are_a_histograms():
    columns = np.random.default_rng(0).normal(size=(210, 3))
    columns[:, 1] = 0.1
    columns[:, 2] = np.arange(210) % 21  # on the edges
    found = binned(columns)
    for i in (0, 2):
        np.testing.assert_array_equal(np.bincount(found[:, i]), np.histogram(columns[:, i], 20)[0])
    assert len(np.unique(found[:, 1])) == 1


def test_mig_is_1_where_a_code_is_the_factor_and_no_other_knows_of_it():
    assert mig(perfect((6, 5, 2))) == pytest.approx(1)
    assert mig(table((6, 5), lambda a, b: (a, b, 0 * a))) == pytest.approx(1)


def test_mig_of_a_perfect_code_is_what_20_bins_hold_of_its_factor():
    """40 values lie two to a bin: the code knows log 20 of log 40 nats."""
    assert mig(perfect((40, 3))) == pytest.approx((log(20) / log(40) + 1) / 2)


def test_modularity_is_1_where_each_code_knows_of_one_factor():
    assert modularity(perfect((6, 5, 2))) == pytest.approx(1)
    assert modularity(doubled((6, 5, 2))) == pytest.approx(1)
    assert modularity(table((6, 5), lambda a, b: (a, b, 0 * a))) == pytest.approx(2 / 3)  # what knows nothing counts 0


def test_modularity_of_mixed_codes():
    """(a + b, a - b) know as much of a as of b: 0. With a third factor that has its own code, 1/2, 1/2 and 1."""
    assert modularity(mixed(5)) == pytest.approx(0, abs=1e-12)
    assert modularity(table((5, 5, 3), lambda a, b, c: (a + b, a - b, c))) == pytest.approx(2 / 3)
    both = table((5, 4), lambda a, b: (4 * a + b,))  # one code of two factors: log 5 nats of one, log 4 of the other
    assert modularity(both) == pytest.approx(1 - (log(4) / log(5)) ** 2)


def test_sap_of_two_values_is_1_less_chance():
    """The code separates them; any other, independent of the factor, is right half of the time."""
    both = perfect((2, 2, 2))
    assert sap(both, both) == pytest.approx(0.5)
    one = table((2, 2, 2), lambda a, b, c: (a, b))
    assert sap(one, one) == pytest.approx(0.5 * 2 / 3)


def test_sap_is_measured_on_the_test_table():
    """Where the test's codes are turned round, the separating code is always wrong, and the useless one is the best."""
    seen, held = perfect((2, 2)), table((2, 2), lambda a, b: (1 - a, 1 - b))
    assert sap(seen, held) == pytest.approx(0.5)
    assert sap(seen, table((2, 2), lambda a, b: (0 * a, 0 * b))) == pytest.approx(0)


@pytest.mark.parametrize("score", [mig, lambda of: sap(of, of)], ids=["mig", "sap"])
def test_gaps_are_0_where_a_second_code_knows_as_much(score):
    assert score(doubled((5, 4, 2))) == pytest.approx(0, abs=1e-12)
    assert score(mixed(5)) == pytest.approx(0, abs=1e-12)


def test_dci_of_perfect_codes_is_1():
    of = table((4, 3, 2), lambda a, b, c: (a, b, c, 0 * a))
    assert dci(of, of) == pytest.approx((1, 1, 1))


def test_completeness_of_doubled_codes_is_less_by_the_entropy_of_two_of_six():
    of = doubled((4, 3, 2))
    assert dci(of, of) == pytest.approx((1, 1 - log(2) / log(6), 1))


def test_dci_of_one_code_of_two_factors_is_complete_but_not_disentangled():
    of = table((5, 4), lambda a, b: (4 * a + b, 0 * a))
    assert dci(of, of) == pytest.approx((0, 1, 1), abs=1e-12)


def test_dci_averages_codes_by_their_share_of_importance():
    """A code of two factors has 2 of 3 shares, and the entropy of two of three."""
    of = table((5, 4, 3), lambda a, b, c: (4 * a + b, c))
    assert dci(of, of) == pytest.approx((2 / 3 * (1 - log(2) / log(3)) + 1 / 3, 1, 1))


@pytest.mark.slow
def test_dci_of_mixed_codes_is_low_though_they_tell_everything():
    of = mixed(8)
    found = dci(of, of)
    assert found.disentanglement < 0.02 and found.completeness < 0.02 and found.informativeness > 0.9


def test_informativeness_is_accuracy_on_the_test_table():
    """A factor that no code tells of is guessed: 1 of its 4 values."""
    seen, held = missing(), table((4, 4, 4), lambda a, b, c: (a, 3 - b, 0 * c))
    assert dci(seen, seen).informativeness == pytest.approx((1 + 1 + 1 / 4) / 3)
    assert dci(seen, held).informativeness == pytest.approx((1 + 0 + 1 / 4) / 3)


def test_interventional_scores_of_perfect_codes_are_1():
    of = perfect((5, 4, 3))
    assert (beta(of), factor(of), irs(of)) == pytest.approx((1, 1, 1))
    assert (beta(doubled((5, 4, 3))), factor(doubled((5, 4, 3))), irs(doubled((5, 4, 3)))) == pytest.approx((1, 1, 1))


def test_a_missing_factor_costs_the_factor_vae_score_its_share_and_the_beta_vae_score_nothing():
    """Kim and Mnih 2018's criticism of the latter: where neither code is still, the third factor must be the fixed."""
    assert factor(missing()) == pytest.approx(2 / 3)
    assert beta(missing()) == pytest.approx(1)


@pytest.mark.parametrize("score", [beta_vae_score, factor_vae_score])
def test_what_few_votes_teach_is_tested_on_others(score):
    """Random codes are at chance on average, however few votes they are learnt from; on those votes they are not."""
    rng = np.random.default_rng(0)
    of = Table(rng.normal(size=(64, 4)), perfect((4, 4, 4)).factors)
    found = [score(of, rng, (6, 30), group=4) for _ in range(25)]
    assert np.mean(found) == pytest.approx(1 / 3, abs=4 * np.std(found) / np.sqrt(25))


@pytest.mark.parametrize("votes", [(7, 5), (1, 1), (4, 2)])
def test_any_number_of_votes_is_taken(votes):
    """The factors take turns, so the second of two factors has a vote less than the first, or none."""
    of = perfect((4, 4))
    assert factor_vae_score(of, np.random.default_rng(0), votes) == 1
    assert beta_vae_score(of, np.random.default_rng(0), votes) == 1


def test_interventional_scores_of_mixed_codes_are_chance():
    assert beta(mixed(9)) == pytest.approx(0.5, abs=0.07)
    assert factor(mixed(9)) == pytest.approx(0.5, abs=0.07)


@pytest.mark.parametrize(("spread", "expected"), [(0.049, 0.5), (0.051, 1.0)])
def test_a_code_of_a_standard_deviation_below_5_hundredths_has_no_vote(spread, expected):
    of = table((2, 2), lambda a, b: (a, spread * (2 * b - 1) * np.sqrt(3 / 4)))  # ddof = 1, of four rows
    assert factor(of) == pytest.approx(expected)


def test_irs_of_mixed_codes_is_a_half():
    """With a fixed, a + b goes 4 from its mean, of the 8 that it goes over all."""
    assert irs(mixed(9)) == pytest.approx(0.5)


def test_irs_of_a_factor_with_more_values_than_bins_is_as_far_as_two_to_a_bin_move():
    """Half a step of 19.5, weight 19.5; and the other code scores 1 with weight 1."""
    assert irs(perfect((40, 3))) == pytest.approx((19.5 * (1 - 0.5 / 19.5) + 1) / 20.5)


def test_irs_weights_codes_by_how_far_they_go():
    """a + b goes 2 from its mean, 1 of it while a is fixed: 1/2. The code 3 c goes 3: 1."""
    assert irs(table((3, 3, 3), lambda a, b, c: (a + b, 3 * c))) == pytest.approx((2 * 0.5 + 3) / 5)


def test_irs_takes_the_quantile_of_the_deviations():
    """Of |z - mean| = 0, ..., 500 the 0.99 quantile is 495: a code that no factor holds scores 1 - 495 / 500."""
    of = table((2, 2, 1001), lambda a, b, z: (z,))
    assert irs(Table(of.codes, of.factors[:, :2])) == pytest.approx(1 - 495 / 500)


def protocol(sizes, encode, votes, group):
    """Both interventional protocols, with new examples for every vote: (differences, least varied code, factor)."""
    rng = np.random.default_rng(0)

    def draw(rows):
        return np.stack([rng.integers(size, size=rows) for size in sizes], axis=1)

    spread = encode(draw(20_000)).std(axis=0)
    points, least, fixed = [], [], rng.integers(len(sizes), size=votes)
    for which in fixed:
        one, other, same = draw(group), draw(group), draw(group)
        other[:, which] = one[:, which]
        same[:, which] = same[0, which]
        points.append(np.abs(encode(one) - encode(other)).mean(axis=0))
        least.append(np.argmin(encode(same).var(axis=0) / spread**2))
    return np.array(points), np.array(least), fixed


def test_votes_drawn_from_every_combination_are_the_protocols():
    """With codes so noisy, and groups so small, that accuracies are between chance and 1; to four standard errors."""
    sizes, group, half = (4, 5, 3), 6, 1500
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(*sizes, 3))

    def encode(values):
        return values @ np.diag([1.0, 0.7, 1.2]) + noise[tuple(values.T)]

    points, least, fixed = protocol(sizes, encode, 2 * half, group)
    pool = Table(encode(perfect(sizes).factors), perfect(sizes).factors)
    counts = np.zeros((3, 3))
    np.add.at(counts, (least[:half], fixed[:half]), 1)
    votes = np.mean(counts.argmax(axis=1)[least[half:]] == fixed[half:])
    line = sklearn.linear_model.LogisticRegression().fit(points[:half], fixed[:half])
    for score, expected in ((factor_vae_score, votes), (beta_vae_score, line.score(points[half:], fixed[half:]))):
        found = score(pool, rng, (half, 4 * half), group)
        assert 0.4 < expected < 0.9
        assert abs(found - expected) < 4 * np.sqrt(expected * (1 - expected) * (1 + 1 / 4) / half)


@pytest.mark.slow
@pytest.mark.parametrize("name", ON_TABLES)
def test_the_order_of_the_codes_does_not_matter(name):
    of, found = noisy(), noisily(name)
    turned = Table(of.codes[:, [2, 0, 1]], of.factors)
    assert ON_TABLES[name](turned) == pytest.approx(found, abs=TIES.get(name, 1e-9))
    assert 0.1 < np.min(found) < 0.95


@pytest.mark.parametrize("name", ["mig", "modularity", "dci", "factor_vae_score"])
def test_scale_and_sign_of_each_code_do_not_matter(name):
    scaled = Table(noisy().codes * [4.0, -0.5, 1.0], noisy().factors)
    assert ON_TABLES[name](scaled) == pytest.approx(noisily(name), abs=TIES.get(name, 1e-9))


def test_a_common_scale_does_not_matter_to_irs():
    of = noisy()
    assert irs(Table(-3 * of.codes, of.factors)) == pytest.approx(irs(of))


@pytest.mark.parametrize("name", ON_TABLES)
def test_a_factor_of_one_value_is_skipped_and_values_are_names(name):
    of = noisy()
    more = np.concatenate([np.full((120, 1), 9), 7 * of.factors - 3], axis=1)
    assert ON_TABLES[name](Table(of.codes, more)) == pytest.approx(noisily(name))


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_constant_codes_score_the_lowest():
    found = scored(lambda a, b, c: (0 * a, 0 * b + 0.1))
    chance = found.pop("dci_informativeness"), found.pop("beta_vae_score")
    assert chance == pytest.approx(((1 / 4 + 1 / 3 + 1 / 2) / 3, 1 / 3), abs=0.1)
    assert found == dict.fromkeys(NAMES - {"dci_informativeness", "beta_vae_score"}, 0.0)


def test_one_code_is_compared_with_a_constant_one():
    one = table((5, 4), lambda a, b: (a,))
    assert mig(one) == pytest.approx(0.5)
    assert dci(one, one).completeness == pytest.approx(1)
    two = table((2, 2), lambda a, b: (a,))
    assert sap(two, two) == pytest.approx(0.25)
    found = scored(lambda a, b, c: (a,))
    assert found.keys() == NAMES and np.isfinite(list(found.values())).all()
    assert found["factor_vae_score"] == pytest.approx(1 / 3, abs=0.02)


def test_perfect_codes_get_full_marks_of_the_whole_protocol():
    found = scored(lambda a, b, c: (a, b, c), 0, 600, 300)
    assert found.keys() == NAMES
    assert found.pop("sap") > 0.3
    assert found.pop("mig") > 0.98  # by chance, codes of 600 examples seem to know of each other's factors
    assert found == pytest.approx(dict.fromkeys(found, 1.0), abs=2e-3)


def test_random_codes_score_near_nothing():
    """Of a grid so large that few rows are drawn twice: no code is learnt by heart."""
    sizes = (2,) * 13
    of = Table(np.random.default_rng(1).random((2**13, 4)), perfect(sizes).factors)
    found = scores(of, sizes, 0, 600, 600)
    assert found["mig"] < 0.02 and found["sap"] < 0.05 and found["irs"] < 0.05
    assert found["dci_disentanglement"] < 0.15 and found["dci_completeness"] < 0.15
    assert found["dci_informativeness"] == pytest.approx(1 / 2, abs=0.05)
    assert found["factor_vae_score"] < 0.15 and found["beta_vae_score"] < 0.15


@pytest.mark.slow
def test_scores_are_a_function_of_the_seed():
    weights = np.random.default_rng(0).normal(size=(3, 3))

    def mixed_by(*values):
        return np.einsum("kn,kl->ln", np.stack(values), weights)

    first = scored(mixed_by, 0, 60, 50)
    assert scored(mixed_by, 0, 60, 50) == first
    assert scored(mixed_by, 1, 60, 50) != first


def test_rows_are_drawn_uniformly():
    found = disentanglement.draw((3, 4), np.random.default_rng(0), 12_000)
    counts = np.bincount(found)
    assert len(counts) == 12 and (np.abs(counts - 1000) < 4 * np.sqrt(1000)).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: scores(perfect((3, 1)), (3, 1), 0),
            r"sizes \[3, 1\]: expected at least 1 value each, and at least 2 with more than one",
        ),
        (lambda: scores(perfect((3, 2)), (3, 2, 0), 0), r"sizes \[3, 2, 0\]: expected at least 1 value each"),
        (
            lambda: scores(perfect((3, 2)), (), 0),
            r"sizes \[\]: expected at least 1 value each, and at least 2 with more than one",
        ),
        (lambda: scores(perfect((3, 2)), (3, 2), -1), "seed -1"),
        (lambda: scores(perfect((3, 2)), (3, 2), 0, 1, 9), "train 1, test 9: expected at least"),
        (
            lambda: scores(perfect((3, 2)), (3, 3), 0),
            r"shapes \[6, 2\] and \[6, 2\]: expected all combinations, \[9, latent\] and \[9, 2\]$",
        ),
        (
            lambda: scores(Table(np.zeros((1, 2)), perfect((3, 2)).factors), (3, 2), 0),
            r"\[1, 2\] and \[6, 2\]: expected all",
        ),
        (
            lambda: scores(Table(np.zeros(6), perfect((3, 2)).factors), (3, 2), 0),
            r"\[6\] and \[6, 2\]: expected \[n, latent",
        ),
        (lambda: scores(Table(np.zeros((6, 0)), perfect((3, 2)).factors), (3, 2), 0), "and 1 column"),
        (lambda: scores(Table(np.full((6, 2), np.nan), perfect((3, 2)).factors), (3, 2), 0), "12 codes are not finite"),
        (lambda: mig(Table(np.full((4, 1), np.inf), np.arange(4)[:, None])), "4 codes are not finite"),
        (lambda: mig(Table(np.zeros((4, 2)), np.zeros((3, 2), int))), r"\[4, 2\] and \[3, 2\]: expected \[n, latent\]"),
        (lambda: mig(Table(np.zeros((1, 2)), np.zeros((1, 2), int))), "at least 2 rows"),
        (lambda: mig(Table(np.zeros((4, 2)), np.zeros((4, 2), int))), "0 factors vary: expected at least 1"),
        (lambda: modularity(perfect((3, 1))), "1 factors vary: expected at least 2"),
        (lambda: dci(perfect((3, 1)), perfect((3, 1))), "1 factors vary: expected at least 2"),
        (lambda: sap(perfect((3, 2)), perfect((3, 2, 2))), "expected the same columns"),
        (lambda: beta_vae_score(perfect((3, 2)), np.random.default_rng(0), (0, 1)), "train_votes 0: expected"),
        (lambda: factor_vae_score(perfect((3, 2)), np.random.default_rng(0), group=1), "group 1: expected at least 2"),
        (lambda: factor_vae_score(perfect((3, 1)), np.random.default_rng(0)), "1 factors vary"),
    ],
)
def test_bad_input_is_refused_in_one_line(call, message):
    with pytest.raises(InputError, match=message) as error:
        call()
    assert "\n" not in str(error.value)
