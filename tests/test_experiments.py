"""The experiments' own arithmetic: test_ledger and test_latent_continuity have theirs."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest

from experiments import benchmark, devices, disentanglement, ledger, methods, promises
from jaxae import cli
from jaxae.errors import InputError


def test_a_seed_that_diverged_leaves_the_others_their_scores():
    seeds = (0, 1, 2, 3)
    rows = [
        {"name": name, "seed": seed, **dict.fromkeys((*disentanglement.SCORES, "elbo"), 0.1 * n + 0.01 * seed**2)}
        for n, name in enumerate(disentanglement.METHODS)
        for seed in seeds
    ]
    frame = pandas.DataFrame(rows)
    lost = "FactorVAE, gamma = 30"
    frame.loc[(frame["name"] == lost) & (frame["seed"] == 1), list(disentanglement.SCORES)] = np.nan
    of = disentanglement.summary(frame)["mig"]
    assert of[lost]["n"] == 3 and of["VAE"]["n"] == 4
    assert of[lost]["mean"] == pytest.approx(0.3 + 0.01 * (0 + 4 + 9) / 3)
    assert of[lost]["difference"] == pytest.approx(0.3), "paired over the seeds that both have"
    about = {"about": "", "budget": "cpu", "command": "", "scores": disentanglement.summary(frame)}
    assert ", n = 3" in disentanglement.page(about)


@pytest.mark.parametrize("experiment", [benchmark, devices])
def test_a_place_that_cannot_be_written_is_told_before_anything_is_measured(experiment, tmp_path, monkeypatch):
    monkeypatch.setattr("sys.argv", [experiment.__name__, "--json", f"{tmp_path}/none/rows.json"])
    with pytest.raises(InputError, match="there is no folder"):
        experiment.main()


def test_rows_of_two_machines_stand_in_two_files(tmp_path):
    here = {"device": "a CPU", "jax": "0.10.2"}
    ledger.one_machine(tmp_path / "new.json", {}, **here)
    ledger.one_machine(tmp_path / "kept.json", {"device": "a CPU", "rows": []}, **here)
    with pytest.raises(InputError, match=r"kept\.json: its rows are of jax 0\.9, here is 0\.10\.2"):
        ledger.one_machine(tmp_path / "kept.json", {"device": "a CPU", "jax": "0.9"}, **here)


def test_a_file_of_another_machine_is_told_before_anything_is_measured(tmp_path, monkeypatch):
    file = tmp_path / "rows.json"
    file.write_text('{"device": "an abacus", "rows": []}')
    monkeypatch.setattr("sys.argv", ["benchmark", "--work", "nll", "--json", str(file)])
    with pytest.raises(InputError, match="its rows are of device an abacus"):
        benchmark.main()
    assert json.loads(file.read_text())["device"] == "an abacus"


@pytest.mark.parametrize(
    ("experiment", "words", "said"),
    [
        (benchmark, ["--rounds", "0"], "rounds 0"),
        (benchmark, ["--seconds", "0"], "seconds 0"),
        (devices, ["--methods", "vea", "--json", "x.json"], "did you mean 'vae'"),
        (devices, ["--jobs", "0", "--json", "x.json"], "jobs 0"),
        (promises, ["--repeats", "0"], "repeats 0"),
    ],
)
def test_what_cannot_be_measured_is_told(experiment, words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [experiment.__name__, *words])
    with pytest.raises(InputError, match=said):
        experiment.main()


@pytest.mark.parametrize("words", [["--pages"], ["--page"]])
def test_a_page_of_no_rows_is_refused(words, tmp_path, monkeypatch, capsys):
    experiment = {"--pages": benchmark, "--page": devices}[words[0]]
    monkeypatch.setattr("sys.argv", [experiment.__name__, *words, "--json", str(tmp_path / "none.json")])
    assert cli.ended(experiment.main) == 2
    assert capsys.readouterr().err == f"jaxae: {tmp_path}/none.json: No such file or directory\n"


def test_the_pages_are_what_the_code_makes_of_their_figures():
    here = Path(methods.__file__).parent
    made = {
        "methods.md": methods.whole_page(here / "methods.json"),
        "devices_h100.md": devices.page(json.loads((here / "devices_h100.json").read_text())),
        "disentanglement.md": disentanglement.page(json.loads((here / "disentanglement.json").read_text())),
    }
    assert [name for name, text in made.items() if text != (here / name).read_text()] == []
