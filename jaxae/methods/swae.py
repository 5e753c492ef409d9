from jaxae import axis, divergences, random
from jaxae.methods.wae_mmd import matched
from jaxae.types import Method, Net, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def swae(net: Net, *, weight: Weight = 100.0) -> Method:
    """Sliced Wasserstein autoencoder: codes without noise, held near N(0, 1) along random directions.

    Kolouri et al. 2018 (arXiv:1804.01947), here with the prior N(0, 1).

    loss = -log p(x | z) + weight SW(codes, draws from N(0, 1)), z = encoder(x), in nats an example; SW is the squared
    2-Wasserstein distance on a line, mean over directions. Each example's key draws one direction and one code of the
    prior, so that there are as many of both as examples in the global batch, and none depends on the devices.

    couples: SW, which pairs the global batch's sorted projections with those of draws from the prior
    weight: of the sliced Wasserstein distance
    """

    def distance(keys, z):
        for_prior, for_direction = random.split(keys)
        drawn, directions = (axis.gather(random.normal(own, (net.latent,))) for own in (for_prior, for_direction))
        return divergences.sliced_wasserstein(axis.gather(z), drawn, directions)

    return matched(net, weight, "sliced_wasserstein", distance)
