"""A member is the run alone, to the bit, whatever shares its sweep, wherever the sweep was cut off."""

import json
import re
import shutil
import signal

import chex
import numpy as np
import pytest

from jaxae import log, run, sweep
from jaxae.checkpoint import Checkpoints
from jaxae.cli import status
from jaxae.errors import InputError
from jaxae.evaluate.bench import Settings
from jaxae.folder import SweepFolder
from tests.runs import (
    SMALL,
    Saying,
    configured,
    cut_off_at_the_third,
    digest_of,
    digests,
    empty_files,
    flags,
    kill_at,
    plan_of,
    start,
)

pytestmark = pytest.mark.optimised


CLOCK = {"examples_per_second"}


def rows(folder):
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in log.read(folder / "metrics.jsonl")]


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """One of them by itself."""
    config = configured(seed=2, hyperparameters={"beta": 4.0})
    trained = run.train(config, tmp_path_factory.mktemp("alone") / "run")
    run.store(trained, run.evaluate_run(trained, samples=config.samples))
    return trained


def test_a_member_is_the_run_alone(whole, alone):
    """Parameters, optimiser, log, evaluation: all to the bit."""
    folder = whole.folder.find("seed=2,beta=4")
    member = run.load(folder.path)
    chex.assert_trees_all_equal(member.state, alone.state)
    assert rows(folder.path) == rows(alone.folder.path)
    assert folder.evaluation_file().read_bytes() == alone.folder.evaluation_file().read_bytes()
    assert member.setup.config.difference(alone.setup.config) == {}


@pytest.mark.slow
def test_waves_order_and_company_change_no_bit(whole, tmp_path):
    expected = digests(whole.folder.path, whole.plan)
    other = plan_of(seeds=(2, 5), grid={"beta": (8.0, 4.0)})
    sweep.sweep(other, tmp_path / "other", sweep.How(wave=3))
    assert digests(tmp_path / "other", other)["seed=2,beta=4"] == expected["seed=2,beta=4"]


@pytest.mark.slow
def test_beside_each_other_neither(tmp_path, alone):
    """vmap: the same among any members, and the run alone to rounding."""
    how = sweep.How(lanes="vmap", block=4)
    few, many = plan_of(seeds=(2,)), plan_of(seeds=(7, 2, 0))
    one = sweep.sweep(few, tmp_path / "few", how)
    sweep.sweep(many, tmp_path / "many", sweep.How(lanes="vmap", block=4, wave=8))
    name = "seed=2,beta=4"
    assert digests(tmp_path / "few", few)[name] == digests(tmp_path / "many", many)[name]
    member = run.load(one.folder.find(name).path)
    nll = [run.evaluate_run(t, samples=8)["nll"] for t in (member, alone)]
    assert nll[0] == pytest.approx(nll[1], abs=0.005)


def test_a_member_that_meets_nan_ends_there_and_the_others_go_on(tmp_path, alone):
    axes = {"learning_rate": (1e-3, 1e30)}
    plan = plan_of(seeds=(2,), grid=axes, hyperparameters={"beta": 4.0})
    progress = Saying()
    swept = sweep.sweep(plan, tmp_path / "s", progress=progress)
    good, bad = (swept.folder.outcome(m.name) for m in plan.members)
    assert good == {"outcome": "finished", "step": 60}
    assert bad["outcome"] == "diverged" and bad["step"] < 10
    assert any(f"at step {bad['step']}: frozen there" in line for line in progress.said)
    assert digest_of(swept.folder.find("seed=2,learning_rate=0.001").path) == run.final_digest(alone)
    assert list(swept.table["outcome"]) == ["finished", "diverged"]
    assert np.isnan(swept.table["nll"][1]) and not np.isnan(swept.table["nll"][0])
    with pytest.raises(InputError, match=r"it diverged at step 2: loss is .*: nothing was kept"):
        run.load(swept.folder.find("seed=2,learning_rate=1e30").path)
    last = log.read(swept.folder.find("seed=2,learning_rate=1e30").metrics_file)[-1]
    assert last["step"] == bad["step"] - 1, "the steps before it are told"


