"""Files as users have them, and the one line that a bad one is refused with."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxae.errors import InputError


def saved(folder: Path, array: Any, name: str = "x.npy") -> str:
    np.save(folder / name, array)
    return str(folder / name)


def zipped(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "x.npz", **arrays)
    return str(folder / "x.npz")


def refused(call: Any, *args: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def as_set(rows):
    return sorted(row.tobytes() for row in rows)
