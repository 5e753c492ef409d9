"""`jaxae compare`: settings against each other, with seeds as the replicates."""

import json as json_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from jaxae.cli.member import file_option, must_be_there, split_option
from jaxae.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from jaxae.compare import Comparison

WIDEST = 10_000  # characters of a terminal
FIRST = 30  # characters of a setting's name in a line, where a terminal is narrow
EPILOG = "Intervals are over seeds: how far the values would move if training were repeated with new ones."


@click.command(short_help="settings against each other, over seeds", epilog=EPILOG)
@click.argument("paths", metavar="RUN_OR_SWEEP...", nargs=-1, required=True)
@click.option("--measure", default=None, help="a measure of evaluation.json [nll; else elbo, else mse]")
@click.option(
    "--baseline", default=None, metavar="SETTING", help='what the others are held against, "beta=1" [first measured]'
)
@click.option(
    "--where", multiple=True, metavar="NAME=VALUE", help='only runs of that setting, "data=mnist"; once for each'
)
@split_option
@click.option("--level", type=float, default=0.95, help="of the intervals [0.95]")
@click.option("--json", is_flag=True, help="one JSON object on standard output")
@file_option("--csv", "writes every run's measures as a table, one row a run", "FILE")
@file_option("--out", "writes the comparison as one page, a .html")
def compare(
    paths: tuple,
    measure: str | None,
    baseline: str | None,
    where: tuple[str, ...],
    split: str,
    level: float,
    json: bool,
    csv: str | None,
    out: str | None,
) -> None:
    """Compares runs by their settings: all that their configs do not share, but for the seed.

    RUN_OR_SWEEP: folders of evaluated runs, or of sweeps. Each setting gets its mean over seeds with an interval; each
    against the baseline: the difference over the seeds both have, its p-value (paired t test, Holm's correction), the
    probability of improvement, and how many seeds would settle it.
    """
    _check(csv, out)
    for path in paths:
        must_be_there(path)
    from jaxae import compare as comparing

    only = _conditions(where)
    frame = comparing.table(paths, split, only)
    found = comparing.compare(frame, measure, baseline, level)
    if csv:
        from jaxae import files

        files.write(Path(csv), frame.to_csv(index=False).encode())
    if out:
        from jaxae.report import write_comparison

        write_comparison(paths, out, measure, baseline, level, split, only)
    if json:
        click.echo(json_module.dumps(plain(found)))
    else:
        show(found)
        for written in filter(None, (csv, out)):
            click.echo(written)


def _conditions(texts: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        flag, equals, value = (part.strip() for part in text.partition("="))
        name = flag.replace("-", "_")
        if not (name and equals):
            raise InputError(f"where {text!r}: expected a setting such as data=mnist")
        if name in found:
            raise InputError(f"where {text}: {name} is there already: expected each setting once")
        found[name] = value
    return found


def _check(csv: str | None, out: str | None) -> None:
    """Refuses, before any work, what could not be written."""
    for path, suffix in ((csv, ".csv"), (out, ".html")):
        if path:
            from jaxae import files

            files.check_out(Path(path), (suffix,))


def plain(of: Any) -> Any:
    """NamedTuples as dicts, all the way down."""
    if hasattr(of, "_asdict"):
        return {name: plain(value) for name, value in of._asdict().items()}
    if isinstance(of, dict):
        return {name: plain(value) for name, value in of.items()}
    if isinstance(of, tuple | list):
        return [plain(value) for value in of]
    return of.item() if hasattr(of, "item") else of


def show(found: "Comparison") -> None:
    """Prints the comparison as tables."""
    from rich.console import Console

    from jaxae.compare import rows, words

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 200  # no table is cut where nobody looks at it
    better = f"{found.better} is better" if found.better else "neither end is better in itself"
    unit = f"{found.unit}, " if found.unit else ""
    split = "" if found.split == "test" else f"{found.split} split, "
    console.print(f"{found.words} ({split}{unit}{better})")
    for caveat in found.caveats:
        console.print(caveat)
    _show(console, _settings(found))
    for family in rows.families(found):
        console.print(f"{family['title']}; Holm's correction over {words.counted(family['tests'], 'test')}")
        _show(console, _pairs(found, family["rows"]))
    for setting in found.settings:
        left_out = {
            "diverged": setting.diverged,
            "not finite": setting.not_finite,
            "missing (not trained, not evaluated, or without the measure)": setting.missing,
        }
        for what, seeds in left_out.items():
            if seeds:
                which = f"{words.counted(len(seeds), 'seed')} {what}: {words.listed(seeds)}"
                lost = not what.startswith("missing") and setting.summary and found.better
                better = ", which may look better for it" if lost else ""
                console.print(f"{setting.label}: {which}; not in its mean{better}")


def _show(console: "Console", table: "Table") -> None:
    """Where the terminal is too narrow for its numbers, wider than the terminal: none is cut."""
    from rich.console import Console

    first, wide = table.columns[0], Console(width=WIDEST, markup=False)
    first.max_width = FIRST
    with wide.capture() as drawn:
        wide.print(table)
    least = max(len(line.rstrip()) for line in drawn.get().splitlines())
    if least > console.width:
        Console(file=console.file, width=least, highlight=False, markup=False).print(table)
    else:
        first.max_width = None
        console.print(table)


def _settings(found: "Comparison") -> "Table":
    from jaxae.compare import rows, words

    level = f"{words.percent(found.level)} interval"
    heads = ["n", "mean", level, "sd", "median", "IQM"]
    cells = ["n", "mean", "interval", "sd", "median", "iqm"]
    if rows.resampled(found):
        heads, cells = [*heads, level], [*cells, "iqm_interval"]
    table = _table("setting", *heads)
    for row in rows.setting_rows(found):
        table.add_row(row["label"], *(str(row[name]) for name in cells))
    return table


def _pairs(found: "Comparison", rows: list[dict[str, Any]]) -> "Table":
    from jaxae.compare import words

    level = f"{words.percent(found.level)} interval"
    chance = "P(better)" if found.better else "P(lower)"
    table = _table("setting", "n", "difference", level, "p", "Holm p", chance, level, "n, m", "seeds needed")
    cells = ("n", "difference", "interval", "p", "p_holm", "better", "better_interval")
    for row in rows:
        n_m = ", ".join(row["better_n"]) or "–"
        table.add_row(f"{row['setting']} − {row['other']}", *(str(row[name]) for name in cells), n_m, row["needed"])
    return table


def _table(first: str, *others: str) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column(Text(first), overflow="fold")
    for name in others:
        table.add_column(Text(name), justify="right", no_wrap=True)
    return table
