import jax
import jax.numpy as jnp

from jaxae import bounds, densities, gaussian
from jaxae.errors import at_least_one, known
from jaxae.parts import frozen
from jaxae.types import LogWeight, Method, Net, Normal, Objective


def piwae(net: Net, *, groups: int = 4, k: int = 4, estimator: str = "plain") -> Method:
    """Partially importance weighted autoencoder: the decoder is trained by IWAE, the encoder by MIWAE.

    Rainforth et al. 2018 (arXiv:1802.04537).

    loss = -log (1/(m k)) sum_ij w_ij, w_ij = p(x, z_ij) / q(z_ij | x), z_ij ~ q(z | x), in nats an example. The decoder
    (and the likelihood's parameters) descend it; the encoder descends -(1/m) sum_j log (1/k) sum_i w_ij instead, on the
    same samples, whose gradient has the higher signal-to-noise ratio.

    groups: independent bounds that the encoder's is the mean of, m; the decoder's has all m k samples
    k: importance samples in each of the encoder's bounds
    estimator: of the encoder's gradient: plain, stl (without the score of q), or dreg (unbiased for k > 1 too)
    """
    at_least_one(groups=groups, k=k)
    known("estimator", estimator, bounds.ESTIMATORS)
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        def weigh(variables, z, q):
            reconstruction, state = base.parts.reconstruction(variables, z, batch)
            return LogWeight(-reconstruction, densities.standard_normal(z), densities.normal(z, q)), state

        single = base.posterior(variables, batch)
        q = Normal(*(jnp.broadcast_to(leaf, (groups, k, *leaf.shape)) for leaf in single))
        z = gaussian.reparameterise(keys, q, (groups, k))
        log_w, state = weigh(variables, *jax.lax.stop_gradient((z, q)))
        bound = bounds.importance_weighted(log_w.total.reshape(-1, len(batch.x)))
        others = frozen(variables, "decoder", "likelihood")
        for_encoder, _ = bounds.estimate(weigh, others, z, q, estimator)
        multiple = jnp.mean(bounds.importance_weighted(for_encoder.total), axis=0)
        # Of the second bound only the gradient is wanted: its value is taken off again, which leaves an exact zero.
        descended = bound + (multiple - jax.lax.stop_gradient(multiple))
        return Objective(-descended, state, bounds.averages(log_w, bound))

    return base.method(loss)
