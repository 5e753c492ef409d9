"""The ledger: published numbers beside ours, in experiments/ledger.json, and the tables made from it.

    python -m experiments.ledger            # writes experiments/ledger.md and the README's tables afresh
    python -m experiments.ledger --check    # exit code 1 where they are not what ledger.json says

An experiment (burda2015 and its neighbours) gives `measure` its settings; each is one sweep over seeds in runs/, which
goes on where it was stopped. A row is added, or takes the place of the one of the same table, setting and budget.
`interval` is the t interval of the mean over seeds; a row's `values` are the seeds', so that two settings of one table
and budget are compared over the seeds that both have. `wall_note` says where the wall time is an estimate.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxae import Config, compare, sweep
from jaxae.cli import finish
from jaxae.compare.statistics import holm, paired_difference, t_interval
from jaxae.errors import InputError
from jaxae.files import read_json, write_json
from jaxae.progress import Progress

HERE = Path(__file__).parent
FILE, PAGE, README = HERE / "ledger.json", HERE / "ledger.md", HERE.parent / "README.md"
START, END = "<!-- ledger: made by python -m experiments.ledger -->", "<!-- end of ledger -->"
BUDGETS = ("paper", "gpu", "cpu")  # the longest first
HEAD = (
    "setting", "ours, 95 % interval", "seeds", "less the first, paired", "published", "ours - published",
    "active units", "wall",
)  # fmt: skip
WORK = "wall.json"
ALONE = "°"
FLATTER, DEEPER = "one layer", "two layers"  # tables of the same data, whose settings are compared with each other
READ, RECALLED = "read in the authors' code or a reproducing source", "recalled from the paper, not checked"


class Setting(NamedTuple):
    table: str
    name: str
    config: Config
    """Its steps and optimiser are the budget's; `samples` those of the closing NLL."""
    published: float | None
    provenance: str


def measure(settings: Sequence[Setting], seeds: tuple[int, ...], budget: str, runs: Path, command: str) -> None:
    """Trains and measures every setting in turn, and keeps its row as soon as it is there."""
    for setting in settings:
        folder = runs / budget / f"{setting.table}, {setting.name}".replace(" ", "-").replace(",", "").replace("=", "")
        progress = Progress()
        with work(folder) as past:
            swept = sweep.sweep(sweep.Plan(setting.config, seeds, {}), folder, progress=progress)
            if not past["over"]:
                sweep.evaluate(folder, ("latents",), progress=progress)
        add(row(setting, swept, budget, read_json(folder / WORK), command))


@contextmanager
def work(folder: Path) -> Iterator[dict[str, Any]]:
    """Keeps in the folder's WORK how long it took, whatever ends it, and the commits that did it: those of what is over
    are not those of who asks again. Gives what was kept before."""
    begun, file = time.time(), folder / WORK
    past = {"wall_s": 0.0, "commits": [], "over": False, **(read_json(file) if file.is_file() else {})}
    now = past if past["over"] else past | {"commits": list(dict.fromkeys([*past["commits"], commit()]))}
    over = past["over"]
    try:
        yield past
        over = True
    finally:  # also of what a signal ends, which goes on another time
        if folder.is_dir() and not past["over"]:
            write_json(file, now | {"wall_s": past["wall_s"] + time.time() - begun, "over": over})


def command_line(
    name: str, about: str | None, settings: Callable[[str], list[Setting]], seeds: dict[str, tuple[int, ...]]
) -> None:
    """What the experiment `name` is run by: --budget, one of those that have `seeds`, and which settings."""
    words = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--budget", choices=list(seeds), required=True)
    words.add_argument("--only", action="append", metavar="TABLE, SETTING", help="may be given again [all]")
    words.add_argument("--runs", type=Path, default=Path("runs") / name)
    args = words.parse_args()
    every = {f"{s.table}, {s.name}": s for s in settings(args.budget)}
    if unknown := [one for one in args.only or [] if one not in every]:
        words.error(f"--only {unknown[0]!r}: expected one of {'; '.join(every)}")
    command = f"python -m experiments.{name} --budget {args.budget}"
    measure([every[one] for one in args.only or every], seeds[args.budget], args.budget, args.runs, command)


