"""The page of a comparison: whole, offline, the same to the byte, and no number without its n."""

import html as html_module
import re

import pandas
import pytest

from jaxae import cli
from jaxae.compare import contrast, rows, table
from jaxae.compare.varied import Group
from jaxae.config import Config
from jaxae.files import write_json
from jaxae.report import contrasts, origin, trajectories, write_comparison
from tests import compared
from tests.test_report import Page


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    return compared.sweep(
        tmp_path_factory.mktemp("page") / "s", compared.GRID, diverged=[(1, 4.0)], untrained=[(2, 2.0)],
        command="jaxae sweep --beta 1,2,4 --seeds 5",
    )  # fmt: skip


def page_of(paths, out, **asked):
    text = write_comparison(paths, out, **asked).read_text()
    page = Page(text)
    assert text.startswith("<!doctype html>") or text.lstrip().startswith("<!doctype html>")
    assert "None" not in page.text and "Undefined" not in text and "nan" not in page.text.split()
    drawings = [each for each in page.all("svg") if "aria-hidden" not in each]
    assert drawings and all(each["role"] == "img" and each["aria-label"] for each in drawings)
    for what in ("Figure", "Table"):
        numbers = [int(n) for n in re.findall(rf"<b>{what} (\d+)\.</b>", text)]
        assert numbers == list(range(1, len(numbers) + 1))
    assert re.findall(r'class="n">(\d)', text) == [str(i + 1) for i in range(text.count("<h2"))]
    headings = {attrs["id"] for attrs in page.all("h2")}
    assert {link["href"][1:] for link in page.all("a")} == headings
    assert "://" not in text and "@import" not in text and not page.all("script") and not page.all("link")
    return page, text


@pytest.fixture(scope="module")
def page(sweep, tmp_path_factory):
    return page_of([sweep], tmp_path_factory.mktemp("out") / "c.html")


@pytest.mark.slow
def test_written_twice_it_is_the_same(sweep, page, tmp_path):
    assert page_of([sweep], tmp_path / "again.html")[1] == page[1]
    assert page_of(sweep, tmp_path / "a folder" / "of one path.html")[1] == page[1]


@pytest.mark.slow
def test_a_sweep_in_the_home_folder_may_be_named_by_a_tilde(sweep, page, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(sweep.parent))
    assert cli.status(["report", "~/s"]) == 0
    assert capsys.readouterr().out == f"{sweep / 'report.html'}\n"
    assert (sweep / "report.html").read_text() == page[1]
    assert cli.status(["compare", "~/s", "--csv", "~/t.csv", "--out=~/c.html"]) == 0
    assert (sweep.parent / "c.html").is_file()
    assert str(sweep / "members" / "seed=0,beta=1") in (sweep.parent / "t.csv").read_text()


def test_what_was_compared_and_what_is_not_in_it(page):
    text = page[0].text
    for expected in (
        "vae on digits, by beta", "15 runs of 3 settings, seeds 0 to 4 ; 13 of them have measures",
        "1 run diverged", "seed=1,beta=4 at step 7", "1 run is missing: seed=2,beta=2 (not trained)",
        "All of them saw the data in the same order", "jaxae sweep --beta 1,2,4 --seeds 5",
        "on the same 40 images of the test split, with 64 importance samples", "d" * 64,
        "(seeds 0 and 2 to 4; 1 diverged)", "Holm's correction over 2 tests", "Holm's correction over 3 tests",
        "Monte Carlo standard error of at most 0.02", "Rate and distortion",
    ):  # fmt: skip
        assert expected.replace(" ;", ";") in text.replace(" ;", ";"), expected
    assert len(re.findall(r"jaxae train --run", page[1])) == 14


def test_every_setting_in_a_figure_has_its_n(page):
    ticks = [words for words in page[0].words if re.fullmatch(r"\(n = \d\)", words.strip())]
    assert [ticks.count(f"(n = {n})") > 0 for n in (5, 4)] == [True, True]
    assert re.search(r"beta=2\s+\(n = 4\)", page[0].text)


def test_curves_are_told_apart_by_their_dashes_too(page):
    curves = page[1].partition('id="curves"')[2]
    legend = dict(re.findall(r'stroke="(#\w+)" stroke-dasharray="([\d. none]+)"', curves))
    assert list(legend.values()) == ["none", "5 2", "1.2 1.6"]
    drawn = re.findall(r'style="fill: none; ([^"]*)stroke: (#\w+)', curves)
    assert {colour for _, colour in drawn} == set(legend)
    for dash, colour in drawn:
        assert ("stroke-dasharray" in dash) == (legend[colour] != "none")


