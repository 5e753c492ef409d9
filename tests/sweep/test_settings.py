"""A sweep of settings, values that go together: trained, compared, gone on with and read back."""

import dataclasses
import shutil

import pytest

from jaxae import compare, run, sweep
from jaxae.cli import status
from jaxae.errors import InputError
from jaxae.folder import SweepFolder
from jaxae.plan import Plan
from tests.runs import SMALL, configured, digest_of, flags, say

pytestmark = pytest.mark.optimised

METHODS = ({"method": "vae"}, {"method": "beta_vae", "beta": 4.0}, {"method": "factor_vae", "gamma": 10.0})
BASE = configured(steps=4)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return sweep.sweep(Plan(BASE, (0, 1), settings=METHODS), tmp_path_factory.mktemp("settings") / "s")


@pytest.mark.slow
def test_each_is_a_setting_with_its_seeds_and_its_members_the_runs_alone(whole, tmp_path):
    found = compare.compare(whole.table, "elbo").settings
    labels = ["method=vae, beta=1", "method=beta_vae, beta=4", "method=factor_vae"]
    assert [(setting.label, setting.seeds) for setting in found] == [(label, (0, 1)) for label in labels]
    config = dataclasses.replace(BASE, method="factor_vae", seed=1, hyperparameters={"gamma": 10.0})
    alone = run.train(config, tmp_path / "alone")
    member = run.load(whole.folder.path, member="seed=1,method=factor_vae,gamma=10")
    assert run.final_digest(member) == run.final_digest(alone)


@pytest.mark.slow
def test_it_is_read_back_as_it_was(whole):
    plan = whole.folder.plan()
    assert plan == whole.plan and plan.settings == METHODS and plan.words == whole.plan.words
    assert [member.name for member in whole.folder.listed()] == [member.name for member in whole.plan.members]


@pytest.mark.slow
def test_it_grows_by_a_setting_and_loses_none(whole, tmp_path):
    shutil.copytree(whole.folder.path, tmp_path / "s")
    more = (*METHODS, {"method": "factor_vae", "gamma": 30.0})
    names = {member.name: digest_of(whole.folder.member(member.name).path) for member in whole.plan.members}
    grown = sweep.sweep(Plan(BASE, (0, 1), settings=more), tmp_path / "s")
    assert {name: digest_of(grown.folder.member(name).path) for name in names} == names
    assert [setting.label for setting in compare.compare(grown.table, "elbo").settings][2:] == [
        "method=factor_vae, gamma=10", "method=factor_vae, gamma=30",
    ]  # fmt: skip
    with pytest.raises(InputError, match="holds another sweep: it has 'seed=0,method=factor_vae,gamma=30' and 1 more"):
        sweep.sweep(whole.plan, tmp_path / "s")


@pytest.mark.slow
def test_from_the_command_line_with_an_axis_beside_them(tmp_path, capsys):
    words = ["sweep", "--run", tmp_path / "s", "--seeds", "0:2", "--grid", "latent=2,3", "--quiet", "--no-report"]
    words += ["--setting", "method=vae,learning-rate=0.01", "--setting", "method=ae,network=mlp"]
    code, said, err = say(capsys, *words, *flags({**SMALL, "steps": 2}), "--evaluate", "none")
    assert code == 0 and "8 not evaluated" in said, err
    members = SweepFolder(tmp_path / "s").listed()
    assert {member.config.learning_rate for member in members if member.config.method == "vae"} == {0.01}
    assert {member.config.network for member in members if member.config.method == "ae"} == {"mlp"}
    assert status([*map(str, words), *flags({**SMALL, "steps": 2}), "--setting", "method=vea"]) == 2
    assert "did you mean 'vae'" in capsys.readouterr().err
