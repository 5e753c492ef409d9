"""The report's numbers, as rows of text."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from jaxae.run import Trained, final_digest

PLACES = {"nats": 3, "bits/dim": 4, "a pixel": 5}


class Row(NamedTuple):
    """One measure. The standard errors are empty where there are none."""

    name: str
    value: str
    unit: str
    monte_carlo: str = ""
    data: str = ""
    note: str = ""


def headline(evaluation: Mapping[str, Any] | None, trained: Trained) -> dict[str, Any]:
    """The held-out measures as rows, and whether they are of these very parameters."""
    if evaluation is None:
        return {"evaluation": None, "rows": [], "stale": False}
    e = evaluation
    rows = []
    if e.get("elbo") is not None:
        rows.append(_row(e, "elbo", "ELBO", "nats"))
    if e.get("nll") is not None:
        note = f"importance-weighted, k = {e['samples']:,}"
        rows.append(_row(e, "nll", "negative log-likelihood", "nats", note))
    if e.get("bits_per_dim") is not None:
        rows.append(_row(e, "bits_per_dim", "the same, a pixel", "bits/dim"))
    rows.append(_row(e, "reconstruction", "reconstruction loss", "nats"))
    if e.get("kl") is not None:
        rows.append(_row(e, "kl", "KL divergence", "nats"))
    rows.append(_row(e, "mse", "mean squared error", "a pixel"))
    return {
        "evaluation": dict(e),
        "rows": [row for row in rows if row],
        "stale": e.get("digest") != final_digest(trained),
    }


def _row(e: Mapping[str, Any], key: str, name: str, unit: str, note: str = "") -> Row | None:
    if e.get(key) is None:
        return None
    errors = [e.get(f"{key}_{kind}_se") for kind in ("mc", "data")]
    monte_carlo, data = ("" if error is None else f"{error:.2g}" for error in errors)
    return Row(name, _number(e[key], PLACES[unit]), unit, monte_carlo, data, note)


def _number(value: float, places: int) -> str:
    """With so many decimals, or more where they would not show three digits."""
    if value:
        places = min(12, max(places, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{places}f}".replace("-", "−")


def record(trained: Trained, kept: Mapping[str, Any]) -> dict[str, Any]:
    """What it takes to repeat the run: from record.json where it is there."""
    setup = trained.setup
    config = setup.config.to_dict()
    own = config.pop("hyperparameters")
    at = list(config).index("method") + 1
    items = list(config.items())
    shown = [*items[:at], *own.items(), *items[at:]]
    data = kept.get("data") or {}
    return {
        "config": setup.config,
        "settings": [(name, "—" if value is None else str(value)) for name, value in shown],
        "record": {
            "command": kept.get("command") or f"jaxae train --run {trained.folder.path}",
            "versions": dict(kept.get("versions") or {}),
            "device": kept.get("device") or "not recorded",
            "threads": kept.get("threads") or "not recorded",
            "prng": kept.get("prng") or "not recorded",
        },
        "data": {
            "name": setup.source.name,
            "about": setup.source.about,
            "sha256": data.get("sha256") or setup.source.digest,
        },
        "folder": str(trained.folder.path),
    }
