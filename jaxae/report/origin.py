"""Where compared runs come from: what their configs share, their sweeps, the commands that repeat them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas

from jaxae import command
from jaxae.compare import words
from jaxae.compare.checks import split_of
from jaxae.compare.collect import flat
from jaxae.compare.varied import fields
from jaxae.folder import RunFolder, SweepFolder


def origin(paths: Sequence[Path], frame: pandas.DataFrame) -> dict[str, Any]:
    """The parts of the page that say what the runs are and how to make them again."""
    there = [folder for folder in map(RunFolder, frame["run"]) if folder.config_file.is_file()]
    configs = [flat(folder.config().result()) for folder in there]
    first = configs[0]
    shared = {
        name: value
        for name, value in first.items()
        if name not in ("seed", "order_seed") and all(name in other and other[name] == value for other in configs)
    }
    records = [folder.record() for folder in there]
    data: dict[str, Any] = next((record["data"] for record in records if record.get("data")), {})
    versions: dict[str, Any] = next((record["versions"] for record in records if record.get("versions")), {})
    sweeps = [_sweep(SweepFolder(path)) for path in paths if SweepFolder(path).exists()]
    methods = list(dict.fromkeys(config["method"] for config in configs))
    return {
        "title": title(methods, str(data.get("name") or Path(first["data"]).name), frame),
        "shared": [(name, "—" if value is None else words.value(value)) for name, value in shared.items()],
        "data": data,
        "versions": versions,
        "versions_differ": len({repr(record["versions"]) for record in records if record.get("versions")}) > 1,
        "devices": list(dict.fromkeys(record["device"] for record in records if record.get("device"))),
        "sweeps": sweeps,
        "begun": any("start" in config for config in configs),
        "own_order": all(config.get("order_seed") in (None, config["seed"]) for config in configs)
        and not any(each["shared_batches"] for each in sweeps),
        "commands": [
            r.get("command") or f"# {f.path}: {r['network']}" if "network" in r else command.of_run(f.config(), f.path)
            for f, r in zip(there, records)
        ],
        "measured_by": measured_by(paths, split_of(frame)),
    }


def measured_by(paths: Sequence[Path], split: str) -> list[str]:
    """The commands of what training does not close with by itself, of a whole sweep at once."""
    found: dict[str, None] = {}
    for path in paths:
        sweep = SweepFolder(path)
        runs = [sweep.member(member.name) for member in sweep.listed()] if sweep.exists() else [RunFolder(path)]
        for run in runs:
            if run.config_file.is_file() and (measured := run.evaluation(split)):
                found |= dict.fromkeys(command.of_measures(run.config(), path, measured))
    return list(found)


def title(methods: Sequence[str], data: str, frame: pandas.DataFrame) -> str:
    """vae on digits, by beta"""
    by = fields(frame)
    if not by:
        return f"{methods[0]} on {data}, {words.counted(len(frame), 'seed')}"
    return f"{words.listed(methods)} on {data}, by {words.listed(name.replace('_', ' ') for name in by[:3])}" + (
        " and more" if len(by) > 3 else ""
    )


def _sweep(folder: SweepFolder) -> dict[str, Any]:
    known = folder.read()
    return known | {"path": str(folder.path), "members": len(known["members"]), "command": known.get("command")}
