"""Measures of the user's own, an example's by itself: compiled once, measured for a run or every member of a sweep, and
compared over seeds like those that jaxae has."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from jaxae import own as users
from jaxae.errors import InputError
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.means import mean, standard_error
from jaxae.evaluate.measures import MEASURES, NOT_MEASURES, NOT_NUMBERS
from jaxae.names import OF_TABLES, OWN_MEASURE

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
    title, sha256, function = users.short(spec), users.sha256(spec), users.function(spec)

    def named(method, variables, keys, batch, step) -> dict[str, Array]:
        with users.told(title, file, but=OF_JAX):
            found = function(method, variables, keys, batch)
            numbers = found if isinstance(found, Mapping) else {name: found}
            return {str(key): jnp.asarray(value) for key, value in numbers.items()}

    shapes, examples, metrics = _shapes(bench, named, title)
    _check(shapes, examples, {*MEASURES, *NOT_MEASURES, *NOT_NUMBERS, *OF_TABLES, *metrics, *taken}, title)
    each, settings = bench.over(named), {"measures": ", ".join(shapes), "sha256": sha256}

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        found = []
        for of in each(models, bench.view(bench.split)):
            values = {key: np.asarray(value, np.float64) for key, value in of.items()}
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
        said = str(error).split("\n")[0]
        raise InputError(f"{title}: not to be compiled: expected jax.numpy, and no `if` of a value: {said}") from error
    return shapes, len(batch.x), set(metrics)


def _check(shapes: dict[str, Any], examples: int, taken: Collection[str], title: str) -> None:
    """Raises InputError unless there are measures, each of a name of its own and a number an example."""
    if not shapes:
        raise InputError(f"{title}: no measure: expected at least one")
    for name, of in shapes.items():
        if not name.isidentifier() or name.endswith("_se") or name in taken:
            why = "there is one of that name" if name in taken else "no name of a measure"
            raise InputError(f"{title}: measure {name!r}: {why}: expected another, like sharpness")
        real = jnp.issubdtype(of.dtype, jnp.number) and not jnp.issubdtype(of.dtype, jnp.complexfloating)
        if of.shape != (examples,) or not (real or of.dtype == bool):
            what = f"{of.dtype}{list(of.shape)} for {examples} examples"
            raise InputError(f"{title}: {name}: {what}: expected [{examples}], a real number each")
