"""Training and validation curves."""

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from jaxae.report.svg import ACCENT, INK, PAGE, new_figure, style, to_svg

TITLES = {
    "loss": "loss, nats", "reconstruction": "reconstruction loss, nats", "kl": "KL divergence, nats",
    "bound": "bound, nats",
}  # fmt: skip
EARLY = 0.03  # of the run, whose heights would flatten the rest
TRAINING: dict[str, Any] = {"color": ACCENT, "linewidth": 1.2}
VALIDATION: dict[str, Any] = {
    "color": INK,
    "linewidth": 0.8,
    "marker": "o",
    "markersize": 2.6,
    "linestyle": (0, (1, 2)),
}


def curves(rows: Sequence[dict[str, Any]], names: Sequence[str], alt: str) -> Markup:
    """One panel for each of `names`: training means as a line, validation as points."""
    columns = min(3, len(names))
    lines = -(-len(names) // columns)
    with style():
        figure = new_figure(*{1: (380, 190), 2: (540, 180)}.get(columns, (PAGE, 170 * lines)))
        for place, name in enumerate(names):
            axes = figure.add_subplot(lines, columns, place + 1)
            _curve(axes, rows, name)
            axes.set_title(TITLES.get(name, name.replace("_", " ")))
        return to_svg(figure, alt)


def _curve(axes: Axes, rows: Sequence[dict[str, Any]], name: str) -> None:
    for key, marks in ((name, TRAINING), (f"validation_{name}", VALIDATION)):
        x, y = series(rows, key)
        if len(x):
            marks = marks if len(x) > 1 else {**marks, "marker": "o", "markersize": 3}
            axes.plot(x, y, **marks)
    axes.set_ylim(*limits(rows, name))
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)
    step_axis(axes)
    axes.yaxis.set_major_locator(MaxNLocator(5))


def step_axis(axes: Axes) -> None:
    """Steps from 0, in whole numbers."""
    axes.set_xlim(left=0)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlabel("step")


def series(rows: Sequence[dict[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """(steps, values) of a metric, where it was logged and finite."""
    kept = [(row["step"], row[key]) for row in rows if row.get(key) is not None]
    return [step for step, _ in kept], [value for _, value in kept]


def limits(rows: Sequence[dict[str, Any]], name: str) -> tuple[float, float]:
    """What a panel shows: everything but the `EARLY` part of the run."""
    last = max(row["step"] for row in rows)
    late = [row for row in rows if row["step"] > EARLY * last]
    keys = (name, f"validation_{name}")
    values = [v for key in keys for v in series(late, key)[1]] or [v for key in keys for v in series(rows, key)[1]]
    return padded(values)


def padded(values: Sequence[float]) -> tuple[float, float]:
    """Their least and greatest, with a margin."""
    low, high = min(values), max(values)
    margin = 0.06 * (high - low) or 0.5
    return low - margin, high + margin
