"""How the members of a sweep share the devices: in which lanes, how many side by side, how many in a wave."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from jaxae.axes import MOST
from jaxae.errors import InputError
from jaxae.parallel import Layout, make_mesh
from jaxae.plan import How, Member, Plan
from jaxae.programs import Programs, make_programs
from jaxae.setup import Setup
from jaxae.sweep import lanes


class Sharing:
    """What the sweep began with (`kept`, of its sweep.json) holds; else what is asked for; else the rules of `lanes`.

    Raises InputError where there are too few devices, or what is asked for does not go together.
    """

    def __init__(self, plan: Plan, how: How, setups: Sequence[Setup], kept: Mapping[str, Any] | None):
        self.plan, self.how, self.setups, self.kept = plan, how, setups, kept
        self.mesh = make_mesh(how.seed_devices, plan.base.devices)
        self.made: dict[tuple[Setup, Layout], Programs] = {}
        self.kind = self._kind()
        self.block = self._block()

    @cached_property
    def layout(self) -> Layout:
        return self._layout(self.block)

    def programs(self, setup: Setup) -> Programs:
        return self._programs(setup, self.layout)

    def wave_size(self, setup: Setup, members: int) -> tuple[int, int]:
        """Lanes of each wave of a group of so many members, and the bytes that it needs on a device. Raises InputError
        where there is no room for the smallest."""
        multiple, programs = self.layout.multiple(), self.programs(setup)

        def need(members: int) -> int:
            return lanes.needed(setup, self.layout, programs, members) + lanes.copies(setup, members)

        if self.how.wave is not None:
            size = -(-min(self.how.wave, members) // multiple) * multiple
            return size, need(size)
        remedy = "choose --lanes map, a smaller --block or a smaller model"
        if self.kept:
            remedy = f"this sweep keeps its {self.kind} of {self.block}: go on where there is more, or in another --run"
        return lanes.wave_size(members, multiple, need, lanes.available(), remedy)

    def in_words(self, members: Sequence[Member]) -> str:
        where = f", over {self.how.seed_devices} devices" if self.how.seed_devices > 1 else ""
        side = "one after the other" if self.kind == "map" else f"{self.block} side by side"
        return f"{len(members):,} members in one program ({self.kind}: {side}{where})"

    def _kind(self) -> str:
        kind = self.how.lanes if self.how.lanes != "auto" else lanes.choose(self.plan.base.exact)
        return self.kept["lanes"] if self.kept else kind

    def _block(self) -> int:
        if self.kind == "map" and self.how.block is not None:
            raise InputError(f"block {self.how.block}: here members are taken one after the other: add --lanes vmap")
        if self.kept:
            return self.kept["block"]
        if self.kind == "map":
            return 1
        if self.how.block is not None:
            return self.how.block
        members = min(max(map(len, self.plan.groups)), self.how.wave or MOST)

        def need(block: int) -> int:
            """Of the group that needs the most: all have the same block."""
            layout = self._layout(block)
            return max(lanes.needed(s, layout, self._programs(s, layout), layout.multiple()) for s in self.setups)

        return lanes.block(-(-members // self.how.seed_devices), need, lanes.available())

    def _layout(self, block: int) -> Layout:
        return Layout(self.mesh, "jit", self.kind, block, self.plan.base.exact)

    def _programs(self, setup: Setup, layout: Layout) -> Programs:
        """Made once: what is compiled to see how much memory it needs is what trains."""
        if (setup, layout) not in self.made:
            self.made[setup, layout] = make_programs(setup, layout)
        return self.made[setup, layout]
