"""One process of several works in a child of its own, for XLA aborts a process that loses another.

The parent relays signals, and ends as its child does. What C++ writes to the child's standard streams goes to a file
that is kept only where nobody knows why the child died; what Python writes there is seen as ever.
"""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from jaxae import signals
from jaxae.join import Hosts, join, proxies

LOST = 75
"""The child's exit code where a meeting with the others failed."""
STREAMS = "JAXAE_SUPERVISED"
"""Tells a child of its parent's standard output, its standard error, and a pipe that ends when the parent does."""
DIED_OF_OTHERS = ("distributed service detected fatal errors", "coordination service", "CoordinationService")

inside = False
"""Whether this process is the child: set by `jaxae.cli.supervised`."""


def enter(hosts: Hosts, module: str = "jaxae.cli.supervised") -> None:
    """Nothing for a process alone. Else does what its command line asks for in a child, and leaves as it does; in the
    child, joins."""
    if not hosts.several():
        return
    if not inside:
        words = [sys.executable, "-m", module, *sys.argv[1:]]
        raise SystemExit(supervise(words, hosts))
    join(hosts)
    import jax

    tell("joined", jax.process_index(), jax.process_count())


def tell(*words: object) -> None:
    """From the child to its parent, by the file that its C++ writes to."""
    os.write(2, f"\njaxae-child: {' '.join(map(str, words))}\n".encode())


def supervise(words: list[str], hosts: Hosts) -> int:
    """The exit code, after the one line there is to say."""
    with tempfile.NamedTemporaryFile(prefix="jaxae-", suffix=".log", delete=False) as noise:
        file = Path(noise.name)
        code = _run(words, noise.fileno())
        noise.seek(0)
        end = verdict(code, noise.read().decode(errors="replace"), hosts, file)
    if end.line:
        print(end.line, file=sys.stderr, flush=True)
    if not end.keep:
        file.unlink(missing_ok=True)
    return end.code


class End(NamedTuple):
    code: int
    line: str = ""
    keep: bool = False
    """Whether the child's noise is all there is to know."""


def verdict(code: int, noise: str, hosts: Hosts, file: Path) -> End:
    """What the end of a child means. `code` is as subprocess tells it: minus a signal's number."""
    told = dict(re.findall(r"^jaxae-child: (\w+) ?(.*)$", noise, re.MULTILINE))
    if code >= 0 and code != LOST:
        return End(code) if "started" in told else End(code or 1, noise.rstrip())
    if "leaving" in told:  # and then aborted, for the others had left before
        return End(int(told["leaving"]))
    if code == LOST or (code == -signal.SIGABRT and any(text in noise for text in DIED_OF_OTHERS)):
        if "joined" not in told:
            return End(2, f"jaxae: {_did_not_meet(hosts)}")
        id, number = told["joined"].split()
        return End(
            1,
            f"jaxae: lost contact with another process of this run (process {id} of {number} here): restart all of "
            "them with the same command, it goes on from the last checkpoint",
        )
    if -code in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        return End(128 - code)
    name = f"{signal.Signals(-code).name} (out of memory?)" if code == -signal.SIGKILL else signal.Signals(-code).name
    return End(128 - code, f"jaxae: ended by {name}: what the libraries said before is in {file}", keep=True)


def _did_not_meet(hosts: Hosts) -> str:
    where = f" at {hosts.coordinator}" if hosts.coordinator else ""
    if hosts.process_id == 0:
        who = f"not all of the {hosts.num_processes} processes came to the coordinator{where}"
    else:
        who = f"the processes of this run did not all meet{where}"
    return f"{who} within {hosts.join_timeout} s: start all of them, each with its own --process-id{proxies()}"


def _run(words: list[str], noise: int) -> int:
    """The child's return code."""
    out, err, (life, ours) = os.dup(1), os.dup(2), os.pipe()
    env = {**os.environ, STREAMS: f"{out},{err},{life}"}
    relay = Relay()
    with signals.handled(relay):
        # a process group of its own: a terminal's Ctrl-C reaches it once, through its parent
        child = subprocess.Popen(words, stdout=noise, stderr=noise, env=env, pass_fds=(out, err, life), process_group=0)
        for fd in (out, err, life):
            os.close(fd)
        relay.to(child)
        code = child.wait()
    os.close(ours)
    return -relay.killed or code


class Relay:
    """Passes signals on; one that comes before the child is there waits for it. The third of a kind kills."""

    def __init__(self) -> None:
        self._child: subprocess.Popen | None = None
        self._times: dict[int, list[float]] = {}
        self.killed = 0
        """The signal that came a third time."""

    def __call__(self, number: int, frame: object) -> None:
        times, now = self._times.setdefault(number, []), time.monotonic()
        if times and now - times[-1] < signals.AGAIN:
            return
        times.append(now)
        self.killed = number if len(times) > 2 else 0
        if self._child:
            self._child.send_signal(signal.SIGKILL if self.killed else number)

    def to(self, child: subprocess.Popen) -> None:
        self._child = child
        for number in list(self._times):
            child.send_signal(number)
