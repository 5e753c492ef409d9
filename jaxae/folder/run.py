"""The folder of a run, alone or a sweep's member."""

import contextlib
import math
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxae import copies, home, own
from jaxae.config import OWN, Config, from_dict
from jaxae.errors import InputError, Unlike
from jaxae.files import ANY, NUMBER, read_json, write_json
from jaxae.folder.lock import locked, occupied

ROUNDING = 5e-3  # of what modules compute, on whatever device
CONFIG = {"method": str, "hyperparameters": dict}
RECORD = {
    "command": str, "network": str, "resolved": {"hyperparameters": dict}, "versions": dict, "device": str,
    "data": {"sha256": str, "sizes": {"train": int}}, "method_sha256": str, "network_sha256": str,
    "likelihood_sha256": str, "nats_of": str, "optimizer_sha256": str, "earlier": list,
    "start": {"run": str, "member": str, "made_as": str, "step": int, "digest": str},
    "modules": {"encoder": str, "decoder": str, "likelihood": str, "what they compute": list},
}  # fmt: skip
WHERE = ("versions", "device", "threads", "prng", "x64", "matmul_precision", "xla_flags")
"""Of a record, what decides bits and may change while a run goes on."""
OUTCOME = {"outcome": str, "step": int}
EVALUATION = {
    "step": int, "split": str, "digest": str, "examples": int, "notes": {ANY: [str]},
    "settings": {ANY: {"examples": int, "drawn": int}}, "kl_of_units": [NUMBER], ANY: NUMBER,
}  # fmt: skip
"""Of the files in a run's folder, what is relied on where it is there."""


