"""A sweep as it ended: its table, its members' final states."""

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import jax

from jaxae.build import build
from jaxae.data.source import Source
from jaxae.folder import SweepFolder
from jaxae.lane import stacked
from jaxae.plan import Member, Plan
from jaxae.sweep.measuring import load_member
from jaxae.types import Net, TrainState

if TYPE_CHECKING:
    import pandas


class Group(NamedTuple):
    """Members that share a compiled program, as they ended."""

    members: tuple[Member, ...]
    states: TrainState
    """With a leading axis of members, on the host."""


class Swept(NamedTuple):
    """A finished sweep."""

    folder: SweepFolder
    table: "pandas.DataFrame"
    """One row a member: its axes, how it ended, its measures."""
    plan: Plan
    net: Net | None = None
    source: Source | None = None

    def groups(self) -> list[Group]:
        """The final states, stacked; members that diverged, or have not come to their end, are left out, and
        groups that have no other."""
        found = []
        for group in self.plan.groups:
            ended = {m.name: self.folder.outcome(m.name) for m in group}
            whole = tuple(m for m in group if (ended[m.name] or {}).get("outcome") not in (None, "diverged"))
            if whole:
                setup = build(whole[0].config, self.net, self.source)
                states = [load_member(self.folder, m, setup.like(m.config), "last").state for m in whole]
                found.append(Group(whole, stacked(jax.device_get(states))))
        return found


def load(path: str | Path, *, net: Net | None = None, source: Source | None = None) -> Swept:
    """The sweep in the folder `path`, as far as it has come; `net` and `source` are those that it was trained with."""
    from jaxae import compare  # pandas and scipy's statistics: not before all is trained

    folder = SweepFolder(path)
    folder.read()  # there is a sweep
    return Swept(folder, compare.table([folder.path], folder.measured_split()), folder.plan(), net, source)