def row(setting: Setting, swept: sweep.Swept, budget: str, kept: dict[str, Any], command: str) -> dict[str, Any]:
    """`kept`: how long it took, and the commits that it was trained and measured by."""
    table = compare.table(swept.folder.path).sort_values("seed")
    there = table[table["nll"].notna()]
    values = there["nll"].to_numpy(np.float64)
    record = read_json(swept.folder.member(swept.plan.members[0].name).record_file)
    return {
        "table": setting.table,
        "setting": setting.name,
        "seeds": len(values),
        "ours": float(values.mean()),
        "interval": list(t_interval(values)),
        "published": setting.published,
        "provenance": setting.provenance,
        "budget": budget,
        "wall_s": round(kept["wall_s"], 1),
        "device": f"{record['device']}, {record['threads']} threads",
        "command": command,
        "commit": " and ".join(kept["commits"]),
        "values": dict(zip(map(str, there["seed"]), values.tolist())),
        "diverged": int((table["outcome"] == "diverged").sum()),
        "mc_se": float(np.sqrt(np.sum(there["nll_mc_se"].to_numpy(np.float64) ** 2)) / len(values)),
        "effective_samples": float(there["effective_samples"].median()),
        "nll_bias": float(there["nll_bias"].mean()),
        "elbo": float(there["elbo"].mean()),
        "active_units": active(there),
    }


def active(there: Any) -> float | None:
    return float(there["active_units"].mean()) if "active_units" in there else None


def commit() -> str:
    """Of this checkout, with + where it has changes that are not committed."""
    words = ["git", "-C", str(HERE), "describe", "--always", "--dirty=+", "--exclude=*"]
    found = subprocess.run(words, capture_output=True, text=True)
    return found.stdout.strip() or "unknown"


def one_machine(file: Path, kept: Mapping[str, Any], **here: str) -> None:
    """Raises InputError where rows of another machine stand in the file, under which those of this would join them."""
    for what, mine in here.items():
        if (theirs := kept.get(what, mine)) != mine:
            raise InputError(f"{file}: its rows are of {what} {theirs}, here is {mine}: keep these in another --json")


def add(new: dict[str, Any], file: Path = FILE) -> None:
    rows = read_json(file)["rows"] if file.is_file() else []
    write_json(file, {"rows": placed(rows, new, key)})


def placed(rows: Sequence[dict[str, Any]], new: dict[str, Any], key: Callable) -> list[dict[str, Any]]:
    """The rows, `new` in the place of its like, or at the end."""
    return list(({key(old): old for old in rows} | {key(new): new}).values())


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *rows))


def put_in(file: Path, start: str, text: str, end: str) -> str:
    """What the file says, with `text` between its marks."""
    first, rest = file.read_text().split(start)
    return f"{first}{start}\n{text}\n{end}{rest.split(end)[1]}"


def key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["table"], row["setting"], row["budget"]


