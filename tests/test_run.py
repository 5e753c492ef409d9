"""The promises of a run: the same numbers whatever happens to it on the way."""

import json
import shutil
import signal

import chex
import pytest

from jaxae import loop, run
from jaxae.checkpoint import Checkpoints
from tests.runs import SMALL, Saying, configured, digest_of, flags, kill_at, rows, start

pytestmark = pytest.mark.optimised


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An uninterrupted run with every checkpoint kept."""
    return run.train(configured(keep=100), tmp_path_factory.mktemp("whole") / "run")


def test_a_rerun_is_bitwise_the_same(whole, tmp_path):
    again = run.train(configured(), tmp_path / "again")
    chex.assert_trees_all_equal(again.state, whole.state)
    assert rows(again.folder) == rows(whole.folder)


@pytest.mark.slow
def test_what_is_made_ahead_while_an_accelerator_computes_changes_no_bit(whole, tmp_path, monkeypatch):
    wanted, made = [], []
    feed, at = loop.Loop.feed, loop.feeds.Feed.at
    monkeypatch.setattr(loop.feeds, "beside_the_host", lambda: True)
    monkeypatch.setattr(loop.Loop, "feed", lambda self, *where: wanted.append(where) or feed(self, *where))
    monkeypatch.setattr(loop.feeds.Feed, "at", lambda self, *where: made.append(where) or at(self, *where))
    ahead = run.train(configured(chunk=4, log_every=20), tmp_path / "run")  # so that calls are as foreseen
    assert len(made) < len(wanted), "nothing was foreseen rightly"
    assert run.final_digest(ahead) == run.final_digest(whole)


@pytest.mark.slow
def test_another_seed_is_another_run(whole, tmp_path):
    assert run.final_digest(run.train(configured(seed=1), tmp_path / "other")) != run.final_digest(whole)


@pytest.mark.parametrize("upto", [15, 30, 40, 45])
def test_resume_from_any_checkpoint_is_bitwise_the_same(whole, tmp_path, upto):
    folder = tmp_path / "run"
    shutil.copytree(whole.folder.path, folder)
    for step in folder.joinpath("checkpoints").iterdir():
        if step.name.isdigit() and int(step.name) > upto:
            shutil.rmtree(step)
    told = Saying()
    resumed = run.train(configured(), folder, progress=told)
    assert any(f"resuming at step {upto}" in line for line in told.said)
    chex.assert_trees_all_equal(resumed.state, whole.state)
    for name in ("loss", "kl", "grad_norm", "validation_loss"):
        assert rows(resumed.folder, name) == rows(whole.folder, name)


@pytest.mark.parametrize(
    "cadence",
    [
        pytest.param({"log_every": 1, "validate_every": 60, "checkpoint_every": 60}, marks=pytest.mark.slow),
        pytest.param({"log_every": 60, "validate_every": 1, "checkpoint_every": 7}, marks=pytest.mark.slow),
        pytest.param({"chunk": 1}, marks=pytest.mark.slow),
        {"chunk": 13, "keep": 1},
        {"stream": "yes"},
    ],
)
def test_cadence_chunks_and_streaming_change_no_bit(whole, tmp_path, cadence):
    assert run.final_digest(run.train(configured(**cadence), tmp_path / "run")) == run.final_digest(whole)


def test_a_longer_run_goes_on_from_a_shorter_one(whole, tmp_path):
    run.train(configured(steps=25), tmp_path / "run")
    longer = run.train(configured(), tmp_path / "run")
    chex.assert_trees_all_equal(longer.state, whole.state)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["steps"] == 60


def test_a_damaged_newest_checkpoint_is_passed_over(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole.folder.path, folder)
    newest = folder / "checkpoints" / "60"
    largest = max((p for p in newest.rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data = bytearray(largest.read_bytes())
    data[len(data) // 2] ^= 1
    largest.write_bytes(data)
    told = Saying()
    again = run.train(configured(), folder, progress=told)
    assert any("checkpoints/60" in line and "damaged" in line for line in told.said)
    chex.assert_trees_all_equal(again.state, whole.state)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow)]
)
def test_a_signal_saves_and_the_run_goes_on(tmp_path, number, code):
    folder = tmp_path / "run"
    long = {**SMALL, "steps": 20000, "log_every": 50, "validate_every": 5000, "checkpoint_every": 20000}
    words = ["train", "--run", str(folder), "--no-report", *flags(long)]
    process = start(*words)
    _, err = kill_at(process, folder, 100, number)
    assert process.returncode == code, err
    assert f"stopped by {signal.Signals(number).name} at step" in err
    assert "Traceback" not in err
    with Checkpoints(folder / "checkpoints") as checkpoints:
        stopped = checkpoints.latest_step()
    assert 100 <= stopped < 20000
    upto = configured(steps=stopped, checkpoint_every=20000)
    assert digest_of(folder) == run.final_digest(run.train(upto, tmp_path / "straight"))


@pytest.mark.slow
@pytest.mark.parametrize("steps", [(150, 330, 700)])
def test_kill_9_changes_no_bit(tmp_path, steps):
    """Killed wherever it happens to be, saves included (every fifth step), and started again."""
    config = {**SMALL, "steps": 900, "log_every": 10, "validate_every": 300, "checkpoint_every": 5}
    folder = tmp_path / "run"
    words = ["train", "--run", str(folder), "--no-report", *flags(config)]
    for step in steps:
        process = start(*words)
        kill_at(process, folder, step)
        assert process.returncode == -signal.SIGKILL
    resumed = run.train(configured(**config), folder)
    straight = run.train(configured(**{**config, "checkpoint_every": 900}), tmp_path / "straight")
    chex.assert_trees_all_equal(resumed.state, straight.state)
    assert rows(resumed.folder) == rows(straight.folder)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["conv", "resnet"])
def test_chunks_change_no_bit_of_convolutions_either(tmp_path, network):
    config = {"network": network, "width": 8, "steps": 12, "validate_every": 12}
    one = run.train(configured(**config, chunk=1), tmp_path / "one")
    many = run.train(configured(**config, log_every=12, checkpoint_every=12), tmp_path / "many")
    chex.assert_trees_all_equal(one.state, many.state)


SHY = '''
import jax.numpy as jnp
from jaxae.methods.vae import vae


def shy(net, *, beta: float = 1.0):
    """A VAE with one metric more, which is not finite at steps 4, 8 and so on.

    Args:
        beta: weight of the divergence
    """
    base = vae(net, beta=beta)

    def loss(variables, keys, batch, step):
        found = base.loss(variables, keys, batch, step)
        extra = jnp.where(step % 4 == 3, jnp.inf, 1.0) * jnp.ones_like(found.loss)
        return found._replace(metrics={**found.metrics, "extra": extra})

    return base._replace(loss=loss)
'''


@pytest.mark.slow
def test_a_metric_that_is_not_finite_ends_no_run_whatever_the_cadence(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXAE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "shy.py").write_text(SHY)
    method = {"method": f"{tmp_path / 'shy.py'}:shy", "validate_every": 10, "checkpoint_every": 5}
    fine = run.train(configured(steps=10, chunk=1, log_every=2, **method), tmp_path / "fine")
    logged = {(2, "extra"): 1, (4, "extra"): None, (6, "extra"): 1, (8, "extra"): None, (10, "extra"): 1}
    assert rows(fine.folder, "extra") == logged
    for _ in range(2):
        coarse = run.train(configured(steps=10, log_every=10, **method), tmp_path / "coarse")
        chex.assert_trees_all_equal(fine.state, coarse.state)
        assert rows(coarse.folder, "extra") == {(10, "extra"): None}
        shutil.rmtree(coarse.folder.checkpoints / "10")  # what the meter has met by step 5 comes back with its state
