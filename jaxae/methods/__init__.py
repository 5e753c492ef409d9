"""The registry: one file a method, found by reading its siblings, not by importing them.

`methods/NAME.py` defines the factory `NAME(net, *, hyperparameters) -> Method`; its docstring says what it is, cites
its source and gives its loss; keyword-only arguments are its hyperparameters; a literal `DEFAULTS` names the network,
likelihood and binarisation that suit it, where they are others than most methods'. Since the files are parsed and not
run, `--help` and a wrong flag answer at once, without jax.
A method in the user's own file is `path/to/mine.py:mine`, and no different.
"""

import ast
import importlib
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from jaxae import own
from jaxae.errors import InputError, known

DEFAULTS = {"network": "mlp", "likelihood": "bernoulli", "binarize": "dynamic"}


@dataclass(frozen=True)
class Hyperparameter:
    """A method's own setting, as its file declares it."""

    name: str
    default: Any
    scheduled: bool
    """Whether it is a Weight: a real number, traced under a sweep, or a schedule."""
    help: str


@dataclass(frozen=True)
class Entry:
    """What the registry knows of a method without importing it."""

    name: str
    summary: str
    citation: str
    objective: str
    """The equation of the loss."""
    couples: str
    """What of an example's loss or of the state depends on the others in its batch; empty where nothing does."""
    moves: str
    """What training moves under the loss, so that its values at different steps do not compare; empty where nothing."""
    reconstruction: str
    """What of the reconstruction loss is not as in other methods; empty where it is of the image that is encoded."""
    codes: str
    """What its codes are, where they are no vectors of which any may come out; empty where they are."""
    hyperparameters: tuple[Hyperparameter, ...]
    defaults: dict[str, Any] = field(default_factory=dict)


@cache
def entries() -> dict[str, Entry]:
    """Every registered method, by name."""
    files = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return {file.stem: read(file, file.stem) for file in files}


def entry(name: str) -> Entry:
    """The method of that name, or of the user's own FILE.py:NAME, whose file is not run. Raises InputError."""
    if own.is_own(name):
        return read(*own.split(name))
    known("method", name, entries())
    return entries()[name]


def factory(name: str) -> Any:
    """The factory `(net, *, hyperparameters) -> Method`, imported now."""
    if own.is_own(name):
        return own.function(name)
    return getattr(importlib.import_module(f"jaxae.methods.{entry(name).name}"), name)


def read(file: Path, name: str, form: str = "(net, *, ...) -> Method") -> Entry:
    """Parses a method's file. The docstring: first line, summary; first paragraph, with the citation; then the
    equation, `loss = ...`; lines `name: text` describe the hyperparameters, `couples: text` what couples the batch,
    `moves: text` what moves under the loss, `reconstruction: text` what its reconstruction loss is of, `codes: text`
    what its codes are. `form`: of the function."""
    tree, node = own.definition(file, name, form)
    doc, args = ast.get_docstring(node) or "", node.args
    first, _, rest = doc.partition("\n")
    hyper = [
        Hyperparameter(arg.arg, _default(arg, default, file), _is_weight(arg), _line(doc, arg.arg))
        for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True)
    ]
    citation = rest.strip().split("\n\n")[0].replace("\n", " ")
    equation = next((part for part in doc.split("\n\n") if part.startswith("loss = ")), "")
    objective = " ".join(equation.split()).partition(", in nats")[0]
    couples, moves, of, codes = (_line(doc, name) for name in ("couples", "moves", "reconstruction", "codes"))
    defaults = {**DEFAULTS, **_defaults(tree, file)}
    return Entry(name, first.strip(), citation, objective, couples, moves, of, codes, tuple(hyper), defaults)


def _default(arg: ast.arg, default: ast.expr | None, file: Path) -> int | float | str:
    """A hyperparameter's: a literal, for it must be known without running the file."""
    try:
        value = None if default is None else ast.literal_eval(default)
    except ValueError:
        value = None
    if isinstance(value, int) and not isinstance(value, bool) and _annotation(arg) == "float":
        value = float(value)
    if not isinstance(value, int | float | str):
        said = "no default" if default is None else f"the default {ast.unparse(default)}"
        raise InputError(f"{file.name}: hyperparameter {arg.arg} has {said}: expected a literal number or text")
    return value


def _is_weight(arg: ast.arg) -> bool:
    return _annotation(arg).rpartition(".")[2] == "Weight"


def _annotation(arg: ast.arg) -> str:
    """As text, also where it stands in quotes."""
    return "" if arg.annotation is None else ast.unparse(arg.annotation).strip("'\"")


def _line(doc: str, name: str) -> str:
    lines = [line.strip() for line in doc.splitlines()]
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def _defaults(tree: ast.Module, file: Path) -> dict[str, Any]:
    for node in tree.body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if getattr(target, "id", None) == "DEFAULTS":
            try:
                found = ast.literal_eval(node.value)  # type: ignore[attr-defined]
            except ValueError:
                found = None
            if not isinstance(found, dict) or not all(k in DEFAULTS and isinstance(v, str) for k, v in found.items()):
                raise InputError(f"{file.name}: DEFAULTS: expected a literal dict, each a name: {', '.join(DEFAULTS)}")
            return found
    return {}
