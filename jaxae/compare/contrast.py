"""Settings against each other: what each is worth over its seeds, and every difference with its uncertainty."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas

from jaxae import values
from jaxae.compare import checks, statistics
from jaxae.compare.collect import DIVERGED, MISSING, NOT_FINITE
from jaxae.compare.planning import seeds_needed
from jaxae.compare.statistics import Difference, Improvement, Summary
from jaxae.compare.varied import Group, choose, groups
from jaxae.errors import InputError
from jaxae.evaluate import measures

IMPROVEMENT = {"improvement": "probability", "improvement_low": "low", "improvement_high": "high"}
COLUMNS = ["setting", "other", *Difference._fields, "p_holm", *IMPROVEMENT, "seeds_needed"]
FEW = 5  # settings up to which each is compared with each


class Setting(NamedTuple):
    """One setting. `seeds` are those measured, `of` the values in their order; of the others training diverged, or the
    value is not finite, or they are missing."""

    label: str
    values: dict[str, Any]
    seeds: tuple[int, ...]
    of: tuple[float, ...]
    summary: Summary | None
    diverged: tuple[int, ...]
    missing: tuple[int, ...]
    not_finite: tuple[int, ...] = ()


class Pair(NamedTuple):
    """A setting against another. `difference`: its value minus the other's, over `seeds`, which both have.

    p_holm: adjusted for all the pairs it is listed with. improvement: probability that a seed of it is better (lower,
    where the measure has no better end) than one of the other; None where either has no seed. seeds_needed: paired
    seeds for a power of 0.8 where p_holm is read at 1 - level and none of the other tests helps: each at (1 - level) /
    their number.
    """

    setting: str
    other: str
    seeds: tuple[int, ...]
    differences: tuple[float, ...]
    difference: Difference
    p_holm: float | None
    improvement: Improvement | None
    seeds_needed: int | None


class Comparison(NamedTuple):
    """against: every other setting against the baseline; pairs: each against each, where there are three to five.
    caveats: what else must be said of the values."""

    measure: str
    words: str
    unit: str
    better: str | None
    level: float
    baseline: str
    settings: tuple[Setting, ...]
    against: tuple[Pair, ...]
    pairs: tuple[Pair, ...]
    caveats: tuple[str, ...] = ()
    split: str = "test"

    def frame(self) -> pandas.DataFrame:
        """A row a setting: what sets it apart (setting_NAME, where that is a column of the others), and the columns of
        its `Summary`, empty where no seed was measured; then how many seeds diverged, are not finite or missing."""
        lost = ("diverged", "not_finite", "missing")

        def column(name: str) -> str:
            return f"setting_{name}" if name in (*Summary._fields, *lost) else name

        apart = [{column(name): value for name, value in s.values.items()} for s in self.settings]
        counts = [{name: len(getattr(s, name)) for name in lost} for s in self.settings]
        of = [s.summary._asdict() if s.summary else {"n": 0} for s in self.settings]
        columns = dict.fromkeys(name for values in apart for name in values)
        rows = [a | b | c for a, b, c in zip(apart, of, counts)]
        return pandas.DataFrame(rows, columns=[*columns, *Summary._fields, *lost])

    def latex(self) -> str:
        """The table of a paper (LaTeX, with booktabs): a row a setting, its mean, interval, sd and n seeds, with as
        many digits as the seeds' scatter allows, and how many seeds it lost, where any did. What the numbers are, and
        every caveat, is in comments above it."""
        from jaxae.compare.rows import latex

        return latex(self)

    def differences(self) -> pandas.DataFrame:
        """A row for every setting against the baseline: setting, other, the columns of their `Difference`, p_holm, the
        probability of improvement with its interval, and seeds_needed."""
        return pandas.DataFrame([_row(pair) for pair in self.against], columns=COLUMNS)


def compare(
    frame: pandas.DataFrame, measure: str | None = None, baseline: str | None = None, level: float = statistics.LEVEL
) -> Comparison:
    """Compares the settings in a table of runs, with seeds as the replicates.

    measure: a column of it; by default nll, elbo or mse, the first that all runs have. baseline: a setting by what sets
    it apart, "beta=1"; by default the first that was measured (the lowest, where settings are numbers). Runs that
    diverged, are missing or have no finite value of the measure are counted and left out. Raises InputError where the
    runs cannot be compared.
    """
    if not isinstance(frame, pandas.DataFrame):
        raise InputError(f"compare: a {type(frame).__name__}: expected a table, such as compare.table([...]) gives")
    if not (baseline is None or isinstance(baseline, str)):
        raise InputError(f'baseline {baseline!r}: expected text, such as "beta=1"')
    level = values.plain(level)
    if not isinstance(level, int | float) or not 0 < level < 1:
        raise InputError(f"level {values.said(level)}: expected a share between 0 and 1, such as 0.95")
    wanted, measure = measure, checks.choose_measure(frame, measure)
    passed_over = [] if wanted else checks.passed_over(frame, measure)
    frame = checks.with_measure(frame, measure)
    checks.comparable(frame, measure)
    found = groups(frame)
    for group in found:
        checks.one_run_a_seed(group)
    checks.whole_settings(found)
    if len(found) == 1 and baseline is not None:
        raise InputError(f"baseline {baseline!r}: all {len(frame)} runs are of one setting: give runs of another too")
    measured = [group for group in found if len(checks.evaluated(group.rows))]
    base = choose(measured if baseline is None else found, baseline).label
    settings = tuple(_setting(group, measure, level) for group in found)
    if (of_base := next(s for s in settings if s.label == base)).summary is None:
        raise InputError(f"baseline {base!r}: none of its runs has a value of {measure}: choose another --baseline")
    known = measures.about(measure)
    higher = known.better == "higher"
    against = _pairs([(s, of_base) for s in settings if s is not of_base], level, higher)
    every = combinations(settings, 2) if 2 < len(settings) <= FEW else ()
    pairs = _pairs([(later, earlier) for earlier, later in every], level, higher)
    caveats = (*passed_over, *_caveats(frame, measure))
    if measure == "nll":
        caveats += _biased(found, against)
    if len({setting.seeds for setting in settings if setting.seeds}) > 1:
        caveats += ("the settings' means are over different seeds: the differences are over those that both have",)
    return Comparison(
        measure, known.words, known.unit, known.better, level, base, settings, against, pairs, caveats,
        checks.split_of(frame),
    )  # fmt: skip


def _row(pair: Pair) -> dict[str, Any]:
    chance = pair.improvement._asdict() if pair.improvement else {}
    improvement = {name: chance.get(key) for name, key in IMPROVEMENT.items()}
    return {name: getattr(pair, name, None) for name in COLUMNS} | pair.difference._asdict() | improvement


def _caveats(frame: pandas.DataFrame, measure: str) -> tuple[str, ...]:
    there, found = checks.evaluated(frame), []
    said = partial(checks.distinct, there)
    if measure in measures.OF_LIKELIHOOD:
        found += [f"these nats are of {of}" for of in said("density_of") if of != measures.USUAL_DENSITY]
        found += said("caveat")
    if measure in measures.OF_SAMPLES and (drawn := said("sampler")) not in ([], ["prior"]):
        found.append(f"samples are drawn by {' or '.join(f'the sampler {name}' for name in drawn)}")
    if measure == "frechet" and (floors := said("frechet_floor")):
        found.append(f"real images of the two splits are {max(floors):.3g} apart: no model is to be nearer")
    if measure == "coverage" and (expected := said("coverage_expected")):
        found.append(f"as many draws from the data's own distribution would cover {max(expected):.3g}")
    if measure in measures.OF_THE_CODE and len(said("density_of")) > 1:
        found.append("of conditional methods, this is of what the code tells beside the label")
    if measure in measures.OF_FACTORS:
        found.append(measures.EVERY_FACTOR)
    if measure in (*measures.OF_PROBES, *measures.OF_FACTORS):
        found += [f"of conditional methods, {of}" for of in said("probed")]
    too_high = _biases(groups(there)).values()
    if measure in measures.OF_IMPORTANCE and (high := max(too_high, default=0.0)) >= measures.TOO_HIGH:
        found.append(
            f"for want of importance samples the mean NLL of a setting is up to about {high:.2g} nats too high: "
            "that is in no interval"
        )
    if measure == "ais_nll" and (gap := _gap(there)) >= measures.TOO_HIGH:
        found.append(
            f"the two bounds of AIS may lie {gap:.2g} nats apart, on images of the model's own: its NLL may be wrong "
            "by that much, and that is in no interval"
        )
    if measure == "mutual_information" and {measure, "mutual_information_bound"} <= set(there):
        short = there["mutual_information_bound"] - there[measure]
        if reached := int((short < measures.NEAR).sum()):
            found.append(
                f"{reached} of {len(there)} runs are at the bound of this estimate: there may be more between them"
            )
    return tuple(found)


def _biases(of: Sequence[Group]) -> dict[str, float]:
    """By how much the mean NLL of each setting is too high, for want of importance samples, where that is known."""
    known = {
        group.label: checks.evaluated(group.rows).get("nll_bias", pandas.Series(dtype=float)).mean() for group in of
    }
    return {label: float(bias) for label, bias in known.items() if bias == bias}


def _biased(of: Sequence[Group], pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Of differences that are told from 0 and would not be, were each NLL lowered by what it is too high."""
    biases, found = _biases(of), []
    for pair in pairs:
        low, high = pair.difference.low, pair.difference.high
        if low is None or high is None or not {pair.setting, pair.other} <= set(biases):
            continue
        more = biases[pair.setting] - biases[pair.other]
        nearest = low if low > 0 else high  # to 0
        if low * high > 0 >= nearest * (nearest - more):
            found.append(
                f"want of importance samples alone may set {pair.setting} and {pair.other} {abs(more):.2g} nats apart: "
                "their difference shows no more than that: evaluate both by more --samples"
            )
    return tuple(found)


