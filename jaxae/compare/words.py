"""Numbers and settings as text, the same on the terminal and on the page."""

import math
import numbers
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MINUS = "−"
NONE = "none"
MOST = 12  # decimals
ROUNDING = 1e-12  # of a value: a smaller standard deviation is none


def setting(values: Mapping[str, Any]) -> str:
    """The name of a setting: what it does not share with the others."""
    return ", ".join(f"{name}={value(v)}" for name, v in values.items()) or "all runs"


def value(of: Any) -> str:
    """4.0 and 4 are the same value, and have the same name."""
    if of is None:
        return NONE
    return f"{float(of):.10g}" if isinstance(of, numbers.Real) and not isinstance(of, bool) else str(of)


def places(spreads: Iterable[float | None], values: Iterable[float | None] = ()) -> int:
    """Decimals for a column of `values`: two digits of the standard deviation in its middle. Where nothing scatters but
    by rounding, three digits of the value in its middle, and at least three."""
    sizes = sorted(abs(value) for value in values if value and value == value)
    known = sorted(s for s in spreads if s and s == s and s > ROUNDING * max(sizes, default=0.0))
    if known:
        return min(MOST, max(0, 1 - _exponent(known)))
    return min(MOST, max(3, 2 - _exponent(sizes))) if sizes else 3


def own_places(common: int, spread: float | None, value: float) -> int:
    """Decimals for one number of a column with `common` decimals: as many, where they show one to three digits of its
    standard deviation; else two digits of that."""
    if not spread or spread <= ROUNDING * abs(value):
        return common
    own = places([spread], [value])
    return common if abs(own - common) <= 1 else own


def _exponent(ordered: Sequence[float]) -> int:
    """Of the number in the middle: 1 of 12.5, -2 of 0.05."""
    return math.floor(math.log10(ordered[(len(ordered) - 1) // 2]))


def number(of: float | None, decimals: int, sign: bool = False) -> str:
    if of is None:
        return "–"
    text = f"{of:{'+' if sign else ''},.{decimals}f}"
    return text.replace("-", MINUS) if float(text.replace(",", "")) else text.lstrip("+-")


def interval(low: float | None, high: float | None, decimals: int, sign: bool = False) -> str:
    """Of a difference (`sign`) with decimals enough to see that no end is zero, where zero is not between them."""
    if low is None or high is None:
        return "–"
    while sign and low * high > 0 and decimals < MOST and not round(min(abs(low), abs(high)), decimals):
        decimals += 1
    return f"{number(low, decimals, sign)} to {number(high, decimals, sign)}"


def p_value(p: float | None) -> str:
    if p is None:
        return "–"
    if p < 0.0001:
        return "< 0.0001"
    digits = next(n for n in (2, 3, 4, 17) if (float(f"{p:.{n}g}") < 0.05) == (p < 0.05))  # 0.0499 is not 0.05
    return f"{p:.{digits}g}" if p < 0.1 else f"{p:.2f}"


def percent(level: float) -> str:
    return f"{100 * level:.6g} %"


def counted(n: int, word: str) -> str:
    return f"{n:,} {word}{'' if n == 1 else 's'}"


def listed(items: Iterable[Any]) -> str:
    """a, b and c"""
    *most, end = [str(item) for item in items]
    return f"{', '.join(most)} and {end}" if most else end


def seeds(of: Sequence[int]) -> str:
    """0 to 4 and 7"""
    runs: list[list[int]] = []
    for seed in sorted(of):
        if runs and seed == runs[-1][-1] + 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    parts = [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in runs]
    return listed(", ".join(parts).split(", ")) if parts else "none"
