"""The same numbers on any number of devices and processes. SGD where executions are compared: Adam hides a gradient of
the wrong scale."""

import os
import shutil
import socket
import subprocess
import sys

import chex
import pytest
import small

from jaxae import run
from tests.runs import SMALL, configured, digest_of, flags

pytestmark = pytest.mark.optimised

SGD = {"optimizer": "sgd", "learning_rate": 1e-2, "steps": 20, "batch_size": 96, "checkpoint_every": 10}


def trained(folder, **changes):
    return run.train(configured(**{**SGD, **changes}), folder)


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("exact") / "run", exact=True, keep=10)


@pytest.mark.parametrize(
    "devices",
    [
        pytest.param({"devices": 2}, marks=pytest.mark.slow),
        pytest.param({"devices": 4}, marks=pytest.mark.slow),
        {"devices": 4, "parallel": "pmap"},
        pytest.param({"devices": 2, "parallel": "pmap", "stream": "yes"}, marks=pytest.mark.slow),
        pytest.param({"devices": 4, "chunk": 3, "log_every": 20}, marks=pytest.mark.slow),
    ],
)
def test_exact_is_bitwise_the_same_on_any_devices(exact, tmp_path, devices):
    assert run.final_digest(trained(tmp_path / "run", exact=True, **devices)) == run.final_digest(exact)


@pytest.mark.parametrize("devices", small.first([{"devices": 4}, {"devices": 4, "parallel": "pmap"}]))
def test_without_exact_to_rounding(exact, tmp_path, devices):
    plain = trained(tmp_path / "run", **devices)
    chex.assert_trees_all_close(plain.state.variables, exact.state.variables, rtol=2e-5, atol=2e-6)


def test_a_run_goes_on_on_another_number_of_devices(exact, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(exact.folder.path, folder)
    shutil.rmtree(folder / "checkpoints" / "20")
    assert run.load(folder).step == 10
    assert run.final_digest(trained(folder, exact=True, devices=4, parallel="pmap")) == run.final_digest(exact)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_two_processes_of_two_devices(exact, tmp_path, parallel):
    """Exact: bitwise one process's; from its checkpoint, too."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    words = [sys.executable, "-m", "jaxae", "train", "--run", str(tmp_path / "run"), "--exact", "--no-report"]
    words += flags({**SMALL, **SGD, "devices": 4, "parallel": parallel})
    words += flags({"coordinator": f"127.0.0.1:{port}", "num_processes": 2})
    env = {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    both = [subprocess.Popen([*words, "--process-id", str(i)], env=env, stderr=subprocess.PIPE) for i in range(2)]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert digest_of(tmp_path / "run") == run.final_digest(exact)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["jit", "pmap"])
def test_eight_devices_made_of_a_cpu(exact, tmp_path, parallel):
    words = ["train", "--run", str(tmp_path / "run"), "--exact", "--no-report", "--parallel", parallel]
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"}
    words += flags({**SMALL, **SGD, "devices": 8})
    subprocess.run([sys.executable, "-m", "jaxae", *words], env=env, check=True, timeout=120)
    assert digest_of(tmp_path / "run") == run.final_digest(exact)
