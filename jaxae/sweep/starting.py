"""What the members of a sweep begin with of other runs: all with one, or each with the one of its own seed."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from jaxae.checkpoint import Checkpoints
from jaxae.errors import InputError
from jaxae.folder import SweepFolder
from jaxae.plan import Member, Plan
from jaxae.progress import Progress
from jaxae.run.starting import Starts, begin_with
from jaxae.setup import Setup
from jaxae.start import Start


def starts(plan: Plan, setups: Sequence[Setup], folder: SweepFolder, progress: Progress) -> dict[str, Start]:
    """By members' names, where they begin with another run: what they begin with, or have begun with before. Raises
    InputError unless all that name one start have been given the same of it."""
    begun = [member for member in plan.members if member.config.start is not None]
    told = {m.name: record["start"] for m in begun if "start" in (record := folder.member(m.name).record())}
    shared = {m.config.start: told[m.name] for m in begun if m.name in told}
    going_on = set(saved(folder))
    found: dict[str, Start] = {}
    read = cache(Starts)
    for setup, group in zip(setups, plan.groups):
        path = setup.config.start
        if path is None:
            continue
        left = [member for member in group if folder.outcome(member.name) is None]
        if SweepFolder(path).exists() or "member" in shared.get(path, {}):
            for member in left:
                of, needed = setup.like(member.config), member.name not in going_on
                found[member.name] = _begun(of, told.get(member.name), needed, None if needed else progress, read)
            if any(member.name not in going_on for member in left):
                progress.say(f"each begins with the parameters of the run of its own seed in {path}")
        else:
            needed = any(member.name not in going_on for member in left)
            found |= dict.fromkeys([m.name for m in group], _begun(setup, shared.get(path), needed, progress, read))
    return found | _as_told(found, begun, told, read)


def _begun(
    setup: Setup, kept: dict[str, Any] | None, needed: bool, progress: Progress | None, read: Callable[[str], Starts]
) -> Start:
    start = begin_with(setup, kept, needed, progress, read).start
    assert start is not None
    return start


def _as_told(
    found: dict[str, Start], begun: Sequence[Member], told: dict[str, Any], read: Callable[[str], Starts]
) -> dict[str, Start]:
    """A sweep that is removed and made again with more members has another `made_as`, though its runs are the same.
    What members here begin with now is then told by the `made_as` of those that began before, so that all compare as
    one setting. Raises InputError where the runs are others."""
    of = {member.name: member.config for member in begun}
    first = {of[name].start: name for name in reversed(told) if "member" in told[name]}

    @cache
    def is_the_same(path: str) -> bool:
        return read(path).of(of[first[path]]).facts["digest"] == told[first[path]]["digest"]

    again = {}
    for name, start in found.items():
        path = of[name].start
        if path is None or name in told or path not in first:
            continue
        before = told[first[path]]["made_as"]
        if start.facts["made_as"] != before and not is_the_same(path):
            raise InputError(
                f"start: {path} is another sweep than members here began with: expected that one, or another --run"
            )
        again[name] = start._replace(facts=start.facts | {"made_as": before})
    return again


def saved(folder: SweepFolder) -> list[str]:
    """The members of the wave that was cut off, where it has something saved to go on from."""
    with Checkpoints(folder.wave_checkpoints, write=False) as checkpoints:
        if not checkpoints.steps():
            return []
    if names := folder.wave_members():
        return names
    raise InputError(
        f"{folder.wave_file}: not there, and without it the checkpoints beside it are nobody's: put it back, or move "
        f"{folder.wave} away, and its members begin anew"
    )