def _gap(there: pandas.DataFrame) -> float:
    """Between the two bounds of AIS, at most, and by two standard errors of it."""
    gaps = there.get("bdmc_gap", pandas.Series(dtype=float))
    errors = there.get("bdmc_gap_se", pandas.Series(0.0, there.index)).fillna(0.0)
    return float(np.nanmax([*(gaps + 2 * errors), 0.0]))


def _setting(group: Group, measure: str, level: float) -> Setting:
    rows = group.rows.sort_values("seed")
    there = checks.evaluated(rows)
    values = there[measure].to_numpy(np.float64)

    def seeds(of: pandas.DataFrame) -> tuple[int, ...]:
        return tuple(int(seed) for seed in of["seed"])

    return Setting(
        label=group.label,
        values=group.values,
        seeds=seeds(there),
        of=tuple(values.tolist()),
        summary=statistics.summary(values, level) if len(values) else None,
        diverged=seeds(rows[rows["outcome"] == DIVERGED]),
        missing=seeds(rows[rows["outcome"].isin(MISSING)]),
        not_finite=seeds(rows[rows["outcome"] == NOT_FINITE]),
    )


def _pairs(every: Sequence[tuple[Setting, Setting]], level: float, higher: bool) -> tuple[Pair, ...]:
    """The pairs as one family of tests."""
    made = [_pair(one, other, level, higher) for one, other in every]
    p = np.array([np.nan if pair.difference.p is None else pair.difference.p for pair in made], np.float64)
    alpha = (1 - level) / max(1, int(np.sum(~np.isnan(p))))
    return tuple(
        pair._replace(p_holm=None if q != q else q, seeds_needed=seeds_needed(pair.difference, alpha))
        for pair, q in zip(made, statistics.holm(p).tolist())
    )


def _pair(one: Setting, other: Setting, level: float, higher: bool) -> Pair:
    mine, theirs = dict(zip(one.seeds, one.of)), dict(zip(other.seeds, other.of))
    common = tuple(seed for seed in one.seeds if seed in theirs)
    x, y = (np.array([of[seed] for seed in common], np.float64) for of in (mine, theirs))
    difference = statistics.paired_difference(x, y, level)
    improvement = None
    if mine and theirs:
        sign = -1 if higher else 1
        improvement = statistics.improvement(sign * np.array(one.of), sign * np.array(other.of), level)
    return Pair(
        setting=one.label,
        other=other.label,
        seeds=common,
        differences=tuple((x - y).tolist()),
        difference=difference,
        p_holm=None,
        improvement=improvement,
        seeds_needed=None,
    )
