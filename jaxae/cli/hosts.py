"""The flags of a run of several processes."""

import functools
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import click

from jaxae.join import Hosts

OPTIONS = (
    click.option("--distributed", "automatic", is_flag=True, help="one process of several: ask the launcher (Slurm, "
                                                                  "Open MPI, GKE, Cloud TPU) for the others"),
    click.option("--coordinator", metavar="HOST:PORT", help="one process of several, by hand: where process 0 listens"),
    click.option("--process-id", type=int, metavar="I", help="which of them this is, from 0"),
    click.option("--num-processes", type=int, metavar="N", help="how many there are"),
    click.option("--peer-timeout", type=int, default=Hosts.peer_timeout, metavar="SECONDS",
                 help=f"a process silent for so long is dead, and the others end [{Hosts.peer_timeout}]"),
    click.option("--join-timeout", type=int, default=Hosts.join_timeout, metavar="SECONDS",
                 help=f"for so long a process waits for the others to come [{Hosts.join_timeout}]"),
)  # fmt: skip


def host_options(command: Callable) -> Callable:
    """Adds the flags to a command, which gets them as one argument, `hosts`: a `Hosts`."""

    @functools.wraps(command)
    def with_hosts(**values: Any) -> Any:
        hosts = Hosts(**{field.name: values.pop(field.name) for field in fields(Hosts)})
        return command(hosts=hosts, **values)

    for option in reversed(OPTIONS):
        with_hosts = option(with_hosts)
    return with_hosts
