from jaxae.codebooks import quantised
from jaxae.types import Method, Net, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def vqvae(
    net: Net,
    *,
    dim: int = 2,
    codebook: int = 64,
    commitment: Weight = 0.25,
    update: str = "ema",
    decay: float = 0.99,
    restart: float = 0.1,
) -> Method:
    """VQ-VAE: each part of the code is replaced by the nearest vector of a codebook, which is learned with the rest.

    van den Oord et al. 2017 (arXiv:1711.00937), eq. 3; the codebook's moving averages: appendix A.1.

    loss = -log p(x | e) [+ |stop(z) - e|^2 if update = gradient] + commitment |z - stop(e)|^2, z = encoder(x), e the
    vectors nearest to z, in nats an example and squared units of the code. By default, ema, each vector moves to the
    mean of what is assigned to it instead. The gradient passes from e to z unchanged. Nothing says how often a
    code is used, so there is no prior: the autoregressive sampler learns one.

    couples: the codebook, moved by means over the global batch, and the perplexity of its use
    codes: vectors of the codebook, latent / dim an example; of what lies between, no encoder gives any
    dim: numbers that one code stands for: latent / dim codes an example
    codebook: vectors in the codebook
    commitment: weight of the distance of the encoder's output to its code
    update: of the codebook: ema (moving averages, in the state) or gradient (by the optimiser, in the parameters)
    decay: of the moving averages
    restart: share of equal use below which a code begins again at a vector of the batch (ema alone); 0 for never
    """
    return quantised(net, 1, dim, codebook, commitment, update, decay, restart)
