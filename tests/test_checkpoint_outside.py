"""Kills, other device counts, a full disk and what a user sees on the terminal."""

import contextlib
import os
import random
import re
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
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxae import run, sweep
from jaxae.checkpoint import Checkpoints
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.store import Store
from tests.runs import configured, plan_of
from tests.states import ABSTRACT, assert_same, make_state, save_two_steps

pytestmark = pytest.mark.optimised

ROOT = Path(__file__).parents[1]


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


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run" / "checkpoints"


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


@pytest.mark.parametrize("mode", ["new", pytest.param("replace", marks=pytest.mark.slow)])
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


@pytest.mark.slow
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
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True)
    if mounted.returncode:
        pytest.skip("mounting a small disk takes root")
    try:
        yield
    finally:
        subprocess.run(["umount", path], check=True)


def test_no_space_left_is_one_line_and_earlier_checkpoints_stay(tmp_path):
    def big(seed):
        return {"x": jax.random.bits(jax.random.key(seed), (150_000,), jnp.uint32)}  # 600 kB: does not compress

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


@pytest.mark.parametrize("name", ["vae[1]", "a*", "what?", "b\\c"])
def test_a_path_that_orbax_takes_for_a_pattern_is_refused_before_anything_is_written(tmp_path, name):
    """orbax found nothing where it had written, and every checkpoint of a run was damaged; a copy is read there."""
    refused = pytest.raises(InputError, match=rf"^{re.escape(str(tmp_path / name))}.*: no checkpoint can be kept where")
    with refused:
        Checkpoints(tmp_path / name / "checkpoints")
    with refused:
        run.train(configured(), tmp_path / name / "run")
    with refused:
        sweep.sweep(plan_of(), tmp_path / name)
    assert not list(tmp_path.iterdir())
    if name != "b\\c":
        save_two_steps(tmp_path / "c").rename(tmp_path / name)
        with Checkpoints(tmp_path / name, write=False) as checkpoints:
            assert_same(checkpoints.restore(ABSTRACT).state, make_state(2))


def test_a_first_checkpoint_that_does_not_read_back_ends_it_there(tmp_path, monkeypatch):
    whole = Store.save

    def lossy(self, step, arrays, facts):
        whole(self, step, {name: array * 0 for name, array in arrays.items()}, facts)

    monkeypatch.setattr(Store, "save", lossy)
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, {"x": jnp.ones(3)}, {})
        with pytest.raises(InputError, match=r"checkpoint .*1 does not read back as it was written just now: its"):
            checkpoints.wait()


def test_a_folder_that_is_moved_meanwhile_is_not_made_again(tmp_path):
    with Checkpoints(tmp_path / "run" / "checkpoints") as checkpoints:
        checkpoints.save(1, {"x": jnp.ones(3)}, {})
        checkpoints.wait()
        (tmp_path / "run").rename(tmp_path / "other")
        checkpoints.save(2, {"x": jnp.ones(3)}, {})
        with pytest.raises(InputError, match=r"checkpoints is gone: it was moved or removed while"):
            checkpoints.wait()
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_unwritable_folder_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for place in [tmp_path / "file" / "checkpoints", tmp_path / "file", Path("/proc/checkpoints")]:
        with pytest.raises(InputError, match=rf"^cannot write checkpoints in {place}: [a-z ]+$"):
            Checkpoints(place)
