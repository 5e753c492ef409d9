"""`jaxae methods`: the registry."""

import dataclasses
import json as json_module

import click

from jaxae import methods as registry


@click.command(short_help="list the autoencoders")
@click.option("--json", is_flag=True, help="one JSON object on standard output")
def methods(json: bool) -> None:
    """List the autoencoders, with their citations and hyperparameters."""
    entries = registry.entries().values()
    if json:
        click.echo(json_module.dumps({e.name: dataclasses.asdict(e) for e in entries}, indent=2))
        return
    for entry in entries:
        click.echo(f"{entry.name}: {entry.summary}\n    {entry.citation}")
        for h in entry.hyperparameters:
            click.echo(f"    --{h.name.replace('_', '-')} [{h.default}]  {h.help}")
