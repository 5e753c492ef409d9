"""jaxae beside its peers: throughput at the same work, many seeds at once, start-up, evaluation, what its loop costs.

    python -m experiments.benchmark                                     # all but `lanes`: some four hours on two cores
    python -m experiments.benchmark --work mlp-128 conv --peer pythae   # in parts: rows are merged as they come
    python -m experiments.benchmark --rounds 3 --seconds 5              # rougher
    python -m experiments.benchmark --pages                             # only the page, its plot and the README's table
    python -m experiments.benchmark --in-turns --work mlp-128 lanes --json experiments/benchmark_h100.json   # on a GPU

The peers and jaxae in one environment, made by one command in a checkout (Python 3.11 or later, with a C++ compiler
for torch.compile; MNIST as `jaxae data prepare mnist` or TFDS_DATA_DIR has it):

    python3.11 -m venv .venv-bench && .venv-bench/bin/pip install -e '.[bench]'

How it is measured. Every program is a process of its own and has the machine to itself: ours, a peer's, ours, a
peer's, for `--rounds` rounds; of each round the ratio of the two counts, and of the rounds the median, with the
extremes beside it. A program imports, compiles and takes its first steps (3 in 10 of the seconds, 10 at least) before
its `--seconds` begin. With `--in-turns` all programs of a work are started at once and stay, and take turns, one at a
time: for an accelerator, where compilation takes far longer than what is timed; there the seed is 0 in all rounds. All
train on the 60,000 images of MNIST, binarised once and handed over in memory, with Adam at 1e-3 in float32 (products in
TF32 on an NVIDIA GPU, for all of them, the machine's own rate too), from the
same initial parameters; the seed of noise and order is the round's number.

That nobody is fast by computing less, the loss curves tell: the mean over every 5,120 examples, of all rounds, may
differ by `figures.TOLERANCE`, which says why; a row of which it differs by more is marked and is no "fastest peer".
What each peer's program does, and why that is fair, is told at its head in `benchmark_peers`. The operations of a work
are counted layer by layer (`works.Work.flops`), and the machine's own rate is that of a 2048 x 2048 product in float32
(8192 x 8192 on an accelerator), by JAX or by PyTorch, whichever is faster, in the same run.

What other programs took of the machine meanwhile is in each row, but for those whose programs took turns: PyTorch's
threads wait for each other actively, so a peer that shares its cores with other work loses far more than a compiled
program does. Believe quiet runs alone.
"""

import argparse
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from experiments.benchmark_parts import pages, rows
from experiments.benchmark_parts.cases import ACCELERATED, CASES, GROUPS, Case, Program, chosen
from experiments.benchmark_parts.rounds import measure, row_of
from experiments.benchmark_parts.rows import FASTEST_TARGETS
from experiments.benchmark_parts.shop import Failed, Shop, accelerator, others, processor
from experiments.benchmark_parts.works import TRAINING
from experiments.ledger import commit, one_machine
from jaxae.cli import finish
from jaxae.errors import InputError, at_least_one
from jaxae.files import check_out, read_json

FILE = Path(__file__).with_suffix(".json")


def main() -> None:
    args = arguments().parse_args()
    check_out(args.json, (".json",))  # before hours of measuring
    at_least_one(rounds=args.rounds)
    if args.seconds <= 0:
        raise InputError(f"seconds {args.seconds:g}: expected a number above 0")
    failed = [] if args.pages else run(chosen(args.work, args.peer), args)
    if args.pages or args.json.is_file():
        pages.write(args.json)
    if failed:
        sys.exit(f"not measured: {'; '.join(failed)}")


