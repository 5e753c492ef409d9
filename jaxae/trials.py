"""What the user's own code may not do, and no shape tells: draw without a key, look at an example's neighbours. Each
check raises InputError, before anything is trained."""

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from jaxae import own
from jaxae.errors import InputError
from jaxae.setup import Setup
from jaxae.types import Batch, Keys, PyTree, Variables

EXAMPLES = 3
ROUNDING = {"float32": 1e-3, "bfloat16": 5e-2}
"""Of the largest number: by how much an example in a batch may differ from itself alone."""


def generators() -> tuple[Any, ...]:
    """The state of NumPy's and of Python's own generators: another where something has drawn by them."""
    _, numbers, *rest = np.random.get_state(legacy=True)
    return np.asarray(numbers).tobytes(), rest, random.getstate()


def draws_by_its_keys(setup: Setup, variables: Variables, keys: Keys, batch: Batch, before: tuple[Any, ...]) -> None:
    """The compiled step draws by the keys that it is given. What draws by NumPy or by Python's `random` does so once,
    when it is traced, for all steps to come, and each time another number: two traces then differ. A trace that is kept
    (of a jitted helper) would be the same: where `before`, the `generators` of then, have moved, none is."""
    traced = _traced(setup, variables, keys, batch)
    if generators() != before:
        jax.clear_caches()
    if traced != _traced(setup, variables, keys, batch):
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
        tried["images"] = method.decode, (_numbers(z.shape).astype(z.dtype),)
    if method.log_weight is not None:
        tried["log-weights"] = method.log_weight, (own_keys, few)

    @jax.jit
    def both(filled, arguments):
        def alone(function, given):
            """Of batches of one."""

            def one(example):
                made = function(filled, *jax.tree.map(lambda leaf: leaf[None], example))
                return jax.tree.map(lambda leaf: leaf[0], made)

            return jax.lax.map(one, given)

        return {
            what: (function(filled, *arguments[what]), alone(function, arguments[what]))
            for what, (function, _) in tried.items()
        }

    made = both(filled, {what: arguments for what, (_, arguments) in tried.items()})
    rounding = ROUNDING[str(setup.config.dtype)]
    for what, pair in made.items():
        for together, apart in zip(*map(jax.tree.leaves, pair), strict=True):
            together, apart = (np.asarray(found, np.float64) for found in (together, apart))
            if np.abs(together - apart).max() > rounding * np.abs(together).max():
                raise InputError(
                    f"{_whose(setup)}: the {what} of {EXAMPLES} examples together are not those of each alone: "
                    "expected nothing that looks at the others in a batch, such as a mean over its first axis"
                )


def _whose(setup: Setup) -> str:
    """The user's functions, by their names."""
    return ", ".join(own.short(name) for name in setup.config.own_functions().values()) or "net"


def _traced(setup: Setup, variables: Variables, keys: Keys, batch: Batch) -> list[Any]:
    """What the method's functions compute, in words, and the constants in it."""
    method = setup.method
    z = jax.eval_shape(method.embed, variables, batch)

    def loss(numbers, *arguments):
        return setup.make(numbers)[0].loss(*arguments)

    functions: list[tuple[Callable[..., Any] | None, tuple[Any, ...]]] = [
        (lambda key: method.init(key, batch), (keys[0],)),
        (loss, (setup.numbers(), variables, keys, batch, jnp.asarray(0))),
        (method.log_weight, (variables, keys, batch)),
        (method.embed, (variables, batch)),
        (method.decode, (variables, z)),
        (method.sample, (variables, keys)),
    ]
    programs = [
        jax.make_jaxpr(lambda *given, f=function: f(*given))(*arguments)
        for function, arguments in functions
        if function is not None
    ]
    constants = [np.asarray(leaf).tobytes() for leaf in _constants(programs) if not _is_key(leaf)]
    return [re.sub(r" at 0x[0-9a-f]+", "", str(program.jaxpr)) for program in programs] + constants


def _constants(of: Any) -> Iterator[Any]:
    """Of programs, and of the programs in them: of jitted helpers, loops and branches."""
    if isinstance(of, list | tuple):
        for one in of:
            yield from _constants(one)
    elif isinstance(of, ClosedJaxpr | Jaxpr):  # of one kind from jax 0.11 on
        yield from getattr(of, "consts", ())
        for equation in of.eqns:
            yield from _constants(list(equation.params.values()))


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _pattern(leaf: Any) -> PyTree:
    """Numbers whose sums with others of size one are of size one, of the leaf's shape and type."""
    return (_numbers(leaf.shape) / max(int(np.prod(leaf.shape[:-1])), 3) ** 0.5).astype(leaf.dtype)


def _numbers(shape: tuple[int, ...]) -> jax.Array:
    """From -1 to 1."""
    return jnp.asarray(np.cos(1.7 * np.arange(int(np.prod(shape)))), jnp.float32).reshape(shape)
