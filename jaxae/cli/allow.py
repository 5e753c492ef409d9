"""`jaxae allow`: code of the user's own that a folder may name."""

import click

from jaxae import own
from jaxae.errors import InputError
from jaxae.home import expanded


@click.command(short_help="let folders run a file of code")
@click.argument("files", nargs=-1, required=True, metavar="FILE...")
def allow(files: tuple[str, ...]) -> None:
    """Let runs and sweeps that name FILE, a method, network, likelihood or optimiser of somebody's own, run it
    on this machine.

    It is the file as it is now that is allowed: changed, it must be read and allowed again. A file that you name
    yourself, in a flag of `jaxae train` or in a Config, needs no allowing.
    """
    for file in map(expanded, files):
        if not file.is_file():
            raise InputError(f"{file}: no such file: expected one such as mine.py")
        own.allow(file.resolve())
