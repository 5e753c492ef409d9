"""A Config holds only what can be run; its identity is its result; its command leads back to it."""

import copy
import dataclasses
import inspect
import json
import math
import os
import pickle
import shlex
import subprocess
import sys
from pathlib import Path

import click
import numpy as np
import pytest

from jaxae import methods
from jaxae.cli import train as train_verb
from jaxae.command import of_run
from jaxae.config import Config, from_dict
from jaxae.errors import InputError

CAPTURE = {"capture_output": True, "text": True, "check": True}
NAN, INF = math.nan, math.inf
# every field: values that are refused, values at the very edge that are not
FIELDS = {
    "method": (["vaee", ""], ["ae", "vae"]),
    "latent": ([0, -1, 2.5, "many", True, None], [1, 1000]),
    "network": (["mpl", 3], [None, "linear", "mlp", "gated_mlp", "conv", "resnet"]),
    "width": ([0, -5, 1.5], [None, 1]),
    "depth": ([0, -1], [None, 1]),
    "activation": (["reLu", 1], [None, "relu", "tanh"]),
    "likelihood": (["gausian"], [None, "bernoulli", "gaussian_optimal"]),
    "scale": ([0, -0.1, NAN, INF, "wide", None], [1e-6, 10]),
    "data": (["", 5, None], ["mnist", "/x.npy"]),
    "binarize": (["dinamic", True], [None, "none", "threshold", "fixed", "dynamic"]),
    "validation": ([0, -1, 0.1], [None, 1]),
    "size": ([0, -1, 0.5], [None, 1]),
    "test": ([0, -1, 0.5], [None, 1]),
    "stream": (["maybe", True], ["auto", "yes", "no"]),
    "steps": ([0, "0", "5%", "-3", "ten", None, True, INF], [1, "1", "20e", "1e3"]),
    "batch_size": ([0, -1, 1.5], [1, 10**6]),
    "seed": ([-1, 2**32, 0.5], [0, 2**32 - 1]),
    "start": (["", 5], [None, "/runs/a"]),
    "optimizer": (["adamm"], ["adam", "sgd"]),
    "learning_rate": (
        [-1e-3, NAN, INF, "fast", "linar(0, 1, 2)", None, True],
        [0, 1, "1e-3", "cosine(1e-3, 0, 100%)"],
    ),
    "weight_decay": ([-1e-9, NAN, INF], [0]),
    "b1": ([-0.1, 1, 1.0, NAN], [0, 0.999]),
    "b2": ([-0.1, 1, NAN], [0, 0.9999]),
    "eps": ([0, -1e-8, NAN], [1e-12]),
    "clip_norm": ([0, -1, NAN, INF], [None, 1e-3]),
    "accumulate": ([0, -2, 1.5], [1, 128]),
    "average": ([-0.1, 1, NAN], [None, 0, 0.9999]),
    "dtype": (["float16", "float64"], ["float32", "bfloat16"]),
    "patience": ([0, -1, 1.5], [None, 1]),
    "validate_every": ([0, "0%", "often"], [1, "1e", "100%"]),
    "order_seed": ([-1, 2**32, 0.5], [None, 0, 2**32 - 1]),
    "exact": ([1, "yes", None], [True, False]),
    "shards": ([0, -1, 1.5], [None]),
    "devices": ([0, -1], [1, 128]),
    "parallel": (["pmpa", True], ["jit", "pmap", "none"]),
    "log_every": ([0, "-1", "x"], [1, "1%"]),
    "checkpoint_every": ([0, "x%"], [1, "1%"]),
    "keep": ([0, -1], [1]),
    "chunk": ([0, -1], [1]),
    "samples": ([0, 1, 2.5], [2]),
    "evaluate": (["train", None], ["test", "validation", "none"]),
    "wandb": (["", 7], [None, "project"]),
}
NEAREST = {
    "method": ("vaee", "vae"),
    "network": ("mpl", "mlp"),
    "activation": ("rellu", "relu"),
    "optimizer": ("adm", "adam"),
    "likelihood": ("gausian", "gaussian"),
    "binarize": ("dinamic", "dynamic"),
    "dtype": ("float31", "float32"),
    "stream": ("yess", "yes"),
}
# what a resumed run may change: none of it changes the result, or only its rounding
FREE = {
    "stream": "yes",
    "validate_every": "5%",
    "devices": 2,
    "parallel": "pmap",
    "log_every": 7,
    "checkpoint_every": 3,
    "keep": 5,
    "chunk": 10,
    "samples": 64,
    "evaluate": "none",
    "wandb": "project",
}
OTHER = {
    "method": "ae",
    "hyperparameters": {"beta": 4.0},
    "latent": 2,
    "network": "linear",
    "width": 64,
    "depth": 2,
    "activation": "tanh",
    "likelihood": "gaussian",
    "scale": 0.5,
    "data": "mnist",
    "binarize": "fixed",
    "validation": 50,
    "size": 64,
    "test": 50,
    "steps": 77,
    "batch_size": 64,
    "seed": 1,
    "start": "/runs/a",
    "optimizer": "sgd",
    "learning_rate": "cosine(1e-3, 0, 100%)",
    "weight_decay": 0.1,
    "b1": 0.5,
    "b2": 0.99,
    "eps": 1e-6,
    "clip_norm": 1.0,
    "accumulate": 2,
    "average": 0.99,
    "dtype": "bfloat16",
    "patience": 3,
    "order_seed": 7,
    "exact": True,
    "shards": 4,
}


