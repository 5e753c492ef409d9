"""The rows of a comparison's tables as text, for the terminal and the page."""

from collections.abc import Sequence
from typing import Any

import pandas

from jaxae.compare import checks, words
from jaxae.compare.collect import EARLY, LEFT_OUT
from jaxae.compare.contrast import Comparison, Pair, Setting
from jaxae.compare.varied import groups
from jaxae.evaluate import measures


def decimals_of(found: Comparison) -> dict[str, int]:
    """Of each setting's mean, by its label."""
    there = {setting.label: setting.summary for setting in found.settings if setting.summary}
    common = words.places([s.sd for s in there.values()], [s.mean for s in there.values()])
    return {label: words.own_places(common, s.sd, s.mean) for label, s in there.items()}


def resampled(found: Comparison) -> bool:
    """Whether a setting has enough seeds for an interval of its IQM."""
    return any(s.summary and s.summary.iqm_low is not None for s in found.settings)


def setting_rows(found: Comparison) -> list[dict[str, Any]]:
    rows, each = [], decimals_of(found)
    for setting in found.settings:
        s = setting.summary
        numbers = dict.fromkeys(("mean", "sd", "median", "iqm"), "–") | {"interval": "–", "iqm_interval": "–"}
        if s:
            decimals = each[setting.label]
            numbers = {name: words.number(getattr(s, name), decimals) for name in ("mean", "sd", "median", "iqm")}
            numbers["interval"] = words.interval(s.low, s.high, decimals)
            numbers["iqm_interval"] = words.interval(s.iqm_low, s.iqm_high, decimals)
        rows.append({"label": setting.label, "n": len(setting.seeds), "which": _which(setting), **numbers})
    return rows


def _which(setting: Setting) -> str:
    """seeds 0, 1 and 3; 1 diverged"""
    parts = [f"seed{'' if len(setting.seeds) == 1 else 's'} {words.seeds(setting.seeds)}"]
    parts += [f"{len(seeds)} {what}" for what, seeds in _left_out(setting).items() if seeds]
    return "; ".join(parts)


def _left_out(setting: Setting) -> dict[str, tuple[int, ...]]:
    """The seeds that have no value, by why."""
    return {"diverged": setting.diverged, "not finite": setting.not_finite, "missing": setting.missing}


def latex(found: Comparison) -> str:
    """A row a setting, for a paper: what sets it apart, its mean, interval, sd and n, and the seeds that it lost."""
    lost = {what for setting in found.settings for what, seeds in _left_out(setting).items() if seeds}
    names = list(dict.fromkeys(name for setting in found.settings for name in setting.values))
    rows = []
    for setting, row in zip(found.settings, setting_rows(found)):
        measured = {"mean": row["mean"], f"{words.percent(found.level)} interval": row["interval"]}
        measured |= {"sd": row["sd"], "n": str(row["n"])}
        measured |= {what: str(len(seeds)) for what, seeds in _left_out(setting).items() if what in lost}
        apart = {
            f"setting_{name}" if name in measured else name: words.value(setting.values.get(name, "")) for name in names
        }
        rows.append((apart or {"setting": setting.label}) | measured)
    frame = pandas.DataFrame(rows)
    right = 4 + len(lost)
    text = frame.to_latex(index=False, escape=True, column_format="l" * (frame.shape[1] - right) + "r" * right)
    unit = f" in {found.unit}" if found.unit else ""
    about = (
        f"{found.words}{unit}, {found.split} split: mean over n seeds, its interval by Student's t, sd between seeds"
    )
    comments = "".join(f"% {line}\n" for line in (about, *found.caveats))
    return comments + text.replace(words.MINUS, "$-$")


