"""The command lines that repeat a run and a sweep."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from jaxae.axes import BETWEEN, shown
from jaxae.config import Config
from jaxae.names import METRICS
from jaxae.plan import Plan


def of_run(config: Config, folder: Path) -> str:
    """The command line that repeats the run."""
    return shlex.join(["jaxae", "train", "--run", str(folder), *_flags(config, _unheeded([config]))])


def of_evaluation(folder: Path, measured: Mapping[str, Any]) -> list[str]:
    """The command lines that measure again what evaluation.json holds. Of features of the user's own, and of draws from
    a sampler, they have the names alone."""
    settings: dict[str, dict[str, Any]] = measured.get("settings", {})
    ais, of_samples = settings.get("ais", {}), settings.get("samples", {})
    groups: dict[Any, list[str]] = {}
    theirs = [group for group, said in settings.items() if "sha256" in said]
    for group in filter(settings.__contains__, [*METRICS, *theirs]):
        samples = ais.get("importance_samples") if group == "ais" else measured.get("samples")
        groups.setdefault(samples, []).append(settings[group].get("file", group) if group in theirs else group)
    commands = []
    for samples, names in groups.items():
        words = ["jaxae", "evaluate", str(folder), "--metrics", ",".join(names)]
        words += ["--split", measured["split"]] if measured["split"] != "test" else []
        words += ["--samples", str(samples)] if samples else []
        words += ["--seed", str(measured["evaluation_seed"])] if measured.get("evaluation_seed") else []
        if "ais" in names and ais:
            words += [word for name in ("examples", "chains", "steps") for word in (f"--ais-{name}", str(ais[name]))]
        if "samples" in names and "drawn" in of_samples:
            space = of_samples["feature_space"]
            own = re.match(r"the user's own features (.+), SHA-256", space)
            pixels = space.startswith("the pixels themselves")
            words += ["--features", own[1]] if own else ["--features", "pixels"] if pixels else []
            words += ["--drawn", str(of_samples["drawn"])]
            words += ["--sampler", of_samples["sampler"]] if "sampler" in of_samples else []
        commands.append(shlex.join(words))
    return commands


def of_measures(config: Config, folder: Path, measured: Mapping[str, Any]) -> list[str]:
    """`of_evaluation`, where that is more than a run's training closes with by itself."""
    closing = measured.get("samples", config.samples) == config.samples and measured.get("split") == config.evaluate
    if closing and set(measured.get("settings", {})) <= {"likelihood"}:
        return []
    return of_evaluation(folder, measured)


def of_sweep(plan: Plan, folder: Path, lanes: str, block: int, seed_devices: int) -> str:
    """The command line that repeats the sweep."""
    base, seeds = plan.base, plan.seeds
    row = seeds == tuple(range(seeds[0], seeds[0] + len(seeds)))
    leave = ("devices", *plan.grid, *_unheeded([member.config for member in plan.members]))
    words = ["jaxae", "sweep", "--run", str(folder), *_flags(base, leave)]
    words += ["--seeds", f"{seeds[0]}:{seeds[0] + len(seeds)}" if row else ",".join(map(str, seeds))]
    for axis, values in plan.grid.items():
        texts = [str(shown(value)) for value in values]
        apart = any("," in re.sub(r"\([^()]*\)", "", text) for text in texts)  # then each ends in a semicolon
        words += ["--grid", f"{axis}=" + ("".join(f"{text};" for text in texts) if apart else ",".join(texts))]
    for setting in plan.settings:
        parts = [f"{name}={shown(value)}" for name, value in setting.items()]
        apart = any(BETWEEN.search(part) for part in parts)
        words += ["--setting", "".join(f"{part};" for part in parts) if apart else ",".join(parts)]
    words += ["--shared-batches"] if plan.shared_batches else []
    words += ["--lanes", lanes, "--block", str(block)] if lanes == "vmap" else ["--lanes", lanes]
    if seed_devices * base.devices > 1:
        words += ["--mesh", f"seed={seed_devices},data={base.devices}"]
    return shlex.join(words)


def _unheeded(configs: Sequence[Config]) -> tuple[str, ...]:
    """What no flag may say, for none of the runs would take it."""
    return () if any(config.takes_scale() for config in configs) else ("scale",)


def _flags(config: Config, leave: Collection[str]) -> list[str]:
    """Every flag that is not its default, but those to `leave` out."""
    words: list[str] = []
    for spec in fields(Config):
        value = getattr(config, spec.name)
        if spec.name != "hyperparameters" and spec.name not in leave and value != spec.default:
            words += [f"--{spec.name.replace('_', '-')}", *([] if value is True else [str(value)])]
    for name, value in config.hyperparameters.items():
        if name not in leave:
            words += [f"--{name.replace('_', '-')}", str(value)]
    return words
