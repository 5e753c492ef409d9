"""A case's rounds: ours, theirs, ours, theirs, ...; and the row that comes of them."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean, median
from typing import Any

from experiments.benchmark_parts import figures, rows
from experiments.benchmark_parts.cases import ACCELERATED, Case, Program
from experiments.benchmark_parts.works import TRAINING

Rate = Callable[[Program, int], dict[str, Any]]
"""(program, seed) -> what it found: Shop.rate"""
Found = list[dict[str, Any]]


def measure(case: Case, rounds: int, rate: Rate) -> tuple[Found, Found]:
    """What ours and theirs found, round by round; every second round begins with theirs, so that no one always runs on
    what the other has left behind."""
    ours: Found = []
    theirs: Found = []
    for seed in range(rounds):
        if case.theirs is None:
            ours.append(rate(case.ours, seed))
            continue
        sides = [(ours, case.ours), (theirs, case.theirs)]
        for found, program in sides if seed % 2 == 0 else reversed(sides):
            found.append(rate(program, seed))
    return ours, theirs


def row_of(case: Case, ours: Found, theirs: Found, matmul: float | None, **said: Any) -> dict[str, Any]:
    """`matmul`: the machine's rate of matrix products, where it was measured; `said`: what the row says besides."""
    common: dict[str, Any] = {
        "work": case.work, "peer": case.peer, "about": case.about, "unit": case.unit, "target": case.target,
        "rounds": len(ours), **said,
    }  # fmt: skip
    if case.unit:
        spread = figures.spread([one[case.unit] for one in ours])
        return rows.row(ratio=spread.median, range=[spread.low, spread.high], **common)
    rates, others = ([one["rate"] for one in side] for side in (ours, theirs))
    spread = figures.ratios(rates, others)
    share = None
    if case.peer == "matmul":
        share = spread.median
    elif matmul is not None and case.ours.work in TRAINING:
        share = figures.share(rates, TRAINING[case.ours.work].flops, matmul)
    return rows.row(
        ratio=spread.median, range=[spread.low, spread.high], share_of_matmul=share,
        agreement=compared(case, ours, theirs), memory=memory(ours, theirs), rate=median(rates), **common,
    )  # fmt: skip


def compared(case: Case, ours: Found, theirs: Found) -> dict[str, Any] | None:
    """Of the loss curves, or of the NLL of the images that both have scored; None where the programs are not meant to
    compute the same, or compute it by the same lines."""
    if case.group == "nll":
        found = nll_agreement([one["nll"] for one in ours], [one["nll"] for one in theirs])
    elif case.group in (*TRAINING, ACCELERATED) and case.peer not in ("matmul", "lax-conv"):
        found = figures.agreement([one["curves"] for one in ours], [one["curves"] for one in theirs])
    else:
        return None
    said = {**found._asdict(), "agrees": found.agrees}
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in said.items()}


def nll_agreement(ours: Sequence[list[float]], theirs: Sequence[list[float]]) -> figures.Agreement:
    """The mean over the first images, as many as both have scored in every round."""
    images = min(map(len, [*ours, *theirs]))
    mine, other = (fmean(value for one in side for value in one[:images]) for side in (ours, theirs))
    return figures.Agreement("nll", images, mine, other, abs(mine - other) / abs(other))


def memory(ours: Found, theirs: Found) -> float | None:
    """Our peak memory over theirs, of whole processes."""
    if not all("peak_mb" in one for one in [*ours, *theirs]):
        return None
    return figures.ratios(*([one["peak_mb"] for one in side] for side in (ours, theirs))).median
