"""From a config to its objects: what no compiled step could refuse is refused here, before anything is trained."""

import dataclasses

import numpy as np
import pytest

from jaxae import run, sweep
from jaxae.build import build
from jaxae.config import Config
from jaxae.data import load
from jaxae.data.source import Split
from jaxae.errors import InputError
from tests import made

REFUSED = {
    ("ciwae", "beta", 2.0): "beta 2.0: expected a number from 0 to 1",
    ("denoising_ae", "level", 3.0): "level 3.0: expected a number from 0 to 1",
    ("geco_vae", "tolerance", 0.0): "tolerance 0.0: expected a root mean squared error above 0",
    ("categorical_vae", "temperature", 0.0): "temperature 0.0: expected a number above 0",
    ("infovae", "alpha", 1.5): "alpha 1.5: expected a number from 0 to 1",
    ("infovae", "lambda_z", 0.1): "alpha 0.5, lambda_z 0.1: expected a sum of at least 1",
    ("ciwae", "beta", "linear(0, 2, 100%)"): r"beta linear\(0, 2, 100%\), at step \d+: beta 1\.\d+: expected a number",
    ("categorical_vae", "temperature", "linear(1, 0, 50%)"): r"at step \d+: temperature 0.0: expected a number above 0",
    ("geco_vae", "tolerance", "piecewise(0.1, 500, 0)"): r"at step 5\d\d: tolerance 0.0: expected a root mean",
}


@pytest.mark.parametrize(("method", "name", "value"), REFUSED)
def test_a_weight_that_its_method_refuses_is_refused_before_training(digits, method, name, value):
    config = Config(method=method, hyperparameters={name: value}, steps=1000)
    with pytest.raises(InputError, match=REFUSED[method, name, value]):
        build(config, source=digits)


def test_so_are_a_runs_and_a_members(tmp_path):
    with pytest.raises(InputError, match=r"beta 2\.0: expected a number from 0 to 1"):
        run.train(Config(method="ciwae", hyperparameters={"beta": 2.0}, steps=2), tmp_path / "run")
    plan = sweep.Plan(Config(method="ciwae", steps=2), (0, 1), {"beta": (0.5, 2.0)})
    with pytest.raises(InputError, match=r"beta 2\.0: expected a number from 0 to 1"):
        sweep.sweep(plan, tmp_path / "s")
    assert not (tmp_path / "run").exists() and not (tmp_path / "s" / "sweep.json").exists()


@pytest.mark.parametrize("beta", [0.5, "linear(0, 1, 100%)", "cyclic(0, 1, 10e, 0.5)"])
def test_what_it_takes_is_taken(digits, beta):
    assert build(Config(method="ciwae", hyperparameters={"beta": beta}), source=digits).method


def relabelled(**splits):
    source = made.source(n=6)
    parts = {
        name: Split(source.train.rows, np.asarray(labels, np.int32))
        for name, labels in (
            {"train": [0, 1, 2] * 2, "validation": [0, 1, 2] * 2, "test": [0, 1, 2] * 2} | splits
        ).items()
    }
    return dataclasses.replace(source, **parts)


LABELS = {
    "train": ([1, 2, 3] * 2, "no training example has label 0, of 4 classes"),
    "test": ([0, 1, 4] * 2, "label 4 is in its test split, and no training example has it"),
    "validation": ([0, 3, 4] * 2, "label 3 is in its validation split"),
}


@pytest.mark.parametrize("split", LABELS)
def test_a_method_that_is_told_the_label_needs_examples_of_each(split):
    labels, message = LABELS[split]
    source = relabelled(**{split: labels})
    with pytest.raises(InputError, match=message):
        build(Config(method="cvae", batch_size=4, steps=2), source=source)
    assert build(Config(method="vae", batch_size=4, steps=2), source=source).method, "others do not look at it"


def test_labels_that_are_not_known_are_no_class():
    source = relabelled(train=[0, -1, 1, -1, 2, 2], test=[-1] * 6)
    assert build(Config(method="cvae", batch_size=4, steps=2), source=source).net.classes == 3
    assert build(Config(method="cvae"), source=load("digits")).net.classes == 10
