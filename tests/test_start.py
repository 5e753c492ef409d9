"""A run that begins with another's parameters: which they are, that it resumes without the other, what is refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from jaxae import compare, data, run, sweep
from jaxae.build import build
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.folder import RunFolder
from jaxae.plan import Plan
from jaxae.report import write_report
from jaxae.run import training
from tests.runs import SMALL, Saying, configured, cut_off_at_a_save, digest_of, flags, say

STILL = {"steps": 1, "learning_rate": 0.0}


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A run with averaged weights, and its folder."""
    return run.train(configured(steps=20, average=0.5), tmp_path_factory.mktemp("other") / "a")


def alike(one, two):
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, one, two)))


@pytest.mark.slow
def test_it_begins_with_what_the_other_is_measured_with(other, tmp_path):
    config = configured(**STILL, start=str(other.folder.path), seed=5)
    made = run.train(config, tmp_path / "r")
    assert alike(made.variables, other.variables)
    assert not alike(made.variables.params, other.state.variables.params), "averaged weights are others than the last"
    record = made.folder.record()
    assert record["start"] == {"run": str(other.folder.path), "step": 20, "digest": digest(other.variables)}
    assert f"--start {other.folder.path}" in record["command"]


def test_the_average_and_the_optimiser_begin_anew_from_there(other, tmp_path):
    config = configured(steps=1, learning_rate=1e-3, optimizer="sgd", average=0.5, start=str(other.folder.path))
    made = run.train(config, tmp_path / "r")
    moved = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max(), made.state.variables, other.variables)
    assert 0 < max(jax.tree.leaves(moved)) < 0.1
    averaged = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max(), made.variables.params, other.variables.params)
    assert 0 < max(jax.tree.leaves(averaged)) < max(jax.tree.leaves(moved))


@pytest.mark.slow
def test_it_resumes_bitwise_and_without_the_other(other, tmp_path):
    shutil.copytree(other.folder.path, tmp_path / "a")
    config = configured(steps=30, start=str(tmp_path / "a"))
    whole = run.train(config, tmp_path / "whole")
    run.train(dataclasses.replace(config, steps=10), tmp_path / "cut")
    shutil.rmtree(tmp_path / "a")
    cut = run.train(config, tmp_path / "cut")
    assert run.final_digest(cut) == run.final_digest(whole) != run.final_digest(other)
    assert cut.folder.record()["start"] == whole.folder.record()["start"]
    assert run.final_digest(run.load(tmp_path / "cut")) == run.final_digest(whole)
    with pytest.raises(InputError, match=r"start: .*/a: no run here"):
        run.train(config, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_another_that_has_changed_is_not_begun_with_again(other, tmp_path, monkeypatch):
    shutil.copytree(other.folder.path, tmp_path / "a")
    config = configured(steps=4, start=str(tmp_path / "a"))

    class Cut(Exception):
        pass

    def cut(*_):
        raise Cut

    with monkeypatch.context() as patch:
        patch.setattr(training, "Loop", cut)
        with pytest.raises(Cut):
            run.train(config, tmp_path / "r")
    run.train(configured(steps=22, average=0.5), tmp_path / "a")
    with pytest.raises(InputError, match=r"start: .*/a has other parameters than this run began with"):
        run.train(config, tmp_path / "r")


@pytest.mark.slow
def test_what_only_one_has_is_its_own(other, tmp_path):
    config = configured(method="vampprior", **STILL, start=str(other.folder.path), seed=5)
    made = run.train(config, tmp_path / "r")
    params, plain = made.variables.params, made.setup._first(made.setup.numbers(), made.setup.key)
    assert alike(params["encoder"], other.variables.params["encoder"])
    assert set(params) > set(other.variables.params) and set(plain.variables.params) == set(params)
    back = run.train(configured(**STILL, start=str(tmp_path / "r")), tmp_path / "back")
    assert alike(back.variables.params, {name: params[name] for name in back.variables.params})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"width": 16}, r"its params/decoder/Layer_0/linear/bias is float32\[24\], and float32\[16\] here"),
        ({"latent": 5}, "expected the same networks and latent size"),
        ({"depth": 2}, "not there"),
    ],
)
def test_what_does_not_fit_is_one_line(other, tmp_path, changes, said):
    with pytest.raises(InputError, match=said):
        run.train(configured(**{**STILL, **changes}, start=str(other.folder.path)), tmp_path / "r")
    assert not (tmp_path / "r").exists()


