"""Bytes: of an accelerator, and of the host, whose CPU may be the device."""

import contextlib
import os
import re
from pathlib import Path

import jax

GROUP = Path("/sys/fs/cgroup")  # a container's limits, where it has any


def accelerator() -> int | None:
    """Bytes of an accelerator; None where the device is the host's CPU."""
    limit = (jax.local_devices()[0].memory_stats() or {}).get("bytes_limit")
    return None if limit is None else int(limit)


def device() -> int:
    """Bytes that a device has in all."""
    return accelerator() or _host()[0]


def free() -> int:
    """Bytes that the host could still give."""
    return _host()[1]


def _host() -> tuple[int, int]:
    """(in all, free), of the machine or of the control group that this process may not leave. Pages that hold files
    count as free: they are given up when asked for."""
    page = os.sysconf("SC_PAGE_SIZE")
    whole = left = os.sysconf("SC_PHYS_PAGES") * page
    with contextlib.suppress(ValueError):  # macOS does not tell
        left = os.sysconf("SC_AVPHYS_PAGES") * page
    with contextlib.suppress(OSError, TypeError):  # elsewhere than on Linux
        said = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        left = int(said[1]) * 1024  # type: ignore[index]
    with contextlib.suppress(OSError, ValueError):  # no limit says "max"
        most, used = (int((GROUP / f"memory.{name}").read_text()) for name in ("max", "current"))
        files = re.search(r"^inactive_file (\d+)", (GROUP / "memory.stat").read_text(), re.MULTILINE)
        whole, left = min(whole, most), min(left, most - used + int(files[1] if files else 0))
    return whole, left
