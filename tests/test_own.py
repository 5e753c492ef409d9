"""A method in the user's own file: the README's, trained, swept and read back; and what must not run by itself."""

import json
import re
import shutil
from pathlib import Path

import pytest

from jaxae import artifacts, cli, own, run
from jaxae.build import build
from jaxae.config import Config, from_dict
from jaxae.errors import InputError
from tests.runs import SMALL, digest_of, flags, say

pytestmark = pytest.mark.optimised

README = (Path(__file__).parent.parent / "README.md").read_text()
MINE = next(block for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if block.startswith("# mine.py"))


@pytest.fixture(autouse=True)
def nothing_named_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)


def trained(folder="run", **changes):
    words = ["train", "--run", folder, "--quiet", "--no-report", "--method", "mine.py:mine", "--beta", "2"]
    return cli.status([*words, *flags({**SMALL, **changes})])


@pytest.mark.slow
def test_it_trains_resumes_and_is_read_from_anywhere(tmp_path, capsys, monkeypatch):
    assert trained("whole") == 0
    assert trained("cut", steps=30) == 0 and trained("cut") == 0
    assert digest_of(tmp_path / "cut") == digest_of(tmp_path / "whole")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    capsys.readouterr()
    code, out, _ = say(capsys, "evaluate", "../whole", "--samples", 4, "--json")
    assert code == 0
    assert json.loads(out)["elbo"] < -json.loads(out)["nll"] < 0
    code, _, err = say(capsys, "sample", "../whole", "--sampler", "gaussian", "--count", 4)
    assert code == 0 and "gaussian: held-out log_likelihood -" in err, (
        "it has no `generative`, but its codes fill a volume"
    )


@pytest.mark.slow
def test_it_sweeps_and_a_member_is_the_run_alone(tmp_path, capsys):
    words = ["sweep", "--run", "s", "--method", "mine.py:mine", "--seeds", "0:2", "--grid", "beta=1,2", "--quiet"]
    code, out, _ = say(capsys, *words, *flags(SMALL))
    assert code == 0 and "beta=2 − beta=1" in out
    assert trained("alone") == 0
    _, member, _ = say(capsys, "digest", "s", "--member", "seed=0,beta=2")
    assert digest_of(tmp_path / "alone") in member


def test_help_shows_its_hyperparameters_and_methods_its_citation(capsys):
    _, out, _ = say(capsys, "train", "--method", "mine.py:mine", "--help")
    assert "weight of the divergence" in out
    code, out, _ = say(capsys, "methods", "mine.py:mine")
    assert code == 0 and "Kingma and Welling" in out


