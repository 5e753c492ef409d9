"""A Net as pure functions of Variables: what every method's file would otherwise repeat."""

import contextlib
import os
import sysconfig
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae import random
from jaxae.errors import InputError, first_line
from jaxae.types import Batch, Codes, Generative, Images, Keys, Method, Net, PyTree, Variables

_LIBRARIES = (str(Path(__file__).parent), *map(sysconfig.get_path, ("stdlib", "purelib", "platlib")))
NOT_THE_USERS = tuple(f"{folder}{os.sep}" for folder in _LIBRARIES)
Init = Callable[[Array, Batch], Variables]
Latents = Float[Array, "*samples batch latent"]
"""Any number of codes an example: the axes of samples come before the batch's."""


class Parts(NamedTuple):
    """`params` and `state` are dicts; a method may add entries of its own beside encoder, decoder, likelihood."""

    init: Init
    encode: Callable[[Variables, Batch], Float[Array, "batch outputs"]]
    decode: Callable[[Variables, Latents], Float[Array, "*samples batch height width channels"]]
    """The mean of p(x|z), in data space."""
    log_prob: Callable[[Variables, Latents, Batch], Float[Array, "*samples batch"]]
    """log p(x|z) in nats, as held-out data is scored."""
    reconstruction: Callable[[Variables, Latents, Batch], tuple[Float[Array, "*samples batch"], PyTree]]
    """(-log p(x|z) in nats as the training batch is scored, the new state)."""
    draw: Callable[[Variables, Keys, Codes], Images]
    """x ~ p(x|z), as held-out data is scored."""


def bind(net: Net, outputs: int, *, code: int | None = None, channels: int = 0) -> Parts:
    """The parts of `net` with an encoder of that many outputs. `code` is the size of what the decoder reads, where that
    is more than the latent; `channels` are what a method adds to the images that the encoder sees."""
    encoder, decoder, likelihood = net.encoder(outputs), net.decoder, net.likelihood

    def init(key, batch):
        for_encoder, for_decoder = jax.random.split(key)
        own = likelihood.init()
        x = jnp.pad(batch.x[:1], ((0, 0), (0, 0), (0, 0), (0, channels)))
        with told("encoder"):
            given, of_encoder = encoder.init_with_output(for_encoder, x)
        if (shape := getattr(given, "shape", None)) != (1, outputs):
            found = f"a {type(given).__name__} in place of outputs" if shape is None else f"shape {list(shape)}"
            raise InputError(f"the encoder gives {found} of one image: expected {[1, outputs]}, as it was made for")
        with told("decoder"):
            made, of_decoder = decoder.init_with_output(for_decoder, jnp.zeros((1, code or net.latent)))
        if not hasattr(made, "shape"):
            raise InputError(f"the decoder gives a {type(made).__name__}: expected an array of images")
        params = {
            "encoder": only_params(of_encoder),
            "decoder": only_params(of_decoder),
            "likelihood": own.params,
        }
        return Variables(params, {"likelihood": own.state})

    def encode(variables, batch):
        with told("encoder"):
            return single(encoder.apply({"params": variables.params["encoder"]}, batch.x))

    def own(variables):
        return Variables(variables.params["likelihood"], variables.state["likelihood"])

    def out(variables, z):
        with told("decoder"):
            return single(decoder.apply({"params": variables.params["decoder"]}, z.reshape(-1, z.shape[-1])))

    def repeated(batch, z):
        """The images [samples * batch, ...] that go with the flattened codes."""
        if z.ndim == 2:
            return batch.x
        return jnp.broadcast_to(batch.x, (*z.shape[:-1], *batch.x.shape[1:])).reshape(-1, *batch.x.shape[1:])

    def decode(variables, z):
        x = likelihood.mean(own(variables), out(variables, z))
        return x.reshape(*z.shape[:-1], *x.shape[1:])

    def log_prob(variables, z, batch):
        return likelihood.log_prob(own(variables), out(variables, z), repeated(batch, z)).reshape(z.shape[:-1])

    def reconstruction(variables, z, batch):
        at, x = out(variables, z), repeated(batch, z)
        scored_with, kept = likelihood.fit(own(variables), at, x)
        log_px = likelihood.log_prob(scored_with, at, x).reshape(z.shape[:-1])
        return -log_px, {**variables.state, "likelihood": kept}

    def draw(variables, keys, z):
        return likelihood.draw(own(variables), keys, out(variables, z))

    return Parts(init, encode, decode, log_prob, reconstruction, draw)


