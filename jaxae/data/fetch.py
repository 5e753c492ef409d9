"""Downloads that are checked against a registered SHA-256, and that fail early where there is no network."""

import hashlib
import http.client
import os
import threading
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from jaxae.errors import InputError

SECONDS = 6.0  # to hear anything at all from a host
BLOCK = 2**20


class Registered(NamedTuple):
    """What TFDS's register says of one file."""

    url: str
    size: int
    """bytes"""
    sha256: str


def request(url: str) -> urllib.request.Request:
    return urllib.request.Request(url, headers={"User-Agent": "jaxae"})


def reach(url: str, seconds: float = SECONDS) -> None:
    """Raises unless the URL's host answers in time, with whatever status.

    In a thread of its own, for looking up a host's address knows no time limit.
    """
    answer: list[Exception | None] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(request(url), timeout=seconds):
                answer.append(None)
        except urllib.error.HTTPError:
            answer.append(None)
        except Exception as error:
            answer.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(seconds)
    error = answer[0] if answer else TimeoutError(f"no answer in {seconds:g} s")
    if error is not None:
        raise InputError(f"cannot reach {urlsplit(url).hostname} ({getattr(error, 'reason', error)})")


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(path: Path, expected: Registered) -> Path:
    """The path itself; raises where the file is absent or not the registered one, byte for byte."""
    if not path.is_file():
        raise InputError(f"{path}: no such file: expected the one from {expected.url}")
    found = sha256(path)
    if found != expected.sha256:
        raise InputError(
            f"{path}: wrong SHA-256: expected {expected.sha256} ({expected.size:,} bytes), "
            f"found {found} ({path.stat().st_size:,} bytes)"
        )
    return path


def download(target: Path, expected: Registered, say: Callable[[str], Any]) -> Path:
    """The registered file at `target`, from there if it is there already. Never half a file of that name."""
    if target.is_file() and sha256(target) == expected.sha256:
        return target
    reach(expected.url)
    say(f"downloading {expected.url} ({expected.size:,} bytes)")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    try:
        with (
            urllib.request.urlopen(request(expected.url), timeout=5 * SECONDS) as answer,
            open(part, "wb") as file,
        ):
            while block := answer.read(BLOCK):
                file.write(block)
        verify(part, expected)
        os.replace(part, target)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError) as error:
        raise InputError(f"{expected.url}: the download failed ({getattr(error, 'reason', error)})") from None
    finally:
        part.unlink(missing_ok=True)
    return target
