"""The report: one page, the same to the byte, that needs nothing from outside and says what it shows."""

import base64
import dataclasses
import io
import re
from html.parser import HTMLParser

import jax
import numpy as np
import pytest
import small
from PIL import Image
from scipy.stats import norm
from sklearn.decomposition import PCA

from jaxae import Config, files, methods, run
from jaxae.artifacts import images
from jaxae.errors import Diverged, InputError
from jaxae.evaluate.measures import MEASURES
from jaxae.report import curves, latent, measures, naming, pictures, plots, svg, write_report
from jaxae.report.page import clipped, shown
from jaxae.report.pictures import BUDGET, data_uri
from jaxae.report.templates import fill
from jaxae.run import final_digest, on
from tests import made
from tests.runs import configured

EVALUATION = {
    "elbo": -24.5, "elbo_mc_se": 0.0051, "elbo_data_se": 0.18, "nll": 23.25, "nll_mc_se": 0.007,
    "nll_data_se": 0.177, "bits_per_dim": 0.5241, "reconstruction": 18.0, "kl": 6.5, "mse": 0.0689,
    "samples": 128, "examples": 40, "step": 10, "split": "test", "effective_samples": 60.0,
}  # fmt: skip
VOID = {"meta", "img", "link", "br", "hr", "input"}
VARIANTS = {
    "line without labels": {"latent": 1, "classes": 0, "shape": (4, 4, 3)},
    "forty classes of two channels": {"latent": 3, "classes": 40, "n": 90, "shape": (3, 5, 2)},
    "many units": {"latent": 64, "likelihood": "gaussian"},
    "one example": {"latent": 2, "n": 1},
    "two examples": {"latent": 5, "n": 2, "names": ("a name that is long", "a")},
    "points on a line": {"name": "ae", "latent": 1, "likelihood": "gaussian", "n": 3},
    "points in space": {"name": "ae", "latent": 3, "likelihood": "discretised_logistic", "classes": 0},
}


class Page(HTMLParser):
    """Checks that tags close in turn; gathers text, attributes and the id's that links lead to."""

    def __init__(self, html):
        super().__init__()
        self.open, self.words, self.found = [], [], []
        self.feed(html)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attrs for name, attrs in self.found if name == tag]


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return made.trained(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="module")
def evaluated(vae):
    """(the page, its text as written)"""
    return page_of(vae, {**EVALUATION, "digest": final_digest(vae)})


def page_of(trained, evaluation=None):
    html = write_report(trained, evaluation).read_text()
    return Page(html), html


def assert_whole(page, html):
    """Figures and sections count on, pictures have words, links lead somewhere, and no value is missing."""
    assert len(html) < 3e6
    assert "None" not in page.text and "nan" not in page.text.split() and "Undefined" not in html
    assert all(image["alt"] and image["src"].startswith("data:image/png;base64,") for image in page.all("img"))
    drawings = page.all("svg")
    assert drawings and all(drawing["role"] == "img" and drawing["aria-label"] for drawing in drawings)
    numbers = [int(n) for n in re.findall(r"<b>Figure (\d+)\.</b>", html)]
    assert numbers == list(range(1, len(numbers) + 1)) and len(numbers) == html.count("<figure>")
    assert re.findall(r'class="n">(\d)', html) == list("12345678")
    targets = {attrs["id"] for _, attrs in page.found if "id" in attrs}
    assert all(link["href"][1:] in targets for link in page.all("a"))


@pytest.mark.parametrize("variant", small.first(VARIANTS, 2))
def test_a_page_for_every_kind_of_run(tmp_path, variant):
    assert_whole(*page_of(made.trained(tmp_path / "run", **VARIANTS[variant])))


def test_a_page_that_nothing_is_loaded_into_from_outside(evaluated):
    page, html = evaluated
    assert_whole(page, html)
    assert not page.all("script") and not page.all("link") and not page.all("iframe")
    for _, attrs in page.found:
        for name, value in attrs.items():
            if name in ("src", "href", "xlink:href", "srcset", "data", "action"):
                assert value.startswith(("#", "data:image/png;base64,"))
    assert "://" not in html and "@import" not in html
    assert all(inner.startswith(("#", '"#')) for inner in re.findall(r"url\(([^)]*)\)", html))


