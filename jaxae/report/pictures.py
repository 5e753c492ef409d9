"""Grids of images as data URIs, kept small enough that a page of them can be sent by mail."""

import base64

import numpy as np
from jaxtyping import Float
from markupsafe import Markup
from PIL import Image

from jaxae.artifacts import images

TILE = 72  # pixels that a tile is brought up to
BUDGET = 350_000  # bytes of a picture
HOPELESS = 24 * BUDGET  # bytes of its pixels: to try whether so many fit takes seconds


def data_uri(tiles: Float[np.ndarray, "rows columns height width channels"], gap: int = 4, tile: int = TILE) -> Markup:
    """A grid of tiles on clear paper. Small images are magnified, and what is over budget is made smaller."""
    zoom, between = max(1, tile // max(tiles.shape[2:4])), gap
    while True:
        smallest = min(tiles.shape[2:4]) * zoom <= 8
        if smallest or tiles.size * zoom**2 <= HOPELESS:
            content = images.png(images.grid(tiles, zoom, between, clear=gap > 0))
            if smallest or len(content) <= BUDGET:
                return Markup("data:image/png;base64," + base64.b64encode(content).decode())
        zoom, tiles = ((zoom + 1) // 2, tiles) if zoom > 1 else (1, _halved(tiles))
        between = max(1, gap // 2) if gap else 0


def _halved(tiles: np.ndarray) -> np.ndarray:
    """Each tile at half its size, pixels averaged."""
    rows, columns, height, width, channels = tiles.shape
    shown = images.to_bytes(tiles if channels == 3 else tiles[..., :1])
    size = (max(1, width // 2), max(1, height // 2))
    small = [
        np.asarray(
            Image.fromarray(tile.squeeze(-1) if tile.shape[-1] == 1 else tile).resize(size, Image.Resampling.BOX)
        )
        for tile in shown.reshape(-1, height, width, shown.shape[-1])
    ]
    made = (np.stack(small) / np.float32(255)).reshape(rows, columns, size[1], size[0], -1)
    made[np.isposinf(tiles).all(axis=(2, 3, 4))] = np.inf  # no image stays none
    return made
