"""Whatever happens to a file, a checkpoint comes back as it was saved or is passed over with a warning."""

import os
import random
import shutil

import pytest

from jaxae.checkpoint import Checkpoints
from jaxae.errors import InputError
from tests.states import ABSTRACT, assert_same, flip, make_state, save_two_steps


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    return save_two_steps(tmp_path_factory.mktemp("two") / "checkpoints")


def damage_every_file(two_steps, folder, damage):
    """Damage each file of step 2 in turn; yields (file, what restore gave, warnings)."""
    files = sorted(path.relative_to(two_steps) for path in (two_steps / "2").rglob("*") if path.is_file())
    assert len(files) > 10
    for file in files:
        shutil.copytree(two_steps, folder)
        damage(folder / file)
        warned = []
        with Checkpoints(folder, warn=warned.append) as checkpoints:
            yield file, checkpoints.restore(ABSTRACT), warned
        shutil.rmtree(folder.parent)


def assert_passed_over_or_whole(file, restored, warned, folder):
    assert_same(restored.state, make_state(restored.step))
    assert restored.meta == {"config": {"latent": restored.step}}, file
    if restored.step == 1:
        (line,) = warned
        moved = folder.parent / "damaged" / "step-2"
        assert str(folder / "2") in line and line.endswith(f"moved to {moved}") and "\n" not in line
        assert moved.is_dir() and not (folder / "2").exists()
    else:
        assert not warned, file


def test_one_flipped_byte_in_any_file(two_steps, folder):
    passed_over = []
    for file, restored, warned in damage_every_file(two_steps, folder, flip):
        assert_passed_over_or_whole(file, restored, warned, folder)
        passed_over += [str(file)] * (restored.step == 1)
    assert any("/d/" in file for file in passed_over) and "2/meta/metadata" in passed_over


@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, path.stat().st_size // 2), os.unlink])
def test_truncated_or_deleted_file(two_steps, folder, damage):
    for file, restored, warned in damage_every_file(two_steps, folder, damage):
        assert_passed_over_or_whole(file, restored, warned, folder)


@pytest.mark.slow
def test_flips_anywhere(two_steps, folder):
    rng = random.Random(0)
    for _ in range(12):
        damaged = damage_every_file(two_steps, folder, lambda path: flip(path, rng.random(), rng.randrange(8)))
        for file, restored, warned in damaged:
            assert_passed_over_or_whole(file, restored, warned, folder)


def test_fallback_goes_newest_to_oldest_and_loses_nothing(folder):
    with Checkpoints(folder, keep_latest=9) as checkpoints:
        for step in (1, 2, 3, 4):
            checkpoints.save(step, make_state(step), {})
    for step in (3, 4):
        flip(folder / str(step) / "meta" / "metadata")
    (folder / "2" / "meta" / "metadata").unlink()
    warned = []
    with Checkpoints(folder, warn=warned.append) as checkpoints:
        assert checkpoints.restore(ABSTRACT).step == 1
        assert [line.split(" is damaged")[0] for line in warned] == [f"checkpoint {folder / s}" for s in "432"]
        checkpoints.save(4, make_state(44), {})
    flip(folder / "4" / "meta" / "metadata")
    with pytest.warns(UserWarning, match="4 is damaged"), Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(ABSTRACT).step == 1
    moved = sorted(path.name for path in (folder.parent / "damaged").iterdir())
    assert moved == ["step-2", "step-3", "step-4", "step-4-1"]


def test_none_whole(two_steps, folder):
    shutil.copytree(two_steps, folder)
    for step in "12":
        flip(folder / step / "meta" / "metadata")
    for _ in range(2):  # nothing is moved, so that it is no new run the second time
        with Checkpoints(folder, warn=lambda line: None) as checkpoints:
            with pytest.raises(InputError, match=r"all 2 are damaged \(.*\): restore one, or move the folder away"):
                checkpoints.restore(ABSTRACT)
            assert checkpoints.steps() == [1, 2]


def test_a_damaged_step_is_set_aside_where_values_are_taken_away(folder):
    with Checkpoints(folder, keep_latest=9) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_state(step), {}, value=float(step))
    largest = max((path for path in (folder / "1").rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    flip(largest, 0.5)
    warned = []
    with Checkpoints(folder, warn=warned.append) as checkpoints:
        checkpoints.unrank(ABSTRACT)
        assert checkpoints.best_step() is None and checkpoints.steps() == [2]
    assert len(warned) == 1 and "1 is damaged" in warned[0]


def test_a_step_that_cannot_be_ranked_is_kept_for_it_may_be_the_best(folder):
    with Checkpoints(folder, keep_latest=1) as checkpoints:
        for step, value in ((1, 0.5), (2, 2.0), (3, 3.0)):
            checkpoints.save(step, make_state(step), {}, value=value)
    facts = folder / "1" / "meta"
    facts.rename(folder.parent / "aside")
    warned = []
    with Checkpoints(folder, keep_latest=1, warn=warned.append) as checkpoints:
        checkpoints.save(4, make_state(4), {}, value=4.0)
        assert checkpoints.steps() == [1, 3, 4] and checkpoints.best_step() == 3
    (folder.parent / "aside").rename(facts)
    with Checkpoints(folder, keep_latest=1, warn=warned.append) as checkpoints:
        assert checkpoints.best_step() == 1 and checkpoints.restore(ABSTRACT, 1).step == 1
    assert len(warned) == 1 and "/1 is damaged" in warned[0] and "not compared" in warned[0]


def test_an_explicit_step_is_never_another(two_steps, folder):
    shutil.copytree(two_steps, folder)
    flip(folder / "2" / "meta" / "metadata")
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(InputError, match=r"no checkpoint of step 7 in .*: there are 1, 2$"):
            checkpoints.restore(ABSTRACT, 7)
        with pytest.raises(InputError, match=r"checkpoint .*/2 is damaged: "):
            checkpoints.restore(ABSTRACT, 2)
        with pytest.raises(InputError, match=r"checkpoint .*/2 is damaged: "):
            checkpoints.leaves(2)
        assert checkpoints.steps() == [1, 2]
        assert checkpoints.restore(ABSTRACT, 1).step == 1


def test_a_renamed_folder_is_damage(two_steps, folder):
    shutil.copytree(two_steps, folder)
    (folder / "2").rename(folder / "5")
    warned = []
    with Checkpoints(folder, warn=warned.append) as checkpoints:
        assert checkpoints.restore(ABSTRACT).step == 1
    assert "5 is damaged (it was saved as step 2)" in warned[0]


def test_reading_only_changes_nothing(two_steps, folder):
    with Checkpoints(folder, write=False) as checkpoints:
        assert checkpoints.restore(ABSTRACT) is None and checkpoints.steps() == []
    assert not folder.exists()
    shutil.copytree(two_steps, folder)
    flip(folder / "2" / "meta" / "metadata")
    before, warned = sorted(folder.parent.rglob("*")), []
    with Checkpoints(folder, write=False, warn=warned.append) as checkpoints:
        assert checkpoints.restore(ABSTRACT).step == 1
        assert warned[0].endswith("passed over")
        checkpoints.save(9, make_state(9), {})
        with pytest.raises(InputError, match="open for reading only"):
            checkpoints.wait()
    assert sorted(folder.parent.rglob("*")) == before
