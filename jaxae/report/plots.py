"""The report's plots of codes and latent units."""

import colorsys
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Circle
from matplotlib.ticker import MaxNLocator

from jaxae.evaluate.units import ACTIVE, Units
from jaxae.report import naming
from jaxae.report.svg import ACCENT, INK, MUTED, PAGE, PAPER, new_figure, style, to_svg

MOST = 1000  # of labels, beyond which a colour is that of a label's place among those there are
MANY = 1000  # points from which a scatter is a bitmap inside the plot
# Ten hues told apart on white and on black, after Tableau
TEN = (
    "#4e79a7",
    "#f28e2b",
    "#e15759",
    "#59a14f",
    "#b07aa1",
    "#9c755f",
    "#ff9da7",
    "#76b7b2",
    "#edc948",
    "#8f8a84",
)
ONE_COLOUR = TEN[0]  # where nothing has a label
UNLABELLED = "#9600ff"  # where some have
SHORT = 12  # characters of a label's name
NAMED = 100  # labels at most that have a line each
AMONG = 26  # labels at most whose names are written among the points, which they hide
BOX: dict[str, Any] = {"boxstyle": "round,pad=0.2", "facecolor": PAPER, "linewidth": 1.1, "alpha": 0.6}


def colours(n: int) -> list[str]:
    """n colours for classes: hues round the circle, alternately light and dark where there are many."""
    if n <= len(TEN):
        return list(TEN[:n])
    rgb = [colorsys.hls_to_rgb(i / n, (0.42, 0.6)[i % 2], 0.6) for i in range(n)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in each) for each in rgb]


def unit_bars(of: Units, alt: str) -> Markup:
    """KL (where there is one) and variance of each latent unit, the busiest first."""
    n = len(of.order)
    panels = [("variance of the codes", of.variance, "variance")]
    if of.kl is not None:
        panels = [("KL divergence", of.kl, "nats"), ("variance of the mean", of.variance, "variance")]
    with style():
        figure = new_figure(min(PAGE, max(220, 90 + 20 * n)), 120 * len(panels) + 20)
        for place, (title, values, unit) in enumerate(panels):
            axes = figure.add_subplot(len(panels), 1, place + 1)
            axes.bar(np.arange(n), values[of.order], width=0.72, color=ACCENT)
            axes.set_title(title)
            axes.set_ylabel(unit)
            axes.set_xlim(-0.7, n - 0.3)
            axes.yaxis.set_major_locator(MaxNLocator(4))
            _unit_ticks(axes, of.order)
        if of.kl is not None:
            axes.axhline(ACTIVE, color=INK, linewidth=0.8, linestyle=(0, (3, 2)))
        axes.set_xlabel("latent unit")
        return to_svg(figure, alt)


def _unit_ticks(axes: Axes, order: Int[np.ndarray, " latent"]) -> None:
    every = -(-len(order) // 32)
    axes.set_xticks(np.arange(0, len(order), every), [str(unit) for unit in order[::every]])
    axes.tick_params(axis="x", length=0)


def scatter(
    points: Float[np.ndarray, "n 2"],
    labels: Int[np.ndarray, " n"],
    names: Sequence[str],
    axis_names: tuple[str, str],
    alt: str,
    circle: bool = False,
) -> Markup:
    """Points coloured by label, each label's name near the median of its points; no name where none has a label."""
    with style():
        figure = new_figure(PAGE / 2 - 10, PAGE / 2 - 10)
        axes = figure.add_subplot()
        coloured = _points(axes, points, labels)
        if circle:
            axes.add_patch(Circle((0, 0), 2, fill=False, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3))))
        axes.set_aspect("equal", adjustable="datalim")
        axes.set_xlabel(axis_names[0])
        axes.set_ylabel(axis_names[1])
        found = np.unique(labels).tolist() if (labels >= 0).any() else []
        if 0 < len(found) <= AMONG:
            middles = np.array([np.median(points[labels == label], axis=0) for label in found])
            boxes = [BOX | {"edgecolor": coloured[labels == label][0]} for label in found]
            marks: dict[str, Any] = {"behind": boxes, "weight": "bold"}
            written = [class_name(names, label) for label in found]
            small = len(found) > 20 or max(map(len, written)) > 4
            naming.write(axes, written, middles, 7 if small else 9, **marks)
        return to_svg(figure, alt)


def strip(codes: Float[np.ndarray, " n"], labels: Int[np.ndarray, " n"], names: Sequence[str], alt: str) -> Markup:
    """One latent unit: a line of ticks for each label."""
    found, line = np.unique(labels, return_inverse=True)
    names_of = [class_name(names, label) for label in found.tolist()]
    if len(found) > NAMED:
        names_of, line = [""], np.zeros_like(line)
    with style():
        figure = new_figure(PAGE, 60 + 14 * len(names_of))
        axes = figure.add_subplot()
        _points(axes, np.stack([codes, line], axis=1), labels, "|", 60)
        axes.set_yticks(range(len(names_of)), names_of)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(len(names_of) - 0.4, -0.6)
        axes.set_xlabel("z")
        return to_svg(figure, alt)


def _points(axes: Axes, points: np.ndarray, labels: np.ndarray, marker: str = "o", size: float = 13) -> np.ndarray:
    """Each one's colour."""
    if labels.max(initial=-1) >= MOST:  # numbers that stand for persons, days or the like
        labels = np.where(labels < 0, -1, np.unique(labels, return_inverse=True)[1])
    classes = max(10, int(labels.max(initial=-1)) + 1)
    coloured = np.array([*colours(classes), ONE_COLOUR if (labels < 0).all() else UNLABELLED])[labels]
    alpha = 0.85 if len(points) < MANY else 0.55
    width = 0.8 if marker == "|" else 0
    axes.scatter(
        points[:, 0], points[:, 1], s=size if len(points) < MANY else size / 3, c=coloured,
        marker=marker, alpha=alpha, linewidths=width, rasterized=len(points) > MANY,
    )  # fmt: skip
    return coloured


def spectrum(ratio: Float[np.ndarray, " latent"], alt: str) -> Markup:
    """Explained variance, component by component, and its sum."""
    with style():
        figure = new_figure(PAGE / 2 - 10, PAGE / 2 - 10)
        axes = figure.add_subplot()
        at = np.arange(1, len(ratio) + 1)
        axes.bar(at, 100 * ratio, width=0.72, color=ACCENT)
        axes.plot(at, 100 * np.cumsum(ratio), color=INK, linewidth=0.9, marker="o", markersize=2.4)
        axes.set_ylim(0, 104)
        axes.grid(True, axis="y")
        axes.set_axisbelow(True)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlim(0.3, len(ratio) + 0.7)
        axes.set_xlabel("principal component")
        axes.set_ylabel("explained variance, %")
        return to_svg(figure, alt)


def class_name(names: Sequence[str], label: int) -> str:
    """A label in words, cut short where that leaves it apart from the others; its number where it has none."""
    if label < 0:
        return "unlabelled"
    if label >= len(names):
        return str(label)
    name, others = str(names[label]), {str(name) for name in names}
    if len(name) <= SHORT:
        return name
    for cut in (lambda name: f"{name[: SHORT - 1]}…", lambda name: f"{name[:4]}…{name[4 - SHORT + 1 :]}"):
        if [cut(other) if len(other) > SHORT else other for other in others].count(cut(name)) == 1:
            return cut(name)
    return f"{name[: SHORT - 4]}… {label}"
