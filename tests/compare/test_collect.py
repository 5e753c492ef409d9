"""Folders to a table: what differs is a column, and nothing that is missing goes unsaid."""

import pandas
import pytest

from jaxae import own
from jaxae.compare import compare, table, varied
from jaxae.compare.collect import flat
from jaxae.config import Config
from jaxae.errors import InputError
from jaxae.files import read_json, write_json
from jaxae.folder import SweepFolder
from jaxae.plan import Plan
from tests import compared

METHOD = '''"""Mine: as the VAE (somebody 2024).

loss = nll + beta kl
"""
from jaxae.methods.vae import vae


def mine(net, *, beta: float = 1.0):
    return vae(net, beta=beta)
'''


def test_a_row_a_run_and_a_column_for_what_differs(tmp_path):
    paths = [
        compared.run(tmp_path / f"{beta}-{latent}-{seed}", seed, 20 + beta + seed, beta=beta, latent=latent, samples=9)
        for beta, latent in ((1.0, 16), (4.0, 8))
        for seed in (0, 1)
    ]
    frame = table(paths)
    assert list(frame.columns[:8]) == ["run", "member", "seed", "beta", "latent", "outcome", "step", "data_sha256"]
    assert [frame.dtypes[name].kind for name in ("beta", "latent")] == ["f", "i"], "describe() passes over objects"
    assert frame["beta"].tolist() == [1.0, 1.0, 4.0, 4.0] and frame["latent"].tolist() == [16, 16, 8, 8]
    assert frame["nll"].tolist() == [21, 22, 24, 25] and frame["run"].tolist() == [str(path) for path in paths]
    assert set(frame["outcome"]) == {"finished"} and frame["step"].tolist() == [10] * 4
    assert frame["split"].tolist() == ["test"] * 4 and "samples" in frame and "nll_mc_se" in frame


def test_one_path_will_do_and_one_setting_has_no_column(tmp_path):
    path = compared.run(tmp_path / "run", 3, 20.0)
    frame = table(path)
    assert list(frame.columns[:4]) == ["run", "member", "seed", "outcome"] and frame["seed"].tolist() == [3]
    assert table(str(path)).equals(frame) and varied.fields(frame) == []


def test_a_hyperparameter_of_one_method_alone_names_no_difference(tmp_path):
    vae = compared.run(tmp_path / "vae", 0, 20.0)
    ae = compared.run(tmp_path / "ae", 0, compared.measures(20.0, nll=None, elbo=None, kl=None), method="ae")
    frame = table([vae, ae])
    assert "method" in frame and "beta" not in frame
    third = compared.run(tmp_path / "b4", 0, 21.0, beta=4.0)
    frame = table([vae, ae, third])
    assert frame["beta"].tolist() == [1.0, None, 4.0]
    assert "method=ae" in [group.label for group in varied.groups(frame)][1]


def test_a_sweep_has_a_row_for_every_member(tmp_path):
    where = compared.sweep(
        tmp_path / "s", compared.GRID, diverged=[(1, 4.0)], untrained=[(2, 2.0), (2, 4.0)], unevaluated=[(0, 1.0)]
    )
    frame = table([where]).set_index("member")
    assert len(frame) == 15 and varied.fields(frame.reset_index()) == ["beta"]
    assert frame.loc["seed=1,beta=4", ["outcome", "step", "seed", "beta"]].tolist() == ["diverged", 7, 1, 4.0]
    assert frame.loc["seed=2,beta=2", ["outcome", "seed", "beta"]].tolist() == ["not trained", 2, 2]
    assert frame.loc["seed=0,beta=1", "outcome"] == "not evaluated" and pandas.isna(frame.loc["seed=0,beta=1", "nll"])
    assert [group.label for group in varied.groups(frame.reset_index())] == ["beta=1", "beta=2", "beta=4"]
    assert frame["outcome"].value_counts().to_dict() == {
        "finished": 11, "not trained": 2, "diverged": 1, "not evaluated": 1,
    }  # fmt: skip


def test_a_run_that_diverged_may_be_given_alone(tmp_path):
    said = {"outcome": "diverged", "step": 7, "why": "loss is nan"}
    paths = [compared.run(tmp_path / "a", 0, 20.0), compared.run(tmp_path / "b", 1, None, said)]
    assert table(paths)["outcome"].tolist() == ["finished", "diverged"]


