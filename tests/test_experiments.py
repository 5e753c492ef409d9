"""The experiments' own arithmetic: test_ledger and test_latent_continuity have theirs."""

import numpy as np
import pandas
import pytest

from experiments import benchmark, devices, disentanglement


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
    with pytest.raises(SystemExit, match="there is no folder"):
        experiment.main()
