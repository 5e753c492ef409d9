"""The page of all methods, in Markdown: what each minimises, keeps and sees, and what it reaches at one budget."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxae import axis, likelihoods, methods, networks, random
from jaxae.errors import InputError
from jaxae.files import ANY, NUMBER, read_json
from jaxae.types import Batch, Method

HEAD = ("method", "loss, in nats an example", "state", "what couples the batch")
MEASURED = {"about": str, "command": str, "methods": {ANY: {"commit": str, ANY: [NUMBER]}}}
SHAPE = (8, 8, 1)
COLUMNS = {"nll": "test NLL", "reconstruction": "reconstruction", "mse": "MSE a dimension"}


def page(names: Sequence[str], measured: Path) -> str:
    """A row for each of `names`, with what `measured` has of it, the file that experiments/methods.py writes."""
    found = _measured(measured)
    head = [*HEAD, *COLUMNS.values()]
    lines = [_line(head), _line("---" for _ in head), *(_line(_row(name, found)) for name in names)]
    return "\n".join([found["about"], "", f"    {found['command']}", "", *lines])


def _measured(file: Path) -> dict[str, Any]:
    found = read_json(file, MEASURED)
    if missing := MEASURED.keys() - found.keys():
        raise InputError(f"{file}: it has no {min(missing)}: expected what experiments/methods.py writes")
    return found


def _row(name: str, found: dict[str, Any]) -> list[str]:
    entry = methods.entry(name)
    method = small(name)
    state, coupled = anatomy(method)
    couples = entry.couples if coupled else "nothing"
    values = found["methods"].get(name, {})
    figures = {column: _figure(values.get(column), 5 if column == "mse" else 2) for column in COLUMNS}
    if figures["nll"] and method.given is not None:
        figures["nll"] += ", of p(x | y)"
    if figures["reconstruction"] and entry.reconstruction:
        figures["reconstruction"] += f", {entry.reconstruction}"
    about = f"**{entry.name}**: {entry.summary} {entry.citation}"
    return [about, f"`{entry.objective}`", ", ".join(state), couples, *figures.values()]


def small(name: str) -> Method:
    """The method of a small net."""
    net = networks.make("mlp", SHAPE, 16, likelihoods.bernoulli(), width=8)._replace(examples=64, classes=10)
    return methods.factory(name)(net)


def anatomy(method: Method) -> tuple[list[str], bool]:
    """(the entries of a method's state, beside its likelihood's; whether its loss reaches across the batch)."""
    index = np.arange(4, dtype=np.int32)
    batch = Batch(jax.numpy.zeros((4, *SHAPE)), jax.numpy.asarray(index), jax.numpy.asarray(index))
    key = jax.random.key(0)
    variables = jax.eval_shape(method.init, key, batch)

    def loss(variables: Any) -> Any:
        return method.loss(variables, random.example_keys(key, 0, batch.index), batch, jax.numpy.zeros((), int))

    coupled = axis.couples(lambda: jax.eval_shape(loss, variables))
    return [entry for entry in variables.state if entry != "likelihood"], coupled


def _figure(values: Sequence[float | None] | None, digits: int) -> str:
    """The mean over the seeds that have a value, and their standard deviation; their number, where some have none."""
    there = [value for value in values or () if value is not None]
    if not there:
        return ""
    some = f" (n = {len(there)})" if len(there) < len(values or ()) else ""
    return f"{np.mean(there):.{digits}f}" + (f" ± {np.std(there, ddof=1):.{digits}f}" if there[1:] else "") + some


def _line(cells: Any) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"