def test_a_member_named_by_a_schedule(tmp_path):
    """Its folder is named otherwise, as the sweep names it."""
    plan = Plan(Config(steps=10), (0, 1), {"beta": ("linear(0, 1, 20e)",)})
    folder = SweepFolder(tmp_path / "s")
    compared.run(folder.member(plan.members[0].name).path, 0, 20.0, beta="linear(0, 1, 20e)")
    folder.write(plan, {"lanes": "map", "block": 1, "exact": False})
    frame = table(tmp_path / "s")
    assert varied.fields(frame) == [] and frame["outcome"].tolist() == ["finished", "not trained"]


def test_a_member_not_trained_is_as_the_sweeps_base_says(tmp_path):
    base = Config(latent=4, hyperparameters={"beta": 1.0}).to_dict()
    where = compared.sweep(tmp_path / "s", {(0, 2.0): 1.0, (1, 2.0): 1.0}, untrained=[(0, 2.0), (1, 2.0)], base=base)
    other = compared.run(tmp_path / "other", 5, 20.0, latent=8, beta=2.0, order_seed=0, steps="100e")
    frame = table([where, other])
    assert varied.fields(frame) == ["latent"] and frame["latent"].tolist() == [4, 4, 8]
    assert frame["outcome"].tolist() == ["not trained", "not trained", "finished"]


GRIDS = {
    "a default that depends on the network": ({"network": ("mlp", "conv")}, {}, False),
    "values of every kind": ({"average": (None, 0.9), "beta": (1.0, "linear(0, 1, 20e)")}, {}, True),
    "an order of the data of its own": ({"latent": (2, 4)}, {"order_seed": 7}, False),
}


@pytest.mark.parametrize("case", GRIDS)
def test_a_member_not_trained_has_the_setting_it_will_be_trained_with(tmp_path, case):
    grid, given, shared = GRIDS[case]
    plan = Plan(Config(steps=10, **given), (0, 1), grid, shared)
    folder = SweepFolder(tmp_path / "s")
    for member in plan.members[:-1]:
        path = compared.run(folder.member(member.name).path, member.config.seed, 20.0)
        write_json(path / "config.json", member.config.to_dict())
    folder.write(plan, {"lanes": "map", "block": 1, "exact": False})
    frame = table(tmp_path / "s")
    assert frame["outcome"].tolist()[-2:] == ["finished", "not trained"]
    assert {len(group.rows) for group in varied.groups(frame)} == {2}


def test_measures_of_a_run_that_was_made_longer_since_are_none_of_its_own(tmp_path):
    early, late = (compared.run(tmp_path / f"{steps}", 0, 20.0, steps=steps) for steps in (10, 400_000))
    with pytest.raises(
        InputError, match=r"400000: not evaluated yet: .* training has come to its end \(steps=400000\)"
    ):
        table([early, late])
    epochs = compared.run(tmp_path / "epochs", 0, compared.measures(20.0, step=9), steps="2e", batch_size=2)
    with pytest.raises(InputError, match="not evaluated yet"):
        table(epochs)
    cut = compared.run(tmp_path / "cut", 0, 20.0, steps=400_000, patience=3)
    with pytest.raises(InputError, match="cut: not evaluated yet"):
        table([early, cut])
    ended = {"outcome": "stopped early", "step": 40, "why": "3 validations without improvement"}
    patient = compared.run(tmp_path / "patient", 0, 20.0, ended, steps=400_000, patience=3)
    assert table([early, patient])["outcome"].tolist() == ["finished", "stopped early"]


