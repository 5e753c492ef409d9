"""The folders of a run and of a sweep, and who may write in them.

A run's: config.json, record.json, metrics.jsonl, tensorboard/, checkpoints/, outcome.json (how it ended),
evaluation.json, report.html; code/, where it was made with files of the user's own; samplers/ once something was fitted
to its codes. A sweep's: sweep.json, members/NAME/ (each a run's own), code/, wave/ (while one is trained), table.csv,
report.html.
"""

import contextlib
import dataclasses
import errno
import fcntl
import hashlib
import math
import os
import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxae import copies, home, own
from jaxae.config import OWN, Config, from_dict, named_in
from jaxae.errors import InputError
from jaxae.files import read_json, write_json
from jaxae.plan import Member, Plan, find, shown

LOCK = ".lock"
LEFTOVER = re.compile(r"\.lock|\.(config|record|sweep)\.json\w{8}")
"""The lock, and what `write_json` writes beside the file to come."""
FORMAT = 1  # of sweep.json
SHOWN = 4  # of what differs
ROUNDING = 5e-3  # of what modules compute, on whatever device
SWEEP = {
    "base": dict, "seeds": list, "grid": dict, "members": list, "shared_batches": bool, "lanes": str, "block": int,
    "exact": bool,
}  # fmt: skip
"""Of sweep.json, all of which must be there; beside "words" and "code", which older ones lack."""
CONFIG = {"method": str, "hyperparameters": dict}
RECORD = {
    "command": str, "network": str, "resolved": {"hyperparameters": dict}, "versions": dict, "device": str,
    "data": {"sha256": str, "sizes": {"train": int}}, "method_sha256": str, "network_sha256": str,
    "likelihood_sha256": str, "nats_of": str, "optimizer_sha256": str, "earlier": list,
    "start": {"run": str, "step": int, "digest": str},
    "modules": {"encoder": str, "decoder": str, "likelihood": str, "what they compute": list},
}  # fmt: skip
WHERE = ("versions", "device", "threads", "prng", "x64", "matmul_precision", "xla_flags")
"""Of a record, what decides bits and may change while a run goes on."""
OUTCOME = {"outcome": str, "step": int}
EVALUATION = {
    "step": int, "split": str, "digest": str, "examples": int, "notes": dict,
    "settings": {"likelihood": dict, "samples": dict, "ais": dict},
}  # fmt: skip
"""Of the files in a run's folder, what is relied on where it is there."""