def other_measures(frame: pandas.DataFrame) -> dict[str, Any]:
    """Mean and sd over seeds of every measure that evaluation.json holds, the known ones first. Of settings that may
    not be compared by one it says why; of a setting whose own runs may not, there is no mean."""
    names = checks.measure_names(frame)
    names = [name for name in measures.MEASURES if name in names] + [n for n in names if n not in measures.MEASURES]
    every = groups(frame)
    of = [checks.evaluated(group.rows) for group in every]
    values = {name: [there[name].dropna().astype(float) for there in of] for name in names}
    apart = {name: clash for name in names if (clash := checks.clashes(frame, name))}
    common = {
        name: words.places([v.std() for v in each if len(v) > 1], [v.mean() for v in each if len(v)])
        for name, each in values.items()
    }
    rows = []
    for place, (group, there) in enumerate(zip(every, of)):
        cells = []
        for name in names:
            v = values[name][place]
            mixed = name in apart and checks.clashes(group.rows, name) is not None
            sd = float(v.std()) if len(v) > 1 else None
            decimals = words.own_places(common[name], sd, float(v.mean())) if len(v) else 0
            mean = words.number(float(v.mean()), decimals) if len(v) and not mixed else "–"
            scatter = words.number(sd, decimals) if sd is not None and not mixed else None
            cells.append({"mean": mean, "sd": scatter, "n": len(v)})
        rows.append({"label": group.label, "n": len(there), "cells": cells})
    why = {name: f"{clash.what} ({clash.values})" for name, clash in apart.items()}
    return {"names": [(name, measures.about(name), why.get(name)) for name in names], "rows": rows}


def families(found: Comparison) -> list[dict[str, Any]]:
    """The pairs that are tested together, where there are any."""
    every = [(f"against {found.baseline}", found.against), ("each against each", found.pairs)]
    return [
        {
            "title": title,
            "of_baseline": pairs is found.against,
            "tests": sum(pair.difference.p is not None for pair in pairs),
            "pairs": pairs,
            "rows": pair_rows(pairs),
        }
        for title, pairs in every
        if pairs
    ]


def pair_rows(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    common = words.places([pair.difference.sd for pair in pairs], [pair.difference.mean for pair in pairs])
    return [_pair_row(p, words.own_places(common, p.difference.sd, p.difference.mean or 0.0)) for p in pairs]


def _pair_row(pair: Pair, decimals: int) -> dict[str, Any]:
    d, i = pair.difference, pair.improvement
    return {
        "setting": pair.setting,
        "other": pair.other,
        "n": d.n,
        "difference": words.number(d.mean, decimals, sign=True),
        "interval": words.interval(d.low, d.high, decimals, sign=True),
        "p": words.p_value(d.p),
        "p_holm": words.p_value(pair.p_holm),
        "better": words.number(i.probability if i else None, 2),
        "better_interval": words.interval(i.low, i.high, 2) if i else "–",
        "better_n": (str(i.n), str(i.m)) if i else (),
        "needed": "–" if pair.seeds_needed is None else f"{pair.seeds_needed:,}",
    }


def error_of(measure: str) -> tuple[str, str]:
    """The column that has the error of each run's own value, and what it is."""
    if measure in measures.OF_SAMPLES:
        return f"{measure}_se", "standard error by the choice of images"
    return f"{measure}_mc_se", "Monte Carlo standard error"


def run_rows(frame: pandas.DataFrame, measure: str) -> list[dict[str, Any]]:
    values, errors = frame[measure], frame.get(error_of(measure)[0])
    decimals = words.places([] if errors is None else errors.dropna(), values.dropna())
    rows = []
    for place, (_, row) in enumerate(frame.iterrows()):
        known = not pandas.isna(values.iloc[place]) and row["outcome"] not in LEFT_OUT
        error = None if errors is None or pandas.isna(errors.iloc[place]) else float(errors.iloc[place])
        rows.append(
            {
                "member": row["member"],
                "seed": int(row["seed"]),
                "outcome": f"{EARLY}; its best" if row["outcome"] == EARLY else row["outcome"],
                "step": "–" if pandas.isna(row["step"]) else f"{int(row['step']):,}",
                "value": words.number(float(values.iloc[place]), decimals) if known else "–",
                "error": measures.error(error) if known and error is not None else "",
                "digest": row["digest"] if isinstance(row.get("digest"), str) else "",
            }
        )
    return rows
