"""An autoencoder whose code is replaced by the vectors of codebooks: what `vqvae` and `rvq` share."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxae import densities, quantize, random
from jaxae.errors import InputError, a_share, at_least_one, known
from jaxae.parts import autoencoder, bind
from jaxae.schedules import at_step
from jaxae.types import Discrete, Method, Net, Objective, Weight

Codes = Float[Array, "batch positions dim"]


def quantised(
    net: Net, stages: int, dim: int, codebook: int, commitment: Weight, update: str, decay: float, restart: float
) -> Method:
    """Every `dim` numbers of the code are a position; each of `stages` codebooks quantises what the one before has left
    over there. The books are `state["codebook"]` (update "ema") or `params["codebook"]` ("gradient")."""
    at_least_one(stages=stages, dim=dim, codebook=codebook)
    a_share(decay=decay, restart=restart)
    known("update", update, ("ema", "gradient"))
    if net.latent % dim:
        raise InputError(f"latent {net.latent}: expected a multiple of dim {dim}, the numbers that one code stands for")
    parts, averaged = bind(net, outputs=net.latent), update == "ema"

    def encode(variables, batch) -> Codes:
        return parts.encode(variables, batch).reshape(len(batch.x), -1, dim)

    def books(variables) -> Float[Array, "stages codes dim"]:
        return variables.state["codebook"].vectors if averaged else variables.params["codebook"]

    def init(key, batch):
        start = parts.init(key, batch)
        vectors = _first(random.stream(key, "codebook"), encode(start, batch).reshape(-1, dim), stages, codebook)
        if averaged:
            return start._replace(state={**start.state, "codebook": jax.vmap(quantize.start)(vectors)})
        return start._replace(params={**start.params, "codebook": vectors})

    def moved(variables, keys, found: quantize.Residual) -> quantize.Codebook:
        """The codebooks after the (global) batch."""
        inputs = jax.lax.stop_gradient(found.inputs)
        update = jax.vmap(quantize.ema_update, (0, 0, 0, None))
        books = update(variables.state["codebook"], inputs, found.index, decay)
        if restart <= 0:
            return books
        begun_again = [
            quantize.restart(jax.tree.map(lambda x, s=stage: x[s], books), own, inputs[stage], restart / codebook)
            for stage, own in enumerate(random.split(keys, stages))
        ]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *begun_again)

    def loss(variables, keys, batch, step):
        z = encode(variables, batch)
        found = quantize.residual(z, books(variables))
        e = quantize.straight_through(z, found.quantised)
        reconstruction, state = parts.reconstruction(variables, e.reshape(len(z), -1), batch)
        codes = jax.vmap(quantize.lookup)(books(variables), found.index)
        to_codes = _of_example(jnp.square(found.inputs - jax.lax.stop_gradient(codes)))
        value = reconstruction + at_step(commitment, step) * to_codes
        if averaged:
            state = {**state, "codebook": moved(variables, keys, found)}
        else:
            value = value + _of_example(jnp.square(jax.lax.stop_gradient(found.inputs) - codes))
        use = jnp.mean(jnp.stack([quantize.perplexity(index, codebook) for index in found.index]))
        metrics = {
            "reconstruction": reconstruction,
            "commitment": to_codes,
            "batch_perplexity": jnp.full_like(to_codes, use),
        }
        return Objective(value, state, metrics)

    def numbers(variables, batch):
        index = quantize.residual(encode(variables, batch), books(variables)).index
        return jnp.moveaxis(index, 0, -1).reshape(len(batch.x), -1)

    def vectors_at(variables, index):
        """The codes [batch, latent] that the whole numbers stand for."""
        each = jnp.moveaxis(index.reshape(len(index), -1, stages), -1, 0)
        return jnp.sum(jax.vmap(quantize.lookup)(books(variables), each), axis=0).reshape(len(index), -1)

    def embed(variables, batch):
        return vectors_at(variables, numbers(variables, batch))

    def to_image(variables, index):
        return parts.decode(variables, vectors_at(variables, index))

    return autoencoder(parts, loss, embed, init=init, discrete=Discrete(numbers, to_image, codebook))


def _first(key: Array, z: Float[Array, "vectors dim"], stages: int, codes: int) -> Float[Array, "stages codes dim"]:
    """Codebooks that start as draws of a Gaussian with the moments of z, each with those of what is left over. (The
    vectors themselves would be met exactly where they are few, and leave rounding errors to the stages above.)"""
    books, left = [], z
    for stage in range(stages):
        mean, sd = (jnp.broadcast_to(of(left, axis=0), (codes, z.shape[1])) for of in (jnp.mean, jnp.std))
        books.append(mean + sd * jax.random.normal(jax.random.fold_in(key, stage), mean.shape, mean.dtype))
        left = left - quantize.lookup(books[-1], quantize.nearest(left, books[-1]))
    return jnp.stack(books)


def _of_example(squares: Float[Array, "stages batch positions dim"]) -> Float[Array, " batch"]:
    return densities.event_sum(jnp.moveaxis(squares, 0, 1))