@pytest.mark.slow
def test_a_sweep_begins_with_it_as_the_runs_alone_do(other, tmp_path):
    shutil.copytree(other.folder.path, tmp_path / "a")
    base = configured(steps=6, start=str(tmp_path / "a"))
    swept = sweep.sweep(Plan(base, (0, 1)), tmp_path / "s")
    alone = run.train(dataclasses.replace(base, seed=1), tmp_path / "alone")
    member = run.load(tmp_path / "s", member="seed=1")
    assert run.final_digest(member) == run.final_digest(alone)
    assert member.folder.record()["start"] == alone.folder.record()["start"]
    assert list(swept.table["outcome"]) == ["finished"] * 2
    run.train(configured(steps=22, average=0.5), tmp_path / "a")
    told = Saying()
    again = sweep.sweep(Plan(base, (0, 1)), tmp_path / "s", progress=told)  # all is over, and nothing is asked of it
    assert again.table["nll"].tolist() == swept.table["nll"].tolist()
    assert any("a has other parameters than this run began with: another --run would" in line for line in told.said)
    with pytest.raises(InputError, match=r"start: .*/a has other parameters than this run began with"):
        sweep.sweep(Plan(base, (0, 1, 2)), tmp_path / "s")
    shutil.rmtree(tmp_path / "a")
    again = sweep.sweep(Plan(base, (0, 1)), tmp_path / "s")
    assert again.table["nll"].tolist() == swept.table["nll"].tolist()


@pytest.mark.slow
def test_a_start_that_changes_between_two_groups_is_refused(other, tmp_path):
    shutil.copytree(other.folder.path, tmp_path / "a")
    base, axis = configured(steps=2, start=str(tmp_path / "a")), ("adam", "sgd")
    sweep.sweep(Plan(base, (0,), {"optimizer": axis[:1]}), tmp_path / "s")
    run.train(configured(steps=22, average=0.5), tmp_path / "a")
    with pytest.raises(InputError, match="has other parameters than this run began with"):
        sweep.sweep(Plan(base, (0,), {"optimizer": axis}), tmp_path / "s")


@pytest.mark.slow
def test_a_sweep_compares_starts(other, tmp_path):
    """As an axis, folders of one name too; and what is not trained yet is of the setting of what is."""
    second = run.train(configured(steps=4, seed=9), tmp_path / other.folder.path.name)
    starts = (str(other.folder.path), str(second.folder.path))
    plan = Plan(configured(**STILL), (0, 1), {"start": starts})
    swept = sweep.sweep(plan, tmp_path / "s")
    for member, of in zip(plan.members, (other, other, second, second)):
        assert alike(run.load(tmp_path / "s", member=member.name).variables, of.variables)
    found = compare.compare(swept.table, "nll")
    assert len(found.settings) == 2, "folders of one name are told apart by their digests"
    shutil.rmtree(next((tmp_path / "s" / "members").glob("seed=1*")))
    assert compare.table([tmp_path / "s"])["start_digest"].nunique() == 2


@pytest.mark.slow
def test_runs_that_began_with_others_of_one_name_are_not_pooled(other, tmp_path):
    places = []
    for number, folder in enumerate(("x", "y")):
        run.train(configured(steps=2, seed=number), tmp_path / folder / "a")
        places.append(tmp_path / f"r{number}")
        made = run.train(configured(steps=2, start=str(tmp_path / folder / "a")), places[-1])
        run.store(made, run.evaluate_run(made, samples=2))
    assert len(compare.compare(compare.table(places), "nll").settings) == 2


@pytest.mark.slow
def test_a_start_is_a_setting_beside_none(other, tmp_path):
    places = []
    for number, start in enumerate((None, None, str(other.folder.path), str(other.folder.path))):
        made = run.train(configured(steps=2, seed=number % 2, start=start), tmp_path / f"r{number}")
        run.store(made, run.evaluate_run(made, samples=2))
        places.append(made.folder.path)
    found = compare.compare(compare.table(places), "nll")
    assert [(setting.label, setting.seeds) for setting in found.settings] == [
        ("start=none", (0, 1)),
        ("start=a", (0, 1)),
    ]
    write_report(run.load(places[-1]), run.load(places[-1]).folder.evaluation())
    said = f"{other.folder.path} at step 20, SHA-256 {made.folder.record()['start']['digest'][:12]}"
    assert said in made.folder.report.read_text()


