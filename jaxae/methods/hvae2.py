import jax.numpy as jnp

from jaxae import bounds, densities, gaussian, random
from jaxae.errors import at_least_one, known, not_negative
from jaxae.gaussian import reparameterise
from jaxae.networks.heads import MLP, normal, started
from jaxae.parts import generative, with_params
from jaxae.types import LogWeight, Method, Net, Normal, Objective

BOUNDS = {"elbo": lambda log_w: jnp.mean(log_w, axis=0), "iwae": bounds.importance_weighted}


def hvae2(
    net: Net,
    *,
    top: int = 50,
    hidden: int = 100,
    layers: int = 2,
    k: int = 1,
    bound: str = "elbo",
    estimator: str = "plain",
) -> Method:
    """Two-layer hierarchical VAE: a second Gaussian code is the prior of the first, and inference goes bottom-up.

    Burda et al. 2015 (arXiv:1509.00519), their two stochastic layers: 100 units in h1 (here the latent size), 50 in h2.

    loss = -(1/k) sum_i log w_i (bound = elbo) or -log (1/k) sum_i w_i (iwae), w_i = p(x|h1) p(h1|h2) p(h2) / (q(h1|x)
    q(h2|h1)) at the i-th of k draws, in nats an example. p(h2) = N(0, 1). The code is h1, whose prior is no N(0, 1).

    codes: h1 alone, the layer next to the image; h2, its prior, is drawn with it, and the KL divergence is of both
    top: units of h2
    hidden: units of each hidden layer between h1 and h2
    layers: hidden layers (tanh) of q(h2|h1) and of p(h1|h2); with 0 both are linear
    k: samples of (h1, h2) an example
    bound: what k samples train: elbo (the mean of log w) or iwae (the log of the mean of w); the same for k = 1
    estimator: of q's gradient: plain, stl (without the score of q), or dreg (unbiased for any k; for iwae alone)
    """
    at_least_one(top=top, hidden=hidden, k=k)
    not_negative(layers=layers)
    known("bound", bound, BOUNDS)
    known(f"estimator of the bound {bound}", estimator, bounds.ESTIMATORS if bound == "iwae" else ("plain", "stl"))
    base = gaussian.bind(net)
    parts, up, down = base.parts, *(MLP(2 * units, hidden, layers, "tanh") for units in (top, net.latent))
    init = with_params(parts.init, up=started(up, net.latent), down=started(down, top))

    def draw(variables, keys, batch, shape=()):
        """((h1, h2), q): q(h2|h1) goes by its parameters, since it moves with h1."""
        for_h1, for_h2 = random.split(keys)
        q = Normal(*(jnp.broadcast_to(leaf, (*shape, *leaf.shape)) for leaf in base.posterior(variables, batch)))
        h1 = reparameterise(for_h1, q, shape)
        return (h1, reparameterise(for_h2, normal(up, variables.params["up"], h1), shape)), (q, variables.params["up"])

    def log_prior(variables, h):
        return densities.standard_normal(h[1]) + densities.normal(h[0], normal(down, variables.params["down"], h[1]))

    def score(variables, h, q, log_px):
        log_q = densities.normal(h[0], q[0]) + densities.normal(h[1], normal(up, q[1], h[0]))
        return LogWeight(log_px, log_prior(variables, h), log_q)

    def loss(variables, keys, batch, step):
        def weigh(variables, h, q):
            reconstruction, state = parts.reconstruction(variables, h[0], batch)
            return score(variables, h, q, -reconstruction), state

        h, q = draw(variables, keys, batch, (k,))
        log_w, state = bounds.estimate(weigh, variables, h, q, estimator)
        value = BOUNDS[bound](log_w.total)
        return Objective(-value, state, bounds.averages(log_w, value))

    def log_weight(variables, keys, batch):
        h, q = draw(variables, keys, batch)
        return score(variables, h, q, parts.log_prob(variables, h[0], batch))

    def draw_prior(variables, keys):
        for_h1, for_h2 = random.split(keys)
        h2 = random.normal(for_h2, (top,))
        return reparameterise(for_h1, normal(down, variables.params["down"], h2)), h2

    return base.method(
        loss,
        init=init,
        sample=lambda variables, keys: parts.decode(variables, draw_prior(variables, keys)[0]),
        posterior=None,
        standard_prior=False,
        draw=lambda variables, keys, batch: draw(variables, keys, batch)[0][0],
        log_weight=log_weight,
        generative=generative(parts, draw_prior, log_prior, code=lambda h, batch: h[0]),
    )
