"""What a run begins with that another has learned."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.tree_util import tree_map_with_path

from jaxae.digest import leaf_name, named_leaves
from jaxae.errors import InputError
from jaxae.facts import kinds
from jaxae.types import PyTree, TrainState, Variables


class Start(NamedTuple):
    """Variables of another run, and where they are from: its folder, the step, their digest; of a sweep's member also
    its name and the sweep's `made_as`."""

    arrays: dict[str, Any] | None
    """{"params/encoder/Dense_0/kernel": ...}; None where they are not needed any more: training went on from there."""
    facts: dict[str, Any]

    @property
    def of_seed(self) -> bool:
        """Whether another seed begins with another run."""
        return "member" in self.facts

    def check(self, shapes: Variables) -> None:
        """Raises InputError unless what both runs have is alike, and there is such; `shapes` are of the new one's."""
        here, there = kinds(named_leaves(shapes)), kinds(self.arrays or {})
        shared = {_entry(name) for name in here} & {_entry(name) for name in there}
        if not shared:
            raise InputError(f"start {whose(self.facts)}: it has no parameters in common with this run")
        for name in sorted({*here, *there}):
            if _entry(name) in shared and here.get(name) != there.get(name):
                said = f"its {name} is {there.get(name, 'not there')}, and {here.get(name, 'not there')} here"
                wanted = "expected the same networks and latent size, and a method that asks as much of the encoder"
                raise InputError(f"start {whose(self.facts)}: {said}: {wanted}")

    def begun(self, state: TrainState, tx: optax.GradientTransformation) -> TrainState:
        """The state before the first step, with what both have as the other run learned it."""
        arrays = self.arrays
        assert arrays is not None

        def taken(path: Any, leaf: Any) -> Any:
            return jnp.copy(jnp.asarray(arrays.get(leaf_name(path), leaf)))

        variables: PyTree = tree_map_with_path(taken, state.variables)
        return TrainState(state.step, variables, jax.tree.map(jnp.copy, tx.init(variables.params)))


def whose(facts: dict[str, Any]) -> str:
    """Whose the variables of those facts are, in words."""
    return f"{facts['member']} of {facts['run']}" if "member" in facts else facts["run"]


def _entry(name: str) -> str:
    """ "params/encoder" of "params/encoder/Dense_0/kernel": what two runs have, or have not, in common."""
    return "/".join(name.split("/")[:2])