@pytest.mark.slow
def test_a_report_of_other_images_is_not_written_over_the_runs_own(vae, evaluated, tmp_path):
    write_report(vae)
    before = vae.folder.report.read_bytes()
    test = vae.setup.source.test
    other = on(vae, test.rows[:20][::-1].copy(), test.labels[:20])
    with pytest.raises(InputError, match=r"a report of other images than those of .*: say where it goes, out="):
        write_report(other)
    assert vae.folder.report.read_bytes() == before
    page = write_report(other, out=tmp_path / "other.html").read_text()
    assert other.setup.source.digest in page and vae.setup.source.digest not in page
    assert "20 test" in page and "360 test" not in page and "importance-weighted" not in page


def test_a_report_written_twice_is_the_same(vae, evaluated):
    again = page_of(vae, {**EVALUATION, "digest": final_digest(vae)})
    assert again[1] == evaluated[1]


def test_it_tells_what_identifies_and_repeats_the_run(vae, evaluated):
    command = f"jaxae train --run {vae.folder.path}"
    for expected in (final_digest(vae), vae.setup.source.digest, command, "threefry2x32"):
        assert expected in evaluated[0].text


@pytest.mark.slow
def test_of_modules_of_the_users_own_no_command_is_claimed(tmp_path):
    net = small.net(latent=2, shape=(8, 8, 1))
    trained = run.train(Config(latent=2, steps=2), tmp_path / "run", net=net)
    record = files.read_json(trained.folder.record_file)
    assert "command" not in record and record["network"] == "the user's own modules"
    again, other = (
        run.train(Config(latent=2, steps=1, method=method), tmp_path / method, net=small.net(latent=2, shape=(8, 8, 1)))
        for method in ("vae", "ae")
    )
    kept = [files.read_json(of.folder.record_file)["modules"] for of in (again, other)]
    assert kept[0] == record["modules"] and kept[0]["parameters"] != kept[1]["parameters"]
    page = Page(write_report(trained).read_text())
    assert "2 latent units, the user's own modules, Bernoulli likelihood" in " ".join(page.text.split())
    assert "No command repeats this run" in page.text and "jaxae train" not in page.text and "mlp" not in page.text


def test_the_measures_with_their_errors(vae, evaluated):
    for expected in ("−24.500", "0.0051", "23.250", "0.18", "0.5241", "0.06890", "k = 128", "n = 40"):
        assert expected in evaluated[0].text, expected
    assert "from other parameters" not in evaluated[0].text
    page, _ = page_of(vae, {**EVALUATION, "digest": "another", "step": 7})
    assert "taken at step 7, from other parameters" in page.text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("closing", "split", "shows_test"),
    small.first(
        [
            ("validation", "test", True),
            ("validation", None, False),
            ("none", None, False),
            ("test", None, True),
            ("test", "validation", False),
        ]
    ),
)
def test_images_are_of_the_split_that_closes_the_run_or_was_measured(closing, split, shows_test, tmp_path):
    trained = made.trained(tmp_path / "run")
    config = dataclasses.replace(trained.setup.config, evaluate=closing)
    evaluation = None if split is None else {**EVALUATION, "split": split}

    def page(test):
        source = dataclasses.replace(trained.setup.source, test=test)
        record = trained.folder.record()
        files.write_json(trained.folder.record_file, record | {"data": record["data"] | {"sha256": source.digest}})
        of = trained._replace(setup=dataclasses.replace(trained.setup, config=config, source=source))
        html = write_report(of, evaluation, tmp_path / "page.html").read_text()
        return html.replace(source.digest, "").replace(source.digest[:12], "")

    source = trained.setup.source
    one, other = page(source.test), page(source.train)
    assert (one != other) == shows_test
    assert f"24 {'test' if shows_test else 'validation'} images" in Page(one).text


def test_a_page_of_other_images_shows_these_whatever_closed_the_run(tmp_path):
    trained = made.trained(tmp_path / "run")
    config = dataclasses.replace(trained.setup.config, evaluate="validation")
    closed = trained._replace(setup=dataclasses.replace(trained.setup, config=config))
    assert shown(closed, None) == "validation"
    other = trained.setup.source.train
    assert shown(on(closed, other.rows[:20], other.labels[:20]), None) == "test"


