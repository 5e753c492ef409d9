"""The command line as a newcomer and as a script meet it."""

import errno
import html
import json
import shlex
import shutil
import subprocess
import sys

import numpy as np
import pytest

from jaxae import cli, command, home, methods, plan
from jaxae.cli.train import check_scale
from jaxae.config import Config
from jaxae.errors import InputError
from jaxae.folder import RunFolder
from tests.runs import SMALL, digest_of, flags, say

pytestmark = pytest.mark.optimised


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A VAE and an AE, trained from the command line."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("vae", "ae"):
        own = {**SMALL, "method": method, **({"width": 24, "network": "mlp"} if method == "ae" else {})}
        assert cli.status(["train", "--run", str(folder / method), "--quiet", "--no-report", *flags(own)]) == 0
    return folder


def test_training_ends_with_what_it_found(runs, capsys):
    words = ["train", "--run", runs / "vae", "--no-report", *flags(SMALL)]
    code, out, err = say(capsys, *words)
    assert code == 0
    shown = {line[:20].strip(): line[20:] for line in out.splitlines()}
    assert shown["digest"] == digest_of(runs / "vae")
    assert shown["checkpoint"] == str(runs / "vae" / "checkpoints" / "60")
    stored = json.loads((runs / "vae" / "evaluation.json").read_text())
    assert shown["test ELBO"].startswith(f"{stored['elbo']:.3f} nats")
    assert shown["test NLL"].startswith(f"{stored['nll']:.3f} ±")
    assert "resuming at step 60 of 60" in err


def test_evaluate_prints_one_json_object(runs, capsys):
    code, out, _ = say(capsys, "evaluate", runs / "vae", "--samples", 16, "--json")
    measures = json.loads(out)
    assert code == 0
    assert measures["samples"] == 16 and measures["examples"] == 360 and measures["split"] == "test"
    assert measures["elbo"] == pytest.approx(-measures["reconstruction"] - measures["kl"], abs=1e-6)
    assert -measures["elbo"] > measures["nll"] > 0 < measures["nll_mc_se"]
    assert measures["bits_per_dim"] == pytest.approx(measures["nll"] / 64 / 0.6931472, rel=1e-6)


