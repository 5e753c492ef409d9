"""A sweep in its folder: wave after wave of members trained as one compiled program, each then a run of its own."""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxae import command, files, fits, own, run, signals
from jaxae import record as records
from jaxae.build import of_net, of_source
from jaxae.data.source import Source
from jaxae.errors import InputError, Interrupted
from jaxae.evaluate.settings import Settings
from jaxae.folder import SweepFolder, locked
from jaxae.log import OnMemberRow, check_on_row
from jaxae.names import OF_NETWORKS
from jaxae.plan import How, Member, Plan
from jaxae.progress import Bar, Progress
from jaxae.setup import Setup
from jaxae.start import Start
from jaxae.sweep.measuring import Unread, measured, setups_of
from jaxae.sweep.sharing import Sharing
from jaxae.sweep.starting import saved, starts
from jaxae.sweep.swept import Swept, load
from jaxae.sweep.wave import Wave
from jaxae.types import Net

USUALLY = How()


def _own(plan: Plan, net: Net | None, source: Source | None) -> Plan:
    """The plan of a sweep with the user's own modules or arrays, which decide what no axis may vary then."""
    decided = {"network", "latent", "dtype", *OF_NETWORKS} if net else set()
    decided |= {"data", "validation", "size", "test"} if source is not None else set()
    if axes := [axis for axis in plan.axes if axis in decided]:
        where = "grid" if axes[0] in plan.grid else "setting"
        raise InputError(f"{where} {axes[0]}: net= or source= decides it: leave it out")
    return dataclasses.replace(plan, base=of_source(of_net(plan.base, net), source))


def sweep(
    plan: Plan,
    path: str | Path,
    how: How = USUALLY,
    progress: Progress | None = None,
    *,
    net: Net | None = None,
    source: Source | None = None,
    on_row: OnMemberRow | None = None,
) -> Swept:
    """Trains every member of `plan` in the folder `path`, or goes on there, and measures each on the split that its
    config names (`evaluate`).

    A member is a run: `jaxae.run.load(path, member="seed=2,beta=4")`. `net` and `source` are your own modules and
    arrays, for all members: see `jaxae.run.train`. `on_row` is called with each member's name and row of its log: what
    it raises ends the training of all, which goes on from the last checkpoint when asked again. Raises InputError, or
    Interrupted (SIGINT, SIGTERM: saved). A member that meets a value that is not finite ends at its step; the others
    go on.
    """
    plan = _own(plan, net, source)
    check_on_row(on_row, "a member's name and a row")
    how.check(plan.base)
    folder, progress = SweepFolder(path), progress or Progress(quiet=True)
    for config in {repr(member.config.own_functions()): member.config for member in plan.members}.values():
        config.allow_own()
    plan = folder.named_as_before(plan)
    lanes = folder.read()["lanes"] if folder.exists() and how.lanes == "auto" else how.lanes
    wanted: dict[str, Any] = {
        "lanes": None if how.lanes == "auto" else how.lanes,
        "block": how.block if lanes == "vmap" else None,
        "exact": plan.base.exact,
    }
    folder.check(plan, wanted)
    with locked(folder.path), signals.collected() as asked:
        folder.check(plan, wanted)  # another process may have made it meanwhile
        setups = setups_of(plan, net, source)
        begun = starts(plan, setups, folder, progress)
        _foresee(plan, setups, progress)
        Sweep(plan, folder, how, progress, asked, setups, begun, on_row).run()
    return load(folder.path, net=net, source=source)


def _foresee(plan: Plan, setups: list[Setup], progress: Progress) -> None:
    """Says before training what no comparison will do after it, where nobody asked for it by an axis."""
    told: dict[str, None] = {}
    for setup, group in zip(setups, plan.groups):
        for config in {member.config.hyperparameters: member.config for member in group}.values():
            told |= dict.fromkeys(fits.doubts(config, setup.like(config)))
    for doubt in told:
        progress.warn(doubt)
    if {"binarize", "likelihood"} & set(plan.axes):
        return
    ways = {setup.config.binarize: own.short(setup.config.method) for setup in setups}
    if len(ways) > 1:
        said = ", ".join(f"{way} of {method}" for way, method in ways.items())
        progress.warn(
            f"pixels are binarised in different ways ({said}): nats and errors of these members will not be compared: "
            "--binarize gives all of them one"
        )


