"""Paths between two codes."""

import numpy as np
from jaxtyping import Float

from jaxae.errors import known


def linear(
    a: Float[np.ndarray, "pairs latent"], b: Float[np.ndarray, "pairs latent"], t: Float[np.ndarray, " steps"]
) -> Float[np.ndarray, "pairs steps latent"]:
    """(1 - t) a + t b."""
    return (1 - t)[None, :, None] * a[:, None] + t[None, :, None] * b[:, None]


def spherical(
    a: Float[np.ndarray, "pairs latent"], b: Float[np.ndarray, "pairs latent"], t: Float[np.ndarray, " steps"]
) -> Float[np.ndarray, "pairs steps latent"]:
    """Directions along the great circle (Shoemake 1985), norms linear in t.

    A path between two codes of norm r keeps norm r, near which Gaussian codes of many dimensions lie. Codes
    on one line through 0, for which there is no one circle, are joined by that line.
    """
    of_a, of_b = (np.linalg.norm(x, axis=-1, keepdims=True) for x in (a, b))
    u, v = (x / np.where(norm > 0, norm, 1) for x, norm in ((a, of_a), (b, of_b)))
    angle = np.arccos(np.clip(np.sum(u * v, axis=-1), -1, 1))[:, None, None]
    curved = np.sin(angle) > 1e-6
    sine = np.where(curved, np.sin(angle), 1)
    s = t[None, :, None]
    circle = (np.sin((1 - s) * angle) * u[:, None] + np.sin(s * angle) * v[:, None]) / sine
    radius = linear(of_a, of_b, t)
    nonzero = (np.minimum(of_a, of_b) > 0)[:, None]
    return np.where(curved & nonzero, radius * circle, linear(a, b, t))


PATHS = {"linear": linear, "spherical": spherical}


def between(a: np.ndarray, b: np.ndarray, steps: int, how: str) -> Float[np.ndarray, "pairs steps latent"]:
    """`steps` codes on the path from each a to its b, the first a and the last b to the bit."""
    known("path", how, PATHS)
    z = PATHS[how](a.astype(np.float64), b.astype(np.float64), np.linspace(0, 1, steps)).astype(a.dtype)
    z[:, 0], z[:, -1] = a, b
    return z
