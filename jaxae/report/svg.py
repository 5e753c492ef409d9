"""A matplotlib figure as inline SVG that takes its colours and typeface from the page, light or dark."""

import contextlib
import io
import re
import warnings
from collections.abc import Iterator
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

# Colours no figure would use, each exchanged for one of the page's
INK, MUTED, RULE, PAPER, ACCENT = (f"#0{n}0{n}0{n}" for n in range(1, 6))
OF_PAGE = {
    INK: "currentColor",
    MUTED: "var(--muted)",
    RULE: "var(--rule)",
    PAPER: "var(--paper)",
    ACCENT: "var(--accent)",
}
PAGE = 660  # the width of the page's column in points
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "jaxae",
    "font.size": 9.0,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.labelsize": 9.0,
    "axes.grid.axis": "y",
    "axes.unicode_minus": True,
    "axes.formatter.useoffset": False,
    "figure.facecolor": "none",
    "grid.color": RULE,
    "grid.linewidth": 0.5,
    "lines.solid_capstyle": "round",
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3.0,
    "ytick.major.size": 3.0,
}


def new_figure(width: float, height: float) -> Figure:
    """A figure of that size in points, outside matplotlib's global state."""
    return Figure(figsize=(width / 72, height / 72), dpi=200, layout="constrained")


@contextlib.contextmanager
def style() -> Iterator[None]:
    """The report's figure style for as long as it lasts, whatever the user's own settings."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def to_svg(figure: Figure, alt: str) -> Markup:
    """The figure's <svg> element, to be put into the page as it is."""
    file, nothing = io.StringIO(), dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with warnings.catch_warnings():  # the page's typefaces have them
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from")
        FigureCanvasSVG(figure).print_svg(file, metadata=nothing)
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', "", text)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r'(<g) id="[^"]*"', r"\1", text)  # matplotlib numbers its groups afresh in every figure
    text = re.sub(r"<style.*?</style>", "", text, flags=re.S)  # it would hold for the whole page
    text = re.sub(r"font: ((?:\w+ )*)([\d.]+px) [^;\"]*", _longhand, text)
    text = re.sub(r" ?font-family: [^;\"]*;?", "", text)
    text = re.sub(r">\s+<", "><", text)
    text = re.sub(r"<[^>]*>", _of_page, text)
    return Markup(text.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1))


def _of_page(tag: re.Match) -> str:
    text = tag[0]
    for colour, variable in OF_PAGE.items():
        text = text.replace(colour, variable)
    return text


def _longhand(font: re.Match) -> str:
    """Matplotlib before 3.11 writes a text's size, weight and family in one."""
    bold = "bold" in font[1] or "700" in font[1]
    return f"font-size: {font[2]}" + ("; font-weight: 700" if bold else "")