@pytest.mark.slow
def test_early_stopping_is_each_members_own(tmp_path):
    changes = {"steps": 300, "validate_every": 10, "patience": 2, "learning_rate": 0.2}
    plan = plan_of(seeds=(0, 1), grid={}, **changes)
    swept = sweep.sweep(plan, tmp_path / "s")
    for seed in (0, 1):
        one = run.train(configured(seed=seed, **changes), tmp_path / f"{seed}")
        member = run.load(swept.folder.find(f"seed={seed}").path)
        assert member.step == one.step
        chex.assert_trees_all_equal(member.state, one.state)
        ended = swept.folder.outcome(f"seed={seed}")
        assert ended["outcome"] == "stopped early" and ended["step"] == run.load(tmp_path / f"{seed}", "last").step


@pytest.mark.slow
def test_what_was_best_since_the_last_checkpoint_is_found_again(tmp_path):
    """Members' bests are written with the wave's checkpoints: not at each validation, and never behind them."""
    plan = plan_of((0, 1), {}, steps=60, validate_every=10, checkpoint_every=20, patience=5)
    whole = sweep.sweep(plan, tmp_path / "whole")

    def die(name, row):
        if row["step"] == 30 and "validation_loss" in row:
            raise SystemError(name)

    with pytest.raises(SystemError):
        sweep.sweep(plan, tmp_path / "cut", on_row=die)
    with Checkpoints(SweepFolder(tmp_path / "cut").member("seed=0").checkpoints) as checkpoints:
        assert checkpoints.best_step() == checkpoints.latest_step() == 20
    sweep.sweep(plan, tmp_path / "cut")
    for name in ("seed=0", "seed=1"):
        ours, theirs = (
            run.load(folder / "members" / name, "best") for folder in (tmp_path / "cut", tmp_path / "whole")
        )
        assert ours.step == theirs.step
        with Checkpoints(ours.folder.checkpoints) as checkpoints:
            (watch,) = checkpoints.restore(ours.setup.shapes(), ours.step).meta["watch"]
        assert watch["stale"] == 0, "as it was then"
        chex.assert_trees_all_equal(ours.state, theirs.state)
    assert set(whole.table["outcome"]) == {"finished"}


@pytest.mark.slow
def test_the_order_of_the_data_can_be_shared(tmp_path):
    swept = sweep.sweep(plan_of(seeds=(1, 2), grid={}, shared=True), tmp_path / "s")
    one = run.train(configured(seed=2, order_seed=0), tmp_path / "one")
    member = run.load(swept.folder.find("seed=2").path)
    chex.assert_trees_all_equal(member.state, one.state)
    own = run.train(configured(seed=2), tmp_path / "own")
    assert run.final_digest(own) != run.final_digest(one)


@pytest.mark.slow
def test_streaming_changes_no_bit(tmp_path, whole):
    plan = plan_of(seeds=(1, 2), stream="yes")
    sweep.sweep(plan, tmp_path / "s")
    expected = digests(whole.folder.path, whole.plan)
    assert digests(tmp_path / "s", plan) == {m.name: expected[m.name] for m in plan.members}


LONG = {**SMALL, "steps": 900, "log_every": 10, "validate_every": 300, "checkpoint_every": 30}


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_sweep_that_was_cut_off_goes_on(tmp_path, number):
    """In its second wave: the first is not made again, and every bit is as if nothing had happened."""
    folder = tmp_path / "s"
    words = ["sweep", "--run", str(folder), "--seeds", "0:4", "--wave", "2", "--no-report", *flags(LONG)]
    process = start(*words)
    _, err = kill_at(process, folder / "members" / "seed=2", 200, number)
    assert process.returncode == (-signal.SIGKILL if number == signal.SIGKILL else 143), err
    first = folder / "members" / "seed=1" / "outcome.json"
    written = first.stat().st_mtime_ns
    with Checkpoints(folder / "wave" / "checkpoints", write=False) as checkpoints:
        assert checkpoints.latest_step() >= 150
    progress = Saying()
    plan = plan_of(seeds=range(4), grid={}, **LONG)
    sweep.sweep(plan, folder, sweep.How(wave=2), progress)
    assert any("resuming a wave of 2 at step" in line for line in progress.said)
    assert first.stat().st_mtime_ns == written
    straight = run.train(configured(**{**LONG, "checkpoint_every": 900, "seed": 3}), tmp_path / "straight")
    assert digest_of(folder / "members" / "seed=3") == run.final_digest(straight)
    assert rows(folder / "members" / "seed=3") == rows(straight.folder.path)


