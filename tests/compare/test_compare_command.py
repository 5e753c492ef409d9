"""`jaxae compare` as it is typed."""

import json

import pandas
import pytest
from rich.console import Console

from jaxae import cli, compare
from jaxae.cli.compare import show
from jaxae.compare import rows
from jaxae.errors import InputError
from tests import compared


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    values = {key: nll for key, nll in compared.GRID.items() if key[1] < 4}
    return compared.sweep(tmp_path_factory.mktemp("command") / "s", values, diverged=[(1, 2.0)], untrained=[(4, 2.0)])


def test_tables_with_n_and_what_was_left_out(where, capsys):
    assert cli.status(["compare", str(where)]) == 0
    said = capsys.readouterr().out
    for expected in (
        "negative log-likelihood (nats, lower is better)", "beta=2 − beta=1", "against beta=1",
        "Holm's correction over 1 test", "95 % interval",
        "beta=2: 1 seed diverged: 1; not in its mean, which may look better for it",
        "beta=2: 1 seed missing (not trained, not evaluated, or without the measure): 4; not in its mean",
        "P(better)", "seeds needed",
    ):  # fmt: skip
        assert expected in said, expected
    row = next(line for line in said.splitlines() if line.startswith(" beta=2 "))
    assert row.split()[1] == "3"
    assert "each against each" not in said