def test_what_a_method_has_no_business_with_is_left_out_and_why(tmp_path, evaluated):
    page, html = page_of(made.trained(tmp_path / "run", name="ae", likelihood="gaussian"))
    assert_whole(page, html)
    assert "this method has no prior" in page.text and "draws from the prior" not in page.text
    assert "reparameterisation" not in html and "No KL divergence is shown" in page.text
    assert "leave holes" in page.text and "jaxae sample RUN --sampler mixture" in page.text
    assert "loss = -log p(x | z), z = encoder(x)" in page.text
    todo = f"has not been evaluated yet. To measure it: jaxae evaluate {tmp_path / 'run'}"
    assert todo in page.text
    page, html = evaluated
    terms = [
        "encoder",
        "latent space",
        "decoder",
        "reparameterisation",
        "reconstruction loss",
        "KL divergence",
    ]
    assert re.findall(r"<dfn>(.*?)</dfn>", html) == terms
    assert "draws from the prior" in page.text and "leave holes" not in page.text


def test_names_from_outside_are_text_not_markup(tmp_path):
    evil = '<script>alert("x")</script><img src=x onerror=y>'
    trained = made.trained(tmp_path / evil.replace("/", "\u2215"), names=(evil, *"123456789"))
    trained = trained._replace(setup=dataclasses.replace(trained.setup, source=rename(trained.setup.source, evil)))
    page, _ = page_of(trained)
    assert not page.all("script") and all("onerror" not in image for image in page.all("img"))
    assert evil in page.text


@pytest.mark.parametrize("latent", small.first([1, 3]))
def test_a_dollar_in_a_name_is_a_dollar(tmp_path, latent):
    names = ("a$b$", "$c_{$", *"23456789")
    page, html = page_of(made.trained(tmp_path / "run", latent=latent, names=names))
    assert_whole(page, html)
    assert {"a$b$", "$c_{$"} <= {words.strip() for words in page.words}


@pytest.mark.parametrize(("name", "latent"), small.first([("vae", 1), ("vae", 2), ("vae", 3), ("ae", 3)], 2))
def test_codes_that_are_not_finite_are_said_and_not_drawn(tmp_path, name, latent):
    trained = made.trained(tmp_path / "run", name=name, latent=latent)
    params = jax.tree.map(lambda leaf: leaf * np.nan, trained.variables.params)
    page, _ = page_of(trained._replace(variables=trained.variables._replace(params=params)))
    assert "Codes of this run are not finite: there is no latent space to draw." in page.text
    for section in ("Latent units", "Interpolations"):
        assert section not in page.text
    headings = {attrs["id"] for attrs in page.all("h2")}
    assert {link["href"][1:] for link in page.all("a")} == headings and "record" in headings


def rename(source, name):
    return type(source)(name, source.shape, source.train, source.validation, source.test, name, source.classes)


def test_components_are_those_of_pca():
    z = np.random.default_rng(0).normal(size=(200, 5)) @ np.random.default_rng(1).normal(size=(5, 5))
    points, ratio = latent.components(z)
    pca = PCA(5).fit(z)
    np.testing.assert_allclose(ratio, pca.explained_variance_ratio_, rtol=1e-6)
    np.testing.assert_allclose(np.abs(points), np.abs(pca.transform(z)[:, :2]), atol=1e-8)
    np.testing.assert_array_equal(latent.components(z).points, points)
    assert not latent.components(np.ones((3, 4))).ratio.any()


def test_the_lattice_is_of_gaussian_quantiles_or_of_the_codes_own_range():
    z = np.random.default_rng(0).normal(size=(500, 2)) * [1, 30]
    lines = latent.lattice(z, 5, gaussian=True)
    np.testing.assert_allclose(lines[:, 1], norm.ppf(np.linspace(0.02, 0.98, 5)), atol=1e-6)
    own = latent.lattice(z, 5, gaussian=False)
    np.testing.assert_allclose(own[[0, -1]], np.quantile(z, [0.01, 0.99], axis=0), rtol=1e-6)
    at = latent.plane(own)
    assert at.shape == (5, 5, 2)
    np.testing.assert_allclose(at[0, 0], [own[0, 0], own[-1, 1]])  # the top left: least first unit, most second
    np.testing.assert_allclose(at[-1, -1], [own[-1, 0], own[0, 1]])


