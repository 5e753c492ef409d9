"""The page's figures, by matplotlib's object interface, in the style of the library's reports."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.continuity.claims import Values, interval
from experiments.continuity.measures import Model
from jaxae.report import latent, plots
from jaxae.report.pictures import data_uri
from jaxae.report.svg import INK, MUTED, RULE, style, to_svg

NAMES = {"ae": "AE", "vae": "VAE"}
COLOURS = {"ae": "#d9772b", "vae": "#4e79a7"}
SIDE, FINE, STEPS = 15, 80, 11


Panel = tuple[str, str, float | None]


def strips(
    latents: Mapping[int, Mapping[str, Values]],
    panels: Sequence[Panel],
    limits: tuple[float | None, float | None],
    alt: str,
) -> Markup:
    """One panel for each (key, title, reference): every seed a point, its two models joined; mean and
    interval."""
    with style():
        figure = Figure(figsize=(plots.PAGE / 72, 190 / 72), layout="constrained")
        for place, (key, title, reference) in enumerate(panels):
            axes = figure.add_subplot(1, max(3, len(panels)), place + 1)
            _strip(axes, latents, key)
            if reference is not None:
                axes.axhline(reference, color=INK, linewidth=0.7, linestyle=(0, (4, 3)))
            axes.set_title(title, fontsize=8.5)
            axes.set_ylim(*limits)
            axes.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        return to_svg(figure, alt)


def _strip(axes: Axes, latents: Mapping[int, Mapping[str, Values]], key: str) -> None:
    ticks: dict[float, str] = {}
    for group, (size, methods) in enumerate(latents.items()):
        at = {name: 2.7 * group + place for place, name in enumerate(methods)}
        both = np.stack([methods[name][key] for name in methods])
        axes.plot(list(at.values()), both, color=RULE, linewidth=0.6, zorder=1)
        for name, x in at.items():
            values, of = methods[name][key], interval(methods[name][key])
            axes.scatter(np.full(len(values), x), values, 9, COLOURS[name], alpha=0.55, linewidths=0, zorder=2)
            axes.plot([x + 0.28] * 2, [of.low, of.high], color=COLOURS[name], linewidth=2.2, zorder=3)
            axes.plot(x + 0.28, of.mean, marker="_", color=COLOURS[name], markersize=9, zorder=3)
            ticks[x] = f"{NAMES[name]}\n{size}"
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.set_xlim(-0.6, max(ticks) + 0.8)
    axes.tick_params(axis="x", length=0)
    axes.grid(True, axis="y")
    axes.set_axisbelow(True)


def plane(codes: np.ndarray, labels: np.ndarray, names: Sequence[str], alt: str) -> Markup:
    """The codes coloured by label: as they are for two units, else on their first principal components."""
    if codes.shape[1] == 2:
        return plots.scatter(codes, labels, names, ("z₀", "z₁"), alt)
    points, ratio = latent.components(codes)
    first, second = (f"component {k + 1} ({100 * ratio[k]:.0f} %)" for k in range(2))
    return plots.scatter(points, labels, names, (first, second), alt)


def manifold(model: Model, codes: np.ndarray) -> Markup:
    """The decoded lattice over the middle 98 % of the codes along each axis."""
    at = latent.plane(latent.lattice(codes, SIDE, gaussian=False))
    made = model.decode(at.reshape(-1, 2))
    return data_uri(made.reshape(SIDE, SIDE, *made.shape[1:]), gap=0, tile=40)


def sureness(model: Model, codes: np.ndarray, classify, alt: str) -> Markup:
    """The classifier's largest probability of the image decoded at each place, and the codes on top."""
    lines = latent.lattice(codes, FINE, gaussian=False)
    at = latent.plane(lines).reshape(-1, 2)
    sure = classify(model.decode(at)).max(axis=1).reshape(FINE, FINE)
    (left, bottom), (right, top) = lines[0], lines[-1]
    with style():
        figure = Figure(figsize=(plots.PAGE / 144, plots.PAGE / 158), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        shown = axes.imshow(sure, "cividis", vmin=0.1, vmax=1, extent=(left, right, bottom, top), aspect="auto")
        inside = (codes > lines[0]).all(axis=1) & (codes < lines[-1]).all(axis=1)
        size = 3 if inside.sum() < plots.MANY else 0.4
        axes.scatter(codes[inside, 0], codes[inside, 1], size, "white", linewidths=0, alpha=0.8, rasterized=True)
        axes.set_xlabel("z₀")
        axes.set_ylabel("z₁")
        bar = figure.colorbar(shown, ax=axes, shrink=0.85, aspect=28)
        bar.outline.set_edgecolor(MUTED)
        return to_svg(figure, alt)


def interpolation(model: Model, codes: np.ndarray, i: np.ndarray, j: np.ndarray) -> Markup:
    """A row for each pair: STEPS decoded codes on the straight line from one code to the other."""
    t = np.linspace(0, 1, STEPS)[None, :, None]
    z = codes[i][:, None] * (1 - t) + codes[j][:, None] * t
    made = model.decode(z.reshape(-1, codes.shape[1]))
    return data_uri(made.reshape(len(i), STEPS, *made.shape[1:]), gap=2, tile=48)


def draws(model: Model, z: np.ndarray, columns: int) -> Markup:
    made = model.decode(z)
    return data_uri(made.reshape(-1, columns, *made.shape[1:]), gap=2, tile=48)
