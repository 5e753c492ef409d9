"""The rows of benchmark.json: one for each work and peer.

    {"device", "commit", "note", "rows": [{"work", "peer", "ratio", "range", "target", "share_of_matmul", ...}]}

`note`, where there is one, is what its reader must know of the measurement. `ratio` is ours over the peer's
throughput, above 1 where jaxae is faster: the median of the rounds, `range` its extremes. Rows with a `unit` are no
ratios: seconds ("s") or a share of the training time ("share"), of which less is better. `target` is what was promised
(at least, or with a unit at most) or null. `share_of_matmul` is jaxae's own rate of floating-point operations in this
row as a share of the machine's rate of matrix products, or null. `agreement` tells of the loss curves, `memory` is
jaxae's peak memory over the peer's, `others` the share of the machine that other programs took meanwhile (null where
programs take turns), `which` the peer that "fastest" stands for, `rate` jaxae's examples (of the NLL: samples of an
image) a second, the median.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.ledger import placed
from jaxae.files import read_json, write_json

NAMES = (
    "work", "peer", "about", "ratio", "range", "unit", "target", "share_of_matmul", "command", "rounds", "agreement",
    "memory", "others", "commit", "which", "rate",
)  # fmt: skip
FASTEST = "fastest"
FASTEST_TARGETS = {"mlp-20": 1.15, "mlp-128": 1.0, "mlp-1024": 1.0, "conv": 1.0}
NO_PEERS = ("matmul", "lax-conv", FASTEST)  # what jaxae is compared with that is no other library


def row(**values: Any) -> dict[str, Any]:
    """With null for what was not said."""
    assert values.keys() <= set(NAMES), values.keys() - set(NAMES)
    return {name: values.get(name) for name in NAMES}


def add(new: dict[str, Any], device: str, file: Path, targets: Mapping[str, float] = FASTEST_TARGETS) -> None:
    """Puts a row in the place of its like, or at the end; and makes the "fastest" of its work anew, with its target."""
    before = read_json(file) if file.is_file() else {"rows": []}
    kept = with_fastest(placed(before["rows"], new, key), targets)
    write_json(file, {**before, "device": device, "commit": new["commit"], "rows": kept})


def key(row: dict[str, Any]) -> tuple[str, str]:
    return row["work"], row["peer"]


def with_fastest(rows: list[dict[str, Any]], targets: Mapping[str, float] = FASTEST_TARGETS) -> list[dict[str, Any]]:
    """The rows, and behind those of each training work one against its fastest peer: the one with the least ratio, of
    those whose losses agree with ours."""
    found = []
    rows = [row for row in rows if row["peer"] != FASTEST]
    for number, one in enumerate(rows):
        found.append(one)
        mine = [row for row in rows if row["work"] == one["work"]]
        if one["work"] not in {row["work"] for row in rows[number + 1 :]}:
            fair = [row for row in mine if row["peer"] not in NO_PEERS and (row["agreement"] or {}).get("agrees")]
            if fair:
                least = min(fair, key=lambda row: row["ratio"])
                target = targets.get(one["work"])
                found.append({**least, "peer": FASTEST, "which": least["peer"], "target": target})
    return found


def behind(row: dict[str, Any]) -> bool:
    """Whether a peer is faster, or a target is missed."""
    if row["unit"]:
        return row["target"] is not None and row["ratio"] > row["target"]
    slower = row["ratio"] < 1 and row["peer"] not in ("matmul", "scan", "alone")  # these are what nothing can exceed
    return slower or (row["target"] is not None and row["ratio"] < row["target"])


def disagrees(row: dict[str, Any]) -> bool:
    """Whether its losses were compared and are not the same within the tolerance."""
    return row["agreement"] is not None and not row["agreement"]["agrees"]
