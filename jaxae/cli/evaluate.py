"""`jaxae evaluate` and `jaxae digest`: what a finished run is worth, and the line that identifies it."""

import json as json_module
from typing import Any

import click

from jaxae import names
from jaxae.cli.member import checkpoint_option, is_sweep, must_be_there, run_argument, seed_option, split_option, usual
from jaxae.errors import InputError, known
from jaxae.evaluate.measures import shown
from jaxae.evaluate.settings import Settings


@click.command(short_help="ELBO, NLL with its error, codes, samples, ...")
@run_argument(whole=True)
@click.option("--metrics", default="likelihood", help=f"all, or some of {', '.join(names.METRICS)} [likelihood]")
@split_option
@usual("samples", "importance samples an example")
@checkpoint_option
@seed_option("the held-out pixels' and samples' noise")
@usual("features", "of the samples' scores: classifier (jaxae's own, of the data's labels), pixels, or your "
       "FILE.py:FUNCTION", metavar="SPACE")  # fmt: skip
@usual("ais_examples", "images that annealing takes, evenly spread")
@usual("ais_chains", "chains an image")
@usual("ais_steps", "distributions from the prior to the posterior")
@click.option("--json", is_flag=True, help="one JSON object on standard output")
def evaluate(run_dir: str, metrics: str, split: str, checkpoint: str, json: bool, **settings: Any) -> None:
    """Measures the run in RUN, or every member of the sweep there: by default ELBO and its terms, importance-weighted
    NLL with its Monte Carlo error, and MSE.

    Those of the test split, with the default --seed and --checkpoint, are kept in evaluation.json, for `jaxae report`
    and `jaxae compare`; of a sweep, in each member's. A new measure replaces the old one, also by fewer --samples.
    """
    groups = [name.strip() for name in metrics.split(",")]
    for name in groups:
        known("metrics", name, ["all", *names.METRICS])
    _check(settings)
    must_be_there(run_dir)
    if not is_sweep(run_dir):
        found = _run(run_dir, groups, split, checkpoint, Settings(**settings))
        click.echo(json_module.dumps(found)) if json else _show(found)
        return
    members, unread = _sweep(run_dir, groups, split, checkpoint, Settings(**settings))
    if json:
        click.echo(json_module.dumps({"members": members}))
    else:
        for name, measures in members.items():
            click.echo(name)
            _show(measures)
    if unread is not None:
        raise unread


def _run(run_dir: str, groups: list[str], split: str, checkpoint: str, settings: Any) -> dict[str, Any]:
    from jaxae import run

    trained = run.load(run_dir, checkpoint)
    measures = run.evaluate_runs([trained], groups, run.bench(trained.setup, split, settings))[0]
    if checkpoint == "auto" and run.kept(measures):
        run.store(trained, measures)
    return measures


def _sweep(
    run_dir: str, groups: list[str], split: str, checkpoint: str, settings: Any
) -> tuple[dict[str, Any], InputError | None]:
    """The members' measures, and what is to be said of members that could not be read."""
    if checkpoint != "auto":
        raise InputError(f"checkpoint {checkpoint!r}: of a sweep's members the usual one is measured: name a --member")
    from jaxae import compare, files, sweep
    from jaxae.folder import SweepFolder
    from jaxae.progress import Progress

    progress, unread = Progress(), None
    try:
        found = sweep.evaluate(run_dir, groups, split, settings, progress)
    except sweep.Unread as error:
        found, unread = error.found, error
    try:
        files.write(SweepFolder(run_dir).table, compare.table(run_dir).to_csv(index=False).encode())
    except InputError as error:  # the numbers are there all the same
        progress.warn(str(error))
    return found, unread


def _check(settings: dict[str, Any]) -> None:
    for name, least in (("samples", 2), ("ais_examples", 1), ("ais_chains", 2), ("ais_steps", 1)):
        if not least <= settings[name] < 2**31:
            raise InputError(f"{name.replace('_', '-')} {settings[name]}: expected {least} to {2**31 - 1}")


def _show(measures: dict[str, Any]) -> None:
    width = 2 + max(len(name) for name in measures)
    for name, value in measures.items():
        if name in ("settings", "notes"):
            continue
        if isinstance(value, list):
            value = " ".join(f"{part:.3g}" for part in value)
        click.echo(f"{name:<{width}}{'-' if value is None else shown(value, 5) if isinstance(value, float) else value}")
    for group, said in measures["settings"].items():
        if said:
            click.echo(f"{group}: {', '.join(f'{name} {value}' for name, value in said.items())}")
    for group, notes in measures["notes"].items():
        for note in notes:
            click.echo(f"{group}: {note}")


@click.command(short_help="one line to compare results by")
@run_argument()
@checkpoint_option
def digest(run_dir: str, checkpoint: str) -> None:
    """SHA-256 over the parameters of the step that is measured (names, shapes, dtypes, bytes): two people compare a
    result by this line, which `jaxae train` ends with too."""
    must_be_there(run_dir)
    from jaxae import run

    click.echo(run.final_digest(run.load(run_dir, checkpoint)))
