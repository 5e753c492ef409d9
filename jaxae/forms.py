"""The forms that code of the user's own must have: modules and likelihoods, a method, an update rule. Each check raises
InputError where they have another, before anything is trained."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from jaxae import axis, own, random, trials
from jaxae.errors import InputError, first_line, whole
from jaxae.parts import told
from jaxae.setup import Setup
from jaxae.types import Batch, Keys, Likelihood, LogWeight, Net, Normal, Objective, PyTree, Variables
from jaxae.values import said

_OF_TRACERS = (
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerArrayConversionError,
    jax.errors.TracerIntegerConversionError,
)
LOGGED = {"loss", "grad_norm", "step", "epoch", "learning_rate", "examples_per_second"}
"""Names in every row of a log: no metric of the user's own may have one of them."""
MEASURED = {
    "nll", "mse", "bits_per_dim", "samples", "split", "examples", "evaluation_seed", "digest", "notes", "settings",
}  # fmt: skip
"""Names in evaluation.json that are jaxae's: no metric of a method without a density, which is kept there, either."""


def check_net(net: Net, name: str = "net") -> None:
    """It is a Net of linen modules and a likelihood; `name`: what a refusal calls it."""
    if not isinstance(net, Net):
        raise InputError(f"{name}: a {type(net).__name__}: expected a jaxae.types.Net")
    if not isinstance(net.likelihood, Likelihood):
        raise InputError(f"{name}: its likelihood is none: expected one such as jaxae.likelihoods.bernoulli()")
    if not isinstance(net.decoder, nn.Module):
        raise InputError(f"{name}: its decoder is no linen module: expected one that is made, such as Decoder()")
    if isinstance(net.encoder, nn.Module) or not callable(net.encoder):
        raise InputError(
            f"{name}: its encoder is made already: expected what makes it, outputs -> module, such as Encoder"
        )
    whole(f"{name}: latent", net.latent, 1)
    with told("encoder"):
        made = net.encoder(net.latent)
    if not isinstance(made, nn.Module):
        raise InputError(f"{name}: its encoder makes no linen module: expected outputs -> module")


def check_likelihood(likelihood: Likelihood, spec: str, shape: tuple[int, int, int]) -> None:
    """The user's own, FILE.py:NAME, gives what its form says, of images of that shape."""
    name, of_device = own.short(spec), (jax.errors.JaxRuntimeError,)

    def shapes(what: str, *arguments: Any) -> Any:
        with own.told(f"{name}: {what}", own.split(spec)[0], but=of_device):
            return jax.eval_shape(getattr(likelihood, what), *arguments)

    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    keys, started = jax.random.split(jax.random.key(0)), shapes("init")
    if not isinstance(started, Variables):
        raise InputError(f"{name}: init gives a {type(started).__name__}: expected jaxae.types.Variables")
    wanted: dict[str, tuple[tuple[Any, ...], tuple[int, ...]]] = {
        "bias": ((jax.ShapeDtypeStruct(shape, jnp.float32),), shape),
        "log_prob": ((started, images, images), (2,)),
        "mean": ((started, images), images.shape),
        "draw": ((started, keys, images), images.shape),
    }
    for what, (arguments, expected) in wanted.items():
        made = shapes(what, *arguments)
        if getattr(made, "shape", None) != expected or not jnp.issubdtype(made.dtype, jnp.floating):
            raise InputError(
                f"{name}: {what} gives {_form(made)}: expected real numbers of shape {list(expected)} here"
            )
    fitted = shapes("fit", started, images, images)
    if not (isinstance(fitted, tuple) and len(fitted) == 2 and isinstance(fitted[0], Variables)):
        raise InputError(f"{name}: fit gives {_form(fitted)}: expected Variables, and the state to keep")
    if _form(fitted[1]) != _form(started.state):
        raise InputError(f"{name}: fit keeps {_form(fitted[1])}: expected the state of init, {_form(started.state)}")
    variables, out = likelihood.init(), jnp.zeros((1, *shape))
    one, other = (jax.tree.leaves(likelihood.fit(variables, out, jnp.full_like(out, x))) for x in (0.25, 0.75))
    finds = not all(map(np.array_equal, one, other))
    if finds and not axis.couples(lambda: likelihood.fit(variables, out, out)):
        raise InputError(
            f"{name}: what fit finds is of one device's share of the batch alone: expected jaxae.axis.mean of its mean "
            "over the examples, which sees the whole batch"
        )


def check_parts(setup: Setup, generators: tuple[Any, ...]) -> None:
    """Modules or a method of the user's own make what training and its closing evaluation take. `generators`:
    `purity.generators` before any of it ran."""
    try:
        _check_parts(setup, generators)
    except _OF_TRACERS as error:
        said = first_line(error).rstrip(".")
        files = [own.split(name)[0] for name in setup.config.own_functions().values()]
        where = own.place(error, files) or own.short(setup.config.method)
        raise InputError(
            f"{where}: {said}: weights, the step and the images are arguments of the compiled program: expected "
            "jnp.where in place of if, and jnp in place of np"
        ) from error


