"""Means over examples and their errors, on the host; and what is measured where a model's numbers are not finite."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float

NOT_FINITE = "what the model makes is not finite: nothing to measure"


def mean(x: Float[np.ndarray, " n"]) -> float:
    return float(np.asarray(x, np.float64).mean())


def standard_error(x: Float[np.ndarray, " n"]) -> float | None:
    """Of the mean of independent numbers; None of one."""
    return float(np.asarray(x, np.float64).std(ddof=1) / math.sqrt(len(x))) if len(x) > 1 else None


def if_finite(scores: Callable[..., dict[str, Any]], *arrays: np.ndarray) -> dict[str, Any]:
    """scores(*arrays), which knows no other numbers than finite ones."""
    return scores(*arrays) if all(np.isfinite(array).all() for array in arrays) else {"notes": [NOT_FINITE]}


def with_notes(found: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    return found | {"notes": [*found.get("notes", []), *notes]}
