"""The argument RUN of the verbs that read a run: a run's folder, or a sweep's and the name of a member."""

import functools
from collections.abc import Callable
from typing import Any

import click

from jaxae.errors import a_seed, known
from jaxae.evaluate.settings import USUAL
from jaxae.home import expanded
from jaxae.names import SPLITS

checkpoint_option = click.option(
    "--checkpoint", default="auto", help="last, best or a step [last; best where the run has a patience]"
)


def _checked(check: Callable[[Any], None]) -> Callable[[Any, Any, Any], Any]:
    """A callback that refuses as `check` does."""

    def callback(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
        check(value)
        return value

    return callback


split_option = click.option(
    "--split",
    default="test",
    help=f"{', '.join(SPLITS)} [test]",
    callback=_checked(lambda split: known("split", split, SPLITS)),
)


def usual(name: str, text: str, **how: Any) -> Callable:
    """The flag of one of an evaluation's settings, with its usual value."""
    value = getattr(USUAL, name)
    return click.option(f"--{name.replace('_', '-')}", default=value, help=f"{text} [{value}]", **how)


def file_option(flag: str, help: str, metavar: str = "PATH") -> Callable:
    """A file to write, with ~ in place."""

    def callback(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
        return str(expanded(value)) if value else value

    return click.option(flag, metavar=metavar, help=help, callback=callback)


def seed_option(what: str) -> Callable:
    return usual("seed", f"of {what}", callback=_checked(a_seed))


def run_argument(whole: bool = False, bare: bool = False) -> Callable[[Callable], Callable]:
    """Adds RUN and --member to a command, which gets the run's own folder as `run_dir`; with `whole` also a sweep's,
    where no member is named. `bare`: a member of that very name is found without the code that its sweep names."""

    def add(command: Callable) -> Callable:
        @functools.wraps(command)
        def with_run(run_dir: str, member: str | None, **values: Any) -> Any:
            if member is not None or (is_sweep(run_dir) and not whole):
                from jaxae.folder import SweepFolder, member_path

                of_name = SweepFolder(run_dir).member(member) if bare and member else None
                there = of_name is not None and of_name.config_file.is_file()
                run_dir = str(of_name.path if of_name and there else member_path(run_dir, member))
            return command(run_dir=run_dir, **values)

        option = click.option("--member", metavar="NAME", help="of the sweep in RUN: seed=3,beta=4")
        return click.argument("run_dir", metavar="RUN")(option(with_run))

    return add


def is_sweep(path: str) -> bool:
    from jaxae.folder import SweepFolder

    return SweepFolder(path).exists()


def must_be_there(path: str) -> None:
    """Raises InputError, without jax, where the folder holds no run that can be read, and no sweep."""
    from jaxae.folder import RunFolder

    if not is_sweep(path):
        RunFolder(path).config()
