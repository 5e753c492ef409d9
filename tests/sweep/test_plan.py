"""What a sweep is made of, before anything is trained."""

import json
import pickle
import shlex
from pathlib import Path

import numpy as np
import pytest

from jaxae import axes, command
from jaxae.axes import grid, seeds, settings, shown
from jaxae.cli import status
from jaxae.config import Config
from jaxae.errors import InputError
from jaxae.plan import How, Plan, find

BASE = Config(steps=10)
WIDE = Config(
    steps="3e", method="beta_vae", hyperparameters={"beta": "linear(0, 4, 1e)"}, exact=True, seed=3, width=32,
    devices=2, learning_rate="warmup_cosine(0.005, 2%)",
)  # fmt: skip


@pytest.mark.parametrize(
    ("plan", "how"),
    [
        (Plan(BASE, (0, 1, 2), {"beta": (1.0, 2.5)}), ("map", 1, 1)),
        (Plan(BASE, (4,), {"latent": (2, 4), "learning_rate": (1e-3, "cosine(1e-3, 0, 100%)")}), ("vmap", 4, 2)),
        (Plan(WIDE, (5, 1), {}, shared_batches=True), ("map", 1, 4)),
        (Plan(WIDE, (3,), {"method": ("vae", "beta_vae"), "beta": (0.5,)}), ("map", 1, 1)),
        (
            Plan(BASE, (0,), {"width": (8, 9)}, settings=({"method": "fsq", "levels": "8,5"}, {"beta": 2.0})),
            ("map", 1, 1),
        ),
        (
            Plan(BASE, (0,), settings=({}, {"start": "/a/seed=0,beta=4", "latent": 3}, {"clip_norm": 1.0})),
            ("map", 1, 1),
        ),
        (Plan(BASE, (0,), {"clip_norm": (None, 1.0)}), ("map", 1, 1)),
    ],
)
def test_the_command_of_a_sweep_is_read_back_as_that_sweep(plan, how, monkeypatch):
    lanes, block, seed_devices = how
    words, found = shlex.split(command.of_sweep(plan, Path("runs/a sweep"), lanes, block, seed_devices)), []

    def sweep(*given):
        found.extend(given)
        raise InputError("enough")

    monkeypatch.setattr("jaxae.sweep.run.sweep", sweep)
    monkeypatch.setattr("jaxae.parallel.virtual", lambda devices: None)
    assert words[:2] == ["jaxae", "sweep"] and status(words[1:]) == 2
    assert not {f"--{axis}" for axis in plan.grid} & set(words)
    assert found[1] == "runs/a sweep" and found[2] == How(lanes, block if lanes == "vmap" else None, seed_devices)
    again = found[0]
    assert again.members == plan.members and again.shared_batches == plan.shared_batches


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:4", (0, 1, 2, 3)),
        ("3", (3,)),
        ("1,5,9", (1, 5, 9)),
        ("0:10:4", (0, 4, 8)),
        ("0:2,7", (0, 1, 7)),
        ("4294967295", (2**32 - 1,)),
    ],
)
def test_seeds(text, expected):
    assert seeds(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("4:0", "holds no seed"),
        ("2:2", "holds no seed"),
        ("0:4:0", "holds no seed"),
        ("a", "expected numbers such as"),
        ("", "expected numbers such as"),
        ("-1", "expected numbers such as"),
        ("0:4,3", "3 is there twice"),
        ("4294967296", "at most 4294967295"),
        ("0:4000000000", "at most 100,000"),
    ],
)
def test_bad_seeds(text, words):
    with pytest.raises(InputError, match=words):
        seeds(text)


def test_grid_values_are_those_of_a_config():
    found = grid(
        ["beta=1,4", "learning-rate=1e-3,cosine(1e-3, 0, 100%)", "latent=2,16", "network=mlp,conv", "steps=5,2e"], BASE
    )
    assert found == {
        "beta": (1.0, 4.0), "learning_rate": (1e-3, "cosine(1e-3, 0, 100%)"), "latent": (2, 16),
        "network": ("mlp", "conv"), "steps": (5, "2e"),
    }  # fmt: skip


