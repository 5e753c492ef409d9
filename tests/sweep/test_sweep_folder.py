"""A sweep's folder: what it keeps, takes up again and refuses; how its members are laid out."""

import contextlib
import gc
import html
import json
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import chex
import jax
import numpy as np
import pytest

from jaxae import folder as folders
from jaxae import memory, run, sweep
from jaxae.checkpoint import Checkpoints
from jaxae.cli import status
from jaxae.errors import InputError
from jaxae.evaluate.bench import Settings
from jaxae.folder import SweepFolder, member_path
from jaxae.loop import Loop
from jaxae.parallel import Layout, make_mesh
from jaxae.programs import make_programs
from jaxae.progress import Progress
from jaxae.sweep import lanes, wave
from jaxae.sweep.lanes import block, wave_size
from jaxae.sweep.measuring import setups_of
from jaxae.sweep.run import Sweep
from jaxae.sweep.sharing import Sharing
from tests.runs import (
    Saying,
    change_a_pixel,
    configured,
    cut_off_at_a_save,
    cut_off_at_the_third,
    digest_of,
    digests,
    empty_files,
    plan_of,
)


def test_the_table_and_the_states(whole):
    table = whole.table
    assert len(table) == 6 and set(table["outcome"]) == {"finished"} and set(table["step"]) == {60}
    one = table[(table.seed == 2) & (table.beta == 4)].iloc[0]
    kept = json.loads(whole.folder.find("seed=2,beta=4").evaluation_file().read_text())
    assert one.nll == kept["nll"] and one.digest == kept["digest"]
    (group,) = whole.groups()
    assert [m.name for m in group.members] == [m.name for m in whole.plan.members]
    place = [m.name for m in group.members].index("seed=2,beta=4")
    member = run.load(whole.folder.find("seed=2,beta=4").path)
    chex.assert_trees_all_equal(jax.tree.map(lambda x: x[place], group.states), jax.device_get(member.state))
    assert not whole.folder.wave.exists()


def test_members_differ_from_each_other(whole):
    assert len(set(digests(whole.folder.path, whole.plan).values())) == 6


@pytest.mark.slow
@pytest.mark.parametrize("lanes", ["map", "vmap"])
def test_programs_are_compiled_once_whatever_the_number_of_members_and_waves(tmp_path, caplog, lanes):
    how = sweep.How(lanes, 2 if lanes == "vmap" else None, wave=2)

    def compiled(seeds):
        caplog.clear()
        with jax.log_compiles():
            sweep.sweep(plan_of(seeds, {}, steps=4), tmp_path / str(len(seeds)), how)
        found = [re.search(r"Finished XLA compilation of (\S+)", record.getMessage()) for record in caplog.records]
        return Counter(match[1] for match in found if match)

    few, many = compiled((0, 1)), compiled((0, 1, 2, 3, 4, 5))
    assert few["jit(first)"] == few["jit(training)"] == 1
    assert many <= few, many - few


@pytest.mark.slow
def test_the_data_is_on_the_device_once_for_all_members(tmp_path, monkeypatch):
    call, copies = Loop.call, []

    def counting(self, *args):
        size = {x.size for x in self.data if x.dtype == np.uint8}
        rows = (x for x in jax.live_arrays() if x.dtype == np.uint8 and {x.size} == size)
        copies.append(len({x.unsafe_buffer_pointer() for x in rows}))  # two arrays may share one buffer
        return call(self, *args)

    monkeypatch.setattr(Loop, "call", counting)
    gc.collect()  # what an earlier test has left
    sweep.sweep(plan_of(steps=4), tmp_path / "s")
    assert set(copies) == {1}


