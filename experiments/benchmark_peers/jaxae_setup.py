"""The works as jaxae has them: config, data, and the parameters that all peers start from."""

from typing import Any

import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from experiments.benchmark_parts.works import Work
from experiments.benchmark_peers.protocol import Task
from jaxae.build import build
from jaxae.config import Config
from jaxae.data.source import Source, Split
from jaxae.setup import Setup
from jaxae.types import PyTree, TrainState

FOREVER = 10**8  # steps


def config_of(work: Work, seed: int = 0, **changes: Any) -> Config:
    values: dict[str, Any] = {
        "network": work.network, "latent": work.latent, "activation": work.activation, "batch_size": work.batch,
        "seed": seed, "data": "mnist", "binarize": "none", "steps": FOREVER,
        "validate_every": FOREVER, "checkpoint_every": FOREVER, "log_every": "1e",
    }  # fmt: skip
    if work.network == "mlp":
        values |= {"width": work.encoder[0].outputs, "depth": len(work.encoder) - 1}
    if work.k:
        values |= {"method": "iwae", "hyperparameters": {"k": work.k}}
    return Config(**{**values, **changes})


def setup_of(task: Task, **changes: Any) -> Setup:
    """The images are training and test split both: nothing here is held out."""
    rows = np.load(task.images)
    split = Split(rows, np.zeros(len(rows), np.int32))
    few = Split(rows[:500], split.labels[:500])
    source = Source("benchmark", rows.shape[1:], split, few, few, "MNIST, binarised once")
    return build(config_of(task.training(), task.seed, **changes), source=source)


def started(task: Task, setup: Setup) -> TrainState:
    """The state before the first step, with the parameters that all peers start from."""
    state, found = setup.init(), task.parameters()
    flat = flatten_dict(state.variables.params, sep="/")
    for place, values in zip(layers(state.variables.params), found):
        flat |= {path: jnp.asarray(value).reshape(flat[path].shape) for path, value in zip(place, values)}
    return state._replace(variables=state.variables._replace(params=unflatten_dict(flat, sep="/")))


def layers(params: PyTree) -> list[tuple[str, str]]:
    """Where kernel and bias of every layer are, the encoder's first: "encoder/Layer_0/linear/kernel"."""
    there, back = params["encoder"], params["decoder"]

    def hidden(side: str, tree: PyTree) -> list[tuple[str, str]]:
        order = ("Conv_", "Layer_", "Dense_") if side == "encoder" else ("Layer_", "Dense_", "ConvTranspose_")
        names = [name for kind in order for name in sorted(tree) if name.startswith(kind)]
        inner = {name: "/linear" if "linear" in tree[name] else "" for name in names}
        return [(f"{side}/{name}{inner[name]}/kernel", f"{side}/{name}{inner[name]}/bias") for name in names]

    head = ("encoder/head/kernel", "encoder/head/bias")
    return [*hidden("encoder", there), head, *hidden("decoder", back), ("decoder/pixels/kernel", "decoder/bias")]


def start(task: Task) -> dict[str, Any]:
    params = setup_of(task).init().variables.params
    arrays, flat = {}, flatten_dict(params, sep="/")
    for number, place in enumerate(layers(params)):
        arrays |= {f"{what}{number}": np.asarray(flat[path]) for what, path in zip(("kernel", "bias"), place)}
    np.savez(task.start, **arrays)
    return {}
