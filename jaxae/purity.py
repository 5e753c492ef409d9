"""What no shape tells of a function: whether it draws without a key, whether it looks at an example's neighbours."""

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr

from jaxae import random as keys
from jaxae.types import PyTree

EXAMPLES = 3
LEAST = 1e-3  # smaller numbers may be nothing but rounding


def generators() -> tuple[Any, ...]:
    """The state of NumPy's and of Python's own generators: another where something has drawn by them."""
    _, numbers, *rest = np.random.get_state(legacy=True)
    return np.asarray(numbers).tobytes(), rest, random.getstate()


def traced(function: Callable[..., Any], *arguments: Any) -> list[Any]:
    """What it computes, in words, and the constants in it. What draws by NumPy or by Python's `random` does so once,
    when it is traced, and each time another number: two traces then differ."""
    program = jax.make_jaxpr(lambda *given: function(*given))(*arguments)  # a new function: no trace that is kept
    constants = [np.asarray(leaf).tobytes() for leaf in _constants(program) if not keys.is_key(leaf)]
    return [re.sub(r" at 0x[0-9a-f]+", "", str(program.jaxpr)), *constants]


def apart(function: Callable[..., PyTree], examples: PyTree) -> tuple[PyTree, PyTree]:
    """What it makes of some examples together, and of each by itself, in batches of one."""

    def one(example: PyTree) -> PyTree:
        made = function(*jax.tree.map(lambda leaf: leaf[None], example))
        return jax.tree.map(lambda leaf: leaf[0], made)

    again = jax.tree.map(lambda leaf: jax.random.clone(leaf) if keys.is_key(leaf) else leaf, examples)
    return function(*examples), jax.lax.map(one, again)


def is_apart(together: PyTree, alone: PyTree, rounding: float) -> bool:
    """Whether both are the same, but for a share of the largest number, or of LEAST where all are smaller."""
    for one, other in zip(*map(jax.tree.leaves, (together, alone)), strict=True):
        one, other = (np.asarray(found, np.float64) for found in (one, other))
        with np.errstate(invalid="ignore"):  # of infinities: what is not finite is for others to say
            if np.abs(one - other).max() > rounding * max(np.abs(one).max(), LEAST):
                return False
    return True


def _constants(of: Any) -> Iterator[Any]:
    """Of programs, and of the programs in them: of jitted helpers, loops and branches."""
    if isinstance(of, list | tuple):
        for one in of:
            yield from _constants(one)
    elif isinstance(of, ClosedJaxpr | Jaxpr):  # of one kind from jax 0.11 on
        yield from getattr(of, "consts", ())
        for equation in of.eqns:
            yield from _constants(list(equation.params.values()))