def test_a_finished_sweep_trains_nothing_again_and_may_grow(whole, tmp_path):
    folder = tmp_path / "s"
    shutil.copytree(whole.folder.path, folder)
    before = digests(folder, whole.plan)
    progress = Saying()
    grown = plan_of(seeds=(0, 1, 2, 3))
    sweep.sweep(grown, folder, progress=progress)
    assert "8 members: 4 seeds x 2 beta; 6 done already" in progress.said[0]
    after = digests(folder, grown)
    assert {name: after[name] for name in before} == before and len(after) == 8


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": (0, 1)}, "it has 'seed=2,beta=1' and 1 more"),
        ({"grid": {"beta": (1.0, 2.0)}}, "it has 'seed=0,beta=4'"),
        ({"steps": 70}, "steps: 60 -> 70"),
        ({"latent": 4}, "latent: 3 -> 4"),
        ({"shared": True}, "shared_batches: False -> True"),
    ],
)
def test_another_sweep_in_the_folder_is_refused(whole, changes, words):
    with pytest.raises(InputError, match=f"holds another sweep: .*{words}"):
        sweep.sweep(plan_of(**changes), whole.folder.path)


@pytest.mark.parametrize(
    ("grid", "changes", "words"),
    [
        ({}, {"order_seed": 0}, "order_seed: None -> 0"),
        ({"patience": (2, 3)}, {"validate_every": 30}, "validate_every: 20 -> 30"),
        ({"network": ("mlp", "conv")}, {"depth": 1}, "depth: None -> 1"),
        ({"likelihood": ("bernoulli", "gaussian")}, {"binarize": "dynamic"}, "binarize: none -> dynamic"),
        ({"optimizer": ("adam", "muon")}, {"b1": 0.9}, "b1: 0.95 -> 0.9"),
    ],
)
def test_a_flag_that_changes_some_members_alone_is_another_sweep(tmp_path, grid, changes, words):
    """The base may be the same, and its members are not."""
    folder = SweepFolder(tmp_path / "s")
    how = {"lanes": "map", "block": 1, "exact": False}
    folder.path.mkdir()
    folder.write(plan_of((0, 1), grid), how)
    folder.check(plan_of((0, 1, 2), grid), how)
    with pytest.raises(InputError, match=f"holds another sweep: {words}: choose"):
        folder.check(plan_of((0, 1, 2), grid, **changes), how)


def test_a_sweep_grows_over_the_data_that_it_began_with(whole, tmp_path, monkeypatch):
    folder = tmp_path / "s"
    shutil.copytree(whole.folder.path, folder)
    change_a_pixel(monkeypatch)
    with pytest.raises(InputError, match=r"digits has changed since seed=0,beta=1 of this sweep began"):
        sweep.sweep(plan_of(seeds=(0, 1, 2, 3)), folder)
    assert json.loads((folder / "sweep.json").read_text())["seeds"] == [0, 1, 2]


def test_a_damaged_evaluation_of_a_member_is_made_again(whole, tmp_path):
    folder = SweepFolder(tmp_path / "s")
    shutil.copytree(whole.folder.path, folder.path)
    file = folder.find("seed=1,beta=4").evaluation_file()
    before = file.read_bytes()
    file.write_text("{")
    assert len(sweep.sweep(whole.plan, folder.path).table) == 6
    assert file.read_bytes() == before and file.with_name("evaluation.json.damaged").read_text() == "{"


def test_a_member_is_not_trained_while_its_sweep_is(whole, tmp_path):
    folder = SweepFolder(tmp_path / "s")
    shutil.copytree(whole.folder.path, folder.path)
    member = folder.find("seed=1,beta=4")
    with folders.locked(folder.path), pytest.raises(InputError, match=r"/s: another process is training here"):
        run.train(member.config(), member.path)
    other = folder.find("seed=2,beta=4")
    with contextlib.ExitStack() as held:
        for one in (member, other):  # beside each other
            held.enter_context(one.claimed(one.config(), {}))
        held.enter_context(pytest.raises(InputError, match="another process"))
        sweep.sweep(whole.plan, folder.path)


@pytest.mark.slow
def test_a_member_that_is_made_longer_ranks_anew(tmp_path):
    """Its validations count its schedules as at the end, which is another end then."""
    plan = plan_of((0,), {}, patience=9, steps=20, hyperparameters={"beta": "linear(0, 1, 40)"})
    swept = sweep.sweep(plan, tmp_path / "s")
    trained = run.load(swept.folder.member("seed=0").path, "last")
    with Checkpoints(trained.folder.checkpoints, write=False) as checkpoints:
        assert checkpoints.restore(trained.setup.shapes(), 20).meta["watch"][0]["total"] == 20


