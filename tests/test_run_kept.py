"""What a run keeps of itself, says and refuses."""

import dataclasses
import json
import re
import shutil
import signal

import chex
import jax
import numpy as np
import pytest
import small

from jaxae import compare, fits, hosts, likelihoods, log, loop, programs, run
from jaxae import folder as folders
from jaxae.build import build
from jaxae.checkpoint import Checkpoints
from jaxae.cli import status
from jaxae.config import Config
from jaxae.data.view import View
from jaxae.errors import Diverged, InputError, Interrupted
from jaxae.lane import Watch
from jaxae.run import training
from tests.runs import SMALL, Saying, change_a_pixel, configured, digest_of, flags, rows


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return run.train(configured(), tmp_path_factory.mktemp("whole") / "run")


STOPPED = configured(steps=300, validate_every=10, patience=2, learning_rate=0.2)
NET = small.net(latent=2, shape=(8, 8, 1))
OF_A_NET = Config(latent=2, steps=1)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Stopped early."""
    return run.train(STOPPED, tmp_path_factory.mktemp("stopped") / "run")


@pytest.fixture(scope="module")
def of_a_net(tmp_path_factory):
    """The folder of a run of networks of one's own."""
    return run.train(OF_A_NET, tmp_path_factory.mktemp("net") / "run", net=NET).folder.path


@pytest.mark.parametrize(
    "stretched",
    small.first(
        [
            {"learning_rate": "cosine(1e-3, 0, 100%)"},
            {"hyperparameters": {"beta": "linear(0, 1, 50%)"}},
            {"patience": 5},
        ]
    ),
)
def test_a_run_stretched_over_its_length_is_not_lengthened(tmp_path, stretched):
    run.train(configured(steps=5, **stretched), tmp_path / "run")
    with pytest.raises(InputError, match=r"steps: 5 -> 10"):
        run.train(configured(steps=10, **stretched), tmp_path / "run")


@pytest.mark.slow
def test_a_longer_run_ranks_its_checkpoints_anew_where_a_weight_is_scheduled(tmp_path):
    """A validation counts schedules as at the run's end, which now is another: a low beta made the old look good."""
    wanted = {"hyperparameters": {"beta": "piecewise(0, 65, 50)"}, "keep": 9}
    short = run.train(configured(**wanted), tmp_path / "run")
    assert run.load(short.folder.path, "best").step == 60
    run.train(configured(steps=80, **wanted), tmp_path / "run")
    assert run.load(tmp_path / "run", "best").step == 80
    assert run.load(tmp_path / "run", "60").step == 60, "it is there still"


def test_an_unreadable_value_of_a_checkpoint_is_told_before_another_is_called_the_best(tmp_path, capsys):
    trained = run.train(configured(steps=40, patience=3, checkpoint_every=10, validate_every=10), tmp_path / "run")
    assert trained.step == 40
    file = trained.folder.checkpoints / "40" / "meta" / "metadata"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    assert run.load(tmp_path / "run").step < 40
    assert "40 is damaged" in capsys.readouterr().err


@pytest.mark.slow
def test_a_better_measure_is_kept_when_the_run_is_asked_for_again(tmp_path, capsys):
    words = ["train", "--run", str(tmp_path / "run"), *flags(SMALL), "--quiet", "--no-report"]
    status(words)
    trained = run.load(tmp_path / "run")
    run.store(trained, run.evaluate_run(trained, samples=7))
    better = trained.folder.evaluation()
    assert status(words) == 0 and trained.folder.evaluation() == better and better["samples"] == 7
    assert "(Monte Carlo, 7 importance samples)" in capsys.readouterr().out
    assert status([*words, "--samples", "9"]) == 0 and trained.folder.evaluation()["samples"] == 9


def test_of_several_processes_none_ends_before_all_know_of_the_signal(tmp_path, monkeypatch):
    """A signal between two meetings would else have one process save while the others make the next step."""

    class Two:
        """This process, and another that always says the same."""

        def __getattr__(self, name):
            return getattr(hosts, name)

        def count(self):
            return 2

        def agree(self, value):
            met.append(len(met))
            return np.stack([value, value])

    met, signalled = [], []
    validate = loop.Loop.validate

    def signalled_meanwhile(self):
        improved = validate(self)
        if not signalled:
            signalled.append((self.step, len(met)))
            self.asked.append(signal.SIGTERM)
        return improved

    monkeypatch.setattr(loop, "hosts", Two())
    monkeypatch.setattr(loop.Loop, "validate", signalled_meanwhile)
    with pytest.raises(Interrupted) as stopped:
        run.train(configured(stream="no"), tmp_path / "run")
    ((step, meetings),) = signalled
    at = int(re.search(r"at step (\d+), saved", str(stopped.value))[1])
    assert at > step == 20 and len(met) > meetings and run.load(tmp_path / "run").step == at


