"""What a user did that cannot work, said in one line."""

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """Bad input. The message is one line: the value, what was expected, what to do. The CLI exits with 2."""


def unknown(kind: str, value: object, allowed: Iterable[str]) -> InputError:
    """An InputError for a name outside `allowed`, with the nearest right name where there is one."""
    names = sorted(allowed)
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return InputError(f"unknown {kind} {str(value)!r}: {hint}known: {', '.join(names)}")


class Diverged(ArithmeticError):
    """Training met a value that is not finite. The message names the step and the metric."""


class Interrupted(Exception):
    """A signal asked the run to end; it saved and stopped. `signal` is its number."""

    def __init__(self, signal: int, message: str):
        super().__init__(message)
        self.signal = signal
