"""What a user did that cannot work, said in one line."""

import contextlib
import difflib
import operator
from collections.abc import Collection, Iterable


class InputError(ValueError):
    """Bad input. The message is one line: the value, what was expected, what to do. The CLI exits with 2."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> InputError:
    """An InputError for a name outside `allowed`, with the nearest right name where there is one."""
    names = sorted(allowed)
    without_case = {name.lower(): name for name in names}
    near = difflib.get_close_matches(str(value).lower(), without_case, n=1)
    hint = f"did you mean {without_case[near[0]]!r}? " if near else ""
    return InputError(f"unknown {kind} {str(value)!r}: {hint}known: {', '.join(names)}")


def whole(name: str, number: object, least: int, most: int | None = None) -> int:
    """The number. Raises InputError unless it is a whole one, not below `least` and not above `most`."""
    with contextlib.suppress(TypeError):
        found = -1 if isinstance(number, bool) else operator.index(number)  # type: ignore[arg-type]
        if found >= least and (most is None or found <= most):
            return found
    limits = f"of at least {least}" if most is None else f"from {least} to {most}"
    raise InputError(f"{name} {number!r}: expected a whole number {limits}")


def at_least_one(**named: object) -> None:
    """Raises InputError where a number of samples, groups, levels, ... is below one."""
    for name, number in named.items():
        whole(name, number, 1)


def not_negative(**named: object) -> None:
    """Raises InputError where a number of layers is below zero."""
    for name, number in named.items():
        whole(name, number, 0)


def a_share(**named: object) -> None:
    """Raises InputError where a number, and no schedule of one, is not between 0 and 1."""
    for name, number in named.items():
        if isinstance(number, int | float) and not 0 <= number <= 1:
            raise InputError(f"{name} {number}: expected a number from 0 to 1")


def known(what: str, choice: object, allowed: Collection[str]) -> None:
    """Raises InputError where there is no such choice: now, and not when the loss is first traced."""
    if choice not in allowed:
        raise unknown(what, choice, allowed)


def a_seed(seed: int) -> None:
    """Raises InputError where no key can be made of it."""
    whole("seed", seed, 0, 2**32 - 1)


def first_line(error: BaseException) -> str:
    """What an exception of any library says first; its type, where it says nothing."""
    return next(filter(None, map(str.strip, str(error).splitlines())), type(error).__name__)


class Unlike(InputError):
    """What was given for a run (data, code, modules) is not what it was made with. What it holds is whole."""


class Diverged(ArithmeticError):
    """Training met a value that is not finite. The message names the step and the metric."""


class Interrupted(Exception):
    """A signal asked the run to end; it saved and stopped. `signal` is its number."""

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal
