"""The latent space in a plane: principal components of the codes, and the lattice to decode."""

from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Float


class Components(NamedTuple):
    points: Float[np.ndarray, "n 2"]
    """The codes on their first two principal components."""
    ratio: Float[np.ndarray, " latent"]
    """The share of the codes' variance that each component explains."""


def components(z: Float[np.ndarray, "n latent"]) -> Components:
    """PCA of the codes. A component's sign makes its largest weight positive: a rerun draws the same."""
    centred = z.astype(np.float64) - z.mean(axis=0, dtype=np.float64)
    variance, axes = np.linalg.eigh(centred.T @ centred / len(z))
    variance, axes = np.maximum(variance[::-1], 0), axes[:, ::-1]
    largest = np.take_along_axis(axes, np.argmax(np.abs(axes), axis=0)[None], axis=0)
    axes = axes * np.where(largest < 0, -1, 1)
    total = variance.sum()
    return Components(centred @ axes[:, :2], variance / total if total > 0 else variance)


def lattice(z: Float[np.ndarray, "n latent"], side: int, gaussian: bool) -> Float[np.ndarray, "side latent"]:
    """`side` places along each of the latent axes.

    gaussian: at equal steps of probability under N(0, 1), 0.02 to 0.98 (Kingma and Welling 2013, figure 4).
    Else at equal steps of length over the middle 98 % of the codes.
    """
    if gaussian:
        line = [NormalDist().inv_cdf(p) for p in np.linspace(0.02, 0.98, side)]
        return np.repeat(np.array(line, np.float32)[:, None], z.shape[1], axis=1)
    low, high = np.quantile(z, [0.01, 0.99], axis=0)
    return np.linspace(low, high, side).astype(np.float32)


def plane(lines: Float[np.ndarray, "side 2"]) -> Float[np.ndarray, "side side 2"]:
    """The lattice's points as a picture has them: first unit to the right, second unit upwards."""
    right, up = np.meshgrid(lines[:, 0], lines[::-1, 1])
    return np.stack([right, up], axis=-1)