class RunFolder:
    """The files of one run, alone or a sweep's member."""

    def __init__(self, path: str | os.PathLike):
        self.path = home.expanded(Path(path))
        self.config_file = self.path / "config.json"
        self.record_file = self.path / "record.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.events = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.outcome_file = self.path / "outcome.json"
        self.report = self.path / "report.html"

    def config(self) -> Config:
        """The config of the run that lives here: with the defaults that it began with, where others hold by now, and
        with the copies of the user's own files that are no longer what they were."""
        if not self.config_file.is_file():
            raise InputError(f"{self.path}: no run here (no config.json): {self.made_by()} makes one")
        parsed, record = read_json(self.config_file, CONFIG), self.record()
        for field in OWN:
            if own.is_own(str(parsed.get(field))):
                parsed[field] = copies.found(self.path, parsed[field], record.get(f"{field}_sha256"))
        return from_dict(parsed, str(self.config_file)).as_it_was(record.get("resolved", {}))

    def made_by(self) -> str:
        """The command that makes it, in words."""
        sweep = self.sweep()
        verb, where = ("sweep", sweep.path) if sweep else ("train", self.path)
        return f"`jaxae {verb} --run {shlex.quote(str(where))}`"

    def sweep(self) -> "SweepFolder | None":
        """That it is a member of, also where a link leads to it."""
        members = self.path.resolve().parent
        sweep = SweepFolder(members.parent)
        return sweep if members == sweep.members and sweep.exists() else None

    def check(self, config: Config) -> None:
        """Raises InputError unless this folder may hold a run of `config`: it is new, or its run is this one."""
        if self.config_file.is_file():
            old = self.config()
            changed = [line for line in old.difference(config) if not self._longer(old, line)]
            if changed:
                raise InputError(
                    f"{self.path} holds a run of another config: {'; '.join(changed)}: choose another --run, "
                    "or the same config"
                )
            self.check_code(config)
        elif occupied(self.path):
            what = "is not empty and holds no run" if self.path.is_dir() else "is a file"
            raise InputError(f"{self.path} {what}: choose another --run")

    def check_member(self, config: Config) -> None:
        """Raises InputError where it holds another run than this member of its sweep, which may be longer by now."""
        old = self.config() if self.config_file.is_file() else config
        if changed := [line for line in old.difference(config) if not line.startswith("steps:")]:
            raise InputError(
                f"{self.path} holds a run of another config than its sweep's: {'; '.join(changed)}: remove it, and the "
                "same `jaxae sweep` trains this member"
            )

    def outcome(self) -> dict[str, Any] | None:
        """How it ended; None where it has not."""
        return read_json(self.outcome_file, OUTCOME) if self.outcome_file.is_file() else None

    def record(self) -> dict[str, Any]:
        """What `record` has told; empty where it is missing."""
        return read_json(self.record_file, RECORD) if self.record_file.is_file() else {}

    def evaluation_file(self, split: str = "test") -> Path:
        return self.path / ("evaluation.json" if split == "test" else f"evaluation.{split}.json")

    def evaluation(self, split: str = "test") -> dict[str, Any]:
        """What has been measured of a split; empty where nothing has."""
        file = self.evaluation_file(split)
        return read_json(file, EVALUATION) if file.is_file() else {}

    def check_code(self, config: Config, code: dict[str, str] | None = None) -> None:
        """Raises InputError where a file of the user's own is no longer the one that the run began with. `code`: what
        has been read of them, `config.code()` of then."""
        code = config.code() if code is None else code
        for field, name in config.own_functions().items():
            now = code[f"{field}_sha256"]
            if self.record().get(f"{field}_sha256", now) != now:
                file, _ = own.split(name)
                kept = copies.found(self.path, name, self.record()[f"{field}_sha256"])
                where = "" if kept == name else f" (its copy: {own.split(kept)[0]})"
                raise InputError(
                    f"{file} has changed since {self.path} began: expected the file as it was{where}, or another --run"
                )

    @staticmethod
    def _longer(old: Config, line: str) -> bool:
        """A longer run of the same config goes on, unless a schedule is stretched over the whole of it."""
        return line.startswith("steps:") and not old.needs_horizon()

    @contextlib.contextmanager
    def claimed(self, config: Config, record: dict[str, Any]) -> Iterator[None]:
        """Makes a new folder this run's, and keeps other processes out while inside: of a sweep's member also those
        that train the sweep."""
        with contextlib.ExitStack() as held:
            if sweep := self.sweep():
                held.enter_context(locked(sweep.path, shared=True))
            held.enter_context(locked(self.path))
            self.check(config)  # another process may have made it meanwhile
            other = self.other_net(record.get("modules")) or self.other_draws(record.get("prng"))
            if other := other or self.other_bits(record.get("x64")):
                raise InputError(other)
            if not self.config_file.is_file():
                self.write(config, record)
            yield

    def other_net(self, modules: dict[str, Any] | None) -> str:
        """In words, what differs between the net that the run here began with and `modules`, what is kept of a net of
        the user's own (None: jaxae's networks); empty where nothing does."""
        record, mine = self.record(), modules or {}
        began = record.get("modules", {})
        names = [name for name in began | mine if not _alike(began.get(name), mine.get(name))] if record else []
        if not names:
            return ""
        if not began or not mine:
            whose, wanted = ("modules of one's own", "their net=") if began else ("jaxae's networks", "no net=")
            return f"{self.path} is a run of {whose}: expected {wanted}, or another folder"
        return f"{self.path} is a run of another net ({', '.join(names)}): expected that one, or another folder"

    def other_draws(self, prng: str | None) -> str:
        """In words, that the run here has drawn by another generator than JAX draws by now; empty where it has not."""
        began = self.record().get("prng", prng)
        if prng in (None, began):
            return ""
        return f"{self.path} draws by {began}, and JAX by {prng} now: set JAX_DEFAULT_PRNG_IMPL={began}"

    def other_bits(self, x64: bool | None) -> str:
        """In words, that the run here has drawn and counted in numbers of another width; empty where it has not."""
        began = self.record().get("x64", x64)
        if x64 in (None, began):
            return ""
        has, now = (f"JAX_ENABLE_X64={int(bool(value))}" for value in (began, x64))
        return f"{self.path} is a run with {has}, and now it is {now}: set it as it was, or choose another --run"

    def write(self, config: Config, record: dict[str, Any], step: int = 0) -> None:
        """Tells what the folder's run is: at its start, and again where it goes on at `step`, maybe with another free
        field, or elsewhere: where it ran before is kept. The config first: with it alone the folder is the run's."""
        kept = self.record() if step else {}
        where = {name: kept[name] for name in WHERE if name in kept}
        earlier = [part for part in kept.get("earlier", []) if part.get("until_step", 0) <= step]
        made_something = not any(part.get("until_step") == step for part in earlier)
        if where and made_something and where != {name: record[name] for name in where}:
            earlier = [*earlier, {"until_step": step, **where}]
        for field, name in config.own_functions().items():
            copies.keep(self.path, name, record[f"{field}_sha256"])
        write_json(self.config_file, config.to_dict())
        write_json(self.record_file, record | ({"earlier": earlier} if earlier else {}))