def tables(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: a table of rows for each (table, budget), the longest budget first, in the order of the published
    values, with the paired differences from the first; and under it those of the other neighbours, of IWAE from the
    VAE with as many samples, and of two layers from one."""
    parts = []
    named = list(dict.fromkeys(row["table"] for row in rows))
    groups = {(row["table"], row["budget"]) for row in rows}
    for table, budget in sorted(groups, key=lambda one: (named.index(one[0]), BUDGETS.index(one[1]))):
        mine = [row for row in rows if (row["table"], row["budget"]) == (table, budget)]
        mine.sort(key=lambda row: -(row["published"] or 0.0))
        firsts, others = [(mine[0], row) for row in mine[1:]], _pairs(mine)
        if table == DEEPER:
            flat = {row["setting"]: row for row in rows if (row["table"], row["budget"]) == (FLATTER, budget)}
            others += [(flat[row["setting"]], row) for row in mine if row["setting"] in flat]
        said = _differences([*firsts, *others])
        less = ["–", *said[: len(firsts)]]
        parts += [f"**{table}**, budget `{budget}`", markdown(HEAD, map(_cells, mine, less))]
        if others:
            named = [f"{_named(*pair)} {text}" for pair, text in zip(others, said[len(firsts) :])]
            parts.append("Paired over seeds, nats: " + "; ".join(named) + ".")
    return "\n\n".join(parts)


def _pairs(mine: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Neighbours, and IWAE beside the VAE with as many samples, each pair once; none with the first row."""
    there = {row["setting"]: row for row in mine}
    alike = [(there[vae], there[iwae]) for iwae in there if (vae := iwae.replace("IWAE", "VAE")) in there]
    found = {(one["setting"], other["setting"]): (one, other) for one, other in [*pairwise(mine), *alike]}
    return [(one, other) for one, other in found.values() if one is not mine[0] and one is not other]


def _cells(row: dict[str, Any], less: str) -> tuple[str, ...]:
    low, high = row["interval"]
    ours = f"{row['ours']:.2f}" + ("" if low is None else f" ({low:.2f} to {high:.2f})")
    mark = {READ: "", RECALLED: " [recalled]"}.get(row["provenance"], f" [{row['provenance']}]")
    published, gap = "–", "–"
    if row["published"] is not None:
        published = f"{row['published']:.2f}{mark}"
        gap = f"{row['ours'] - row['published']:+.2f}".replace("-", "−")
    units = "–" if row.get("active_units") is None else f"{row['active_units']:.1f}"
    wall = f"{'about ' if 'wall_note' in row else ''}{row['wall_s'] / 60:.0f} min"
    seeds = f"{row['seeds']}" + (f", {row['diverged']} more diverged" if row.get("diverged") else "")
    return row["setting"], ours, seeds, less, published, gap, units, wall


def _named(one: dict[str, Any], other: dict[str, Any]) -> str:
    of = "" if one["table"] == other["table"] else f" of {one['table']}"
    return f"{other['setting']} less {one['setting']}{of}"


def _differences(pairs: Sequence[tuple[dict[str, Any], dict[str, Any]]]) -> list[str]:
    """The later of each pair minus the former, over their common seeds, each with its own interval; ALONE marks those
    that are significant by themselves and not among all of them."""
    found = []
    for one, other in pairs:
        common = [seed for seed in one["values"] if seed in other["values"]]
        x, y = (np.array([row["values"][seed] for seed in common]) for row in (other, one))
        found.append(paired_difference(x, y))
    each = np.array([np.nan if d.p is None else d.p for d in found], np.float64)
    texts = []
    for d, p, together in zip(found, each, holm(each)):
        said = "no common seeds" if d.mean is None else f"{d.mean:+.2f}"
        if d.low is not None:
            said += f" ({d.low:+.2f} to {d.high:+.2f}, n = {d.n}){ALONE if p < 0.05 <= together else ''}"
        texts.append(said.replace("-", "−"))
    return texts


def page(rows: Sequence[dict[str, Any]]) -> str:
    commands = "\n".join(f"    {command}" for command in dict.fromkeys(row["command"] for row in rows))
    made: dict[str, list[str]] = {}
    for row in rows:
        where = f"{row['device']}, commit {row['commit']}"
        made.setdefault(where, []).append(f"{row['table']}, {row['setting']}, `{row['budget']}`")
    places = "\n".join(f"- {where}: {'; '.join(names)}" for where, names in made.items())
    about = (
        "Test NLL in nats, lower is better, on the 10,000 test images. Published numbers that were only recalled are "
        f"marked. Intervals are each by itself; {ALONE} marks a difference that is significant by itself at 0.05, and "
        f"not among all those of its table (Holm). Made by\n\n{commands}\n\non\n\n{places}"
    )
    return f"{tables(rows)}\n\n{about}\n"


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a page is out of date")
    args = words.parse_args()
    rows = read_json(FILE)["rows"]
    wanted = {PAGE: f"# The ledger\n\n{page(rows)}", README: put_in(README, START, tables(rows), END)}
    stale = [file for file, content in wanted.items() if not file.is_file() or file.read_text() != content]
    if args.check:
        print(*(f"{file.name} is not what {FILE.name} says" for file in stale), sep="\n")
        sys.exit(1 if stale else 0)
    for file in stale:
        file.write_text(wanted[file])
        print(file)


if __name__ == "__main__":
    finish(main)