def test_of_two_functions_of_one_name_the_last_is_read_as_it_is_run(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("def mine(net, *, beta=1.0): ...\n\n\ndef mine(net, *, gamma): ...\n")
    assert own.keywords(f"{file}:mine", "(net, *, ...) -> Method") == {"gamma": False}


@pytest.mark.slow
def test_a_folder_from_somebody_else_runs_no_file(tmp_path, capsys, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE + "\n(__import__('pathlib').Path('ran')).touch()\n")
    assert trained() == 0
    capsys.readouterr()
    (tmp_path / "ran").unlink()
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "another user's"))
    own_modules = [name for name in __import__("sys").modules if name.startswith("jaxae_own_")]
    for name in own_modules:
        monkeypatch.delitem(__import__("sys").modules, name)
    code, _, err = say(capsys, "evaluate", "run")
    assert code == 2 and "never named here" in err and err.count("\n") == 1
    assert not (tmp_path / "ran").exists()
    assert say(capsys, "allow", "mine.py")[0] == 0
    assert not (tmp_path / "ran").exists(), "reading a file's docstring must not run it"
    assert say(capsys, "evaluate", "run", "--samples", 2)[0] == 0
    assert (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_changed_file_does_not_go_on_with_an_old_run(tmp_path, capsys):
    assert trained(steps=30) == 0
    (tmp_path / "mine.py").write_text(MINE.replace("beta (log q", "b (log q"))
    capsys.readouterr()
    assert trained() == 2
    assert "has changed" in capsys.readouterr().err
    assert say(capsys, "evaluate", "run", "--samples", 2)[0] == 0, "its copy is what it was"
    shutil.rmtree(tmp_path / "run" / "code")  # as of runs that kept none
    code, _, err = say(capsys, "evaluate", "run", "--samples", 2)
    assert code == 2 and "mine.py has changed since run began: expected the file as it was" in err


@pytest.mark.slow
def test_a_changed_file_does_not_go_on_with_an_old_sweep(tmp_path, capsys):
    words = ["sweep", "--run", "s", "--method", "mine.py:mine", "--quiet", "--no-report", *flags({**SMALL, "steps": 4})]
    assert say(capsys, *words, "--seeds", "0:2")[0] == 0
    (tmp_path / "mine.py").write_text(MINE.replace("beta (log q", "b (log q"))
    code, _, err = say(capsys, *words, "--seeds", "0:4")
    assert code == 2 and "mine.py has changed since s/members/seed=0 began" in err and err.count("\n") == 1
    assert not (tmp_path / "s" / "members" / "seed=2").exists()
    (tmp_path / "mine.py").write_text(MINE)
    assert say(capsys, *words, "--seeds", "0:3")[0] == 0


BAD = {
    "nowhere.py:mine": "no file",
    "mine.py:yours": "expected a function yours",
    "mine.py:": "no name of a function",
    "broken.py:mine": "not Python",
    "named.py:mine": "named.py: hyperparameter k has the default K: expected a literal number or text",
    "bare.py:mine": "bare.py: hyperparameter k has no default: expected a literal",
    "none.py:mine": "none.py: hyperparameter k has the default None: expected a literal",
    "taken.py:mine": "hyperparameter steps of mine: every run has a field of that name",
    "flag.py:mine": "hyperparameter quiet of flag.py:mine: this command has a flag of that name: rename it",
    "option.py:mine": "hyperparameter run of option.py:mine: this command has a flag of that name: rename it",
    "column.py:mine": "hyperparameter split of mine: every table of runs has a column of that name: rename it",
    "plain.py:mine": "plain.py: mine: expected mine(net, *, ...) -> Method",
    "empty.py:mine": "empty.py: mine: expected mine(net, *, ...) -> Method",
    "default.py:mine": "default.py: DEFAULTS: expected a literal dict, each a name: network, likelihood, binarize",
    "made.py:mine": "made.py: DEFAULTS: expected a literal dict",
    "beside.py:mine": "imports helper.py beside it: expected one file that is complete",
    "within.py:mine": "imports helpers beside it: expected one file that is complete",
    "relative.py:mine": "imports what lies beside it: expected one file that is complete",
}


@pytest.mark.parametrize("name", BAD)
def test_a_wrong_name_is_one_line(name, tmp_path, capsys):
    (tmp_path / "broken.py").write_text("def mine(:\n")
    bodies = {
        "taken": "(net, *, steps: int = 3)", "flag": "(net, *, quiet: int = 3)", "option": "(net, *, run: int = 3)",
        "column": "(net, *, split: int = 3)",
        "plain": "(net, beta=1.0)", "empty": "(*, beta=1.0)",
    }  # fmt: skip
    for file, signature in bodies.items():
        (tmp_path / f"{file}.py").write_text(f"def mine{signature}:\n    '''Mine.'''\n")
    (tmp_path / "default.py").write_text("DEFAULTS = {'latent': 2}\ndef mine(net):\n    '''Mine.'''\n")
    (tmp_path / "made.py").write_text("DEFAULTS: dict = dict(network='conv')\ndef mine(net):\n    '''Mine.'''\n")
    (tmp_path / "beside.py").write_text("import helper\ndef mine(net):\n    '''Mine.'''\n")
    (tmp_path / "helper.py").touch()
    (tmp_path / "within.py").write_text("from helpers.one import two\ndef mine(net):\n    '''Mine.'''\n")
    (tmp_path / "helpers").mkdir()
    (tmp_path / "relative.py").write_text("from .helper import two\ndef mine(net):\n    '''Mine.'''\n")
    for file, argument in {"named": "k: int = K", "bare": "k: int", "none": "k: int = None"}.items():
        (tmp_path / f"{file}.py").write_text(f"K = 3\ndef mine(net, *, {argument}):\n    '''Mine.'''\n")
    code, _, err = say(capsys, "train", "--method", name, "--run", "r")
    assert code == 2 and BAD[name] in err and err.count("\n") == 1
    assert not (tmp_path / "r").exists()


def test_an_older_run_whose_hyperparameter_has_a_columns_name_is_read(tmp_path):
    (tmp_path / "mine.py").write_text(MINE.replace("beta", "annealing"))
    config = Config(method="mine.py:mine")
    with pytest.raises(InputError, match="hyperparameter annealing of mine: every table of runs has a column"):
        config.allow_own()
    with pytest.raises(InputError, match="every table of runs has a column"):
        run.train(config, tmp_path / "r")
    own.allow(tmp_path / "mine.py")
    assert from_dict(config.to_dict()) == config


def test_a_default_that_is_stretched_over_the_run_ties_the_run_to_its_length(tmp_path):
    (tmp_path / "mine.py").write_text(MINE.replace("Weight = 1.0", 'Weight = "linear(0, 1, 100%)"'))
    assert Config(method="mine.py:mine").needs_horizon()
    assert not Config(method="mine.py:mine", hyperparameters={"beta": 2.0}).needs_horizon()


def test_the_name_of_a_config_does_not_depend_on_the_folder(tmp_path, monkeypatch):
    here = Config(method="mine.py:mine").identity()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "mine.py").write_text(MINE)
    monkeypatch.chdir(tmp_path / "sub")
    assert Config(method="mine.py:mine").identity() == here


