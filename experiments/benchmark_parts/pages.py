"""From the rows to what is read: benchmark.md, a plot of the ratios, and the table in the README."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.benchmark_parts.cases import CASES, GROUPS
from experiments.benchmark_parts.rows import FASTEST, behind, disagrees
from experiments.benchmark_parts.works import TRAINING
from experiments.ledger import markdown, put_in
from jaxae.files import read_json

README = Path(__file__).parents[2] / "README.md"
START, END = "<!-- benchmark: made by python -m experiments.benchmark --pages -->", "<!-- end of benchmark -->"
TITLES = {
    "training": "Training beside the peers",
    "lanes": "Many seeds as one program on an accelerator",
    "loop": "The loop against the bare compiled scan of its step",
    "data": "The ways of the data against the step alone",
    "checkpoint": "Waiting for checkpoints",
    "seeds": "Many runs as one program against as many runs one after the other",
    "nll": "Likelihoods",
    "start": "Start-up",
}
HEAD = ("work", "against", "ours / theirs", "target", "of matrix products", "losses agree", "memory", "others' share")
LESS = {"s": " s", "share": ""}  # units, of which less is better
NOISY = 0.1  # of the machine, taken by other programs: a row above it is marked


def write(file: Path) -> None:
    """The pages beside the rows' file; the README's table where the rows are the repository's own."""
    kept = read_json(file)
    kept["rows"] = in_order(kept["rows"])
    drawn = file.with_suffix(".svg")
    file.with_suffix(".md").write_text(page(kept, drawn.name))
    plot(kept["rows"], drawn)
    if file.resolve() == README.parent / "experiments" / "benchmark.json":
        README.write_text(put_in(README, START, summary(kept["rows"]), END))


def in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the cases are, whenever each was measured; behind a work's peers the fastest."""
    places = {(case.work, case.peer): number for number, case in enumerate(CASES)}
    works = list(dict.fromkeys(case.work for case in CASES))

    def place(row: dict[str, Any]) -> tuple[int, int]:
        return works.index(row["work"]), places.get((row["work"], row["peer"]), len(CASES))

    return sorted(rows, key=place)


def page(kept: dict[str, Any], drawn: str) -> str:
    groups = {case.work: _title(case.group) for case in CASES}
    parts = ["# Benchmark", f"{kept['device']}. How it is measured: the head of `experiments/benchmark.py`."]
    for title in TITLES.values():
        mine = [row for row in kept["rows"] if groups.get(row["work"]) == title]
        if mine:
            abouts = "\n".join(f"- {about}" for about in dict.fromkeys(f"`{r['work']}`: {r['about']}" for r in mine))
            parts += [f"## {title}", abouts, markdown(HEAD, map(_cells, mine))]
    parts += [f"![ratios]({drawn})", "## Commands", "\n".join(dict.fromkeys(map(_command, kept["rows"])))]
    note = [kept["note"]] if "note" in kept else []
    return "\n\n".join([*parts[:2], *note, legend(), *parts[2:]]) + "\n"


def _title(group: str) -> str:
    return TITLES["training" if group in TRAINING else group]


