from jaxae.codebooks import quantised
from jaxae.types import Method, Net, Weight

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def rvq(
    net: Net,
    *,
    stages: int = 4,
    dim: int = 4,
    codebook: int = 64,
    commitment: Weight = 0.25,
    decay: float = 0.99,
    restart: float = 0.1,
) -> Method:
    """Residual VQ autoencoder: a sum of vectors, one from each of several codebooks, each for what is left over.

    Zeghidour et al. 2021 (arXiv:2107.03312), algorithm 1; for images, with a commitment to every partial sum, Lee et
    al. 2022 (arXiv:2203.01941).

    loss = -log p(x | e) + commitment sum_s |z - stop(e_1 + ... + e_s)|^2, z = encoder(x), e the sum of all the e_s, in
    nats an example and squared units of the code; e_s is the vector of codebook s nearest to what the stages before it
    leave of z. The codebooks move by moving averages. The gradient passes from e to z unchanged. There is no prior: the
    autoregressive sampler learns one, over positions and stages.

    couples: the codebooks, moved by means over the global batch, and the perplexity of their use
    codes: sums of vectors, one of each codebook; of what lies between, no encoder gives any
    stages: codebooks, and codes at each position
    dim: numbers at a position: latent / dim positions an example
    codebook: vectors in each codebook
    commitment: weight of the distances of the encoder's output to the partial sums
    decay: of the moving averages
    restart: share of equal use below which a code begins again at a vector of the batch; 0 for never
    """
    return quantised(net, stages, dim, codebook, commitment, "ema", decay, restart)
