from jaxae import bounds, gaussian
from jaxae.errors import a_share, at_least_one
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight


def ciwae(net: Net, *, beta: Weight = 0.5, k: int = 5) -> Method:
    """Combination importance weighted autoencoder: a convex combination of the ELBO and IWAE's bound.

    Rainforth et al. 2018 (arXiv:1802.04537).

    loss = -beta (1/k) sum_i log w_i - (1 - beta) log (1/k) sum_i w_i, w_i = p(x, z_i) / q(z_i | x), z_i ~ q(z | x), in
    nats an example; both terms use the same samples. With beta 0 it is IWAE; with beta 1 the VAE trained with k samples
    an example, which Burda et al. 2015 (arXiv:1509.00519) compare with IWAE.

    beta: weight of the ELBO, from 0 (IWAE) to 1 (the VAE with that many samples)
    k: importance samples an example
    """
    at_least_one(k=k)
    a_share(beta=beta)
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        log_w, state = base.log_weights(variables, keys, batch, (k,))
        metrics = bounds.averages(log_w, bounds.importance_weighted(log_w.total))
        weight = at_step(beta, step)
        bound = weight * metrics["elbo"] + (1 - weight) * metrics["bound"]
        return Objective(-bound, state, metrics | {"bound": bound})

    return base.method(loss)
