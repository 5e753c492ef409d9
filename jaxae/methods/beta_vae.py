from jaxae.methods.vae import vae
from jaxae.types import Method, Net, Weight


def beta_vae(net: Net, *, beta: Weight = 4.0) -> Method:
    """Beta-VAE: a VAE whose KL weighs more than its reconstruction, which favours codes of independent units.

    Higgins et al. 2017 (ICLR), eq. 4.

    loss = -log p(x | z) + beta KL(q(z | x) || N(0, 1)), z = mean + exp(log_var / 2) noise, in nats an example.

    beta: weight of the KL divergence; at 1 it is the VAE
    """
    return vae(net, beta=beta)
