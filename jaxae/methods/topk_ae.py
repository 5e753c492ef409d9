import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool

from jaxae import axis
from jaxae.errors import InputError
from jaxae.parts import autoencoder, bind, frozen, with_state
from jaxae.types import Codes, Method, Net, Objective

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}
AUXILIARY = 1 / 32  # the weight of the auxiliary loss, as in the paper


def topk_ae(net: Net, *, active: int = 2, aux: int = 2, dead_after: int = 100) -> Method:
    """Top-k autoencoder: of each code only the largest units are kept; units that never are get a loss of their own.

    Gao et al. 2024 (arXiv:2406.04093).

    loss = -log p(x | z) - 1/32 log p(x | stop(z) + d), in nats an example, with z the largest units of encoder(x) and d
    those of its dead units, the others set to 0; the second term is there while a unit is dead, and only its gradient:
    by its value losses would jump where a unit dies. For a linear decoder and a squared error the gradient for d is the
    paper's, d reconstructing what z leaves of x; here the decoder's other weights move too, the likelihood's scale does
    not. A unit that is kept counts as alive whatever its sign. There is no prior to sample from.

    couples: a unit is dead when no example of the batch, nor of the steps before, has kept it
    active: units that an example keeps
    aux: dead units that an example reconstructs the rest with, at most; 0 for no auxiliary loss
    dead_after: steps since a unit was last kept by any example
    """
    if not 1 <= active <= net.latent:
        raise InputError(f"active {active}: expected from 1 to the {net.latent} latent units")
    if aux < 0 or dead_after < 1:
        raise InputError(f"aux {aux}, dead_after {dead_after}: expected at least 0 and at least 1")
    parts, everywhere = bind(net, outputs=net.latent), jnp.ones((net.latent,), bool)
    # Steps as real numbers: --exact takes the mean of the state over shards.
    init = with_state(parts.init, silent=lambda key, batch: jnp.zeros((net.latent,), jnp.float32))

    def embed(variables, batch):
        return largest(parts.encode(variables, batch), active, everywhere)

    def loss(variables, keys, batch, step):
        every, silent = parts.encode(variables, batch), variables.state["silent"]
        z, dead = largest(every, active, everywhere), silent >= dead_after
        reconstruction, state = parts.reconstruction(variables, z, batch)
        auxiliary = jnp.zeros_like(reconstruction)
        if aux:
            d = largest(every, min(aux, net.latent), dead)
            auxiliary = parts.reconstruction(frozen(variables, "likelihood"), jax.lax.stop_gradient(z) + d, batch)[0]
            auxiliary = jnp.where(jnp.any(dead), auxiliary, 0.0)
        kept = axis.mean(jnp.mean((z != 0).astype(z.dtype), axis=0)) > 0
        state = {**state, "silent": jnp.where(kept, 0.0, silent + 1)}
        share = jnp.full_like(reconstruction, jnp.mean(dead))
        metrics = {"reconstruction": reconstruction, "auxiliary": auxiliary, "dead": share}
        descended = AUXILIARY * (auxiliary - jax.lax.stop_gradient(auxiliary))
        return Objective(reconstruction + descended, state, metrics)

    return autoencoder(parts, loss, embed, init=init)


def largest(code: Codes, count: int, among: Bool[Array, " latent"]) -> Codes:
    """The `count` largest units of each code, of those that are `among`; zero elsewhere."""
    allowed = jnp.broadcast_to(among[None], code.shape)
    _, places = jax.lax.top_k(jnp.where(allowed, code, -jnp.inf), count)
    kept = jnp.put_along_axis(jnp.zeros_like(allowed), places, True, axis=-1, inplace=False)
    return jnp.where(kept & allowed, code, 0.0)
