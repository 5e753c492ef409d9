"""A folder is a run's, or free, wherever the process that made it was killed."""

import contextlib
import dataclasses
import errno
import shutil
from pathlib import Path

import jax
import pytest

from jaxae import compare, files, folder, record, run, sweep
from jaxae.build import build
from jaxae.config import Config
from jaxae.errors import InputError
from jaxae.files import read_json, write_json
from jaxae.folder import RunFolder, SweepFolder
from jaxae.folder.lock import occupied
from jaxae.plan import Plan
from tests import compared
from tests.runs import SMALL, configured

WRONG = {
    "config.json": [("method", None, "expected text"), ("hyperparameters", [], "expected an object")],
    "record.json": [("data", "digits", "expected an object"), ("data", {"sha256": [1]}, "expected text")],
    "evaluation.json": [
        ("step", "7", "expected a whole number"), ("step", True, "expected a whole number"),
        ("settings", None, "expected an object"), ("split", ["test"], "expected text"),
        ("nll", {}, "expected a number or null"), ("nll_mc_se", "0.1", "expected a number or null"),
        ("notes", {"likelihood": None}, "expected a list"), ("notes", {"ais": [1]}, "expected text"),
        ("settings", {"samples": {"drawn": "ten"}}, "expected a whole number"),
    ],
    "outcome.json": [("step", 1.5, "expected a whole number")],
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_json_of_another_type_is_one_line(tmp_path, name):
    where = compared.run(tmp_path / "run", 0, 20.0, {"outcome": "finished", "step": 10})
    whole = read_json(where / name)
    for key, value, said in WRONG[name]:
        write_json(where / name, whole | {key: value})
        with pytest.raises(InputError, match=rf"{name}: .* {said}: restore it$"):
            compare.table(where)
    (where / name).write_text("[" * 100_000)
    with pytest.raises(InputError, match=rf"{name}: not JSON: .*restore it, or move it away$"):
        compare.table(where)


@pytest.mark.parametrize("call", [1, 2, 3, 4])
def test_a_run_claims_its_folder_again_wherever_it_was_killed(tmp_path, monkeypatch, call):
    """Within any of the writes of its two files: before the temporary file is in its place, or right after."""
    replace, calls = files.os.replace, []

    def dying(*args):
        calls.append(1)
        if len(calls) * 2 == call:
            replace(*args)
        if len(calls) * 2 >= call:
            raise KeyboardInterrupt
        replace(*args)

    run, config = RunFolder(tmp_path / "run"), Config(steps=3)
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", dying)
        with pytest.raises(KeyboardInterrupt):
            run.claimed(config, {}).__enter__()
    run.check(config)
    with run.claimed(config, {}):
        assert run.config() == config


@pytest.mark.parametrize("name", ["thesis.tex", "config.json.bak", ".config.json", ".config.json.swp", "record.json"])
def test_what_is_not_ours_occupies_a_folder(tmp_path, name):
    (tmp_path / name).write_text("precious")
    assert occupied(tmp_path)
    with pytest.raises(InputError, match="not empty and holds no run"):
        RunFolder(tmp_path).check(Config())


@pytest.mark.parametrize("name", [".config.json", ".record.json", ".sweep.json"])
def test_what_a_killed_write_leaves_occupies_none(tmp_path, monkeypatch, name):
    def killed(*args, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr(files.os, "replace", killed)
    monkeypatch.setattr(files.Path, "unlink", killed)  # by -9 nothing is cleaned up
    with pytest.raises(KeyboardInterrupt):
        files.write_json(tmp_path / name[1:], {})
    assert [entry.name.startswith(name) for entry in tmp_path.iterdir()] == [True]
    assert not occupied(tmp_path)


@pytest.mark.parametrize("threads", ["abc", "0", "-1", "1.5"])
def test_a_number_of_threads_that_is_none_is_refused_in_one_line(tmp_path, monkeypatch, threads):
    monkeypatch.setenv("NPROC", threads)
    with pytest.raises(InputError, match=f"^NPROC '{threads}': expected a whole number of threads"):
        record.made(Config(), tmp_path, build(Config()))


def test_a_folder_right_under_the_root_is_a_runs(monkeypatch):
    made = []
    monkeypatch.setattr(folder.run, "locked", lambda path, shared=False: contextlib.nullcontext(made.append(path)))
    monkeypatch.setattr(RunFolder, "write", lambda self, *of: made.append("written"))
    with RunFolder("/no-such-run").claimed(Config(), {}):
        assert made == [Path("/no-such-run"), "written"]


def test_only_a_lock_that_is_held_is_another_process(tmp_path, monkeypatch):
    def refused(lock, how):
        assert lock.readable() and lock.writable()
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr(folder.lock.fcntl, "flock", refused)
    with pytest.raises(InputError, match="cannot be locked: Bad file descriptor"), folder.locked(tmp_path):
        pass


def test_a_record_lists_the_places_that_made_something(tmp_path):
    """Of one where no step was made, and of steps that a damaged checkpoint took back, nothing is in the result."""

    def place(name):
        return {"versions": {"jax": name}, "device": name, "threads": 2}

    of = RunFolder(tmp_path / "run")
    of.path.mkdir()
    for name, step in (("a", 0), ("b", 5), ("c", 5)):
        of.write(Config(), place(name), step)
    assert of.record()["earlier"] == [{"until_step": 5, **place("a")}]
    of.write(Config(), place("d"), 9)
    assert [part["device"] for part in of.record()["earlier"]] == ["a", "c"]
    of.write(Config(), place("d"), 5)
    assert [part["device"] for part in of.record()["earlier"]] == ["a"]


def test_what_differs_between_two_sweeps_is_told_in_few_lines(tmp_path):
    how = {"lanes": "map", "block": 1, "exact": False}
    grid = {"lambda_d": tuple(float(n) for n in range(1, 8))}
    of = SweepFolder(tmp_path / "s")
    of.path.mkdir()
    of.write(Plan(Config(method="dip_vae"), (0, 1), grid), how)
    with pytest.raises(InputError, match=r"another sweep: hyperparameters: .*; and 3 more: choose") as error:
        of.check(Plan(Config(method="dip_vae", hyperparameters={"lambda_od": 3.0}), (0, 1), grid), how)
    assert len(str(error.value)) < 1000


@pytest.mark.slow
def test_a_run_keeps_the_defaults_that_it_began_with(tmp_path):
    """As where a later version has others: here the record tells of what this one has not."""
    made = run.train(configured(method="hamiltonian_vae", steps=2), tmp_path / "r")
    file = made.folder.record_file
    kept = read_json(file)
    assert kept["resolved"]["hyperparameters"]["step_size"] == 0.05 and kept["resolved"]["depth"] == 1
    kept["resolved"]["hyperparameters"]["step_size"] = 0.2
    write_json(file, kept)
    again = run.load(tmp_path / "r")
    assert again.folder.config().hyperparameters == {"step_size": 0.2}
    assert run.evaluate_run(again, samples=4)["nll"] != run.evaluate_run(made, samples=4)["nll"]
    with pytest.raises(InputError, match=r"another config: hyperparameters: .*0\.2.* -> .*0\.05"):
        run.train(configured(method="hamiltonian_vae", steps=4), tmp_path / "r")
    said = configured(method="hamiltonian_vae", steps=4, hyperparameters={"step_size": 0.2})
    longer = run.train(said, tmp_path / "r")
    kept = read_json(file)
    kept["resolved"]["hyperparameters"]["step_size"] = 0.7
    write_json(file, kept)
    assert longer.folder.config().hyperparameters == {"step_size": 0.2}, "what was said is no default"
    assert longer.step == 4
    kept = read_json(file)
    kept["resolved"]["depth"] = 2
    write_json(file, kept)
    assert longer.folder.config().depth == 2 and longer.folder.config().width == SMALL["width"]


def test_a_run_goes_on_in_numbers_of_the_width_that_it_began_with(tmp_path):
    run.train(configured(steps=2), tmp_path / "r")
    with (
        jax.enable_x64(True),
        pytest.raises(InputError, match=r"a run with JAX_ENABLE_X64=0, and now it is .*=1: set it"),
    ):
        run.train(configured(steps=4), tmp_path / "r")


def test_what_a_message_names_can_be_pasted_and_a_file_is_no_folder(tmp_path):
    with pytest.raises(InputError, match=r"`jaxae train --run '.*/a run'` makes one"):
        RunFolder(tmp_path / "a run").config()
    (tmp_path / "paper.txt").write_text("text")
    with pytest.raises(InputError, match=r"paper.txt is a file: choose another --run"):
        run.train(configured(steps=2), tmp_path / "paper.txt")


@pytest.mark.slow
def test_a_sweep_keeps_the_defaults_that_its_members_began_with(tmp_path):
    plan = Plan(configured(steps=2), (0,), {"method": ("vae", "hamiltonian_vae")})
    swept = sweep.sweep(plan, tmp_path / "s")
    name = "seed=0,method=hamiltonian_vae"
    before = run.final_digest(run.load(tmp_path / "s", member=name))
    file = swept.folder.member(name).record_file
    kept = read_json(file)
    kept["resolved"]["hyperparameters"]["step_size"] = 0.2
    write_json(file, kept)
    assert run.final_digest(run.load(tmp_path / "s", member=name)) == before
    (found,) = [m for m in swept.folder.listed() if m.name == name]
    assert found.config.hyperparameters == {"step_size": 0.2}
    assert set(sweep.evaluate(tmp_path / "s", settings=run.Settings(3))) == set(swept.table["member"])
    other = swept.folder.member("seed=0,method=vae").record_file
    whole = other.read_bytes()
    other.write_text("{")
    assert run.final_digest(run.load(tmp_path / "s", member=name)) == before, "another's damage costs it nothing"
    other.write_bytes(whole)
    with pytest.raises(
        InputError, match=r"holds another sweep: hyperparameters: .*0\.2.* -> .*0\.05.*: choose another --run"
    ):
        sweep.sweep(dataclasses.replace(plan, seeds=(0, 1)), tmp_path / "s")


def test_a_sweep_goes_on_in_numbers_of_the_width_that_it_began_with(tmp_path):
    sweep.sweep(Plan(configured(steps=2), (0,)), tmp_path / "s")
    with (
        jax.enable_x64(True),
        pytest.raises(InputError, match=r"a run with JAX_ENABLE_X64=0, and now it is .*=1: set it"),
    ):
        sweep.sweep(Plan(configured(steps=2), (0, 1)), tmp_path / "s")


def test_folders_without_a_file_are_nothing(tmp_path):
    (tmp_path / "checkpoints" / "0").mkdir(parents=True)
    assert not occupied(tmp_path)
    (tmp_path / "checkpoints" / "link").symlink_to(tmp_path / "gone")
    assert occupied(tmp_path)


def test_an_outcome_that_does_not_tell_is_one_line(tmp_path):
    (tmp_path / "outcome.json").write_text("{}")
    with pytest.raises(InputError, match=r"outcome\.json: it has no outcome: restore it, or remove it"):
        RunFolder(tmp_path).outcome()


def test_a_file_that_cannot_take_its_place_leaves_nothing(tmp_path):
    (tmp_path / "x.json").mkdir()
    with pytest.raises(OSError, match="directory"):
        files.write_json(tmp_path / "x.json", {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.json"]


def test_a_last_checkpoint_that_is_gone_is_told_of_and_replaces_no_measures(tmp_path, capsys):
    made = run.train(configured(steps=20, checkpoint_every=10), tmp_path / "r")
    run.store(made, run.evaluate_run(made, samples=2))
    before = (tmp_path / "r" / "evaluation.json").read_bytes()
    capsys.readouterr()
    run.load(tmp_path / "r")
    run.load(tmp_path / "r", 10)
    assert capsys.readouterr().err == ""
    shutil.rmtree(tmp_path / "r" / "checkpoints" / "20")
    earlier = run.load(tmp_path / "r")
    run.variables_in(made.folder)
    assert capsys.readouterr().err.count("step 20, with which it ended, is not there: this is step 10") == 2
    run.store(earlier, run.evaluate_run(earlier, samples=2))
    assert "has the measures of step 20: those of step 10 are not kept" in capsys.readouterr().err
    assert (tmp_path / "r" / "evaluation.json").read_bytes() == before


def test_a_members_config_that_was_lost_is_written_again(tmp_path):
    plan = Plan(configured(steps=4, evaluate="none"), (0, 1))
    sweep.sweep(plan, tmp_path / "s")
    there = SweepFolder(tmp_path / "s").member("seed=1")
    before = there.config_file.read_bytes()
    there.config_file.unlink()
    sweep.sweep(plan, tmp_path / "s")
    assert there.config_file.read_bytes() == before