def test_a_signal_to_another_process_after_the_last_step_is_heard(tmp_path, monkeypatch):
    class Hosts:
        def __getattr__(self, name):
            return getattr(hosts, name)

        def agree(self, mine):
            return np.stack([mine, mine + signal.SIGTERM])  # the other's

    monkeypatch.setattr(training, "hosts", Hosts())
    with pytest.raises(Interrupted, match="SIGTERM at the end, saved") as stopped:
        run.train(configured(steps=2), tmp_path / "run")
    assert stopped.value.signal == signal.SIGTERM and run.load(tmp_path / "run").step == 2


@pytest.mark.slow
def test_how_a_run_ended_is_kept_and_gone_while_it_goes_on(stopped, tmp_path, monkeypatch):
    folder = folders.RunFolder(tmp_path / "run")
    shutil.copytree(stopped.folder.path, folder.path)
    assert folder.outcome()["outcome"] == "stopped early"
    assert run.train(configured(steps=5), tmp_path / "short").folder.outcome() == {"outcome": "finished", "step": 5}

    def seen(self):
        assert folder.outcome() is None
        raise KeyboardInterrupt

    monkeypatch.setattr(loop.Loop, "run", seen)
    with pytest.raises(KeyboardInterrupt):
        run.train(STOPPED, folder.path)


