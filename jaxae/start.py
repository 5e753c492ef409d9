"""What a run begins with that another has learned."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import jax.numpy as jnp
import optax
from jax import tree

from jaxae.digest import named_leaves
from jaxae.errors import InputError
from jaxae.types import PyTree, TrainState, Variables


class Start(NamedTuple):
    """The variables that the other run is measured with, and what is told of them: its folder, step and digest."""

    variables: Variables | None
    """None where they are not needed any more: training has gone on from there."""
    facts: dict[str, Any]

    def check(self, shapes: Variables) -> None:
        """Raises InputError unless what both runs have is alike, and there is such; `shapes` are of the new one's."""
        shared = list(self._shared(shapes))
        if not any(_form(mine) for _, _, mine in shared):
            raise InputError(f"start {self.facts['run']}: it has no parameters in common with this run")
        for entry, theirs, mine in shared:
            there, here = _form(theirs), _form(mine)
            for name in there | here:
                if there.get(name) != here.get(name):
                    what = f"{entry}/{name}" if name else entry
                    said = f"its {what} is {there.get(name, 'not there')}, and {here.get(name, 'not there')} here"
                    raise InputError(f"start {self.facts['run']}: {said}: expected the same networks and latent size")

    def begun(self, state: TrainState, tx: optax.GradientTransformation) -> TrainState:
        """The state before the first step, with what both have as the other run learned it."""
        assert self.variables is not None
        params, kept = (
            {**mine, **{name: tree.map(jnp.copy, theirs[name]) for name in _both(mine, theirs)}}
            if isinstance(mine, dict)
            else mine
            for mine, theirs in zip(state.variables, self.variables)
        )
        return TrainState(state.step, Variables(params, kept), tree.map(jnp.copy, tx.init(params)))

    def _shared(self, of: Variables) -> Iterator[tuple[str, PyTree, PyTree]]:
        assert self.variables is not None
        for mine, theirs in zip(of, self.variables):
            yield from ((name, theirs[name], mine[name]) for name in _both(mine, theirs))


def _both(mine: PyTree, theirs: PyTree) -> list[str]:
    """The entries that both have."""
    return [name for name in mine if name in theirs] if isinstance(mine, dict) and isinstance(theirs, dict) else []


def _form(entry: PyTree) -> dict[str, str]:
    return {name: f"{leaf.dtype}{list(leaf.shape)}" for name, leaf in named_leaves(entry).items()}