def test_values_that_hold_commas_end_in_semicolons():
    base = Config(method="fsq", latent=4)
    assert grid(["levels=8,5,5,5; 7,5,5,5;"], base) == {"levels": ("8,5,5,5", "7,5,5,5")}
    assert grid(["levels=8,5,5,5;"], base) == {"levels": ("8,5,5,5",)}
    assert grid(["beta=1;cosine(1, 0, 5)"], BASE) == {"beta": (1.0, "cosine(1, 0, 5)")}
    for text in ("levels=8,5,5,5", "levels=8,5"):
        with pytest.raises(
            InputError, match=r"grid levels: its values hold commas: end each by ;, such as 'levels=8,5"
        ):
            grid([text], base)
    plan = Plan(base, (0,), grid(["levels=8,5,5,5;7,5,5,5"], base))
    words = shlex.split(command.of_sweep(plan, Path("s"), "map", 1, 1))
    assert grid([words[words.index("--grid") + 1]], base) == plan.grid


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bta=1,4"], "unknown axis of vae 'bta': did you mean 'beta'"),
        (["gamma=1"], "unknown axis of vae 'gamma'"),
        (
            ["method=ae,vae", "beta=1,2"],
            "grid beta: ae has none, of this sweep's methods vae: give each a setting of its own",
        ),
        (["beta=1,1.0"], "1 is there twice"),
        (["learning_rate=1e-3,0.001"], "0.001 is there twice"),
        (["beta=1", "beta=2"], "beta is an axis already"),
        (["beta"], "expected NAME=VALUE"),
        (["beta="], "expected NAME=VALUE"),
        (["beta=1,,2"], "expected NAME=VALUE"),
        (["beta=x"], "expected a number or a schedule"),
        (["beta=-1"], "at least 0"),
        (["latent=2.5"], "whole number"),
        (["latent=0"], "at least 1"),
        (["network=mpl,conv"], "did you mean 'mlp'"),
        (["seed=1,2"], "see --seeds"),
        (["chunk=1,2"], "changes no result"),
        (["exact=true,false"], "grid exact: no axis: see --exact"),
    ],
)
def test_bad_grids(words, message):
    with pytest.raises(InputError, match=message):
        grid(words, BASE)


def test_members_have_names_and_configs():
    plan = Plan(BASE, (0, 3), {"beta": (0.5, 4.0), "latent": (2,)})
    assert [m.name for m in plan.members] == [
        "seed=0,beta=0.5,latent=2", "seed=3,beta=0.5,latent=2", "seed=0,beta=4,latent=2", "seed=3,beta=4,latent=2",
    ]  # fmt: skip
    last = plan.members[-1].config
    assert (last.seed, last.latent, last.hyperparameters, last.order_seed) == (3, 2, {"beta": 4.0}, None)


def test_shared_batches_hold_the_order_of_the_data():
    plan = Plan(BASE, (0, 3), {}, shared_batches=True)
    assert [m.config.order_seed for m in plan.members] == [0, 0]
    assert plan.members[0].config.identity() == Config(steps=10, seed=0).identity()
    assert plan.members[1].config.identity() != Config(steps=10, seed=3).identity()


def test_real_numbers_and_seeds_share_a_group_and_shapes_do_not():
    axes = grid(["beta=1,4", "learning_rate=1e-3,3e-4", "latent=2,16"], BASE)
    plan = Plan(BASE, (0, 1), axes)
    assert [len(group) for group in plan.groups] == [8, 8]
    assert [{m.config.latent for m in group} for group in plan.groups] == [{2}, {16}]
    mixed = Plan(BASE, (0,), grid(["beta=1,2,linear(0, 1, 5)"], BASE))
    assert sorted(len(group) for group in mixed.groups) == [1, 2], "a schedule is part of the program"


def test_refused_plans():
    with pytest.raises(InputError, match="pmap"):
        Plan(Config(parallel="pmap"), (0,), {})
    with pytest.raises(InputError, match="wandb"):
        Plan(Config(wandb="project"), (0,), {})
    with pytest.raises(InputError, match="members: expected at most"):
        Plan(BASE, tuple(range(1001)), {"beta": tuple(float(i) for i in range(100))})


@pytest.mark.parametrize(
    ("seeds", "grid", "message"),
    [
        ((0,), {"log_every": (4, 5)}, "grid log_every: it changes no result: expected what does"),
        ((0,), {"network": "conv"}, "grid network 'conv': expected a tuple, a list"),
        ((0,), {"beta": 4.0}, "grid beta 4.0: expected a tuple, a list"),
        ((0,), {"beta": np.ones((9, 99))}, r"grid beta \(ndarray of shape \(9, 99\)\): expected a tuple"),
        ((0,), ["beta"], r"grid \['beta'\]: expected values by name, such as {\"beta\": \(1.0, 4.0\)}"),
        ((0,), None, "grid None: expected values by name"),
        (3, {}, "seeds 3: expected a tuple, a list, a range or an array"),
        ("0:4", {}, "seeds '0:4': expected a tuple"),
        (None, {}, "seeds None: expected a tuple"),
        ((0.5,), {}, "seed 0.5: expected a whole number"),
        ((0,), {"bta": (1, 2)}, "unknown axis of vae 'bta': did you mean 'beta'"),
    ],
)
def test_what_a_notebook_gets_wrong_is_one_line(seeds, grid, message):
    with pytest.raises(InputError, match=message) as caught:
        Plan(BASE, seeds, grid)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given", [[0, 1], range(2), np.arange(2), (np.int64(0), 1)], ids=lambda given: str(type(given))
)
def test_seeds_and_values_come_in_whatever_holds_several(given):
    plan = Plan(BASE, given)
    assert plan == Plan(BASE, (0, 1), {}) and {type(seed) for seed in plan.seeds} == {int}
    assert Plan(BASE, (0,), {"beta": given}).members == Plan(BASE, (0,), {"beta": (0, 1)}).members


