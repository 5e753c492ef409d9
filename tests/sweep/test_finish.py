"""How `jaxae sweep` ends: with its table in any case, and with all that its members allow to be said of them."""

import pytest

from jaxae import cli
from jaxae.cli.sweep import finish
from jaxae.compare import table
from jaxae.errors import Diverged
from jaxae.folder import SweepFolder
from jaxae.sweep import Swept
from tests import compared
from tests.runs import Saying

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