def pair(name, values):
    """A Config, and one that differs in that field alone."""
    base = {"weight_decay": {"optimizer": "adamw"}, "shards": {"exact": True}, "scale": {"likelihood": "gaussian"}}
    base = base.get(name, {})
    return Config(**base), Config(**{**base, name: values[name]})


def cases(place):
    return [(name, value) for name, both in FIELDS.items() for value in both[place]]


def test_every_field_is_in_the_tables():
    names = {field.name for field in dataclasses.fields(Config)}
    assert names == {*FIELDS, "hyperparameters"} == {*FREE, *OTHER}


@pytest.mark.parametrize(("name", "value"), cases(0))
def test_refused_in_one_line_that_names_the_value(name, value):
    with pytest.raises(InputError) as caught:
        Config(**{name: value})
    message = str(caught.value)
    assert "\n" not in message
    assert name in message
    assert str(value).partition("(")[0] in message


@pytest.mark.parametrize(("name", "value"), cases(1))
def test_accepted_at_the_edge(name, value):
    batch = {"batch_size": 128} if name in ("accumulate", "devices") else {}
    kept = getattr(Config(**{name: value, **batch}), name)
    assert str(kept) == str(value) or float(kept) == float(value)


def test_a_field_that_says_nothing_names_no_other_result():
    """The folder of a run without --run is named by this: it must be found again."""
    assert {"size", "start", "test"}.isdisjoint(Config().result())
    assert Config(size=8, data="x/").identity() != Config(data="x/").identity()


