"""`digits`: scikit-learn's 1,797 real handwritten digits, embedded in that package: no download."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from jaxae.data.source import Source, Split, hold_out

TEST, VALIDATION = 360, 180
FILE = "datasets/data/digits.csv.gz"


def load(validation: int | None = None) -> Source:
    """8 x 8 x 1; the 17 grey levels 0..16 become uint8 by rounding 255 * level / 16. 1,257 / 180 / 360."""
    levels, labels = _table()
    rows = np.rint(levels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = labels.astype(np.int32)
    rest, test = hold_out(len(rows), TEST, "digits")
    kept, held = hold_out(len(rest), VALIDATION if validation is None else validation, "digits")
    about = "handwritten digits of the UCI set (Alpaydin and Kaynak), from scikit-learn; split by a fixed permutation"
    train, valid, last = (Split(rows[i], labels[i], places=i) for i in (rest[kept], rest[held], test))
    return Source("digits", (8, 8, 1), train, valid, last, about=about, classes=tuple("0123456789"))


def _table() -> tuple[np.ndarray, np.ndarray]:
    """(grey levels [1797, 64], labels [1797]), from scikit-learn's file where it is found: to import the package takes
    longer than all else before the first step."""
    found = find_spec("sklearn")
    file = Path(found.origin).parent / FILE if found and found.origin else None
    if file is None or not file.is_file():
        from sklearn.datasets import load_digits

        return load_digits(return_X_y=True)
    table = np.loadtxt(file, delimiter=",", dtype=np.int32)
    return table[:, :-1], table[:, -1]
