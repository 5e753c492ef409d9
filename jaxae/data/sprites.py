"""`sprites`: the dSprites factor grid, rendered here: 3 shapes, 6 scales, 40 orientations, 32 x, 32 y.

After Matthey et al., "dSprites: Disentanglement testing Sprites dataset" (2017): the same grid and factor
order, not the same pixels. A sprite is drawn once for each (shape, scale, orientation), on the host and in
double precision (no pixel centre lies nearer than 1e-7 to an outline, so every machine draws the same), then
moved by whole pixels: an image is a shifted copy, exact on every device. As in dSprites, orientations go once
round the full circle, so a square repeats every 10 steps and an ellipse every 20.
"""

import math
from collections.abc import Callable
from functools import cache, lru_cache

import numpy as np
from jaxtyping import Array, UInt8

from jaxae.data.source import Source, Split, hold_out

FACTORS = {"shape": 3, "scale": 6, "orientation": 40, "x": 32, "y": 32}
SHAPES = ("square", "ellipse", "heart")
CANVAS, TILE = 64, 33  # pixels: a tile moved by 0 to 31 stays on the canvas
TEST = VALIDATION = 36_864  # 5 % of the grid each
ABOUT = (
    "all 737,280 images of the dSprites factor grid, rendered by jaxae; split by a fixed permutation of the 430,080 "
    "that differ: no image is in two splits, though turned squares and ellipses look the same"
)


def square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Pixels from the centre -> whether they lie in the sprite at scale 1. Half a side is 11.3 pixels."""
    return np.maximum(np.abs(u), np.abs(v)) <= 11.3


def ellipse(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Semi-axes of 15.7 and 7.85 pixels."""
    return (u / 15.7) ** 2 + (v / 7.85) ** 2 <= 1


def heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """(x^2 + y^2 - 1)^3 <= x^2 y^3, 12.7 pixels to the unit, about the centre of its circumscribed circle."""
    x, y = u / 12.7, 0.25 - v / 12.7
    return (x * x + y * y - 1) ** 3 <= x * x * y**3


@lru_cache(1)
def tiles() -> UInt8[np.ndarray, "sprite 33 33"]:
    """Every (shape, scale, orientation) once, in the order of the grid: [720, 33, 33], 0 or 255."""
    v, u = np.mgrid[:TILE, :TILE] - float(TILE // 2)
    drawn = []
    for inside in (square, ellipse, heart):
        for scale in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0):
            for step in range(FACTORS["orientation"]):
                angle = 2 * math.pi * step / FACTORS["orientation"]
                cos, sin = math.cos(angle) / scale, math.sin(angle) / scale
                drawn.append(inside(u * cos + v * sin, v * cos - u * sin))
    return np.stack(drawn).astype(np.uint8) * np.uint8(255)


@cache  # one function for all loads: what is compiled for it serves the next run
def renderer() -> Callable[[Array], Array]:
    """The jittable map from factor codes [batch, 5] to images [batch, 64, 64, 1] uint8, 0 or 255."""
    import jax
    import jax.numpy as jnp

    drawn, room = tiles(), CANVAS - TILE

    def window(tile: Array, x: Array, y: Array) -> Array:
        return jax.lax.dynamic_slice(tile, (room - y, room - x), (CANVAS, CANVAS))

    def decode(codes: Array) -> Array:
        shape, scale, orientation, x, y = codes.astype(jnp.int32).T
        sprite = (shape * FACTORS["scale"] + scale) * FACTORS["orientation"] + orientation
        padded = jnp.pad(jnp.asarray(drawn)[sprite], ((0, 0), (room, room), (room, room)))
        return jax.vmap(window)(padded, x, y)[..., None]

    return decode


def images(codes: np.ndarray) -> np.ndarray:
    """[n, 5] factor codes -> [n] numbers, the same for those of one image."""
    _, drawn = np.unique(tiles().reshape(len(tiles()), -1), axis=0, return_inverse=True)
    sprite = np.ravel_multi_index(tuple(codes[:, :3].T), tuple(FACTORS.values())[:3])
    return (drawn.reshape(-1)[sprite] * FACTORS["x"] + codes[:, 3]) * FACTORS["y"] + codes[:, 4]


def load(validation: int | None = None) -> Source:
    """64 x 64 x 1, binary: 663,552 / 36,864 / 36,864 by default. Rows are factor codes [n, 5]."""
    codes = np.indices(tuple(FACTORS.values()), dtype=np.uint8).reshape(len(FACTORS), -1).T
    image = images(codes)
    rest, test = hold_out(len(codes), TEST, "sprites", image)
    kept, held = hold_out(len(rest), VALIDATION if validation is None else validation, "sprites", image[rest])

    def split(index: np.ndarray) -> Split:
        return Split(np.ascontiguousarray(codes[index]), codes[index, 0].astype(np.int32))

    return Source(
        name="sprites",
        shape=(CANVAS, CANVAS, 1),
        train=split(rest[kept]),
        validation=split(rest[held]),
        test=split(test),
        about=ABOUT,
        classes=SHAPES,
        factor_names=tuple(FACTORS),
        factor_sizes=tuple(FACTORS.values()),
        decode=renderer(),
    )