def test_json_and_csv(where, tmp_path, capsys):
    out = tmp_path / "runs.csv"
    assert cli.status(["compare", str(where), "--json", "--measure", "elbo", "--level", "0.9", "--csv", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measure"] == "elbo" and found["level"] == 0.9 and found["settings"][1]["diverged"] == [1]
    assert found["settings"][0]["summary"]["n"] == 5 and found["against"][0]["difference"]["n"] == 3
    frame = pandas.read_csv(out)
    assert len(frame) == 10 and frame["nll"].count() == 8


def test_a_page(where, tmp_path, capsys):
    out = tmp_path / "c.html"
    assert cli.status(["compare", str(where), "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out and "by beta" in out.read_text()


def test_a_setting_that_lost_seeds_may_look_better_only_where_it_has_others(tmp_path, capsys):
    lost = compared.measures(20.0, nll=None, notes={"likelihood": ["not finite: nll"]})
    values = {(0, 1.0): lost, (1, 1.0): 19.0, (0, 2.0): 21.0, (1, 2.0): 18.0, (0, 4.0): lost, (1, 4.0): 1.0}
    where = compared.sweep(tmp_path / "s", values, diverged=[(1, 4.0)])
    assert cli.status(["compare", str(where), "--measure", "nll"]) == 0
    said = capsys.readouterr().out
    assert "beta=1: 1 seed not finite: 0; not in its mean, which may look better for it" in said
    assert "beta=4: 1 seed not finite: 0; not in its mean\n" in said
    assert cli.status(["compare", str(where), "--measure", "kl"]) == 0
    assert "beta=4: 1 seed diverged: 1; not in its mean\n" in capsys.readouterr().out


def test_the_errors_of_runs_are_by_the_draws_or_by_the_choice_of_images(tmp_path):
    known = compared.measures(20.0, frechet=1.5, frechet_se=0.25, settings={"samples": {"feature_space": "pixels"}})
    place, out = compared.run(tmp_path / "r", 0, known), tmp_path / "p.html"
    for measure, said in (
        ("frechet", "±: standard error by the choice of images"), ("nll", "±: Monte Carlo standard error")
    ):  # fmt: skip
        assert cli.status(["compare", str(place), "--measure", measure, "--out", str(out)]) == 0
        assert said in out.read_text()
    assert rows.run_rows(compare.table(place), "frechet")[0]["error"] == "0.25"


def test_the_page_has_every_caveat_that_the_command_says(tmp_path, capsys):
    bare = compared.measures(20.0, nll=None, elbo=None, kl=None, samples=None)
    paths = [
        compared.run(tmp_path / "a", 0, bare, method="ae", binarize="dynamic", likelihood="bernoulli"),
        compared.run(tmp_path / "b", 0, 20.0),
    ]
    assert cli.status(["compare", *map(str, paths), "--out", str(tmp_path / "c.html")]) == 0
    said, page = capsys.readouterr().out, (tmp_path / "c.html").read_text()
    caveats = compare.compare(compare.table(paths)).caveats
    assert [caveat[:11] for caveat in caveats[:2]] == ["not by nll:", "not by elbo"]
    assert all(caveat in said and caveat[1:] in page for caveat in caveats)


def test_only_the_runs_of_a_setting(where, tmp_path, capsys):
    out, csv = tmp_path / "c.html", tmp_path / "c.csv"
    words = ["compare", str(where), "--where", "beta=2", "--where", "learning-rate=1e-3"]
    assert cli.status([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (setting,) = found["settings"]
    assert setting["diverged"] == [1] and setting["missing"] == [4] and setting["summary"]["n"] == 3
    whole = {s.label: s for s in compare.compare(compare.table(where)).settings}
    assert setting["summary"]["mean"] == whole["beta=2"].summary.mean
    assert cli.status([*words, "--out", str(out), "--csv", str(csv)]) == 0
    assert "of those with beta=2, learning_rate=1e-3" in out.read_text() and len(pandas.read_csv(csv)) == 5
    capsys.readouterr()
    for wrong, said in (
        ("beta=3", "where beta=3: no run has it: expected one of 1, 2"),
        ("betta=1", "unknown setting of where 'betta': did you mean 'beta'?"),
        ("beta", "where 'beta': expected a setting such as data=mnist"),
        ("learning-rate=1", "where learning-rate=1: learning_rate is there already: expected each setting once"),
    ):
        assert cli.status(["compare", str(where), "--where", "learning-rate=1e-3", "--where", wrong]) == 2
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


def test_only_runs_that_are_asked_for_must_be_evaluated(where, tmp_path):
    lone = compared.run(tmp_path / "lone", 9, beta=8.0)
    with pytest.raises(InputError, match="lone: not evaluated yet"):
        compare.table([where, lone])
    assert len(compare.table([where, lone], where={"beta": 1})) == 5
    with pytest.raises(InputError, match="expected settings by their names"):
        compare.table([where], where="beta=1")


def test_runs_of_other_data_are_compared_apart(tmp_path):
    places = []
    for data in ("digits", "mnist"):
        of = {**compared.DATA, "name": data, "sha256": data[0] * 64}
        places += [
            compared.run(
                tmp_path / f"{data}-{seed}-{beta}", seed, 80.0 + seed + beta, data=of, config_data=data, beta=beta
            )
            for seed in (0, 1)
            for beta in (1.0, 4.0)
        ]
    with pytest.raises(InputError, match="trained and evaluated on different data"):
        compare.compare(compare.table(places), "nll")
    found = compare.compare(compare.table(places, where={"data": "mnist"}), "nll")
    assert [(s.label, s.summary.mean) for s in found.settings] == [("beta=1", 81.5), ("beta=4", 84.5)]


def test_no_number_is_cut_in_a_narrow_terminal(tmp_path, monkeypatch, capsys):
    place = compared.sweep(tmp_path / "s", compared.GRID)
    found = compare.compare(compare.table(place))

    class Narrow(Console):
        def __init__(self, **options):
            super().__init__(**{"width": 40, **options}, force_terminal=True, color_system=None)

    monkeypatch.setattr("rich.console.Console", Narrow)
    show(found)
    out = capsys.readouterr().out
    assert "…" not in out
    for row in rows.setting_rows(found):
        assert row["interval"] in out and row["label"] in out and row["iqm"] in out
    assert "seeds needed" in out and out.count("IQM") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--measure", "nnll"], "unknown measure 'nnll': did you mean 'nll'"),
        (["--baseline", "beta=9"], "baseline 'beta=9': no run has it"),
        (["--level", "1"], "level 1.0: expected a share between 0 and 1"),
        (["--out", "c.pdf"], "c.pdf: expected a name that ends in .html"),
        (["--csv", "nowhere/c.csv"], "there is no folder nowhere"),
        (["nowhere"], "nowhere: no run here"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(where, words, message, capsys):
    assert cli.status(["compare", str(where), *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_no_runs_at_all(capsys):
    assert cli.status(["compare"]) == 2
    assert "RUN_OR_SWEEP" in capsys.readouterr().err
