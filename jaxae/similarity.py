"""Structural similarity of images, at one scale and at several.

Wang, Bovik, Sheikh and Simoncelli 2004 (IEEE Trans. Image Processing 13:600), and Wang, Simoncelli and Bovik 2003
(Asilomar Conf. Signals, Systems and Computers), from here on 2004 and 2003. Pixels lie in [0, 1]; channels are compared
one by one, and their similarities averaged.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.types import Images

SIDE, SIGMA = 11, 1.5  # of the Gaussian window, 2004
LUMINANCE, CONTRAST = 0.01**2, 0.03**2  # C_1 and C_2 of 2004
EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # 2003, from the finest scale to the coarsest
LEAST = 1e-4  # what a mean similarity below it counts as at several scales: a power of it must have a slope


def scales(shape: tuple[int, ...]) -> tuple[int, int]:
    """(the window's side, how many scales) of images [height, width, ...]: a window of 11, or the largest odd one that
    fits, at one scale; and as many of the five scales as are no smaller than it."""
    shortest = min(shape[:2])
    side = min(SIDE, shortest - 1 + shortest % 2)
    return side, 1 if side < SIDE else sum(shortest // 2**scale >= side for scale in range(len(EXPONENTS)))


def multiscale(x: Images, y: Images) -> Float[Array, " batch"]:
    """MS-SSIM of pairs of images, 2003, eq. 7: 1 where they are equal. Of fewer scales than five the exponents are
    brought to the same sum, 1; of one scale that is SSIM, which may be negative."""
    side, count = scales(x.shape[1:])
    exponents = np.array(EXPONENTS[:count]) / sum(EXPONENTS[:count])
    found = jnp.ones((len(x), x.shape[-1]), x.dtype)
    for scale, exponent in enumerate(exponents.tolist()):
        x, y = (x, y) if scale == 0 else (_halved(x), _halved(y))
        luminance, structure = compared(x, y, side)
        alike = jnp.mean(luminance * structure if scale == count - 1 else structure, axis=(1, 2))
        found *= alike if count == 1 else jnp.maximum(alike, LEAST) ** exponent
    return jnp.mean(found, axis=1)


def compared(
    x: Images, y: Images, side: int
) -> tuple[Float[Array, "batch rows columns channels"], Float[Array, "batch rows columns channels"]]:
    """(luminance, contrast times structure) of x and y at every place of the window, 2004, eq. 6 and 13."""
    mean_x, mean_y = _windowed(x, side), _windowed(y, side)
    var_x, var_y = _windowed(x * x, side) - mean_x**2, _windowed(y * y, side) - mean_y**2
    both = _windowed(x * y, side) - mean_x * mean_y
    luminance = (2 * mean_x * mean_y + LUMINANCE) / (mean_x**2 + mean_y**2 + LUMINANCE)
    return luminance, (2 * both + CONTRAST) / (var_x + var_y + CONTRAST)


def _windowed(x: Images, side: int) -> Float[Array, "batch rows columns channels"]:
    """The mean in the Gaussian window at each place where all of it lies within the image: two matrix products."""
    rows, columns = (jnp.asarray(_window(size, side), x.dtype) for size in x.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", rows, x, columns, precision="highest")  # variances are differences of these


def _window(size: int, side: int) -> np.ndarray:
    """[places, size]"""
    weights = np.exp(-0.5 * ((np.arange(side) - (side - 1) / 2) / SIGMA) ** 2)
    places = size - side + 1
    found = np.zeros((places, size))
    for place in range(places):
        found[place, place : place + side] = weights / weights.sum()
    return found


def _halved(x: Images) -> Float[Array, "batch rows columns channels"]:
    """The means of squares of four pixels; what is left over at an odd side is cut off."""
    batch, height, width, channels = x.shape
    cut = x[:, : height // 2 * 2, : width // 2 * 2]
    return cut.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))