def test_a_plan_does_not_change():
    plan = Plan(BASE, (0,), {"beta": (1.0, 4.0)})
    with pytest.raises(TypeError, match="it does not change"):
        plan.grid["beta"] = (2.0,)
    assert hash(plan) == hash(Plan(BASE, [0], {"beta": [1.0, 4.0]}))


@pytest.mark.parametrize("value", [1.0, 0.001, 3e-4, 1e-30, 0.1 + 0.2, 1e22, 4, "conv"])
def test_a_name_reads_back_as_its_value(value):
    assert type(value)(shown(value)) == value


def test_find_takes_any_order_and_any_way_to_write_a_number():
    names = [m.name for m in Plan(BASE, (0, 2), {"beta": (1.0, 4.0), "learning_rate": (1e-3,)}).members]
    assert find("learning-rate=1e-3, beta=4.0, seed=2", names) == "seed=2,beta=4,learning_rate=0.001"
    with pytest.raises(InputError, match="no member 'seed=9,beta=4': expected one of the sweep's 4, such as"):
        find("seed=9,beta=4", names)
    with pytest.raises(InputError, match="no member"):
        find("seed=2", names)


def test_reading_a_plan_needs_no_jax():
    import subprocess
    import sys

    code = "import sys; sys.modules['jax'] = None; import jaxae.config, importlib.util as u\n"
    code += f"s = u.spec_from_file_location('axes', {axes.__file__!r}); m = u.module_from_spec(s)\n"
    code += "sys.modules['axes'] = m; s.loader.exec_module(m); print(m.seeds('0:2'))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "(0, 1)\n"


METHODS = ({"method": "vae"}, {"method": "factor_vae", "gamma": 10.0}, {"method": "factor_vae", "gamma": 30.0})


def test_settings_are_values_that_go_together():
    plan = Plan(BASE, (0, 1), {"latent": (2, 3)}, settings=METHODS)
    assert [m.name for m in plan.members][:4] == [
        "seed=0,method=vae,latent=2", "seed=1,method=vae,latent=2", "seed=0,method=vae,latent=3",
        "seed=1,method=vae,latent=3",
    ]  # fmt: skip
    assert len(plan.members) == 12 and plan.members[-1].name == "seed=1,method=factor_vae,gamma=30,latent=3"
    last = plan.members[-1].config
    assert (last.method, last.hyperparameters["gamma"], last.latent, last.seed) == ("factor_vae", 30.0, 3, 1)
    assert [len(group) for group in plan.groups] == [2, 2, 4, 4], "a weight of one method is a number in its program"
    assert plan.axes == {"method": ("vae", "factor_vae"), "gamma": (10.0, 30.0), "latent": (2, 3)}
    names = [member.name for member in plan.members]
    assert find("gamma=30.0, latent=3, seed=1, method=factor_vae", names) == names[-1]
    of_base = Plan(BASE, (0,), settings=({}, {"beta": np.float32(4)}))
    assert [m.name for m in of_base.members] == ["seed=0", "seed=0,beta=4"]


def test_settings_are_read_from_words():
    words = ["method=factor_vae,gamma=10", "learning-rate=cosine(1e-3, 0, 5), latent=2", "method=fsq,levels=8,5,5"]
    assert settings(words) == (
        {"method": "factor_vae", "gamma": "10"},
        {"learning_rate": "cosine(1e-3, 0, 5)", "latent": 2},
        {"method": "fsq", "levels": "8,5,5"},
    )
    plan = Plan(BASE, (0,), settings=settings(words))
    assert [m.name for m in plan.members] == [
        "seed=0,method=factor_vae,gamma=10", "seed=0,latent=2,learning_rate=cosine(1e-3, 0, 5)",
        "seed=0,method=fsq,levels=8,5,5",
    ]  # fmt: skip
    assert grid(["beta=1,4"], Config(method="ae"), ({"method": "vae"},)) == {"beta": (1.0, 4.0)}
    assert settings(["", "start=a/seed=0,beta=4;latent=3", "clip-norm=none", "binarize=none"]) == (
        {}, {"start": "a/seed=0,beta=4", "latent": 3}, {"clip_norm": None}, {"binarize": "none"},
    )  # fmt: skip
    assert grid(["start=a,none"], BASE)["start"][1] is None


