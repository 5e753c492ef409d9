"""The page of a comparison put together: what each section shows, computed; the template has the words."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas

from jaxae import log
from jaxae.compare import Comparison, checks, compare, rows, words
from jaxae.compare.collect import DIVERGED, MISSING, NOT_FINITE, table
from jaxae.compare.varied import Group, fields, groups
from jaxae.evaluate import measures
from jaxae.folder import RunFolder
from jaxae.report import contrasts, origin, trajectories
from jaxae.report.plots import colours as hues
from jaxae.report.templates import fill


def render(
    paths: Iterable[str | Path], measure: str | None, baseline: str | None, level: float, split: str = "test",
    where: Mapping[str, Any] = {},
) -> str:  # fmt: skip
    """The whole page as text."""
    places = [Path(path) for path in paths]
    whole = table(places, split, where)
    found = compare(whole, measure, baseline, level)
    frame = checks.with_measure(whole, found.measure)
    every = groups(frame)
    colours = hues(len(every))
    known = fields(frame)
    comparable = checks.clashes(whole, "elbo") is None
    context = {
        "found": found,
        "level": words.percent(level),
        "fields": known,
        "where": [f"{name}={value}" for name, value in where.items()],
        "legend": list(zip((s.label for s in found.settings), colours, itertools.cycle(trajectories.DASHES))),
        "counts": counts(frame),
        "evaluation": _measured(checks.evaluated(frame), found.measure),
        "headline": headline(found),
        "settings": rows.setting_rows(found),
        "resampled": rows.resampled(found),
        "strip": contrasts.strip(found, colours, f"{found.words} of every seed, by setting"),
        "carlo": carlo(frame, found.measure),
        "error": rows.error_of(found.measure)[1],
        "others": rows.other_measures(whole),
        "spaces": checks.distinct(frame, "feature_space"),
        "annealings": checks.distinct(frame, "annealing"),
        "fewer": fewer(frame),
        "families": families(found),
        "comparable": comparable,
        "plane": plane(every, colours) if comparable and trajectories.has_plane(frame, known) else None,
        "curves": curves(frame, every, colours),
        "runs": rows.run_rows(frame, found.measure),
        **origin.origin(places, frame),
    }
    return fill("comparison.jinja", context)


def counts(frame: pandas.DataFrame) -> dict[str, Any]:
    seeds = sorted({int(seed) for seed in frame["seed"]})
    return {
        "runs": len(frame),
        "evaluated": len(checks.evaluated(frame)),
        "seeds": words.seeds(seeds),
        "diverged": _left_out(frame, [DIVERGED]),
        "not_finite": _left_out(frame, [NOT_FINITE]),
        "missing": _left_out(frame, MISSING),
    }


def _left_out(frame: pandas.DataFrame, outcomes: Sequence[str]) -> list[dict[str, Any]]:
    left = frame[frame["outcome"].isin(outcomes)]
    steps = [None if pandas.isna(step) else int(step) for step in left["step"]]
    of = zip(left["member"], left["outcome"], steps)
    return [{"member": member, "outcome": outcome, "step": step} for member, outcome, step in of]


def _measured(frame: pandas.DataFrame, measure: str) -> dict[str, Any]:
    """How all evaluated runs were measured, and of which images: for some measures these are not all of the split."""
    names = ("split", "examples", "samples", *(f"{group}_examples" for group in measures.OF_FEWER))
    said = {name: next(iter(checks.distinct(frame, name)), None) for name in names}
    own = [said[f"{group}_examples"] for group, names in measures.OF_FEWER.items() if measure in names]
    count = next(iter(own), None) or said["examples"]
    images = f"{int(count):,} images" if count else "images"
    if measure == "bdmc_gap":
        return said | {"images": f"{images} each, which it drew itself"}
    if measure in measures.OF_FACTORS:
        return said | {"images": "the same images, those of every combination of the factors"}
    return said | {"images": f"the same {images} of the {said['split'] or 'test'} split"}


def fewer(frame: pandas.DataFrame) -> list[tuple[str, int]]:
    """The groups of measures that are of fewer images than the split has, and how many."""
    said = _measured(checks.evaluated(frame), "")
    each = [(group, said[f"{group}_examples"]) for group in measures.OF_FEWER]
    return [(group, int(count)) for group, count in each if count is not None and count < (said["examples"] or 0)]


def headline(found: Comparison) -> dict[str, Any] | None:
    """The setting with the best mean, or all that have it, where one end is better and there are others."""
    there = [s for s in found.settings if s.summary]
    if found.better is None or len(there) < 2:
        return None
    means = [s.summary.mean for s in there if s.summary]
    at = (min if found.better == "lower" else max)(means)
    best = [s for s, mean in zip(there, means) if abs(mean - at) <= words.ROUNDING * abs(at)]
    s, decimals = best[0].summary, rows.decimals_of(found)[best[0].label]
    assert s is not None
    if len(best) == len(there):
        return None
    return {
        "labels": [each.label for each in best],
        "mean": words.number(s.mean, decimals),
        "interval": None if s.low is None else words.interval(s.low, s.high, decimals),
        "n": s.n,
    }


def carlo(frame: pandas.DataFrame, measure: str) -> str | None:
    """The largest error of a run's own value."""
    name, _ = rows.error_of(measure)
    errors = frame[name].dropna() if name in frame else []
    return measures.error(max(errors)) if len(errors) else None


def families(found: Comparison) -> list[dict[str, Any]]:
    """The pairs that are tested together, those against the baseline with their figure."""
    of = f"difference in {found.words}" + (f", {found.unit}" if found.unit else "")
    every = rows.families(found)
    for family in every:
        pairs, title = family["pairs"], family["title"]
        drawn = family["of_baseline"] and any(pair.seeds for pair in pairs)
        family |= {
            "title": title if family["of_baseline"] else f"of {title}",
            "plot": contrasts.differences(pairs, of, f"Differences {title}, of every seed") if drawn else None,
            "unpaired": sum(not pair.seeds for pair in pairs),
        }
    return every


def plane(every: Sequence[Group], colours: Sequence[str]) -> dict[str, Any]:
    """Rate and distortion, with the number of points that each setting has there."""
    drawn = trajectories.plane(every, colours, "KL divergence against reconstruction loss, by setting")
    ns = [len(trajectories.rate_and_distortion(group)) for group in every]
    return {"plot": drawn, "ns": ns, "joined": trajectories.lines([group for group, n in zip(every, ns) if n])}


def curves(frame: pandas.DataFrame, every: Sequence[Group], colours: Sequence[str]) -> dict[str, Any] | None:
    """The validation curves of every run that logged any."""
    logged = {run: log.read(RunFolder(run).metrics_file) for run in frame["run"]}
    logs = trajectories.logs_of(logged, every)
    if not (names := trajectories.shown(logs)):
        return None
    drawn = [sum(any(row.get(name) is not None for row in run for name in names) for run in runs) for runs in logs]
    return {
        "plot": trajectories.learning(logs, colours, "Validation curves of every run, by setting"),
        "two": len(names) == 2,
        "ns": drawn,
        "unfinished": sum(drawn) > len(checks.evaluated(frame)),
        "early": f"{100 * trajectories.EARLY:.0f}",
    }
