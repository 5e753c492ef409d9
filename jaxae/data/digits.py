"""`digits`: scikit-learn's 1,797 real handwritten digits, embedded in that package: no download."""

import numpy as np

from jaxae.data.source import Source, Split, hold_out

TEST, VALIDATION = 360, 180


def load(validation: int | None = None) -> Source:
    """8 x 8 x 1; the 17 grey levels 0..16 become uint8 by rounding 255 * level / 16. 1,257 / 180 / 360."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    rows = np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    rest, test = hold_out(len(rows), TEST, "digits")
    kept, held = hold_out(len(rest), VALIDATION if validation is None else validation, "digits")
    about = "handwritten digits of the UCI set (Alpaydin and Kaynak), from scikit-learn; split by a fixed permutation"
    train, valid, last = (Split(rows[i], labels[i]) for i in (rest[kept], rest[held], test))
    return Source("digits", (8, 8, 1), train, valid, last, about=about, classes=tuple("0123456789"))
