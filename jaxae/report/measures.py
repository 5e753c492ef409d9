"""The report's numbers, as rows of text."""

import math
import shlex
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxae import own
from jaxae.evaluate.measures import (
    MEASURES,
    OF_FACTORS,
    OF_FEWER,
    OF_LIKELIHOOD,
    Measure,
    error,
    is_measure,
    of_own,
    said_of,
    shown,
)
from jaxae.evaluate.measures import about as about_of
from jaxae.names import OF_NETWORKS
from jaxae.run import Trained, final_digest
from jaxae.start import whose

PLACES = {"nats": 3, "bits/dim": 4, "a dimension": 5, "": 3}
NAMES = {"elbo": "ELBO", "bits_per_dim": "the same, a dimension"}


class Row(NamedTuple):
    """One measure. The standard errors are empty where there are none."""

    name: str
    value: str
    unit: str
    better: str = ""
    monte_carlo: str = ""
    data: str = ""
    note: str = ""


def headline(evaluation: Mapping[str, Any] | None, trained: Trained) -> dict[str, Any]:
    """The held-out measures as rows, what was said of them, and whether they are of these very parameters."""
    if evaluation is None:
        return {"evaluation": None, "rows": [], "notes": [], "sample_space": None, "stale": False}
    e = evaluation
    rows = [_row(e, name, about, _note(e, name)) for name, about in MEASURES.items()]
    settings = e.get("settings", {})
    rows += [
        _row(e, name, about_of(name), f"SHA-256 of {said_of(group, settings[group])}")
        for group, names in of_own(settings).items()
        for name in names
    ]
    rows += [_row(e, name, about_of(name)) for name in _others(e)]
    return {
        "evaluation": dict(e),
        "rows": [row for row in rows if row],
        "notes": [
            f"{group}: {note}"
            for group, notes in e.get("notes", {}).items()
            for note in notes
            if not note.startswith("not measured")
        ],
        "sample_space": e.get("settings", {}).get("samples"),
        "stale": e.get("digest") != final_digest(trained),
    }


def _others(e: Mapping[str, Any]) -> list[str]:
    """The measures that a method adds itself."""
    known = {*MEASURES, *(name for names in of_own(e.get("settings", {})).values() for name in names)}
    of = [name for name, value in e.items() if isinstance(value, float | int) and not isinstance(value, bool)]
    return [name for name in of if is_measure(name) and name not in known]


def _note(e: Mapping[str, Any], name: str) -> str:
    """What a number depends on, and of how many images it is where those are not all."""
    group = next((group for group, names in OF_FEWER.items() if name in names), "")
    count = e.get("settings", {}).get(group, {}).get("examples")
    fewer = f"{count:,} images" if count is not None and count < e.get("examples", 0) and name != "ais_nll" else ""
    if name in OF_FACTORS or (name == "bdmc_gap" and count is not None):
        fewer = "every combination of the factors" if name in OF_FACTORS else f"{count:,} images of its own drawing"
    return "; ".join(filter(None, [fewer, _depends(e, name), _density(e, name)]))


def _density(e: Mapping[str, Any], name: str) -> str:
    """Of what a likelihood is, where that is not p(x)."""
    if name not in OF_LIKELIHOOD:
        return ""
    of = e.get("settings", {}).get("ais" if name == "ais_nll" else "likelihood", {}).get("density_of")
    return f"of {of}" if of else ""


def _depends(e: Mapping[str, Any], name: str) -> str:
    if name == "nll" and "samples" in e:
        return f"importance-weighted, k = {e['samples']:,}"
    if name == "ais_nll" and "ais" in e.get("settings", {}):
        return "{examples:,} images, {chains} chains of {steps:,} steps".format(**e["settings"]["ais"])
    if name == "frechet" and e.get("frechet_floor") is not None:
        return f"{e['frechet_floor']:.3g} between real images"
    if name == "coverage" and e.get("coverage_expected") is not None:
        return f"{e['coverage_expected']:.3g} of as many real images"
    if name == "mutual_information" and "mutual_information_bound" in e:
        return f"at most {e['mutual_information_bound']:.2f}, the logarithm of the number of images"
    return ""


def _row(e: Mapping[str, Any], key: str, about: Measure, note: str = "") -> Row | None:
    if e.get(key) is None:
        return None
    errors = [e.get(f"{key}_mc_se"), e.get(f"{key}_data_se", e.get(f"{key}_se"))]
    monte_carlo, data = ("" if se is None else error(se) for se in errors)
    counts = [1 - math.floor(math.log10(se)) for se in errors if se and math.isfinite(se)]  # two digits of the error
    places = max(0, min([PLACES[about.unit], *([max(counts)] if counts else [])]))
    value = f"{e[key]:,}" if isinstance(e[key], int) else shown(e[key], places).replace("-", "−")
    return Row(NAMES.get(key, about.words), value, about.unit, about.better or "", monte_carlo, data, note)


def record(trained: Trained, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What it takes to repeat the run: from record.json where it is there."""
    setup = trained.setup
    config = setup.config.to_dict()
    weights = config.pop("hyperparameters")
    if "network" in kept:
        config = {name: value for name, value in config.items() if name not in OF_NETWORKS}
        config["network"] = kept["network"]
    if start := kept.get("start"):
        config["start"] = f"{whose(start)} at step {start['step']:,}, SHA-256 {start['digest'][:12]}"
    config |= {name: value for name, value in kept.items() if name.endswith("_sha256")}
    at = list(config).index("method") + 1
    items = list(config.items())
    shown = [*items[:at], *weights.items(), *items[at:]]
    return {
        "config": setup.config,
        "settings": [(name, "—" if value is None else str(value)) for name, value in shown],
        "record": {
            "network": kept.get("network") or f"{own.short(str(setup.config.network))} networks",
            "command": kept.get("command"),
            "versions": dict(kept.get("versions") or {}),
            "device": kept.get("device") or "not recorded",
            "threads": kept.get("threads") or "not recorded",
            "prng": kept.get("prng") or "not recorded",
        },
        "data": {
            "name": setup.source.name,
            "about": setup.source.about,
            "sha256": setup.source.digest,
        },
        "folder": shlex.quote(str(trained.folder.path)),
    }
