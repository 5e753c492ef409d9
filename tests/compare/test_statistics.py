"""Statistics of few seeds against closed forms, textbook numbers, and simulated coverage."""

import numpy as np
import pytest
from scipy import stats

from jaxae.compare import planning, statistics
from jaxae.compare.statistics import Difference, holm, improvement, iqm_interval, paired_difference, summary, t_interval
from jaxae.errors import InputError

# Student 1908, table of Cushny and Peebles: hours of sleep gained by ten patients with each of two drugs
FIRST = np.array([0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0])
SECOND = np.array([1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4])


def test_the_sleep_data_of_student():
    found = paired_difference(SECOND, FIRST)
    assert found.n == 10 and found.mean == pytest.approx(1.58) and found.sd == pytest.approx(1.2299955, abs=1e-7)
    assert found.p == pytest.approx(0.002833, abs=1e-6)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-6)


def test_a_summary_by_hand():
    found = summary(np.array([1.0, 2.0, 3.0, 10.0]))
    assert (found.n, found.mean, found.median, found.iqm) == (4, 4.0, 2.5, 2.5)
    assert found.sd == pytest.approx(np.sqrt(50 / 3))
    half = 3.182446305 * np.sqrt(50 / 3) / 2  # t at 0.975 with 3 degrees of freedom, from any table
    assert (found.low, found.high) == pytest.approx((4 - half, 4 + half))
    assert (found.iqm_low, found.iqm_high) == (None, None)


def test_t_at_two_seeds_is_the_tangent():
    """With one degree of freedom t is Cauchy: its quantile is tan(pi (q - 1/2))."""
    low, high = t_interval(np.array([0.0, 2.0]), 0.9)
    assert (low, high) == pytest.approx((1 - np.tan(np.pi * 0.45), 1 + np.tan(np.pi * 0.45)))


def test_too_few_or_alike():
    one = summary(np.array([3.0]))
    assert one[:2] == (1, 3.0) and (one.low, one.sd, one.median, one.iqm) == (None, None, 3.0, 3.0)
    alike = summary(np.full(9, 3.0))
    assert (alike.sd, alike.low, alike.high, alike.iqm_low) == (0.0, None, None, None)
    for bad in ([np.nan, 1.0], [np.inf]):
        with pytest.raises(InputError, match="expected finite numbers"):
            summary(np.array(bad))
    with pytest.raises(InputError, match="at least one"):
        summary(np.array([]))


def test_iqm_leaves_a_quarter_out_at_each_end():
    values = np.array([100.0, 1, 2, 3, 4, 5, 6, -100])
    assert summary(values).iqm == np.mean([2, 3, 4, 5])
    low, high = iqm_interval(values)
    assert low < 3.5 < high and (low, high) == iqm_interval(values[::-1])


def test_invariances():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=9), rng.normal(size=9)
    here, there = summary(x), summary(x[::-1] + 100)
    for name in ("mean", "low", "high", "median", "iqm", "iqm_low", "iqm_high"):
        assert getattr(there, name) == pytest.approx(getattr(here, name) + 100, abs=1e-9)
    assert summary(x) == summary(x)
    order = rng.permutation(9)
    assert summary(x[order]).iqm_low == here.iqm_low
    a, b = paired_difference(x, y), paired_difference(y[order] + 5, x[order] + 5)
    assert (b.mean, b.low, b.high, b.p) == pytest.approx((-a.mean, -a.high, -a.low, a.p))


def test_what_the_seed_does_to_both_cancels():
    of_seed = np.array([0.0, 50, -20, 7])
    found = paired_difference(of_seed + np.array([1, 1.1, 0.9, 1]), of_seed)
    assert found.sd == pytest.approx(np.std([1, 1.1, 0.9, 1], ddof=1)) and found.p < 1e-3


def test_differences_of_few_pairs():
    nothing = np.array([])
    assert paired_difference(nothing, nothing) == Difference(0, None, None, None, None, None)
    assert paired_difference(np.array([3.0]), np.array([1.0])) == Difference(1, 2.0, None, None, None, None)
    same = np.array([20.1, 23.7, 19.3])
    for shift in (0.0, 0.1):
        found = paired_difference(same + shift, same)
        assert (found.n, found.sd, found.low, found.p) == (3, 0, None, None) and found.mean == pytest.approx(shift)
    with pytest.raises(InputError, match="2 and 3 values"):
        paired_difference(np.zeros(2), np.zeros(3))


def test_the_interval_leaves_zero_out_exactly_where_p_is_small():
    rng = np.random.default_rng(1)
    for _ in range(50):
        found = paired_difference(rng.normal(0.8, 1, 5), np.zeros(5))
        assert (found.low > 0 or found.high < 0) == (found.p < 0.05)


def test_improvement_counts_pairs_and_halves_ties():
    x, y = np.array([1.0, 2, 3]), np.array([2.0, 3, 4, 5])
    found = improvement(x, y)
    wins = sum((a < b) + 0.5 * (a == b) for a in x for b in y)
    assert found.probability == wins / 12 and (found.n, found.m) == (3, 4)
    back = improvement(y, x)
    assert (back.probability, back.low, back.high) == pytest.approx((1 - wins / 12, 1 - found.high, 1 - found.low))
    moved = improvement(np.exp(x), np.exp(y))
    assert moved == found  # ranks alone
    assert improvement(x, x).probability == 0.5