@pytest.mark.slow
def test_it_goes_on_where_the_other_has_been_trained_further(other, tmp_path):
    shutil.copytree(other.folder.path, tmp_path / "a")
    config = configured(steps=4, start=str(tmp_path / "a"))
    run.train(dataclasses.replace(config, steps=2), tmp_path / "r")
    begun = run.load(tmp_path / "r").folder.record()["start"]
    run.train(configured(steps=24, average=0.5), tmp_path / "a")
    told = Saying()
    made = run.train(config, tmp_path / "r", progress=told)
    alone = run.train(dataclasses.replace(config, start=str(other.folder.path)), tmp_path / "straight")
    assert run.final_digest(made) == run.final_digest(alone) and made.folder.record()["start"] == begun
    assert any("has other parameters than this run began with" in line for line in told.said)


@pytest.mark.slow
def test_another_start_of_the_same_name_is_another_run(other, tmp_path):
    config = configured(steps=2, start=str(other.folder.path))
    run.train(config, tmp_path / "r")
    run.train(configured(steps=2, seed=9), tmp_path / "more" / "a")
    with pytest.raises(InputError, match="has other parameters than this run began with: expected them as they were"):
        run.train(dataclasses.replace(config, start=str(tmp_path / "more" / "a")), tmp_path / "r")
    shutil.copytree(other.folder.path, tmp_path / "moved" / "a")
    run.train(dataclasses.replace(config, start=str(tmp_path / "moved" / "a")), tmp_path / "r")
    with pytest.raises(InputError, match=r"start: .*/typo/a: no run here"):
        run.train(dataclasses.replace(config, start=str(tmp_path / "typo" / "a")), tmp_path / "r")


@pytest.mark.slow
def test_a_wave_that_was_cut_off_goes_on_without_the_start(other, tmp_path):
    shutil.copytree(other.folder.path, tmp_path / "a")
    plan = Plan(configured(steps=30, start=str(tmp_path / "a")), (0, 1))
    cut_off_at_a_save(plan, tmp_path / "s")
    shutil.rmtree(tmp_path / "a")
    assert list(sweep.sweep(plan, tmp_path / "s").table["outcome"]) == ["finished"] * 2


@pytest.mark.slow
def test_other_data_another_likelihood_and_no_code_of_the_start_are_needed(other, tmp_path):
    rng = np.random.default_rng(0)
    first, second = (data.arrays(rng.integers(0, 256, (150, 8, 8), np.uint8)) for _ in range(2))
    made = run.train(configured(**STILL, batch_size=50), tmp_path / "one", source=first)
    config = configured(**STILL, batch_size=50, start=str(tmp_path / "one"), likelihood="gaussian_learned")
    found = run.train(config, tmp_path / "two", source=second)
    assert alike(found.variables.params["encoder"], made.variables.params["encoder"])
    assert "log_var" in str(found.variables.params["likelihood"])


def test_what_is_no_start_is_one_line(tmp_path):
    swept = sweep.sweep(Plan(configured(steps=2), (0,)), tmp_path / "s")
    said = (
        r"s holds a sweep, with no members of seed=7: expected one, or the folder of a run, such as .*/members/seed=0"
    )
    with pytest.raises(InputError, match=said):
        run.train(configured(start=str(swept.folder.path), seed=7), tmp_path / "r")
    with pytest.raises(InputError, match=r"start /a: expected the setup that jaxae\.run\.begin_with"):
        build(configured(start="/a")).init()


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """Two betas, two seeds, six steps."""
    path = tmp_path_factory.mktemp("pretrained") / "s"
    return sweep.sweep(Plan(configured(steps=6), (0, 1), {"beta": (1.0, 4.0)}), path)


