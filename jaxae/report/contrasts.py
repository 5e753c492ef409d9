"""Plots of settings and of their differences, every seed's point among them."""

import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jaxae.compare import Comparison, Pair, Setting
from jaxae.compare.varied import is_number
from jaxae.report.svg import ACCENT, INK, MUTED, PAGE, RULE, new_figure, style, to_svg

ROUND = [1, 2, 2.5, 5, 10]  # steps of a scale
SIDE_BY_SIDE = 12  # settings that fit beside each other
WIDE = 40  # characters of a name on one line
LINE = 13  # points
CLOSEST = 0.05  # of the axis, between two settings that are still told apart on it
POINT: dict[str, Any] = {"s": 20, "alpha": 0.85, "linewidths": 0, "zorder": 3}
MEAN: dict[str, Any] = {"color": INK, "zorder": 4}


class Places(NamedTuple):
    """Where settings lie on an axis. gap: between the nearest two."""

    at: list[float]
    label: str
    gap: float


def axis_of(settings: Sequence[Setting]) -> Places | None:
    """Places by value where the settings are numbers of one field: logarithmic where that spreads them more evenly.
    None where they are names, or too many or too close for an axis."""
    names = {name for setting in settings for name in setting.values}
    if len(names) != 1 or not 2 < len(settings) <= SIDE_BY_SIDE:
        return None
    name = names.pop()
    values = [float(value) for setting in settings if is_number(value := setting.values.get(name))]
    if len(values) < len(settings):
        return None
    plain = Places(values, name, _gap(values))
    if min(values) > 0:
        logs = [math.log10(value) for value in values]
        if _gap(logs) / np.ptp(logs) >= _gap(values) / np.ptp(values):
            plain = Places(logs, f"{name}, logarithmic", _gap(logs))
    return plain if plain.gap / np.ptp(plain.at) > CLOSEST else None


def _gap(values: Sequence[float]) -> float:
    return float(np.diff(np.sort(values)).min())


def strip(found: Comparison, colours: Sequence[str], alt: str) -> Markup:
    """Every seed's value, a faint line for each seed from setting to setting; beside, mean and interval."""
    places = axis_of(found.settings)
    across = places is not None
    n = len(found.settings)
    at, label, gap = places or Places(list(range(n)), "", 1.0)
    names = [f"{_short(setting, across)}\n(n = {len(setting.seeds)})" for setting in found.settings]
    if not across:
        names = [_wrapped(name) for name in names]
    with style():
        figure = new_figure(PAGE, 250 if across else 52 + _row_height(names, 30) * n)
        axes = figure.add_subplot()
        spread = [_spread(setting, place, gap) for setting, place in zip(found.settings, at)]
        if n <= SIDE_BY_SIDE:
            _seed_lines(axes, found.settings, spread, across)
        for setting, place, seeds, colour in zip(found.settings, at, spread, colours):
            axes.scatter(*_turned(seeds, setting.of, across), color=colour, **POINT)
            if s := setting.summary:
                _mean(axes, place + 0.22 * gap, s.mean, (s.low, s.high), across)
        _settings_axis(axes, at, names, gap, across)
        value = f"{found.words}, {found.unit}" if found.unit else found.words
        (axes.set_ylabel if across else axes.set_xlabel)(value)
        if label:
            axes.set_xlabel(label)
        return to_svg(figure, alt)


def _short(setting: Setting, across: bool) -> str:
    """On an axis that has a field's name, the value is enough."""
    return setting.label.partition("=")[2] if across else setting.label


def _wrapped(name: str) -> str:
    """A long name on several lines, broken between its fields: after a comma, but within no brackets."""
    whole = re.sub(r"\s(?=[^()]*\))", "\N{NO-BREAK SPACE}", name)
    return textwrap.fill(whole, WIDE, break_on_hyphens=False).replace("\N{NO-BREAK SPACE}", " ")


def _row_height(names: Sequence[str], least: int) -> int:
    return max(least, LINE * (1 + max(name.count("\n") + 1 for name in names)))


def _spread(setting: Setting, place: float, gap: float) -> np.ndarray:
    """Seeds beside each other, so that equal values do not hide one another."""
    n = len(setting.seeds)
    return place + gap * (np.linspace(-0.2, 0.08, n) if n > 1 else np.full(n, -0.06))


def _turned(along: Any, value: Any, across: bool) -> tuple[Any, Any]:
    return (along, value) if across else (value, along)


def _seed_lines(axes: Axes, settings: Sequence[Setting], spread: Sequence[np.ndarray], across: bool) -> None:
    seeds = sorted({seed for setting in settings for seed in setting.seeds})
    for seed in seeds:
        having = [(s, x, s.seeds.index(seed)) for s, x in zip(settings, spread) if seed in s.seeds]
        line = _turned([x[i] for _, x, i in having], [s.of[i] for s, _, i in having], across)
        axes.plot(*line, color=RULE, linewidth=0.7, zorder=1)


def _mean(axes: Axes, place: float, mean: float, ends: tuple[float | None, float | None], across: bool) -> None:
    if ends[0] is not None:
        axes.plot(*_turned([place, place], ends, across), linewidth=1.5, solid_capstyle="butt", **MEAN)
    axes.plot(*_turned([place], [mean], across), marker="D", markersize=4.2, markeredgewidth=0, **MEAN)


def _settings_axis(axes: Axes, at: Sequence[float], names: Sequence[str], gap: float, across: bool) -> None:
    limits = (min(at) - 0.5 * gap, max(at) + 0.5 * gap)
    axes.grid(True, axis="y" if across else "x")
    axes.set_axisbelow(True)
    if across:
        axes.set_xticks(at, names)
        axes.set_xlim(limits)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))
        return
    axes.set_yticks(at, names)
    axes.set_ylim(limits[::-1])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(7, steps=ROUND))


def differences(pairs: Sequence[Pair], title: str, alt: str) -> Markup:
    """One row a setting against the baseline: every common seed's difference, and under it their mean and interval; a
    line at 0."""
    names = [_wrapped(f"{pair.setting} (n = {len(pair.seeds)})") for pair in pairs]
    with style():
        figure = new_figure(PAGE, 52 + _row_height(names, 34) * len(pairs))
        axes = figure.add_subplot()
        axes.axvline(0, color=MUTED, linewidth=0.9, zorder=1)
        for row, pair in enumerate(pairs):
            axes.scatter(pair.differences, np.full(len(pair.differences), row - 0.14), color=ACCENT, **POINT)
            d = pair.difference
            if d.mean is not None:
                _mean(axes, row + 0.18, d.mean, (d.low, d.high), across=False)
        _settings_axis(axes, list(range(len(pairs))), names, 1.0, across=False)
        axes.set_xlabel(title)
        return to_svg(figure, alt)
