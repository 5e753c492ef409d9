"""One grammar for everything that changes with the step: learning rates and a method's own weights.

    0.001                         a constant
    linear(0, 1, 20e)             from 0 to 1 over 20 epochs, then 1 (KL warm-up)
    cosine(1e-3, 0, 100%)         half a cosine over the whole run
    warmup_cosine(1e-3, 5%)       up in 5 % of the run, then half a cosine down to 0 at its end
    exponential(1, 0.1, 1000)     geometric, from 1 to 0.1 over 1,000 steps
    step(1e-3, 0.5, 50e)          halved every 50 epochs
    piecewise(1e-3, 500, 1e-4)    1e-3 until step 500, then 1e-4; any number of pairs
    cyclic(0, 1, 10e, 0.5)        each period: up in its first half, then held (Fu et al. 2019, arXiv:1903.10145)

A duration is in steps (500), epochs (20e) or per cent of the run (5%). No jax is imported until one is evaluated.
"""

import inspect
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from jaxae.errors import InputError, known

Number = Any  # float or array
MOST = 2**31  # steps are counted in 32 bits
ROUNDING = 1e-6  # of a step: 0.1 * 1000 is not above 100
LARGEST, LEAST = 3.4e38, 1.18e-38  # numbers that a device holds: smaller ones are zero to some
_DURATION = re.compile(r"^\s*(\d+(?:\.\d+)?(?:[eE]\+?\d+)?)\s*(e|%)?\s*$")
_CALL = re.compile(r"^\s*(\w+)\s*\((.*)\)\s*$")


def grammar() -> list[tuple[str, str]]:
    """(an example, what it says) of each kind, as at the head of this module."""
    lines = [line.strip() for line in (__doc__ or "").splitlines() if line.startswith("    ")]
    return [(example, said.strip()) for example, _, said in (line.partition("  ") for line in lines)]


def duration(text: object, total: int | None, epoch: float | None, *, up: bool = False) -> int:
    """Steps in a duration: 500, "20e" (of `epoch` steps each), "5%" (of `total` steps); at least one. `up`: never fewer
    than asked for, so that what comes every 10 % of a run comes ten times, and not once more just before its end."""
    found = _DURATION.match(str(text))
    if not found:
        raise InputError(f"duration {text!r}: expected steps (500), epochs (20e) or per cent of the run (5%)")
    value, unit = float(found[1]), found[2]
    base: float | None = {None: 1, "e": epoch, "%": total and total / 100}[unit]
    if base is None:
        raise InputError(f"duration {text!r}: '{unit}' is not known here; expected a number of steps")
    if value * base <= 0:
        raise InputError(f"duration {text!r}: expected more than 0 steps")
    if value * base >= MOST:
        raise InputError(f"duration {text!r}: expected fewer than {MOST:,} steps")
    return max(1, math.ceil(value * base - ROUNDING) if up else round(value * base))


def spelled(text: str) -> str:
    """A schedule or a duration, spelled in one way, to compare it: linear(0,1.0,20.0e) is linear(0, 1, 20e). Another
    word is what it was."""
    if call := _CALL.match(text):
        return f"{call[1]}({', '.join(map(spelled, call[2].split(',')))})"
    number, unit = (part[1], part[2]) if (part := _DURATION.match(text)) and part[2] else (text, "")
    try:
        return repr(float(number)).removesuffix(".0") + unit
    except ValueError:
        return text.strip()


def needs_horizon(text: str | float) -> bool:
    """Whether the schedule's shape depends on the length of the run, so that a longer run is another run."""
    return "%" in str(text) or (str(text).strip().startswith("warmup_cosine") and str(text).count(",") < 2)


def check(text: str | float) -> None:
    """Raises InputError where `text` is no number and no schedule. The steps of an epoch and of the run are not known
    yet: the order of boundaries in different units is taken on trust."""
    make(text, total=1000, epoch=10, trust=True)


def make(text: str | float, total: int, epoch: float, trust: bool = False) -> float | Callable[[Any], Any]:
    """A float, or the function step -> value, for a run of `total` steps with `epoch` steps to the epoch."""
    try:
        return float(text)
    except ValueError:
        pass
    found = _CALL.match(str(text))
    if not found:
        raise InputError(f"{text!r}: expected a number or a schedule such as linear(0, 1, 20e)")
    name, parts = found[1], [part.strip() for part in found[2].split(",")]
    known("schedule", name, KINDS)
    if name == "piecewise":
        return _piecewise(str(text), parts, total, epoch, trust)
    return _bind(str(text), KINDS[name], parts, total, epoch, trust)


