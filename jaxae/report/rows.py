"""The rows of a comparison's tables, as text."""

from typing import Any

import pandas

from jaxae.compare import Comparison, Pair, Setting, checks, words
from jaxae.compare.collect import DIVERGED, MISSING
from jaxae.compare.varied import groups
from jaxae.evaluate import measures


def setting_rows(found: Comparison) -> list[dict[str, Any]]:
    decimals = words.places(s.summary.sd for s in found.settings if s.summary)
    rows = []
    for setting in found.settings:
        s = setting.summary
        numbers = dict.fromkeys(("mean", "sd", "median", "iqm"), "–") | {"interval": "–", "iqm_interval": "–"}
        if s:
            numbers = {name: words.number(getattr(s, name), decimals) for name in ("mean", "sd", "median", "iqm")}
            numbers["interval"] = words.interval(s.low, s.high, decimals)
            numbers["iqm_interval"] = words.interval(s.iqm_low, s.iqm_high, decimals)
        rows.append({"label": setting.label, "n": len(setting.seeds), "which": _which(setting), **numbers})
    return rows


def _which(setting: Setting) -> str:
    """seeds 0, 1 and 3; 1 diverged"""
    parts = [f"seed{'' if len(setting.seeds) == 1 else 's'} {words.seeds(setting.seeds)}"]
    left_out = {"diverged": setting.diverged, "missing": setting.missing}
    parts += [f"{len(seeds)} {what}" for what, seeds in left_out.items() if seeds]
    return "; ".join(parts)


def other_measures(frame: pandas.DataFrame) -> dict[str, Any]:
    """Mean and sd over seeds of every measure that evaluation.json holds, the known ones first."""
    names = checks.measure_names(frame)
    names = [name for name in measures.MEASURES if name in names] + [n for n in names if n not in measures.MEASURES]
    every = groups(frame)
    of = [checks.evaluated(group.rows) for group in every]
    decimals = {name: words.places(float(rows[name].std()) for rows in of if rows[name].count() > 1) for name in names}
    rows = []
    for group, there in zip(every, of):
        cells = []
        for name in names:
            values = there[name].dropna().astype(float)
            mean = words.number(float(values.mean()), decimals[name]) if len(values) else "–"
            sd = words.number(float(values.std()), decimals[name]) if len(values) > 1 else None
            cells.append({"mean": mean, "sd": sd, "n": len(values)})
        rows.append({"label": group.label, "n": len(there), "cells": cells})
    return {"names": [(name, measures.about(name)) for name in names], "rows": rows}


def pair_row(pair: Pair, decimals: int) -> dict[str, Any]:
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
        "better_interval": words.interval(i.low, i.high, 2) if i and i.low is not None else "",
        "better_n": f"{i.n} × {i.m}" if i else "",
        "needed": "–" if pair.seeds_needed is None else f"{pair.seeds_needed:,}",
    }


def run_rows(frame: pandas.DataFrame, measure: str) -> list[dict[str, Any]]:
    values, errors = frame[measure], frame.get(f"{measure}_mc_se")
    decimals = words.places([] if errors is None else errors.dropna(), 4)
    rows = []
    for place, (_, row) in enumerate(frame.iterrows()):
        known = not pandas.isna(values.iloc[place]) and row["outcome"] not in (DIVERGED, *MISSING)
        error = None if errors is None or pandas.isna(errors.iloc[place]) else float(errors.iloc[place])
        rows.append(
            {
                "member": row["member"],
                "seed": int(row["seed"]),
                "outcome": row["outcome"],
                "step": "–" if pandas.isna(row["step"]) else f"{int(row['step']):,}",
                "value": words.number(float(values.iloc[place]), decimals) if known else "–",
                "error": f"{error:.2g}" if known and error is not None else "",
                "digest": row["digest"] if isinstance(row.get("digest"), str) else "",
            }
        )
    return rows
