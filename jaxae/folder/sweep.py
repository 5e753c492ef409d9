"""The folder of a sweep."""

import dataclasses
import hashlib
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxae import copies, home, own
from jaxae.axes import shown, values_of
from jaxae.config import Config, from_dict, named_in
from jaxae.errors import InputError
from jaxae.files import ANY, SCALAR, read_json, write_json
from jaxae.folder.lock import occupied
from jaxae.folder.run import RunFolder, members_of, splits_of, sweep_file
from jaxae.plan import Member, Plan, find

FORMAT = 1  # of sweep.json
SHOWN = 4  # of what differs
SWEEP = {
    "base": dict, "seeds": [int], "grid": {ANY: [SCALAR]}, "members": [str], "shared_batches": bool, "lanes": str,
    "block": int, "exact": bool,
}  # fmt: skip
"""Of sweep.json, all of which must be there."""
MAYBE = {"code": {ANY: str}, "words": {ANY: [str]}, "settings": [{ANY: SCALAR}], "made_as": str}
"""What it may have beside; older ones lack some."""


class SweepFolder:
    """The files of a sweep; each member has a RunFolder of its own."""

    def __init__(self, path: str | os.PathLike):
        self.path = home.expanded(Path(path))
        self.sweep_file = sweep_file(self.path)
        self.members = members_of(self.path)
        self.wave = self.path / "wave"
        self.wave_file = self.wave / "wave.json"
        self.wave_checkpoints = self.wave / "checkpoints"
        self.removed_wave = self.path / "wave.removed"
        self.damaged = self.path / "damaged"
        self.table = self.path / "table.csv"
        self.report = self.path / "report.html"

    def exists(self) -> bool:
        return self.sweep_file.is_file()

    def read(self) -> dict[str, Any]:
        if not self.exists():
            command = f"`jaxae sweep --run {shlex.quote(str(self.path))}`"
            raise InputError(f"{self.path}: no sweep here (no sweep.json): {command} makes one")
        kept = read_json(self.sweep_file, SWEEP | MAYBE)
        if kept.get("format") != FORMAT:
            raise InputError(f"{self.sweep_file}: format {kept.get('format')}: this jaxae reads format {FORMAT}")
        if missing := [name for name in SWEEP if name not in kept]:
            raise InputError(f"{self.sweep_file}: it has no {missing[0]}: restore it")
        if not kept["members"]:
            raise InputError(f"{self.sweep_file}: members []: expected names: restore it")
        return kept

    def base(self) -> Config:
        kept = self.read()
        parsed = {name: self._read_from(value, kept) for name, value in kept["base"].items()}
        return from_dict(parsed, str(self.sweep_file))

    def _read_from(self, value: Any, kept: dict[str, Any]) -> Any:
        """A value of sweep.json: of a function of the user's own, where the file that it was is."""
        return copies.found(self.path, value, kept.get("code", {}).get(value)) if own.is_own(str(value)) else value

    def plan(self) -> Plan:
        """What the sweep here was asked to be."""
        kept = self.read()
        where, told = str(self.sweep_file), kept.get("words", {})

        def read(name: str, value: Any) -> Any:
            return named_in(where, name, self._read_from(value, kept))

        grid = {name: tuple(read(name, value) for value in values) for name, values in kept["grid"].items()}
        settings = [{name: read(name, value) for name, value in each.items()} for each in kept.get("settings", [])]
        axes = values_of(settings) | grid
        spelled = {name: told.get(name) or map(shown, values) for name, values in axes.items()}
        words = {name: dict(zip(axes[name], spelled[name])) for name in axes}
        began = {name: self._began(name) for name in kept["members"]}
        return Plan(self.base(), tuple(kept["seeds"]), grid, kept["shared_batches"], settings, words, began)

    def _began(self, name: str) -> dict[str, Any]:
        """What a member's config was when it began; nothing where its record is damaged, as who reads it is told."""
        try:
            return self.member(name).record().get("resolved", {})
        except InputError:
            return {}

    def named_as_before(self, plan: Plan) -> Plan:
        """The plan, its members named as those that are here."""
        return dataclasses.replace(plan, words=self.plan().words) if self.exists() else plan

    def listed(self) -> list[Member]:
        """The members, in the order of sweep.json, each with the config that it has or will be trained with."""
        planned = {member.name: member for member in self.plan().members}
        names = self.read()["members"]
        for name in names:
            if name not in planned:
                raise InputError(
                    f"{self.sweep_file}: member {name!r}: expected a seed and values of its grid, such as "
                    f"{next(iter(planned))!r}: restore it"
                )
        return [planned[name] for name in names]

    def member(self, name: str) -> RunFolder:
        """The folder of the member of that very name."""
        return RunFolder(member_folder(self.path, name))

    def find(self, text: str) -> RunFolder:
        """The folder of the member that `text` names, such as "seed=2,beta=4"."""
        planned, whole = {member.name: member for member in self.listed()}, self.plan().whole_names
        name = find(text, {name: whole[name] for name in planned})
        folder = self.member(name)
        folder.check_member(planned[name].config)
        return folder

    def measured_split(self) -> str:
        """The split that its page and its table are of: that which closes training, or else the first with measures."""
        names, order = self.read()["members"], splits_of(self.base())
        there = (split for split in order if any(self.member(name).evaluation_file(split).is_file() for name in names))
        return next(there, order[0])

    def check(self, plan: Plan, how: dict[str, Any]) -> None:
        """Raises InputError unless this folder may hold the sweep `plan`, made as `how` tells: it is new, or what it
        holds is a part of it."""
        if self.exists():
            changed = list(self._changed(plan, how))
            if changed:
                raise InputError(
                    f"{self.path} holds another sweep: {'; '.join(changed)}: choose another --run, or the same sweep"
                )
            for member in plan.members:
                there = self.member(member.name)
                there.check_member(member.config)
                there.check_no_longer(member.config)
                there.check_code(member.config)
        elif occupied(self.path):
            what = "is not empty and holds no sweep" if self.path.is_dir() else "is a file"
            raise InputError(f"{self.path} {what}: choose another --run")

    def _changed(self, plan: Plan, how: dict[str, Any]) -> Iterator[str]:
        kept, members = self.read(), {member.name: member.config for member in plan.members}
        listed = self.listed()
        there = [(old.config, members[old.name]) for old in listed if old.name in members]
        differing = (old.difference(new).values() for old, new in there if old != new)
        lines = list(dict.fromkeys(line for each in differing for line in each))
        yield from lines[:SHOWN]
        if len(lines) > SHOWN:
            yield f"and {len(lines) - SHOWN:,} more"
        lost = [member.name for member in listed if member.name not in members]
        if lost:
            yield f"it has {lost[0]!r}" + (f" and {len(lost) - 1:,} more" if len(lost) > 1 else "")
        for name, value in {"shared_batches": plan.shared_batches, **how}.items():
            if value is not None and kept[name] != value:
                yield f"{name}: {kept[name]} -> {value}"

    def write(self, plan: Plan, how: dict[str, Any], code: Mapping[str, str] = {}, made_as: str = "") -> None:
        """`code`: the SHA-256 of the files of the user's own functions, as they were read. `made_as`: a digest of what
        decides its results, which it keeps when it grows."""
        for name, sha256 in code.items():
            copies.keep(self.path, name, sha256)
        kept = {"made_as": self.made_as() or made_as, **({"code": dict(code)} if code else {})}
        write_json(self.sweep_file, {"format": FORMAT, **plan.to_dict(), **how, **kept})

    def made_as(self) -> str:
        """What tells it from other sweeps, whatever it has grown to; empty before it is written."""
        return self.read().get("made_as", "") if self.exists() else ""

    def begin_wave(self, members: list[str]) -> None:
        """The wave's folder is theirs: what another wave left there is gone."""
        if self.wave_members() != members:
            self.end_wave()
            self.wave.mkdir()
            write_json(self.wave_file, {"members": members})

    def wave_members(self) -> list[str]:
        """In the order in which the wave's state stacks them; none where no wave has begun."""
        if not self.wave_file.is_file():
            return []
        kept = read_json(self.wave_file, {"members": [str]})
        if "members" not in kept:
            raise InputError(f"{self.wave_file}: it has no members: restore it")
        return kept["members"]

    def end_wave(self) -> None:
        """Removes the wave's folder, under another name: cut off half way, it must not be taken for a wave's."""
        _remove(self.removed_wave)
        if self.wave.exists():
            self.wave.rename(self.removed_wave)
            _remove(self.removed_wave)

    def outcome(self, name: str) -> dict[str, Any] | None:
        """How the member ended; None where it has not."""
        return self.member(name).outcome()


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def member_path(path: str | os.PathLike, member: str | None) -> Path:
    """Where a run lies: `path` itself, or the member of the sweep there. Raises InputError where one is wanted."""
    folder = SweepFolder(path)
    if member is not None:
        return folder.find(member).path
    if folder.exists():
        names = folder.read()["members"]
        raise InputError(f"{folder.path} holds a sweep of {len(names):,} runs: say which: --member {names[0]}")
    return folder.path


def member_folder(sweep: Path, name: str) -> Path:
    """Where the member of that name of a sweep lies: in its name, or in what file systems take of it."""
    safe = re.sub(r"[^\w.,=+()%-]", "_", name)
    if safe != name or len(safe.encode()) > 200:
        safe = f"{safe.encode()[:180].decode(errors='ignore')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return members_of(sweep) / safe
