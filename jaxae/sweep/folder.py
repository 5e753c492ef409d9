"""A sweep's folder: sweep.json, members/NAME/ (each a run's own), wave/ (while one is trained), table and report."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxae.config import Config, from_dict
from jaxae.errors import InputError
from jaxae.files import read_json, write_json
from jaxae.folder import RunFolder, member_folder, occupied
from jaxae.sweep.plan import Plan, find

FORMAT = 1
FORM = {
    "base": dict, "seeds": list, "grid": dict, "members": list, "shared_batches": bool, "lanes": str, "block": int,
}  # fmt: skip
"""Of sweep.json."""


class SweepFolder:
    def __init__(self, path: str | os.PathLike):
        self.path = Path(path)
        self.sweep_file = self.path / "sweep.json"
        self.members = self.path / "members"
        self.wave = self.path / "wave"
        self.wave_file = self.wave / "wave.json"
        self.wave_checkpoints = self.wave / "checkpoints"
        self.removed_wave = self.path / "wave.removed"
        self.table = self.path / "table.csv"
        self.report = self.path / "report.html"

    def exists(self) -> bool:
        return self.sweep_file.is_file()

    def read(self) -> dict[str, Any]:
        if not self.exists():
            raise InputError(f"{self.path}: no sweep here (no sweep.json): `jaxae sweep --run {self.path}` makes one")
        kept = read_json(self.sweep_file)
        if kept.get("format") != FORMAT:
            raise InputError(f"{self.sweep_file}: format {kept.get('format')}: this jaxae reads format {FORMAT}")
        for name, kind in FORM.items():
            if not isinstance(kept.get(name), kind):
                raise InputError(
                    f"{self.sweep_file}: {name} {kept.get(name)!r}: expected a {kind.__name__}: restore it"
                )
        return kept

    def base(self) -> Config:
        return from_dict(self.read()["base"], str(self.sweep_file))

    def plan(self) -> Plan:
        """What the sweep here was asked to be."""
        kept = self.read()
        grid = {name: tuple(values) for name, values in kept["grid"].items()}
        return Plan(self.base(), tuple(kept["seeds"]), grid, kept["shared_batches"])

    def member(self, name: str) -> RunFolder:
        """The folder of the member of that very name."""
        return RunFolder(member_folder(self.path, name))

    def find(self, text: str) -> RunFolder:
        """The folder of the member that `text` names, such as "seed=2,beta=4"."""
        return self.member(find(text, self.read()["members"]))

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
                self.member(member.name).check_code(member.config)
        elif occupied(self.path):
            raise InputError(f"{self.path} is not empty and holds no sweep: choose another --run")

    def _changed(self, plan: Plan, how: dict[str, Any]) -> Iterator[str]:
        kept = self.read()
        yield from self.base().difference(plan.base)
        lost = [name for name in kept["members"] if name not in {member.name for member in plan.members}]
        if lost:
            yield f"it has {lost[0]!r}" + (f" and {len(lost) - 1:,} more" if len(lost) > 1 else "")
        for name, value in {"shared_batches": plan.shared_batches, **how}.items():
            if value is not None and kept[name] != value:
                yield f"{name}: {kept[name]} -> {value}"

    def write(self, plan: Plan, how: dict[str, Any]) -> None:
        write_json(self.sweep_file, {"format": FORMAT, **plan.to_dict(), **how})

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
        names = read_json(self.wave_file).get("members")
        if not isinstance(names, list):
            raise InputError(f"{self.wave_file}: members {names!r}: expected a list: restore it")
        return names

    def end_wave(self) -> None:
        """Removes the wave's folder, under another name: cut off half way, it must not be taken for a wave's."""
        _remove(self.removed_wave)
        if self.wave.exists():
            self.wave.rename(self.removed_wave)
            _remove(self.removed_wave)

    def outcome(self, name: str) -> dict[str, Any] | None:
        """How the member ended; None where it has not."""
        file = self.member(name).outcome_file
        return read_json(file) if file.is_file() else None


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
