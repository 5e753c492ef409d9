import math

from jaxae import quantize
from jaxae.errors import InputError
from jaxae.parts import autoencoder, bind
from jaxae.types import Discrete, Method, Net, Objective

DEFAULTS = {"likelihood": "gaussian", "binarize": "none"}


def fsq(net: Net, *, levels: str = "8,5,5,5") -> Method:
    """Finite scalar quantisation: each number of the code is bounded and rounded, with no codebook.

    Mentzer et al. 2023 (arXiv:2309.15505), section 3.

    loss = -log p(x | e), e = round(bound(encoder(x))) / floor(levels / 2), in nats an example. The bound of unit j
    lets it take levels[j] values; the gradient passes straight through the rounding. There is no prior: the
    autoregressive sampler learns one.

    codes: points of a grid, levels[j] values for number j; of what lies between, no encoder gives any
    levels: how many values each number at a position takes, separated by commas; latent is a multiple of their count
    """
    grid = parsed(levels)
    if net.latent % len(grid):
        raise InputError(f"latent {net.latent}: expected a multiple of {len(grid)}, the number of levels in {levels!r}")
    parts = bind(net, outputs=net.latent)

    def rounded(variables, batch):
        z = parts.encode(variables, batch)
        e, index = quantize.fsq(z.reshape(len(z), -1, len(grid)), grid)
        return e.reshape(z.shape), index

    def embed(variables, batch):
        return rounded(variables, batch)[0]

    def loss(variables, keys, batch, step):
        reconstruction, state = parts.reconstruction(variables, embed(variables, batch), batch)
        return Objective(reconstruction, state, {"reconstruction": reconstruction})

    def numbers(variables, batch):
        return rounded(variables, batch)[1]

    def to_image(variables, index):
        return parts.decode(variables, quantize.fsq_codes(index, grid).reshape(len(index), -1))

    return autoencoder(parts, loss, embed, discrete=Discrete(numbers, to_image, math.prod(grid)))


def parsed(levels: str) -> tuple[int, ...]:
    """ "8,5,5" is (8, 5, 5)."""
    words = [word.strip() for word in levels.split(",")]
    if not all(word.isdecimal() and int(word) >= 2 for word in words) or math.prod(map(int, words)) >= 2**31:
        raise InputError(f"levels {levels!r}: expected numbers of at least 2, such as 8,5,5,5, of a product under 2^31")
    return tuple(map(int, words))
