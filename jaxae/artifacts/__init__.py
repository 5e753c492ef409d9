"""What a trained run makes: reconstructions, samples, paths between codes, traversals, the codes themselves.

Functions of a `Trained` that return numpy arrays. Sample i comes out the same whatever the count.
"""

from jaxae.artifacts.make import (
    Interpolations,
    Reconstructions,
    Traversals,
    decode,
    encode,
    interpolate,
    reconstruct,
    sample,
    traverse,
)
from jaxae.evaluate.units import Units, units

__all__ = [
    "Interpolations",
    "Reconstructions",
    "Traversals",
    "Units",
    "decode",
    "encode",
    "interpolate",
    "reconstruct",
    "sample",
    "traverse",
    "units",
]
