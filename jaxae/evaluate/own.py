"""Measures of the user's own, an example's by itself: compiled once, measured for a run or every member of a sweep, and
compared over seeds like those that jaxae has."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxae import methods
from jaxae import own as users
from jaxae.config import Config
from jaxae.errors import InputError, first_line
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.means import mean, standard_error
from jaxae.evaluate.measures import MEASURES, NOT_MEASURES, NOT_NUMBERS
from jaxae.names import OF_TABLES, OWN_MEASURE
from jaxae.purity import EXAMPLES, apart, is_apart, traced

TAKEN = (*MEASURES, *NOT_MEASURES, *NOT_NUMBERS, *OF_TABLES)
ROUNDING = 5e-2  # of the largest number, by which an example may differ from itself alone: bfloat16's
OF_JAX = (jax.errors.JAXTypeError, jax.errors.JaxRuntimeError)  # of tracing, and of a device: memory that is full


def own(spec: str, bench: Bench, taken: Collection[str] = ()) -> tuple[Group, list[str]]:
    """The group of a function in the user's file, `path/to/mine.py:measure`: of a `jaxae.types.Method`, the variables
    of a trained model, a key an example, and a Batch of images, it gives [batch] numbers, whose measure has the
    function's name, or several by name. It is compiled, so it is written in jax.numpy. Of each measure the mean over
    the split is kept, with the standard error that comes from the choice of examples (NAME_data_se); and the SHA-256 of
    the file, by which numbers of two versions are told apart. And the measures' names.

    The file is run: pass only what the user has named. `taken`: names that other measures have. Raises InputError,
    before anything is computed, where there is no such function, or where what it gives has another shape or a name
    that is taken.
    """
    file, name = users.split(spec)
    users.definition(file, name, OWN_MEASURE)
    title, sha256 = users.short(spec), users.sha256(spec)
    function = users.function(spec)

    def named(method, variables, keys, batch, step) -> dict[str, Array]:
        with users.told(title, file, but=OF_JAX):
            found = function(method, variables, keys, batch)
            numbers = found if isinstance(found, Mapping) else {name: found}
            for key, value in numbers.items():
                if value is None or isinstance(value, Mapping):
                    raise InputError(f"{title}: {key}: a {type(value).__name__}: expected a number an example")
            return {str(key): jnp.asarray(value) for key, value in numbers.items()}

    shapes, examples, metrics = _shapes(bench, named, title)
    _check(shapes, examples, {*TAKEN, *_of_configs(bench.name), *metrics, *taken}, title)
    each = bench.over(named)
    settings = {"measures": ", ".join(shapes), "sha256": sha256, "file": users.absolute(spec)}

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        _try(bench, models[0], named, title)
        found = []
        for of in each(models, bench.view(bench.split)):
            values = {key: np.asarray(value, np.float64) for key, value in of.items()}
            with np.errstate(invalid="ignore"):  # what is not finite is noted
                means = {key: mean(value) for key, value in values.items()}
                errors = {f"{key}_data_se": standard_error(value) for key, value in values.items()}
            found.append({**means, **errors, "settings": settings})
        return found

    return measure, list(shapes)


def _shapes(bench: Bench, named: Callable[..., dict[str, Array]], title: str) -> tuple[dict[str, Any], int, set[str]]:
    """Of what the function gives for a first batch, of how many examples; and the names of what the method's own loss
    tells. Nothing is computed."""
    view, method = bench.view(bench.split), bench.method
    batch = next(view.batches())
    keys, step = view.keys(batch, "noise"), jnp.zeros((), jnp.int32)
    variables = jax.eval_shape(lambda keys: method.init(keys[0], batch), keys)
    try:
        shapes = jax.eval_shape(lambda *given: named(method, *given), variables, keys, batch, step)
        metrics = jax.eval_shape(lambda *given: method.loss(*given).metrics, variables, keys, batch, step)
    except jax.errors.JAXTypeError as error:
        said = first_line(error)
        raise InputError(f"{title}: not to be compiled: expected jax.numpy, and no `if` of a value: {said}") from error
    return shapes, len(batch.x), set(metrics)


def _try(bench: Bench, model: Model, named: Callable[..., dict[str, Array]], title: str) -> None:
    """Raises InputError where it draws without its keys, or looks at an example's neighbours."""
    method, view = bench.make(model.numbers), bench.view(bench.split)
    few, step = view.take(view.only[:EXAMPLES]), jnp.asarray(model.step)
    keys = view.keys(few, "noise")

    def of(keys, batch):
        return named(method, model.variables, keys, batch, step)

    if traced(of, keys, few) != traced(of, keys, few):
        raise InputError(
            f"{title}: each time that it is compiled it is another program, as numpy.random and Python's random make "
            "it: expected jax.random, with the keys that are given"
        )
    together, alone = jax.jit(lambda *examples: apart(of, examples))(keys, few)
    if not is_apart(together, alone, ROUNDING):
        raise InputError(
            f"{title}: of {len(few.x)} examples together it is not what it is of each alone: expected nothing that "
            "looks at the others in a batch, such as a mean over its first axis, and each example's own key"
        )


def _of_configs(method: str) -> set[str]:
    """Settings of runs, which their measures stand beside in tables."""
    entries = [*methods.entries().values(), methods.entry(method)]
    return {f.name for f in fields(Config)} | {h.name for entry in entries for h in entry.hyperparameters}


def _check(shapes: dict[str, Any], examples: int, taken: Collection[str], title: str) -> None:
    """Raises InputError unless there are measures, each of a name of its own and a number an example."""
    if not shapes:
        raise InputError(f"{title}: no measure: expected at least one")
    for name, of in shapes.items():
        if not name.isidentifier() or name.endswith(("_se", "_code")) or name in taken:
            why = "there is one of that name" if name in taken else "no name of a measure"
            raise InputError(f"{title}: measure {name!r}: {why}: expected another, like sharpness")
        real = jnp.issubdtype(of.dtype, jnp.number) and not jnp.issubdtype(of.dtype, jnp.complexfloating)
        if of.shape != (examples,) or not (real or of.dtype == bool):
            what = f"{of.dtype}{list(of.shape)} for {examples} examples"
            raise InputError(f"{title}: {name}: {what}: expected [{examples}], a real number each")
