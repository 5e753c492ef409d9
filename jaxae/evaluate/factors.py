"""Tables of codes and the known factors of what they are codes of: what the disentanglement scores are taken from."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxae.errors import InputError

BINS = 20


class Table(NamedTuple):
    """Codes, and the values of the factors that they are codes of."""

    codes: Float[np.ndarray, "n latent"]
    factors: Int[np.ndarray, "n k"]


def usable(*tables: Table, least: int = 1) -> tuple[Table, ...]:
    """The tables in double precision, less the factors that have one value only in the first of them.

    Raises InputError for tables that do not fit together, and where fewer than `least` factors are left.
    """
    for table in tables:
        codes, factors = table
        if codes.ndim != 2 or factors.ndim != 2 or len(codes) != len(factors):
            shapes = f"{list(codes.shape)} and {list(factors.shape)}"
            raise InputError(f"codes and factors of shapes {shapes}: expected [n, latent] and [n, k], with one n")
        if len(codes) < 2 or codes.shape[1] == 0:
            raise InputError(f"codes of shape {list(codes.shape)}: expected at least 2 rows and 1 column")
        if not np.isfinite(codes).all():
            raise InputError(f"{np.sum(~np.isfinite(codes))} codes are not finite")
        if codes.shape[1] != tables[0].codes.shape[1] or factors.shape[1] != tables[0].factors.shape[1]:
            raise InputError("tables of different numbers of codes or factors: expected the same columns in both")
    kept = varying(tables[0].factors)
    if kept.sum() < least:
        raise InputError(f"{kept.sum()} factors vary: expected at least {least} with more than one value")
    return tuple(Table(codes.astype(np.float64), factors[:, kept]) for codes, factors in tables)


def varying(factors: Int[np.ndarray, "n k"]) -> Bool[np.ndarray, " k"]:
    """Which factors have more than one value."""
    return factors.min(axis=0) < factors.max(axis=0)


def rivalled(table: Table) -> Table:
    """A single code joined by a constant one: a score that compares a code with the next best has one to compare to."""
    codes, factors = table
    return Table(np.pad(codes, ((0, 0), (0, 1))), factors) if codes.shape[1] == 1 else table


def binned(columns: Float[np.ndarray, "n m"]) -> Int[np.ndarray, "n m"]:
    """The number of the bin among BINS of equal width from each column's least to its greatest value."""
    edges = np.linspace(columns.min(axis=0), columns.max(axis=0), BINS + 1)[1:-1]
    found = [np.searchsorted(edge, column, side="right") for edge, column in zip(edges.T, columns.T)]
    return np.stack(found, axis=1)