@pytest.mark.parametrize("name", NEAREST)
def test_unknown_name_is_answered_with_the_nearest(name):
    wrong, right = NEAREST[name]
    with pytest.raises(InputError, match=f"'{wrong}': did you mean '{right}'"):
        Config(**{name: wrong})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hyperparameters": {"bta": 1.0}}, "unknown hyperparameter of vae 'bta': did you mean 'beta'"),
        ({"hyperparameters": {"beta": -1.0}}, "beta -1.0: expected a finite number, at least 0"),
        ({"hyperparameters": {"beta": NAN}}, "beta nan: expected a finite number"),
        (
            {"hyperparameters": {"beta": "linar(0, 1, 5)"}},
            "beta: unknown schedule 'linar': did you mean 'linear'",
        ),
        ({"hyperparameters": {"beta": None}}, "beta None: expected a number or a schedule"),
        ({"method": "ae", "hyperparameters": {"beta": 1.0}}, "unknown hyperparameter of ae 'beta'"),
        ({"optimizer": "adagrad", "b2": 0.5}, "b2 0.5: adagrad has none: leave it out"),
        ({"optimizer": "sgd", "b2": 0.5}, "b2 0.5: sgd has none: leave it out"),
        ({"optimizer": "lion", "eps": 1e-6}, "eps 1e-06: lion has none: leave it out"),
        ({"b2": 0.99999999}, "b2 0.99999999: expected a value below 1"),
        ({"learning_rate": "piecewise(1, 50, 2, 20, 3)"}, "expected boundaries that increase, got 50, 20"),
        ({"learning_rate": "warmup_cosine(1e-3, 50e, 50e)"}, "over 50e holds the warm-up too: expected more than 50e"),
        ({"learning_rate": 1e39}, r"learning_rate 1e\+39: expected a number of single precision, 1.2e-38 to 3e38"),
        ({"learning_rate": 1e-45}, "learning_rate 1e-45: expected a number of single precision"),
        ({"hyperparameters": {"beta": 1e-80}}, "beta 1e-80: expected a number of single precision"),
        ({"scale": 1e39}, r"scale 1e\+39: expected a number of single precision"),
        (
            {"method": "hamiltonian_vae", "hyperparameters": {"tempering": 1e-80}},
            "tempering 1e-80: expected a number of",
        ),
        (
            {"method": "topk_ae", "hyperparameters": {"dead_after": 3 * 10**9}},
            "dead_after 3000000000: expected a whole",
        ),
        ({"weight_decay": 0.1}, "weight_decay 0.1: adam has none: expected one of adamw, lion, lamb"),
        ({"batch_size": 10, "accumulate": 3}, "accumulate 3 does not divide the batch of 10"),
        (
            {"method": "dip_vae", "accumulate": 2},
            "accumulate 2: dip_vae needs its batch in one piece, for it couples: C, the covariance",
        ),
        (
            {"likelihood": "gaussian_optimal", "accumulate": 2},
            "accumulate 2: gaussian_optimal needs its batch in one piece",
        ),
        (
            {"method": "geco_vae", "patience": 2},
            "patience 2: the losses of geco_vae at different steps do not compare, for training moves the multiplier",
        ),
        ({"method": "factor_vae", "patience": 2}, "training moves the discriminator"),
        ({"method": "aae", "patience": 2}, "training moves the discriminator"),
        ({"batch_size": 10, "devices": 3}, "3 devices do not divide the batch of 10"),
        (
            {"batch_size": 12, "accumulate": 2, "devices": 4},
            r"4 devices do not divide the batch of 6 \(each of 2",
        ),
    ],
)
def test_combinations_that_cannot_work(values, message):
    with pytest.raises(InputError, match=message):
        Config(**values)


def mine(net): ...


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": mine}, r"method <function mine at \w+>: expected .*path/to/mine.py:mine"),
        ({"method": None}, "method None: expected .*path/to/mine.py:mine"),
        ({"method": 3}, "method 3: expected .*path/to/mine.py:mine"),
        ({"data": np.zeros((50, 28, 28))}, r"data \(ndarray of shape \(50, 28, 28\)\): .*np.savez\("),
        ({"data": [[0.0] * 99] * 99}, r'data \[\[0.0, .{,80}\.\.\.: .*then data="mine.npz"'),
        ({"latent": np.zeros(300)}, r"latent \(ndarray of shape \(300,\)\): expected one value"),
        ({"network": np.zeros((9, 99))}, "network .*: expected one value"),
        ({"hyperparameters": {"beta": np.zeros((9, 99))}}, "beta .*: expected a number or a schedule"),
        ({"method": "iwae", "hyperparameters": {"k": np.zeros((9, 99))}}, "k .*: expected int"),
        ({"hyperparameters": None}, 'hyperparameters None: expected them by name, such as {"beta": 4.0}'),
        ({"beta": 4}, r'beta 4: a hyperparameter of vae: expected hyperparameters=\{"beta": 4\}'),
        ({"bta": 4}, "unknown field of a Config 'bta': did you mean 'beta'"),
        ({"batchsize": 4}, "unknown field of a Config 'batchsize': did you mean 'batch_size'"),
        ({"method": mine, "beta": 4}, "unknown field of a Config 'beta'"),
        ({"method": "ae", "beta": 4}, "unknown field of a Config 'beta'"),
    ],
)
def test_what_a_notebook_gets_wrong_is_one_line(values, message):
    with pytest.raises(InputError, match=message) as caught:
        Config(**values)
    assert "\n" not in str(caught.value)


