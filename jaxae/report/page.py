"""The page put together: what each section shows, computed; the template has the words."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxae import artifacts, command, log
from jaxae.artifacts.images import beside, table
from jaxae.checkpoint import Checkpoints
from jaxae.evaluate.units import Units
from jaxae.report import curves as drawn
from jaxae.report import latent, measures, plots
from jaxae.report.pictures import data_uri
from jaxae.report.templates import fill
from jaxae.run import Trained, final_digest, is_of_its_data

MOST = 10_000  # examples that the latent space is drawn from, evenly spread
SHOWN = 24
COLUMNS = 12
PAIRS = 6
STEPS = 11
ROWS = 10  # of the traversals
SIDE = 15  # of the decoded manifold
HALF = 1 / 510  # of a step of a picture's 256
SEEN = 1e-3  # of the values of a picture
OF_CODES = ("interpolations", "space", "units", "traversals")


def render(trained: Trained, evaluation: Mapping[str, Any] | None) -> str:
    """The whole page as text."""
    method, source = trained.setup.method, trained.setup.source
    split = shown(trained, evaluation)
    codes = artifacts.encode(trained, split, count=min(MOST, len(source.split(split))))
    context = {
        **measures.headline(evaluation, trained),
        **measures.record(trained, trained.folder.record()),
        "measured_by": measured_by(trained, evaluation or {}),
        "ended": ended(trained),
        "outcome": trained.folder.outcome() or {},
        "total": trained.setup.total,
        "entry": trained.setup.entry,
        "latent": codes["z"].shape[1],
        "split": split,
        "codes": len(codes["z"]),
        "posterior": method.posterior is not None,
        "drawn": method.draw is not None,
        "prior": method.sample is not None,
        "discrete": method.discrete is not None,
        "conditional": method.given is not None,
        "shape": source.shape,
        "sizes": source.sizes(),
        "likelihood": trained.setup.likelihood,
        "digest": final_digest(trained),
        "step": trained.step,
        "curves": curves(trained),
        "reconstructions": reconstructions(trained, split),
        "samples": samples(trained),
        **(of_codes(trained, codes, split) if finite(codes) else dict.fromkeys(OF_CODES)),
    }
    return fill("page.jinja", context)


def shown(trained: Trained, evaluation: Mapping[str, Any] | None) -> str:
    """The split whose images the page has: that of its measures; without any, the one that would close the training,
    and where none would, no test images either. Of other images than the run's, these."""
    if evaluation and "split" in evaluation:
        return evaluation["split"]
    closing = trained.setup.config.evaluate if is_of_its_data(trained) else "test"
    return "validation" if closing == "none" else closing


def ended(trained: Trained) -> bool:
    """Whether these are the parameters that the run ends with."""
    if not trained.folder.config_file.is_file():  # of what a loop of one's own has trained
        return True
    outcome = trained.folder.outcome()
    if outcome is None or outcome["outcome"] == "diverged":
        return False
    if trained.setup.config.patience is None:
        return trained.step == outcome["step"]
    with Checkpoints(trained.folder.checkpoints, write=False) as checkpoints:
        return trained.step == (checkpoints.best_step() or outcome["step"])


def measured_by(trained: Trained, evaluation: Mapping[str, Any]) -> list[str]:
    """The commands of what training does not close with by itself; none of other images than the run's."""
    of_its_data = is_of_its_data(trained)
    return command.of_measures(trained.setup.config, trained.folder.path, evaluation) if of_its_data else []


def finite(codes: Mapping[str, np.ndarray]) -> bool:
    return all(np.isfinite(values).all() for values in codes.values())


def of_codes(trained: Trained, codes: Mapping[str, np.ndarray], split: str) -> dict[str, Any]:
    """What there is to show of the latent space, where the codes are finite."""
    units = artifacts.units(codes, trained.setup.method.standard_prior)
    made = interpolations(trained, split), space(trained, codes, split), unit_statistics(units)
    return dict(zip(OF_CODES, (*made, traversals(trained, units, split)), strict=True))


def curves(trained: Trained) -> dict[str, Any] | None:
    """The metrics that training and validation share, the loss first; None where nothing was logged."""
    last = max(trained.step, (trained.folder.outcome() or {}).get("step", 0) if ended(trained) else 0)
    rows = [row for row in log.read(trained.folder.metrics_file) if row["step"] <= last]
    logged = dict.fromkeys(name for row in rows for name in row)
    names: list[str] = [n for n in ("loss", "reconstruction", "kl") if n in logged]
    names += [n for n in logged if f"validation_{n}" in logged and n not in (*names, "elbo")]
    if "loss" in names and drawn.series(rows, "loss") == drawn.series(rows, "reconstruction"):
        names.remove("loss")
    every = trained.setup.every(trained.setup.config.log_every)
    if 0 < last % every < every / 2:  # the last mean is over too few steps to compare with the others
        rows = [row for row in rows if row["step"] < last or "loss" not in row]
    steps = [int(step) for step in drawn.series(rows, "loss")[0]]
    regular = steps[:-1] == [every * (i + 1) for i in range(len(steps) - 1)]
    names = [name for name in names if drawn.series(rows, name)[0] or drawn.series(rows, f"validation_{name}")[0]]
    if not names:
        return None
    alt = f"Training and validation curves of {', '.join(names)} against the step"
    return {
        "plot": drawn.curves(rows, names, alt),
        "epochs": trained.step / trained.setup.epoch,
        "every": every if regular else None,
        "rest": regular and steps and steps[-1] % every,
        "validations": len(drawn.series(rows, "validation_loss")[0]),
    }


