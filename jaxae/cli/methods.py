"""`jaxae methods`: the registry."""

import dataclasses
import json as json_module

import click

from jaxae import methods as registry


@click.command(short_help="list the autoencoders")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--json", is_flag=True, help="one JSON object on standard output")
def methods(names: tuple[str, ...], json: bool) -> None:
    """List the autoencoders, or those of NAME, with their citations, losses and hyperparameters.

    A NAME may be a method of your own, path/to/mine.py:mine.
    """
    entries = {name: registry.entry(name) for name in names or registry.entries()}
    if json:
        click.echo(json_module.dumps({name: dataclasses.asdict(e) for name, e in entries.items()}, indent=2))
        return
    for entry in entries.values():
        click.echo(f"{entry.name}: {entry.summary}\n    {entry.citation}\n    {entry.objective}")
        if entry.codes:
            click.echo(f"    codes: {entry.codes}")
        click.echo(f"    {', '.join(f'{name} {value}' for name, value in entry.defaults.items())}")
        for h in entry.hyperparameters:
            click.echo(f"    --{h.name.replace('_', '-')} [{h.default}]  {h.help}")