def test_the_order_of_names_in_a_setting_is_nothing():
    one, other = ({"method": "beta_vae", "latent": 3, "beta": 4.0}, {"beta": 4.0, "latent": 3, "method": "beta_vae"})
    assert Plan(BASE, (0,), settings=(one,)) == Plan(BASE, (0,), settings=(other,))
    (member,) = Plan(BASE, (0,), settings=(other,)).members
    assert member.name == "seed=0,method=beta_vae,beta=4,latent=3"


def test_settings_of_files_of_one_name_are_two():
    for name in ("data", "start"):
        plan = Plan(BASE, (0,), settings=({name: "/a/x.npz"}, {name: "/b/x.npz"}))
        assert [member.name for member in plan.members] == [f"seed=0,{name}=a/x.npz", f"seed=0,{name}=b/x.npz"]


@pytest.mark.parametrize("word", ["beta", "beta=", "=1", "beta=1,beta=2", "beta=1,latent="])
def test_words_that_are_no_setting(word):
    with pytest.raises(InputError, match=r"^setting '.*': expected NAME=VALUE,NAME=VALUE"):
        Plan(BASE, (0,), settings=settings([word]))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (({"gamma": 1.0},), "unknown axis of vae 'gamma'"),
        (({"method": "vae", "gamma": 1.0},), "unknown axis of vae 'gamma'"),
        (({"method": "vea"},), "did you mean 'vae'"),
        (({"beta": -1.0},), "at least 0"),
        (({"seed": 1},), "setting seed: no axis: see --seeds"),
        (({"chunk": 1},), "setting chunk: it changes no result"),
        (({"latent": 3},), "setting latent: it is an axis of the grid, too"),
        (({"beta": 2.0}, {"beta": 2}), "members: seed=0,beta=2,latent=2 is there twice"),
        (
            ({"beta": 1.0}, {}),
            "seed=0,latent=2 is the same run as seed=0,beta=1,latent=2: expected settings that differ",
        ),
        (({"method": "vae"}, {"beta": 1.0}), "is the same run as seed=0,method=vae,latent=2"),
        (
            ({"scale": 0.3}, {"likelihood": "gaussian"}),
            "setting seed=0,scale=0.3,latent=2: its likelihood has no scale",
        ),
        ("beta=4", "settings 'beta=4': expected a tuple"),
        (("beta=4",), "setting 'beta=4': expected values by name"),
    ],
)
def test_bad_settings(given, message):
    with pytest.raises(InputError, match=message):
        Plan(BASE, (0, 1), {"latent": (2,)}, settings=given)


def test_values_from_python_are_held_as_a_config_holds_them(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    grid = {"beta": np.float32([0.1, 4]), "start": (Path("a"), None), "steps": ("1e3", 7)}
    plan = Plan(Config(), np.arange(2), grid)
    assert dict(plan.grid) == {"beta": (0.1, 4.0), "start": (str(tmp_path / "a"), None), "steps": (1000, 7)}
    assert plan.members[0].name == "seed=0,beta=0.1,start=a,steps=1000"
    assert json.loads(json.dumps(plan.to_dict()))["seeds"] == [0, 1]
    assert pickle.loads(pickle.dumps(plan.base)) == plan.base
    for wrong in ({"beta": ("1", "1.0")}, {"beta": {1, 2}}):
        with pytest.raises(InputError, match="grid beta"):
            Plan(Config(), (0,), wrong)
    with pytest.raises(InputError, match="expected a Config"):
        Plan({"latent": 2}, (0,))


@pytest.mark.parametrize("how", [{"wave": "3"}, {"block": 2.5}, {"seed_devices": True}])
def test_how_is_told_in_whole_numbers(how):
    with pytest.raises(InputError, match="expected a whole number"):
        How(**how)
    assert How(block=np.int64(4), wave=np.int32(3)) == How(block=4, wave=3)
    assert Plan(Config(), (0,), {}, shared_batches=np.True_).shared_batches is True
    with pytest.raises(InputError, match="shared_batches 'no': expected true or false"):
        Plan(Config(), (0,), {}, shared_batches="no")