def autoencoder(parts: Parts, loss: Callable, embed: Callable | None = None, **others: Any) -> Method:
    """The Method that reconstructs by the mean of p(x|z) at the code that `embed` gives, by default the encoder's."""
    embed = embed or parts.encode

    def reconstruct(variables, batch):
        return parts.decode(variables, embed(variables, batch))

    return Method(parts.init, loss, embed, reconstruct, parts.decode)._replace(**others)


def generative(
    parts: Parts,
    draw: Callable[[Variables, Keys], PyTree],
    log_prior: Callable[[Variables, PyTree], Float[Array, " batch"]],
    code: Callable[[PyTree, Batch], Codes] = lambda latents, batch: latents,
) -> Generative:
    """p(z) p(x|z): `draw` and `log_prior` are p(z), and `code` is what the decoder reads of the latents."""

    def log_likelihood(variables, latents, batch):
        return parts.log_prob(variables, code(latents, batch), batch)

    def simulate(variables, keys, latents, batch):
        return parts.draw(variables, keys, code(latents, batch))

    return Generative(draw, log_prior, log_likelihood, simulate)


def with_params(init: Init, **own: Callable[[Array, Batch], PyTree]) -> Init:
    """`init` with further entries of params, name=(key, batch) -> tree: each from a key of its own."""
    return _with(init, "params", own)


def with_state(init: Init, **own: Callable[[Array, Batch], PyTree]) -> Init:
    """`init` with further entries of state, as `with_params`."""
    return _with(init, "state", own)


def _with(init: Init, kind: str, own: dict[str, Callable[[Array, Batch], PyTree]]) -> Init:
    def extended(key, batch):
        start = init(key, batch)
        made = {name: make(random.stream(key, name), batch) for name, make in own.items()}
        return start._replace(**{kind: {**getattr(start, kind), **made}})

    return extended


def frozen(variables: Variables, *names: str) -> Variables:
    """The variables, with no gradient to those entries of params."""
    stopped = {name: jax.lax.stop_gradient(variables.params[name]) for name in names}
    return variables._replace(params={**variables.params, **stopped})


def of_likelihood(parts: Parts, variables: Variables, z: Latents, batch: Batch) -> Float[Array, "*samples batch"]:
    """A zero with the gradient of -log p(x|z) to the likelihood's own parameters (its scale): for a loss without that
    density, which decodes with them frozen."""
    reconstruction, _ = parts.reconstruction(frozen(variables, "encoder", "decoder"), jax.lax.stop_gradient(z), batch)
    return reconstruction - jax.lax.stop_gradient(reconstruction)


def single(x: Any) -> Array:
    """What a module gives, in single precision at least: of half precision a density of 784 pixels is tenths of a nat
    off. Whole numbers stay what they are."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32)) if jnp.issubdtype(x.dtype, jnp.floating) else x


@contextlib.contextmanager
def told(part: str) -> Iterator[None]:
    """What a module cannot do, in one line, with the place where it is said: it may be the user's own."""
    try:
        yield
    except (InputError, jax.errors.JaxRuntimeError, FloatingPointError):  # the latter two are a device's: memory that
        raise  # is full, what jax.debug_nans finds
    except Exception as error:  # whatever a module raises
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not frame.filename.startswith(NOT_THE_USERS)]
        where = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
        said = " ".join(first_line(error).split(" (https")[0].split())
        raise InputError(
            f"the {part}{where}: {said}: expected a module that takes one array, and nothing random"
        ) from error


def only_params(collections: Any) -> PyTree:
    """A linen module's parameters. Other collections (batch statistics) would make one example depend on another."""
    if others := set(collections) - {"params"}:
        kept = ", ".join(sorted(others))
        raise InputError(f"the network keeps {kept}: expected params alone, as LayerNorm and GroupNorm have")
    return collections.get("params", {})