def _alike(one: Any, other: Any) -> bool:
    """Equal, lists of numbers to the rounding of other devices and versions."""
    lists = isinstance(one, list) and isinstance(other, list) and len(one) == len(other)
    if lists and all(isinstance(value, float) for value in [*one, *other]):
        return all(math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING) for a, b in zip(one, other))
    return one == other


class SweepFolder:
    """The files of a sweep; each member has a RunFolder of its own."""

    def __init__(self, path: str | os.PathLike):
        self.path = home.expanded(Path(path))
        self.sweep_file = self.path / "sweep.json"
        self.members = self.path / "members"
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
        kept = read_json(self.sweep_file, SWEEP | {"code": dict, "words": dict})
        if kept.get("format") != FORMAT:
            raise InputError(f"{self.sweep_file}: format {kept.get('format')}: this jaxae reads format {FORMAT}")
        if missing := [name for name in SWEEP if name not in kept]:
            raise InputError(f"{self.sweep_file}: it has no {missing[0]}: restore it")
        if not all(isinstance(values, list) for values in kept["grid"].values()):
            raise InputError(f"{self.sweep_file}: grid {kept['grid']!r:.60}: expected lists of values: restore it")
        if not kept["members"] or not all(isinstance(name, str) for name in kept["members"]):
            raise InputError(f"{self.sweep_file}: members {kept['members']!r:.60}: expected names: restore it")
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
        grid = {
            name: tuple(named_in(where, name, self._read_from(value, kept)) for value in values)
            for name, values in kept["grid"].items()
        }
        spelled = {name: told.get(name) or map(shown, values) for name, values in kept["grid"].items()}  # once, whole
        words = {name: dict(zip(grid[name], spelled[name])) for name in grid}
        began = {name: self._began(name) for name in kept["members"]}
        return Plan(self.base(), tuple(kept["seeds"]), grid, kept["shared_batches"], words, began)

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
                self.member(member.name).check_member(member.config)
                self.member(member.name).check_code(member.config)
        elif occupied(self.path):
            what = "is not empty and holds no sweep" if self.path.is_dir() else "is a file"
            raise InputError(f"{self.path} {what}: choose another --run")

    def _changed(self, plan: Plan, how: dict[str, Any]) -> Iterator[str]:
        kept, members = self.read(), {member.name: member.config for member in plan.members}
        listed = self.listed()
        there = [(old.config, members[old.name]) for old in listed if old.name in members]
        differing = (old.difference(new) for old, new in there if old != new)
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

    def write(self, plan: Plan, how: dict[str, Any], code: Mapping[str, str] = {}) -> None:
        """`code`: the SHA-256 of the files of the user's own functions, as they were read."""
        for name, sha256 in code.items():
            copies.keep(self.path, name, sha256)
        kept = {"code": dict(code)} if code else {}
        write_json(self.sweep_file, {"format": FORMAT, **plan.to_dict(), **how, **kept})

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
    return sweep / "members" / safe


def splits_of(config: Config) -> list[str]:
    """Where the measures of a run may be: first of the split that closes its training."""
    asked = [] if config.evaluate == "none" else [config.evaluate]
    return list(dict.fromkeys([*asked, "test", "validation"]))


def occupied(path: Path) -> bool:
    """Whether something lies there already: more than a command leaves that was refused or killed at its start."""
    return path.exists() and (not path.is_dir() or any(not LEFTOVER.fullmatch(entry.name) for entry in path.iterdir()))


@contextlib.contextmanager
def locked(path: Path, shared: bool = False) -> Iterator[None]:
    """Makes the folder, and keeps other processes out of it while inside; where it is `shared`, those that do not share
    it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("a+")  # NFS shares a lock only on what is open for reading
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None
    with lock:
        try:
            fcntl.flock(lock, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except OSError as error:
            held = error.errno in (errno.EWOULDBLOCK, errno.EACCES)
            why = "another process is training here" if held else f"cannot be locked: {error.strerror}"
            raise InputError(f"{path}: {why}") from None
        yield
