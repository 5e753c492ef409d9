"""Whether the settings of a run fit each other and its data. Each check raises InputError where they do not, before
anything is trained."""

from collections.abc import Callable, Collection, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import compiler
from jaxae.config import Config
from jaxae.data.source import Source
from jaxae.errors import InputError
from jaxae.names import SPLITS
from jaxae.schedules import at_step
from jaxae.setup import Setup

LOOKED_AT = 33  # steps of all schedules together, from the first to the last
SEARCHED = 10_000  # steps of each, for its least and its greatest value


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


def doubts(config: Config, setup: Setup) -> list[str]:
    """What fits, and may not be meant. `config` is as it was given."""
    without = config.optimizer == "adamw" and not config.weight_decay
    decay = "adamw without a weight decay is adam: --weight-decay 0.01 or so makes it another" if without else None
    found = (_colours_as_bits(config, setup), *_unfinished(setup), decay, _other_threads(config))
    return [doubt for doubt in found if doubt]


def _other_threads(config: Config) -> str | None:
    """Of what is to be the same on any number of devices, that the number of threads is another here."""
    pool = compiler.threads()
    if not config.exact or pool == compiler.threads_asked():
        return None
    return (
        f"{pool} devices share {compiler.threads_asked()} threads: XLA makes {pool} of them, and bits may depend on "
        f"that: set NPROC={pool} here and where it is repeated on fewer devices"
    )


def _unfinished(setup: Setup) -> Iterator[str]:
    """Schedules that come to an end, which lies beyond the run's, or whose period is one step."""
    for name, weight in setup.weights.items():
        text = str({"learning_rate": setup.config.learning_rate, **setup.config.hyperparameters}.get(name))
        if (
            callable(weight)
            and text.startswith("cyclic")
            and len({float(weight(jnp.asarray(s))) for s in range(4)}) == 1
        ):
            yield f"{name} stays at {float(weight(jnp.asarray(0))):.3g}: the period of {text} is one step"
        if callable(weight) and not text.startswith(("cyclic", "step")):
            last, end = (float(weight(jnp.asarray(step))) for step in (setup.total, 2**30))
            if last != end:
                short = f"{text} is longer than the run, {setup.total:,} steps"
                yield f"{name} ends at {last:.3g} and not at {end:.3g}: {short}"


def _colours_as_bits(config: Config, setup: Setup) -> str | None:
    """What is to be said where colours are drawn as bits, and nobody asked for it."""
    asked, channels = (config.binarize, config.likelihood) != (None, None), setup.source.shape[2]
    if asked or setup.config.binarize != "dynamic" or channels < 3:
        return None
    return (
        f"{setup.source.name} has {channels} channels, whose values are drawn as bits (--binarize dynamic): "
        "for colours as they are, --likelihood discretised_logistic or gaussian_learned"
    )


def check_weights(setup: Setup) -> None:
    """The method takes its weights: the numbers, and what the schedules come to on their way. In the compiled step they
    are tracers, which no method can look at."""
    moving = setup.moving
    if not moving:
        _ = setup.method
    for step in _telling(moving.values(), setup.total):
        numbers = {name: float(at_step(weight, int(step))) for name, weight in moving.items()}
        try:
            with jax.ensure_compile_time_eval():
                setup.make(numbers)
        except InputError as error:
            shown = ", ".join(f"{name} {setup.config.hyperparameters[name]}" for name in moving)
            raise InputError(f"{shown}, at step {step:,}: {error}") from None


def _telling(schedules: Collection[Callable], total: int) -> list[int]:
    """Steps by which schedules are judged: evenly spread, and those of each one's least and greatest value."""
    if not schedules:
        return []
    spread = np.linspace(0, total - 1, LOOKED_AT).astype(int)
    searched = np.linspace(0, total - 1, SEARCHED).astype(int)
    values = [np.asarray(schedule(searched)) for schedule in schedules]
    ends = [searched[at] for of in values for at in (of.argmin(), of.argmax())]
    return sorted({*spread.tolist(), *map(int, ends)})


def check_sizes(setup: Setup) -> None:
    """A loss that compares examples with each other has two of them in every batch."""
    sizes = {"batch_size": setup.config.batch_size}
    sizes |= {split: len(setup.source.split(split)) for split in ("validation", "test")}
    alone = [name for name, size in sizes.items() if size == 1]
    if not (alone and setup.entry.couples):
        return
    view, variables = setup.view("validation"), setup.shapes().variables
    batch = view.take(view.only[:1])
    try:
        jax.eval_shape(setup.method.loss, variables, view.keys(batch, "noise"), batch, jnp.zeros((), jnp.int32))
    except InputError as error:
        raise InputError(f"{alone[0]} 1: {error}") from None


def check_labels(setup: Setup) -> None:
    """A method that is told the label meets none of which it has no training example, and has room for all."""
    source, net = setup.source, setup.net
    if net.seen and max(net.seen) >= (net.classes or 0):
        raise InputError(
            f"net: {net.classes} classes, but {source.name} has the label {max(net.seen)}: expected at least "
            f"{max(net.seen) + 1}, or that nothing is said of them"
        )
    for name in SPLITS:
        if new := sorted(set(source.split(name).labels.tolist()) - {*setup.net.seen, -1}):
            raise InputError(
                f"{source.name}: label {new[0]} is in its {name} split, and no training example has it: expected the "
                "classes of the training split (-1: unknown): leave it out, or give splits of your own"
            )


def check_source(source: Source | None) -> None:
    if source is not None and not isinstance(source, Source):
        raise InputError(f"source: a {type(source).__name__}: expected data that was read, or data.arrays(x, y)")