def test_evaluate_gives_an_autoencoder_no_likelihood(runs, capsys):
    _, out, _ = say(capsys, "evaluate", runs / "ae", "--json")
    measures = json.loads(out)
    assert measures["nll"] is None and measures["elbo"] is None
    sigma2, pixels = 0.1**2, 64
    expected = pixels * (measures["mse"] / sigma2 + 2 * -2.302585 + 1.837877) / 2
    assert measures["reconstruction"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.slow
def test_the_scores_of_examples_have_the_evaluations_means(runs, capsys, tmp_path):
    out = tmp_path / "scores.npz"
    density = {"nll", "nll_var", "elbo", "elbo_var", "reconstruction_var", "kl", "kl_var", "effective_samples"}
    for name, own in (("vae", density), ("ae", set())):
        measures = json.loads(say(capsys, "evaluate", runs / name, "--samples", 3, "--json")[1])
        code, said, _ = say(capsys, "score", runs / name, "--samples", 3, "--out", out)
        assert code == 0 and said.strip() == str(out)
        with np.load(out) as of:
            assert set(of) == own | {"reconstruction", "mse", "label", "row"}
            assert {len(of[name]) for name in of} == {measures["examples"]}
            for name in set(of) & {"nll", "elbo", "reconstruction", "kl", "mse"}:
                assert of[name].mean(dtype=np.float64) == pytest.approx(measures[name], rel=1e-6)
    assert say(capsys, "score", runs / "vae", "--samples", 1)[0] == 2
    assert (runs / "vae" / "scores.npz").exists() is False


@pytest.mark.parametrize("words", [("train",), ("sweep", "--seeds", "0:2"), ("sweep", "--grid", "latent=2,3")])
def test_a_scale_that_no_run_takes_is_refused(words, tmp_path, capsys):
    place = "--run", tmp_path / "run", *flags(SMALL), "--scale", 0.3
    code, _, err = say(capsys, *words, *place)
    assert code == 2 and "scale 0.3: bernoulli has none: leave it out, or choose a --likelihood of gaussian" in err
    assert err.count("\n") == 1 and not (tmp_path / "run").exists()


def test_an_axis_of_scales_that_no_run_takes_is_refused(tmp_path, capsys):
    words = "sweep", "--run", tmp_path / "s", "--grid", "scale=0.1,0.2", *flags(SMALL)
    code, _, err = say(capsys, *words)
    assert code == 2 and "scale 0.1: bernoulli has none" in err and not (tmp_path / "s").exists()


def test_a_scale_that_some_run_takes_is_not(tmp_path):
    assert Config(scale=0.3, method="ae").takes_scale() and not Config(scale=0.3).takes_scale()
    grid = {"likelihood": ("bernoulli", "gaussian")}
    check_scale(0.3, [member.config for member in plan.Plan(Config(scale=0.3), (0,), grid).members])
    assert "--scale 0.3" in command.of_sweep(plan.Plan(Config(scale=0.3), (0,), grid), tmp_path, "map", 1, 1)
    assert "--scale" not in command.of_run(Config(scale=0.3), tmp_path), "it would be refused"
    assert "--scale 0.3" in command.of_run(Config(scale=0.3, likelihood="gaussian"), tmp_path)


@pytest.mark.slow
def test_splits_and_seeds_of_the_evaluation_are_the_users(runs, capsys):
    elbo = [
        json.loads(say(capsys, "evaluate", runs / "vae", "--samples", 4, "--json", *more)[1])["elbo"]
        for more in ([], [], ["--seed", 1], ["--split", "validation"])
    ]
    assert elbo[0] == elbo[1] != elbo[2] != elbo[3]
    assert elbo[0] == pytest.approx(elbo[2], abs=0.5)


@pytest.mark.slow
def test_training_ends_with_what_its_numbers_cannot_be_trusted_in(capsys, tmp_path):
    words = ["train", "--run", tmp_path / "run", "--quiet", "--no-report", *flags({**SMALL, "samples": 2})]
    code, out, err = say(capsys, *words, "--learning-rate", "0.01")
    (note,) = json.loads((tmp_path / "run" / "evaluation.json").read_text())["notes"]["likelihood"]
    assert code == 0 and f"note: {note}" in err and "too few" in note and "note" not in out


@pytest.mark.parametrize("more", [("--checkpoint", "last"), ("--seed", "1"), ("--split", "validation")])
def test_only_the_usual_measures_are_kept(runs, capsys, more):
    before = (runs / "vae" / "evaluation.json").read_bytes()
    assert say(capsys, "evaluate", runs / "vae", "--samples", 3, *more)[0] == 0
    assert (runs / "vae" / "evaluation.json").read_bytes() == before


def test_digest_is_one_line(runs, capsys):
    code, out, _ = say(capsys, "digest", runs / "vae")
    assert code == 0 and out == digest_of(runs / "vae") + "\n" and len(out) == 65


@pytest.mark.slow
def test_digest_is_of_the_step_that_train_ends_with(capsys, tmp_path):
    """Of a run with a patience that is the best, and not the last."""
    wild = {**SMALL, "steps": 300, "validate_every": 10, "patience": 2, "learning_rate": 0.2}
    out = say(capsys, "train", "--run", tmp_path / "run", "--quiet", "--no-report", *flags(wild))[1]
    assert say(capsys, "digest", tmp_path / "run")[1].strip() == out.split()[-1]
    assert say(capsys, "digest", tmp_path / "run", "--checkpoint", "last")[1].strip() != out.split()[-1]


def test_methods_lists_the_registry(capsys):
    code, out, _ = say(capsys, "methods", "--json")
    listed = json.loads(out)
    assert code == 0 and list(listed) == list(methods.entries())
    assert listed["vae"]["hyperparameters"][0]["name"] == "beta"
    assert "1312.6114" in say(capsys, "methods")[1]


BAD = {
    "train --method vea": "unknown method 'vea': did you mean 'vae'?",
    "train --method=vea": "unknown method 'vea'",
    "train --data mnits": "unknown data set 'mnits': did you mean 'mnist'?",
    "train --optimizer adamm": "unknown optimizer 'adamm': did you mean 'adam",
    "train --network mlpp": "unknown network 'mlpp': did you mean 'mlp'?",
    "train --likelihood bernouli": "did you mean 'bernoulli'?",
    "train --binarize dynamik": "did you mean 'dynamic'?",
    "train --bta 4": "--beta",
    "train --method ae --beta 4": "no such option",
    "train --beta x": "beta: 'x': expected a number or a schedule",
    "train --beta -1": "beta -1: expected a finite number, at least 0",
    "train --beta linaer(0,1,5)": "unknown schedule 'linaer': did you mean 'linear'?",
    "train --learning-rate nan": "learning_rate nan: expected a finite number",
    "train --latent 0": "latent 0: expected at least 1",
    "train --latent two": "'two' is not a valid integer",
    "train --steps 0": "duration 0: expected more than 0",
    "train --steps 10%": "steps '10%': expected steps (5000) or epochs (100e)",
    "train --steps 999999999e": "expected fewer than 2,147,483,648",
    "train --steps 1e400e": "expected fewer than 2,147,483,648",
    "train --beta linear(0,1,1e400)": "beta: duration '1e400': expected fewer than 2,147,483,648",
    "train --latent 100000000000": "state are 1,845,600.0 GB, and a device has",
    "train --latent 100000000000 --method cvae": "or latent, or labels of fewer classes than 10",
    "train --method swae --accumulate 2": "accumulate 2: swae needs its batch in one piece",
    "train --batch-size 2000": "batch_size 2000: digits has 1257 training examples",
    "train --batch-size 10 --accumulate 3": "accumulate 3 does not divide the batch of 10",
    "train --devices 3": "3 devices do not divide the batch of 128",
    "train --devices 64": "devices 64: there are",
    "train --seed -1": "seed -1: expected at least 0",
    "train --b1 1": "b1 1.0: expected a value below 1",
    "train --clip-norm inf": "clip_norm inf: expected a finite number",
    "train --run /proc/nowhere/run": "/proc/nowhere/run: cannot be written",
    "train --run /dev/null": "/dev/null is a file",
    "train --wandb x --steps 1": "not installed",
    "train --likelihood discretised_logistic --network linear --width 3": "width 3",
    "evaluate nowhere": "nowhere: no run here",
    "digest nowhere": "nowhere: no run here",
    "evaluate nowhere --samples 1": "samples 1: expected a whole number from 2 to 2147483647",
    "evaluate nowhere --samples 10000000000": "samples 10000000000: expected a whole number from 2 to 2147483647",
    "evaluate nowhere --split tset": "unknown split 'tset': did you mean 'test'? known: test, train, validation",
    "traverse nowhere --seed -1": "seed -1: expected a whole number from 0 to 4294967295",
    "evalute x": "unknown command 'evalute': did you mean 'evaluate'?",
    "evaluate": "missing argument 'RUN'",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line_and_exit_2(line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, out, err = say(capsys, *line.split())
    assert (code, out) == (2, "")
    assert err.startswith("jaxae: ") and err.count("\n") == 1
    assert BAD[line] in err
    assert not list(tmp_path.iterdir())


def test_a_bad_flag_in_a_runs_folder_loses_nothing(runs, capsys):
    before = {p: p.read_bytes() for p in (runs / "vae").rglob("*") if p.is_file()}
    for more in (["--latent", "9"], ["--steps", "7"], ["--bta", "1"], ["--method", "ae"]):
        code, _, err = say(capsys, "train", "--run", runs / "vae", *flags(SMALL), *more)
        assert code == 2 and err.count("\n") == 1, err
    assert {p: p.read_bytes() for p in (runs / "vae").rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"latent": 16, "colour": 3}', '{"latent": 0}', "\0\0", '{"hyperparameters": null}']
)
def test_a_broken_config_json_is_named(damage, capsys, tmp_path):
    (tmp_path / "config.json").write_text(damage)
    code, _, err = say(capsys, "evaluate", tmp_path)
    assert code == 2 and err.count("\n") == 1 and ("config.json" in err or "latent 0" in err)


def test_too_much_at_once_is_one_line(runs, capsys):
    said = {"sample": "jaxae: count 10000000000000: the images take", "interpolate": "jaxae: not enough memory ("}
    for verb, flag in (("sample", "--count"), ("interpolate", "--steps")):
        code, out, err = say(capsys, verb, runs / "vae", flag, 10**13)
        assert (code, out) == (2, "") and err.startswith(said[verb]) and err.count("\n") == 1


def test_an_error_of_ours_is_no_lack_of_memory(monkeypatch):
    def broken(*_, **__):
        raise RuntimeError("a bug")

    monkeypatch.setattr(cli.cli, "main", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.status([])


def test_without_a_home_folder_nothing_is_kept_and_all_works(monkeypatch, capsys):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    for name in ("JAXAE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("jaxae.home.Path.home", homeless)
    assert say(capsys, "methods", "vae")[0] == 0
    code, _, err = say(capsys, "digest", "nowhere")
    assert code == 2 and err == "jaxae: nowhere: no run here (no config.json): `jaxae train --run nowhere` makes one\n"
    with pytest.raises(InputError, match="set JAXAE_CACHE"):
        home.cache()


def test_a_damaged_evaluation_is_set_aside_and_one_that_cannot_be_written_is_said(runs, capsys, tmp_path, monkeypatch):
    folder = tmp_path / "run"
    shutil.copytree(runs / "vae", folder)
    (folder / "evaluation.json").write_text('{"nll": 2')
    code, out, err = say(capsys, "evaluate", folder, "--samples", 2, "--json")
    assert code == 0 and "evaluation.json: not JSON" in err and "set aside as evaluation.json.damaged" in err
    assert json.loads(out)["nll"] == json.loads((folder / "evaluation.json").read_text())["nll"]
    assert (folder / "evaluation.json.damaged").read_text() == '{"nll": 2'

    def refused(*_, **__):
        raise OSError(*why, "a temporary file's name")

    monkeypatch.setattr("jaxae.files.write_json", refused)
    why = errno.EACCES, "Permission denied"
    code, again, err = say(capsys, "evaluate", folder, "--samples", 2, "--json")
    assert code == 0 and again == out and "evaluation.json is not written: Permission denied\n" in err
    why = errno.ENOSPC, "No space left on device"
    code, out, err = say(capsys, "evaluate", folder, "--samples", 2, "--json")
    assert (code, out) == (0, again) and "evaluation.json is not written: No space left on device\n" in err


def test_divergence_is_one_line_and_exit_1(capsys, tmp_path):
    wild = {**SMALL, "learning_rate": "1e30", "optimizer": "sgd"}
    words = ["train", "--run", tmp_path / "run", "--quiet", *flags(wild)]
    code, _, err = say(capsys, *words)
    assert code == 1 and err.count("\n") == 1
    assert "at step 2" in err


@pytest.mark.parametrize("name", ["record.json", "metrics.jsonl"])
def test_a_folder_in_place_of_a_runs_file_is_named_and_the_run_stays_finished(runs, capsys, name):
    finished = runs / "vae"
    kept = (finished / "outcome.json").read_bytes()
    (finished / name).rename(finished / f"{name}.mine")
    (finished / name).mkdir()
    try:
        code, _, err = say(capsys, "train", "--run", finished, "--quiet", *flags(SMALL))
    finally:
        (finished / name).rmdir()
        (finished / f"{name}.mine").rename(finished / name)
    assert (code, err) == (2, f"jaxae: {finished / name}: Is a directory\n")
    assert (finished / "outcome.json").read_bytes() == kept


@pytest.mark.slow
def test_one_test_example_has_no_error_over_examples(capsys, tmp_path):
    np.save(tmp_path / "few.npy", np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8))
    words = ["train", "--data", tmp_path / "few.npy", "--batch-size", 4, "--steps", 2, "--width", 8, "--samples", 2]
    code, out, _ = say(capsys, *words, "--run", tmp_path / "run", "--quiet", "--no-report")
    assert code == 0 and "importance samples)\n" in out and "(test examples)" not in out


@pytest.mark.slow
def test_what_overflows_on_the_test_split_is_said_and_kept(capsys, tmp_path):
    """The loss of the one step is finite; that of what it leads to is not."""
    wild = {**SMALL, "steps": 1, "learning_rate": 3}
    code, out, _ = say(capsys, "train", "--run", tmp_path / "run", "--quiet", *flags(wild))
    assert code == 0 and "ELBO           not finite nats" in out and (tmp_path / "run" / "report.html").is_file()
    kept = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert kept["nll"] is None and kept["notes"]["likelihood"][0].startswith("not finite: elbo")
    code, _, err = say(capsys, "score", tmp_path / "run", "--samples", 2)
    assert code == 0 and err.startswith("not finite, or not everywhere: ") and "elbo" in err


def test_help_and_refusals_load_no_jax():
    words = [
        "--help", "train --help", "train --beta x", "methods", "evaluate --help", "evaluate nowhere", "digest nowhere",
        "sample nowhere", "encode nowhere", "report nowhere", "compare nowhere", "sweep --run x --seeds 5:3",
        "sweep --run x --grid bata=1", "sweep --run x --grid beta=x", "evaluate nowhere --member seed=1",
    ]  # fmt: skip
    code = (
        f"import sys\nfrom jaxae import cli\nfor words in {words!r}:\n"
        "    cli.status(words.split())\n    assert 'jax' not in sys.modules, words"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=60)


@pytest.mark.slow
def test_the_command_of_an_evaluation_gives_its_numbers_again(tmp_path, capsys):
    """As a reader of the page would: but for a space of features of one's own, of which it has the name alone."""
    status = cli.status
    assert status(["train", "--run", str(tmp_path / "r"), "--no-report", *flags({**SMALL, "steps": 3})]) == 0
    brief = ["--ais-examples", "5", "--ais-steps", "3", "--ais-chains", "2", "--features", "pixels", "--drawn", "31"]
    asked = ["evaluate", str(tmp_path / "r"), "--metrics", "ais,samples", "--samples", "7", *brief]
    assert status(asked) == 0
    measured = RunFolder(tmp_path / "r").evaluation()
    lines = command.of_evaluation(tmp_path / "r", measured)
    assert len(lines) == 2, "the likelihood that closed the run is by another number of samples"
    assert status(["report", str(tmp_path / "r")]) == 0
    assert "\n".join(lines) in html.unescape((tmp_path / "r" / "report.html").read_text())
    (tmp_path / "r" / "evaluation.json").unlink()
    capsys.readouterr()
    for line in lines:
        verb, *words = shlex.split(line)
        assert verb == "jaxae" and status(words) == 0
    again = RunFolder(tmp_path / "r").evaluation()
    same = [name for name in measured if name.startswith(("ais", "bdmc", "frechet", "recall"))]
    assert len(same) > 10 and {name: again[name] for name in same} == {name: measured[name] for name in same}