@pytest.mark.slow
def test_a_damaged_state_of_a_wave_outlives_the_wave(tmp_path):
    plan = plan_of((0, 1), {}, steps=40)
    cut_off_at_a_save(plan, tmp_path / "s", 30)
    saved = sorted((tmp_path / "s" / "wave" / "checkpoints").iterdir(), key=lambda step: int(step.name))
    empty_files(saved[-1])
    told = Saying()
    sweep.sweep(plan, tmp_path / "s", progress=told)
    (line,) = [line for line in told.said if "is damaged" in line]
    place = Path(line.rpartition("moved to ")[2])
    assert place == tmp_path / "s" / "damaged" / f"step-{saved[-1].name}" and place.is_dir()


def test_other_lanes_are_another_sweep(whole):
    with pytest.raises(InputError, match="lanes: map -> vmap"):
        sweep.sweep(plan_of(), whole.folder.path, sweep.How(lanes="vmap"))


def test_a_run_and_a_sweep_do_not_share_a_folder(whole, tmp_path):
    alone = run.train(configured(steps=2), tmp_path / "run")
    with pytest.raises(InputError, match="not empty and holds no sweep"):
        sweep.sweep(plan_of(), alone.folder.path)
    with pytest.raises(InputError, match="not empty and holds no run"):
        run.train(configured(), whole.folder.path)
    with pytest.raises(InputError, match="no sweep here"):
        member_path(alone.folder.path, "seed=0")
    with pytest.raises(InputError, match="holds a sweep of 6 runs: say which: --member seed=0,beta=1"):
        member_path(whole.folder.path, None)


@pytest.mark.slow
def test_members_that_were_handed_out_outlive_the_state_of_their_wave(tmp_path):
    plan = plan_of(seeds=range(4), grid={}, steps=4)
    cut_off_at_the_third(plan, tmp_path / "s")
    empty_files(tmp_path / "s" / "wave" / "checkpoints")
    for _ in range(2):
        with pytest.raises(InputError, match=r"no whole checkpoint.*move the folder away to begin anew"):
            sweep.sweep(plan, tmp_path / "s")
    (tmp_path / "s" / "wave" / "checkpoints").rename(tmp_path / "away")
    first, second, third, _ = (SweepFolder(tmp_path / "s").member(m.name).outcome_file for m in plan.members)
    assert first.exists() and second.exists() and not third.exists()
    kept = first.stat().st_mtime_ns
    assert set(sweep.sweep(plan, tmp_path / "s").table["outcome"]) == {"finished"}
    assert first.stat().st_mtime_ns == kept and len(set(digests(tmp_path / "s", plan).values())) == 4


@pytest.mark.slow
def test_the_best_that_a_wave_remembers_is_on_disk_before_the_wave_is(tmp_path, monkeypatch):
    """Killed between the two, the wave goes on from before them, and finds the same best again."""
    save, saved = Checkpoints.save, []

    def noted(self, step, *args):
        saved.append((self.folder.parent.name, step))
        save(self, step, *args)

    monkeypatch.setattr(Checkpoints, "save", noted)
    sweep.sweep(plan_of((0, 1), {}, patience=3, steps=20, validate_every=20), tmp_path / "s")
    assert saved.index(("seed=1", 20)) < saved.index(("wave", 20))


@pytest.mark.slow
def test_measures_from_before_a_members_end_are_not_taken_for_its_own(tmp_path, capsys):
    plan = plan_of((0,), {}, patience=9)
    folder = SweepFolder(tmp_path / "s").member("seed=0")

    def looked_at(self, *args):
        for split in ("test", "validation"):
            file = folder.evaluation_file(split)
            file.write_text(json.dumps({"mse": 1.0, "nll": 99.0, "samples": 2, "step": 20}))
        hand_out(self, *args)

    hand_out = wave.Wave.hand_out
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wave.Wave, "hand_out", looked_at)
        swept = sweep.sweep(plan, tmp_path / "s")
    assert swept.table["nll"].item() < 50 and not folder.evaluation_file("validation").exists()
    status(["evaluate", str(tmp_path / "s"), "--metrics", "latents"])
    folder.evaluation_file().write_text(json.dumps({"active_units": 3, "step": 60}))
    assert sweep.sweep(plan, tmp_path / "s").table["nll"].item() == swept.table["nll"].item()
    more = sweep.sweep(plan_of((0,), {}, patience=9, samples=8), tmp_path / "s")
    assert more.table["samples"].item() == 8
    assert sweep.sweep(plan, tmp_path / "s").table["samples"].item() == 8


