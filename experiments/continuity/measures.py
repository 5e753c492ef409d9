"""How continuous a latent space is: each measure is one number a trained model, by a formula stated here.

Notation: e(x) is the code of an image (of a VAE: the posterior mean), d(z) the decoded image (the mean of
p(x|z)), both without noise. Codes are those of the test images; regions are fitted to those of the reference
images, which are training images. All randomness is numpy's, from the seed handed in: both methods of a seed
see the same pairs.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.spatial import KDTree

Array = np.ndarray
Region = Callable[[np.random.Generator, int], Array]
"""(generator, n) -> points [n, latent]: a law from which one might draw codes to decode."""

PAIRS = 1000
POINTS = 2000
CONFIDENT = 0.9
TAIL = 0.05
CORE = 0.01
"""Share of the codes cut off on each side of the box, so that one stray code does not set its size."""


class Model(NamedTuple):
    """A trained autoencoder as functions of numpy arrays."""

    encode: Callable[[Array], Array]
    decode: Callable[[Array], Array]
    sample_codes: Callable[[np.random.Generator, Array], Array]
    """z ~ q(z|x), which is e(x) itself where the encoder is deterministic."""


class Images(NamedTuple):
    """references: training images; test and labels: the held-out ones."""

    references: Float[Array, "m height width channels"]
    test: Float[Array, "n height width channels"]
    labels: Int[Array, " n"]


def standard(latent: int) -> Region:
    """N(0, 1) in every unit."""
    return lambda rng, n: rng.standard_normal((n, latent))


def fitted(codes: Array) -> Region:
    """The Gaussian with the codes' mean and covariance."""
    mean, factor = codes.mean(axis=0), np.linalg.cholesky(np.cov(codes.T) + 1e-9 * np.eye(codes.shape[1]))
    return lambda rng, n: mean + rng.standard_normal((n, codes.shape[1])) @ factor.T


def box(codes: Array) -> Region:
    """Uniform between the 1% and the 99% quantile of every unit."""
    low, high = np.quantile(codes, (CORE, 1 - CORE), axis=0)
    return lambda rng, n: rng.uniform(low, high, (n, codes.shape[1]))


def spread(codes: Array) -> float:
    """Root mean square distance of the codes from their mean: sqrt(trace of the covariance)."""
    return float(np.sqrt(codes.var(axis=0).sum()))


def pairs(rng: np.random.Generator, labels: Int[Array, " n"], count: int) -> tuple[Array, Array]:
    """Indices of `count` random pairs of different label."""
    i, j = rng.integers(len(labels), size=(2, 20 * count))
    different = labels[i] != labels[j]
    return i[different][:count], j[different][:count]


def squared_distance(images: Array, references: Array) -> Float[Array, " n"]:
    """min over references r of ||x - r||^2, summed over pixels: pixel values squared, an image."""
    x, r = (a.reshape(len(a), -1).astype(np.float32) for a in (images, references))
    lengths = np.square(r).sum(axis=1)
    return np.maximum(np.square(x).sum(axis=1) + (lengths - 2 * x @ r.T).min(axis=1), 0)


def off_manifold(images: Array, baseline: Array, references: Array) -> float:
    """mean squared_distance(images) / mean squared_distance(baseline): a ratio, 1 where they are alike.

    The references stand for the data manifold. Dividing by the model's own reconstructions of real images
    keeps a decoder from being judged by its sharpness: a blurred image is far from a sharp one in squared
    distance, and both sides of the ratio share that blur. What it cannot show: that the image means something
    (a mean over a class lies near that class), nor anything finer than the references' distance from each
    other.
    """
    return float(squared_distance(images, references).mean() / squared_distance(baseline, references).mean())


def cycle_error(model: Model, z: Array, scale: float) -> float:
    """mean |e(d(z)) - z| / scale, scale = spread of the codes: 0 where the encoder finds every code again.

    Large where the decoder sends z to an image whose own code is elsewhere. What it cannot show: whether that
    image is any good; and a unit that the model does not use counts as an error, for nothing of it is in the
    image.
    """
    return float(np.linalg.norm(model.encode(model.decode(z)) - z, axis=1).mean() / scale)


