"""From rows to pixels in [0, 1], inside the compiled program: scaling, binarisation."""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae import random
from jaxae.errors import known
from jaxae.names import BINARIZE
from jaxae.types import Images, Keys

FIXED_KEY = 0
"""The stated key of `fixed`: example i of a split is drawn once and for all from fold_in(key(0), i). Examples of one
number in two splits share their uniforms."""


@cache  # so that what is compiled for one run's images serves the next run in this process
def make(binarize: str, decode: Callable[[Array], Array] | None = None) -> Callable[[Keys, Array, Array], Images]:
    """pixels(keys, rows [batch, ...], index [batch]) -> x [batch, height, width, channels] in [0, 1].

    `keys` are the access's own (dynamic); `index` is the example's number in its split (fixed: "drawn once").
    none keeps grey levels; threshold cuts at one half; dynamic draws each pixel afresh with its grey level as the
    probability (Burda et al. 2015); fixed draws it once.
    """
    known("binarisation", binarize, BINARIZE)

    def pixels(keys, rows, index):
        raw = rows if decode is None else decode(rows)
        x = raw.astype(jnp.float32) / 255 if raw.dtype == jnp.uint8 else raw.astype(jnp.float32)
        if binarize == "none":
            return x
        if binarize == "threshold":
            return (x >= 0.5).astype(jnp.float32)
        if binarize == "fixed":
            keys = jax.vmap(jax.random.fold_in, (None, 0))(random.fixed(FIXED_KEY), index)
        return jax.vmap(jax.random.bernoulli)(keys, x).astype(jnp.float32)

    return pixels
