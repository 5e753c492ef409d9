"""`jaxae evaluate` and `jaxae digest`: what a finished run is worth, and the line that identifies it."""

import json as json_module

import click

from jaxae.cli.member import run_argument
from jaxae.errors import InputError
from jaxae.names import SPLITS


@click.command(short_help="ELBO, NLL with its error, MSE")
@run_argument()
@click.option("--split", default="test", help=f"{', '.join(SPLITS)} [test]")
@click.option("--samples", type=int, default=128, help="importance samples an example [128]")
@click.option("--checkpoint", default="auto", help="last, best or a step [last; best where the run has a patience]")
@click.option("--seed", type=int, default=0, help="of the held-out pixels' and samples' noise [0]")
@click.option("--json", is_flag=True, help="one JSON object on standard output")
def evaluate(run_dir: str, split: str, samples: int, checkpoint: str, seed: int, json: bool) -> None:
    """ELBO and its terms, importance-weighted NLL with its Monte Carlo error, and MSE of the run in RUN."""
    if split not in SPLITS:
        raise InputError(f"split {split!r}: expected {', '.join(SPLITS)}")
    if samples < 2:
        raise InputError(f"samples {samples}: expected at least 2")
    if not 0 <= seed < 2**32:
        raise InputError(f"seed {seed}: expected 0 to {2**32 - 1}")
    from jaxae import run

    trained = run.load(run_dir, checkpoint)
    measures = run.evaluate_run(trained, split, samples, seed)
    if (split, checkpoint, seed) == ("test", "auto", 0):
        run.store(trained, measures)
    if json:
        click.echo(json_module.dumps(measures))
        return
    for name, value in measures.items():
        click.echo(f"{name:<20}{'-' if value is None else f'{value:.5f}' if isinstance(value, float) else value}")


@click.command(short_help="one line to compare results by")
@run_argument()
@click.option("--checkpoint", default="last", help="last, best or a step [last]")
def digest(run_dir: str, checkpoint: str) -> None:
    """SHA-256 over the final parameters (names, shapes, dtypes, bytes): two people compare a result by this line."""
    from jaxae import run

    click.echo(run.final_digest(run.load(run_dir, checkpoint)))
