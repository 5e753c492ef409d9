"""Who may write in a folder, and what may lie there already."""

import contextlib
import errno
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path

from jaxae import files
from jaxae.errors import InputError

LOCK = ".lock"
LEFTOVER = re.compile(r"\.lock|\.(config|record|sweep)\.json\w{8}")
"""The lock, and what `write_json` writes beside the file to come."""


def occupied(path: Path) -> bool:
    """Whether more lies there than a command leaves that was refused, or killed at its start: empty folders, the lock,
    a half-written file."""
    if not path.is_dir():
        return path.exists() or path.is_symlink()
    return any(not LEFTOVER.fullmatch(entry.name) and occupied(entry) for entry in path.iterdir())


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Waits for other processes and threads that are inside, of those that read a file of the folder to write it anew.
    Where the folder is not there yet, or knows no locks, nothing keeps them apart."""
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):
            folder = os.open(path, os.O_RDONLY)
            stack.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """Makes the folder, and keeps other processes out of it while inside; where it is `shared`, those that do not share
    it."""
    files.check_place(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a+")  # NFS shares a lock only on what is open for reading
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            held = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
            why = "another process is training here" if held else f"cannot be locked: {error.strerror}"
            raise InputError(f"{path}: {why}") from None
        yield
