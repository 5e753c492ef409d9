"""What a trained run makes, one verb each: a picture or the arrays, in a file whose path is printed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from jaxae import samplers
from jaxae.cli.member import (
    checkpoint_option,
    file_option,
    is_sweep,
    must_be_there,
    run_argument,
    seed_option,
    split_option,
    usual,
)
from jaxae.errors import InputError, known
from jaxae.home import expanded
from jaxae.names import SPLITS

PICTURE = (".png", ".npz")


def _out(name: str) -> Callable:
    return file_option("--out", f".png for a picture, .npz for arrays [RUN/{name}]")


def _count(default: str, what: str) -> Callable:
    return click.option("--count", type=int, default=None, help=f"{what} [{default}]")


def _load(run_dir: str, checkpoint: str, out: str | None, name: str, suffixes: tuple[str, ...]) -> tuple[Any, Path]:
    """(the trained run, where to write), after what can be refused without jax has been."""
    from jaxae import files
    from jaxae.folder import RunFolder

    must_be_there(run_dir)
    path = Path(out) if out else RunFolder(run_dir).path / name
    files.check_out(path, suffixes)
    from jaxae import run

    return run.load(run_dir, checkpoint), path


def _write(path: Path, arrays: dict[str, Any], tiles: Callable[[], Any] | None = None) -> None:
    import numpy as np

    from jaxae import files
    from jaxae.artifacts import images

    if tiles is None or path.suffix.lower() == ".npz":
        files.write(path, files.npz(arrays))
        if lost := [name for name, array in arrays.items() if array.dtype.kind == "f" and not np.isfinite(array).all()]:
            click.echo(f"not finite, or not everywhere: {', '.join(lost)}", err=True)
    else:
        shown = tiles()
        if shown.shape[-1] not in (1, 3):
            click.echo(f"of {shown.shape[-1]} channels, the picture shows the first", err=True)
        files.write(path, images.png(images.grid(shown)))
    click.echo(path)


@click.command(short_help="examples beside their reconstructions")
@run_argument()
@_count("64, or all", "examples, evenly spread through the split")
@split_option
@seed_option("held-out pixels, where binarisation is dynamic")
@checkpoint_option
@_out("reconstructions.png")
def reconstruct(run_dir: str, count: int | None, split: str, seed: int, checkpoint: str, out: str | None) -> None:
    """Examples, and under each its reconstruction."""
    trained, path = _load(run_dir, checkpoint, out, "reconstructions.png", PICTURE)
    from jaxae import artifacts
    from jaxae.artifacts.images import beside

    count = min(64, len(trained.setup.source.split(split))) if count is None else count
    made = artifacts.reconstruct(trained, split, count, seed)
    _write(path, made._asdict(), lambda: beside(made.inputs, made.reconstructions))


@click.command(short_help="draws from the prior, or from a fitted density")
@run_argument()
@click.option("--sampler", metavar="NAME", default="prior", help=f"{', '.join(samplers.entries())} [prior]")
@click.option("--label", default=None, help="the class of all samples, for methods with labels: name or number [drawn]")
@click.option("--count", type=int, default=64, help="draws [64]")
@seed_option("the draws, and of what the sampler fits")
@checkpoint_option
@_out("samples.png")
def sample(
    run_dir: str, sampler: str, label: str | None, count: int, seed: int, checkpoint: str, out: str | None
) -> None:
    """Draws from the prior, decoded; or from a density that a sampler fits to the codes of the training split.

    A fit is kept in RUN/samplers. Methods without a prior are sampled by any --sampler but `prior`.
    """
    samplers.check(sampler, count, seed, label)
    trained, path = _load(run_dir, checkpoint, out, "samples.png", PICTURE)
    from jaxae.artifacts.images import table
    from jaxae.samplers import draw

    number = _label(trained, label)
    made = draw.sample(trained, sampler, count, seed, number)
    for name, value in made.measures.items():
        if not name.endswith("_se"):
            se = made.measures.get(f"{name}_se")
            error = "" if se is None else f" (standard error over examples: {se:.2g})"
            click.echo(f"{sampler}: held-out {name} {value:.3f} nats{error}", err=True)
    arrays = {"samples": made.samples} if made.label is None else {"samples": made.samples, "label": made.label}
    _write(path, arrays | _classes(trained), lambda: table(made.samples))


def _label(trained: Any, text: str | None) -> int | None:
    """Its number; where the classes have names, which it is, said."""
    from jaxae.artifacts.make import checked_label

    number = checked_label(trained, text)
    if number is not None and trained.setup.source.words:
        click.echo(f"label {number}: {trained.setup.source.classes[number]}", err=True)
    return number


def _classes(trained: Any) -> dict[str, Any]:
    """What the labels in a .npz mean, where that is more than their numbers."""
    import numpy as np

    words = trained.setup.source.words
    return {"classes": np.array(words)} if words else {}


@click.command(short_help="paths from code to code, decoded")
@run_argument()
@_count("8, or as many as there are", "pairs of examples, spread through the split")
@click.option("--pair", type=int, nargs=2, multiple=True, help="two examples by number; may be repeated")
@click.option("--steps", type=int, default=11, help="codes on a path, its ends included [11]")
@click.option("--how", default="linear", help="linear or spherical [linear]")
@split_option
@seed_option("held-out pixels, where binarisation is dynamic")
@checkpoint_option
@_out("interpolations.png")
def interpolate(
    run_dir: str,
    count: int | None,
    pair: tuple,
    steps: int,
    how: str,
    split: str,
    seed: int,
    checkpoint: str,
    out: str | None,
) -> None:
    """Decoded paths from the code of one example to that of another, one a row."""
    if pair and count is not None:
        raise InputError(f"count {count}: --pair names the pairs: leave one of the two out")
    trained, path = _load(run_dir, checkpoint, out, "interpolations.png", PICTURE)
    from jaxae import artifacts

    count = min(8, max(1, len(trained.setup.source.split(split)) // 2)) if count is None else count
    made = artifacts.interpolate(trained, pair or count, steps, how, split, seed)
    _write(path, made._asdict() | _classes(trained), lambda: made.images)


@click.command(short_help="one latent unit moved at a time")
@run_argument()
@click.option("--example", type=int, default=0, help="whose code, by number in the split [0]")
@click.option("--span", type=float, default=3.0, help="how far, in the unit's standard deviations [3]")
@click.option("--steps", type=int, default=11, help="codes a row, odd: the middle one is the example's [11]")
@click.option("--count", type=int, default=None, help="latent units, the busiest first [all]")
@split_option
@seed_option("held-out pixels, where binarisation is dynamic")
@checkpoint_option
@_out("traversals.png")
def traverse(
    run_dir: str, example: int, span: float, steps: int, count: int | None, split: str, seed: int,
    checkpoint: str, out: str | None,
) -> None:  # fmt: skip
    """One latent unit moved at a time, one a row, the busiest first."""
    trained, path = _load(run_dir, checkpoint, out, "traversals.png", PICTURE)
    from jaxae import artifacts

    made = artifacts.traverse(trained, example, span, steps, split=split, seed=seed, most=count)
    _write(path, made._asdict() | _classes(trained), lambda: made.images)


@click.command(short_help="the codes of a split, as arrays")
@run_argument()
@click.option("--count", type=int, default=None, help="examples, evenly spread through the split [all]")
@split_option
@seed_option("held-out pixels, where binarisation is dynamic")
@checkpoint_option
@file_option("--out", "a .npz [RUN/codes.npz]")
def encode(run_dir: str, count: int | None, split: str, seed: int, checkpoint: str, out: str | None) -> None:
    """The codes of a split as arrays: z, label, index in the split, row in the data as they were read; mean and log_var
    where the posterior is a Gaussian."""
    trained, path = _load(run_dir, checkpoint, out, "codes.npz", (".npz",))
    from jaxae import artifacts

    _write(path, artifacts.encode(trained, split, seed, count) | _classes(trained))


@click.command(short_help="NLL, ELBO and errors of each example, as arrays")
@run_argument()
@split_option
@usual("samples", "importance samples an example")
@seed_option("the held-out pixels' and samples' noise")
@checkpoint_option
@file_option("--out", "a .npz [RUN/scores.npz]")
def score(run_dir: str, split: str, samples: int, seed: int, checkpoint: str, out: str | None) -> None:
    """Each example's NLL, ELBO and errors as arrays: which are unlikely, and which are badly reconstructed. `row` is
    where it stands in the data as they were read."""
    trained, path = _load(run_dir, checkpoint, out, "scores.npz", (".npz",))
    from jaxae import run

    _write(path, run.scores(trained, split, samples, seed) | _classes(trained))


@click.command(short_help="latent codes to images")
@run_argument()
@click.argument("codes", metavar="Z")
@click.option(
    "--label",
    default=None,
    help="of a conditional method: name or number [what stands beside the codes; else all]",
)
@checkpoint_option
@_out("decoded.png")
def decode(run_dir: str, codes: str, label: str | None, checkpoint: str, out: str | None) -> None:
    """The images at the codes [n, latent] in Z: a .npy, or a .npz with an array z, as `encode` writes, with each code's
    label where a conditional method wants one."""
    from jaxae import files

    z, labels = files.read_codes(expanded(codes))
    if out and Path(out).resolve() == expanded(codes).resolve():
        raise InputError(f"--out {out}: these are the codes themselves: expected another file")
    trained, path = _load(run_dir, checkpoint, out, "decoded.png", PICTURE)
    import numpy as np

    from jaxae import artifacts
    from jaxae.artifacts.images import table

    told = labels if label is None and trained.setup.method.given is not None else _label(trained, label)
    made = artifacts.decode(trained, z, told)
    at = {} if told is None else {"label": np.broadcast_to(told, len(z)), **_classes(trained)}
    _write(path, {"images": made, "z": z, **at}, lambda: table(made))


@click.command(short_help="write report.html again")
@run_argument(whole=True)
@checkpoint_option
@click.option("--split", default=None, help=f"whose measures, {', '.join(SPLITS)} [that which closed training]")
@file_option("--out", "a .html [RUN/report.html]")
def report(run_dir: str, checkpoint: str, split: str | None, out: str | None) -> None:
    """Write the report of a run or a whole sweep again: one page, for which no network is needed."""
    if split is not None:
        known("split", split, SPLITS)
    if is_sweep(run_dir):
        if checkpoint != "auto":
            raise InputError(f"--checkpoint {checkpoint}: the page of a sweep is of what was measured: name a --member")
        from jaxae import files
        from jaxae.folder import SweepFolder
        from jaxae.report import write_comparison

        folder = SweepFolder(run_dir)
        path = Path(out) if out else folder.report
        files.check_out(path, (".html",))
        click.echo(write_comparison([run_dir], path, split=split or folder.measured_split()))
        return
    trained, path = _load(run_dir, checkpoint, out, "report.html", (".html",))
    from jaxae.report import write_report

    measures = trained.folder.evaluation(split) if split else None
    if measures == {}:
        raise InputError(f"{run_dir}: not evaluated on {split}: `jaxae evaluate {run_dir} --split {split}` does it")
    click.echo(write_report(trained, measures, out=path))