@pytest.mark.slow
def test_each_seed_begins_with_the_run_of_its_own_in_a_sweep(pretrained, tmp_path):
    base = configured(**STILL, start=str(pretrained.folder.path))
    plan = Plan(base, (0, 1), {"beta": (1.0, 4.0)})
    swept = sweep.sweep(plan, tmp_path / "s", progress=(told := Saying()))
    for member in plan.members:
        made, of = (run.load(path, member=member.name) for path in (tmp_path / "s", pretrained.folder.path))
        assert alike(made.variables, of.variables)
        start = made.folder.record()["start"]
        facts = {"run": base.start, "member": member.name, "step": 6, "digest": digest(of.variables)}
        assert {name: start[name] for name in facts} == facts
    assert told.said.count(f"each begins with the parameters of the run of its own seed in {base.start}") == 1
    assert "start_digest" not in swept.table
    settings = compare.compare(swept.table, "nll").settings
    assert [(setting.label, setting.seeds) for setting in settings] == [("beta=1", (0, 1)), ("beta=4", (0, 1))]
    page = write_report(run.load(tmp_path / "s", member="seed=1,beta=4"), {}).read_text()
    assert f"seed=1,beta=4 of {base.start} at step 6" in page


@pytest.mark.slow
def test_a_run_alone_begins_as_the_member_of_its_seed_does(pretrained, tmp_path):
    base = configured(steps=6, start=str(pretrained.folder.path), hyperparameters={"beta": 4.0})
    sweep.sweep(Plan(base, (0, 1)), tmp_path / "s")
    alone = run.train(dataclasses.replace(base, seed=1), tmp_path / "alone", progress=(told := Saying()))
    member = run.load(tmp_path / "s", member="seed=1")
    assert run.final_digest(alone) == run.final_digest(member)
    assert alone.folder.record()["start"] == member.folder.record()["start"]
    assert f"begins with the parameters of seed=1,beta=4 of {base.start} at step 6" in told.said


@pytest.mark.slow
def test_starts_of_every_seed_are_one_setting_beside_others(pretrained, other, tmp_path):
    starts = (None, str(other.folder.path), str(pretrained.folder.path))
    swept = sweep.sweep(Plan(configured(steps=2), (0, 1), {"start": starts}), tmp_path / "s")
    settings = compare.compare(swept.table, "nll").settings
    assert [(setting.label, setting.seeds) for setting in settings] == [
        ("start=none", (0, 1)), ("start=a", (0, 1)), ("start=s", (0, 1)),
    ]  # fmt: skip
    shutil.rmtree(next((tmp_path / "s" / "members").glob("seed=1*start=s")))
    assert compare.table([tmp_path / "s"])["start"].nunique() == 3, "a member that is not trained yet is of its setting"


@pytest.mark.slow
def test_a_start_of_a_sweep_that_is_not_one_is_one_line(pretrained, tmp_path):
    path = str(pretrained.folder.path)
    with pytest.raises(InputError, match=r"start: .*/s holds a sweep, with 2 members of seed=0: expected one"):
        run.train(configured(method="iwae", **STILL, start=path), tmp_path / "r")
    with pytest.raises(InputError, match=r"with no members of seed=0, beta=2.0: expected one"):
        run.train(configured(**STILL, start=path, hyperparameters={"beta": 2.0}), tmp_path / "r")
    with pytest.raises(InputError, match=r"start: .*/s holds a sweep, with no members of seed=2: expected"):
        sweep.sweep(Plan(configured(**STILL, start=path), (0, 2)), tmp_path / "t")
    assert not (tmp_path / "r").exists() and not (tmp_path / "t" / "sweep.json").exists()
    shutil.copytree(path, tmp_path / "s")
    (tmp_path / "s" / "members" / "seed=0,beta=1" / "outcome.json").unlink()
    with pytest.raises(InputError, match=r"seed=0,beta=1: not trained to its end: `jaxae sweep --run .*/s` goes on"):
        run.train(configured(**STILL, start=str(tmp_path / "s")), tmp_path / "r")
    shutil.copytree(path, tmp_path / "lost")
    (tmp_path / "lost" / "members" / "seed=0,beta=1" / "config.json").unlink()
    with pytest.raises(InputError, match=r"start: .*seed=0,beta=1: no run here \(no config.json\)"):
        run.train(configured(**STILL, start=str(tmp_path / "lost")), tmp_path / "r")
    begun = run.begin_with(build(configured(start=path)))
    with pytest.raises(InputError, match=r"expected the setup that jaxae\.run\.begin_with"):
        begun.like(configured(start=path, seed=1)).init()


