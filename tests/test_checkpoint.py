"""What comes back from a checkpoint is what was saved, bit for bit, or it is passed over with a warning."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae.checkpoint import Checkpoints
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.types import TrainState, Variables

ROOT = Path(__file__).parents[1]


def make_state(fill: float, width: int = 3) -> TrainState:
    params = {
        "encoder": {"kernel": jnp.full((4, width), fill), "bias": jnp.full(width, fill, jnp.bfloat16)},
        "log_var": jnp.float32(fill),
    }
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3), optax.add_decayed_weights(0.0))
    return TrainState(jnp.int32(fill), Variables(params, ()), tx.init(params))


ABSTRACT = jax.eval_shape(lambda: make_state(0))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


@pytest.fixture(scope="module")
def two_steps(tmp_path_factory):
    folder = tmp_path_factory.mktemp("two") / "checkpoints"
    with Checkpoints(folder) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, make_state(step), {"config": {"latent": step}})
    return folder


def assert_same(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected)):
        assert a.dtype == b.dtype and a.shape == b.shape
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()


def test_round_trip_is_bitwise_and_keeps_types(folder):
    bits = jax.random.bits(jax.random.key(0), (1000,), jnp.uint32)
    kernel = jax.lax.bitcast_convert_type(bits, jnp.float32)  # NaNs with payloads, subnormals, both zeros
    state = make_state(5)._replace(
        variables=Variables({"kernel": kernel, "b": kernel.astype(jnp.bfloat16)}, ())
    )
    with Checkpoints(folder) as checkpoints:
        assert checkpoints.restore(state) is None
        checkpoints.save(5, state, {"config": {"beta": 4.0, "sizes": (1, 2)}}, value=1.5)
        restored = checkpoints.restore(jax.eval_shape(lambda: state))
    assert_same(restored.state, state)
    assert (restored.step, restored.meta) == (5, {"config": {"beta": 4.0, "sizes": [1, 2]}})
    assert isinstance(restored.state, TrainState) and isinstance(
        restored.state.opt_state[0], optax.EmptyState
    )
    assert isinstance(restored.state.opt_state[1][0], optax.ScaleByAdamState)
    assert {leaf.sharding for leaf in jax.tree.leaves(restored.state)} == {jnp.zeros(()).sharding}


def test_nothing_on_disk_is_a_pickle(two_steps):
    files = [path for path in two_steps.rglob("*") if path.is_file()]
    assert files and not any(path.read_bytes()[:1] == b"\x80" for path in files)


def test_meta_is_read_without_arrays(two_steps, folder):
    shutil.copytree(two_steps, folder)
    shutil.rmtree(folder / "2" / "state")
    with Checkpoints(folder, write=False) as checkpoints:
        assert checkpoints.meta(2) == {"config": {"latent": 2}}


def test_save_is_safe_with_donation_right_after(folder):
    advance = jax.jit(lambda state: jax.tree.map(lambda x: x + jnp.ones_like(x), state), donate_argnums=0)
    state = {"x": jnp.zeros(500_000), "n": jnp.int32(0)}
    with Checkpoints(folder, keep_latest=6) as checkpoints:
        for step in range(6):
            checkpoints.save(step, state, {})
            before, state = state, advance(state)
            assert before["x"].is_deleted()
        for step in range(6):
            x = checkpoints.restore(jax.eval_shape(lambda: state), step).state["x"]
            assert np.array_equal(x, np.full(500_000, step, np.float32))


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
        ({"keep_latest": 1, "keep_best": 1, "keep_every": 4}, [3, 4, 6], 3),
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


def flip(path, place=0.5, bit=0):
    data = bytearray(path.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    path.write_bytes(data)


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
        damaged = damage_every_file(
            two_steps, folder, lambda path: flip(path, rng.random(), rng.randrange(8))
        )
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
        assert [line.split(" is damaged")[0] for line in warned] == [
            f"checkpoint {folder / s}" for s in "432"
        ]
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
    with Checkpoints(folder, warn=lambda line: None) as checkpoints:
        with pytest.raises(InputError, match=r"no whole checkpoint in .*checkpoints: all 2 are damaged"):
            checkpoints.restore(ABSTRACT)
        assert checkpoints.restore(ABSTRACT) is None


def test_an_explicit_step_is_never_another(two_steps, folder):
    shutil.copytree(two_steps, folder)
    flip(folder / "2" / "meta" / "metadata")
    with Checkpoints(folder) as checkpoints:
        with pytest.raises(InputError, match=r"no checkpoint of step 7 in .*: there are 1, 2$"):
            checkpoints.restore(ABSTRACT, 7)
        with pytest.raises(InputError, match=r"checkpoint .*/2 is damaged: "):
            checkpoints.restore(ABSTRACT, 2)
        with pytest.raises(InputError, match=r"checkpoint .*/2 is damaged: "):
            checkpoints.meta(2)
        assert checkpoints.steps() == [1, 2]
        assert checkpoints.restore(ABSTRACT, 1).step == 1


def test_a_renamed_folder_is_damage(two_steps, folder):
    shutil.copytree(two_steps, folder)
    (folder / "2").rename(folder / "5")
    warned = []
    with Checkpoints(folder, warn=warned.append) as checkpoints:
        assert checkpoints.restore(ABSTRACT).step == 1
    assert "5 is damaged (it was saved as step 2)" in warned[0]


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
        assert_same(
            checkpoints.restore(bare).state, make_state(2)._replace(opt_state=make_state(2).opt_state[:2])
        )


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


def run_child(code, *args):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "XLA_FLAGS": "", "JAX_NUM_CPU_DEVICES": "1"}
    strict = ["-W", "error::DeprecationWarning", "-c", textwrap.dedent(code)]
    return subprocess.Popen(
        [sys.executable, *strict, *map(str, args)],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


SAVER = """
import sys, jax, jax.numpy as jnp
from jaxae.checkpoint import Checkpoints
checkpoints = Checkpoints(sys.argv[1])
for step in range(1, 10**6):
    where = step if sys.argv[2] == "new" else 1
    checkpoints.save(where, {"x": jnp.full(300_000, step, jnp.float32)}, {"fill": step})
    checkpoints.wait()
    print(step, flush=True)
