"""Networks, likelihoods and optimisers of the user's own: the README's, trained, resumed, swept, compared, refused."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import optax
import pytest
import scipy.stats
import small

from jaxae import cli, compare, optim, own, run, sweep
from jaxae.build import build
from jaxae.config import Config
from jaxae.errors import InputError
from jaxae.evaluate.measures import GREY
from jaxae.files import read_json, write_json
from jaxae.plan import Plan, find
from tests import compared
from tests.runs import SMALL, digest_of, flags, say

README = (Path(__file__).parent.parent / "README.md").read_text()
FILES = {
    block.partition("\n")[0][2:]: block
    for block in re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    if block.startswith(("# nets.py", "# rules.py", "# pixels.py"))
}
SGD = "import optax\ndef mine(learning_rate, *, b1=0.5, weight_decay=0.0):\n    return optax.sgd(learning_rate, b1)\n"


@pytest.fixture(autouse=True)
def nothing_named_yet(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)


def config(**changes):
    return Config(**{**SMALL, "width": None, "network": "nets.py:mine", **changes})


@pytest.mark.slow
def test_a_run_of_both_resumes_and_is_read_by_every_command(tmp_path, capsys):
    whole = config(network="nets.py:mine", width=24, optimizer="rules.py:mine", steps=20)
    run.train(whole, tmp_path / "whole")
    run.train(dataclasses.replace(whole, steps=10), tmp_path / "cut")
    words = ["--network", "nets.py:mine", "--optimizer", "rules.py:mine", "--quiet"]
    assert cli.status(["train", "--run", "cut", *words, *flags({**SMALL, "steps": 20})]) == 0
    assert digest_of(tmp_path / "cut") == digest_of(tmp_path / "whole")
    capsys.readouterr()
    code, out, _ = say(capsys, "evaluate", "cut", "--samples", 4, "--json")
    assert code == 0 and json.loads(out)["nll"] > 0
    record = json.loads((tmp_path / "cut" / "record.json").read_text())
    assert record["network_sha256"] == own.sha256("nets.py:mine")
    assert record["optimizer_sha256"] == own.sha256("rules.py:mine")
    assert "--network" in record["command"] and "nets.py:mine networks" in (tmp_path / "cut/report.html").read_text()


@pytest.mark.slow
def test_the_modules_get_the_flags_and_what_the_method_asks_for():
    def kernels(config):
        shapes = build(config).shapes().variables.params
        return [{shapes[part][layer]["kernel"].shape for layer in shapes[part]} for part in ("encoder", "decoder")]

    assert kernels(config(width=24, latent=3)) == [{(64, 24), (24, 6)}, {(3, 24), (24, 64)}]
    assert kernels(config(latent=3)) == [{(64, 64), (64, 6)}, {(3, 64), (64, 64)}]


@pytest.mark.slow
def test_a_sweep_over_widths_is_the_runs_alone_and_is_compared(tmp_path):
    swept = sweep.sweep(Plan(config(steps=4), (0,), {"width": (8, 16)}), tmp_path / "s")
    alone = run.train(config(steps=4, width=16, order_seed=0), tmp_path / "alone")
    assert run.final_digest(run.load(tmp_path / "s", member="seed=0,width=16")) == run.final_digest(alone)
    assert list(swept.table["width"]) == [8, 16]


@pytest.mark.slow
def test_a_project_that_was_moved_finds_its_own_files(tmp_path, capsys, monkeypatch):
    before, after = tmp_path / "before", tmp_path / "after"
    (before / "code").mkdir(parents=True)
    for name in ("nets.py", "rules.py"):
        shutil.move(name, before / "code" / name)
    own_parts = {"network": str(before / "code" / "nets.py:mine"), "optimizer": str(before / "code" / "rules.py:mine")}
    made = run.train(config(steps=4, **own_parts), before / "runs" / "r")
    sweep.sweep(Plan(config(steps=4, **own_parts), (0, 1)), before / "runs" / "s")
    axes = {"network": ("mlp", own_parts["network"]), "optimizer": (own_parts["optimizer"],)}
    member = "seed=0,network=nets.py:mine,optimizer=rules.py:mine"
    swept = sweep.sweep(Plan(config(steps=4, network=None), (0,), axes), before / "runs" / "axes")
    kept = run.final_digest(run.load(before / "runs" / "axes", member=member))
    assert list(swept.table["member"]) == ["seed=0,network=mlp,optimizer=rules.py:mine", member]
    before.rename(after)
    assert run.final_digest(run.load(after / "runs" / "axes", member=member)) == kept
    again = {axis: [str(value).replace(str(before), str(after)) for value in values] for axis, values in axes.items()}
    longer = sweep.sweep(Plan(config(steps=4, network=None), (0, 1), again), after / "runs" / "axes")
    assert len(longer.table) == 4 and run.final_digest(run.load(after / "runs" / "axes", member=member)) == kept
    assert run.final_digest(run.load(after / "runs" / "r")) == run.final_digest(made)
    code, out, err = say(capsys, "compare", after / "runs" / "s", "--json")
    assert code == 0 and json.loads(out)["settings"][0]["summary"]["n"] == 2, err
    longer = run.train(
        dataclasses.replace(run.load(after / "runs" / "r").folder.config(), steps=6), after / "runs" / "r"
    )
    assert longer.step == 6 and read_json(longer.folder.config_file)["network"] == str(after / "code" / "nets.py:mine")
    (after / "code" / "nets.py").write_text((after / "code" / "nets.py").read_text() + "\n# another\n")
    changed = dataclasses.replace(longer.setup.config, network=str(after / "code" / "nets.py:mine"), steps=9)
    with pytest.raises(InputError, match=r"nets.py has changed since .* began: expected the file as it was \(its copy"):
        run.train(changed, after / "runs" / "r")
    with pytest.raises(InputError, match=r"nets.py has changed since .* began: expected the file as it was \(its copy"):
        sweep.sweep(Plan(config(steps=4, network=None), (0, 1), again), after / "runs" / "axes")
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "another"))  # as on another's machine
    with pytest.raises(InputError, match=r"asks to run the file .*nets.py, which has changed, or was never named"):
        run.load(after / "runs" / "r")


@pytest.mark.slow
@pytest.mark.parametrize("gone", [False, True], ids=["changed", "gone"])
def test_what_an_own_file_has_made_is_read_by_the_copy_of_it(tmp_path, capsys, monkeypatch, gone):
    plan = Plan(config(steps=2, optimizer="rules.py:mine", network=None), (0,), {"network": ("nets.py:mine", "mlp")})
    swept = sweep.sweep(plan, tmp_path / "s")
    made = run.train(config(steps=2, optimizer="rules.py:mine"), tmp_path / "r")
    for name in ("nets.py", "rules.py"):
        if gone:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_text("raise SystemError('the new one runs')\n")
    again = run.load(tmp_path / "r")
    assert run.final_digest(again) == run.final_digest(made)
    copy = Path(again.setup.config.network.rpartition(":")[0])
    assert copy.is_relative_to(tmp_path / "r" / "code") and copy.read_text() == FILES["nets.py"]
    code, out, err = say(capsys, "evaluate", "s", "--samples", 3, "--json")
    assert code == 0 and json.loads(out)["members"].keys() == set(swept.table["member"]), err
    for command in (["report", "r"], ["compare", "s"], ["digest", "r"], ["sample", "r", "--count", "2"]):
        assert say(capsys, *command)[0] == 0
    (copy.parent / copy.name).write_text("raise SystemError('a copy that is none')\n")
    with pytest.raises(InputError, match=r"nets.py"):
        run.load(tmp_path / "r")
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "another"))  # as on another's machine
    with pytest.raises(InputError, match=r"asks to run the file .*s/code/\w+/\w+.py, which has changed, or was never"):
        sweep.evaluate(tmp_path / "s")


NOISES = {
    "init": ("nn.Dense(self.width)(x", "nn.Dense(self.width, bias_init=lambda *_: np.random.rand(self.width))(x"),
    "in between": ("nn.tanh(nn.Dense(self.width)(z))", "nn.tanh(nn.Dense(self.width)(z)) * random.random()"),
}


@pytest.mark.parametrize("where", NOISES)
@pytest.mark.slow
def test_what_draws_when_it_is_traced_is_refused(tmp_path, where):
    (tmp_path / "nets.py").write_text("import random\nimport numpy as np\n" + FILES["nets.py"].replace(*NOISES[where]))
    with pytest.raises(
        InputError, match=r"nets.py:mine: each time that it is traced it is another program.*numpy.random"
    ):
        build(config())


@pytest.mark.parametrize(
    ("part", "what"), small.first([("x.reshape(len(x), -1)", "codes"), ("nn.Dense(self.width)(z)", "images")])
)
def test_modules_that_look_at_an_example_s_neighbours_are_refused(tmp_path, part, what):
    assert part in FILES["nets.py"]
    (tmp_path / "nets.py").write_text(
        FILES["nets.py"].replace(part, f"(lambda h: h - 0.3 * h.mean(0, keepdims=True))({part})")
    )
    with pytest.raises(
        InputError, match=f"nets.py:mine: the {what} of 3 examples together are not those of each alone"
    ):
        build(config(dtype="float32"))


HELPER = """
from functools import partial
import jax
import numpy as np

