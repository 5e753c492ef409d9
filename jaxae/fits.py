"""Whether the parts of a run fit each other: config and data, weights and method, the user's own code and what trains
it. Each check raises InputError where they do not, before anything is trained."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import own
from jaxae.config import Config
from jaxae.data.source import Source
from jaxae.errors import InputError
from jaxae.names import SPLITS
from jaxae.schedules import at_step
from jaxae.setup import Setup
from jaxae.types import Objective

LOOKED_AT = 33  # steps of a schedule, from the first to the last


def check_data(config: Config, source: Source) -> None:
    """The data has what the batch size and the likelihood ask of it."""
    if config.batch_size > len(source.train):
        raise InputError(
            f"batch_size {config.batch_size}: {source.name} has {len(source.train)} training examples; "
            "expected no more than that"
        )
    if config.likelihood == "discretised_logistic" and source.decode is None and source.train.rows.dtype != np.uint8:
        raise InputError(
            f"likelihood discretised_logistic needs 256 grey levels (uint8); {source.name} has "
            f"{source.train.rows.dtype}: choose a gaussian"
        )


def check_weights(setup: Setup) -> None:
    """The method takes its weights: the numbers, and what the schedules come to on their way. In the compiled step they
    are tracers, which no method can look at."""
    moving = {name: weight for name, weight in setup.weights.items() if callable(weight) and name != "learning_rate"}
    if not moving:
        _ = setup.method
    for step in np.linspace(0, setup.total - 1, LOOKED_AT).astype(int) if moving else ():
        numbers = {name: float(at_step(weight, int(step))) for name, weight in moving.items()}
        try:
            with jax.ensure_compile_time_eval():
                setup.make(numbers)
        except InputError as error:
            shown = ", ".join(f"{name} {setup.config.hyperparameters[name]}" for name in moving)
            raise InputError(f"{shown}, at step {step:,}: {error}") from None


def check_labels(setup: Setup) -> None:
    """A method that is told the label meets none of which it has no training example."""
    source = setup.source
    for name in SPLITS:
        if new := sorted(set(source.split(name).labels.tolist()) - {*setup.net.seen, -1}):
            raise InputError(
                f"{source.name}: label {new[0]} is in its {name} split, and no training example has it: expected the "
                "classes of the training split (-1: unknown)"
            )


def check_parts(setup: Setup) -> None:
    """Modules or a method of the user's own make images of the data's shape, an Objective, and a number an example."""
    batch, method, name = next(setup.view("train").batches()), setup.method, own.short(setup.config.method)
    variables, keys = setup.shapes().variables, setup.view("train").keys(batch, "noise")
    made = jax.eval_shape(method.reconstruct, variables, batch)
    if made.shape != batch.x.shape:
        raise InputError(
            f"the decoder makes images of shape {made.shape[1:]}: expected {batch.x.shape[1:]}, the data's"
        )
    objective = jax.eval_shape(method.loss, variables, keys, batch, jnp.asarray(0))
    if not isinstance(objective, Objective):
        raise InputError(f"{name}: its loss is a {type(objective).__name__}: expected a jaxae.types.Objective")
    for metric, value in {"loss": objective.loss, **objective.metrics}.items():
        if value.shape != (len(batch.x),):
            raise InputError(
                f"{name}: {metric} has shape {list(value.shape)}: expected one number an example, [{len(batch.x)}] here"
            )
    if taken := {"loss", "grad_norm"} & set(objective.metrics):
        raise InputError(f"{name}: a metric {min(taken)}: every run has one of that name: rename it")
