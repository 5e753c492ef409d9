"""Every method on MNIST at one budget, with three seeds each, and the page that shows them.

    python -m experiments.methods                     # runs/family, then experiments/methods.json and methods.md
    python -m experiments.methods --methods vae,mine  # these in runs/family-vae-mine; the others keep their figures
    python -m experiments.methods --page              # only the page, from the figures

All rows share the data (binarised afresh at every access), the Bernoulli likelihood, the network (one hidden layer of
512 units on each side), 16 latent units, Adam at 1e-3, batches of 128 and three epochs; a method's own hyperparameters
are its defaults. That is a small budget, the same for all: it tells what a method costs in likelihood when nothing was
tuned for it, and not how good it can be. The sweep goes on where it was stopped.
"""

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from experiments.ledger import commit
from experiments.methods_page import page
from jaxae import Config, methods, sweep
from jaxae.cli import finish
from jaxae.files import read_json, write_json
from jaxae.progress import Progress

HERE = Path(__file__).parent
BASE = Config(
    data="mnist", network="mlp", likelihood="bernoulli", binarize="dynamic", steps="3e", samples=100,
    validate_every="50%", checkpoint_every="50%",
)  # fmt: skip
SEEDS = (0, 1, 2)
ABOUT = (
    "MNIST, binarised afresh at every access, Bernoulli pixels; one hidden layer of 512 units on each side, 16 latent "
    "units; Adam 1e-3, batch 128, 3 epochs, the defaults of each method; mean ± standard deviation over 3 seeds on the "
    "10,000 test images. NLL by 100 importance samples, where there is a density; reconstruction: -log p(x|z), nats. "
    "Nothing was tuned for any row: it shows about what a method costs at its defaults. The mean image alone has 205.8 "
    "nats and MSE 0.0860: sparse_ae, whose weight is meant for Gaussian pixels, has learned no more than that here, "
    "and vae_gan, which is not trained to match pixels, is beyond it."
)


def measure(folder: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    swept = sweep.sweep(sweep.Plan(BASE, SEEDS, {"method": tuple(names)}), folder, progress=Progress())
    file = folder / "commits.json"  # of each method, the one that ended it: a sweep may grow
    kept = read_json(file) if file.is_file() else {}
    made_by = {name: kept.get(name) or commit() for name in names}
    write_json(file, made_by)
    found: dict[str, dict[str, Any]] = {}
    table = swept.table if len(names) > 1 else swept.table.assign(method=names[0])  # which is then no axis
    for name, rows in table.groupby("method"):
        columns = ("nll", "elbo", "reconstruction", "mse")
        figures = {c: [None if v != v else float(v) for v in rows[c]] for c in columns if c in rows}
        found[str(name)] = figures | {"commit": made_by[str(name)]}
    return found


def made_by(commits: dict[str, str]) -> str:
    """Which commit made which method's row."""
    usual, *others = (commit for commit, _ in Counter(commits.values()).most_common())
    of = [f"{', '.join(name for name in commits if commits[name] == other)} by {other}" for other in others]
    return (
        f"Made by commit {usual}{'; ' if of else ''}{', '.join(of)} (--methods)." if of else f"Made by commit {usual}."
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=Path("runs/family"), help="the sweep's folder [runs/family]")
    parser.add_argument("--methods", help="only these, separated by commas; the others keep their figures [all]")
    parser.add_argument("--page", action="store_true", help="measure nothing: only make the page from the figures")
    args = parser.parse_args()
    file = HERE / "methods.json"
    if not args.page:
        file.write_text(json.dumps(figures(args.run, args.methods, file), indent=1) + "\n")
    (HERE / "methods.md").write_text(whole_page(file))
    print(HERE / "methods.md")


def figures(folder: Path, wanted: str | None, file: Path) -> dict[str, Any]:
    """What the methods reach: of those that are not `wanted`, what `file` has."""
    names, kept = list(methods.entries()), {}
    if wanted:
        names = wanted.split(",")
        folder = folder.with_name("-".join([folder.name, *names]))
        kept = json.loads(file.read_text())["methods"] if file.exists() else {}
    measured = {**kept, **measure(folder, names)}
    ordered = {name: measured[name] for name in methods.entries() if name in measured}
    about = f"{ABOUT} {made_by({name: of.get('commit', 'unknown') for name, of in ordered.items()})}"
    return {"about": about, "command": "python -m experiments.methods", "methods": ordered}


def whole_page(file: Path) -> str:
    return f"# The autoencoders\n\n{page(list(methods.entries()), file)}\n"


if __name__ == "__main__":
    finish(main)