def reconstructions(trained: Trained, split: str) -> dict[str, Any]:
    made = artifacts.reconstruct(trained, split, min(SHOWN, len(trained.setup.source.split(split))))
    tiles = beside(made.inputs, made.reconstructions, COLUMNS)
    return {
        "picture": data_uri(tiles),
        "n": len(made.examples),
        "clipped": clipped(made.reconstructions),
        "rows": len(tiles),
        "columns": tiles.shape[1],
    }


def samples(trained: Trained) -> dict[str, Any] | None:
    if trained.setup.method.sample is None:
        return None
    made = artifacts.sample(trained, 5 * COLUMNS)
    return {"picture": data_uri(table(made, COLUMNS)), "n": len(made), "columns": COLUMNS, "clipped": clipped(made)}


def clipped(images: np.ndarray) -> str:
    """The share of values outside of [0, 1], which a picture shows as 0 or 1, as text; empty where it is none to speak
    of."""
    share = float(np.mean((images < -HALF) | (images > 1 + HALF)))
    return f"{100 * share:.2g} %" if share >= SEEN else ""


def interpolations(trained: Trained, split: str) -> dict[str, Any]:
    labels, names = trained.setup.source.split(split).labels, trained.setup.source.classes
    made = artifacts.interpolate(trained, max(1, min(PAIRS, len(labels) // 2)), STEPS, split=split)
    words = [[plots.class_name(names, label) for label in labels[pair].tolist()] for pair in made.examples]
    return {
        "picture": data_uri(made.images),
        "n": len(made.examples),
        "columns": STEPS,
        "pairs": words if (labels >= 0).all() else made.examples.tolist(),
        "labelled": bool((labels >= 0).all()),
        "clipped": clipped(made.images),
    }


def space(trained: Trained, codes: Mapping[str, np.ndarray], split: str) -> dict[str, Any]:
    """The codes in a plane, and for one or two latents the decoded lattice under it."""
    z, labels, names = codes["z"], codes["label"], trained.setup.source.classes
    method = trained.setup.method
    gaussian = method.posterior is not None and method.sample is not None and method.standard_prior
    found = {"labels": len(np.unique(labels[labels >= 0])), "gaussian": gaussian, "side": SIDE, "ratio": []}
    alt = f"The codes of {len(z)} {split} examples" + (", coloured by label" if found["labels"] else "")
    if z.shape[1] == 1:
        lines = latent.lattice(z, STEPS * 2 - 1, gaussian)
        line = artifacts.decode(trained, lines)[None]
        found["clipped"] = clipped(line)
        return {**found, "plot": plots.strip(z[:, 0], labels, names, alt), "picture": data_uri(line, gap=2)}
    if z.shape[1] == 2:
        at = latent.plane(latent.lattice(z, SIDE, gaussian))
        made = artifacts.decode(trained, at.reshape(-1, 2))
        found["clipped"] = clipped(made)
        manifold = data_uri(made.reshape(*at.shape[:2], *made.shape[1:]), gap=2, tile=48)
        plane = plots.scatter(z, labels, names, ("z₀", "z₁"), alt, circle=gaussian)
        return {**found, "plot": plane, "picture": manifold}
    points, ratio = latent.components(z)
    first, second = (f"component {i + 1} ({100 * ratio[i]:.1f} %)" for i in range(2))
    alt += ", on their first two principal components"
    return {
        **found,
        "plot": plots.scatter(points, labels, names, (first, second), alt),
        "spectrum": plots.spectrum(ratio, "Explained variance of each principal component of the codes"),
        "ratio": [float(part) for part in ratio],
    }


def unit_statistics(units: Units) -> dict[str, Any]:
    measures = "KL divergence and variance" if units.kl is not None else "Variance"
    return {
        "plot": plots.unit_bars(units, f"{measures} of each latent unit, the busiest first"),
        "active": units.active,
        "kl": None if units.kl is None else float(units.kl.sum()),
    }


def traversals(trained: Trained, units: Units, split: str) -> dict[str, Any]:
    made = artifacts.traverse(trained, split=split, steps=STEPS, most=ROWS, over=units)
    rows = [{"unit": int(unit)} for unit in made.unit]
    picture, outside = data_uri(made.images), clipped(made.images)
    return {"picture": picture, "rows": rows, "columns": STEPS, "span": float(made.offset[-1]), "clipped": outside}