"""


@pytest.mark.parametrize("mode", ["new", "replace"])
def test_kill_9_in_the_middle_of_a_save_loses_at_most_that_save(folder, mode):
    rng = random.Random(mode)
    for delay in (rng.uniform(0.0, 0.25) for _ in range(2)):
        child = run_child(SAVER, folder, mode)
        for _ in range(3):
            done = int(child.stdout.readline())
        time.sleep(delay)
        child.send_signal(signal.SIGKILL)
        done = int((child.communicate()[0].split() or [done])[-1])
        with Checkpoints(folder, warn=pytest.fail) as checkpoints:
            restored = checkpoints.restore({"x": jax.ShapeDtypeStruct((300_000,), jnp.float32)})
            assert restored.meta["fill"] in (done, done + 1)
            assert np.array_equal(restored.state["x"], np.full(300_000, restored.meta["fill"], np.float32))
            assert len(list(folder.iterdir())) == len(checkpoints.steps())
        shutil.rmtree(folder)


ONE_DEVICE = """
import sys, jax
from jaxae.checkpoint import Checkpoints
from jaxae.digest import digest
assert len(jax.devices()) == 1
with Checkpoints(sys.argv[1], keep_latest=9) as checkpoints:
    like = {"x": jax.ShapeDtypeStruct((8, 3), "float32")}
    for step in checkpoints.steps():
        restored = checkpoints.restore(like, step)
        assert digest(restored.state) == restored.meta["digest"]
        checkpoints.save(step + 10, restored.state, restored.meta)
