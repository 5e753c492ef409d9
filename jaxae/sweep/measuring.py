"""What the members of a sweep are worth: read and measured side by side, each one's numbers kept in its own folder."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jaxae import run
from jaxae.build import build
from jaxae.data.source import Source
from jaxae.errors import InputError, Unlike
from jaxae.evaluate.settings import USUAL, Settings
from jaxae.folder import SweepFolder
from jaxae.plan import Member, Plan
from jaxae.progress import Progress
from jaxae.setup import Setup
from jaxae.sweep import lanes as lane_rules
from jaxae.types import Net


class Unread(InputError):
    """Members that could not be read. The others are measured all the same: `found` has theirs, by name."""

    def __init__(self, errors: Sequence[str], found: dict[str, dict[str, Any]]):
        more = f" (and {len(errors) - 1} more members)" if len(errors) > 1 else ""
        super().__init__(f"{errors[0]}{more}")
        self.found = found


def setups_of(plan: Plan, net: Net | None, source: Source | None) -> list[Setup]:
    """One for each group; groups of the same data read it once."""
    made: list[Setup] = []
    for group in plan.groups:
        config = group[0].config
        same = [s.source for s in made if s.config.reading() == config.reading()]
        made.append(build(config, net, same[0] if same else source))
    return made


def load_member(folder: SweepFolder, member: Member, setup: Setup, checkpoint: str = "auto") -> run.Trained:
    there = folder.member(member.name)
    try:
        if there.config_file.is_file() and there.config().steps != member.config.steps:  # made longer by itself
            return run.load(there.path, checkpoint, net=setup.net if setup.own_net else None, source=setup.source)
        return run.load(there.path, checkpoint, setup=setup)
    except Unlike:
        raise
    except InputError as error:
        remedy = f"restore it, or remove {there.path}: the same `jaxae sweep` trains {member.name} again"
        raise InputError(f"{error}: {remedy}") from None


def _trained(folder: SweepFolder, member: Member, unread: list[str]) -> bool:
    try:
        return (folder.outcome(member.name) or {}).get("outcome") not in (None, "diverged")
    except InputError as error:
        unread.append(str(error))
        return False


def measured(
    folder: SweepFolder,
    setup: Setup,
    members: Sequence[Member],
    names: Sequence[str] = ("likelihood",),
    split: str = "test",
    settings: Settings = USUAL,
    *,
    lanes: str,
    block: int,
    unread: list[str],
    progress: Progress | None = None,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Measures the members of a group, `block` at a time where lanes lie side by side, and keeps the numbers in
    each one's folder. Those that diverged, or are not trained, are passed over; so are those that cannot
    be read, and `unread` is told why."""
    there = [member for member in members if _trained(folder, member, unread)]
    block = min(block, lane_rules.NARROW)  # a measure's batches are large: more lanes would only take memory
    evaluate = run.evaluator(run.bench(setup, split, settings, lanes, block), names, progress)
    at_once, on_group = block if lanes == "vmap" else 1, run.Keeping() if settings.seed == USUAL.seed else None
    for start in range(0, len(there), at_once):
        trained: dict[str, run.Trained] = {}
        for member in there[start : start + at_once]:
            try:
                trained[member.name] = load_member(folder, member, setup.like(member.config))
            except InputError as error:
                unread.append(str(error))
        yield from zip(trained, evaluate(list(trained.values()), on_group) if trained else [])


def evaluate(
    path: str | Path,
    names: Sequence[str] = ("likelihood",),
    split: str = "test",
    settings: Settings = USUAL,
    progress: Progress | None = None,
    *,
    net: Net | None = None,
    source: Source | None = None,
) -> dict[str, dict[str, Any]]:
    """The measures of every trained member of the sweep in `path`, by its name: see `jaxae.run.evaluate_runs`. They are
    kept in the members' folders, as they come. Raises Unread, when all others are measured, where
    members cannot be read."""
    folder, progress = SweepFolder(path), progress or Progress(quiet=True)
    plan, kept = folder.plan(), folder.read()
    unread: list[str] = []
    lanes: dict[str, Any] = {"lanes": kept["lanes"], "block": kept["block"]}
    found: dict[str, dict[str, Any]] = {}
    for setup, group in zip(setups_of(plan, net, source), plan.groups):
        for name, measures in measured(
            folder, setup, group, names, split, settings, unread=unread, progress=progress, **lanes
        ):
            found[name] = measures
            progress.say(f"measured {name}, {len(found):,} of up to {len(plan.members):,}")
    if unread:
        raise Unread(unread, found)
    if not found:
        raise InputError(f"{folder.path}: no member has been trained to its end: `jaxae sweep --run {folder.path}`")
    return found
