"""The child of `jaxae.cli.supervise`: `python -m jaxae.cli.supervised ARGS` is `jaxae ARGS` that ends in bounded time.

A process must not linger once it has lost the others, and must not drop out while they still speak with it: process 0
serves them all. So: 0 leaves when all do; a refusal waits for the others a moment; a loss leaves at once.
"""

import faulthandler
import os
import sys
import threading
import traceback
from collections.abc import Callable

from jaxae.cli import status, supervise

LINGER = 3.0
"""Seconds that a process which ends early waits for the others to end likewise."""
LOSSES = (
    "Gloo", "NCCL", "Connection closed by peer", "Connection reset by peer", "Broken pipe", "Connection refused",
    "coordination service", "CoordinationService", "eartbeat", "UNAVAILABLE", "DEADLINE_EXCEEDED", "Barrier",
)  # fmt: skip


def work(do: Callable[[list[str]], int]) -> None:
    """Does `do(arguments)`, which returns an exit code, as the child of a supervisor; then ends the process."""
    _take_streams(os.environ.pop(supervise.STREAMS))
    supervise.inside = True
    try:
        code = do(sys.argv[1:])
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException as error:
        if is_loss(error):
            traceback.print_exc(file=sys.__stderr__)  # into the file
            leave(supervise.LOST)
        traceback.print_exc()
        code = 1
    if code:
        supervise.tell("leaving", code)
        _part(LINGER)
        leave(code)
    if not _part():
        leave(supervise.LOST)
    sys.exit(0)


def is_loss(error: BaseException) -> bool:
    """Whether an exception means that another process has gone."""
    from jax.errors import JaxRuntimeError

    return isinstance(error, JaxRuntimeError | ValueError) and any(text in str(error) for text in LOSSES)


def leave(code: int) -> None:
    """At once: what Python does at its end would wait for those who have gone. The kernel closes our connections, which
    ends the others' waiting."""
    for stream in (sys.stdout, sys.stderr, sys.__stderr__):
        if stream:
            stream.flush()
    os._exit(code)


def _take_streams(numbers: str) -> None:
    """Python keeps the parent's streams; whatever else writes to the standard ones writes to a file."""
    out, err, life = map(int, numbers.split(","))
    for fd in (out, err, life):
        os.set_inheritable(fd, False)
    encoding = sys.stdout.encoding
    sys.stdout = os.fdopen(out, "w", buffering=1 if os.isatty(out) else -1, encoding=encoding)
    sys.stderr = os.fdopen(err, "w", buffering=1, encoding=encoding, errors="backslashreplace")
    faulthandler.enable(file=2)
    threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()
    supervise.tell("started")


def _end_with_parent(life: int) -> None:
    os.read(life, 1)
    os._exit(1)


def _part(seconds: float | None = None) -> bool:
    """Until the others end too, or for so long: whether they did."""
    jax = sys.modules.get("jax")
    if not jax or not jax.distributed.is_initialized():
        return True
    parted = []

    def wait() -> None:
        try:
            jax.distributed.shutdown()
            parted.append(True)
        except Exception:
            traceback.print_exc(file=sys.__stderr__)  # into the file

    waiting = threading.Thread(target=wait, daemon=True)
    waiting.start()
    waiting.join(seconds)
    return bool(parted)


if __name__ == "__main__":
    work(status)
