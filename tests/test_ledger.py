"""The ledger's rows and tables, and the experiments' settings: what is claimed is what ledger.json says."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import burda2015, ledger, vampprior
from jaxae import Config, schedules
from jaxae.build import build
from jaxae.compare.statistics import t_interval

ROOT = Path(__file__).parents[1]


def row(setting, values, published=86.76, table="one layer", budget="cpu", provenance=ledger.READ):
    return {
        "table": table, "setting": setting, "seeds": len(values), "ours": float(np.mean(values)),
        "interval": list(t_interval(np.array(values))), "published": published, "provenance": provenance,
        "budget": budget, "wall_s": 90.0, "device": "a CPU", "command": "python it", "commit": "abc",
        "values": {str(seed): value for seed, value in enumerate(values)}, "active_units": 19.5,
    }  # fmt: skip


def test_a_row_takes_the_place_of_its_like(tmp_path):
    file = tmp_path / "ledger.json"
    one, other, again = row("VAE", [90.0, 91.0]), row("IWAE", [88.0, 89.0]), row("VAE", [80.0, 81.0])
    for each in (one, other, again):
        ledger.add(each, file)
    assert json.loads(file.read_text())["rows"] == [again, other]


def test_the_table_tells_misses_and_marks_what_was_only_recalled():
    text = ledger.tables([row("VAE", [90.0, 92.0]), row("old", [80.0], 88.56, provenance=ledger.RECALLED)])
    assert "| VAE | 91.00 (78.29 to 103.71) | 2 | +10.00 | 86.76 | +4.24 | 19.5 | 2 min |" in text
    assert "| old | 80.00 | 1 | – | 88.56 [recalled] | −8.56 |" in text


def test_neighbours_are_compared_over_their_common_seeds():
    rows = [row("flat", [9.0, 9.0, 9.0]), row("VAE", [90.0, 91.0, 92.0]), row("IWAE", [88.0, 89.1, 90.1])]
    text = ledger.tables(rows)
    assert "IWAE less VAE −1.93 (−2.08 to −1.79, n = 3)." in text and "VAE less flat" not in text


def test_iwae_is_compared_with_the_vae_of_as_many_samples_once():
    names = ("VAE k=1", "VAE k=5", "VAE k=50", "IWAE k=5", "IWAE k=50")
    rows = [row(name, [90.0 - n, 91.0 - n, 92.0 - n]) for n, name in enumerate(names)]
    text = ledger.tables(rows)
    assert "IWAE k=5 less VAE k=5 −2.00" in text and "IWAE k=50 less VAE k=50 −2.00" in text
    assert text.count("IWAE k=50 less IWAE k=5 ") == 1
    assert ledger.tables(rows[1::2]).count("less VAE k=5") == 0, "the first's column has it"


def test_every_setting_is_compared_with_the_first():
    text = ledger.tables([row("VAE", [90.0, 91.0, 92.0]), row("b", [0.0, 0.1, 0.0]), row("IWAE", [88.0, 89.1, 90.1])])
    assert "| IWAE | 89.07 (86.46 to 91.68) | 3 | −1.93 (−2.08 to −1.79, n = 3) |" in text


def test_settings_stand_in_the_papers_order_whenever_they_were_measured():
    text = ledger.tables([row("IWAE", [88.0, 89.1], 85.54), row("odd", [9.0], None), row("VAE", [90.0, 91.0], 86.47)])
    assert text.index("| VAE |") < text.index("| IWAE |") < text.index("| odd |")
    assert "| IWAE | 88.55 (81.56 to 95.54) | 2 | −1.95 (" in text


def test_two_layers_are_compared_with_the_same_setting_of_one():
    deep = {"table": ledger.DEEPER}
    rows = [row("VAE", [89.0, 89.2, 89.4]), row("VAE", [86.0, 86.4, 86.5], **deep), row("IWAE", [1.0, 2.0], **deep),
            row("VAE", [80.0, 80.1], budget="paper")]  # fmt: skip
    text = ledger.tables(rows)
    assert "VAE less VAE of one layer −2.90 (−3.15 to −2.65, n = 3)" in text  # 4.303 x 0.1 / sqrt(3) about it
    assert text.count("of one layer") == 1


def test_a_tables_budgets_stand_together_and_the_longest_first():
    cpu, other, gpu = row("VAE", [90.0]), row("VAE", [86.0], table="two layers"), row("VAE", [87.0], budget="gpu")
    text = ledger.tables([cpu, other, gpu])
    heads = ("**one layer**, budget `gpu`", "**one layer**, budget `cpu`", "**two layers**, budget `cpu`")
    assert text.index(heads[0]) < text.index(heads[1]) < text.index(heads[2])


def test_what_is_significant_by_itself_and_not_among_all_is_marked():
    """p of 0.03, 0.01 and 0.9: times three, two and one."""
    first = row("VAE", [90.0, 91.0, 92.0, 93.0], 90.0)
    noise = np.array([0.1, -0.1, 0.2, -0.2])
    others = [row(name, list(np.array(first_values(first)) - d + noise), p) for name, d, p in
              (("a", 0.35, 80.0), ("b", 0.5, 70.0), ("c", 0.01, 60.0))]  # fmt: skip
    text = ledger.tables([first, *others])
    lines = {line.split(" | ")[0]: line for line in text.splitlines() if line.startswith("| ")}
    assert "n = 4)°" in lines["| a"] and "n = 4) |" in lines["| b"] and "n = 4) |" in lines["| c"]


def first_values(row):
    return list(row["values"].values())


@pytest.mark.slow
def test_a_row_tells_the_commits_that_made_it_not_the_one_that_asks_again(tmp_path, monkeypatch):
    config = Config(steps=2, batch_size=100, width=8, latent=2, samples=4)
    settings, added = [ledger.Setting("t", "VAE", config, None, ledger.READ)], []
    monkeypatch.setattr(ledger, "add", added.append)
    for now in ("one", "two"):
        monkeypatch.setattr(ledger, "commit", lambda now=now: now)
        ledger.measure(settings, (0, 1), "cpu", tmp_path, "python it")
    first, again = added
    assert first["commit"] == "one" and again == first and first["nll_bias"] > 0


def test_tables_and_budgets_are_kept_apart():
    text = ledger.tables([row("VAE", [90.0, 91.0]), row("VAE", [86.0, 87.0], budget="paper")])
    assert "budget `cpu`" in text and "budget `paper`" in text and "Paired" not in text


@pytest.mark.slow
def test_the_pages_are_what_the_ledger_says():
    words = [sys.executable, "-m", "experiments.ledger", "--check"]
    found = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stdout + found.stderr


def test_every_row_has_the_names_that_scripts_rely_on():
    names = {
        "table", "setting", "seeds", "ours", "interval", "published", "provenance", "budget", "wall_s", "device",
        "command", "commit",
    }  # fmt: skip
    for each in json.loads((ROOT / "experiments" / "ledger.json").read_text())["rows"]:
        assert names <= set(each)
        values = np.array(list(each["values"].values()))
        assert each["ours"] == pytest.approx(values.mean())
        assert each["seeds"] == len(values) >= 3


def test_the_papers_schedule_is_the_papers():
    """Eight stages of 3^i passes, 3,280 in all."""
    rate = schedules.make(burda2015.stages(), total=3280, epoch=1)
    at = [sum(3**i for i in range(stage)) for stage in range(8)]
    expected = [1e-3, 7.2e-4, 5.2e-4, 3.7e-4, 2.7e-4, 1.9e-4, 1.4e-4, 1e-4]
    np.testing.assert_allclose([rate(step) for step in at], expected, rtol=1e-5)
    np.testing.assert_allclose([rate(step - 1) for step in at[1:]], expected[:-1], rtol=1e-5)
    assert sum(3**i for i in range(8)) == 3280


@pytest.mark.parametrize(
    ("module", "budget"), [(module, budget) for module in (burda2015, vampprior) for budget in module.SEEDS]
)
def test_settings_differ_in_what_they_are_about_and_share_the_budget(module, budget):
    settings = module.settings(budget)
    names = [(s.table, s.name) for s in settings]
    assert len(set(names)) == len(names)
    for setting in settings:
        assert setting.config.samples == 5000
        assert setting.published is not None
    steps = {s.config.steps for s in settings if "longer" not in s.table}
    assert len(steps) == 1 and len({s.config.optimizer for s in settings}) == 1


def test_the_two_layers_are_those_of_the_paper(digits):
    """Of each weight matrix: 784-200-200-100, 100-100-100-50 and back; here 64 pixels for 784."""
    two = {s.name: s.config for s in burda2015.settings("cpu") if s.table == "two layers"}
    config = two["IWAE k=50"]
    assert (config.hyperparameters["k"], config.hyperparameters["bound"]) == (50, "iwae")
    values = {**config.to_dict(), "data": "digits", "validation": None, "batch_size": 100, "steps": 1}
    setup = build(type(config)(**values), source=digits)
    params = setup.init().variables.params
    shapes = [leaf.shape for name in ("encoder", "up", "down", "decoder") for leaf in matrices(params[name])]
    assert shapes == [
        (64, 200), (200, 200), (200, 200), (100, 100), (100, 100), (100, 100),
        (50, 100), (100, 100), (100, 200), (100, 200), (200, 200), (200, 64),
    ]  # fmt: skip


def matrices(tree):
    import jax

    return [leaf for leaf in jax.tree.leaves(tree) if leaf.ndim == 2]


def test_seeds_that_diverged_are_told():
    assert "| 3, 2 more diverged |" in ledger.tables([{**row("VAE", [90.0, 91.0, 92.0]), "diverged": 2}])
