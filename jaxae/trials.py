"""What the user's own code may not do, and no shape tells: draw without a key, look at an example's neighbours. Each
check raises InputError, before anything is trained."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import own
from jaxae.errors import InputError
from jaxae.setup import Setup
from jaxae.types import Batch, Keys, PyTree, Variables

EXAMPLES = 3
ROUNDING = {"float32": 1e-3, "bfloat16": 5e-2}
"""Of the largest number: by how much an example in a batch may differ from itself alone."""


def draws_by_its_keys(setup: Setup, variables: Variables, keys: Keys, batch: Batch) -> None:
    """The compiled step draws by the keys that it is given. What draws by NumPy or by Python's `random` does so once,
    when it is traced, for all steps to come, and each time another number: two traces then differ."""
    if _traced(setup, variables, keys, batch) != _traced(setup, variables, keys, batch):
        raise InputError(
            f"{_whose(setup)}: each time that it is traced it is another program, as numpy.random and Python's random "
            "make it, which draw once for all steps: expected jaxae.random or jax.random, with the keys that are given"
        )


def knows_nothing_of_its_batch(setup: Setup, variables: Variables, batch: Batch) -> None:
    """Codes and images of a few examples are those of each by itself. Parameters are numbers of a fixed pattern."""
    method, few = setup.method, jax.tree.map(lambda leaf: jnp.asarray(leaf[:EXAMPLES]), batch)
    filled = jax.tree.map(_pattern, variables)

    @jax.jit
    def tried():
        def alone(function, *arguments):
            """Of batches of one."""
            return jax.vmap(lambda *one: function(filled, *jax.tree.map(lambda leaf: leaf[None], one))[0])(*arguments)

        z = method.embed(filled, few)
        out = {"codes": (z, alone(method.embed, few))}
        if jnp.issubdtype(z.dtype, jnp.floating):
            z = _numbers(z.shape).astype(z.dtype)  # further apart than those of filled parameters
            out["images"] = method.decode(filled, z), alone(method.decode, z)
        return out

    rounding = ROUNDING[str(setup.config.dtype)]
    for what, pair in tried().items():
        together, apart = (np.asarray(found, np.float64) for found in pair)
        if np.abs(together - apart).max() > rounding * np.abs(together).max():
            raise InputError(
                f"{_whose(setup)}: the {what} of {EXAMPLES} examples together are not those of each alone: expected "
                "nothing that looks at the others in a batch, such as a mean over its first axis"
            )


def _whose(setup: Setup) -> str:
    """The user's functions, by their names."""
    return ", ".join(own.short(name) for name in setup.config.own_functions().values()) or "net"


def _traced(setup: Setup, variables: Variables, keys: Keys, batch: Batch) -> list[Any]:
    """What init, the loss and the log-weight compute, in words, and the constants in it."""

    def loss(numbers, *arguments):
        return setup.make(numbers)[0].loss(*arguments)

    def log_weight(*arguments):
        function = setup.method.log_weight
        return None if function is None else function(*arguments)

    programs = [
        jax.make_jaxpr(lambda key: setup.method.init(key, batch))(keys[0]),
        jax.make_jaxpr(loss)(setup.numbers(), variables, keys, batch, jnp.asarray(0)),
        jax.make_jaxpr(log_weight)(variables, keys, batch),
    ]
    constants = [np.asarray(leaf).tobytes() for program in programs for leaf in program.consts if not _is_key(leaf)]
    return [re.sub(r" at 0x[0-9a-f]+", "", str(program.jaxpr)) for program in programs] + constants


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _pattern(leaf: Any) -> PyTree:
    """Numbers whose sums with others of size one are of size one, of the leaf's shape and type."""
    return (_numbers(leaf.shape) / max(int(np.prod(leaf.shape[:-1])), 3) ** 0.5).astype(leaf.dtype)


def _numbers(shape: tuple[int, ...]) -> jax.Array:
    """From -1 to 1."""
    return jnp.asarray(np.cos(1.7 * np.arange(int(np.prod(shape)))), jnp.float32).reshape(shape)