@pytest.mark.slow
def test_members_that_were_made_otherwise_are_no_start_of_one_sweep(pretrained, tmp_path):
    shutil.copytree(pretrained.folder.path, tmp_path / "s")
    longer = run.load(tmp_path / "s", member="seed=1,beta=1")
    run.train(dataclasses.replace(longer.setup.config, steps=8), longer.folder.path)
    plan = Plan(configured(**STILL, start=str(tmp_path / "s")), (0,))
    sweep.sweep(plan, tmp_path / "t")
    with pytest.raises(InputError, match=r"start: .*/members/seed=1,beta=1: made longer than its sweep's others"):
        sweep.sweep(dataclasses.replace(plan, seeds=(0, 1)), tmp_path / "t")
    shutil.rmtree(tmp_path / "s")
    sweep.sweep(Plan(configured(steps=5), (0, 1), {"beta": (1.0, 4.0)}), tmp_path / "s")
    with pytest.raises(InputError, match=r"start: .*/s is another sweep than members here began with"):
        sweep.sweep(dataclasses.replace(plan, seeds=(0, 1)), tmp_path / "t")


@pytest.mark.slow
def test_files_of_one_name_are_told_apart_by_their_paths(tmp_path):
    for number, name in enumerate(("x", "y")):
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "d.npz", x=np.random.default_rng(number).integers(0, 256, (60, 8, 8), np.uint8))
    paths = [str(tmp_path / name / "d.npz") for name in ("x", "y")]
    small = configured(steps=2, batch_size=20, evaluate="none")
    sweep.sweep(Plan(small, (0,), {"data": paths}), tmp_path / "s")
    for path, name in zip(paths, ("x/d.npz", "y/d.npz")):
        config = dataclasses.replace(small, data=path, start=str(tmp_path / "s"))
        begun = run.begin_with(build(config))
        assert begun.start.facts["member"] == f"seed=0,data={name}"


@pytest.mark.slow
def test_a_sweep_over_starts_says_that_it_has_several_runs_of_a_seed(other, tmp_path):
    path = str(tmp_path / "s")
    sweep.sweep(Plan(configured(**STILL, evaluate="none"), (0,), {"start": (None, str(other.folder.path))}), path)
    with pytest.raises(InputError, match=r"/s holds a sweep, with 2 members of seed=0: expected one"):
        run.begin_with(build(configured(start=path)))


@pytest.mark.slow
def test_a_sweep_that_has_grown_is_the_same_start(tmp_path):
    before = Plan(configured(steps=4), (0, 1), {"beta": (1.0,)})
    base = configured(**STILL, start=str(tmp_path / "s"))
    sweep.sweep(before, tmp_path / "s")
    sweep.sweep(Plan(base, (0, 1)), tmp_path / "t")
    sweep.sweep(dataclasses.replace(before, seeds=(2, 0, 1), grid={"beta": (4.0, 1.0)}), tmp_path / "s")
    (tmp_path / "link").symlink_to(tmp_path)
    elsewhere = dataclasses.replace(base, start=str(tmp_path / "link" / "s"))
    grown = sweep.sweep(Plan(elsewhere, (0, 1, 2)), tmp_path / "t")
    (setting,) = compare.compare(grown.table, "nll").settings
    assert setting.seeds == (0, 1, 2)
    sweep.sweep(dataclasses.replace(before, seeds=(2, 0, 1, 5), grid={"beta": (4.0, 1.0)}), tmp_path / "s")
    sweep.sweep(Plan(base, (5,)), tmp_path / "elsewhere")  # which nobody tells what others began with
    (setting,) = compare.compare(compare.table([tmp_path / "t", tmp_path / "elsewhere"]), "nll").settings
    assert setting.seeds == (0, 1, 2, 5)
    shutil.rmtree(tmp_path / "s")  # and made again, of all at once: the same runs
    whole = dataclasses.replace(before, seeds=(0, 1, 2, 3), grid={"beta": (4.0, 1.0)})
    sweep.sweep(whole, tmp_path / "s")
    grown = sweep.sweep(Plan(base, (0, 1, 2, 3)), tmp_path / "t")
    (setting,) = compare.compare(grown.table, "nll").settings
    assert setting.seeds == (0, 1, 2, 3)