def test_a_plot_takes_its_colours_from_the_page_and_leaves_no_global_figure():
    rows = [{"step": step, "loss": 1.0 / step, "validation_loss": None if step == 3 else 2.0} for step in range(1, 9)]
    drawn = curves.curves(rows, ["loss"], 'a "quoted" <alt>')
    assert "currentColor" in drawn and "var(--accent)" in drawn and "#0" + "10101" not in drawn
    assert "&lt;alt&gt;" in drawn and "font-family" not in drawn and "://" not in drawn
    assert not re.search(r'<g id="', drawn)
    import matplotlib

    before = dict(matplotlib.rcParams)
    with svg.style():
        assert matplotlib.rcParams["svg.fonttype"] == "none"
    assert dict(matplotlib.rcParams) == before


@pytest.fixture(scope="module")
def codebook(tmp_path_factory):
    """A run of a method that has measures of its own and no prior, ended at step 6 and looked at there by nobody."""
    config = configured(method="vqvae", latent=4, steps=6, checkpoint_every=3, evaluate="none", log_every=3)
    return run.train(config, tmp_path_factory.mktemp("codebook") / "run")


@pytest.mark.slow
def test_the_digest_is_promised_of_the_end_alone(codebook):
    whole, _ = page_of(codebook)
    assert "On the same versions and device it ends with the same parameters" in whole.text
    assert "not what the run ends with" not in whole.text
    earlier, _ = page_of(run.load(codebook.folder.path, "3"))
    assert "it ends with the same parameters" not in earlier.text
    assert "This page is of step 3: at its end it has other parameters" in earlier.text
    assert "not what the run ends with , at step 6" in earlier.text


@pytest.mark.slow
def test_a_run_that_may_stop_early_ends_with_its_best(tmp_path):
    still = configured(steps=60, validate_every=10, checkpoint_every=10, patience=2, learning_rate=0.0)
    run.train(still, tmp_path / "r")
    best, last = (run.load(tmp_path / "r", which) for which in ("auto", "last"))
    assert best.step < last.step
    ended, earlier = page_of(best)[0].text, page_of(last)[0].text
    assert "it ends with the same parameters" in ended and "it ends with the same parameters" not in earlier
    told = (
        f"the best on validation of {last.step} steps, after which it stopped early: 2 validations without improvement"
    )
    assert told in ended and "not what the run ends with , at step 60" not in earlier
    assert f"(n = {last.setup.source.sizes()['validation']}), 3 times" in ended, "those that ended it are drawn too"
    for of in (last, best):  # the later step is not its end
        run.store(of, run.evaluate_run(of, samples=2))
        assert of.folder.evaluation()["step"] == of.step


@pytest.mark.slow
def test_a_run_that_was_cut_off_is_said_to_be(tmp_path):
    def stop(row):
        if row["step"] == 6:
            raise SystemError

    with pytest.raises(SystemError):
        run.train(configured(steps=20, checkpoint_every=3, log_every=3), tmp_path / "r", on_row=stop)
    page, _ = page_of(run.load(tmp_path / "r"))
    assert "The command that makes this run, or goes on with it." in page.text and "at step 20 or before" in page.text


@pytest.mark.slow
def test_a_page_of_a_run_that_diverged_says_so(tmp_path):
    config = configured(steps=40, likelihood="gaussian", learning_rate="piecewise(1e-3, 15, 1e30)", checkpoint_every=5)
    with pytest.raises(Diverged):
        run.train(config, tmp_path / "r")
    page, _ = page_of(run.load(tmp_path / "r"))
    step = run.load(tmp_path / "r").folder.outcome()["step"]
    assert f"the run diverged at step {step}: " in page.text and "goes on with it" not in page.text
    assert "up to where it diverged. This page is of step 15." in page.text


@pytest.mark.slow
def test_no_command_is_said_to_measure_other_images(codebook, tmp_path):
    of = on(codebook, codebook.setup.source.test.rows[:50])
    text = write_report(of, run.evaluate_run(of, samples=2), out=tmp_path / "x.html").read_text()
    assert "What measures it as above" not in text


@pytest.mark.slow
def test_who_closed_a_run_without_the_test_split_is_not_sent_there(codebook):
    page, _ = page_of(codebook)
    assert f"jaxae evaluate {codebook.folder.path} --split validation" in page.text


