"""What the user's own code may not do, and no shape tells: draw without a key, look at an example's neighbours. Each
check raises InputError, before anything is trained."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import axis, own
from jaxae.errors import InputError
from jaxae.modules import pattern
from jaxae.purity import EXAMPLES, apart, generators, is_apart, traced
from jaxae.setup import Setup
from jaxae.types import Batch, Keys, PyTree, Variables

ROUNDING = {"float32": 1e-3, "bfloat16": 5e-2}
"""Of the largest number: by how much an example in a batch may differ from itself alone."""
SHARE = 8  # examples of a device
COUPLED = "; a loss that couples them does so by jaxae.axis, which sees those on other devices too"


def draws_by_its_keys(setup: Setup, variables: Variables, keys: Keys, batch: Batch, before: tuple[Any, ...]) -> None:
    """The compiled step draws by the keys that it is given. What draws by NumPy or by Python's `random` does so once,
    when it is traced, for all steps to come, and each time another number: two traces then differ. A trace that is kept
    (of a jitted helper) would be the same: where `before`, the `generators` of then, have moved, none is."""
    first = _traced(setup, variables, keys, batch)
    if generators() != before:
        jax.clear_caches()
    if first != _traced(setup, variables, keys, batch):
        raise InputError(
            f"{_whose(setup)}: each time that it is traced it is another program, as numpy.random and Python's random "
            "make it, which draw once for all steps: expected jaxae.random or jax.random, with the keys that are given"
        )


def knows_nothing_of_its_batch(setup: Setup, variables: Variables, keys: Keys, batch: Batch) -> None:
    """What is made of a few examples is what is made of each by itself. Parameters are numbers of a fixed pattern."""
    method = setup.method
    few, own_keys = jax.tree.map(lambda leaf: jnp.asarray(leaf[:EXAMPLES]), batch), keys[:EXAMPLES]
    filled = jax.tree.map(_pattern, variables)
    z: Any = jax.eval_shape(method.embed, filled, few)
    tried: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {"codes": (method.embed, (few,))}
    if jnp.issubdtype(z.dtype, jnp.floating):  # codes further apart than those of filled parameters
        tried["images"] = method.decode, (pattern(z.shape).astype(z.dtype),)
    if method.log_weight is not None:
        tried["log-weights"] = method.log_weight, (own_keys, few)
    if not axis.couples(lambda: _losses(setup, filled, own_keys, few)):
        tried["losses"] = partial(_losses, setup), (jax.random.clone(own_keys), few)
    if setup.own_likelihood:
        out = pattern(few.x.shape)
        tried["log-probabilities"] = _of_start(setup, "log_prob"), (out, few.x)
        tried["draws of pixels"] = _of_start(setup, "draw"), (jax.random.clone(own_keys), out)

    @jax.jit
    def both(filled, arguments):
        return {what: apart(partial(function, filled), arguments[what]) for what, (function, _) in tried.items()}

    made = both(filled, {what: arguments for what, (_, arguments) in tried.items()})
    for what, (together, alone) in made.items():
        if not is_apart(together, alone, ROUNDING[str(setup.config.dtype)]):
            raise InputError(
                f"{_whose(setup)}: the {what} of {EXAMPLES} examples together are not those of each alone: "
                "expected nothing that looks at the others in a batch, such as a mean over its first axis, and each "
                "example's own key" + COUPLED * (what == "losses")
            )


def keeps_one_state(setup: Setup, variables: Variables, keys: Keys, batch: Batch) -> None:
    """What a loss changes of its state is the same on every device that has a share of the batch, and on one that has
    all of it."""
    share = min(SHARE, len(batch.x) // 2)
    if not share or not jax.tree.leaves(variables.state):
        return
    filled, step = jax.tree.map(_pattern, variables), jnp.asarray(0)
    some, own_keys = jax.tree.map(lambda leaf: jnp.asarray(leaf[: 2 * share]), batch), keys[: 2 * share]

    def change(keys, examples):
        made = setup.method.loss(filled, keys, examples, step).state
        return jax.tree.map(lambda new, old: new.astype(jnp.float32) - old.astype(jnp.float32), made, filled.state)

    def of_share(keys, examples):
        with axis.over("data"):
            return change(keys, examples)

    halves = jax.tree.map(lambda leaf: leaf.reshape(2, share, *leaf.shape[1:]), (jax.random.clone(own_keys), some))
    whole = jax.jit(change)(own_keys, some)
    shares = jax.jit(jax.vmap(of_share, axis_name="data"))(*halves)
    each = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), whole)
    if not is_apart(shares, each, ROUNDING[str(setup.config.dtype)]):
        raise InputError(
            f"{_whose(setup)}: what the loss makes of its state is other on two devices of {share} examples each than "
            "on one of all: expected jaxae.axis.mean or jaxae.axis.gather of what goes into it"
        )


def _losses(setup: Setup, variables: Variables, keys: Keys, batch: Batch) -> tuple[Any, ...]:
    objective = setup.method.loss(variables, keys, batch, jnp.asarray(0))
    return objective.loss, objective.adversary


def _of_start(setup: Setup, name: str) -> Callable[..., Any]:
    """(variables, ...) -> what the likelihood's function makes by its own, as they are at the start."""
    likelihood = setup.likelihood
    return lambda variables, *arguments: getattr(likelihood, name)(likelihood.init(), *arguments)


def _whose(setup: Setup) -> str:
    """The user's functions, by their names."""
    return ", ".join(own.short(name) for name in setup.config.own_functions().values()) or "net"


def _traced(setup: Setup, variables: Variables, keys: Keys, batch: Batch) -> list[Any]:
    """What the method's functions compute, in words, and the constants in it."""
    method = setup.method
    z = jax.eval_shape(method.embed, variables, batch)

    functions: list[tuple[Callable[..., Any] | None, tuple[Any, ...]]] = [
        (lambda key: method.init(key, batch), (keys[0],)),
        (setup.loss, (setup.numbers(), variables, keys, batch, jnp.asarray(0))),
        (method.log_weight, (variables, keys, batch)),
        (method.embed, (variables, batch)),
        (method.decode, (variables, z)),
        (method.sample, (variables, keys)),
    ]
    if setup.own_likelihood:
        functions.append((_of_start(setup, "draw"), (variables, keys, batch.x)))
    return [traced(function, *arguments) for function, arguments in functions if function is not None]


def _pattern(leaf: Any) -> PyTree:
    """Numbers whose sums with others of size one are of size one, of the leaf's shape and type."""
    return (pattern(leaf.shape) / max(int(np.prod(leaf.shape[:-1])), 3) ** 0.5).astype(leaf.dtype)
