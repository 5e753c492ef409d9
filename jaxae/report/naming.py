"""Names written into a plot where they cover each other least."""

import itertools
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

WIDE, HIGH, MARGIN = 0.68, 1.1, 0.45  # a character's width, a line's height, what a box adds: in the type's size
MOST = 20  # names that are moved: more would be driven out of the plot
ROUNDS = 200


def write(
    axes: Axes,
    names: Sequence[str],
    places: Float[np.ndarray, "n 2"],
    size: float,
    beside: bool = False,
    behind: Sequence[dict[str, Any]] = (),
    **marks: Any,
) -> None:
    """Each name at its place, in units of the axes, or `beside` it, to the right and above; moved away from others that
    it would cover, where they are not too many. The boxes `behind` the names, if there are any, all lie under all
    names. The plot must be whole but for these."""
    figure = axes.figure
    assert isinstance(figure, Figure)
    figure.draw_without_rendering()  # the layout and the limits, which decide what lies where
    start = axes.transData.transform(places) * 72 / figure.dpi
    room = np.array([[WIDE * width(name) + MARGIN, HIGH + MARGIN] for name in names]) * size
    centres = start + (room / 2 + 1 if beside else 0)
    offsets = (apart(centres, room) if len(names) <= MOST else centres) - start
    none: list[dict[str, Any] | None] = [None] * len(names)
    for boxes, alpha in ((behind, 0), (none, 1)):
        for name, place, offset, box in zip(names, places, offsets, boxes):
            text = axes.annotate(name, place, offset, textcoords="offset points", size=size, bbox=box, **marks)
            text.set(alpha=alpha, in_layout=False, ha="center", va="center")


def width(name: str) -> int:
    """In characters, of which Chinese, Japanese and Korean ones are twice as wide."""
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in name)


def apart(centres: Float[np.ndarray, "n 2"], room: Float[np.ndarray, "n 2"]) -> Float[np.ndarray, "n 2"]:
    """The centres of boxes of the sizes `room`, moved until none covers another, each pair along the axis on which it
    overlaps the least; at equal places by their order. Many in little space may still overlap after `ROUNDS`."""
    centres = np.array(centres, np.float64)
    for _ in range(ROUNDS):
        still = True
        for i, j in itertools.combinations(range(len(centres)), 2):
            between = centres[j] - centres[i]
            overlap = (room[i] + room[j]) / 2 - abs(between)
            if (overlap > 1e-9).all():
                axis = int(np.argmin(overlap))
                step = np.copysign(overlap[axis] / 2, between[axis])
                centres[i, axis] -= step
                centres[j, axis] += step
                still = False
        if still:
            break
    return centres
