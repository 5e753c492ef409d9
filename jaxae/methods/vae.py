from jaxae import gaussian
from jaxae.parts import Parts
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight


def vae(net: Net, *, beta: Weight = 1.0) -> Method:
    """Variational autoencoder: a Gaussian code, sampled by reparameterisation and held near N(0, 1) by its KL.

    Kingma and Welling 2013 (arXiv:1312.6114), eq. 10; beta: Higgins et al. 2017 (ICLR), eq. 4.

    loss = -log p(x | z) + beta KL(q(z | x) || N(0, 1)), z = mean + exp(log_var / 2) noise, in nats an example.

    beta: weight of the KL divergence; at 1 the loss is minus the ELBO
    """
    return weighted(net, beta)


def weighted(net: Net, beta: Weight, prior: gaussian.Prior | None = None, parts: Parts | None = None) -> Method:
    """Also with another prior, at whose sample the KL is taken, or of other parts than the net's: `gaussian.bind`."""
    base = gaussian.bind(net, prior, parts)

    def loss(variables, keys, batch, step):
        terms = base.terms(variables, keys, batch)
        return Objective(terms.reconstruction + at_step(beta, step) * terms.kl, terms.state, terms.metrics())

    return base.method(loss)
