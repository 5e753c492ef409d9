"""SIGINT and SIGTERM, while a run takes them as requests; and SIGINT where nothing does."""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

AGAIN = 1.0
"""Seconds in which a signal that comes again is the same request: a scheduler may send it to parent and child."""
GRACE = 2.0
"""Seconds in which an interrupt ends the process by itself: files that are being written are taken away."""
IMPORTING = "<frozen importlib._bootstrap>"
_taken: list[object] = []
"""By whom signals are handled now."""
_unheeded: list[float] = []
"""When an interrupt came that nobody took, for those who take them from then on: Python's own may have been lost."""


@contextlib.contextmanager
def handled(handler: Callable[[int, Any], None]) -> Iterator[dict[int, Any]]:
    """SIGINT and SIGTERM go to `handler`. Yields whose they were and will be again: outside the main thread nobody's,
    and nothing happens."""
    before: dict[int, Any] = {}
    with contextlib.suppress(ValueError):  # not the main thread: signals are somebody else's
        before = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    if before:
        _taken.append(before)
    try:
        yield before
    finally:
        if before:
            _taken.remove(before)
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
        if before and _unheeded and time.monotonic() - _unheeded[-1] < GRACE:
            times[signal.SIGINT] = _unheeded[-1]
            asked.append(signal.SIGINT)
        yield asked


def watched() -> None:
    """From here on SIGINT ends this process within GRACE seconds, where nobody takes it as a request: Python hears of
    it only when XLA has computed what it was asked for, and some of JAX's own callbacks swallow it, which is not for
    Python to print. While a module is imported it ends the process at once: NumPy's and JAX's break of it, or crash."""
    lost = sys.unraisablehook
    sys.unraisablehook = lambda of: None if of.exc_type is KeyboardInterrupt else lost(of)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _interrupt)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)

    def watch() -> None:
        while number := os.read(reading, 1):
            if number[0] == signal.SIGINT and not _taken:
                _unheeded.append(time.monotonic())
                time.sleep(GRACE)
                if not _taken:
                    _end()

    threading.Thread(target=watch, daemon=True, name="interrupts").start()


def _interrupt(number: int, frame: FrameType | None) -> None:
    above = frame
    while above is not None and above.f_code.co_filename != IMPORTING:
        above = above.f_back
    if above is not None:
        _end()
    signal.default_int_handler(number, frame)


def _end() -> None:
    with contextlib.suppress(OSError):
        os.write(2, b"jaxae: interrupted\n")
    os._exit(128 + signal.SIGINT)
