"""Images as one picture: a grid of tiles, as PNG bytes."""

import io

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

GAP = 2
TILE = 64
PAPER = 255
FRAME = 190  # grey levels of what stands between images whose own borders are LIGHT
LIGHT = 200


def to_bytes(images: Float[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Pixels in [0, 1] as 0..255; what lies outside is cut off, and what is not a number is black."""
    return np.rint(255 * np.clip(np.nan_to_num(images, nan=0.0), 0, 1)).astype(np.uint8)


def grid(
    images: Float[np.ndarray, "rows columns height width channels"],
    zoom: int | None = None,
    gap: int = GAP,
    clear: bool = False,
) -> np.ndarray:
    """Tiles on white paper, uint8: [height, width] for grey, [height, width, 3] for colour; clear: and alpha. Images
    whose borders are light would run together on it: they are framed in grey.

    Tile (r, c) starts at pixel (gap + r (height zoom + gap), gap + c (width zoom + gap)). A pixel becomes a
    square of `zoom`; by default what makes a tile about 64. Of other channels than 1 or 3 the first is shown.
    """
    rows, columns, height, width, channels = images.shape
    zoom = zoom or max(1, TILE // max(height, width))
    tiles = to_bytes(images if channels == 3 else images[..., :1])
    blank = np.asarray(np.isposinf(images).all(axis=(2, 3, 4)))  # what `table` fills up with
    framed = _are_light(tiles[~blank])
    if clear:
        alpha = np.full_like(tiles[..., :1], 255)
        alpha[blank] = 0
        tiles = np.concatenate([tiles, alpha], axis=-1)
    tiles = tiles.repeat(zoom, axis=2).repeat(zoom, axis=3)
    high, wide = tiles.shape[2:4]
    size = (gap + rows * (high + gap), gap + columns * (wide + gap), tiles.shape[-1])
    sheet = np.full(size, PAPER, np.uint8)
    if clear:
        sheet[..., -1] = 0
    for r, c in np.ndindex(rows, columns):
        top, left = gap + r * (high + gap), gap + c * (wide + gap)
        if framed and not blank[r, c]:
            frame = sheet[top - gap : top + high + gap, left - gap : left + wide + gap]
            frame[..., : 3 if channels == 3 else 1] = FRAME
            if clear:
                frame[..., -1] = 255
        sheet[top : top + high, left : left + wide] = tiles[r, c]
    return sheet[..., 0] if sheet.shape[-1] == 1 else sheet


def _are_light(tiles: UInt8[np.ndarray, "n height width channels"]) -> bool:
    edges = (tiles[:, 0], tiles[:, -1], tiles[:, :, 0], tiles[:, :, -1])
    return bool(len(tiles)) and float(np.median(np.concatenate([edge.ravel() for edge in edges]))) >= LIGHT


def png(sheet: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(sheet).save(file, "PNG")
    return file.getvalue()


def table(
    images: Float[np.ndarray, "n height width channels"], columns: int | None = None
) -> Float[np.ndarray, "rows columns height width channels"]:
    """A row of images broken into lines, near a square by default; the last line is filled with white, or with nothing
    on clear paper."""
    n = len(images)
    columns = min(n, columns or int(np.ceil(np.sqrt(n))))
    rows = -(-n // columns)
    blank = np.full((rows * columns - n, *images.shape[1:]), np.inf, images.dtype)
    return np.concatenate([images, blank]).reshape(rows, columns, *images.shape[1:])


def beside(
    above: Float[np.ndarray, "n height width channels"],
    below: Float[np.ndarray, "n height width channels"],
    columns: int = 16,
) -> Float[np.ndarray, "rows columns height width channels"]:
    """Lines of `above`, each with its line of `below` under it."""
    pair = np.stack([table(above, columns), table(below, columns)], axis=1)
    return pair.reshape(-1, *pair.shape[2:])