def test_measures_that_a_method_adds_are_shown(codebook):
    found = run.evaluate_run(codebook, split="validation", samples=2)
    page, _ = page_of(codebook, found)
    for name in ("commitment", "batch_perplexity"):
        assert f"{name.replace('_', ' ')} {measures.shown(found[name], 3)}" in page.text
    assert "± Monte Carlo" not in page.text and "± data" in page.text and "data se" not in page.text


def test_what_codes_are_is_said_where_they_are_no_vectors(codebook, evaluated):
    page, _ = page_of(codebook)
    assert "Codes of this method are vectors of the codebook" in page.text
    assert "(to codes that no encoder gives)" in page.text and "Codes may settle at any scale" not in page.text
    assert "Codes of this method" not in evaluated[0].text and "no encoder gives" not in evaluated[0].text


@pytest.mark.parametrize("name", methods.entries())
def test_discrete_codes_are_told_in_their_methods_file(name):
    entry = methods.entry(name)
    assert not methods.factory(name)(small.net(latent=12)).discrete or "no encoder gives any" in entry.codes


def test_what_a_picture_cannot_show_is_counted():
    images = np.linspace(-1, 1, 1000).reshape(10, 10, 10, 1)
    assert clipped(images) == "50 %" and clipped(np.abs(images)) == "" and clipped(1.001 * np.abs(images)) == ""
    assert clipped(np.where(np.arange(1000).reshape(images.shape) < 3, 1.1, 0.5)) == "0.3 %"


def test_every_picture_says_what_it_cannot_show(tmp_path):
    trained = made.trained(tmp_path / "run", latent=2, likelihood="gaussian")
    page, _ = page_of(trained)
    pictures = len(page.all("img"))
    assert page.text.count("of their values lie outside of [0, 1], and show as black or white") == pictures


@pytest.mark.slow
def test_means_over_other_numbers_of_steps_are_not_said_to_be_over_one(tmp_path):
    run.train(configured(steps=12, log_every=3), tmp_path / "r")
    assert "the mean over the 3 steps since the point before" in page_of(run.load(tmp_path / "r"))[0].text
    run.train(configured(steps=24, log_every=6), tmp_path / "r")
    assert "the mean over the steps since the point before" in page_of(run.load(tmp_path / "r"))[0].text


def test_tall_images_are_shown_narrow(tmp_path):
    page, _ = page_of(made.trained(tmp_path / "run", latent=3, shape=(40, 4, 1)))
    assert all(int(image["width"]) <= 19 * 12 for image in page.all("img") if "width" in image)


@pytest.mark.slow
def test_a_command_of_a_folder_with_a_space_can_be_pasted(tmp_path):
    run.train(configured(steps=2, evaluate="none"), tmp_path / "a run")
    page, _ = page_of(run.load(tmp_path / "a run"))
    assert f"jaxae evaluate '{tmp_path}/a run' --split validation" in page.text


def test_text_that_is_one_of_the_pages_colours_stays_text():
    codes, labels = np.random.default_rng(0).normal(size=(20, 2)), np.arange(20) % 2
    drawn = plots.scatter(codes, labels, (svg.MUTED, "熊猫"), ("a", "b"), "alt")
    assert f">{svg.MUTED}<" in drawn and "熊猫" in drawn and "var(--muted)" in drawn
    assert not [tag for tag in re.findall("<[^>]*>", drawn) if svg.MUTED in tag]


def test_names_that_would_cover_each_other_stand_apart_and_others_where_they_belong():
    room = np.array([[20.0, 10.0]] * 4)
    moved = naming.apart(np.array([[0.0, 0.0], [0.0, 0.0], [100.0, 0.0], [105.0, 8.0]]), room)
    np.testing.assert_allclose(moved, [[0, -5], [0, 5], [100, -1], [105, 9]])
    rng = np.random.default_rng(0)
    moved = naming.apart(rng.normal(size=(10, 2)), room := np.tile([8.0, 12.0], (10, 1)))
    overlap = (room - abs(moved[:, None] - moved)).min(axis=-1)
    assert overlap[~np.eye(10, dtype=bool)].max() < 1e-6
    assert naming.apart(np.array([[1.0, 0.0], [0.0, 0.0]]), room[:2]).tolist() == [[4.5, 0], [-3.5, 0]], "each its way"