def test_the_ends_of_improvement_solve_their_equation():
    """The variance is that of Hanley and McNeil 1982: Q1 = p / (2 - p), Q2 = 2 p^2 / (1 + p)."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=6), rng.normal(size=6) + 0.5
    found = improvement(x, y)
    for p in (found.low, found.high):
        q1, q2 = p / (2 - p), 2 * p**2 / (1 + p)
        variance = (p * (1 - p) + 5 * (q1 - p**2) + 5 * (q2 - p**2)) / 36
        assert abs(p - found.probability) == pytest.approx(1.959964 * np.sqrt(variance), rel=1e-5)
    assert found.low < found.probability < found.high


def test_improvement_of_settings_that_do_not_overlap_is_still_uncertain():
    found = improvement(np.arange(4.0), np.arange(4.0) + 10)
    assert (found.probability, found.high) == (1.0, 1.0) and 0.5 < found.low < 0.7
    assert improvement(np.arange(20.0), np.arange(20.0) + 50).low > 0.85
    assert improvement(np.arange(2.0), np.arange(5.0))[1:3] == (None, None)
    with pytest.raises(InputError, match="no values"):
        improvement(np.array([]), np.arange(3.0))


@pytest.mark.slow
@pytest.mark.parametrize("n", [3, 5])
def test_coverage_of_the_t_interval(n):
    draws = np.random.default_rng(2).normal(7, 3, (2000, n))
    ends = np.array([t_interval(row) for row in draws])
    assert abs(((ends[:, 0] < 7) & (ends[:, 1] > 7)).mean() - 0.95) < 0.015


def test_coverage_of_the_interquartile_mean(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 400)
    draws = np.random.default_rng(3).normal(size=(400, 8))
    ends = np.array([iqm_interval(row) for row in draws])
    assert 0.90 < ((ends[:, 0] < 0) & (ends[:, 1] > 0)).mean() < 0.97


@pytest.mark.slow
@pytest.mark.parametrize("apart", [0.0, 1.0])
def test_coverage_of_the_probability_of_improvement(apart):
    """Of two normals so many sd apart it is Phi(apart / sqrt 2)."""
    rng, hits = np.random.default_rng(4), 0
    true = stats.norm.cdf(apart / np.sqrt(2))
    for _ in range(500):
        found = improvement(rng.normal(size=5), rng.normal(apart, 1, 5))
        hits += found.low <= true <= found.high
    assert 0.91 < hits / 500 < 0.98


def test_holm_by_hand():
    """Sorted 0.005, 0.01, 0.03, 0.04 of four: times 4, 3, 2, 1, never falling."""
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03, 0.005])), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm(np.array([0.5, 0.6])), [1.0, 1.0])
    np.testing.assert_array_equal(holm(np.array([np.nan, 0.02, np.nan, 0.01])), [np.nan, 0.02, np.nan, 0.02])
    assert len(holm(np.array([]))) == 0


def test_holm_is_never_below_p_nor_above_bonferroni():
    p = np.random.default_rng(5).uniform(size=20) ** 3
    adjusted = holm(p)
    assert (adjusted >= p).all() and (adjusted <= np.minimum(20 * p, 1)).all()
    assert (np.argsort(adjusted[np.argsort(p)], kind="stable") == np.arange(20)).all()


def test_a_difference_that_is_zero_but_for_rounding_is_zero():
    one, other = np.array([327, 301, 332]) / 360, np.array([329, 307, 324]) / 360
    found = paired_difference(one, other)
    assert found.mean == 0 and found.sd > 0.01 and found.p == pytest.approx(1)
    assert planning.seeds_needed(found) is None


@pytest.mark.parametrize(("effect", "seeds"), [(0.2, 199), (0.5, 34), (0.8, 15), (1.0, 10)])
def test_seeds_needed_are_those_of_the_power_tables(effect, seeds):
    """Paired t test, two-sided, alpha 0.05, power 0.8 (Cohen 1988; any power program)."""
    for sign in (1, -1):
        assert planning.seeds_needed(Difference(4, sign * effect, None, None, 1.0, None)) == seeds
    assert planning.power(seeds - 1, effect) < 0.8 <= planning.power(seeds, effect)


def test_power_is_what_a_simulation_finds():
    draws = np.random.default_rng(6).normal(1.2, 1, (20000, 6))
    assert planning.power(6, 1.2) == pytest.approx((stats.ttest_1samp(draws, 0, axis=1).pvalue < 0.05).mean(), abs=0.01)
    assert planning.power(7, 0.0) == pytest.approx(0.05)
    assert planning.power(5, 1e4) == pytest.approx(1.0)


def test_no_number_of_seeds_where_there_is_no_difference_or_no_scatter():
    for mean, sd in ((0.0, 1.0), (1.0, 0.0), (1.0, None), (None, None)):
        assert planning.seeds_needed(Difference(3, mean, None, None, sd, None)) is None
    assert planning.seeds_needed(Difference(3, 1e-4, None, None, 1.0, None)) == pytest.approx(7.849e8, rel=1e-3)
    assert planning.seeds_needed(Difference(3, 1e-3, None, None, 1.0, None)) == pytest.approx(7.849e6, rel=1e-3)
    assert planning.seeds_needed(Difference(3, 1e-15, None, None, 1.0, None)) is None
    assert planning.seeds_needed(Difference(3, 1e3, None, None, 1.0, None)) == 2
