"""What has been measured of a run, as columns of a table: its numbers, and all that decides what they compare with."""

from typing import Any

from jaxae.evaluate.means import NOT_FINITE as NOTHING
from jaxae.evaluate.measures import (
    GREY,
    NOT_FINITE,
    NOT_NUMBERS,
    OF_FACTORS,
    OF_FEWER,
    OF_LIKELIHOOD,
    OF_PROBES,
    OF_SAMPLES,
    OF_THE_KL,
    REPRODUCED,
    UNTOLD,
    USUAL_DENSITY,
    code_of,
    of_own,
    said_of,
)

OF_GROUPS = {"decomposition": OF_THE_KL, "probes": OF_PROBES, "samples": OF_SAMPLES, "disentanglement": OF_FACTORS}
OF_NO_ANNEALING = ("density_of", "importance_samples")  # of the settings of "ais"


def columns(found: dict[str, Any]) -> dict[str, Any]:
    """What of evaluation.json is a number or a word, and how it was measured."""
    settings = found.get("settings", {})
    space, annealing = settings.get("samples", {}).get("feature_space"), settings.get("ais")
    measures = {name: value for name, value in found.items() if name not in NOT_NUMBERS}
    if space:
        drawn = settings["samples"]
        measures["feature_space"] = f"{space}; {drawn['drawn']:,} draws" if "drawn" in drawn else space
        measures["sampler"] = drawn.get("sampler", "prior")
    notes = found.get("notes", {})
    if measures.get("reconstruction") is not None:
        of = [note.removeprefix(REPRODUCED) for note in notes.get("likelihood", []) if note.startswith(REPRODUCED)]
        measures["reconstruction_of"] = next(iter(of), "the encoded images")
    if any(measures.get(name) is not None for name in OF_LIKELIHOOD):
        groups = ("likelihood", "ais")
        said = [settings[group]["density_of"] for group in groups if "density_of" in settings.get(group, {})]
        measures["density_of"] = next(iter(said), USUAL_DENSITY)
        measures |= {"caveat": GREY} if any(GREY in notes.get(group, []) for group in groups) else {}
    untold = any(UNTOLD in notes.get(group, []) for group in ("probes", "disentanglement"))
    measures |= {"probed": UNTOLD} if untold else {}
    measures |= {"pixels": settings["likelihood"]["pixels"]} if "pixels" in settings.get("likelihood", {}) else {}
    for group, names in of_own(settings).items():
        measures |= {code_of(name): said_of(group, settings[group]) for name in names}
    fewer = {group: settings.get(group, {}).get("examples") for group in OF_FEWER}
    measures |= {f"{group}_examples": count for group, count in fewer.items() if count is not None}
    measures |= {"not_finite": lost} if (lost := _not_finite(notes)) else {}
    if annealing:
        measures["annealing"] = ", ".join(f"{v} {name}" for name, v in annealing.items() if name not in OF_NO_ANNEALING)
    return measures


def _not_finite(notes: dict[str, list[str]]) -> str:
    """The measures that are None for they are not finite, or that nothing finite was there to make."""
    found: list[str] = []
    for group, said in notes.items():
        found += [note.removeprefix(NOT_FINITE) for note in said if note.startswith(NOT_FINITE)]
        found += OF_GROUPS.get(group, ()) if NOTHING in said else ()
    return ", ".join(found)