def echo_error(model: Model, made: Array, variance: float) -> float:
    """mean ||d(e(y)) - y||^2 / variance, y = d(z): how much of a decoded image a second pass loses.

    variance is that of the test images about their mean, so the unit is the same for every model. Unlike the
    cycle error it does not see units that the decoder ignores, nor how the codes are scaled.
    """
    lost = np.square(model.decode(model.encode(made)) - made).sum(axis=(1, 2, 3))
    return float(lost.mean() / variance)


def confident_share(probabilities: Float[Array, "n classes"]) -> float:
    """Share of images to which the classifier gives some class more than CONFIDENT.

    What it cannot show: a classifier may be sure of an image that is no digit; the crossfades tell how often.
    """
    return float((probabilities.max(axis=1) > CONFIDENT).mean())


def hole_share(codes: Array, region: Region, rng: np.random.Generator, points: int = POINTS) -> float:
    """Share of draws u from the region whose nearest code is farther than r: TAIL of them by its own law.

    r is the 1 - TAIL quantile of the distance from u to the nearest of as many independent draws from the
    region as there are codes. So the scale is the region's own, and the number of codes sets how small a hole
    can be seen.
    """
    drawn, u = region(rng, len(codes)), region(rng, points)
    r = np.quantile(KDTree(drawn).query(u)[0], 1 - TAIL)
    return float((KDTree(codes).query(u)[0] > r).mean())


def regions_of(model: Model, images: Images, rng: np.random.Generator) -> dict[str, Region]:
    """Three laws to draw codes from: N(0, 1), a VAE's prior and nothing in particular to an autoencoder; the
    Gaussian fitted to the references' codes; and their box. Of a VAE, these are codes drawn from q(z|x)."""
    known = model.sample_codes(rng, images.references)
    return {"standard": standard(known.shape[1]), "fitted": fitted(known), "box": box(known)}


def measure(model: Model, images: Images, classify: Callable[[Array], Array], seed: int) -> dict[str, float]:
    """Every measure of one trained model. `classify` gives class probabilities [n, classes]."""
    rng = np.random.default_rng(seed)
    i, j = pairs(rng, images.labels, PAIRS)
    codes = model.encode(images.test)
    any_i, any_j = rng.integers(len(codes), size=(2, PAIRS))
    between, anywhere = (codes[i] + codes[j]) / 2, (codes[any_i] + codes[any_j]) / 2
    again = model.decode(codes)
    middle, crossfade = model.decode(between), (again[i] + again[j]) / 2
    regions = regions_of(model, images, rng)
    drawn = {name: region(rng, POINTS) for name, region in regions.items()}
    sampled = model.sample_codes(rng, images.test)
    scale, refs = spread(codes), images.references
    variance = float(images.test.var(axis=0).sum())
    made = {"midpoint": middle, **{name: model.decode(z) for name, z in drawn.items()}}

    def sure(x):
        return confident_share(classify(x))

    return {
        "mse": float(np.square(again - images.test).mean()),
        "midpoint": off_manifold(middle, again[i], refs),
        "midpoint_any": off_manifold(model.decode(anywhere), again[any_i], refs),
        "midpoint_crossfade": off_manifold(crossfade, again[i], refs),
        "nearest_reconstruction": float(squared_distance(again[i], refs).mean()),
        "nearest_real": float(squared_distance(images.test[i], refs).mean()),
        "spread": scale,
        "cycle_codes": cycle_error(model, codes, scale),
        "cycle_midpoint": cycle_error(model, between, scale),
        **{f"cycle_{name}": cycle_error(model, z, scale) for name, z in drawn.items()},
        "echo_codes": echo_error(model, again, variance),
        **{f"echo_{name}": echo_error(model, y, variance) for name, y in made.items()},
        "sure_reconstruction": sure(again),
        "sure_crossfade": sure(crossfade),
        **{f"sure_{name}": sure(y) for name, y in made.items()},
        **{f"holes_{name}": hole_share(sampled, region, rng) for name, region in regions.items()},
    }
