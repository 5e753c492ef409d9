"""A Net as pure functions of Variables: what every method's file would otherwise repeat."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae.errors import InputError
from jaxae.types import Batch, Codes, Images, Net, PyTree, Variables


class Parts(NamedTuple):
    """`params` and `state` are dicts; a method may add entries of its own beside encoder, decoder, likelihood."""

    init: Callable[[Array, Batch], Variables]
    encode: Callable[[Variables, Batch], Float[Array, "batch outputs"]]
    decode: Callable[[Variables, Codes], Images]
    """The mean of p(x|z), in data space."""
    log_prob: Callable[[Variables, Codes, Batch], Float[Array, " batch"]]
    """log p(x|z) in nats, as held-out data is scored."""
    reconstruction: Callable[[Variables, Codes, Batch], tuple[Float[Array, " batch"], PyTree]]
    """(-log p(x|z) in nats as the training batch is scored, the new state)."""


def bind(net: Net, outputs: int) -> Parts:
    """The parts of `net` with an encoder of that many outputs."""
    encoder, decoder, likelihood = net.encoder(outputs), net.decoder, net.likelihood

    def init(key, batch):
        for_encoder, for_decoder = jax.random.split(key)
        own = likelihood.init()
        params = {
            "encoder": only_params(encoder.init(for_encoder, batch.x[:1])),
            "decoder": only_params(decoder.init(for_decoder, jnp.zeros((1, net.latent)))),
            "likelihood": own.params,
        }
        return Variables(params, {"likelihood": own.state})

    def encode(variables, batch):
        return encoder.apply({"params": variables.params["encoder"]}, batch.x)

    def own(variables):
        return Variables(variables.params["likelihood"], variables.state["likelihood"])

    def out(variables, z):
        return decoder.apply({"params": variables.params["decoder"]}, z)

    def reconstruction(variables, z, batch):
        at = out(variables, z)
        scored_with, kept = likelihood.fit(own(variables), at, batch.x)
        return -likelihood.log_prob(scored_with, at, batch.x), {**variables.state, "likelihood": kept}

    return Parts(
        init=init,
        encode=encode,
        decode=lambda variables, z: likelihood.mean(out(variables, z)),
        log_prob=lambda variables, z, batch: likelihood.log_prob(own(variables), out(variables, z), batch.x),
        reconstruction=reconstruction,
    )


def only_params(collections: Any) -> PyTree:
    """A linen module's parameters. Other collections (batch statistics) would make one example depend on another."""
    if others := set(collections) - {"params"}:
        raise InputError(f"the network keeps {', '.join(sorted(others))}: expected a linen module with params alone")
    return collections.get("params", {})
