"""How `jaxae sweep` ends: with its table in any case, and with all that its members allow to be said of them."""

import re

import pytest

from jaxae import cli, run, sweep
from jaxae.cli.sweep import finish
from jaxae.compare import table
from jaxae.errors import Diverged
from jaxae.folder import SweepFolder
from jaxae.sweep import Swept
from tests import compared
from tests.runs import SMALL, Saying, flags, plan_of, say

NOTHING = compared.measures(20.0, nll=None, elbo=None, mse=None)


def ended(path):
    """(what was warned of) the sweep there, as its command ends."""
    progress, folder = Saying(), SweepFolder(path)
    try:
        finish(Swept(folder, table([path]), folder.plan()), progress, report=True)
    finally:
        assert folder.table.is_file()
    return [line for line in progress.said if line != "writing the report"]


@pytest.mark.parametrize(
    ("values", "diverged"),
    [
        ({(0, 1.0): 20.0, (0, 2.0): 21.0}, [(0, 1.0)]),
        ({(0, 1.0): NOTHING, (0, 2.0): 21.0}, []),
        ({(0, 1.0): 20.0, (0, 2.0): NOTHING}, []),
    ],
    ids=["the first diverged", "the first is not finite", "the last is not finite"],
)
@pytest.mark.slow
def test_a_setting_without_a_value_is_named_and_the_others_are_compared(tmp_path, values, diverged, capsys):
    path = compared.sweep(tmp_path / "s", values, diverged)
    assert not ended(path) and (path / "report.html").is_file()
    said = capsys.readouterr().out
    assert "not in its mean" in said and "report.html" in said and "table.csv" in said


def test_what_cannot_be_compared_is_a_warning(tmp_path, capsys):
    values = {(0, 1.0): 20.0, (0, 2.0): compared.measures(21.0, examples=39)}
    path = compared.sweep(tmp_path / "s", values)
    (warned,) = ended(path)
    assert warned.startswith("no comparison and no report: ") and "on different numbers of examples" in warned
    assert not (path / "report.html").exists() and "table.csv" in capsys.readouterr().out


def test_a_sweep_that_diverged_as_a_whole_is_as_a_run_that_did(tmp_path, capsys):
    values = {(0, 1.0): 20.0, (0, 2.0): 21.0}
    path = compared.sweep(tmp_path / "s", values, diverged=list(values))
    with pytest.raises(Diverged, match="all 2 members diverged: try a lower learning rate"):
        ended(path)
    assert "table.csv" in capsys.readouterr().out


@pytest.mark.slow
def test_the_command_that_diverges_ends_with_1(tmp_path, capsys):
    words = "sweep --seeds 0:2 --steps 5 --width 8 --latent 2 --learning-rate 1e30 --optimizer sgd --quiet"
    assert cli.status([*words.split(), "--run", str(tmp_path / "s")]) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("jaxae: all 2 members diverged")


@pytest.mark.slow
def test_what_closes_a_sweep_is_the_split_that_is_asked_for(tmp_path, capsys):
    """And of the test split nothing is measured, until somebody asks."""
    words = ["--grid", "beta=1,4", *flags({**SMALL, "steps": 4})]
    for split, files in (("none", set()), ("validation", {"evaluation.validation.json"})):
        assert say(capsys, "sweep", "--run", tmp_path / split, "--evaluate", split, *words)[0] == 0
        assert {file.name for file in (tmp_path / split).rglob("evaluation*.json")} == files
        assert (tmp_path / split / "report.html").is_file() == (split != "none")
    validation, page = tmp_path / "validation", tmp_path / "validation" / "report.html"
    assert "images of the validation split" in page.read_text().replace("\n", " ")
    assert set(table(validation, "validation")["split"]) == {"validation"}
    code, _, err = say(capsys, "compare", validation)
    assert code == 2 and "no evaluated runs" in err and "or another --split" in err
    before = page.read_bytes()
    assert say(capsys, "report", validation)[0] == 0 and page.read_bytes() == before
    chosen = say(capsys, "evaluate", validation, "--member", "seed=0,beta=4", "--samples", 2)
    assert chosen[0] == 0 and say(capsys, "report", validation)[0] == 0 and page.read_bytes() == before
    assert set(sweep.load(validation).table["split"]) == {"validation"}, "one that was chosen decides no page"
    assert say(capsys, "report", validation, "--split", "test")[0] == 0
    assert "images of the test split" in page.read_text().replace("\n", " ")
    none = tmp_path / "none"
    assert say(capsys, "evaluate", none, "--samples", 2, "--split", "validation")[0] == 0
    assert say(capsys, "report", none)[0] == 0 and set(sweep.load(none).table["split"]) == {"validation"}
    later = sweep.sweep(plan_of((0,), {"beta": (1.0, 4.0)}, steps=4, evaluate="validation"), none)
    assert set(later.table["split"]) == {"validation"} and later.table["nll"].notna().all()


@pytest.mark.slow
def test_what_closes_a_run_is_the_split_that_is_asked_for(tmp_path, capsys):
    words, ends = flags({**SMALL, "steps": 4}), {}
    for split in ("none", "validation", "test"):
        code, out, _ = say(capsys, "train", "--run", tmp_path / split, "--evaluate", split, *words)
        ends[split] = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in out.splitlines())
        assert code == 0
    assert ends["none"].keys() < ends["validation"].keys()
    assert {name for name in ends["validation"] if "NLL" in name} == {"validation NLL"}
    assert len({end["digest"] for end in ends.values()}) == 1
    measured = run.evaluate_run(run.load(tmp_path / "none"), "validation", 2)
    assert ends["validation"]["validation NLL"].startswith(f"{measured['nll']:.3f} ± ")
    assert "on the validation split" in (tmp_path / "validation" / "report.html").read_text()
    code, _, err = say(capsys, "report", tmp_path / "none", "--split", "validation")
    assert code == 2 and "not evaluated on validation: `jaxae evaluate" in err
    assert say(capsys, "report", tmp_path / "validation", "--split", "validation")[0] == 0
    again = say(capsys, "train", "--run", tmp_path / "none", *words)[1]
    assert f"{'test NLL':<20}{ends['test']['test NLL']}" in again, "the same run, measured now"