@pytest.mark.slow
def test_a_folder_of_another_run_is_no_member(tmp_path, capsys):
    plan = plan_of((0, 1), {}, steps=2)
    folder = sweep.sweep(plan, tmp_path / "s").folder.member("seed=1")
    shutil.rmtree(folder.path)
    with pytest.raises(InputError, match=r"no run here .*: `jaxae sweep --run .*/s` makes one"):
        run.load(tmp_path / "s", member="seed=1")
    run.train(configured(steps=2, seed=1, width=8), folder.path)
    wrong = "members/seed=1 holds a run of another config than its sweep's: width: 8 -> 24: remove it"
    for ask in (lambda: sweep.sweep(plan, tmp_path / "s"), lambda: run.load(tmp_path / "s", member="seed=1")):
        with pytest.raises(InputError, match=wrong):
            ask()
    assert status(["evaluate", str(tmp_path / "s"), "--member", "seed=1", "--samples", "2"]) == 2
    shutil.rmtree(folder.path)
    assert list(sweep.sweep(plan, tmp_path / "s").table["outcome"]) == ["finished"] * 2


def test_two_files_of_one_name_are_two_programs(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text("def mine(net):\n    '''Mine.'''\n")
    names = tuple(f"{tmp_path}/{folder}/mine.py:mine" for folder in ("a", "b"))
    plan = sweep.Plan(configured(method=names[0]), (0, 1), {"method": names})
    assert [len(group) for group in plan.groups] == [2, 2]


@pytest.mark.slow
def test_two_data_sets_of_one_name_are_two_data_sets(tmp_path):
    names = tuple(f"{tmp_path}/{folder}/x.npy" for folder in ("a", "b"))
    for number, name in enumerate(names):
        Path(name).parent.mkdir()
        np.save(name, np.random.default_rng(number).integers(0, 256, (40, 8, 8), np.uint8))
    plan = sweep.Plan(configured(data=names[0], batch_size=8, steps=4, binarize="none"), (0,), {"data": names})
    table = sweep.sweep(plan, tmp_path / "s").table
    assert table["data_sha256"].nunique() == 2 and table["digest"].nunique() == 2


@pytest.mark.parametrize(
    ("seeds", "grid", "expected"),
    [
        ((0, 0), {}, "seed=0 is there twice"),
        ((0,), {"beta": (1, 1.0)}, "grid beta=1,1: 1 is there twice"),
        ((), {}, "a sweep without members"),
        ((0,), {"beta": ()}, "a sweep without members"),
    ],
)
def test_a_plan_whose_members_are_no_plan_is_refused(seeds, grid, expected):
    with pytest.raises(InputError, match=expected):
        sweep.Plan(configured(), seeds, grid)


def test_a_sweep_is_carried_out_in_a_way_that_there_is():
    with pytest.raises(InputError, match="seed_devices 0: expected a whole number of at least 1"):
        sweep.How(seed_devices=0)


@pytest.mark.slow
def test_a_validation_is_told_of_the_members_that_are_well(tmp_path):
    class Told(Saying):
        def validated(self, step, metrics, members):
            self.said.append((metrics, members))

    told = Told()
    plan = plan_of((0, 1), {"learning_rate": (1e-4, 1e30)}, optimizer="sgd")
    sweep.sweep(plan, tmp_path / "s", progress=told)
    found = [said for said in told.said if isinstance(said, tuple)]
    assert found and all(members == 2 and np.isfinite(metrics["loss"]) for metrics, members in found)


def test_a_block_where_members_are_taken_one_after_the_other_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^block 4: .* add --lanes vmap"):
        sweep.sweep(plan_of((0,), {}, steps=2), tmp_path / "s", sweep.How(block=4))
    assert not (tmp_path / "s" / "sweep.json").exists()


def test_a_block_is_refused_also_where_the_sweep_has_begun(whole):
    with pytest.raises(InputError, match=r"^block 4: .* add --lanes vmap"):
        sweep.sweep(whole.plan, whole.folder.path, sweep.How(block=4))


def test_what_another_process_made_of_the_folder_meanwhile_is_seen(tmp_path, monkeypatch):
    def rival(*args):
        raise AssertionError("the sweep of another plan began")

    locked = folders.locked

    def late(path):
        sweep_file = SweepFolder(path)
        path.mkdir()
        sweep_file.write(plan_of((5,), {}), {"lanes": "map", "block": 1, "exact": False})
        return locked(path)

    monkeypatch.setattr("jaxae.sweep.run.locked", late)
    monkeypatch.setattr(Sweep, "__init__", rival)
    with pytest.raises(InputError, match="holds another sweep: it has 'seed=5'"):
        sweep.sweep(plan_of((0,), {}), tmp_path / "s")


def test_a_waves_folder_is_its_members_alone_and_is_removed_under_another_name(tmp_path, monkeypatch):
    remove, removed = shutil.rmtree, []

    def noted(path, *args):
        removed.append(Path(path).name)
        remove(path, *args)

    monkeypatch.setattr(shutil, "rmtree", noted)
    folder = SweepFolder(tmp_path)
    folder.begin_wave(["a", "b"])
    folder.wave_checkpoints.mkdir()
    folder.begin_wave(["a", "b"])
    assert folder.wave_checkpoints.exists() and not removed
    folder.begin_wave(["b", "a"])
    assert folder.wave_members() == ["b", "a"] and not folder.wave_checkpoints.exists()
    assert removed == ["wave.removed"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "lost"), [("as it was left", "wave.json"), ("as it was left", "checkpoints"), ("wave", "checkpoints")]
)
def test_a_wave_whose_removal_was_cut_off_is_over(tmp_path, monkeypatch, lost, place):
    """The next is as large and of the same shapes: nothing of the old one is taken for it, or made again. It was
    in "wave" that it was left before."""
    remove, left = shutil.rmtree, []

    def dying(path, *args, **kwargs):
        if not (Path(path) / "wave.json").exists():
            return remove(path, *args, **kwargs)
        left.append(Path(path))
        (left[0] / "wave.json").unlink() if lost == "wave.json" else empty_files(left[0] / "checkpoints")
        raise KeyboardInterrupt

    plan = plan_of((0, 1), {"activation": ("relu", "tanh")}, steps=4)
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "rmtree", dying)
        with pytest.raises(KeyboardInterrupt):
            sweep.sweep(plan, tmp_path / "s")
    if place == "wave":
        left[0].rename(tmp_path / "s" / "wave")
    first = SweepFolder(tmp_path / "s").member(plan.members[0].name).outcome_file
    kept, progress = first.stat().st_mtime_ns, Saying()
    sweep.sweep(plan, tmp_path / "s", progress=progress)
    assert first.stat().st_mtime_ns == kept and not any("resuming" in line for line in progress.said)
    assert len(set(digests(tmp_path / "s", plan).values())) == 4
    assert {entry.name for entry in (tmp_path / "s").iterdir()} == {".lock", "sweep.json", "members"}


