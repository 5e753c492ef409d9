"""What comes back from a checkpoint is what was saved, bit for bit, and another model is refused."""

import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxae import store
from jaxae.checkpoint import Checkpoints
from jaxae.errors import InputError
from jaxae.types import TrainState, Variables
from tests.states import ABSTRACT, assert_same, make_state, save_two_steps


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    return save_two_steps(tmp_path_factory.mktemp("two") / "checkpoints")


def test_round_trip_is_bitwise_and_keeps_types(folder):
    bits = jax.random.bits(jax.random.key(0), (1000,), jnp.uint32)
    kernel = jax.lax.bitcast_convert_type(bits, jnp.float32)  # NaNs with payloads, subnormals, both zeros
    state = make_state(5)._replace(variables=Variables({"kernel": kernel, "b": kernel.astype(jnp.bfloat16)}, ()))
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(state) is None
        checkpoints.save(5, state, {"config": {"beta": 4.0, "sizes": (1, 2)}}, value=1.5)
        restored = checkpoints.restore(jax.eval_shape(lambda: state))
    assert_same(restored.state, state)
    assert (restored.step, restored.meta) == (5, {"config": {"beta": 4.0, "sizes": [1, 2]}})
    assert isinstance(restored.state, TrainState) and isinstance(restored.state.opt_state[0], optax.EmptyState)
    assert isinstance(restored.state.opt_state[1][0], optax.ScaleByAdamState)
    assert {leaf.sharding for leaf in jax.tree.leaves(restored.state)} == {jnp.zeros(()).sharding}


@pytest.mark.parametrize("keep", [1, 2])
def test_a_step_that_is_saved_again_is_no_newer_for_that(folder, keep):
    with Checkpoints(folder, keep_latest=keep, keep_best=1) as checkpoints:
        for step, value in ((300, 1.0), (400, None), (500, None)):  # as a run saves: only a best has a value
            checkpoints.save(step, make_state(step), {}, value)
        checkpoints.unrank(ABSTRACT)
        assert checkpoints.steps()[-keep:] == [300, 400, 500][-keep:]


def test_nothing_on_disk_is_a_pickle(two_steps):
    files = [path for path in two_steps.rglob("*") if path.is_file()]
    assert files and not any(path.read_bytes()[:1] == b"\x80" for path in files)


def test_save_is_safe_with_donation_right_after(folder):
    advance = jax.jit(lambda state: jax.tree.map(lambda x: x + jnp.ones_like(x), state), donate_argnums=0)
    state, donated = {"x": jnp.zeros(500_000), "n": jnp.int32(0)}, []
    with Checkpoints(folder, keep_latest=6) as checkpoints:
        for step in range(6):
            checkpoints.save(step, state, {})
            before, state = state, advance(state)
            donated.append(before["x"].is_deleted())
        for step in range(6):
            x = checkpoints.restore(jax.eval_shape(lambda: state), step).state["x"]
            assert np.array_equal(x, np.full(500_000, step, np.float32))
    if not all(donated):
        pytest.skip("this jax copies a buffer that the host has looked at in place of donating it")


def test_restored_state_may_be_donated(two_steps):
    with Checkpoints(two_steps, write=False) as checkpoints:
        state = checkpoints.restore(ABSTRACT).state
    double = jax.jit(lambda state: jax.tree.map(lambda x: x + x, state), donate_argnums=0)
    assert_same(double(state), jax.tree.map(lambda x: x + x, make_state(2)))


@pytest.mark.parametrize(
    ("policy", "kept", "best"),
    [
        ({}, [3, 5, 6], 3),
        ({"keep_latest": 1, "keep_best": 0}, [6], None),
        ({"keep_latest": 1, "keep_best": 2}, [2, 3, 6], 3),
        ({"keep_latest": 3, "keep_best": 0}, [4, 5, 6], None),
    ],
)
@pytest.mark.parametrize("reopen", [False, True])
def test_policy(folder, policy, kept, best, reopen):
    values = {1: 9.0, 2: 2.0, 3: 1.0, 4: float("nan"), 5: None, 6: float("-inf")}
    like = {"x": jnp.zeros(())}
    checkpoints = Checkpoints(folder, **policy)
    for step, value in values.items():
        checkpoints.save(step, {"x": jnp.float32(step)}, {}, value)
        if reopen:
            checkpoints.close()
            checkpoints = Checkpoints(folder, **policy)
    with checkpoints:
        assert checkpoints.steps() == kept
        assert checkpoints.latest_step() == 6
        assert checkpoints.best_step() == best
        assert [float(checkpoints.restore(like, step).state["x"]) for step in kept] == kept
        assert isinstance(checkpoints.restore(like, on_host=True).state["x"], np.ndarray)
    assert sorted(entry.name for entry in folder.iterdir()) == sorted(map(str, kept)), "nothing is left of the others"