@partial(jax.jit, static_argnums=0)
def scaled(width):
    SEED
    return np.random.rand(width).astype(np.float32)
"""


@pytest.mark.parametrize("seeded", [False, True])
@pytest.mark.slow
def test_what_a_jitted_helper_draws_is_found_too(tmp_path, seeded):
    """Its trace is kept: asked again it says the same. What is seeded is the same each time, and may be."""
    text = FILES["nets.py"].replace(
        "nn.tanh(nn.Dense(self.width)(z))", "nn.tanh(nn.Dense(self.width)(z)) * scaled(64)[None]"
    )
    helper = HELPER.replace("SEED", "np.random.seed(3)" if seeded else "")
    (tmp_path / "nets.py").write_text(helper + text)
    if seeded:
        build(config())
    else:
        with pytest.raises(InputError, match="each time that it is traced it is another program"):
            build(config())


def test_a_record_from_somebody_else_runs_nothing_that_was_not_named(tmp_path):
    run.train(config(network=None, steps=2), tmp_path / "r")
    (tmp_path / "evil.py").write_text("open('ran', 'w')\n" + FILES["nets.py"])
    file = tmp_path / "r" / "record.json"
    write_json(
        file, read_json(file) | {"resolved": {"network": f"{tmp_path}/evil.py:mine", "optimizer": "evil.py:mine"}}
    )
    assert run.load(tmp_path / "r").setup.config.network == "mlp" and not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_a_file_that_changes_while_a_sweep_trains_is_kept_as_it_was_read(tmp_path):
    plan = Plan(config(steps=2), (0,), {"latent": (2, 3)})

    def edit(name, row):
        (tmp_path / "nets.py").write_text(FILES["nets.py"].replace("tanh", "relu"))

    swept = sweep.sweep(plan, tmp_path / "s", on_row=edit)
    for name in swept.table["member"]:
        (copy,) = (swept.folder.member(name).path / "code").rglob("nets.py")
        assert copy.read_text() == FILES["nets.py"]
        assert run.load(tmp_path / "s", member=name).step == 2


@pytest.mark.slow
def test_where_the_cache_cannot_be_written_own_files_run_all_the_same(tmp_path, capsys, caplog):
    (tmp_path / "cache").write_text("no folder")
    made = run.train(config(steps=2), tmp_path / "r")
    assert run.final_digest(run.load(tmp_path / "r")) == run.final_digest(made)
    assert sum("JAXAE_CACHE" in line for line in caplog.messages) == 1
    code, _, err = say(capsys, "allow", "rules.py")
    assert code == 2 and "JAXAE_CACHE" in err


@pytest.mark.slow
def test_a_value_that_is_jaxaes_default_is_given_too(tmp_path):
    (tmp_path / "decay.py").write_text(
        "import optax\ndef mine(learning_rate, *, weight_decay=0.5, eps=1.0):\n"
        "    return optax.chain(optax.add_decayed_weights(weight_decay), optax.scale(eps))\n"
    )
    zero, one = {"w": np.float32([0.0])}, {"w": np.float32([1.0])}
    for given, expected in (({}, 0.5), ({"weight_decay": 0.0}, 0.0), ({"weight_decay": 0.25, "eps": 1e-8}, 0.25e-8)):
        run_of = build(config(optimizer="decay.py:mine", **given))
        updates, _ = run_of.tx.update(zero, run_of.tx.init(one), one)
        assert float(updates["w"][0]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("method", ["vqvae", "rvq", "vae_gan", "hvae2"])
@pytest.mark.slow
def test_methods_with_a_metric_of_a_hyperparameters_name_take_them(method):
    assert build(Config(**{**SMALL, "width": None, "method": method, "latent": 4, "optimizer": "rules.py:mine"})).total


def test_what_runs_is_what_is_hashed(tmp_path):
    """Not what Python compiled of another file of the same second and size."""
    found = []
    for number in (1, 2):
        (tmp_path / "x.py").write_text(f"def mine():\n    return {number}\n")
        os.utime(tmp_path / "x.py", (1_000_000_000, 1_000_000_000))
        found.append(own.function("x.py:mine")())
    assert found == [1, 2] and not (tmp_path / "__pycache__").exists()


@pytest.mark.slow
def test_a_file_that_is_edited_while_its_sweep_trains_does_not_keep_it_from_being_measured(tmp_path):
    edits = "    with open('nets.py', 'a') as file:\n        file.write('# edited\\n')\n"
    (tmp_path / "nets.py").write_text(FILES["nets.py"].replace("    width = spec", f"{edits}    width = spec"))
    swept = sweep.sweep(Plan(config(steps=4), (0, 1)), tmp_path / "s")
    assert list(swept.table["outcome"]) == ["finished"] * 2 and swept.table["nll"].notna().all()


def test_files_of_one_name_are_two_values_of_an_axis(tmp_path):
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "nets.py").write_text(FILES["nets.py"] + "\n")
    plan = Plan(config(steps=4), (0,), {"network": ("mlp", "nets.py:mine", "more/nets.py:mine")})
    assert len(plan.members) == len(plan.groups) == 3
    names = [member.name for member in plan.members]
    assert names == ["seed=0,network=mlp", f"seed=0,network={tmp_path.name}/nets.py:mine",
                     "seed=0,network=more/nets.py:mine"]  # fmt: skip


def test_members_are_named_by_the_end_of_a_path_and_found_by_the_whole_one(tmp_path):
    plan = Plan(config(steps=4), (0, 1), {"network": ("mlp", "nets.py:mine"), "optimizer": ("adam", "rules.py:mine")})
    names = [member.name for member in plan.members]
    assert names[-1] == "seed=1,network=nets.py:mine,optimizer=rules.py:mine"
    whole = f"network={tmp_path}/nets.py:mine,optimizer={tmp_path}/rules.py:mine,seed=1"
    ways = plan.whole_names
    assert find(whole, ways) == find("optimizer=rules.py:mine,network=nets.py:mine,seed=1", ways) == names[-1]
    for other in (whole.replace(f"{tmp_path}/nets.py", "/elsewhere/nets.py"), "seed=1"):
        with pytest.raises(InputError, match="no member"):
            find(other, ways)


def test_paths_in_names_are_what_they_are(tmp_path):
    """One that ends as a built-in name, numbers, commas, dashes: each member is found by its name and by its path."""
    for name in ("mnist", "1", "1.0", "nan", "p,q-1", "p,q_1", "a=b"):
        (tmp_path / name).mkdir()
    paths = tuple(f"./{name}" for name in ("mnist", "1", "1.0", "nan", "p,q-1", "p,q_1", "a=b"))
    plan = Plan(Config(**SMALL), (0,), {"data": ("mnist", *paths), "beta": (1.0, 4.0)})
    names = [member.name for member in plan.members]
    assert names[:3:2] == ["seed=0,data=mnist,beta=1", f"seed=0,data={tmp_path.name}/mnist,beta=1"]
    assert len(set(names)) == 16
    short = Plan(Config(**SMALL), (0,), {"data": ("./1", "./1.0", "./nan"), "beta": (1.0,)})
    assert [member.name for member in short.members] == [f"seed=0,data={name},beta=1" for name in ("1", "1.0", "nan")]
    for member, of in [*((each, plan) for each in plan.members), *((each, short) for each in short.members)]:
        assert find(member.name, of.whole_names) == member.name
        seed, place, beta = re.fullmatch("(.*?),(data=.*),(beta=.*)", member.name).groups()
        assert find(f"{place},{seed},{beta}", of.whole_names) == member.name
        assert find(
            f"beta={member.config.hyperparameters['beta']},seed=0,data={member.config.data}", of.whole_names
        ) == (member.name)


@pytest.mark.slow
def test_a_sweep_over_files_grows_by_one_of_the_same_name_and_older_ones_are_read(tmp_path):
    x = np.random.default_rng(0).random((40, 4, 4))
    for folder in ("da", "db"):
        (tmp_path / folder).mkdir()
        np.save(tmp_path / folder / "x.npy", x)
    few = {**SMALL, "steps": 2, "batch_size": 10}
    first = sweep.sweep(Plan(Config(**few), (0,), {"data": ("da/x.npy", "digits")}), tmp_path / "s")
    grown = sweep.sweep(Plan(Config(**few), (0,), {"data": ("db/x.npy", "da/x.npy", "digits")}), tmp_path / "s")
    assert list(first.table["member"]) == ["seed=0,data=x.npy", "seed=0,data=digits"]
    assert list(grown.table["member"]) == ["seed=0,data=db/x.npy", "seed=0,data=x.npy", "seed=0,data=digits"]
    whole = f"seed=0,data={tmp_path}/da/x.npy"
    assert grown.folder.find(whole).path == grown.folder.member("seed=0,data=x.npy").path
    kept = read_json(first.folder.sweep_file)  # as it was written before, with whole paths
    for short in ("x.npy", "db/x.npy"):
        old = f"seed=0,data={tmp_path}/{'da/' * (short == 'x.npy')}{short}"
        grown.folder.member(f"seed=0,data={short}").path.rename(grown.folder.member(old).path)
        kept["members"] = [old if name == f"seed=0,data={short}" else name for name in kept["members"]]
    kept.pop("words")
    write_json(first.folder.sweep_file, kept)
    again = sweep.load(tmp_path / "s")
    assert list(again.table["outcome"]) == ["finished"] * 3 and len(again.groups()) == 3
    assert run.load(tmp_path / "s", member=whole).step == 2
    seeds = sweep.sweep(Plan(Config(**few), (0, 1), {"data": ("db/x.npy", "da/x.npy", "digits")}), tmp_path / "s")
    assert len(seeds.table) == 6 and f"seed=1,data={tmp_path}/da/x.npy" in set(seeds.table["member"])


def test_own_rules_take_the_step_of_the_optax_they_return(tmp_path):
    (tmp_path / "sgd.py").write_text(SGD)
    params, grads = {"w": np.float32([1.0, -2.0])}, {"w": np.float32([0.5, 4.0])}
    for given, momentum in (({}, 0.5), ({"b1": 0.0}, 0.0), ({"b1": 0.75}, 0.75), ({"weight_decay": 0.0}, 0.5)):
        tx, expected = optim.make("sgd.py:mine", 0.1, **given), optax.sgd(0.1, momentum)
        state, wanted = tx.init(params), expected.init(params)
        for _ in range(3):
            updates, state = tx.update(grads, state, params)
            should, wanted = expected.update(grads, wanted, params)
            np.testing.assert_allclose(updates["w"], should["w"], rtol=1e-6)


@pytest.mark.slow
def test_an_own_rule_goes_by_schedules_averages_and_clipping(tmp_path):
    (tmp_path / "sgd.py").write_text(SGD)
    mine = run.train(
        Config(**{**SMALL, "optimizer": "sgd.py:mine", "learning_rate": "linear(0.1, 0, 100%)", "average": 0.9,
                  "clip_norm": 1.0, "b1": 0.25}), tmp_path / "mine",
    )  # fmt: skip
    usual = run.train(
        Config(**{**SMALL, "optimizer": "sgd", "learning_rate": "linear(0.1, 0, 100%)", "average": 0.9,
                  "clip_norm": 1.0, "b1": 0.25}), tmp_path / "usual",
    )  # fmt: skip
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), mine.variables, usual.variables)


@pytest.mark.slow
def test_files_of_one_name_and_other_contents_are_not_pooled(tmp_path):
    places = []
    for name in ("a", "b"):
        (tmp_path / "nets.py").write_text(FILES["nets.py"].replace("64", "32") if name == "b" else FILES["nets.py"])
        places.append(tmp_path / name)
        run.store(made := run.train(config(steps=4), places[-1]), run.evaluate_run(made, samples=4))
    assert len(compare.compare(compare.table(places), "nll").settings) == 2


@pytest.mark.slow
def test_a_changed_file_does_not_go_on_and_changes_nothing_in_memory(tmp_path):
    made = run.train(config(steps=4, optimizer="rules.py:mine"), tmp_path / "r")
    before = run.evaluate_run(made, samples=4)["nll"]
    (tmp_path / "nets.py").write_text(FILES["nets.py"].replace("tanh", "relu"))
    (tmp_path / "rules.py").write_text("def mine(learning_rate):\n    return 3\n")
    assert run.evaluate_run(made, samples=4)["nll"] == before
    own.allow(tmp_path / "nets.py")
    own.allow(tmp_path / "rules.py")
    assert run.final_digest(run.load(tmp_path / "r")) == run.final_digest(made)
    shutil.rmtree(tmp_path / "r" / "code")  # as of runs that kept none
    with pytest.raises(InputError, match=r"nets\.py has changed since .* began"):
        run.load(tmp_path / "r")
    (tmp_path / "nets.py").write_text(FILES["nets.py"])
    with pytest.raises(InputError, match=r"rules\.py has changed since"):
        run.load(tmp_path / "r")


@pytest.mark.slow
def test_a_file_that_is_edited_while_it_is_trained_is_the_one_that_was_read(tmp_path, capsys):
    """Here it edits itself, when its network is made."""
    edits = "    with open('nets.py', 'a') as file:\n        file.write('# edited\\n')\n"
    (tmp_path / "nets.py").write_text(FILES["nets.py"].replace("    width = spec", f"{edits}    width = spec"))
    begun = own.sha256("nets.py:mine")
    words = ["train", "--run", "r", "--network", "nets.py:mine", *flags({**SMALL, "steps": 4})]
    code, out, _ = say(capsys, *words)
    assert code == 0 and "test NLL" in out and "report" in out
    record = json.loads((tmp_path / "r" / "record.json").read_text())
    assert record["network_sha256"] == begun != own.sha256("nets.py:mine")


@pytest.mark.slow
def test_a_folder_from_somebody_else_runs_no_network_before_it_is_allowed(tmp_path, capsys, monkeypatch):
    (tmp_path / "nets.py").write_text(FILES["nets.py"] + "\n(__import__('pathlib').Path('ran')).touch()\n")
    run.train(config(steps=4), tmp_path / "r")
    sweep.sweep(Plan(config(steps=4, network=None), (0,), {"network": ("mlp", "nets.py:mine")}), tmp_path / "s")
    (tmp_path / "ran").unlink()
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "another user's"))
    for name in [name for name in __import__("sys").modules if name.startswith("jaxae_own_")]:
        monkeypatch.delitem(__import__("sys").modules, name)
    code, _, err = say(capsys, "evaluate", "r", "--samples", 2)
    assert code == 2 and "never named here" in err and f"`jaxae allow {tmp_path}/nets.py`" in err
    assert not (tmp_path / "ran").exists()
    code, _, err = say(capsys, "evaluate", "s", "--samples", 2)
    assert code == 2 and "s/sweep.json asks to run the file" in err and f"`jaxae allow {tmp_path}/nets.py`" in err
    assert not (tmp_path / "ran").exists()
    assert say(capsys, "allow", "nets.py")[0] == 0 and not (tmp_path / "ran").exists()
    assert say(capsys, "evaluate", "r", "--samples", 2)[0] == 0 and (tmp_path / "ran").exists()
    code, _, err = say(capsys, "allow", "nowhere.py")
    assert code == 2 and "nowhere.py: no such file" in err and err.count("\n") == 1


NET = {
    "def mine(a, b): pass": "expected mine(spec) -> (outputs -> encoder, decoder)",
    "def other(spec): pass": "expected a function mine(spec)",
    "def mine(spec): return 3": "it gives a int: expected (outputs -> encoder, decoder)",
    "def mine(spec): return 3, 4": "its decoder is no linen module",
    "from flax import linen as nn\ndef mine(spec): return nn.Dense(2), nn.Dense(2)": "its encoder is made already",
    "from flax import linen as nn\ndef mine(spec): return nn.Dense, nn.Dense(2)": "expected",
}
RULE = {
    "def mine(): pass": "expected mine(learning_rate, *, ...) -> GradientTransformation",
    "def mine(learning_rate): return 3": "it gives a int: expected an optax.GradientTransformation",
    "def mine(learning_rate, *, b3=1): pass": "keyword b3: expected b1, b2, eps, weight_decay, each with a default",
    "def mine(learning_rate, *, b1): pass": "keyword b1 without a default: expected",
    "import optax\ndef mine(learning_rate):\n    return optax.polyak_sgd()": "expected an update of the gradients",
    "import optax\ndef mine(learning_rate):\n    return optax.GradientTransformation(lambda p: 0, "
    "lambda g, s, p: (g, g))": "it makes a state",
    "import jax, optax\ndef mine(learning_rate):\n    return optax.stateless(lambda g, p: "
    "jax.tree.map(lambda x: x.sum(), g))": "it makes updates",
}

GAUSSIAN = "import jax.numpy as jnp\nfrom jaxae.likelihoods import gaussian\ndef mine(scale): return gaussian(scale)"
LIKELIHOOD = {
    "def mine(): pass": "expected mine(scale) -> Likelihood",
    "def mine(scale): return 3": "bad.py:mine: it gives a int: expected a jaxae.types.Likelihood",
    "def mine(scale): return {}[scale]": "bad.py:mine (bad.py, line 1): 0.3",
    GAUSSIAN + "._replace(init=lambda: {})": "bad.py:mine: init gives a dict: expected jaxae.types.Variables",
    GAUSSIAN + "._replace(bias=jnp.sum)": "bias gives float32[]: expected real numbers of shape [8, 8, 1] here",
    GAUSSIAN
    + "._replace(log_prob=lambda v, out, x: x)": "log_prob gives float32[2, 8, 8, 1]: expected real numbers of",
    GAUSSIAN + "._replace(log_prob=lambda v, out, x: v.none)": "bad.py:mine: log_prob (bad.py, line 3): ",
    GAUSSIAN
    + "._replace(log_prob=lambda v, out, x: -abs(x - out.mean(0)[None]).sum((1, 2, 3)))": "looks at the others",
    GAUSSIAN + "._replace(mean=lambda v, out: out > 0)": "mean gives bool[2, 8, 8, 1]: expected real numbers",
    GAUSSIAN + "._replace(draw=lambda v, keys, out: out[0])": "draw gives float32[8, 8, 1]: expected real numbers",
    GAUSSIAN + "._replace(draw=lambda v, keys, out: out + __import__('numpy').random.rand())": "as numpy.random",
    GAUSSIAN + "._replace(draw=lambda v, k, out: out + __import__('jax').random.normal(k[0], out.shape))": "own key",
    "from jaxae.likelihoods import gaussian_optimal\nimport jax.numpy as jnp\ndef mine(scale):\n"
    "    def fit(v, out, x):\n        return v, {**v.state, 'variance': jnp.mean((x - out) ** 2)}\n"
    "    return gaussian_optimal(scale)._replace(fit=fit)": "expected jaxae.axis.mean",
    GAUSSIAN + "._replace(fit=lambda v, out, x: v)": "fit gives ",
    GAUSSIAN
    + "._replace(fit=lambda v, out, x: (v, {'n': x.sum()}))": "fit keeps {'n': 'float32[]'}: expected the state",
}


@pytest.mark.parametrize("code", LIKELIHOOD)
def test_what_is_no_likelihood_is_one_line(code, tmp_path, capsys):
    (tmp_path / "bad.py").write_text(code)
    words = "train", "--likelihood", "bad.py:mine", "--scale", 0.3, "--run", "r", *flags({**SMALL, "steps": 2})
    status, _, err = say(capsys, *words)
    assert status == 2 and LIKELIHOOD[code] in err and err.count("\n") == 1, err
    assert not (tmp_path / "r").exists()


def test_a_likelihood_of_ones_own_is_what_its_functions_say():
    likelihood = build(config(likelihood="pixels.py:mine", scale=0.3)).net.likelihood
    assert (likelihood.name, likelihood.scale) == ("pixels.py:mine", 0.3)
    out, x = np.random.default_rng(0).uniform(-1, 2, (2, 5, 8, 8, 1)).astype(np.float32)
    expected = scipy.stats.laplace(out.astype(float), 0.3).logpdf(x).sum((1, 2, 3))
    np.testing.assert_allclose(likelihood.log_prob(likelihood.init(), out, x), expected, rtol=1e-5)
    keys = jax.random.split(jax.random.key(0), 500)
    drawn = np.asarray(likelihood.draw(likelihood.init(), keys, np.zeros((500, 8, 8, 1), np.float32)))
    assert np.abs(drawn).mean() == pytest.approx(0.3, rel=0.03) and abs(np.median(drawn)) < 0.01


@pytest.mark.slow
def test_grey_pixels_under_bits_of_ones_own_are_told(tmp_path):
    (tmp_path / "bits.py").write_text("from jaxae.likelihoods import bernoulli\ndef mine(scale): return bernoulli()\n")
    made = run.train(config(network=None, likelihood="bits.py:mine", steps=2), tmp_path / "r")
    measures = run.evaluate_run(made, samples=2)
    assert GREY in measures["notes"]["likelihood"] and "bits_per_dim" not in measures
    assert read_json(tmp_path / "r" / "record.json")["nats_of"] == "probabilities"


@pytest.mark.slow
def test_one_that_is_jaxaes_trains_to_its_bits_and_is_read_by_its_copy(tmp_path, capsys):
    (tmp_path / "pixels.py").write_text(GAUSSIAN)
    mine = config(network=None, likelihood="pixels.py:mine", scale=0.2, steps=4)
    made = run.train(mine, tmp_path / "r")
    theirs = run.train(dataclasses.replace(mine, likelihood="gaussian"), tmp_path / "g")
    assert run.final_digest(made) == run.final_digest(theirs)
    assert run.evaluate_run(made, samples=4)["nll"] == run.evaluate_run(theirs, samples=4)["nll"]
    assert read_json(tmp_path / "r" / "record.json")["likelihood_sha256"] == own.sha256("pixels.py:mine")
    (tmp_path / "pixels.py").write_text(FILES["pixels.py"])
    assert run.final_digest(run.load(tmp_path / "r")) == run.final_digest(theirs), "by its copy"
    with pytest.raises(InputError, match=r"pixels\.py has changed since .* began"):
        run.train(dataclasses.replace(mine, steps=6), tmp_path / "r")


@pytest.mark.parametrize("method", ["ae", "vqvae"])
@pytest.mark.slow
def test_a_likelihood_that_looks_at_its_batch_is_refused_without_a_density_of_codes_too(method, tmp_path):
    (tmp_path / "bad.py").write_text(
        GAUSSIAN + "._replace(log_prob=lambda v, out, x: -abs(x - out.mean(0)[None]).sum((1, 2, 3)))"
    )
    with pytest.raises(InputError, match="the log-probabilities of 3 examples together are not those of each alone"):
        build(Config(method=method, likelihood="bad.py:mine", batch_size=100))


@pytest.mark.parametrize("nats_of", ["a density", "probabilities"])
def test_nats_are_compared_where_they_are_of_densities(tmp_path, nats_of):
    def of(seed, version):
        (tmp_path / "pixels.py").write_text(FILES["pixels.py"] + f"# {version}\n")
        place = compared.run(tmp_path / f"{seed}-{version}", seed, 80.0 + seed, likelihood="pixels.py:mine")
        of_own = {"likelihood_sha256": own.sha256("pixels.py:mine"), "nats_of": nats_of}
        record = read_json(place / "record.json") | of_own
        write_json(place / "record.json", record)
        own.allow(tmp_path / "pixels.py")
        return place

    one, other = of(0, "a"), of(1, "a")
    assert compare.compare(compare.table([one, other]), "nll").settings[0].summary.mean == 80.5
    both = compare.table([one, of(1, "b")])
    with_gaussian = compare.table([one, compared.run(tmp_path / "g", 0, 85.0, likelihood="gaussian")])
    if nats_of == "a density":
        assert [s.summary.mean for s in compare.compare(both, "nll").settings] == [80.0, 81.0]
        assert [s.summary.mean for s in compare.compare(with_gaussian, "nll").settings] == [80.0, 85.0]
        return
    for table in (both, with_gaussian):
        with pytest.raises(InputError, match="of likelihoods whose 'nll' counts different things"):
            compare.compare(table, "nll")
        assert compare.compare(table).measure == "mse"


@pytest.mark.slow
def test_likelihoods_of_ones_own_are_swept_and_compared(tmp_path, capsys):
    axis = {"likelihood": ("gaussian", "pixels.py:mine")}
    swept = sweep.sweep(Plan(config(network=None, scale=0.2, steps=4), (0, 1), axis), tmp_path / "s")
    assert sorted(swept.table["likelihood"]) == ["gaussian"] * 2 + ["pixels.py:mine"] * 2
    found = compare.compare(swept.table)
    assert found.measure == "nll" and len(found.settings) == 2, "both are densities of the same pixels"
    assert swept.table["nats_of"].tolist().count("a density") == 2
    alone = run.train(
        config(network=None, likelihood="pixels.py:mine", scale=0.2, steps=4, order_seed=0), tmp_path / "r"
    )
    member = run.load(tmp_path / "s", member="seed=0,likelihood=pixels.py:mine")
    assert run.final_digest(member) == run.final_digest(alone)


@pytest.mark.parametrize(("field", "code"), [("network", c) for c in NET] + [("optimizer", c) for c in RULE])
def test_what_is_not_one_is_one_line(field, code, tmp_path, capsys):
    (tmp_path / "bad.py").write_text(code)
    status, _, err = say(capsys, "train", f"--{field}", "bad.py:mine", "--run", "r", *flags({"steps": 2}))
    assert status == 2 and {**NET, **RULE}[code] in err and err.count("\n") == 1
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"b2": 0.9}, r"b2 0\.9: rules\.py:mine has none: leave it out"),
        ({"eps": 1e-4}, r"eps 0\.0001: rules\.py:mine has none"),
        ({"weight_decay": 0.1}, r"weight_decay 0\.1: rules\.py:mine has none"),
        ({"optimizer": "nowhere.py:mine"}, r"'nowhere\.py:mine': no file"),
        ({"network": "mpl"}, "unknown network 'mpl': did you mean 'mlp'"),
        ({"network": 3}, "network 3: expected a name, or your own function as path"),
        ({"network": "nets.py"}, r"network 'nets\.py': expected a name, or your own"),
        ({"depth": 2}, r"depth 2: nets\.py:mine asks for no spec\.depth: leave it out"),
        ({"dtype": "bfloat16"}, r"dtype 'bfloat16': nets\.py:mine asks for no spec\.dtype"),
    ],
)
def test_a_config_refuses_what_they_do_not_take(changes, said):
    with pytest.raises(InputError, match=said):
        config(**{"optimizer": "rules.py:mine", **changes})
    assert config(optimizer="rules.py:mine", b1=0.5).b1 == 0.5


@pytest.mark.slow
def test_a_file_that_was_moved_is_named_and_may_be_named_anew(tmp_path, capsys):
    run.train(config(steps=2), tmp_path / "r")
    (tmp_path / "lib").mkdir()
    (tmp_path / "nets.py").rename(tmp_path / "lib" / "nets.py")
    assert say(capsys, "digest", "r")[0] == 0, "by its copy"
    shutil.rmtree(tmp_path / "r" / "code")  # as of runs that kept none
    code, _, err = say(capsys, "sample", "r", "--count", 2)
    assert code == 2 and "r/config.json names the network" in err and "put it back, or write there" in err
    text = (tmp_path / "r" / "config.json").read_text()
    (tmp_path / "r" / "config.json").write_text(text.replace("/nets.py", "/lib/nets.py"))
    assert say(capsys, "digest", "r")[0] == 0


def test_a_slip_in_a_rule_is_said_of_the_rule(tmp_path):
    (tmp_path / "rules.py").write_text(
        "import optax\ndef mine(learning_rate):\n    if learning_rate > 0:\n        return optax.sgd(1)\n"
    )
    with pytest.raises(InputError, match=r"^rules.py, line 3: .*expected jnp.where in place of if"):
        build(config(network=None, optimizer="rules.py:mine"))
