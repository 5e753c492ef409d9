"""The page put together: pictures of the first seed, figures of all; the template has the words."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.continuity import claims, figures
from experiments.continuity.classifier import Classifier
from experiments.continuity.measures import CONFIDENT, TAIL, Images, Model, pairs, regions_of
from jaxae.report.templates import fill

ROWS, DRAWS, COLUMNS = 6, 24, 12


class Shown(NamedTuple):
    """What the pictures are of: the first seed's two models, with the first latent size asked for."""

    models: Mapping[str, Model]
    images: Images
    classifier: Classifier
    class_names: tuple[str, ...]


def render(result: Mapping[str, Any], shown: Shown) -> str:
    """`result` is what the JSON file holds."""
    latents = {
        int(size): {name: claims.arrays(each) for name, each in methods.items()}
        for size, methods in result["values"].items()
    }
    found = {size: (claims.compare(**m), claims.statements(**m)) for size, m in latents.items()}
    context = {
        "result": result,
        "n": len(result["seeds"]),
        "found": {size: (c, s, claims.matrix(c)) for size, (c, s) in found.items()},
        "verdicts": {size: claims.counts(c) for size, (c, _) in found.items()},
        "places": claims.PLACES,
        "groups": claims.GROUPS,
        "strips": _strips(latents, result["classifier"]["sure"]),
        "pictures": {name: _pictures(model, shown, name) for name, model in shown.models.items()},
        "tail": TAIL,
        "confident": CONFIDENT,
        "draws": DRAWS,
        "steps": figures.STEPS,
        "side": figures.SIDE,
    }
    return fill("page.html.jinja", context, Path(__file__).parent)


def _strips(latents: Mapping[int, Mapping[str, claims.Values]], real: float) -> dict[str, Any]:
    reference = {"midpoint": 1.0, "sure": real, "holes": TAIL}
    beside: dict[str, list[figures.Panel]] = {
        "midpoint": [("midpoint_crossfade", "crossfades, to compare", 1.0)],
        "sure": [("sure_reconstruction", "reconstructions", real)],
        "cycle": [("cycle_codes", "the codes themselves", None)],
        "echo": [("echo_codes", "the codes themselves", None)],
    }
    made = {}
    for group, title in claims.GROUPS.items():
        panels: list[figures.Panel] = [
            (m.key, m.short, reference.get(group)) for m in claims.MEASURES if m.group == group
        ]
        limits = {"sure": (0.0, 1.0), "midpoint": (None, None)}.get(group, (0.0, None))
        made[group] = figures.strips(latents, panels + beside.get(group, []), limits, title)
    return made


def _pictures(model: Model, shown: Shown, name: str) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    title, images = figures.NAMES[name], shown.images
    codes = model.encode(images.test)
    i, j = pairs(rng, images.labels, ROWS)
    laws = regions_of(model, images, np.random.default_rng(0))
    alt = f"{title}: codes of {len(codes)} test images, coloured by label"
    flat = codes.shape[1] == 2
    return {
        "title": title,
        "plane": figures.plane(codes, images.labels, shown.class_names, alt),
        "manifold": figures.manifold(model, codes) if flat else None,
        "sureness": figures.sureness(model, codes, shown.classifier.probabilities, f"{title}: sureness")
        if flat
        else None,
        "interpolation": figures.interpolation(model, codes, i, j),
        "draws": {law: figures.draws(model, region(rng, DRAWS), COLUMNS) for law, region in laws.items()},
    }
