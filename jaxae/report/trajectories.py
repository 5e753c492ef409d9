"""Plots of many runs at once: learning curves, and rate against distortion."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jaxae.compare import words
from jaxae.compare.varied import Group, is_number
from jaxae.report import naming
from jaxae.report.contrasts import ROUND
from jaxae.report.curves import padded, series, step_axis
from jaxae.report.svg import INK, MUTED, PAGE, new_figure, style, to_svg

EARLY = 0.12  # of the run, whose heights would flatten the rest
NAMED = 8  # settings whose names fit into the plane, beside the legend
SHORT = 24  # characters of such a name
DASHES = ((), (5, 2), (1.2, 1.6), (7, 2, 1.2, 2))
"""Of lines, by the places of their settings, so that colour is not all that tells neighbours apart."""
PANELS = {"validation_loss": "validation loss, nats", "validation_elbo": "validation ELBO, nats"}
Rows = Sequence[dict[str, Any]]


def shown(logs: Sequence[Sequence[Rows]]) -> list[str]:
    """The panels there is something for. Where the loss is minus the ELBO in every run, one says it all."""
    every = [rows for runs in logs for rows in runs]
    names = [name for name in PANELS if any(series(rows, name)[0] for rows in every)]
    both = [row for rows in every for row in rows if all(row.get(name) is not None for name in PANELS)]
    if len(names) == 2 and all(np.isclose(row["validation_loss"], -row["validation_elbo"]) for row in both):
        return names[:1]
    return names


def learning(logs: Sequence[Sequence[Rows]], colours: Sequence[str], alt: str) -> Markup:
    """One thin line a run, coloured and dashed by setting."""
    names = shown(logs)
    with style():
        figure = new_figure(PAGE, 230)
        for place, name in enumerate(names):
            axes = figure.add_subplot(1, len(names), place + 1)
            for runs, colour, dash in zip(logs, colours, itertools.cycle(DASHES)):
                for rows in runs:
                    marks: dict[str, Any] = {"marker": "o", "markersize": 2} if len(series(rows, name)[0]) == 1 else {}
                    marks["linestyle"] = (0, dash) if dash else "solid"
                    axes.plot(*series(rows, name), color=colour, linewidth=0.9, alpha=0.85, **marks)
            axes.set_title(PANELS[name])
            axes.set_ylim(*_limits([rows for runs in logs for rows in runs], name))
            _quiet(axes)
            step_axis(axes)
        return to_svg(figure, alt)


def _limits(every: Sequence[Rows], name: str) -> tuple[float, float]:
    points = [series(rows, name) for rows in every]
    last = max(step for steps, _ in points for step in steps)
    return padded([v for steps, values in points for step, v in zip(steps, values) if step > EARLY * last])


def has_plane(frame: pandas.DataFrame, fields: Sequence[str]) -> bool:
    """Whether beta is among what differs, and some run has a KL divergence to show."""
    if "beta" not in fields or not {"kl", "reconstruction"} <= set(frame):
        return False
    return bool((frame["kl"].notna() & frame["reconstruction"].notna()).any())


def plane(groups: Sequence[Group], colours: Sequence[str], alt: str) -> Markup:
    """KL divergence against reconstruction loss; a line joins the means in the order of beta, all else being equal."""
    there = [(group, colour, rate_and_distortion(group)) for group, colour in zip(groups, colours)]
    there = [each for each in there if len(each[2])]
    with style():
        figure = new_figure(PAGE * 0.72, PAGE * 0.5)
        axes = figure.add_subplot()
        for _, colour, points in there:
            axes.scatter(points[:, 0], points[:, 1], s=22, color=colour, alpha=0.8, linewidths=0, zorder=3)
        for line in lines([group for group, _, _ in there]):
            joined = np.array([rate_and_distortion(group).mean(axis=0) for group in line])
            axes.plot(joined[:, 0], joined[:, 1], color=MUTED, linewidth=0.9, zorder=2)
        _equal_elbo(axes, [points for _, _, points in there])
        _quiet(axes)
        axes.set_xlabel("rate: KL divergence, nats")
        axes.set_ylabel("distortion: reconstruction loss, nats")
        if len(there) <= NAMED and all(len(group.label) <= SHORT for group, _, _ in there):
            middles = np.array([points.mean(axis=0) for _, _, points in there])
            naming.write(axes, [group.label for group, _, _ in there], middles, 8.5, beside=True)
        return to_svg(figure, alt)


def lines(groups: Sequence[Group]) -> list[list[Group]]:
    """Settings that differ in beta alone, in its order."""
    alike: dict[str, list[Group]] = {}
    for group in groups:
        if is_number(group.values.get("beta")):
            others = words.setting({k: v for k, v in group.values.items() if k != "beta"})
            alike.setdefault(others, []).append(group)
    return [sorted(each, key=lambda group: float(group.values["beta"])) for each in alike.values() if len(each) > 1]


def rate_and_distortion(group: Group) -> np.ndarray:
    """[seeds, 2]: KL divergence and reconstruction loss."""
    return group.rows[["kl", "reconstruction"]].dropna().to_numpy(np.float64)


def _equal_elbo(axes: Axes, of: Sequence[np.ndarray]) -> None:
    """The line of all pairs that have the best setting's ELBO, -(rate + distortion)."""
    best = min(float(points.sum(axis=1).mean()) for points in of)
    every = np.concatenate(of)
    low, high = every.min(axis=0), every.max(axis=0)
    margin = np.where(high > low, 0.1 * (high - low), 1.0)
    x = np.array([max(0.0, low[0] - margin[0]), high[0] + 2 * margin[0]])
    axes.plot(x, best - x, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
    axes.set_xlim(x[0] - (0.2 * margin[0] if x[0] == 0 else 0), x[1])
    axes.set_ylim(low[1] - margin[1], high[1] + margin[1])


def _quiet(axes: Axes) -> None:
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=ROUND))
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=ROUND))


def logs_of(rows: Mapping[str, Rows], groups: Sequence[Group]) -> list[list[Rows]]:
    """The logged rows of each setting's runs, by the runs' paths."""
    return [[rows[run] for run in group.rows["run"] if rows.get(run)] for group in groups]