@pytest.mark.slow
def test_arrays_that_a_factory_makes_belong_to_no_trace(tmp_path):
    """They are kept with the method, which outlives the compiled function that first asks for it."""
    code = MINE.replace("    parts = bind(", "    one = jnp.ones(net.latent)\n    parts = bind(", 1)
    code = code.replace("return jnp.split(parts.encode(variables, batch), 2, axis=-1)[0]",
                        "return jnp.split(parts.encode(variables, batch), 2, axis=-1)[0] * one[None]")  # fmt: skip
    assert code.count("one") >= 2
    (tmp_path / "mine.py").write_text(code)
    trained = run.train(Config(method="mine.py:mine", **{**SMALL, "steps": 2}), tmp_path / "r")
    assert artifacts.reconstruct(trained, count=2).reconstructions.std() > 0


@pytest.mark.slow
def test_python_may_read_what_python_has_trained(tmp_path):
    config = Config(method="mine.py:mine", **{**SMALL, "steps": 4})
    made = run.train(config, tmp_path / "r")
    assert run.final_digest(run.load(tmp_path / "r")) == run.final_digest(made)
    own.split(made.setup.config.method)
    with pytest.raises(InputError, match="expected a function yours"):
        Config(method="mine.py:yours")


def test_a_method_that_draws_when_it_is_traced_is_refused(tmp_path, capsys):
    """The slip of those who come from PyTorch: its noise would be one for all steps, and its NLL its ELBO."""
    text = (tmp_path / "mine.py").read_text()
    drawn = re.search(r"noise = .*", text)[0]
    (tmp_path / "mine.py").write_text(
        "import numpy as np\n" + text.replace(drawn, "noise = np.random.laplace(size=(len(keys), net.latent))")
    )
    assert trained(steps=3) == 2
    assert "mine.py:mine: each time that it is traced it is another program" in capsys.readouterr().err


@pytest.mark.slow
def test_a_log_weight_that_looks_at_its_neighbours_is_refused(tmp_path, capsys):
    text = (tmp_path / "mine.py").read_text()
    line = "log_qz = -jnp.sum(jnp.log(2.0) + log_scale + jnp.abs(noise), axis=-1)"
    assert line in text
    (tmp_path / "mine.py").write_text(text.replace(line, f"{line}\n        log_qz = log_qz - 0.5 * log_qz.mean(0)"))
    assert trained(steps=3) == 2
    assert "the log-weights of 3 examples together are not those of each alone" in capsys.readouterr().err


AVERAGED = """
import jax
from jax import numpy as jnp

from jaxae import axis
from jaxae.methods.ae import ae
from jaxae.types import Objective, Variables


def averaged(net):
    \"\"\"AE whose state follows the mean of its codes. Nobody 2026.\"\"\"
    plain = ae(net)

    def init(key, batch):
        made = plain.init(key, batch)
        return Variables(made.params, {"likelihood": made.state, "mean": jnp.zeros(net.latent)})

    def inner(variables):
        return Variables(variables.params, variables.state["likelihood"])

    def loss(variables, keys, batch, step):
        of = plain.loss(inner(variables), keys, batch, step)
        now = MEAN(jnp.mean(plain.embed(inner(variables), batch), axis=0))
        state = {"likelihood": of.state, "mean": 0.999 * variables.state["mean"] + 0.001 * now}
        return Objective(of.loss, state, of.metrics)

    return plain._replace(
        init=init,
        loss=loss,
        embed=lambda variables, batch: plain.embed(inner(variables), batch),
        decode=lambda variables, z: plain.decode(inner(variables), z),
        reconstruct=lambda variables, batch: plain.reconstruct(inner(variables), batch),
    )
"""


@pytest.mark.slow
def test_a_state_that_each_device_would_have_of_its_own_is_refused(tmp_path):
    (tmp_path / "averaged.py").write_text(AVERAGED.replace("MEAN", "axis.mean"))
    config = Config(method="averaged.py:averaged", **{**SMALL, "steps": 2})
    build(config)
    (tmp_path / "averaged.py").write_text(AVERAGED.replace("MEAN", ""))
    with pytest.raises(
        InputError, match=r"averaged: what the loss makes of its state is other on two devices .* jaxae.axis.mean"
    ):
        build(config)
