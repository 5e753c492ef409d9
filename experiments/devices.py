"""Every method on an accelerator, twice, and on the CPU beside it: one digest, and the same losses?

    python -m experiments.devices --json experiments/devices_h100.json     # some minutes on a GPU with 16 cores
    python -m experiments.devices --json experiments/devices_h100.json --methods vae,mine   # the others keep theirs
    python -m experiments.devices --json experiments/devices_h100.json --page    # only the page, from the rows

The digits, 300 steps, the defaults of each method, one seed; matrix products in float32 (`highest`), where a GPU would
else take TF32. The two runs on the accelerator are of two processes, each of which compiles afresh. Losses are those of
the log, means over ten steps; test measures are those that a run closes with. Where training amplifies rounding, losses
part with the steps: the first ten tell whether the two compute the same thing.
"""

import argparse
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import jax

from experiments.ledger import commit, markdown, one_machine
from jaxae import Config, log, methods, run
from jaxae.cli import finish
from jaxae.errors import at_least_one, known
from jaxae.files import check_out, read_json, write_json

STEPS, EVERY, SAMPLES = 300, 10, 64
MEASURES = ("nll", "elbo", "reconstruction")
"""The first that a method has is shown."""


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--json", type=Path, required=True, help="the rows; the page is written beside it")
    words.add_argument("--methods", help="only these, separated by commas; the others keep their rows [all]")
    words.add_argument("--jobs", type=int, default=4, help="runs at a time on the accelerator, for each of the two [4]")
    words.add_argument("--page", action="store_true", help="measure nothing: only make the page from the rows")
    args = words.parse_args()
    check_out(args.json, (".json",))  # before an hour on a device
    names = args.methods.split(",") if args.methods else list(methods.entries())
    for name in names:
        known("method", name, methods.entries())
    at_least_one(jobs=args.jobs)
    if not args.page:
        kept = read_json(args.json) if args.methods and args.json.is_file() else {}
        write_json(args.json, measure(names, args.jobs, kept, args.json))
    args.json.with_suffix(".md").write_text(page(read_json(args.json)))


def measure(names: list[str], jobs: int, kept: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The record, with what was `kept` of other methods in the file."""
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the device's memory is for all of them
    made_by, spawn = commit(), multiprocessing.get_context("spawn")
    cpu = ProcessPoolExecutor(jobs, spawn, start, ("cpu",))
    first, second = (ProcessPoolExecutor(jobs, spawn, start, (None,)) for _ in range(2))
    with cpu, first, second:
        device = first.submit(kind).result()
        one_machine(file, kept, device=device, jax=jax.__version__)
        asked = {name: [pool.submit(trained, name) for pool in (first, second, cpu)] for name in names}
    found = {}
    for name, of in asked.items():
        if failed := [why for future in of if (why := future.exception())]:
            print(f"{name}: not measured: {failed[0]}", file=sys.stderr)
        else:
            found[name] = row(*(future.result() for future in of)) | {"commit": made_by}
    rows = {**kept.get("methods", {}), **found}
    ordered = {name: rows[name] for name in methods.entries() if name in rows}
    command = "python -m experiments.devices --json FILE"
    return {"device": device, "jax": jax.__version__, "steps": STEPS, "command": command, "methods": ordered}


def start(platform: str | None) -> None:
    """Of a process, before it touches a device. It ends with who has asked for it, whom alone an interrupt concerns."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=end_with, args=(multiprocessing.parent_process(),), daemon=True).start()
    if platform:
        jax.config.update("jax_platforms", platform)
    jax.config.update("jax_default_matmul_precision", "highest")


def end_with(parent: Any) -> None:
    parent.join()
    os._exit(1)


def kind() -> str:
    return jax.devices()[0].device_kind


def trained(name: str) -> dict[str, Any]:
    """The run's digest, logged losses and test measures."""
    config = Config(
        data="digits", method=name, steps=STEPS, log_every=EVERY, samples=SAMPLES, validate_every=STEPS,
        checkpoint_every=STEPS,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        made = run.train(config, Path(folder) / "run")
        losses = [row["loss"] for row in log.read(made.folder.metrics_file) if "loss" in row]
        measures = run.evaluate_run(made, samples=SAMPLES)
        return {"digest": run.final_digest(made), "losses": losses, "measures": measures}


def row(first: Mapping[str, Any], second: Mapping[str, Any], cpu: Mapping[str, Any]) -> dict[str, Any]:
    """What the three runs of a method show beside each other. Differences are relative."""
    apart = [abs(a - b) / abs(b) for a, b in zip(first["losses"], cpu["losses"], strict=True)]
    measure = next(name for name in MEASURES if first["measures"].get(name) is not None)
    return {
        "one_digest": first["digest"] == second["digest"] and first["losses"] == second["losses"],
        "first_losses_apart": apart[0],
        "losses_apart": max(apart),
        "measure": measure,
        "accelerator": first["measures"][measure],
        "cpu": cpu["measures"][measure],
    }


def page(record: Mapping[str, Any]) -> str:
    """Markdown, the methods in the order of their names."""
    rows = record["methods"]
    same = [name for name, of in rows.items() if of["one_digest"]]
    commits = sorted({of["commit"] for of in rows.values()})
    about = (
        f"{record['device']}, jax {record['jax']}, commit {', '.join(commits)}; how: `experiments/devices.py`. "
        f"{len(same)} of {len(rows)} methods had one digest and one log in two runs there. *Apart*: the largest "
        f"relative difference of a loss from the CPU's, in the first {EVERY} steps and in all {record['steps']}."
    )
    cells = []
    for name, of in rows.items():
        apart = [f"{of[which]:.0e}" for which in ("first_losses_apart", "losses_apart")]
        digest = "yes" if of["one_digest"] else "**no**"
        cells.append((name, digest, *apart, of["measure"], f"{of['accelerator']:.3f}", f"{of['cpu']:.3f}"))
    head = ("method", "one digest", "apart, first", "apart, all", "test measure", "device", "CPU")
    title, table = "# Every method on an accelerator and on a CPU", markdown(head, cells)
    return f"{title}\n\n{about}\n\n{table}\n\n    {record['command']}\n"


if __name__ == "__main__":
    finish(main)
