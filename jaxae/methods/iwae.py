from jaxae import bounds, gaussian
from jaxae.errors import at_least_one, known
from jaxae.types import Method, Net, Objective


def iwae(net: Net, *, k: int = 5, estimator: str = "plain") -> Method:
    """Importance weighted autoencoder: a VAE trained on a bound that several samples make tighter than the ELBO.

    Burda et al. 2015 (arXiv:1509.00519), eq. 8; the gradient's estimators: Roeder et al. 2017 (arXiv:1703.09194),
    Tucker et al. 2018 (arXiv:1810.04152), eq. 8.

    loss = -log (1/k) sum_i p(x, z_i) / q(z_i | x), with z_1, ..., z_k ~ q(z | x), in nats an example. It is minus the
    metric "bound"; "elbo" is the mean of log p(x, z_i) / q(z_i | x) over the same samples.

    k: importance samples an example; with one the bound is the ELBO, its KL taken at the sample
    estimator: of the encoder's gradient: plain, stl (without the score of q), or dreg (unbiased for k > 1 too)
    """
    at_least_one(k=k)
    known("estimator", estimator, bounds.ESTIMATORS)
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        log_w, state = base.log_weights(variables, keys, batch, (k,), estimator)
        bound = bounds.importance_weighted(log_w.total)
        return Objective(-bound, state, bounds.averages(log_w, bound))

    return base.method(loss)