@pytest.mark.slow
def test_another_block_than_a_sweep_began_with_is_refused_not_passed_over(tmp_path):
    plan = plan_of((0, 1), {}, steps=2)
    sweep.sweep(plan, tmp_path / "s", sweep.How(lanes="vmap", block=2))
    for given in ("vmap", "auto"):
        with pytest.raises(InputError, match="block: 2 -> 4"):
            sweep.sweep(plan, tmp_path / "s", sweep.How(lanes=given, block=4))
    assert len(sweep.sweep(plan, tmp_path / "s").table) == 2


@pytest.mark.slow
def test_what_was_refused_once_does_not_hold_the_folder(tmp_path):
    with pytest.raises(InputError, match="batch_size 2000"):
        sweep.sweep(plan_of(batch_size=2000), tmp_path / "s")
    assert set(sweep.sweep(plan_of((0,), {}, steps=2), tmp_path / "s").table["outcome"]) == {"finished"}


BROKEN = {
    "": "it has no base",
    ', "base": {}, "seeds": 3': "seeds '3': expected a list",
    ', "seeds": ["0"]': "seeds '0': expected a whole number",
    ', "grid": {"beta": [[1]]}': r"grid beta '\[1\]': expected a number, text",
    ', "members": [null]': "members 'None': expected text",
}


