"""How this process finds the others of its run: by the launcher, or by an address, a number and a count."""

import os
import socket
import time
from dataclasses import dataclass

from jaxae.errors import InputError

LEAST_PEER_TIMEOUT = 5  # heartbeats come every half of it: less, and a busy machine looks dead


@dataclass(frozen=True)
class Hosts:
    """One process's place among all. Raises InputError for one that cannot be."""

    coordinator: str | None = None
    """HOST:PORT, where process 0 listens."""
    process_id: int | None = None
    num_processes: int | None = None
    automatic: bool = False
    """Ask the launcher: Slurm, Open MPI, GKE, Cloud TPU."""
    peer_timeout: int = 30
    """Seconds without a sign of life after which a process counts as dead."""
    join_timeout: int = 60
    """Seconds until all must have met."""

    def __post_init__(self) -> None:
        by_hand = {
            "--coordinator": self.coordinator,
            "--process-id": self.process_id,
            "--num-processes": self.num_processes,
        }
        missing = [name for name, value in by_hand.items() if value is None]
        if self.automatic and len(missing) < 3:
            given = next(name for name in by_hand if name not in missing)
            raise InputError(f"--distributed asks the launcher, {given} does not: give one or the other")
        if 0 < len(missing) < 3:
            raise InputError(f"{', '.join(missing)}: missing: a process is placed by {', '.join(by_hand)} together")
        if self.peer_timeout < LEAST_PEER_TIMEOUT:
            raise InputError(f"--peer-timeout {self.peer_timeout}: expected at least {LEAST_PEER_TIMEOUT} seconds")
        if self.join_timeout < 1:
            raise InputError(f"--join-timeout {self.join_timeout}: expected at least 1 second")
        if not missing:
            self._check_place()

    def _check_place(self) -> None:
        id, number = self.process_id or 0, self.num_processes or 0
        if number < 1:
            raise InputError(f"--num-processes {number}: expected at least 1")
        if not 0 <= id < number:
            raise InputError(f"--process-id {id}: expected 0 to {number - 1}, for there are {number} processes")
        self.address()

    def several(self) -> bool:
        """Whether there is anybody to meet."""
        return self.automatic or (self.num_processes or 1) > 1

    def address(self) -> tuple[str, int]:
        """The coordinator's host and port."""
        host, _, port = (self.coordinator or "").rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 2**16:
            raise InputError(f"--coordinator {self.coordinator!r}: expected HOST:PORT")
        return host.strip("[]"), int(port)


def join(hosts: Hosts) -> None:
    """Meets the other processes; does nothing for a process alone. To be called before anything else asks JAX for its
    devices. Raises InputError where no coordinator answers. XLA *aborts* where the coordinator answers and another
    process stays away, or later dies: `jaxae.cli.supervise` says so in one line."""
    if not hosts.several():
        return
    import jax

    jax.config.update("jax_enable_preemption_service", False)  # it would take SIGTERM, which is ours: save, then stop
    jax.config.update("jax_check_proxy_envs", False)  # a line in the log: ours is there where joining fails
    limit = time.monotonic() + hosts.join_timeout
    if hosts.process_id == 0:
        _may_listen(hosts)
    elif hosts.process_id is not None:
        _await_coordinator(hosts, limit)
    try:
        jax.distributed.initialize(
            hosts.coordinator,
            hosts.num_processes,
            hosts.process_id,
            cluster_detection_method=None if hosts.automatic else "deactivate",
            initialization_timeout=max(5, int(limit - time.monotonic())),
            heartbeat_timeout_seconds=hosts.peer_timeout,
            shutdown_timeout_seconds=24 * 3600,  # one may have more to do at the end; who dies meanwhile is noticed
        )
    except ValueError as error:
        if not hosts.automatic:
            raise
        raise InputError(
            "--distributed: no launcher was found (Slurm, Open MPI, GKE, Cloud TPU): start under one, or give "
            f"--coordinator, --process-id and --num-processes ({error})"
        ) from error
    from jaxae import hosts as meetings

    meetings.first(lambda: None)  # now, while all are here: for a first meeting XLA waits 5 minutes, not longer
    meetings.barrier("joined")


def _await_coordinator(hosts: Hosts, limit: float) -> None:
    """Until somebody listens at the address: XLA itself would abort where nobody does."""
    why = "no answer"
    while (left := limit - time.monotonic()) > 0:
        try:
            socket.create_connection(hosts.address(), timeout=max(0.1, min(left, 5))).close()
            return
        except OSError as error:
            why = (error.strerror or str(error) or "no answer").lower()
            time.sleep(min(0.2, max(0.0, left)))
    raise InputError(
        f"no coordinator answered at {hosts.coordinator} within {hosts.join_timeout} s ({why}): start process 0 "
        f"there, or see to the address{proxies()}; --join-timeout waits longer"
    )


def _may_listen(hosts: Hosts) -> None:
    """Refuses a port that is taken: two services could listen there at once, each with half of the others."""
    _, port = hosts.address()
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError as error:
            why = (error.strerror or str(error)).lower()
            raise InputError(f"--coordinator {hosts.coordinator}: process 0 cannot listen there: {why}") from None


def proxies() -> str:
    """What to look at where processes do not meet: gRPC goes through a proxy where the environment names one."""
    named = [name for name in ("grpc_proxy", "https_proxy", "http_proxy") if os.environ.get(name)]
    return f" (${named[0]} is set: the processes talk through it)" if named else ""