def test_the_numbers_are_those_of_compare(sweep, page):
    found = contrast.compare(table([sweep]))
    for setting in found.settings:
        s = setting.summary
        assert f"{s.n} {s.mean:.2f} {s.low:.2f} to {s.high:.2f} {s.sd:.2f} {s.median:.2f} {s.iqm:.2f}" in page[0].text
    assert "The lowest mean negative log-likelihood is that of beta=1" in page[0].text


@pytest.mark.slow
def test_the_order_of_the_paths_of_numbered_settings_changes_no_number(tmp_path):
    runs = [
        compared.run(tmp_path / f"{beta}-{seed}", seed, 20.0 + beta + seed, beta=beta)
        for beta in (1.0, 2.0)
        for seed in (0, 1)
    ]
    forth, back = (page_of(paths, tmp_path / "c.html")[0].text for paths in (runs, runs[::-1]))
    assert forth.partition("Every run")[0] == back.partition("Every run")[0]


def variants(at):
    ae = compared.measures(20.0, nll=None, elbo=None, kl=None, samples=None)
    none = [compared.run(at / f"n{i}", i, 20.0, curve=False) for i in range(2)]
    methods = [
        compared.run(at / f"{m}{i}", i, ae if m == "ae" else 20.0 + i, method=m, binarize="none")
        for m in ("ae", "vae")
        for i in range(3)
    ]
    many = [compared.run(at / f"m{i}", i % 2, 20.0 + i % 5, latent=2 + i // 2) for i in range(28)]
    words = [
        compared.run(at / f"w{i}{b}", i, 20.0 + i, beta=b, latent=latent)
        for i in range(2)
        for b, latent in (("linear(0, 1, 20e)", 4), ("linear(0, 2, 20e)", 4), ("1", 8))
    ]
    plenty = [compared.run(at / f"p{i}", i, 20.0 + i % 7, beta=1.0 + i // 9) for i in range(18)]
    alike = [compared.run(at / f"a{b}{i}", i, 20.0, beta=b) for b in (1.0, 3.0) for i in range(2)]
    return {"one setting": none, "methods": methods, "many": many, "words": words, "plenty": plenty, "alike": alike}


@pytest.mark.slow
def test_a_page_for_every_kind_of_comparison(tmp_path):
    found = {name: page_of(paths, tmp_path / "c.html") for name, paths in variants(tmp_path).items()}
    one, _ = found["one setting"]
    assert "Differences" not in one.text and "Learning curves" not in one.text and "2 runs of 1 setting" in one.text
    assert "mean squared error" in found["methods"][0].text and "method=ae" in found["methods"][0].text
    assert "each against each" not in found["many"][0].text and "latent=15" in found["many"][0].text
    assert "beta=linear(0, 1, 20e)" in html_module.unescape(found["words"][0].text)
    assert "no seed in common" in found["plenty"][0].text and "IQM's interval" in found["plenty"][0].text
    assert "of each against each" not in found["alike"][0].text


def test_names_from_outside_are_text_not_markup(tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=y>".replace("/", "\u2215")
    data = {**compared.DATA, "name": evil}
    paths = [compared.run(tmp_path / evil / f"{i}", i, 20.0, beta=1.0 + i % 2, data=data) for i in range(2)]
    page, _ = page_of(paths, tmp_path / "c.html")
    assert not page.all("img") and evil in page.text


def test_a_run_without_the_measure_is_named_on_the_page(tmp_path):
    nothing = compared.measures(20.0, nll=None, elbo=None, mse=None)
    where = compared.sweep(tmp_path / "s", {(0, 1.0): nothing, (0, 2.0): 21.0, (1, 2.0): 22.0})
    text = page_of([where], tmp_path / "c.html")[0].text
    assert "1 run is missing: seed=0,beta=1 (without the measure)" in text and "2 of them have measures" in text


def test_means_over_other_seeds_are_said_to_be(tmp_path):
    lost = compared.measures(20.0, nll=None, notes={"likelihood": ["not finite: nll"]})
    where = compared.sweep(tmp_path / "s", {(0, 1.0): lost, (1, 1.0): 19.0, (0, 2.0): 21.0, (1, 2.0): 18.0})
    text = page_of([where], tmp_path / "c.html", measure="nll")[0].text
    assert "1 run whose value is not finite is in no mean" in text and "seed=0,beta=1." in text
    assert (
        re.search(r"seed=0,beta=1 0 not finite 10 – ", text)
        and "may look better than it is" in text
        and "beta=1 (seed 1; 1 not finite)" in text
    )
    assert "is that of beta=1 : 19.0" in text and "means are over different seeds" in text


@pytest.mark.slow
def test_settings_that_are_level_win_together_or_none_does(tmp_path):
    values = {(seed, beta): 20.0 + (beta == 4) for seed in (0, 1) for beta in (1.0, 2.0, 4.0)}
    text = page_of([compared.sweep(tmp_path / "s", values)], tmp_path / "c.html")[0].text
    assert "is that of beta=1 and of beta=2 : 20.000 nats each. Whether" in text and "different seeds" not in text
    nearly = {(0, 1.0): 20.1, (1, 1.0): 20.1, (2, 1.0): 20.2, (0, 2.0): 20.1, (1, 2.0): 20.2, (2, 2.0): 20.1}
    nearly |= {(seed, 4.0): 30.0 for seed in range(3)}
    text = page_of([compared.sweep(tmp_path / "u", nearly)], tmp_path / "e.html")[0].text
    assert "is that of beta=1 and of beta=2 :" in text, "but for rounding"
    text = page_of([compared.sweep(tmp_path / "v", nearly)], tmp_path / "f.html", measure="elbo")[0].text
    assert "The highest mean ELBO is that of beta=1 and of beta=2 :" in text
    level = dict.fromkeys(values, 20.0)
    text = page_of([compared.sweep(tmp_path / "t", level)], tmp_path / "d.html")[0].text
    assert "is that of" not in text


@pytest.mark.parametrize(("order", "shared"), [(None, False), (0, False), (7, False), (None, True)])
def test_an_order_of_the_data_that_all_seeds_share_is_said(tmp_path, order, shared):
    base = Config(steps=10, order_seed=order).to_dict()
    where = compared.sweep(tmp_path / "s", {(0, 1.0): 20.0, (1, 1.0): 21.0}, base=base, shared_batches=shared)
    text = page_of([where], tmp_path / "c.html")[0].text
    assert ("Each seed had its own order" in text) != (order is not None or shared)
    assert ("is in none of the intervals" in text) == (order is not None or shared)


LONG = ("cosine(1, 0.1, 50%)", "linear(0, 1, 50%)")


def test_what_measures_more_than_training_does_is_told(tmp_path):
    whole = compared.measures(20.0, settings={"likelihood": {}, "probes": {}}, split="test", samples=64)
    folder = compared.run(tmp_path / "a run", 0, whole)
    (command,) = origin.measured_by([folder], "test")
    assert command == f"jaxae evaluate '{folder}' --metrics likelihood,probes --samples 64"
    assert command in html_module.unescape(page_of([folder], tmp_path / "c.html")[1])
    assert origin.measured_by([compared.run(tmp_path / "r", 0, 20.0)], "validation") == []


def test_why_two_settings_have_no_difference(tmp_path):
    gone = {"outcome": "diverged", "step": 3}
    runs = [compared.run(tmp_path / "a", 0, 20.0, beta=1), compared.run(tmp_path / "b", 1, 21.0, beta=2)]
    words = "has no seed in common with a value of both, so no difference"
    assert f"{words}: train both on the same seeds." in page_of(runs, tmp_path / "c.html")[0].text
    runs += [compared.run(tmp_path / "c", 0, 20.0, gone, beta=2)]
    assert f"{words}." in page_of(runs, tmp_path / "d.html")[0].text


def test_long_names_are_wrapped_and_said_once(tmp_path):
    """Against the baseline a row needs its own setting's name alone: the title has the other's."""
    runs = [
        compared.run(tmp_path / f"{beta}{rate}{seed}", seed, 20.0 + seed, beta=beta, learning_rate=rate)
        for beta in LONG
        for rate in ("warmup_cosine(1e-3, 5%)", 0.001)
        for seed in (0, 1)
    ]
    text = page_of(runs, tmp_path / "c.html")[1]
    drawn = [" ".join(line.split()) for line in re.findall(r"<text[^>]*>([^<]*)</text>", text)]
    drawn += re.findall(r"<tspan[^>]*>([^<]*)</tspan>", text)
    assert max(map(len, drawn)) <= 45 and not any("−" in line and "beta" in line for line in drawn)
    first = text.partition("Differences against")[2].partition("</table>")[0]
    assert "−" not in "".join(re.findall(r'<th scope="row" class="setting">(.*?)</th>', first))
    second = text.partition("Differences of each against each")[2].partition("</table>")[0]
    assert second.count("− ") >= 6


def test_a_dollar_in_a_setting_is_a_dollar(sweep):
    (pair, _) = contrast.compare(table([sweep])).against
    assert "data=a$b$_{" in contrasts.differences([pair._replace(setting="data=a$b$_{")], "difference in x$y$^", "alt")


def places(*values):
    return contrasts.axis_of([contrast.Setting(f"b={v}", {"b": v}, (), (), None, (), ()) for v in values])


def test_a_geometric_grid_has_a_logarithmic_axis():
    assert places(0.25, 1, 4).label == "b, logarithmic" and places(1, 2, 5, 10).label == "b, logarithmic"
    assert places(2, 4, 6).label == "b" and places(0, 1, 2).label == "b"
    assert places(0, 0.001, 10) is None and places("a", "b", "c") is None and places(1, 2) is None


def test_rate_against_distortion_only_where_beta_differs(sweep):
    frame = table([sweep])
    assert trajectories.has_plane(frame, ["beta"]) and not trajectories.has_plane(frame, ["latent"])
    assert not trajectories.has_plane(frame.assign(kl=None), ["beta"])


def test_lines_join_settings_that_differ_in_beta_alone_in_its_order():
    values = [{"beta": 4.0, "latent": 2}, {"beta": 1, "latent": 2}, {"beta": 1, "latent": 8}, {"latent": 2}]
    groups = [Group(str(number), of, pandas.DataFrame()) for number, of in enumerate(values)]
    assert [[group.label for group in line] for line in trajectories.lines(groups)] == [["1", "0"]]


def test_measures_that_may_not_be_compared_are_marked_and_drawn_in_no_plane(tmp_path):
    kinds = {"bernoulli": 27.0, "gaussian": 128.0}
    runs = [
        compared.run(
            tmp_path / f"{name}-{beta}", 0, compared.measures(nll + beta), beta=beta, likelihood=name, binarize="none"
        )
        for name, nll in kinds.items()
        for beta in (1.0, 4.0)
    ]
    text = page_of(runs, tmp_path / "c.html", measure="mse")[0].text
    assert "negative log-likelihood (not to be compared: of likelihoods whose 'nll' counts different things" in text
    assert "KL divergence (not" not in text and "Rate and distortion" not in text
    assert "no curve of one may be compared with one of another" in text and "between them too" not in text


def test_a_setting_measured_in_two_ways_has_no_mean(tmp_path):
    of = [compared.measures(20.0 + n, samples=samples) for n, samples in enumerate((64, 64, 5000))]
    runs = [compared.run(tmp_path / str(seed), seed, measures) for seed, measures in enumerate(of)]
    found = rows.other_measures(table(runs))
    cells = {name: cell["mean"] for (name, _, _), cell in zip(found["names"], found["rows"][0]["cells"])}
    assert cells["nll"] == "–" and cells["mse"] != "–"
    why = {name: apart for name, _, apart in found["names"]}
    assert "(64 and 5000)" in why["nll"] and why["mse"] is None


def test_pairs_have_the_digits_of_their_own_scatter(tmp_path):
    nll = {
        (seed, beta): 500 + 40 * seed + (beta - 1) * (0.3 + 0.03 * (seed % 2))
        for seed in range(4)
        for beta in (1.0, 2.0)
    }
    text = page_of([compared.sweep(tmp_path / "s", nll)], tmp_path / "c.html")[0].text
    assert re.search(r"beta=2 4 \+0\.315 \+0\.287 to \+0\.343", text)


def test_one_seed_of_small_values_shows_its_digits(tmp_path):
    nll = {(0, beta): 0.031 * beta for beta in (1.0, 2.0)}
    text = page_of([compared.sweep(tmp_path / "s", nll)], tmp_path / "c.html", measure="mse")[0].text
    assert "0.000310 a dimension ( n = 1 , no interval)" in text


def test_it_says_of_how_many_images_a_measure_is(tmp_path):
    settings = {"ais": {"examples": 7, "chains": 4, "steps": 30}, "probes": {"examples": 11, "fitted": 20}}
    for seed in range(3):
        kept = compared.measures(20.0 + seed, ais_nll=21.0 + seed, linear_probe=0.5, settings=settings)
        compared.run(tmp_path / str(seed), seed, kept)
    paths = [tmp_path / str(seed) for seed in range(3)]
    _, text = page_of(paths, tmp_path / "a.html", measure="ais_nll")
    said = " ".join(re.sub(r"<[^>]*>", "", text).split())
    assert "measured on the same 7 images of the test split" in said
    assert "Annealing: 7 examples, 4 chains, 30 steps." in said and "Of 7 images: ais; of 11 images: probes." in said
    for measure, of in (
        ("bdmc_gap", "7 images each, which it drew itself"),
        ("mig", "of every combination of the factors"),
    ):
        for seed, path in enumerate(paths):
            kept = compared.measures(20.0, bdmc_gap=0.1 + seed, mig=0.1 + seed / 10, settings=settings)
            write_json(path / "evaluation.json", kept)
        _, text = page_of(paths, tmp_path / f"{measure}.html", measure=measure)
        said = " ".join(re.sub(r"<[^>]*>", "", text).split())
        assert of in said and "images of the test split" not in said
    _, text = page_of(paths, tmp_path / "b.html")
    assert "measured on the same 40 images of the test split" in " ".join(re.sub(r"<[^>]*>", "", text).split())
