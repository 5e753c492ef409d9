"""`jaxae evaluate` and `jaxae digest`: what a finished run is worth, and the line that identifies it."""

import contextlib
import json as json_module
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxae import names, own, samplers
from jaxae.cli.member import checkpoint_option, is_sweep, must_be_there, run_argument, seed_option, split_option, usual
from jaxae.errors import InputError, known
from jaxae.evaluate.measures import merged, of_own, said_of, shown
from jaxae.evaluate.settings import USUAL, Settings, checked

if TYPE_CHECKING:
    from jaxae.folder import SweepFolder


@click.command(short_help="ELBO, NLL with its error, codes, samples, ...")
@run_argument(whole=True)
@click.option(
    "--metrics",
    default="likelihood",
    help=f"all, or some of {', '.join(names.METRICS)}, your FILE.py:FUNCTION [likelihood]",
)
@split_option
@usual("samples", "importance samples an example")
@checkpoint_option
@seed_option("the held-out pixels' and samples' noise")
@usual("features", "of the samples' scores: classifier (jaxae's own, of the data's labels), pixels, or your "
       "FILE.py:FUNCTION", metavar="SPACE")  # fmt: skip
@click.option("--drawn", type=int, default=None, help="samples that are judged [those of the split, 10,000 at most]")
@click.option(
    "--sampler", metavar="NAME", default="prior", help=f"what draws them: {', '.join(samplers.entries())} [prior]"
)
@usual("ais_examples", "images that annealing takes, evenly spread")
@usual("ais_chains", "chains an image")
@usual("ais_steps", "distributions from the prior to the posterior")
@click.option("--json", is_flag=True, help="one JSON object on standard output")
def evaluate(
    run_dir: str, metrics: str, split: str, checkpoint: str, sampler: str, json: bool, **settings: Any
) -> None:
    """Measures the run in RUN, or every member of the sweep there: by default ELBO and its terms, importance-weighted
    NLL with its Monte Carlo error, and MSE.

    With the default --seed and --checkpoint they are kept: those of the test split in evaluation.json, for `jaxae
    report` and `jaxae compare`, of another in evaluation.SPLIT.json, for `jaxae compare --split`; of a sweep, in each
    member's folder, each group as soon as it is measured. A new measure replaces the old one, also by fewer --samples.
    """
    groups = [name.strip() for name in metrics.split(",")]
    for name in groups:
        if own.is_own(name):
            own.definition(*own.split(name), names.OWN_MEASURE)
        else:
            known("metrics", name, ["all", *names.METRICS])
    wanted = Settings(**settings)
    _check(wanted, groups, sampler)
    must_be_there(run_dir)
    if not is_sweep(run_dir):
        found = _run(run_dir, groups, split, checkpoint, sampler, wanted)
        click.echo(json_module.dumps(found)) if json else _show(found)
        return
    members, unread = _sweep(run_dir, groups, split, checkpoint, sampler, wanted)
    if json:
        click.echo(json_module.dumps({"members": members}))
    else:
        for name, measures in members.items():
            click.echo(name)
            _show(measures)
    if unread is not None:
        raise unread


def _run(
    run_dir: str, groups: list[str], split: str, checkpoint: str, sampler: str, settings: Settings
) -> dict[str, Any]:
    from jaxae import report, run
    from jaxae.folder import SweepFolder
    from jaxae.progress import Progress

    trained, before = run.load(run_dir, checkpoint), None
    with contextlib.suppress(InputError):  # damaged: it is set aside
        before = report.shown_by(trained)
    keep = checkpoint == "auto" and settings.seed == USUAL.seed
    keeping = run.Keeping() if keep else None
    how: dict[str, Any] = {"split": split, "settings": settings, "on_group": keeping, "progress": Progress()}
    try:
        (measures,) = run.evaluate_runs([trained], _but_samples(groups, sampler), **how)
    except KeyboardInterrupt:
        if keeping and keeping.groups:
            Progress().say(f"kept in {trained.folder.path}: {', '.join(keeping.groups)}")
        raise
    if sampler != "prior":
        measures = _with_samples(measures, trained, sampler, split, settings, "all" in groups)
        if keep:
            run.store(trained, measures)
    if keep and report.shown_by(trained) != before:
        _say_how_to_show(trained.folder.report)
    sweep = trained.folder.sweep_path() if keep else None
    if sweep and (named := trained.folder.path.parent.parent).resolve() == sweep:
        sweep = named  # as it was asked for: its table names runs so
    if sweep and (folder := SweepFolder(sweep)).table.is_file() and (error := _write_table(folder)):
        Progress().warn(str(error))
    return measures