def test_two_files_of_one_name_are_two_methods(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    paths = []
    for place, (folder, text) in enumerate({"own": "", "own2": "\n# other", "own3": ""}.items()):
        file = tmp_path / folder / "mine.py"
        file.parent.mkdir()
        file.write_text(METHOD + text)
        own.allow(file)
        paths.append(compared.run(tmp_path / f"run{place}", place, 20.0, method=f"{file}:mine"))
        record = read_json(paths[-1] / "record.json")
        write_json(paths[-1] / "record.json", record | {"method_sha256": own.sha256(f"{file}:mine")})
    one, two = varied.groups(table(paths))
    assert one.rows["seed"].tolist() == [0, 2] and two.rows["seed"].tolist() == [1]
    assert one.label == f"method_sha256={own.sha256(f'{tmp_path}/own/mine.py:mine')[:12]}"


@pytest.mark.parametrize("name", ["seed", "run", "member", "outcome", "beta"])
def test_a_measure_called_as_a_column_does_not_take_its_place(tmp_path, name):
    paths = [
        compared.run(tmp_path / f"{beta}", 3, compared.measures(20.0, **{name: 99.5}), beta=beta) for beta in (1.0, 2.0)
    ]
    frame = table(paths)
    expected = [3, "1.0", "finished", 1.0]
    assert frame.loc[0, ["seed", "member", "outcome", "beta"]].tolist() == expected and frame["run"][0] == str(paths[0])
    assert frame[f"measured_{name}"].tolist() == [99.5, 99.5]


def test_a_sweep_of_which_every_member_diverged_is_a_table_still(tmp_path):
    where = compared.sweep(tmp_path / "s", {(0, 2.0): 1.0}, diverged=[(0, 2.0)])
    assert table(where)["outcome"].tolist() == ["diverged"]
    with pytest.raises(InputError, match="no evaluated runs"):
        compare(table(where))


def config(seed, order=None, **others):
    return {"seed": seed, "order_seed": order, "latent": 4, **others}


def test_the_order_of_the_data_is_a_setting_unless_it_is_the_seeds_own():
    own = varied.varied([config(0), config(1, 1), {"seed": 2, "latent": 4}])
    shared = varied.varied([config(0, 0), config(1, 0), config(2, 0)])
    assert own == shared == [{}, {}, {}]
    as_others = varied.varied([config(0), config(1, 0), config(2, 0)])
    assert as_others == [{}, {}, {}]
    both = varied.varied([config(0, 0), config(1, 0), config(0), config(1)])
    assert both == [{"order_seed": order} for order in (0, 0, "of the seed", "of the seed")]


def test_numbers_are_alike_however_they_are_written():
    assert varied.varied([config(0, width=4), config(0, width=4.0)]) == [{}, {}]
    assert flat({"method": "vae", "hyperparameters": {"beta": 2.0}}) == {"method": "vae", "beta": 2.0}


def test_settings_are_in_the_order_of_their_numbers_else_in_that_of_the_table(tmp_path):
    numbers = [compared.run(tmp_path / f"{beta}", 0, 20.0, beta=beta) for beta in (16.0, 2.0, 4.0)]
    assert [group.label for group in varied.groups(table(numbers))] == ["beta=2", "beta=4", "beta=16"]
    names = [compared.run(tmp_path / name, 0, 20.0, optimizer=name) for name in ("sgd", "adam")]
    assert [group.label for group in varied.groups(table(names))] == ["optimizer=sgd", "optimizer=adam"]


def test_the_table_survives_a_csv(tmp_path):
    frame = table(compared.sweep(tmp_path / "s", compared.GRID))
    frame.to_csv(tmp_path / "t.csv", index=False)
    again = pandas.read_csv(tmp_path / "t.csv")
    assert [group.label for group in varied.groups(again)] == [group.label for group in varied.groups(frame)]


def refusals(at):
    run = compared.run(at / "run", 0, 20.0)
    compared.run(at / "raw", 0)
    (at / "empty").mkdir()
    compared.sweep(at / "baseless", {(0, 1.0): 1.0}, base=None)
    compared.sweep(at / "listless", {(0, 1.0): 20.0}, members="all")
    compared.sweep(at / "odd", {(0, 1.0): 20.0}, members=["seed=0,beta=1", "the other"])
    return {
        "no runs given": [],
        "no run here .no config.json.: `jaxae train --run .*nowhere` makes": [at / "nowhere"],
        "empty: no run here": [at / "empty"],
        "raw: not evaluated yet: `jaxae evaluate .*raw`": [run, at / "raw"],
        "sweep.json: base 'None': expected an object": [at / "baseless"],
        "sweep.json: members 'all': expected a list": [at / "listless"],
        "member 'the other': expected a seed and values of its grid": [at / "odd"],
        "run is given twice": [run, at / "." / "run"],
    }


def test_what_is_no_run_is_refused_in_one_line(tmp_path):
    for message, paths in refusals(tmp_path).items():
        with pytest.raises(InputError, match=message) as refused:
            table(paths)
        assert "\n" not in str(refused.value)
