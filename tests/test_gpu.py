"""What XLA is told where there may be GPUs."""

import os
import subprocess
import sys

import pytest

from jaxae import gpu

ALL = " ".join(f"--{name}={value}" for name, value in gpu.FLAGS.items())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (None, ALL),
        ("--xla_dump_to=/x", f"--xla_dump_to=/x {ALL}"),
        ("--xla_gpu_deterministic_ops=false", ALL.replace("ops=true", "ops=false")),
        (ALL, ALL),
        ("/a/file/of/flags", "/a/file/of/flags"),
        ('--xla_dump_to="/a  b"', f'--xla_dump_to="/a  b" {ALL}'),
    ],
)
def test_xla_is_told_but_not_against_its_user(said, told, monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: object())
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if said is not None:
        monkeypatch.setenv("XLA_FLAGS", said)
    gpu.prepare()
    assert os.environ["XLA_FLAGS"] == told


def test_without_a_plugin_nothing_is_told(monkeypatch):
    monkeypatch.setattr(gpu, "find_spec", lambda name: None)
    monkeypatch.setenv("XLA_FLAGS", "--xla_dump_to=/x")
    gpu.prepare()
    assert os.environ["XLA_FLAGS"] == "--xla_dump_to=/x"


def test_this_xla_knows_the_flags(tmp_path):
    """One that it does not know would end every program at its start; a folder stands for JAX's plugins."""
    (tmp_path / "jax_plugins").mkdir()
    code = "import jaxae, jax, os; print(os.environ['XLA_FLAGS'], jax.jit(lambda x: x + 1)(1))"
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "XLA_FLAGS": ""}
    found = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert found.stdout.strip() == f"{ALL} 2", found.stderr