def arguments() -> argparse.ArgumentParser:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    works = list(dict.fromkeys([*GROUPS, *(case.work for case in CASES)]))
    peers = list(dict.fromkeys(case.peer for case in CASES))
    for flag, names in (("--work", works), ("--peer", peers)):
        about = f"of {', '.join(names)}; may be given again [all]"
        words.add_argument(flag, nargs="+", action="extend", choices=names, metavar="NAME", help=about)
    words.add_argument("--rounds", type=int, default=5)
    words.add_argument("--seconds", type=float, default=10.0, help="timed, of each program in each round [10]")
    words.add_argument("--in-turns", action="store_true", help="programs stay between the rounds of a training work")
    words.add_argument("--json", type=Path, default=FILE, help="the rows; the pages are written beside it")
    words.add_argument("--pages", action="store_true", help="measure nothing: only make the pages from the rows")
    return words


def run(cases: list[Case], args: argparse.Namespace) -> list[str]:
    """Measures the cases and keeps each row as it comes; what failed, in words."""
    failed, rates, code = [], {}, commit()  # of the code that is measured: the rows themselves change the checkout
    name = accelerator()
    keep = Keep(args.json, f"{name}, {processor()}" if name else processor(), FASTEST_TARGETS if not name else {})
    if args.json.is_file():
        one_machine(args.json, read_json(args.json), device=keep.machine)
    if name:  # the targets are a CPU's, but for those of the group that is for accelerators alone
        cases = [case if case.group == ACCELERATED else case._replace(target=None) for case in cases]
    trained = [case for case in cases if case.group in (*TRAINING, ACCELERATED)]
    with tempfile.TemporaryDirectory(prefix="jaxae-benchmark-") as folder:
        shop = Shop(Path(folder), args.seconds)
        if any(case.ours.module != "start" for case in cases):
            shop.prepare()
        for case in cases:
            if args.in_turns and case in trained:
                continue
            if case in trained and case.ours.work not in rates:
                rates[case.ours.work] = shop.matmul(case.ours.work)
            try:
                made = one(case, shop, rates.get(case.ours.work), code, args)
            except Failed as why:
                print(why, file=sys.stderr)
                failed.append(f"{case.work} against {case.peer}")
                continue
            keep.add(made)
        return failed + (in_turns(trained, shop, keep, code, args) if args.in_turns and trained else [])


def one(case: Case, shop: Shop, matmul: float | None, code: str, args: argparse.Namespace) -> dict[str, Any]:
    with others() as taken:
        ours, theirs = measure(case, args.rounds, shop.rate)
    return row_of(case, ours, theirs, matmul, command=command(case, args), commit=code, others=taken[0])


def in_turns(cases: list[Case], shop: Shop, keep: "Keep", code: str, args: argparse.Namespace) -> list[str]:
    """The training works, each with all its programs at once; the rate of matrix products is measured before them."""
    failed, matmul = [], shop.matmul(cases[0].ours.work)
    for work in dict.fromkeys(case.ours.work for case in cases):
        mine = [case for case in cases if case.ours.work == work]
        programs = list(dict.fromkeys(program for case in mine for program in (case.ours, case.theirs) if program))
        timed = [program for program in programs if program.module != "matmul"]
        found = shop.in_turns(timed, args.rounds)
        whole = {"rate": matmul / TRAINING[work].flops, "curves": {}}
        found |= {Program("matmul", work, "best"): [whole] * args.rounds}
        for case in mine:
            if case.ours not in found or case.theirs not in found:
                failed.append(f"{case.work} against {case.peer}")
                continue
            said = {"command": command(case, args), "commit": code}
            keep.add(row_of(case, found[case.ours], found[case.theirs], matmul, **said))
    return failed


class Keep(NamedTuple):
    """Where rows are kept as they come."""

    file: Path
    machine: str
    fastest: Mapping[str, float]
    """Targets against the fastest peer."""

    def add(self, row: dict[str, Any]) -> None:
        rows.add(row, self.machine, self.file, self.fastest)
        print(pages.line(row), flush=True)


def command(case: Case, args: argparse.Namespace) -> str:
    words = f"python -m experiments.benchmark --work {case.work} --peer {case.peer} --rounds {args.rounds}"
    words += f" --seconds {args.seconds:g}{' --in-turns' if args.in_turns else ''}"
    return words if args.json == FILE else f"{words} --json {args.json}"


if __name__ == "__main__":
    finish(main)