def test_data_may_be_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Config(data=Path("x.npz")) == Config(data="x.npz")
    assert Config(data=Path("mnist")) == Config(data=f"{tmp_path}/mnist"), "a path is no name of a data set"


def test_help_says_of_each_field_what_it_is():
    said = inspect.getdoc(Config)
    for spec in dataclasses.fields(Config):
        assert f"\n{spec.name} = " in said and spec.metadata["help"] in said
    assert "network = None: encoder and decoder: linear, mlp," in said
    assert "latent: int = 16" in str(inspect.signature(Config))


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().seed = 1
    config = Config(hyperparameters={"beta": 4.0})
    with pytest.raises(TypeError, match="it does not change"):
        config.hyperparameters["beta"] = "junk"
    given = {"beta": 4.0}
    config = Config(hyperparameters=given)
    given["beta"] = "junk"
    config.to_dict()["hyperparameters"]["beta"] = "junk"
    assert config == Config(hyperparameters={"beta": 4})


def test_equal_configs_have_one_hash():
    one, same, other = (Config(hyperparameters={"beta": beta}) for beta in (4, 4.0, 5.0))
    assert hash(one) == hash(same) and {one, same, other} == {one, other}
    own = {"k": 3, "estimator": "stl"}
    iwae, turned = (Config(method="iwae", hyperparameters=dict(items)) for items in (own.items(), [*own.items()][::-1]))
    assert iwae == turned and hash(iwae) == hash(turned)


@pytest.mark.parametrize(
    "again", [copy.copy, copy.deepcopy, dataclasses.replace, lambda config: pickle.loads(pickle.dumps(config))]
)
def test_a_copy_is_the_same_config(again):
    config = Config(hyperparameters={"beta": "linear(0, 1, 20e)"}, latent=2)
    found = again(config)
    assert found == config and hash(found) == hash(config) and found.identity() == config.identity()
    assert repr(found) == repr(config) and "hyperparameters={'beta': 'linear(0, 1, 20e)'}" in repr(found)


@pytest.mark.parametrize("name", OTHER)
def test_json_round_trip(name):
    config = pair(name, OTHER)[1]
    assert from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False))) == config


def test_unknown_field_of_a_file_is_refused():
    with pytest.raises(InputError, match=r"config.json: unknown field 'lr'"):
        from_dict({"lr": 1}, "config.json")


def test_data_of_a_path_is_found_from_any_folder_and_named_without_its_folders(tmp_path, monkeypatch):
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    here = Config(data="./x.npy")
    monkeypatch.chdir(tmp_path)
    there = Config(data="x.npy")
    assert here.data == str(tmp_path / "sub" / "x.npy") and there.data == str(tmp_path / "x.npy")
    assert here.identity() == there.identity() and not here.difference(there)
    assert Config(data="mnist").data == "mnist" and Config(data="tfds:emnist/balanced").data == "tfds:emnist/balanced"


