"""`jaxae data`: which data sets there are, what is in one, and preparing one."""

import json
from pathlib import Path
from typing import Any

import click


@click.group("data", short_help="list, describe and prepare data sets")
def data() -> None:
    """List, describe and prepare data sets."""


@data.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_command(as_json: bool) -> None:
    """Every data set known by name, and whether it is ready here."""
    from jaxae.data import catalogue

    entries = catalogue()
    if as_json:
        click.echo(json.dumps({entry.name: {"about": entry.about, "ready": entry.ready} for entry in entries}))
        return
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        state = "ready" if entry.ready else "to prepare"
        click.echo(f"{entry.name:<{width}}  {state:<10}  {entry.about}")
    click.echo("\nor any TFDS image data set (tfds:NAME/CONFIG), a .npy, .npz or idx(.gz) file, a folder of images")


@data.command("describe")
@click.argument("name")
@click.option("--validation", type=int, help="Training examples to hold out, where there is no validation split.")
@click.option("--test", type=int, help="Training examples to hold out, where there is no test split.")
@click.option("--size", type=int, help="Pixels of a side, to which images of a folder are cut and scaled.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def describe_command(name: str, validation: int | None, test: int | None, size: int | None, as_json: bool) -> None:
    """Sizes, shape, classes, splits and content hash of NAME: a data set or a path."""
    facts = describe(name, validation, size, test)
    if as_json:
        click.echo(json.dumps(facts))
        return
    for key, value in facts.items():
        click.echo(f"{key:<8} {readable(value)}")


def describe(name: str, validation: int | None, size: int | None, test: int | None) -> dict[str, Any]:
    """What is to be known of a data set, as plain values."""
    from jaxae.data import load

    source = load(name, validation, size, test)
    splits = [source.split(split) for split in source.sizes()]
    return {
        "name": source.name,
        "about": source.about,
        "shape": list(source.shape),
        "sizes": source.sizes(),
        "stored": f"{source.train.rows.dtype} {list(source.train.rows.shape[1:])}, "
        f"{sum(split.rows.nbytes for split in splits):,} bytes",
        "labels": any(bool((split.labels >= 0).any()) for split in splits),
        "classes": list(source.classes),
        "factors": list(source.factor_names),
        "digest": source.digest,
    }


def readable(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {number:,}" for key, number in value.items())
    if isinstance(value, list):
        joined = " x " if all(isinstance(item, int) for item in value) else ", "
        return joined.join(map(str, value)) or "none"
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)


@data.command("prepare")
@click.argument("name")
@click.option("--from", "source_dir", type=click.Path(path_type=Path), help="A folder with the files already.")
@click.option("--data-dir", type=click.Path(path_type=Path), help="Where to, in place of $TFDS_DATA_DIR.")
def prepare_command(name: str, source_dir: Path | None, data_dir: Path | None) -> None:
    """Download and prepare NAME, a TFDS data set, for training."""
    from jaxae.data.prepare import prepare

    path = prepare(name, source_dir, data_dir)
    click.echo(f"{name} is ready in {path}")
    if data_dir is not None:
        click.echo(f"to train on it: TFDS_DATA_DIR={data_dir} jaxae train --data {name}", err=True)