def test_a_folder_in_ones_home_and_a_step_by_its_number(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    trained = run.train(configured(steps=2, checkpoint_every=1), "~/runs/a")
    assert trained.folder.path == tmp_path / "runs" / "a" and run.load("~/runs/a", 1).step == 1


@pytest.mark.slow
def test_patience_waits_until_no_weight_moves(tmp_path):
    """Validations count beta as at the end: while it is small in training, they rise by construction."""
    told = Saying()
    rising = configured(
        steps=60, validate_every=5, patience=2, hyperparameters={"beta": "piecewise(0, 30, 20)"}, learning_rate=0.02
    )
    trained = run.train(rising, tmp_path / "run", progress=told)
    assert any("patience counts validations from step 35 on" in line for line in told.said)
    losses = run.history(trained).set_index("step")["validation_loss"].dropna()
    assert (losses.loc[10:20] > losses.loc[5]).all(), "it would have ended there"
    assert run.load(tmp_path / "run").step == losses.loc[35:].idxmin() >= 35
    assert trained.folder.outcome()["step"] >= 45
    still = dataclasses.replace(rising, hyperparameters={"beta": 20.0})
    assert build(still).rests_from(5) == 0 and build(rising).rests_from(5) == 35
    assert build(dataclasses.replace(rising, hyperparameters={"beta": "linear(0, 1, 100%)"})).rests_from(7) == 60


def test_a_schedule_that_the_run_cuts_off_is_said_to_be(tmp_path):
    told = Saying()
    run.train(configured(steps=5, hyperparameters={"beta": "linear(0, 1, 20)"}), tmp_path / "cut", progress=told)
    assert any(
        "beta ends at 0.25 and not at 1: linear(0, 1, 20) is longer than the run, 5 steps" in s for s in told.said
    )
    for text in ("linear(0, 1, 100%)", "cyclic(0, 1, 40)", "cosine(0, 1, 5)"):
        config = configured(steps=5, hyperparameters={"beta": text})
        assert not fits.doubts(config, build(config))


def test_a_period_of_one_step_is_said_to_stay_where_it_is():
    config = configured(learning_rate="cyclic(1e-3, 1e-2, 1)", hyperparameters={"beta": "cyclic(0, 1, 10)"})
    (said,) = fits.doubts(config, build(config))
    assert said == "learning_rate stays at 0.001: the period of cyclic(1e-3, 1e-2, 1) is one step"


def test_adamw_without_a_decay_is_said_to_be_adam():
    said = {
        decay: fits.doubts(of, build(of))
        for decay in (None, 0, 0.1)
        if (of := configured(optimizer="adamw", weight_decay=decay))
    }
    assert said[0.1] == [] and said[None] == said[0] and "adamw without a weight decay is adam" in said[0][0]
    assert not fits.doubts(configured(), build(configured()))


def test_a_run_goes_on_by_the_generator_that_it_began_with(tmp_path):
    run.train(configured(steps=2), tmp_path / "run")
    before = (tmp_path / "run" / "record.json").read_bytes()
    jax.config.update("jax_default_prng_impl", "rbg")
    try:
        with pytest.raises(InputError, match="draws by threefry2x32, and JAX by rbg now: set JAX_DEFAULT_PRNG_IMPL="):
            run.train(configured(steps=4), tmp_path / "run")
    finally:
        jax.config.update("jax_default_prng_impl", "threefry2x32")
    assert (tmp_path / "run" / "record.json").read_bytes() == before


@pytest.mark.slow
def test_the_record_tells_where_each_part_was_made(tmp_path, monkeypatch):
    record = folders.RunFolder(tmp_path / "run").record
    monkeypatch.setenv("NPROC", "5")
    run.train(configured(steps=10), tmp_path / "run")
    first = record()
    monkeypatch.setenv("NPROC", "3")  # of which four devices make four
    run.train(configured(steps=10), tmp_path / "run")  # no step is made
    assert record() == first and first["threads"] == 5 and "earlier" not in first
    run.train(configured(steps=20), tmp_path / "run")
    where = {name: first[name] for name in folders.run.WHERE}
    assert re.fullmatch(r"\d+\.\d+\.\d+\S* \([0-9a-f]{12}\)", first["versions"]["jaxae"])
    assert record()["threads"] == 4 and record()["earlier"] == [{"until_step": 10, **where}]
    assert (where["prng"], where["x64"], where["matmul_precision"]) == ("threefry2x32", False, None)
    run.train(configured(steps=20), tmp_path / "run")
    assert len(record()["earlier"]) == 1


class Relu(small.Encoder):
    def __call__(self, x):
        return jax.nn.relu(super().__call__(x))


@pytest.mark.slow
def test_another_net_does_not_go_on_with_a_run(of_a_net, tmp_path):
    other = NET._replace(encoder=Relu)
    for given, said in ((other, r"another net \(encoder"), (None, "modules of one's own: expected their net=")):
        with pytest.raises(InputError, match=said):
            run.train(Config(latent=2, steps=2), of_a_net, net=given)
    with pytest.raises(InputError, match="modules of one's own: expected their net="):
        run.load(of_a_net)
    run.train(OF_A_NET, tmp_path / "built-in")
    with pytest.raises(InputError, match="a run of jaxae's networks: expected no net="):
        run.load(tmp_path / "built-in", net=NET)


@pytest.mark.slow
def test_reading_by_another_net_is_told(of_a_net, capsys):
    capsys.readouterr()
    run.load(of_a_net, net=NET)
    assert capsys.readouterr().err == ""
    run.load(of_a_net, net=NET._replace(encoder=Relu))
    assert "is a run of another net (encoder" in capsys.readouterr().err
    with pytest.raises(InputError, match="likelihood 'bernoulli': net= takes its place, or says another"):
        run.load(of_a_net, net=NET._replace(likelihood=likelihoods.make("gaussian", 0.5)))


def test_what_another_process_made_of_the_folder_meanwhile_is_seen(tmp_path, monkeypatch):
    locked = folders.locked

    def late(path):
        path.mkdir()
        folders.RunFolder(path).write(configured(seed=5), {})
        return locked(path)

    monkeypatch.setattr(folders.run, "locked", late)
    with pytest.raises(InputError, match="holds a run of another config: seed: 5 -> 0"):
        run.train(configured(steps=5), tmp_path / "run")


def test_another_config_in_the_folder_is_refused_with_the_difference(whole):
    before = digest_of(whole.folder.path)
    with pytest.raises(InputError, match=r"latent: 3 -> 4; .*batch_size: 100 -> 50"):
        run.train(configured(latent=4, batch_size=50), whole.folder.path)
    with pytest.raises(InputError, match="has 60 already"):
        run.train(configured(steps=30), whole.folder.path)
    assert digest_of(whole.folder.path) == before


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    (tmp_path / "thesis.tex").write_text("precious")
    with pytest.raises(InputError, match="not empty"):
        run.train(configured(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_data_that_changed_is_refused(tmp_path, monkeypatch):
    run.train(configured(steps=5), tmp_path / "run")
    change_a_pixel(monkeypatch)
    with pytest.raises(InputError, match="has changed since step 5"):
        run.train(configured(), tmp_path / "run")


@pytest.mark.parametrize("accumulate", small.first([4, 1]))
def test_not_finite_stops_at_its_step_and_keeps_the_checkpoint(tmp_path, accumulate):
    config = configured(learning_rate="piecewise(1e-3, 33, 1e30)", optimizer="sgd", accumulate=accumulate)
    expected = r"(loss|kl|elbo|reconstruction|grad_norm) is (inf|-inf|nan) at step 35: the checkpoint of step 30"
    with pytest.raises(Diverged, match=expected):
        run.train(config, tmp_path / "run")
    assert run.load(tmp_path / "run").step == 30
    with pytest.raises(Diverged, match="step 35"):
        run.train(config, tmp_path / "run")
    said = folders.RunFolder(tmp_path / "run").outcome()
    assert (said["outcome"], said["step"]) == ("diverged", 35) and re.fullmatch(r"\w+ is (-?inf|nan)", said["why"])
    assert compare.table(tmp_path / "run")["outcome"].tolist() == ["diverged"]
    assert [row["step"] for row in log.read(folders.RunFolder(tmp_path / "run").metrics_file)][-2:] == [28, 34]


def test_a_validation_that_is_not_finite_is_never_the_best():
    watch = Watch()
    assert [watch.see(loss) for loss in (np.nan, 3.0, np.inf, 2.0, -np.inf)] == [None, 3.0, None, 2.0, None]
    assert watch.stale == 1


def test_a_damaged_log_loses_only_what_is_damaged(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole.folder.path, folder)
    file = folder / "metrics.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    damaged = [*lines[:3], b'{"step": 5, "lo\n', b"\xff\xfe\n", b"[1]\n", b'{"loss": 1}\n', *lines[3:], b'{"step": 60']
    file.write_bytes(b"".join(damaged))
    assert log.read(file) == log.read(whole.folder.metrics_file)
    run.train(configured(), folder)
    assert file.read_bytes() == b"".join(damaged[:-1]), "only the line that was cut short is gone"
    log.keep_until(file, 21)
    assert [row["step"] for row in log.read(file)] == [
        row["step"] for row in map(json.loads, lines) if row["step"] <= 21
    ]
    assert file.read_bytes().count(b"\xff") == 1
    file.write_bytes(b"".join(lines).rstrip(b"\n"))  # cut short by no more than the end of its line
    log.keep_until(file, 60)
    assert file.read_bytes() == b"".join(lines)


def test_early_stopping_loads_the_best(stopped):
    values = {step: value for (step, _), value in rows(stopped.folder, "validation_loss").items()}
    best = min(values, key=values.get)
    assert stopped.step == best
    assert max(values) == best + 20 < 300
    assert max(rows(stopped.folder)) == (max(values), "loss"), "no step is untold"
    assert run.load(stopped.folder.path, "last").step == max(values)
    assert run.train(STOPPED, stopped.folder.path).step == best, "a stopped run stays stopped"


def test_a_loss_that_training_moves_ranks_no_checkpoint(tmp_path):
    """The multiplier of geco_vae falls where training succeeds, and its loss rises."""
    config = configured(method="geco_vae", likelihood="gaussian", binarize="none", validate_every=10)
    trained = run.train(config, tmp_path / "run")
    assert len(rows(trained.folder, "validation_loss")) == 6
    assert trained.step == 60
    with pytest.raises(InputError, match=r"checkpoint best: .* has none"):
        run.load(trained.folder.path, "best")


def test_averaged_weights_are_what_is_evaluated(tmp_path):
    trained = run.train(configured(steps=10, average=0.5, optimizer="sgd", batch_size=1257), tmp_path / "run")
    first = run.load(tmp_path / "run")
    averaged = jax.tree.leaves(first.variables.params)
    plain = jax.tree.leaves(first.state.variables.params)
    assert any(np.any(a != p) for a, p in zip(averaged, plain))
    chex.assert_trees_all_equal(first.variables, trained.variables)


def test_one_program_for_the_whole_run(tmp_path, monkeypatch):
    compiled = []
    make = programs.make_train_chunk

    def counting(*args):
        chunk = make(*args)

        def traced(*chunk_args):
            compiled.append(1)
            return chunk(*chunk_args)

        return traced

    monkeypatch.setattr(programs, "make_train_chunk", counting)
    run.train(configured(steps=50, log_every=3, validate_every=17, checkpoint_every=11), tmp_path / "run")
    assert len(compiled) == 1


def test_two_processes_do_not_train_in_one_folder(whole):
    record = json.loads(whole.folder.record_file.read_text())
    with whole.folder.claimed(configured(), record), pytest.raises(InputError, match="another process"):
        run.train(configured(), whole.folder.path)


def test_held_out_data_is_scored_by_what_training_found(tmp_path):
    """The optimal variance is fitted to training batches alone: a held-out loss does not depend on its chunks."""
    config = configured(method="ae", width=None, likelihood="gaussian_optimal", steps=30)
    trained = run.train(config, tmp_path / "run")
    setup, own = trained.setup, trained.state.variables.state["likelihood"]
    measures = run.evaluate_run(trained)
    variance = float(own["variance"] / own["weight"])
    expected = 32 * (np.log(2 * np.pi * variance) + measures["mse"] / variance)
    assert measures["reconstruction"] == pytest.approx(expected, rel=1e-5)
    view = View(setup.source.validation, setup.pixels, setup.key, chunk=7)
    by_seven = view.map(lambda b: setup.held_out({}).loss(trained.variables, view.keys(b, "noise"), b, 0).loss)
    validated = rows(trained.folder, "validation_loss")[(30, "validation_loss")]
    assert by_seven.mean() == pytest.approx(validated, rel=1e-5)


def saved_as(file, seed):
    np.savez(file, x=np.random.default_rng(seed).integers(0, 256, (150, 4, 4), np.uint8))


@pytest.mark.slow
def test_a_run_is_read_only_beside_the_data_that_it_was_trained_on(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    saved_as("d.npz", 0)
    made = run.train(configured(data="./d.npz", steps=3, batch_size=20), tmp_path / "run")
    saved_as("d.npz", 1)
    line = "jaxae: d.npz has changed since step 3 of this run, and its digest differs: expected the data as it was, "
    line += "or another --run for other data"
    for words in (["evaluate", "run", "--samples", "2"], ["sample", "run", "--count", "2"], ["encode", "run"]):
        assert status(words) == 2
        assert capsys.readouterr().err.strip() == line
    assert not (tmp_path / "run" / "evaluation.json").exists()
    (tmp_path / "d.npz").unlink()
    assert status(["digest", "run"]) == 0, "what identifies the parameters asks for them alone"
    assert capsys.readouterr().out.strip() == run.final_digest(made)
    saved_as("d.npz", 0)
    monkeypatch.chdir("/")
    assert status(["encode", str(tmp_path / "run")]) == 0, "from any folder"


@pytest.mark.slow
def test_the_best_is_written_with_the_next_checkpoint_as_it_was_then(tmp_path):
    """Not at each validation, which may be a few steps apart; nor is it lost where training diverges before."""
    config = configured(steps=100, validate_every=5, checkpoint_every=20, patience=9, learning_rate=0.2)
    made = run.train(config, tmp_path / "run")
    assert made.step % 20, "else it says nothing"
    with Checkpoints(made.folder.checkpoints) as checkpoints:
        assert checkpoints.latest_step() == 100
        watch = Watch(**checkpoints.restore(made.setup.shapes(), checkpoints.best_step()).meta["watch"][0])
    losses = {
        row["step"]: row["validation_loss"] for row in log.read(made.folder.metrics_file) if "validation_loss" in row
    }
    assert watch.best == min(losses.values()) == losses[made.step] and watch.stale == 0
    often = run.train(dataclasses.replace(config, checkpoint_every=5), tmp_path / "often")
    chex.assert_trees_all_equal(often.state, made.state)


def test_what_was_best_before_it_diverged_is_kept(tmp_path):
    """The best so far is of the very step from which the next goes wrong."""
    rising = {"learning_rate": "piecewise(1e-3, 10, 1e30)", "steps": 40, "validate_every": 5, "checkpoint_every": 40}
    with pytest.raises(Diverged, match="the checkpoint of step 10 is kept"):
        run.train(configured(**rising), tmp_path / "run")
    assert run.load(tmp_path / "run", "best").step == 10