class Sweep:
    """The work of `sweep`, in order."""

    def __init__(
        self,
        plan: Plan,
        folder: SweepFolder,
        how: How,
        progress: Progress,
        asked: list[int],
        setups: list[Setup],
        starts: Mapping[str, Start],
        on_row: OnMemberRow | None,
    ):
        self.plan, self.folder, self.how, self.progress, self.asked = plan, folder, how, progress, asked
        self.setups, self.starts, self.on_row = setups, starts, on_row
        self.check_weights()
        self.check_members()
        self.restore_configs()
        self.sharing = Sharing(plan, how, setups, folder.read() if folder.exists() else None)
        self.lanes: dict[str, Any] = {"lanes": self.sharing.kind, "block": self.sharing.block}
        self.done = sum(self.ended(member) for member in plan.members)

    def check_weights(self) -> None:
        """Raises InputError where a method refuses a member's weights."""
        for setup, group in zip(self.setups, self.plan.groups):
            for _, members in itertools.groupby(group, key=lambda member: member.config.hyperparameters):
                fits.check_weights(setup.like(next(members).config))

    def check_members(self) -> None:
        """Raises InputError unless the data, the net, the generator and the width of numbers are those of the members
        that have begun."""
        now = records.numerics()
        for setup, group in zip(self.setups, self.plan.groups):
            for member in group:
                there = self.folder.member(member.name)
                if other := there.other(setup.modules, now):
                    raise InputError(other)
                begun = there.record().get("data", {}).get("sha256")
                if begun not in (None, setup.source.digest):
                    raise InputError(
                        f"{setup.source.name} has changed since {member.name} of this sweep began, and its digest "
                        "differs: expected the data as it was, or another --run"
                    )

    def restore_configs(self) -> None:
        """The config.json of members that have ended and lost it: the sweep knows what they are."""
        for member in self.plan.members:
            there = self.folder.member(member.name)
            if there.outcome_file.is_file() and not there.config_file.is_file():
                files.write_json(there.config_file, member.config.to_dict())

    def code(self) -> dict[str, str]:
        """The SHA-256 of the files of the user's own functions, as they were read."""
        return {
            name: setup.code[f"{field}_sha256"]
            for setup, group in zip(self.setups, self.plan.groups)
            for field, name in group[0].config.own_functions().items()
        }

    def made_as(self) -> str:
        """What tells the sweep from others, as it begins: a digest of what decides the members' results but seeds."""
        members = self.plan.members[:: len(self.plan.seeds)]
        names = [member.name.partition(",")[2] for member in members]
        configs = [{**member.config.result(), "seed": None} for member in members]
        of_setups = [[setup.source.digest, setup.code, setup.modules] for setup in self.setups]
        begun = sorted({start.facts.get("made_as") or start.facts["digest"] for start in self.starts.values()})
        decided = [names, configs, members[0].config.order_seed, of_setups, begun]
        return hashlib.sha256(json.dumps(decided, sort_keys=True, default=dict).encode()).hexdigest()

    def ended(self, member: Member) -> bool:
        return self.folder.member(member.name).outcome_file.is_file()

    def run(self) -> None:
        sizes = [self.wave_size(setup, group) for setup, group in zip(self.setups, self.plan.groups)]
        parts = [(setup, group, size) for setup, group, (size, _) in zip(self.setups, self.plan.groups, sizes)]
        words = command.of_sweep(
            self.plan, self.folder.path, self.sharing.kind, self.sharing.block, self.how.seed_devices
        )
        how = {"command": words, **self.lanes, "exact": self.plan.base.exact}
        self.folder.write(self.plan, how, self.code(), self.made_as())
        self.say_plan(sizes)
        with self.progress.bar(self.setups[0], 0, len(self.plan.members)) as bar:
            begun = self.begun()  # a wave that was cut off goes on before any other begins
            for setup, group, size in parts:
                named = {member.name: member for member in group}
                if again := [named[name] for name in begun if name in named]:
                    self.train(setup, again, max(size, len(again)), bar)
            for setup, group, size in parts:
                left = [member for member in group if not self.ended(member)]
                for start in range(0, len(left), size):
                    self.train(setup, left[start : start + size], size, bar)
        self.measure()

    def begun(self) -> list[str]:
        """The members of the wave that was cut off, maybe while it was handed out. One that is handed out, or has
        nothing saved, is over."""
        names = saved(self.folder)
        if not all(self.folder.outcome(name) for name in names):
            return names
        self.folder.end_wave()
        return []

    def wave_size(self, setup: Setup, group: Sequence[Member]) -> tuple[int, int]:
        """Lanes of each wave of the group, and the bytes that it needs; nothing is compiled for one that is done."""
        if all(self.ended(member) for member in group):
            return len(group), 0
        return self.sharing.wave_size(setup, len(group))

    def say_plan(self, sizes: Sequence[tuple[int, int]]) -> None:
        """What is going to happen, before it does."""
        plan, say = self.plan, self.progress.say
        parts = [f"{len(plan.seeds)} seed{'s' if len(plan.seeds) > 1 else ''}"]
        parts += [f"{len(plan.settings)} settings"] if plan.settings else []
        parts += [f"{len(values)} {name}" for name, values in plan.grid.items()]
        say(f"{len(plan.members):,} members: {' x '.join(parts)}; {self.done:,} done already")
        if plan.shared_batches:
            say("all members read the data in the same order")
        for number, (setup, group, (size, need)) in enumerate(zip(self.setups, plan.groups, sizes), 1):
            left = sum(not self.ended(member) for member in group)
            waves, steps = math.ceil(left / size), setup.total
            say(
                f"group {number} of {len(plan.groups)}: {self.sharing.in_words(group)}, "
                f"{waves} wave{'' if waves == 1 else 's'} of up to {size:,}, {steps:,} steps, "
                f"{need / 1e6:,.0f} MB expected on a device"
            )

    def train(self, setup: Setup, members: Sequence[Member], size: int, bar: Bar) -> None:
        """One wave, from its beginning or its last checkpoint to the members' own folders."""
        self.folder.begin_wave([member.name for member in members])
        self.done -= sum(self.ended(member) for member in members)  # those that are handed out again
        wave = Wave(self.folder, setup, members, self.starts, self.progress, self.on_row)
        what = f"members {self.done + 1} to {self.done + len(members)} of {len(self.plan.members)}"
        layout, programs = self.sharing.layout, self.sharing.programs(setup)
        wave.train(layout, programs, size, bar, self.done * setup.total, what, self.asked)
        self.done += len(members)

    def is_measured(self, member: Member) -> bool:
        try:
            there = self.folder.member(member.name).evaluation(self.plan.base.evaluate)
            return run.is_measured(there, self.plan.base.samples)
        except InputError:  # damaged: `store` sets it aside
            return False

    def measure(self) -> None:
        """Each member's likelihood, where it is not there yet, or by fewer samples. Raises Unread, at the end."""
        unread: list[str] = []
        split = self.plan.base.evaluate
        self.go_on()
        if split == "none":
            return
        for setup, group in zip(self.setups, self.plan.groups):
            missing = [m for m in group if not self.is_measured(m)]
            settings = Settings(self.plan.base.samples)
            made = measured(self.folder, setup, missing, split=split, settings=settings, unread=unread, **self.lanes)
            with contextlib.closing(self.progress.track("measuring", made, len(missing))) as done:
                for _ in done:
                    self.go_on()
        if unread:
            raise Unread(unread, {})

    def go_on(self) -> None:
        if self.asked:
            raise Interrupted(self.asked[0], "stopped while measuring: the same command goes on from there")