def _say_how_to_show(page: Path) -> None:
    from jaxae.progress import Progress

    if page.is_file():
        Progress().say(f"{page} does not show them yet: `jaxae report {shlex.quote(str(page.parent))}` writes it anew")


def _write_table(folder: "SweepFolder") -> InputError | None:
    """Afresh, of what its members hold now; what keeps them from being a table, for the numbers are there all the
    same. A file that cannot be written costs a warning."""
    from jaxae import compare, files
    from jaxae.progress import Progress

    try:
        table = compare.table(folder.path, folder.measured_split())
    except InputError as error:
        return error
    before = folder.table.read_bytes() if folder.table.is_file() else b""
    try:
        files.write(folder.table, after := table.to_csv(index=False).encode())
        if after != before:
            _say_how_to_show(folder.report)
    except InputError as error:
        Progress().warn(str(error))
    return None


def _but_samples(groups: list[str], sampler: str) -> list[str]:
    """What is measured without the sampler."""
    return groups if sampler == "prior" else [name for name in groups if name != "samples"]


def _with_samples(
    measures: dict[str, Any], trained: Any, sampler: str, split: str, settings: Settings, possible: bool
) -> dict[str, Any]:
    """`possible`: what cannot be measured is noted, as by --metrics all."""
    from jaxae.samplers import draw

    try:
        found = draw.evaluate(trained, sampler, split, settings)
    except InputError as error:
        if not possible:
            raise
        said = [*measures["notes"].get("samples", []), f"not measured by the sampler {sampler}: {error}"]
        return measures | {"notes": measures["notes"] | {"samples": said}}
    return merged(measures, found)


def _sweep(
    run_dir: str, groups: list[str], split: str, checkpoint: str, sampler: str, settings: Settings
) -> tuple[dict[str, Any], InputError | None]:
    """The members' measures, and what is to be said of members that could not be read."""
    if checkpoint != "auto":
        raise InputError(f"checkpoint {checkpoint!r}: of a sweep's members the usual one is measured: name a --member")
    from jaxae import run, sweep
    from jaxae.folder import SweepFolder
    from jaxae.progress import Progress

    progress, folder = Progress(), SweepFolder(run_dir)
    unread: InputError | None = None
    try:
        found = sweep.evaluate(run_dir, _but_samples(groups, sampler), split, settings, progress)
    except sweep.Unread as error:
        found, unread = error.found, error
    except KeyboardInterrupt:
        _write_table(folder)  # of what is kept
        raise
    if sampler != "prior":
        for name, measures in found.items():
            trained = run.load(folder.member(name).path)
            try:
                found[name] = _with_samples(measures, trained, sampler, split, settings, "all" in groups)
            except InputError as error:
                unread = unread or InputError(f"{name}: {error}")
                continue
            if settings.seed == USUAL.seed:
                run.store(trained, found[name])
    unread = unread or _write_table(folder)
    return found, unread


def _check(settings: Settings, groups: list[str], sampler: str) -> None:
    samplers.entry(sampler)
    if not {"all", "samples"} & set(groups):
        usual = {"sampler": "prior", "drawn": USUAL.drawn, "features": USUAL.features}
        for name, value in ({"sampler": sampler} | settings._asdict()).items():
            if name in usual and value != usual[name]:
                raise InputError(f"{name} {value!r}: it is of --metrics samples: ask for these, or leave it out")
    checked(settings)


def _show(measures: dict[str, Any]) -> None:
    width = 2 + max(len(name) for name in measures)
    for name, value in measures.items():
        if name in ("settings", "notes"):
            continue
        if isinstance(value, list):
            value = " ".join(f"{part:.3g}" for part in value)
        click.echo(f"{name:<{width}}{'-' if value is None else shown(value, 5) if isinstance(value, float) else value}")
    for group, said in measures["settings"].items():
        if group in of_own(measures["settings"]):
            click.echo(f"{said['measures']}: SHA-256 of {said_of(group, said)}")
        elif said:
            click.echo(f"{group}: {', '.join(f'{name} {value}' for name, value in said.items())}")
    for group, notes in measures["notes"].items():
        for note in notes:
            click.echo(f"{group}: {note}")


@click.command(short_help="one line to compare results by")
@run_argument(bare=True)
@checkpoint_option
def digest(run_dir: str, checkpoint: str) -> None:
    """SHA-256 over what is measured of a step (names, shapes, dtypes, bytes): the parameters or their average, and what
    the loss updates beside them, such as a codebook. Two people compare a result by this line, which `jaxae train` ends
    with too. It asks neither for the data nor for code of your own."""
    from jaxae.folder import RunFolder

    folder = RunFolder(run_dir)
    if not folder.config_file.is_file():
        must_be_there(run_dir)
    from jaxae import run

    click.echo(run.variables_in(folder, checkpoint).facts["digest"])