def test_names_of_classes_are_cut_where_that_leaves_them_apart():
    names = ("Drosophila melanogaster", "Drosophila simulans", "a_class_1 of many", "cat", "Drosophila x simulans")
    written = [plots.class_name(names, label) for label in (-1, 0, 1, 2, 3, 4, 5)]
    assert written == ["unlabelled", "Dros…ogaster", "Drosophi… 1", "a_class_1 o…", "cat", "Drosophi… 4", "5"]


@pytest.mark.parametrize(
    ("value", "error", "said"),
    [
        (126.456, 4.2, "126.5"),
        (303_523_942.044, 221_666.0, "303,523,942"),
        (23.0512, 0.0085, "23.051"),
        (0.5, None, "0.500"),
    ],
)
def test_a_value_has_no_more_digits_than_its_error_shows(value, error, said):
    found = {"frechet": value} | ({} if error is None else {"frechet_se": error})
    assert measures._row(found, "frechet", MEASURES["frechet"]).value == said


def test_a_command_with_a_per_cent_sign_stays_as_it_is(tmp_path):
    (tmp_path / "t.jinja").write_text("<p>95 % of</p><pre>a 5 % b</pre><code>1 %</code> 2 %")
    assert fill("t.jinja", {}, tmp_path) == "<p>95\u00a0% of</p><pre>a 5 % b</pre><code>1 %</code> 2\u00a0%"


def test_a_label_s_name_is_in_the_colour_of_its_points():
    codes, labels = np.repeat([[0.0, 0.0], [5.0, 0.0]], 4, axis=0), np.repeat([0, 1], 4)
    drawn = plots.scatter(codes, labels, ("cat", "dog"), ("a", "b"), "alt")
    assert drawn.index(">cat<") < drawn.index(">dog<"), "all boxes lie under all names"
    assert [len(re.findall(f"stroke: {colour}", drawn)) for colour in plots.TEN[:3]] == [1, 1, 0]


def test_the_one_line_of_codes_without_a_label_is_named():
    drawn = plots.strip(np.linspace(-1, 1, 9), np.full(9, -1), (), "alt")
    assert ">unlabelled<" in drawn and drawn.count("unlabelled") == 1


@pytest.mark.parametrize("dimensions", [1, 2])
def test_labels_that_are_large_numbers_are_drawn_at_once(dimensions):
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(300) % 3, rng.integers(0, 2**31 - 1, 300), -1).astype(np.int32)
    codes = rng.normal(size=(300, dimensions))
    if dimensions == 1:
        drawn = plots.strip(codes[:, 0], labels, (), "alt")
    else:
        drawn = plots.scatter(codes, labels, (), ("a", "b"), "alt")
    colours = set(re.findall(r"fill: (#[0-9a-f]{6})", drawn))
    assert len(colours) > 150 and plots.UNLABELLED in colours and len(drawn) < 300_000


def test_the_first_steps_do_not_flatten_a_curve():
    rows = [{"step": 1, "loss": 1e6}] + [{"step": step, "loss": 10.0} for step in range(50, 101)]
    low, high = curves.limits(rows, "loss")
    assert low < 10 < high < 20


@pytest.mark.parametrize("n", [1, 10, 11, 40])
def test_every_class_has_a_colour_of_its_own(n):
    found = plots.colours(n)
    assert len(set(found)) == n and all(re.fullmatch("#[0-9a-f]{6}", colour) for colour in found)


def test_the_unlabelled_look_like_no_class_on_white_and_on_black():
    rgb = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in (*plots.TEN, plots.UNLABELLED)]) / 255
    *classes, unlabelled = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    luminance = unlabelled @ [0.2126, 0.7152, 0.0722]
    assert 1.05 / (luminance + 0.05) > 3 and (luminance + 0.05) / 0.05 > 3  # WCAG 2.1, 1.4.11
    assert np.linalg.norm(classes - unlabelled, axis=1).min() > 0.5
    labels = np.array([*range(10), -1], np.int32)
    drawn = plots.scatter(np.eye(11)[:, :2], labels, (), ("a", "b"), "")
    assert plots.TEN[9] in drawn and plots.UNLABELLED in drawn and ">unlabelled<" in drawn
    drawn = plots.scatter(np.eye(11)[:, :2], np.full(11, -1, np.int32), (), ("a", "b"), "")
    assert plots.ONE_COLOUR in drawn and plots.UNLABELLED not in drawn and ">unlabelled<" not in drawn


