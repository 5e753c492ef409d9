"""The run whose parameters another begins with."""

import dataclasses
from typing import Any

from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.folder import RunFolder
from jaxae.run.loading import load
from jaxae.setup import Setup
from jaxae.start import Start


def begin_with(setup: Setup, kept: dict[str, Any] | None, needed: bool = True) -> Setup:
    """`setup` with the parameters of the run that its config begins with, if any. `kept`: what record.json tells of
    them already; that is all where they are not `needed`, for training goes on. Raises InputError for a run that cannot
    be read, has changed since, or does not fit."""
    path = setup.config.start
    if path is None:
        return setup
    if kept and not needed:
        return dataclasses.replace(setup, start=Start(None, kept))
    try:
        theirs = RunFolder(path).config()
        same = (theirs.data, theirs.validation) == (setup.config.data, setup.config.validation)
        own_net = setup.net if "modules" in RunFolder(path).record() else None
        found = load(path, net=own_net, source=setup.source if same else None)
    except InputError as error:
        raise InputError(f"start: {error}") from None
    facts = {"run": path, "step": found.step, "digest": digest(found.variables)}
    if kept and kept["digest"] != facts["digest"]:
        raise InputError(f"start: {path} has changed since this run began with it: expected it as it was")
    start = Start(found.variables, facts)
    start.check(setup.shapes().variables)
    return dataclasses.replace(setup, start=start)
