"""The command line: one verb each. Nothing here imports jax before a verb needs it: help and refusals are instant."""

import contextlib
import errno
import io
import logging
import os
import sys
from collections.abc import Callable

import click

from jaxae import home, signals
from jaxae.errors import Diverged, InputError, Interrupted, unknown

VERBS = {
    "train": "jaxae.cli.train",
    "sweep": "jaxae.cli.sweep",
    "evaluate": "jaxae.cli.evaluate",
    "digest": "jaxae.cli.evaluate",
    "compare": "jaxae.cli.compare",
    "reconstruct": "jaxae.cli.artifacts",
    "sample": "jaxae.cli.artifacts",
    "interpolate": "jaxae.cli.artifacts",
    "traverse": "jaxae.cli.artifacts",
    "encode": "jaxae.cli.artifacts",
    "score": "jaxae.cli.artifacts",
    "decode": "jaxae.cli.artifacts",
    "report": "jaxae.cli.artifacts",
    "methods": "jaxae.cli.methods",
    "allow": "jaxae.cli.allow",
    "data": "jaxae.cli.data",
}


class Verbs(click.Group):
    """Imports a verb's module when it is called, and answers a wrong verb with the nearest right one."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            raise unknown("command", cmd_name, VERBS)
        return getattr(__import__(VERBS[cmd_name], fromlist=[cmd_name]), cmd_name)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="jaxae")
def cli() -> None:
    """The autoencoder laboratory for JAX. Start with `jaxae train`."""


def main(args: list[str] | None = None) -> None:
    """Runs the command line."""
    finish(lambda: status(args))


def finish(program: Callable[[], int | None]) -> None:
    """Runs a program and ends the process by its exit code, or as `ended` says."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that knows no dash still gets its numbers
    signals.watched()
    code = ended(program)
    alone = "jax" not in sys.modules or not sys.modules["jax"].distributed.is_initialized()
    if code >= 128 and alone:  # XLA's threads may be at work, and would crash where Python takes itself apart
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def status(args: list[str] | None = None) -> int:
    """The exit code of the command line `args`."""

    def verb() -> None:
        _talk()
        with contextlib.suppress(InputError):  # without a home folder nothing is kept
            home.keep_compiled()
        cli.main(args, prog_name="jaxae", standalone_mode=False)

    return ended(verb)


def ended(program: Callable[[], int | None]) -> int:
    """A program's exit code: its own, or 0. Bad input is one line on standard error and exit code 2; divergence is 1, a
    signal 128 and its number."""
    try:
        return program() or 0
    except click.exceptions.NoArgsIsHelpError as help_text:
        print(help_text.format_message())
        return 0
    except click.ClickException as error:
        return _say(_one_line(error), 2)
    except (InputError, OSError) as error:
        return _say(_os_error(error) if isinstance(error, OSError) else str(error), 2)
    except Diverged as error:
        return _say(str(error), 1)
    except Interrupted as stop:
        return _say(str(stop), 128 + stop.signal)
    except (click.Abort, KeyboardInterrupt):
        return _say("interrupted", 130)
    except (MemoryError, RuntimeError) as error:  # of the second kind: XLA's own
        if not isinstance(error, MemoryError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return _say(f"not enough memory ({' '.join(str(error).split())[:150]}): ask for less at once", 2)


def _talk() -> None:
    """What the library logs (reading data, a cache that cannot be written) is shown on standard error."""
    logger = logging.getLogger("jaxae")
    logger.setLevel(logging.INFO)
    logger.propagate = False  # orbax gives the root logger a handler: each line would come twice
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("jaxae: %(message)s"))
        logger.addHandler(handler)


def _one_line(error: click.ClickException) -> str:
    text = " ".join(error.format_message().split())
    return text[0].lower() + text[1:] if text else type(error).__name__


def _os_error(error: OSError) -> str:
    if error.errno == errno.EPIPE:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has gone: nothing more to flush
        return "output closed"
    where = f"{error.filename}: " if error.filename else ""
    what = error.strerror or str(error)
    advice = ": free some space; checkpoints already there are whole" if error.errno == errno.ENOSPC else ""
    return " ".join(f"{where}{what}{advice}".split())


def _say(text: str, code: int) -> int:
    print(f"jaxae: {text}", file=sys.stderr)
    return code