def _bind(text: str, kind: Callable, parts: list[str], total: int, epoch: float, trust: bool) -> Callable:
    names = list(inspect.signature(kind).parameters)[1:]
    required = [n for n in names if inspect.signature(kind).parameters[n].default is inspect.Parameter.empty]
    if not len(required) <= len(parts) <= len(names) or parts == [""]:
        raise InputError(f"{text!r}: expected {kind.__name__[1:]}({', '.join(names)})")
    args: dict[str, Number] = {}
    for name, part in zip(names, parts, strict=False):
        args[name] = duration(part, total, epoch) if name in DURATIONS else _number(text, part)
    if kind is _exponential and not args["start"] * args["end"] > 0:
        raise InputError(f"{text!r}: expected a start and an end above 0")
    if kind is _exponential and not math.log(LEAST) < math.log(args["end"]) - math.log(args["start"]) < math.log(
        LARGEST
    ):
        raise InputError(f"{text!r}: end / start is beyond single precision: expected a ratio of 1.2e-38 to 3e38")
    if not 0 < args.get("share", 1) <= 1:
        raise InputError(f"{text!r}: expected a share above 0 and at most 1")
    known = not trust or len({part.lstrip("0123456789.") for part in parts[1:3]}) == 1
    if kind is _warmup_cosine and known and args.get("over", math.inf) <= args["warmup"]:
        raise InputError(f"{text!r}: over {parts[2]} holds the warm-up too: expected more than {parts[1]}")
    for name in DURATIONS & set(names) - set(args):
        args[name] = total
    return lambda t: kind(t, **args)


def _piecewise(text: str, parts: list[str], total: int, epoch: float, trust: bool) -> Callable:
    if len(parts) % 2 == 0:
        raise InputError(f"{text!r}: expected piecewise(value, until, value, until, value, ...)")
    values = [_number(text, part) for part in parts[::2]]
    until = [duration(part, total, epoch) for part in parts[1::2]]
    units = {part.strip().lstrip("0123456789.") for part in parts[1::2]}
    if until != sorted(set(until)) and not (trust and (len(units) > 1 or units == {"%"})):
        raise InputError(f"{text!r}: expected boundaries that increase, got {', '.join(map(str, until))}")

    def at(t):
        import jax.numpy as jnp

        return jnp.asarray(values, jnp.float32)[jnp.searchsorted(jnp.asarray(until), t, side="right")]

    return at


def _number(text: str, part: str) -> float:
    try:
        value = float(part)
    except ValueError:
        raise InputError(f"{text!r}: {part!r} is not a number") from None
    if not 0 <= value < math.inf:
        raise InputError(f"{text!r}: {part!r}: expected a finite number, at least 0")
    if value > LARGEST or 0 < value < LEAST:
        raise InputError(f"{text!r}: {part!r}: expected a number of single precision, 1.2e-38 to 3e38")
    return value


def _share(t, over):
    import jax.numpy as jnp

    return jnp.clip(t / over, 0.0, 1.0)


def _linear(t, start, end, over):
    return start + (end - start) * _share(t, over)


def _cosine(t, start, end, over):
    import jax.numpy as jnp

    return end + (start - end) * 0.5 * (1 + jnp.cos(jnp.pi * _share(t, over)))


def _warmup_cosine(t, peak, warmup, over=None, end=0.0):
    import jax.numpy as jnp

    down = _cosine(t - warmup, peak, end, max(over - warmup, 1))
    return jnp.where(t < warmup, peak * (t + 1) / (warmup + 1), down)


def _exponential(t, start, end, over):
    return start * (end / start) ** _share(t, over)


def _step(t, start, factor, over):
    return start * factor ** (t // over)


def _cyclic(t, low, high, over, share=0.5):
    return _linear(t % over, low, high, max(over * share, 1))


DURATIONS = {"over", "warmup"}
KINDS: Mapping[str, Callable] = {
    "linear": _linear,
    "cosine": _cosine,
    "warmup_cosine": _warmup_cosine,
    "exponential": _exponential,
    "step": _step,
    "cyclic": _cyclic,
    "piecewise": _piecewise,
}


def at_step(weight: Number | Callable[[Any], Any], step: Any) -> Any:
    """The value of a Weight at a step: itself where it is no schedule."""
    return weight(step) if callable(weight) else weight