def test_identity_is_stable():
    """Of the same config in every process and on every machine: it names run folders."""
    code = "from jaxae.config import Config; print(Config(width=7).identity())"
    said = [
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, **CAPTURE).stdout
        for seed in ("1", "2")
    ]
    assert said == [Config(width=7).identity() + "\n"] * 2
    assert len(Config().identity()) == 8


@pytest.mark.parametrize("name", FREE)
def test_identity_ignores_what_changes_no_result(name):
    assert Config(**{name: FREE[name]}).identity() == Config().identity()
    assert Config(**{name: FREE[name]}).difference(Config()) == {}


@pytest.mark.parametrize("name", OTHER)
def test_identity_sees_what_decides_the_result(name):
    config, other = pair(name, OTHER)
    assert other.identity() != config.identity()
    assert name in config.difference(other)


def test_a_scale_that_nothing_has_decides_no_result():
    assert Config(scale=0.5).identity() == Config().identity()
    wide, narrow = (Config(likelihood="gaussian", scale=scale) for scale in (0.5, 0.1))
    assert wide.difference(narrow) == {"scale": "scale: 0.5 -> 0.1"}


def test_numpys_numbers_are_numbers():
    config = Config(latent=np.int64(2), learning_rate=np.float32(0.5), hyperparameters={"beta": np.float64(3)})
    assert config == Config(latent=2, learning_rate=0.5, hyperparameters={"beta": 3.0})
    assert type(config.latent) is int and type(config.hyperparameters["beta"]) is float
    with pytest.raises(InputError, match="eps 1e-50: expected a value above 0"):
        Config(eps=1e-50)


def test_validation_decides_the_result_of_a_run_that_may_stop_early():
    often, seldom = (Config(patience=3, validate_every=n) for n in (10, 20))
    assert often.difference(seldom) == {"validate_every": "validate_every: 10 -> 20"}


@pytest.mark.parametrize(
    ("one", "same"),
    [
        (
            {},
            {
                "network": "mlp",
                "likelihood": "bernoulli",
                "binarize": "dynamic",
                "hyperparameters": {"beta": 1},
            },
        ),
        ({"learning_rate": 1e-3}, {"learning_rate": "0.001"}),
        ({"steps": 500}, {"steps": " 500 "}),
        ({"steps": 5000}, {"steps": "5e3"}),
        ({"hyperparameters": {"beta": 4}}, {"hyperparameters": {"beta": "4.0"}}),
        ({"weight_decay": 0}, {"weight_decay": 0.0}),
        (
            {"method": "ae"},
            {"method": "ae", "network": "linear", "likelihood": "gaussian", "binarize": "none"},
        ),
    ],
)
def test_the_same_run_said_in_two_ways_is_the_same_run(one, same):
    assert Config(**one).identity() == Config(**same).identity()


@pytest.mark.parametrize("method", list(methods.entries()))
def test_resolved_leaves_nothing_open_and_respects_what_was_given(method):
    full = Config(method=method).resolved()
    assert None not in (full.network, full.likelihood, full.binarize)
    assert set(full.hyperparameters) == {h.name for h in methods.entry(method).hyperparameters}
    assert full.resolved() == full
    given = Config(method=method, network="conv", likelihood="gaussian", binarize="fixed", width=7).resolved()
    assert (given.network, given.likelihood, given.binarize, given.width) == ("conv", "gaussian", "fixed", 7)


@pytest.mark.parametrize(
    ("values", "binarize"),
    [
        ({}, "dynamic"),
        ({"likelihood": "gaussian"}, "none"),
        ({"likelihood": "discretised_logistic"}, "none"),
        ({"likelihood": "gaussian", "binarize": "fixed"}, "fixed"),
        ({"method": "ae"}, "none"),
    ],
)
def test_only_bernoulli_pixels_are_binarised_unasked(values, binarize):
    assert Config(**values).resolved().binarize == binarize


