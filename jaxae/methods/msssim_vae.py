from jaxae import gaussian, similarity
from jaxae.parts import frozen, of_likelihood
from jaxae.schedules import at_step
from jaxae.types import Method, Net, Objective, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def msssim_vae(net: Net, *, weight: Weight = 100.0) -> Method:
    """MS-SSIM-VAE: a VAE whose images are compared by their structure at several scales, not pixel by pixel.

    Snell et al. 2017 (arXiv:1511.06409), the expected-loss VAE with the similarity of Wang et al. 2003.

    loss = KL(q(z | x) || N(0, 1)) + weight (1 - MS-SSIM(x, E[x|z])), in nats an example for a similarity that is given
    so many. Images of a side below 22 have one scale, and so SSIM itself, and five take a side of 176. The likelihood
    of pixels trains nothing but its own parameters: the NLL is of pixels all the same, and the higher for it.

    weight: of one minus the similarity, which is 1 at most, against the KL
    """
    base = gaussian.bind(net)

    def loss(variables, keys, batch, step):
        terms = base.terms(variables, keys, batch)
        decoded = base.parts.decode(frozen(variables, "likelihood"), terms.z)
        alike = similarity.multiscale(batch.x, decoded)
        value = terms.kl + at_step(weight, step) * (1 - alike)
        value += of_likelihood(base.parts, variables, terms.z, batch)
        return Objective(value, terms.state, terms.metrics(similarity=alike))

    return base.method(loss)