@pytest.mark.parametrize("more", BROKEN)
def test_a_broken_sweep_json_is_named(tmp_path, more, capsys):
    (tmp_path / "sweep.json").write_text('{"format": 1' + more + "}")
    for words in (["digest", str(tmp_path), "--member", "seed=0"], ["evaluate", str(tmp_path)]):
        assert status(words) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1 and re.search(rf"sweep.json: {BROKEN[more]}", err)


def test_a_wave_is_no_wider_than_its_group(tmp_path):
    swept = sweep.sweep(plan_of((0,), {}, steps=2), tmp_path / "s", sweep.How(wave=10**13))
    assert len(swept.table) == 1


def test_lanes_side_by_side_are_all_members_or_equal_blocks_that_fit(monkeypatch):
    taken = []

    def need(count):
        taken.append(count)
        return 10 * count

    assert [block(count, need, 0) for count in (1, 3, 8, 9, 17)] == [1, 3, 8, 5, 6], "a CPU asks for no memory"
    monkeypatch.setattr(lanes, "jax", SimpleNamespace(default_backend=lambda: "gpu"))
    assert taken == []
    assert [block(count, need, 1000) for count in (3, 64, 65, 128)] == [3, 64, 33, 64]
    assert block(50, need, 130) == 10, "50, 25 and 13 do not: five blocks of 10"
    assert taken[4:] == [50, 25, 10]
    assert block(50, need, 1) == 1
    assert (lanes.choose(exact=False), lanes.choose(exact=True)) == ("vmap", "map")


def test_a_sweep_shares_the_device_as_it_began():
    setups, kept = setups_of(plan_of((0,), {}), None, None), {"lanes": "vmap", "block": 3}
    shared = Sharing(plan_of((0,), {}), sweep.How(), setups, kept)
    assert (shared.kind, shared.block) == ("vmap", 3), "where a new one would take them one after the other"
    assert Sharing(plan_of((0,), {}), sweep.How(), setups, None).kind == "map"


def lanes_on_a_gpu(path, plan, monkeypatch, limit, **how):
    """(lanes, block) of the sweep that begins there, on an accelerator of so many bytes for a wave."""
    with monkeypatch.context() as patch:
        patch.setattr(lanes, "jax", SimpleNamespace(default_backend=lambda: "gpu"))
        patch.setattr(lanes, "available", lambda: limit)
        patch.setattr(lanes, "needed", lambda setup, layout, programs, count: setup.config.width * count)
        begun = Sweep(
            plan, SweepFolder(path), sweep.How(**how), Progress(quiet=True), [], setups_of(plan, None, None), {}, None
        )
        return begun.sharing.kind, begun.sharing.block


def test_all_groups_of_a_sweep_have_a_block_that_each_of_them_has_room_for(tmp_path, monkeypatch):
    seeds = tuple(range(16))
    for widths in ((8, 64), (64, 8)):
        assert lanes_on_a_gpu(tmp_path, plan_of(seeds, {"width": widths}), monkeypatch, 8 * 64) == ("vmap", 8)
    plan = plan_of(seeds, {"width": (8, 64)})
    assert lanes_on_a_gpu(tmp_path, plan, monkeypatch, 10**9) == ("vmap", 16)
    assert lanes_on_a_gpu(tmp_path, plan, monkeypatch, 10**9, wave=4) == ("vmap", 4), "no wider than a wave"
    assert lanes_on_a_gpu(tmp_path, plan, monkeypatch, 10**9, block=5) == ("vmap", 5)
    assert lanes_on_a_gpu(tmp_path, plan, monkeypatch, 10**9, lanes="map") == ("map", 1)
    assert not list(tmp_path.iterdir()), "nothing is decided for a folder before all of it is known to fit"