@pytest.mark.slow
def test_sweeps_of_one_name_that_were_made_otherwise_are_other_settings(tmp_path):
    first = Plan(configured(steps=4), (0, 1))
    weighed = dataclasses.replace(first, base=configured(steps=4, hyperparameters={"beta": 4.0}))
    starts = {"x": first, "y": dataclasses.replace(first, shared_batches=True), "z": weighed}
    for name, plan in starts.items():
        sweep.sweep(plan, tmp_path / name / "s")
    axis = {"start": tuple(str(tmp_path / name / "s") for name in starts)}
    swept = sweep.sweep(Plan(configured(**STILL), (0, 1), axis), tmp_path / "t")
    assert [setting.seeds for setting in compare.compare(swept.table, "nll").settings] == [(0, 1)] * 3


@pytest.mark.slow
def test_another_run_under_another_spelling_of_a_start_is_refused(other, tmp_path):
    shutil.copytree(other.folder.path, tmp_path / "a")
    base = configured(**STILL, start=str(tmp_path / "a"))
    sweep.sweep(Plan(base, (0,)), tmp_path / "s")
    run.train(configured(steps=22, average=0.5), tmp_path / "a")
    (tmp_path / "link").symlink_to(tmp_path)
    elsewhere = dataclasses.replace(base, start=str(tmp_path / "link" / "a"))
    with pytest.raises(InputError, match="has other parameters than this run began with"):
        sweep.sweep(Plan(elsewhere, (0, 1)), tmp_path / "s")


@pytest.mark.slow
def test_each_of_several_methods_begins_with_its_own(tmp_path):
    settings = ({"method": "vae"}, {"method": "vae", "likelihood": "gaussian"}, {"method": "beta_vae", "beta": 4.0})
    sweep.sweep(Plan(configured(steps=2), (0,), settings=settings), tmp_path / "s")
    plan = Plan(configured(**STILL, start=str(tmp_path / "s"), evaluate="none"), (0,), settings=settings)
    sweep.sweep(plan, tmp_path / "t")
    for member in plan.members:
        made, of = (run.load(tmp_path / name, member=member.name) for name in ("t", "s"))
        assert alike(made.variables, of.variables) and made.folder.record()["start"]["member"] == member.name


@pytest.mark.slow
def test_a_wave_whose_seeds_begin_with_their_own_goes_on_without_them(pretrained, tmp_path):
    shutil.copytree(pretrained.folder.path, tmp_path / "a")
    plan = Plan(configured(steps=30, start=str(tmp_path / "a")), (0, 1))
    sweep.sweep(plan, tmp_path / "whole")
    cut_off_at_a_save(plan, tmp_path / "s")
    shutil.rmtree(tmp_path / "a")
    assert list(sweep.sweep(plan, tmp_path / "s").table["outcome"]) == ["finished"] * 2
    cut, whole = (run.load(tmp_path / name, member="seed=1") for name in ("s", "whole"))
    assert (
        run.final_digest(cut) == run.final_digest(whole) and cut.folder.record()["start"]["member"] == "seed=1,beta=1"
    )


@pytest.mark.slow
def test_from_the_command_line(other, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(other.folder.path.parent)
    given, words = flags({**SMALL, "steps": 2}), ("train", "--quiet", "--run", tmp_path / "r")
    code, _, err = say(capsys, *words, "--start", "a", *given)
    assert code == 0, err
    assert json.loads((tmp_path / "r" / "config.json").read_text())["start"] == str(other.folder.path)
    assert digest_of(tmp_path / "r") != digest_of(other.folder.path)
    code, _, err = say(capsys, *words, "--start", tmp_path, *given)
    assert code == 2 and "start: a ->" in err and err.count("\n") == 1


def test_without_one_a_run_keeps_the_name_of_its_folder():
    assert "start" not in configured().result() and configured().identity() != configured(start="a").identity()
    assert configured(start="a").identity() == configured(start="elsewhere/a").identity()
    assert RunFolder("a").config_file.name == "config.json"


@pytest.mark.slow
def test_a_run_that_was_cut_off_before_any_validation_ranked_begins_another_by_its_last(tmp_path):
    def stop(row):
        if row["step"] == 15:
            raise SystemError

    weights = {"hyperparameters": {"beta": "piecewise(0, 30, 1)"}, "patience": 9}
    with pytest.raises(SystemError):
        run.train(
            configured(steps=60, log_every=5, validate_every=10, checkpoint_every=5, **weights),
            tmp_path / "a",
            on_row=stop,
        )
    begun = run.train(configured(steps=2, start=str(tmp_path / "a")), tmp_path / "b")
    assert begun.folder.record()["start"]["step"] == 10
