"""Disentanglement scores from how well a factor is predicted from codes: SAP and DCI."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.special import entr
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from jaxae.evaluate.factors import Table, rivalled, usable


def sap(train: Table, test: Table) -> float:
    """Separated attribute predictability: for each factor, how much better the best code predicts it than the second.

    Kumar et al. 2017 (arXiv:1711.00848), section 3: the difference of test accuracies, the mean over factors. A code
    predicts by a linear SVM (one against the rest, C = 0.01, balanced classes) that sees no other code; a line
    separates few of many ordered values, so a perfect code scores much less than 1. A single code is compared with a
    constant one. Raises InputError for unusable tables.
    """
    train, test = (rivalled(table) for table in usable(train, test))
    accuracy = [
        [_separated(seen, values, held, expected) for seen, held in zip(train.codes.T, test.codes.T)]
        for values, expected in zip(train.factors.T, test.factors.T)
    ]
    second, best = np.sort(accuracy, axis=1)[:, -2:].T
    return float(np.mean(best - second))


def _separated(
    seen: Float[np.ndarray, " n"],
    values: Int[np.ndarray, " n"],
    held: Float[np.ndarray, " m"],
    expected: Int[np.ndarray, " m"],
) -> float:
    """Test accuracy of a linear SVM on one code."""
    # The primal problem: the same optimum as the protocol's dual, without its random order of coordinates.
    model = LinearSVC(C=0.01, class_weight="balanced", dual=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the protocol's 1000 iterations
        return float(model.fit(seen[:, None], values).score(held[:, None], expected))


class Dci(NamedTuple):
    disentanglement: float
    completeness: float
    informativeness: float


def dci(train: Table, test: Table) -> Dci:
    """Whether a code matters for one factor only, a factor needs one code only, and how well factors are predicted.

    Eastwood and Williams 2018 (openreview.net/forum?id=By-7dz-AZ), section 2: 1 - the entropy of a code's importances,
    base k, averaged over codes by their share of all importance; likewise of a factor's, base the number of codes; and,
    as Locatello et al. have it, the mean test accuracy (not the error). A factor's importances are the share of each
    code in what the splits of boosted trees gain: 100 rounds of depth 3 at a rate of 0.1, a tree for each value.

    Deviation: the protocol's trees, GradientBoostingClassifier, need 280 s of CPU for 10 codes of the factors of
    sprites. These are scikit-learn's histogram trees of the same settings, with codes cut at 254 quantiles and gains
    of second order: 23 s. On two simulated sets of codes the three scores were 0.57, 0.60, 0.70 (by the protocol's
    trees 0.56, 0.58, 0.68) and 0.26, 0.19, 0.48 (0.21, 0.15, 0.46). Forests, and boosting on parts of the data or for
    fewer rounds, were far off.
    Raises InputError for unusable tables or fewer than two factors that vary.
    """
    train, test = (rivalled(table) for table in usable(train, test, least=2))
    found = [_boosted(train.codes, seen, test.codes, held) for seen, held in zip(train.factors.T, test.factors.T)]
    importance = np.stack([gains for gains, _ in found])
    return Dci(_concentration(importance.T), _concentration(importance), float(np.mean([right for _, right in found])))


def _boosted(
    seen: Float[np.ndarray, "n latent"],
    values: Int[np.ndarray, " n"],
    held: Float[np.ndarray, "m latent"],
    expected: Int[np.ndarray, " m"],
) -> tuple[Float[np.ndarray, " latent"], float]:
    """(share of each code in the gains of all splits, or 0 where nothing splits; test accuracy).

    Of codes that split equally well, the first is taken; so the trees grow twice, the second time with the codes in
    reverse, and two codes that are alike share what they gain. One thread: the sums are the same on every machine.
    """
    gains, accuracy = np.zeros(seen.shape[1]), []
    for order in (np.arange(len(gains)), np.arange(len(gains))[::-1]):
        model = HistGradientBoostingClassifier(
            max_iter=100, learning_rate=0.1, max_depth=3, max_leaf_nodes=None, min_samples_leaf=1,
            early_stopping=False, random_state=0,
        )  # fmt: skip
        with threadpool_limits(1, user_api="openmp"):
            model.fit(seen[:, order], values)
            accuracy.append(model.score(held[:, order], expected))
        for tree in (tree for stage in model._predictors for tree in stage):  # no public name; exporters read it too
            split = tree.nodes[tree.nodes["is_leaf"] == 0]
            np.add.at(gains, order[split["feature_idx"]], split["gain"])
    total = gains.sum()
    return gains / total if total > 0 else gains, float(np.mean(accuracy))


def _concentration(shares: Float[np.ndarray, "rows columns"]) -> float:
    """1 - the entropy of each row, base the number of columns, averaged by the rows' sums. 0 where all is 0."""
    weights = shares.sum(axis=1)
    if weights.sum() == 0:
        return 0.0
    rows, weights = shares[weights > 0], weights[weights > 0]
    entropy = entr(rows / weights[:, None]).sum(axis=1) / np.log(shares.shape[1])
    return float(np.average(1 - entropy, weights=weights))