@pytest.mark.slow
def test_cut_off_while_the_members_are_handed_out(tmp_path):
    """Some have their outcome, some not: the wave's state is still there, and is handed out again."""
    plan = plan_of(seeds=range(4), grid={})
    cut_off_at_the_third(plan, tmp_path / "s")
    first = run.load(tmp_path / "s" / "members" / "seed=0")  # which is done, and may be measured
    measured = run.store(first, run.evaluate_run(first, samples=77))
    again = sweep.sweep(plan_of(seeds=(3, 2, 1, 0), grid={}), tmp_path / "s")  # in another order
    assert first.folder.evaluation() == measured
    assert len(set(digests(tmp_path / "s", plan).values())) == 4 and set(again.table["outcome"]) == {"finished"}
    alone = run.train(configured(seed=3), tmp_path / "alone")
    assert digest_of(tmp_path / "s" / "members" / "seed=3") == run.final_digest(alone)


@pytest.mark.slow
def test_a_member_whose_last_validation_is_its_best_keeps_it_as_the_best(tmp_path):
    swept = sweep.sweep(plan_of((0, 1), {}, patience=3, steps=40), tmp_path / "s")
    alone = run.train(configured(patience=3, steps=40), tmp_path / "alone")
    assert set(swept.table["outcome"]) == {"finished"} and alone.step == 40
    assert digest_of(swept.folder.member("seed=0").path, "best") == run.final_digest(alone)


@pytest.mark.slow
def test_a_damaged_member_is_named_with_the_way_to_have_it_again(whole, tmp_path, capsys):
    folder = SweepFolder(tmp_path / "s")
    shutil.copytree(whole.folder.path, folder.path)
    before, member = digests(folder.path, whole.plan), folder.find("seed=2,beta=4")
    empty_files(member.checkpoints)
    member.evaluation_file().unlink()
    remedy = f"remove {re.escape(str(member.path))}: the same `jaxae sweep` trains seed=2,beta=4 again"
    other = folder.find("seed=2,beta=1")  # after it or before it, it is measured all the same
    other.evaluation_file().unlink()
    with pytest.raises(InputError, match=remedy):
        sweep.sweep(whole.plan, folder.path)
    assert other.evaluation_file().is_file()
    with pytest.raises(sweep.Unread, match=remedy) as unread:
        sweep.evaluate(folder.path, settings=Settings(2))
    assert set(unread.value.found) == {m.name for m in whole.plan.members} - {"seed=2,beta=4"}
    capsys.readouterr()
    assert status(["evaluate", str(folder.path), "--samples", "2", "--json"]) == 2
    said = capsys.readouterr()
    assert json.loads(said.out)["members"].keys() == unread.value.found.keys()
    assert re.search(remedy, said.err.splitlines()[-1])
    shutil.rmtree(member.path)
    assert set(sweep.sweep(whole.plan, folder.path).table["outcome"]) == {"finished"}
    assert digests(folder.path, whole.plan) == before


@pytest.mark.slow
def test_members_over_devices_are_the_run_alone(whole, tmp_path):
    plan = plan_of(seeds=(1, 2))
    sweep.sweep(plan, tmp_path / "s", sweep.How(seed_devices=2))
    expected = digests(whole.folder.path, whole.plan)
    assert digests(tmp_path / "s", plan) == {m.name: expected[m.name] for m in plan.members}


@pytest.mark.slow
def test_exact_over_a_mesh_of_seeds_and_data_is_the_run_alone(tmp_path):
    changes = {"exact": True, "steps": 20}
    plan = plan_of(seeds=(1, 2, 3), grid={}, devices=2, **changes)
    sweep.sweep(plan, tmp_path / "s", sweep.How(seed_devices=2))
    alone = run.train(configured(seed=3, **changes), tmp_path / "alone")
    assert digest_of(tmp_path / "s" / "members" / "seed=3") == run.final_digest(alone)


@pytest.mark.slow
def test_a_batch_over_a_mesh_is_cut_by_its_data_devices_alone(tmp_path):
    """98 examples: two data devices divide them, all four devices do not."""
    changes = {"exact": True, "steps": 5, "batch_size": 98}
    plan = plan_of(seeds=(1, 2), grid={}, devices=2, **changes)
    sweep.sweep(plan, tmp_path / "s", sweep.How("map", seed_devices=2))
    alone = run.train(configured(seed=2, **changes), tmp_path / "alone")
    assert digest_of(tmp_path / "s" / "members" / "seed=2") == run.final_digest(alone)
