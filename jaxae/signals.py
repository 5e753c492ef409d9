"""SIGINT and SIGTERM, while a run takes them as requests."""

import contextlib
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any

AGAIN = 1.0
"""Seconds in which a signal that comes again is the same request: a scheduler may send it to parent and child."""


@contextlib.contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[dict[int, Any]]:
    """SIGINT and SIGTERM go to `handler`. Yields whose they were and will be again: outside the main thread nobody's,
    and nothing happens."""
    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield before
    finally:
        for number, former in before.items():
            signal.signal(number, former)


@contextlib.contextmanager
def collected() -> Iterator[list[int]]:
    """Collects SIGINT and SIGTERM instead of dying of them; the second of a kind is taken at its word."""
    asked: list[int] = []
    times: dict[int, float] = {}

    def ask(number: int, frame: object) -> None:
        if number in times and time.monotonic() - times[number] >= AGAIN:
            signal.signal(number, before[number])
            signal.raise_signal(number)
        elif number not in times:
            times[number] = time.monotonic()
            asked.append(number)

    with handled(ask) as before:
        yield asked
