"""The work that all peers do: the networks, layer by layer, and what they cost in floating-point operations.

Images are 28 x 28 pixels, binarised once for everybody. One table of layers is what every peer builds its network from
and what the operations are counted from, so that the count and the programs cannot part.
"""

from itertools import pairwise
from typing import NamedTuple

SIDE, PIXELS = 28, 784
WINDOW = 5120  # examples over which a loss is averaged: whole steps at every batch size here


class Layer(NamedTuple):
    """A dense layer, a convolution ("conv") or a transposed one ("up"), both of stride 2."""

    kind: str
    inputs: int
    outputs: int
    kernel: int = 1
    side: int = 1
    """Of the output image; a transposed convolution is cropped to it."""
    before: int = 1
    """Of the input image."""

    @property
    def macs(self) -> int:
        """Multiplications of an example, those with padding counted: each kernel sits once on every place of the
        convolution's output, or of the transposed one's input."""
        places = {"dense": 1, "conv": self.side**2, "up": self.before**2}[self.kind]
        return places * self.kernel**2 * self.inputs * self.outputs


class Work(NamedTuple):
    name: str
    about: str
    batch: int
    encoder: tuple[Layer, ...]
    """The last one gives mean and log-variance: twice the latent."""
    decoder: tuple[Layer, ...]
    """The last one gives the logits; its bias is one number a pixel."""
    latent: int
    activation: str
    k: int = 0
    """Importance samples of the IWAE; 0: the VAE's ELBO with its KL in closed form."""
    network: str = "mlp"

    @property
    def flops(self) -> int:
        """Of training on one example: two operations a multiplication; forward once, backward twice, but nobody needs
        the gradient of the images. Decoders run once a sample. Activations, losses and the update are not counted."""
        forward = sum(layer.macs for layer in self.encoder) + max(self.k, 1) * self.sample_macs
        return 2 * (3 * forward - self.encoder[0].macs)

    @property
    def sample_macs(self) -> int:
        """Multiplications of decoding one sample."""
        return sum(layer.macs for layer in self.decoder)


def dense(*sizes: int) -> tuple[Layer, ...]:
    return tuple(Layer("dense", one, other) for one, other in pairwise(sizes))


def mlp(batch: int) -> Work:
    about = f"VAE 784-500-20, one hidden layer of 500 ReLU on each side, batch {batch:,}"
    return Work(f"mlp-{batch}", about, batch, dense(PIXELS, 500, 40), dense(20, 500, PIXELS), 20, "relu")


def iwae() -> Work:
    about = "IWAE of Burda et al. 2015, 784-200-200-50 tanh, k = 50 importance samples, batch 20"
    there, back = dense(PIXELS, 200, 200, 100), dense(50, 200, 200, PIXELS)
    return Work("iwae", about, 20, there, back, 50, "tanh", k=50)


def conv() -> Work:
    """jaxae's network `conv` at its defaults, which is that of Locatello et al. 2018 for images of this size."""
    there = (
        Layer("conv", 1, 32, 4, 14, SIDE), Layer("conv", 32, 32, 4, 7, 14), Layer("conv", 32, 64, 2, 4, 7),
        *dense(64 * 4 * 4, 256, 40),
    )  # fmt: skip
    back = (
        *dense(20, 256, 64 * 4 * 4),
        Layer("up", 64, 32, 4, 7, 4), Layer("up", 32, 32, 4, 14, 7), Layer("up", 32, 1, 4, SIDE, 14),
    )  # fmt: skip
    about = "VAE of convolutions 32-32-64, a dense layer of 256 and 20 latent units, mirrored, batch 128"
    return Work("conv", about, 128, there, back, 20, "relu", network="conv")


TRAINING = {work.name: work for work in (mlp(20), mlp(128), mlp(1024), iwae(), conv())}