def test_a_step_that_is_to_go_is_moved_before_it_is_removed(folder, monkeypatch):
    with Checkpoints(folder, keep_latest=1, keep_best=0) as checkpoints:
        checkpoints.save(1, make_state(1), {})
        checkpoints.wait()
        monkeypatch.setattr(store, "_tidy", lambda folder: None)  # killed there
        checkpoints.save(2, make_state(2), {})
    assert (folder / "2").exists() and not (folder / "1").exists()
    assert [step.name for step in (folder / "removed").iterdir()] == ["1"]


def test_a_step_whose_removal_was_cut_off_is_gone(folder, two_steps):
    shutil.copytree(two_steps, folder)
    (folder / "removed").mkdir()
    shutil.copytree(folder / "1" / "meta", folder / "removed" / "0" / "meta")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1, 2] and not (folder / "removed").exists()


def other_models():
    state = make_state(0)
    wide = make_state(0, width=7)
    yield wide, "opt_state/1/0/mu/encoder/bias: expected bfloat16[7], found bfloat16[3]"
    yield state._replace(opt_state=()), "opt_state/1/0/count: expected nothing, found int32[]"
    yield state._replace(step=jnp.float32(0)), "step: expected float32[], found int32[]"
    deep = {**state.variables.params, "zeta": jnp.zeros((2, 5))}
    more = state._replace(variables=Variables(deep, ()))
    yield more, "variables/params/zeta: expected float32[2,5], found nothing"
    half = {**state.variables.params, "log_var": jnp.bfloat16(0)}
    halved = state._replace(variables=Variables(half, ()))
    yield halved, "variables/params/log_var: expected bfloat16[], found float32[]"


@pytest.mark.parametrize(("other", "message"), list(other_models()))
def test_another_model_is_refused_and_left_where_it_is(two_steps, other, message):
    before = sorted(two_steps.parent.rglob("*"))
    with Checkpoints(two_steps) as checkpoints, pytest.raises(InputError) as caught:
        checkpoints.restore(jax.eval_shape(lambda: other))
    assert str(caught.value) == f"{two_steps / '2'} is a checkpoint of another model: {message}"
    assert sorted(two_steps.parent.rglob("*")) == before


def test_empty_containers_do_not_make_another_model(two_steps):
    bare = ABSTRACT._replace(opt_state=ABSTRACT.opt_state[:2])
    with Checkpoints(two_steps, write=False) as checkpoints:
        assert_same(checkpoints.restore(bare).state, make_state(2)._replace(opt_state=make_state(2).opt_state[:2]))


def test_saving_a_step_again(folder):
    with Checkpoints(folder) as checkpoints:
        checkpoints.save(3, make_state(3), {"n": 1}, 1.0)
        checkpoints.wait()
        stamp = (folder / "3").stat().st_ino
        checkpoints.save(3, make_state(3), {"n": 1}, 1.0)
        checkpoints.wait()
        assert (folder / "3").stat().st_ino == stamp
        checkpoints.save(3, make_state(33), {"n": 2}, None)
        restored = checkpoints.restore(ABSTRACT)
        assert_same(restored.state, make_state(33))
        assert restored.meta == {"n": 2} and checkpoints.best_step() is None
        checkpoints.save(2, make_state(2), {})  # an earlier step is not dropped silently
        assert checkpoints.steps() == [2, 3]
    assert sorted(path.name for path in folder.iterdir()) == ["2", "3"]


def test_a_kill_between_the_two_renames_of_a_replacement(two_steps, folder):
    shutil.copytree(two_steps, folder)
    (folder / "2").rename(folder / "replaced-2")
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.steps() == [1, 2]
        assert_same(checkpoints.restore(ABSTRACT).state, make_state(2))


def test_meta_is_what_it_was_when_saved(folder):
    with Checkpoints(folder) as checkpoints:
        meta = {"best": [1]}
        checkpoints.save(1, make_state(1), meta)
        meta["best"].append(2)
        assert checkpoints.restore(ABSTRACT, 1).meta == {"best": [1]}
        with pytest.raises(TypeError, match="not JSON serializable"):
            checkpoints.save(2, make_state(2), {"x": object()})
        assert checkpoints.steps() == [1]
