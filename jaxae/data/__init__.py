"""Data by name: `load("digits")`, `load("mnist")`, `load("./faces")`. Imports jax and TFDS when it must."""

from typing import TYPE_CHECKING, Any

from jaxae.data.names import catalogue
from jaxae.errors import InputError
from jaxae.names import IN_MEMORY, is_path

if TYPE_CHECKING:
    from jaxae.data.in_memory import arrays
    from jaxae.data.source import Source, Split, hold_out

__all__ = ["Source", "Split", "arrays", "catalogue", "hold_out", "load"]


def load(name: str, validation: int | None = None, size: int | None = None, test: int | None = None) -> "Source":
    """The data set of that name, or the user's files at that path.

    `digits`, `sprites`, a TFDS image data set (`mnist`, `tfds:emnist/balanced`), or a .npy, .npz or idx(.gz)
    file or a folder of images (`./mnist` where a folder has a data set's name). `validation`, `test`: how many
    training examples to hold out, where the source has no such split of its own. `size`: pixels of a side, to which a
    folder's images are cut and scaled.
    """
    if name.startswith(IN_MEMORY):
        raise InputError(
            f"data {name!r}: arrays that were in memory: from Python, source= them (jaxae.data.arrays); or train on a "
            'file, np.savez("mine.npz", x=x), which every command reads'
        )
    if size is not None and not is_path(name):
        raise InputError(f"size {size}: the images of {name} have theirs: it is for a folder of images")
    if test is not None and name in ("digits", "sprites"):
        raise InputError(f"test {test}: {name} has a test split of its own: leave it out")
    if name == "digits":
        from jaxae.data import digits

        return digits.load(validation)
    if name == "sprites":
        from jaxae.data import sprites

        return sprites.load(validation)
    from jaxae.data.splits import Held

    if is_path(name):
        from jaxae.data import files

        return files.load(name, Held(validation, test), size)
    from jaxae.data import tfds

    return tfds.load(name, Held(validation, test))


def __getattr__(name: str) -> Any:
    if name == "arrays":
        from jaxae.data.in_memory import arrays

        return arrays
    if name in ("Source", "Split", "hold_out"):  # these annotate with jax's types: imported on first use
        from jaxae.data import source

        return getattr(source, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
