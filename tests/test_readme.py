"""What the README shows must run as it stands there."""

import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from jaxae import cli

pytestmark = pytest.mark.optimised

README = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_the_python_of_the_readme_runs(block, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names: dict = {"__name__": "readme"}
    exec(compile(block, "README.md", "exec"), names)
    if "swept" in names:
        assert list(names["swept"].table["outcome"]) == ["finished"] * 6
        assert names["states"].step.tolist() == [200] * 6
    elif "trained" in names:
        assert names["trained"].step == 500
    elif "metrics" in names:
        assert int(names["state"].step) == 20 and 0 < float(names["metrics"]["loss"]) < 45
    else:  # a method or measure of one's own: tests/test_own.py and tests/evaluate/test_own_measures.py run them
        assert callable(names.get("mine") or names["sharpness"])
    assert names.get("measures", {"nll": 20})["nll"] < 30


def test_every_command_of_the_readme_exists():
    verbs = re.findall(r"^(?:\S*/)?jaxae (\w+)", README, re.MULTILINE)
    assert {"train", "evaluate", "sample", "digest", "data"} <= set(verbs)
    for verb in verbs:
        assert CliRunner().invoke(cli.cli, [verb, "--help"]).exit_code == 0
    rows = re.findall(r"^\| (`.*?) \|", README, re.MULTILINE)
    named = {verb for row in rows for verb in re.findall(r"`(\w+)`", row)}
    assert named >= set(cli.VERBS)


def test_every_file_the_readme_names_is_there():
    here = Path(__file__).parent.parent
    for name in re.findall(r"(?:\(|`)(experiments/[\w/.]+)(?:\)|`)", README):
        assert (here / name).is_file(), name
