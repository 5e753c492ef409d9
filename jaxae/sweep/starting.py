"""What the members of a sweep begin with of other runs: all with one, or each with the one of its own seed."""

from collections.abc import Sequence
from typing import Any

from jaxae import run
from jaxae.checkpoint import Checkpoints
from jaxae.errors import InputError
from jaxae.folder import SweepFolder
from jaxae.plan import Plan
from jaxae.progress import Progress
from jaxae.setup import Setup
from jaxae.start import Start


def starts(plan: Plan, setups: Sequence[Setup], folder: SweepFolder, progress: Progress) -> dict[str, Start]:
    """By members' names, where they begin with another run: what they begin with, or have begun with before. Raises
    InputError unless all that name one start have been given the same of it."""
    begun = [member for member in plan.members if member.config.start is not None]
    told = {m.name: record["start"] for m in begun if "start" in (record := folder.member(m.name).record())}
    shared = {facts["run"]: facts for facts in told.values()}
    going_on = set(saved(folder))
    found: dict[str, Start] = {}
    for setup, group in zip(setups, plan.groups):
        path = setup.config.start
        if path is None:
            continue
        left = [member for member in group if folder.outcome(member.name) is None]
        if SweepFolder(path).exists() or "member" in shared.get(path, {}):
            for member in left:
                of, needed = setup.like(member.config), member.name not in going_on
                found[member.name] = _begun(of, told.get(member.name), needed, None if needed else progress)
            if any(member.name not in going_on for member in left):
                progress.say(f"each begins with the parameters of the run of its own seed in {path}")
        else:
            needed = any(member.name not in going_on for member in left)
            found |= dict.fromkeys([m.name for m in group], _begun(setup, shared.get(path), needed, progress))
    _alike([*told.values(), *(start.facts for start in found.values())])
    return found


def _begun(setup: Setup, kept: dict[str, Any] | None, needed: bool, progress: Progress | None) -> Start:
    start = run.begin_with(setup, kept, needed, progress).start
    assert start is not None
    return start


def _alike(facts: Sequence[dict[str, Any]]) -> None:
    """Raises InputError where runs of one sweep that members began with were made in different ways."""
    ways: dict[str, dict[str, str]] = {}
    for each in facts:
        if "member" in each:
            ways.setdefault(each["run"], {}).setdefault(each["made_as"], each["member"])
    for path, members in ways.items():
        if len(members) > 1:
            one, other, *_ = members.values()
            raise InputError(
                f"start: {path}: {other} was made otherwise than {one}, when they were begun with: expected runs that "
                "differ in their seeds alone, or another --run"
            )


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
