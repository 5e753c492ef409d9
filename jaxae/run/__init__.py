"""A run in its folder: train or resume it, load it, measure it."""

from jaxae.evaluate.settings import Settings
from jaxae.run.loading import Trained, check_data, final_digest, history, is_of_its_data, load, of, on
from jaxae.run.measuring import (
    Keeping,
    bench,
    evaluate_run,
    evaluate_runs,
    evaluator,
    is_measured,
    measured,
    scores,
    store,
)
from jaxae.run.starting import begin_with, variables_in
from jaxae.run.training import layout_of, train

__all__ = [
    "Keeping", "Settings", "Trained", "begin_with", "bench", "check_data", "evaluate_run", "evaluate_runs", "evaluator",
    "final_digest", "history", "is_measured", "is_of_its_data", "layout_of", "load", "measured", "of", "on",
    "scores", "store", "train", "variables_in",
]  # fmt: skip
