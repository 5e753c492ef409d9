"""A small classifier of real images, calibrated on held-out ones: the judge of what a decoder makes."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

Array = np.ndarray
Labelled = tuple[Float[Array, "n height width channels"], Int[Array, " n"]]


class Classifier(NamedTuple):
    probabilities: Callable[[Array], Float[Array, "n classes"]]
    temperature: float
    classes: Array


UNITS, BATCH = 256, 128


def train(data: Labelled, held_out: Labelled, steps: int = 4000) -> Classifier:
    """One hidden layer, Adam, at most about `steps` updates, a fixed seed. Its log-probabilities are divided
    by the temperature with the best likelihood on `held_out` (Guo et al. 2017, arXiv:1706.04599, section
    4.2)."""
    epochs, batch = max(1, steps * BATCH // len(data[1])), min(BATCH, len(data[1]))
    net = MLPClassifier((UNITS,), batch_size=batch, max_iter=epochs, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        net.fit(_flat(data[0]), data[1])
    log_p = net.predict_log_proba(_flat(held_out[0]))
    place = np.searchsorted(net.classes_, held_out[1])

    def nll(log_temperature):
        return -log_softmax(log_p / np.exp(log_temperature), axis=1)[np.arange(len(place)), place].mean()

    temperature = float(np.exp(minimize_scalar(nll, bounds=(-2, 3), method="bounded").x))

    def probabilities(x):
        return softmax(net.predict_log_proba(_flat(x)) / temperature, axis=1)

    return Classifier(probabilities, temperature, net.classes_)


def assess(classifier: Classifier, images: Array, labels: Array, level: float) -> dict[str, float]:
    """Test accuracy, the share of images above `level`, and the accuracy on those."""
    p = classifier.probabilities(images)
    right, sure = classifier.classes[p.argmax(axis=1)] == labels, p.max(axis=1) > level
    return {
        "accuracy": float(right.mean()),
        "sure": float(sure.mean()),
        "accuracy_when_sure": float(right[sure].mean()),
        "temperature": classifier.temperature,
        "images": len(labels),
    }


def _flat(x: Array) -> Array:
    return np.asarray(x).reshape(len(x), -1)