def test_lanes_side_by_side_have_room_for_the_scores_too():
    """A training batch of 1 beside 180 held-out examples at once, which need more than it."""
    (setup,) = setups_of(plan_of((0,), {}, batch_size=1, width=16), None, None)
    layout = Layout(make_mesh(), "jit", "vmap", 8)
    made = make_programs(setup, layout)
    trains = lanes._account(made.chunk, *lanes.arguments(setup, layout, 8))
    scores = lanes._account(made.score, *lanes.scored(setup, layout, 8))
    whole = trains.argument_size_in_bytes + trains.output_size_in_bytes + trains.temp_size_in_bytes
    beside = trains.argument_size_in_bytes + scores.output_size_in_bytes + scores.temp_size_in_bytes
    assert whole - trains.alias_size_in_bytes < beside == lanes.needed(setup, layout, made, 8)
    own, batch = lanes.scored(setup, layout, 8)
    assert jax.eval_shape(made.score, own, batch)["loss"].shape == (8, 180)


def test_a_wave_has_room_for_the_states_on_the_host_too(monkeypatch):
    setups = setups_of(plan_of((0,), {}, width=16), None, None)
    shared = Sharing(plan_of((0,), {}, width=16), sweep.How(), setups, None)
    state = sum(leaf.nbytes for leaf in jax.tree.leaves(setups[0].init()))
    monkeypatch.setattr(lanes, "needed", lambda setup, layout, programs, count: 1000 * count)
    host = 6 * (1000 + lanes.COPIES * state // jax.local_device_count())
    assert shared.wave_size(setups[0], 6) == (6, pytest.approx(host, abs=6))
    monkeypatch.setattr(memory, "accelerator", lambda: 10**9)
    assert shared.wave_size(setups[0], 6) == (6, 6000), "elsewhere they lie beside the host's memory"


@pytest.mark.slow
def test_a_member_that_was_made_longer_is_measured_as_it_is(tmp_path):
    plan = plan_of((0, 1), {}, steps=4)
    sweep.sweep(plan, tmp_path / "s")
    longer = run.train(configured(steps=8), tmp_path / "s" / "members" / "seed=0")
    found = sweep.evaluate(tmp_path / "s")
    assert (found["seed=0"]["step"], found["seed=1"]["step"]) == (8, 4)
    assert found["seed=0"]["digest"] == run.final_digest(longer)
    (group,) = sweep.load(tmp_path / "s").groups()
    assert group.states.step.tolist() == [8, 4]


def test_a_member_that_is_on_its_way_to_another_step_is_not_taken_for_the_sweeps(tmp_path):
    plan, path = plan_of((0, 1), {}, steps=4), tmp_path / "s"
    sweep.sweep(plan, path)

    def cut_off(row):
        if row["step"] > 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.train(configured(steps=8, checkpoint_every=1, log_every=1), path / "members" / "seed=0", on_row=cut_off)
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    with pytest.raises(InputError, match=r"seed=0 is on its way to step 8, by itself, and not to its sweep's 4: `"):
        sweep.sweep(plan, path)
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before
    run.train(configured(steps=8), path / "members" / "seed=0")
    sweep.sweep(plan, path)
    assert [sweep.load(path).folder.outcome(f"seed={seed}")["step"] for seed in (0, 1)] == [8, 4]


def test_a_member_that_a_link_leads_to_is_its_sweeps(whole, tmp_path):
    shutil.copytree(whole.folder.path, tmp_path / "s")
    member = SweepFolder(tmp_path / "s").find("seed=1,beta=4")
    (tmp_path / "one").symlink_to(member.path)
    with folders.locked(tmp_path / "s"), pytest.raises(InputError, match=r"/s: another process is training here"):
        run.train(member.config(), tmp_path / "one")


@pytest.mark.slow
def test_checkpoints_of_a_wave_whose_members_are_not_known_are_not_removed(tmp_path):
    plan = plan_of((0, 1), {}, steps=20, checkpoint_every=10)
    cut_off_at_a_save(plan, tmp_path / "s")
    folder = SweepFolder(tmp_path / "s")
    folder.wave_file.rename(tmp_path / "wave.json")
    with pytest.raises(
        InputError, match=r"wave.json: not there, and without it the checkpoints .*: put it back, or move"
    ):
        sweep.sweep(plan, tmp_path / "s")
    folder.wave_file.write_text("{}")
    with pytest.raises(InputError, match=r"wave.json: it has no members: restore it"):
        sweep.sweep(plan, tmp_path / "s")
    (tmp_path / "wave.json").replace(folder.wave_file)
    told = Saying()
    sweep.sweep(plan, tmp_path / "s", progress=told)
    assert any("resuming a wave of 2 at step" in line for line in told.said), told.said


def test_wave_sizes():
    """need(n) = 100 + 10 n bytes."""
    need = lambda n: 100 + 10 * n  # noqa: E731
    assert wave_size(64, 1, need, 1000) == (64, 740)
    assert wave_size(64, 1, need, 500) == (32, 420), "two equal waves, not 40 and 24"
    assert wave_size(65, 1, need, 500) == (33, 430)
    assert wave_size(64, 8, need, 430) == (32, 420)
    assert wave_size(3, 8, need, 1000) == (8, 180), "padded to a block"
    with pytest.raises(InputError, match=r"8 members at once need 0.0 GB, and 0.0 GB may be used: buy more$"):
        wave_size(64, 8, need, 150, "buy more")
    refusing = lambda n: 2**62 if n > 16 else need(n)  # noqa: E731
    assert wave_size(64, 1, refusing, 500)[0] == 32, "where the compiler gives up, small waves tell the slope"


BAD = {
    "sweep --run s --seeds 4:0": "holds no seed",
    "sweep --run s --seeds=": "seeds '': '': expected numbers such as",
    "sweep --run s --grid bta=1,2": "unknown axis of vae 'bta': did you mean 'beta'",
    "sweep --run s --lanes vmpa": "did you mean 'vmap'",
    "sweep --run s --block 1": "block 1: expected a whole number of at least 2",
    "sweep --run s --wave 0": "wave 0: expected a whole number of at least 1",
    "sweep --run s --devices 0": "devices 0: expected at least 1",
    "sweep --run s --mesh seed=00,data=1": "expected seed=S,data=D",
    "sweep --run s --mesh seed=2": "expected seed=S,data=D",
    "sweep --run s --mesh seed=2,data=0": "expected seed=S,data=D",
    "sweep --run s --mesh seed=2,data=2 --devices 2": "has 4 devices, --devices says 2",
    "sweep --run s --mesh seed=1,data=3": "3 devices do not divide the batch of 128",
    "sweep --run s --exact --lanes vmap": "lanes vmap: --exact takes members one after the other",
    "sweep --run s --parallel pmap": "parallel pmap",
    "sweep --run s --devices 64": "devices 64: there are 4",
    "sweep --seeds 0:2": "missing option",
    "digest s --member seed=0": "no sweep here",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_and_exit_2(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = status(line.split())
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert err.startswith("jaxae: ") and err.count("\n") == 1
    assert BAD[line] in err
    assert not list(tmp_path.rglob("sweep.json"))


def test_the_verbs_take_a_member(whole, capsys, tmp_path):
    path = str(whole.folder.path)
    assert status(["digest", path, "--member", "beta=4,seed=2"]) == 0
    assert capsys.readouterr().out.strip() == digest_of(whole.folder.find("seed=2,beta=4").path)
    assert status(["sample", path, "--member", "seed=0,beta=1", "--count", "4", "--out", str(tmp_path / "z.npz")]) == 0
    assert np.load(tmp_path / "z.npz")["samples"].shape == (4, 8, 8, 1)
    assert status(["report", path, "--checkpoint", "best"]) == 2
    assert "--checkpoint best: the page of a sweep is of what was measured: name a --member" in capsys.readouterr().err
    assert status(["report", path, "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "seed=2" in page and html.escape(json.loads((whole.folder.sweep_file).read_text())["command"]) in page


def test_members_are_read_only_beside_the_data_that_they_were_trained_on(whole, monkeypatch):
    change_a_pixel(monkeypatch)
    kept = whole.folder.find("seed=0,beta=1").evaluation_file().read_bytes()
    with pytest.raises(InputError, match=r"digits has changed since step 60 of this run, .* for other data \(and"):
        sweep.evaluate(whole.folder.path, settings=Settings(2))
    assert whole.folder.find("seed=0,beta=1").evaluation_file().read_bytes() == kept
