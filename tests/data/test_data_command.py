import json

import pytest
from click.testing import CliRunner

from jaxae.cli.data import data
from jaxae.errors import InputError


def invoke(*args):
    """Standard output of the command; its errors are raised."""
    done = CliRunner().invoke(data, args, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_list_tells_what_is_ready(prepared):
    lines = {line.split()[0]: line for line in invoke("list").splitlines() if line}
    assert " ready " in lines["mnist"]
    assert " to prepare " in lines["cifar10"]
    entries = json.loads(invoke("list", "--json"))
    assert entries["digits"] == {"about": entries["digits"]["about"], "ready": True}
    assert entries["cifar10"]["ready"] is False


def test_describe_as_json_and_as_text(prepared):
    facts = json.loads(invoke("describe", "mnist", "--json"))
    assert facts["shape"] == [28, 28, 1]
    assert facts["sizes"] == {"train": 50, "validation": 10, "test": 24}
    assert facts["labels"] is True
    assert facts["classes"] == list("0123456789")
    assert facts["factors"] == []
    assert len(facts["digest"]) == 64
    text = invoke("describe", "mnist")
    assert "28 x 28 x 1" in text
    assert "train 50, validation 10, test 24" in text
    assert facts["digest"] in text
    other = json.loads(invoke("describe", "mnist", "--json", "--validation", "7"))
    assert other["sizes"] == {"train": 53, "validation": 7, "test": 24}
    assert other["digest"] != facts["digest"]


def test_prepare_says_where(downloads, trusted, tmp_path):
    out = invoke("prepare", "mnist", "--from", str(downloads), "--data-dir", str(tmp_path))
    assert out == f"mnist is ready in {tmp_path / 'mnist' / '3.0.1'}\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("describe", "digist"), "did you mean 'digits'"),
        (("describe", "nothing.npy"), "nothing.npy: no such file"),
        (("prepare", "minst"), "did you mean 'mnist'"),
    ],
)
def test_errors_are_input_errors(args, message):
    with pytest.raises(InputError, match=message):
        invoke(*args)