class RunFolder:
    """The files of one run, alone or a sweep's member."""

    def __init__(self, path: str | os.PathLike, by_hand: bool = False):
        """`by_hand`: what goes there was not trained there, and need not find a run."""
        self.path, self.by_hand = home.expanded(Path(path)), by_hand
        self.config_file = self.path / "config.json"
        self.record_file = self.path / "record.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.events = self.path / "tensorboard"
        self.checkpoints = self.path / "checkpoints"
        self.outcome_file = self.path / "outcome.json"
        self.report = self.path / "report.html"

    def check_there(self) -> None:
        """Raises InputError where the run that was read here is here no longer: whatever is written would lie alone."""
        if not self.by_hand and not self.config_file.is_file():
            raise InputError(f"{self.path}: the run is no longer there: load it from where it is now")

    def config(self) -> Config:
        """The config of the run that lives here, with the defaults of the time when it began. Where a file of the
        user's own is no longer what it was, the config names the copy that the folder keeps."""
        if not self.config_file.is_file():
            raise InputError(f"{self.path}: no run here (no config.json): {self.made_by()} makes one")
        parsed, record = read_json(self.config_file, CONFIG), self.record()
        for field in OWN:
            if own.is_own(str(parsed.get(field))):
                parsed[field] = copies.found(self.path, parsed[field], record.get(f"{field}_sha256"))
        return from_dict(parsed, str(self.config_file)).as_it_was(record.get("resolved", {}))

    def made_by(self) -> str:
        """The command that makes it, in words."""
        sweep = self.sweep_path()
        verb, where = ("sweep", sweep) if sweep else ("train", self.path)
        return f"`jaxae {verb} --run {shlex.quote(str(where))}`"

    def sweep_path(self) -> Path | None:
        """The folder of the sweep that it is a member of, also where a link leads to it."""
        members = self.path.resolve().parent
        sweep = members.parent
        return sweep if members == members_of(sweep) and sweep_file(sweep).is_file() else None

    def check(self, config: Config) -> None:
        """Raises InputError unless this folder may hold a run of `config`: it is new, or its run is this one."""
        if self.config_file.is_file():
            old = self.config()
            changed = old.difference(config)
            if not old.needs_horizon():  # a longer run goes on, unless a schedule is stretched over the whole of it
                changed.pop("steps", None)
            if changed:
                raise InputError(
                    f"{self.path} holds a run of another config: {'; '.join(changed.values())}: choose another --run, "
                    "or the same config"
                )
            self.check_code(config)
        elif occupied(self.path):
            what = "is not empty and holds no run" if self.path.is_dir() else "is a file"
            raise InputError(f"{self.path} {what}: choose another --run")

    def check_member(self, config: Config) -> None:
        """Raises InputError where it holds another run than this member of its sweep, which may be longer by now."""
        old = self.config() if self.config_file.is_file() else config
        if changed := [line for name, line in old.difference(config).items() if name != "steps"]:
            raise InputError(
                f"{self.path} holds a run of another config than its sweep's: {'; '.join(changed)}: remove it, and the "
                "same `jaxae sweep` trains this member"
            )

    def check_no_longer(self, config: Config) -> None:
        """Raises InputError where this member is being trained by itself, to another step than its sweep's: what is
        here is then of neither."""
        if not self.config_file.is_file() or self.outcome_file.is_file():
            return
        if (steps := self.config().steps) != config.steps:
            command = self.record().get("command") or f"jaxae train --run {shlex.quote(str(self.path))}"
            raise InputError(
                f"{self.path} is on its way to step {steps}, by itself, and not to its sweep's {config.steps}: "
                f"`{command}` goes on with it, and then the same `jaxae sweep` with the others"
            )

    def outcome(self) -> dict[str, Any] | None:
        """How it ended; None where it has not."""
        if not self.outcome_file.is_file():
            return None
        found = read_json(self.outcome_file, OUTCOME)
        if missing := [name for name in OUTCOME if name not in found]:
            raise InputError(f"{self.outcome_file}: it has no {missing[0]}: restore it, or remove it and train again")
        return found

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
                raise Unlike(
                    f"{file} has changed since {self.path} began: expected the file as it was{where}, or another --run"
                )

    @contextlib.contextmanager
    def claimed(self, config: Config, record: dict[str, Any]) -> Iterator[None]:
        """Makes a new folder this run's, and keeps other processes out while inside: of a sweep's member also those
        that train the sweep."""
        with contextlib.ExitStack() as held:
            if sweep := self.sweep_path():
                held.enter_context(locked(sweep, shared=True))
            held.enter_context(locked(self.path))
            self.check(config)  # another process may have made it meanwhile
            if other := self.other(record.get("modules"), record):
                raise InputError(other)
            if not self.config_file.is_file():
                self.write(config, record)
            yield

    def other(self, modules: dict[str, Any] | None, numerics: dict[str, Any]) -> str:
        """In words, what of a net and of `record.numerics` is not as the run here has it; empty where all is."""
        if unlike := self.other_net(modules):
            return unlike
        began = self.record()
        changed = {name for name in began.keys() & numerics.keys() if began[name] != numerics[name]}
        if "prng" in changed:
            was, now = began["prng"], numerics["prng"]
            return f"{self.path} draws by {was}, and JAX by {now} now: set JAX_DEFAULT_PRNG_IMPL={was}"
        if "x64" in changed:
            was, now = (f"JAX_ENABLE_X64={int(of['x64'])}" for of in (began, numerics))
            return f"{self.path} is a run with {was}, and now it is {now}: set it as it was, or choose another --run"
        return ""

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


def sweep_file(sweep: Path) -> Path:
    """What makes a folder a sweep's."""
    return sweep / "sweep.json"


def members_of(sweep: Path) -> Path:
    """Where the folders of a sweep's members lie."""
    return sweep / "members"


def _alike(one: Any, other: Any) -> bool:
    """Equal, lists of numbers to the rounding of other devices and versions."""
    lists = isinstance(one, list) and isinstance(other, list) and len(one) == len(other)
    if lists and all(isinstance(value, float) for value in [*one, *other]):
        return all(math.isclose(a, b, rel_tol=ROUNDING, abs_tol=ROUNDING) for a, b in zip(one, other))
    return one == other


def splits_of(config: Config) -> list[str]:
    """Where the measures of a run may be: first of the split that closes its training."""
    asked = [] if config.evaluate == "none" else [config.evaluate]
    return list(dict.fromkeys([*asked, "test", "validation"]))