def _check_parts(setup: Setup, generators: tuple[Any, ...]) -> None:
    variables = setup.shapes().variables
    batch, method, name = next(setup.view("train").batches()), setup.method, own.short(setup.config.method)
    keys = setup.view("train").keys(batch, "noise")
    made = jax.eval_shape(method.reconstruct, variables, batch)
    if made.shape != batch.x.shape:
        one = int(made.shape[:1] == batch.x.shape[:1])  # where the number of images is right, of one of them
        raise InputError(
            f"the decoder makes images of shape {made.shape[one:]}: expected {batch.x.shape[one:]}, the data's"
        )
    weights, step = setup.numbers(), jnp.asarray(0)
    objective: Any = jax.eval_shape(setup.loss, weights, variables, keys, batch, step)
    if not isinstance(objective, Objective):
        raise InputError(f"{name}: its loss is a {type(objective).__name__}: expected a jaxae.types.Objective")
    if not isinstance(objective.metrics, dict) or not all(isinstance(metric, str) for metric in objective.metrics):
        raise InputError(f"{name}: metrics {said(objective.metrics)}: expected a dict, of arrays by name")
    adversary = {} if objective.adversary is None else {"adversary": objective.adversary}
    for metric, value in {"loss": objective.loss, **adversary, **objective.metrics}.items():
        if getattr(value, "shape", None) != (len(batch.x),) or not jnp.issubdtype(value.dtype, jnp.floating):
            raise InputError(
                f"{name}: {metric} is {_form(value)}: expected one real number an example, float32[{len(batch.x)}] here"
            )
    if (kept := _form(objective.state)) != (was := _form(variables.state)):
        raise InputError(f"{name}: its loss leaves the state {kept}: expected the form that `init` gave it, {was}")
    _check_functions(setup, variables, keys, batch)
    check_rule(setup)
    taken = LOGGED | set(setup.weights) | (MEASURED if method.log_weight is None else set())
    clash = [metric for metric in objective.metrics if metric in taken or metric.startswith("validation_")]
    if own.is_own(setup.config.method) and clash:
        raise InputError(f"{name}: a metric {min(clash)}: jaxae has a number of that name: rename it")
    _no_keys(name, variables)
    if setup.own_net or {"method", "network", "likelihood"} & set(setup.config.own_functions()):
        trials.draws_by_its_keys(setup, variables, keys, batch, generators)
        trials.knows_nothing_of_its_batch(setup, variables, keys, batch)
        trials.keeps_one_state(setup, variables, keys, batch)


def _no_keys(name: str, tree: PyTree) -> None:
    """A checkpoint holds numbers."""
    if any(map(random.is_key, jax.tree.leaves(tree))):
        raise InputError(
            f"{name}: its state has a random key, which no checkpoint holds: expected noise from the keys that a loss "
            "is given, or jax.random.key_data(key) to keep one"
        )


def check_rule(setup: Setup) -> None:
    """An update rule keeps the form of its state and of the parameters."""
    state, rule = setup.shapes(), own.short(setup.config.optimizer)
    params = state.variables.params
    try:
        updates, after = jax.eval_shape(setup.tx.update, params, state.opt_state, params)
    except TypeError as error:
        said = " ".join(str(error).split())
        raise InputError(
            f"{rule}: {said}: expected an update of the gradients, its state and the parameters"
        ) from error
    for what, made, was in (("updates", updates, params), ("a state", after, state.opt_state)):
        if _form(made) != _form(was):
            raise InputError(f"{rule}: it makes {what} {_form(made)}: expected the form of before, {_form(was)}")
    _no_keys(rule, state.opt_state)


def _form(tree: PyTree) -> PyTree:
    """Its shapes and types."""
    return jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}" if hasattr(leaf, "dtype") else said(leaf), tree)


def _check_functions(setup: Setup, variables: Variables, keys: Keys, batch: Batch) -> None:
    """What the method has besides its loss gives what it says, an example each."""
    method, name, n = setup.method, own.short(setup.config.method), len(batch.x)
    z = jax.eval_shape(method.embed, variables, batch)
    if len(z.shape) != 2 or z.shape[0] != n:
        raise InputError(f"{name}: embed gives shape {list(z.shape)}: expected codes, [{n}, ...] here")
    given: dict[str, tuple] = {
        "decode": (variables, z), "sample": (variables, keys), "log_weight": (variables, keys, batch),
        "posterior": (variables, batch), "draw": (variables, keys, batch),
    }  # fmt: skip
    kinds: dict[str, type] = {"log_weight": LogWeight, "posterior": Normal}
    for what, arguments in given.items():
        if (function := getattr(method, what)) is None:
            continue
        made: Any = jax.eval_shape(function, *arguments)
        if what in kinds and not isinstance(made, kinds[what]):
            raise InputError(f"{name}: {what} gives a {type(made).__name__}: expected a {kinds[what].__name__}")
        if what in ("decode", "sample") and getattr(made, "shape", None) != batch.x.shape:
            raise InputError(f"{name}: {what} gives {_form(made)}: expected images of shape {list(batch.x.shape)}")
        shape = {"log_weight": (n,), "posterior": z.shape, "draw": z.shape}.get(what)
        if shape and any(getattr(leaf, "shape", None) != shape for leaf in (made if what in kinds else [made])):
            raise InputError(f"{name}: {what} gives {_form(made)}: expected arrays of shape {list(shape)} here")