@pytest.mark.parametrize(
    ("values", "needs"),
    [
        ({}, False),
        ({"learning_rate": "cosine(1e-3, 0, 100%)"}, True),
        ({"learning_rate": "cosine(1e-3, 0, 9e)"}, False),
        ({"hyperparameters": {"beta": "linear(0, 1, 5%)"}}, True),
        ({"validate_every": "5%"}, False),
        ({"patience": 3}, True),
    ],
)
def test_needs_horizon(values, needs):
    assert Config(**values).needs_horizon() is needs


def parsed(words):
    """The Config that `jaxae train` would run for these words."""
    with train_verb.train.make_context("train", list(words)) as context:
        params = dict(context.params)
    assert {name: params.pop(name) for name in ("quiet", "no_report")} == {"quiet": False, "no_report": False}
    for option in train_verb.train.params:
        if option.name not in FIELDS and option.name != "run_dir":
            params.pop(option.name, None)
    return params.pop("run_dir"), train_verb.make_config(params)


@pytest.mark.parametrize("name", [*OTHER, *FREE])
def test_command_leads_back_to_the_config_one_field_at_a_time(name):
    config = pair(name, {**OTHER, **FREE})[1]
    words = shlex.split(of_run(config, Path("runs/a b")))
    assert words[:2] == ["jaxae", "train"]
    assert parsed(words[2:]) == ("runs/a b", config)


def test_command_leads_back_to_a_config_of_everything():
    both = {
        **OTHER,
        **FREE,
        "method": "vae",
        "accumulate": 1,
        "network": "conv",
        "optimizer": "adamw",
        "hyperparameters": {"beta": "linear(0, 1, 20e)"},
        "data": "/a 'b'.npy",
    }
    config = Config(**both)
    assert parsed(shlex.split(of_run(config, Path("r")))[2:]) == ("r", config)


def test_command_says_only_what_is_not_the_default():
    assert of_run(Config(), Path("r")) == "jaxae train --run r"


@pytest.mark.parametrize("method", list(methods.entries()))
def test_command_leads_back_for_every_method_and_its_own_weights(method):
    own = {h.name: h.default for h in methods.entry(method).hyperparameters}
    config = Config(method=method, hyperparameters=own)
    assert parsed(shlex.split(of_run(config, Path("r")))[2:])[1] == config


def test_an_unknown_flag_is_refused():
    with pytest.raises(click.NoSuchOption, match="--bta"):
        parsed(["--bta", "4"])


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"exact": True, "batch_size": 96, "devices": 3}, "3 devices do not divide the 8 shards"),
        ({"exact": True, "shards": 3}, "shards 3: expected a power of two"),
        ({"exact": True, "shards": 8, "batch_size": 100}, "shards 8 do not divide the batch of 100"),
        ({"exact": True, "accumulate": 2}, "accumulate 2: an exact batch"),
        ({"shards": 4}, "add --exact"),
        ({"parallel": "none", "devices": 2}, "parallel none: on one device"),
    ],
)
def test_shards_and_devices_fit_each_other(values, words):
    with pytest.raises(InputError, match=words):
        Config(**values)


@pytest.mark.parametrize(("batch_size", "shards"), [(128, 8), (100, 4), (6, 2), (7, 1)])
def test_shards_depend_on_the_batch_alone(batch_size, shards):
    assert Config(exact=True, batch_size=batch_size).resolved().shards == shards


@pytest.mark.parametrize("huge", [10**400, "1" + "0" * 400], ids=["number", "text"])
def test_whole_numbers_of_hundreds_of_digits_are_refused_in_a_line(huge):
    for given in ({"scale": huge}, {"learning_rate": huge}, {"steps": huge}, {"hyperparameters": {"beta": huge}}):
        with pytest.raises(InputError) as refused:
            Config(**given)
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 1000


def test_a_choice_is_text():
    with pytest.raises(InputError, match="unknown dtype"):
        Config(dtype=np.dtype("float32"))