@pytest.mark.parametrize(("shape", "mode"), [((8, 8, 1), "LA"), ((8, 8, 3), "RGBA"), ((8, 8, 5), "LA")])
def test_a_picture_shows_its_tiles(shape, mode):
    tiles = np.zeros((2, 3, *shape))
    tiles[1, 2] = 1
    image = Image.open(io.BytesIO(base64.b64decode(data_uri(tiles).split(",")[1])))
    assert image.mode == mode
    width, height = image.size
    assert image.getpixel((width - 8, height - 8)) == (255,) * len(mode) and image.getpixel((8, 8))[0] == 0
    assert image.getpixel((0, 0))[-1] == 0


def test_a_picture_over_budget_is_made_smaller():
    tiles = np.random.default_rng(0).random((10, 12, 64, 64, 3))
    assert len(data_uri(tiles)) < 1.4 * BUDGET
    flat = np.full((10, 12, 64, 64, 3), 0.5)
    flat[...] += 0.2 * (np.random.default_rng(0).random(flat.shape) - 0.5)
    image = Image.open(io.BytesIO(base64.b64decode(data_uri(flat).split(",")[1]))).convert("RGB")
    assert abs(np.asarray(image)[10:20, 10:20].mean() / 255 - 0.5) < 0.05


def test_a_picture_far_over_budget_is_made_smaller_before_it_is_tried(monkeypatch):
    tried, png = [], images.png
    monkeypatch.setattr(images, "png", lambda sheet: tried.append(sheet.size) or png(sheet))
    monkeypatch.setattr(pictures, "HOPELESS", 3 * 4 * 32 * 32 * 3)
    data_uri(np.zeros((3, 4, 128, 128, 3)))
    assert len(tried) == 1 and 3 * 4 * 32 * 32 * 4 < tried[0] < 1.3 * 3 * 4 * 32 * 32 * 4  # with alpha and gaps
    monkeypatch.setattr(pictures, "HOPELESS", 0)
    assert data_uri(np.zeros((1, 1, 40, 40, 1)))


def test_numbers_show_three_digits_at_least():
    assert measures.shown(-23.60812, 3) == "-23.608"
    assert measures.shown(1234.5, 3) == "1,234.500"
    assert measures.shown(3.14159e-6, 5) == "0.00000314"
    assert measures.shown(0.0, 3) == "0.000"
    assert measures.shown(float("inf")) == "inf"


def test_errors_have_two_digits_and_no_exponent():
    values = (1170.257, 99.6, 9.96, 0.0123, 8.5e-5, 0.0, 1e-12)
    assert [measures.error(value) for value in values] == ["1,170", "100", "10", "0.012", "0.000085", "0", "1e-12"]


@pytest.mark.parametrize("logged", ["", '{"step": 11, "loss": 3.0}\n'])
@pytest.mark.slow
def test_a_page_of_a_step_up_to_which_nothing_was_logged(tmp_path, logged):
    trained = made.trained(tmp_path / "run")
    trained.folder.metrics_file.write_text(logged)
    assert "No metrics were logged" in Page(write_report(trained).read_text()).text


@pytest.mark.slow
def test_measures_without_a_likelihood_are_a_report_too(vae):
    found = run.evaluate_runs([vae], ["latents", "probes"])[0]
    page, html = page_of(vae, found)
    assert_whole(page, html)
    assert "active units" in page.text and "ELBO" not in page.text.split("Training")[0]
    assert "± data" in page.text, "a probe has a standard error"


def test_a_panel_says_nats_only_of_nats(tmp_path):
    page, _ = page_of(made.trained(tmp_path / "run", name="topk_ae", likelihood="gaussian"))
    assert "dead" in page.text and "dead, nats" not in page.text and "reconstruction loss, nats" in page.text


@pytest.mark.slow
def test_a_measure_of_fewer_images_says_so(vae):
    settings = {"probes": {"examples": 11, "fitted": 20}, "ais": {"examples": 7, "chains": 4, "steps": 30}}
    known = {**EVALUATION, "linear_probe": 0.5, "ais_nll": 24.0, "settings": settings}
    text = " ".join(page_of(vae, {**known, "digest": final_digest(vae)})[0].text.split())
    assert "linear probe's accuracy (11 images)" in text and "annealed (7 images, 4 chains of 30 steps)" in text