def legend() -> str:
    return (
        "A ratio is our throughput over theirs, above 1 where jaxae is faster: the median of the rounds, and "
        "their range (*one round*: a lone measurement). Rows in seconds or in shares say so, and there less is "
        "better. **Bold** is behind: slower than a peer, or a target missed. *Of matrix products*: our rate of "
        "floating-point operations over the machine's own rate of 2048 x 2048 products (8192 x 8192 on an "
        "accelerator). *Losses agree*: the largest relative difference of the loss curves' windows; what is "
        "beyond the tolerance is marked with !, and is no fair comparison. *Memory*: our peak over theirs, of "
        f"whole processes. *Others' share*: of the machine, taken by other programs meanwhile; above {NOISY:.0%} "
        "marked with !, and not to be believed. A commit with a + had changes that were not committed yet."
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    agreement = row["agreement"]
    agrees = "–"
    if agreement:
        apart = "none in common" if agreement["difference"] is None else f"{agreement['difference']:.1%}"
        agrees = apart + (" !" if disagrees(row) else "")
    others = "–" if row["others"] is None else f"{row['others']:.0%}" + (" !" if row["others"] > NOISY else "")
    memory = "–" if row["memory"] is None else f"{row['memory']:.2f}"
    of = "–" if row["share_of_matmul"] is None else f"{row['share_of_matmul']:.0%}"
    return f"`{row['work']}`", against(row), ratio(row), target(row), of, agrees, memory, others


def against(row: dict[str, Any]) -> str:
    if row["peer"] == FASTEST:
        return f"the fastest peer, {row['which']}"
    return "–" if row["peer"] == "none" else row["peer"]


def ratio(row: dict[str, Any]) -> str:
    low, high = row["range"]
    unit = LESS.get(row["unit"], "")
    said = f"{number(row['ratio'])}{unit}"
    of = "one round" if row["rounds"] == 1 else f"{number(low)} to {number(high)}"
    return f"{f'**{said}**' if behind(row) else said} ({of})"


def target(row: dict[str, Any]) -> str:
    if row["target"] is None:
        return "–"
    return f"{'at most' if row['unit'] else 'at least'} {number(row['target'])}{LESS.get(row['unit'], '')}"


def number(value: float) -> str:
    """Three digits, and no more than that of what is large."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _command(row: dict[str, Any]) -> str:
    return f"    {row['command']}    # commit {row['commit']}, {row['rounds']} rounds"


def line(row: dict[str, Any]) -> str:
    """For the terminal."""
    work, *cells = _cells(row)
    said = zip(HEAD[1:], cells)
    return f"{work.strip('`')}: " + ", ".join(f"{name} {cell}" for name, cell in said if cell != "–").replace("**", "")


def summary(rows: Sequence[dict[str, Any]]) -> str:
    """Every row that has a target: what the README shows."""
    return markdown(HEAD[:4], [_cells(row)[:4] for row in rows if row["target"] is not None])


def plot(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """The training works: each peer's ratio with its range, on a logarithmic axis."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator

    shown = [row for row in rows if row["work"] in TRAINING and row["peer"] not in ("matmul", FASTEST)]
    if not shown:
        return
    works = list(dict.fromkeys(row["work"] for row in shown))
    peers = list(dict.fromkeys(row["peer"] for row in shown))
    figure = Figure(figsize=(7, 0.5 + 0.23 * (len(shown) + len(works))), layout="constrained")
    axes, labels, place = figure.subplots(), {}, 0
    for work in works:
        for row in (row for row in shown if row["work"] == work):
            (low, high), middle = row["range"], row["ratio"]
            hollow = {"markerfacecolor": "none"} if disagrees(row) else {}
            axes.errorbar(
                middle, -place, xerr=[[middle - low], [high - middle]], fmt="o", markersize=4, capsize=2,
                color=f"C{peers.index(row['peer'])}", **hollow,
            )  # fmt: skip
            labels[-place] = f"{work}, {row['peer']}"
            place += 1
        place += 1
    axes.axvline(1, color="0.5", linewidth=1)
    axes.set_xscale("log")
    axes.set_yticks(list(labels), list(labels.values()), fontsize=8)
    ticks = [tick for tick in (0.2, 0.5, 1, 2, 5, 10, 20, 50) if axes.get_xlim()[0] <= tick <= axes.get_xlim()[1]]
    axes.set_xticks(ticks, list(map(str, ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("throughput of jaxae over the peer's\n(right of the line jaxae is faster; hollow: losses differ)")
    with rc_context({"svg.hashsalt": "jaxae"}):
        figure.savefig(file, metadata={"Date": None})


assert set(GROUPS) - set(TRAINING) <= set(TITLES)
