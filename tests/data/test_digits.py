"""scikit-learn's digits, read from its file without it."""

import numpy as np
from sklearn.datasets import load_digits

from jaxae.data import digits


def test_the_file_holds_what_scikit_learn_loads(monkeypatch):
    levels, labels = digits._table()
    expected = load_digits(return_X_y=True)
    np.testing.assert_array_equal(levels, expected[0])
    np.testing.assert_array_equal(labels, expected[1])
    found = digits.load()
    monkeypatch.setattr(digits, "FILE", "moved/digits.csv.gz")
    assert digits._table()[0].dtype == np.float64  # scikit-learn's own
    again = digits.load()
    assert again.digest == found.digest and again.test.labels.dtype == found.test.labels.dtype == np.int32