"""


def test_from_four_devices_to_one_and_back_in_silence(folder):
    state = {"x": jax.random.normal(jax.random.key(0), (8, 3))}
    mesh = Mesh(np.array(jax.devices()), "d")
    placed = [NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("d"))]
    assert mesh.size == 4
    with Checkpoints(folder) as checkpoints:
        for step, sharding in enumerate(placed):
            checkpoints.save(step, jax.device_put(state, sharding), {"digest": digest(state)})
    child = run_child(ONE_DEVICE, folder)
    assert child.communicate() == ("", "") and child.returncode == 0
    with Checkpoints(folder, write=False) as checkpoints:
        assert checkpoints.steps() == [0, 1, 10, 11]
        for step in checkpoints.steps():
            for sharding in placed:
                abstract = {"x": jax.ShapeDtypeStruct((8, 3), jnp.float32, sharding=sharding)}
                restored = checkpoints.restore(abstract, step).state
                assert restored["x"].sharding == sharding
                assert_same(restored, state)


def test_failures_and_damage_print_nothing(folder):
    code = """
        import sys, pathlib, time, jax, jax.numpy as jnp
        from jaxae.checkpoint import Checkpoints
        from jaxae.errors import InputError
        folder, warned = pathlib.Path(sys.argv[1]), []
        state = {f"x{i}": jax.random.normal(jax.random.key(i), (100, 300)) for i in range(20)}
        with Checkpoints(folder, warn=warned.append, keep_latest=9) as checkpoints:
            for step in range(9):
                checkpoints.save(step, state, {})
            checkpoints.wait()
            for step in range(9):
                files = sorted((folder / str(step) / "state/ocdbt.process_0/d").iterdir())
                for file in files[:: 1 + step % 3]:  # which of them matter differs from run to run
                    file.unlink() if step % 2 else file.write_bytes(file.read_bytes()[:99])
            for name in "_CHECKPOINT_METADATA", "meta/metadata":
                (folder / "7" / name).write_text("{")
                (folder / "8" / name).unlink()
            for step in reversed(range(9)):
                try:
                    checkpoints.restore(state, step)
                except InputError as caught:
                    warned.append(str(caught))
            time.sleep(0.2)  # for what might come late
            print(len(warned) >= 5, any("\\n" in line for line in warned))
    """
    child = run_child(code, folder)
    assert (*child.communicate(), child.returncode) == ("True False\n", "", 0)


@contextlib.contextmanager
def small_disk(path, size):
    path.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def test_no_space_left_is_one_line_and_earlier_checkpoints_stay(tmp_path):
    def big(seed):
        return {
            "x": jax.random.bits(jax.random.key(seed), (150_000,), jnp.uint32)
        }  # 600 kB: does not compress

    disk = tmp_path / "disk"
    with small_disk(disk, "1M"), Checkpoints(disk / "c") as checkpoints:
        checkpoints.save(1, big(1), {"n": 1})
        checkpoints.wait()
        for step in (2, 1):  # a new one, and a replacement
            checkpoints.save(step, big(2), {})
            with pytest.raises(InputError) as caught:
                checkpoints.wait()
            assert str(caught.value) == f"cannot write a checkpoint in {disk / 'c'}: no space left on device"
            assert [path.name for path in (disk / "c").iterdir()] == ["1"]
            assert_same(checkpoints.restore(big(0)).state, big(1))
        checkpoints.save(2, {"x": jnp.zeros(3)}, {})
        assert checkpoints.steps() == [1, 2]


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for place in [tmp_path / "file" / "checkpoints", tmp_path / "file", Path("/proc/checkpoints")]:
        with pytest.raises(InputError, match=rf"^cannot write checkpoints in {place}: [a-z ]+$"):
            Checkpoints(place)


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


def test_meta_is_what_it_was_when_saved(folder):
    with Checkpoints(folder) as checkpoints:
        meta = {"best": [1]}
        checkpoints.save(1, make_state(1), meta)
        meta["best"].append(2)
        assert checkpoints.meta(1) == {"best": [1]}
        with pytest.raises(TypeError, match="not JSON serializable"):
            checkpoints.save(2, make_state(2), {"x": object()})
        assert checkpoints.steps() == [1]
