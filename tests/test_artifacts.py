"""What a trained run makes, by value: against the method's own functions, and where each pixel goes."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from flax import linen as nn
from PIL import Image

from experiments.methods_page import page
from jaxae import artifacts, files, random, run
from jaxae.artifacts import images, paths, pieces
from jaxae.errors import InputError
from jaxae.types import Batch
from tests import made
from tests.runs import configured, say


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    return made.trained(tmp_path_factory.mktemp("vae") / "run", latent=3)


@pytest.fixture(scope="module")
def ae(tmp_path_factory):
    return made.trained(tmp_path_factory.mktemp("ae") / "run", name="ae", likelihood="gaussian")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run of the real command, short."""
    path = tmp_path_factory.mktemp("finished") / "run"
    run.train(configured(steps=6, binarize="threshold"), path)
    return path


def batch(trained, index):
    split = trained.setup.source.test
    return Batch(split.rows[index].astype(np.float32) / 255, split.labels[index], np.asarray(index))


def close(one, other):
    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_reconstructions_are_the_methods_of_examples_spread_through_the_split(vae):
    made = artifacts.reconstruct(vae, count=4)
    assert made.examples.tolist() == [0, 13, 26, 39]
    of = batch(vae, made.examples)
    close(made.inputs, of.x)
    close(made.reconstructions, vae.setup.method.reconstruct(vae.variables, of))
    np.testing.assert_array_equal(made.label, of.label)


def test_a_sample_does_not_depend_on_the_count_and_does_on_the_seed(vae):
    many = artifacts.sample(vae, 130, seed=5)
    np.testing.assert_array_equal(artifacts.sample(vae, 3, seed=5), many[:3])
    assert np.abs(artifacts.sample(vae, 3, seed=6) - many[:3]).max() > 1e-3
    keys = random.example_keys(random.stream(jax.random.key(5), "sample"), 0, jnp.arange(3))
    close(many[:3], vae.setup.method.sample(vae.variables, keys))
    assert len(np.unique(many.reshape(130, -1), axis=0)) == 130


def test_without_a_prior_there_is_nothing_to_sample(ae):
    with pytest.raises(InputError, match=r"^ae has no prior to sample from: [^\n]*decode"):
        artifacts.sample(ae)


@pytest.mark.parametrize("how", paths.PATHS)
def test_the_ends_of_an_interpolation_are_reconstructions(vae, how):
    made = artifacts.interpolate(vae, 3, steps=5, how=how)
    assert made.images.shape[:2] == (3, 5) and len(np.unique(made.examples)) == 6
    for end, column in ((0, 0), (1, -1)):
        rebuilt = artifacts.reconstruct(vae, index=made.examples[:, end]).reconstructions
        close(made.images[:, column], rebuilt)
    close(made.images[:, 2], artifacts.decode(vae, made.z[:, 2]))


def test_pairs_of_ones_own_choice(vae):
    made = artifacts.interpolate(vae, [(7, 3)], steps=3)
    codes = artifacts.encode(vae)["z"]
    close(made.z[0], [codes[7], (codes[7] + codes[3]) / 2, codes[3]])


def test_no_more_images_are_made_at_once_than_a_view_has_room_for(vae):
    view, sizes = pieces.view_of(vae, "test", 0), []
    small_view = view.spread(len(view), 5)
    found = pieces.over(small_view, np.arange(12, dtype=np.int32), lambda batch: sizes.append(len(batch.x)) or batch.x)
    assert sizes == [5, 5, 5]
    np.testing.assert_array_equal(found, view.take(np.arange(12)).x)


def test_a_spherical_path_keeps_the_norm_and_mixes_unequal_ones():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(2, 20, 6))
    t = np.linspace(0, 1, 9)
    norms = np.linalg.norm(paths.spherical(a, b, t), axis=-1)
    of_a, of_b = (np.linalg.norm(x, axis=-1)[:, None] for x in (a, b))
    np.testing.assert_allclose(norms, (1 - t) * of_a + t * of_b, rtol=1e-12)
    quarter = paths.spherical(np.array([[2.0, 0]]), np.array([[0.0, 2]]), np.array([1 / 3]))
    np.testing.assert_allclose(quarter[0, 0], [np.sqrt(3), 1], rtol=1e-12)


@pytest.mark.parametrize("b", [[2.0, 4], [-1.0, -2], [0.0, 0]], ids=["parallel", "opposite", "zero"])
def test_where_no_one_circle_joins_two_codes_the_line_does(b):
    a, b, t = np.array([[1.0, 2]]), np.array([b]), np.linspace(0, 1, 5)
    np.testing.assert_allclose(paths.spherical(a, b, t), paths.linear(a, b, t), atol=1e-9)


def test_a_traversal_moves_one_unit_around_the_code_the_busiest_first(vae):
    units = artifacts.units(artifacts.encode(vae))
    made = artifacts.traverse(vae, example=4, span=2, steps=5)
    assert made.offset.tolist() == [-2, -1, 0, 1, 2] and made.unit.tolist() == units.order.tolist()
    assert (np.diff(units.kl[units.order]) <= 0).all()
    code = artifacts.encode(vae)["z"][4]
    for row, unit in enumerate(made.unit):
        moved = made.z[row] - code
        close(moved[:, unit], made.offset * units.sd[unit])
        assert not np.delete(moved, unit, axis=1).any()
        close(made.images[row, 2], artifacts.reconstruct(vae, index=[4]).reconstructions[0])


def test_statistics_of_units_in_closed_form():
    mean = np.array([[1.0, 0.08], [-1.0, -0.08]])
    codes = {"z": mean, "mean": mean, "log_var": np.log(np.array([[0.25, 1], [0.25, 1]]))}
    of = artifacts.units(codes)
    np.testing.assert_allclose(of.kl, [0.5 * (1 + 0.25 - 1 - np.log(0.25)), 0.5 * 0.0064], rtol=1e-5)
    np.testing.assert_allclose(of.variance, [1, 0.0064])
    np.testing.assert_allclose(of.sd, np.sqrt([1.25, 1.0064]))
    assert of.active == 1 and of.order.tolist() == [0, 1]
    plain = artifacts.units({"z": mean[:, ::-1]})
    assert plain.kl is None and plain.order.tolist() == [1, 0]


def test_codes_are_the_methods_and_the_posterior_is_there_where_it_exists(vae, ae):
    codes, of = artifacts.encode(vae), batch(vae, np.arange(40))
    q = vae.setup.method.posterior(vae.variables, of)
    for name, expected in {"z": q.mean, "mean": q.mean, "log_var": q.log_var, "label": of.label}.items():
        close(codes[name], expected)
    assert set(artifacts.encode(ae, count=7)) == {"z", "label", "index", "row"}
    assert artifacts.encode(ae, count=2)["index"].tolist() == [0, 39]


def test_many_codes_are_decoded_by_one_compilation(tmp_path):
    traces = []

    class Decoder(small.Decoder):
        @nn.compact
        def __call__(self, z):
            traces.append(z.shape)
            return super().__call__(z)

    net = small.net(latent=3)._replace(decoder=Decoder())
    trained = made.trained(tmp_path / "run", latent=3, net=net, shape=small.SHAPE)
    traces.clear()
    z = np.random.default_rng(0).normal(size=(300, 3)).astype(np.float32)
    found = [artifacts.decode(trained, z), artifacts.decode(trained, z[:5])]
    artifacts.interpolate(trained, 2)
    artifacts.traverse(trained)
    assert len(traces) == 1
    close(found[0], trained.setup.method.decode(trained.variables, z))
    np.testing.assert_array_equal(found[1], found[0][:5])


REFUSED = {
    "count 0": lambda t: artifacts.sample(t, 0),
    "count 41: test has 40": lambda t: artifacts.reconstruct(t, count=41),
    "count 21": lambda t: artifacts.interpolate(t, 21),
    "example 40": lambda t: artifacts.traverse(t, 40),
    "example -1": lambda t: artifacts.interpolate(t, [(0, -1)]),
    "steps 1": lambda t: artifacts.interpolate(t, 1, steps=1),
    "steps 4: expected an odd": lambda t: artifacts.traverse(t, steps=4),
    r"count 3000000000: the images take \d+ GB, more than is free": lambda t: artifacts.sample(t, 3_000_000_000),
    r"span 1e\+300: expected .* above 0, 1e\+06 at most": lambda t: artifacts.traverse(t, span=1e300),
    "span nan": lambda t: artifacts.traverse(t, span=float("nan")),
    "unknown path 'liner': did you mean 'linear'": lambda t: artifacts.interpolate(t, 1, how="liner"),
    "unknown split 'tset'": lambda t: artifacts.encode(t, "tset"),
    "seed -1": lambda t: artifacts.reconstruct(t, count=1, seed=-1),
    r"z of shape \[2, 2\]": lambda t: artifacts.decode(t, np.zeros((2, 2))),
    r"z of shape \[3\]": lambda t: artifacts.decode(t, np.zeros(3)),
    r"expected numbers \[n, 3\]": lambda t: artifacts.decode(t, np.zeros((0, 3))),
    "type <U1": lambda t: artifacts.decode(t, np.array([["a", "b", "c"]])),
    "not finite as a 32-bit float, in row 1": lambda t: artifacts.decode(t, np.array([[0, 0, 0], [0, np.inf, 0]])),
    "not finite as a 32-bit float, in row 0": lambda t: artifacts.decode(t, np.array([[1e300, 0, 0]])),
    "numbers of type float64: expected whole numbers": lambda t: artifacts.reconstruct(t, index=[1.7]),
    "numbers of type bool": lambda t: artifacts.reconstruct(t, index=np.ones(40, bool)),
    "no example: expected whole": lambda t: artifacts.reconstruct(t, index=[]),
    r"pairs of shape \[2, 3\]: expected \[pairs, 2\]": lambda t: artifacts.interpolate(t, [(1, 2, 3), (4, 5, 6)]),
    r"pairs of shape \[3\]": lambda t: artifacts.interpolate(t, [1, 2, 3]),
    "count -1: expected a whole number of at least 1": lambda t: artifacts.traverse(t, most=-1),
    "count True: expected a whole": lambda t: artifacts.sample(t, True),
    "count True: expected .* of at least 1": lambda t: artifacts.reconstruct(t, count=True),
    "steps True: expected a whole": lambda t: artifacts.interpolate(t, steps=True),
    "steps True: expected .* of at least 3": lambda t: artifacts.traverse(t, steps=True),
}


@pytest.mark.parametrize("message", REFUSED)
def test_bad_input_is_one_line(vae, message):
    with pytest.raises(InputError, match=message) as error:
        REFUSED[message](vae)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("clear", [False, True])
def test_each_pixel_of_a_grid_is_where_it_is_said_to_be(channels, clear):
    tiles = np.random.default_rng(0).random((2, 3, 4, 5, channels)).astype(np.float32)
    sheet = images.grid(tiles, zoom=2, gap=3, clear=clear)
    assert sheet.shape[:2] == (3 + 2 * 11, 3 + 3 * 13) and sheet.dtype == np.uint8
    shown = np.atleast_3d(sheet)
    for r, c, y, x in np.ndindex(2, 3, 4, 5):
        square = shown[3 + r * 11 + 2 * y :, 3 + c * 13 + 2 * x :][:2, :2]
        expected = np.rint(255 * tiles[r, c, y, x, : 3 if channels == 3 else 1])
        assert (square[..., : len(expected)] == expected).all()
        assert not clear or (square[..., -1] == 255).all()
    for gap in (shown[:3], shown[11:14], shown[:, :3], shown[:, -3:]):
        assert (gap[..., 0] == 255).all() and (not clear or (gap[..., -1] == 0).all())


@pytest.mark.parametrize("clear", [False, True])
def test_images_with_light_borders_are_framed(clear):
    """On white paper nobody would see where one ends."""
    light, blank = np.ones((1, 2, 3, 3, 1), np.float32), np.full((1, 1, 3, 3, 1), np.inf, np.float32)
    light[:, :, 1, 1] = 0
    shown = np.atleast_3d(images.grid(np.concatenate([light, blank], axis=1), zoom=1, gap=1, clear=clear))
    assert shown[..., 0].tolist() == [
        [190] * 9 + [255] * 4,
        *[[190, *row, 190, *row, 190] + [255] * 4 for row in ([255] * 3, [255, 0, 255], [255] * 3)],
        [190] * 9 + [255] * 4,
    ]
    if clear:
        assert (shown[:, :9, 1] == 255).all() and (shown[:, 9:, 1] == 0).all()
    framed = images.grid(np.ones((1, 1, 2, 2, 3), np.float32), zoom=1, gap=1, clear=clear)
    assert (framed[0, :, :3] == 190).all() and (framed[1:3, 1:3] == 255).all()


def test_small_images_are_magnified_and_what_is_no_grey_level_is_cut_off():
    assert images.grid(np.zeros((1, 1, 8, 8, 1))).shape == (2 + 64 + 2, 2 + 64 + 2)
    assert images.grid(np.zeros((1, 1, 100, 80, 1))).shape == (104, 84)
    assert images.to_bytes(np.array([-1, np.nan, 0.5, 2, np.inf])).tolist() == [0, 0, 128, 255, 255]


@pytest.mark.slow
def test_labels_with_names_are_asked_for_by_them_and_told(tmp_path, capsys):
    x, y = np.random.default_rng(0).random((40, 4, 4)), np.array(["zero", "one", "two", "nine"] * 10)
    np.savez(tmp_path / "d.npz", x=x.astype(np.float32), y=y)
    words = ["--method", "cvae", "--latent", 2, "--width", 8, "--steps", 2, "--batch-size", 8, "--samples", 2]
    here = tmp_path / "r"
    assert say(capsys, "train", "--run", here, "--data", tmp_path / "d.npz", "--no-report", "--quiet", *words)[0] == 0
    drawn = {}
    for label in ("two", 2):
        out = tmp_path / f"{label}.npz"
        code, _, err = say(capsys, "sample", here, "--label", label, "--count", 3, "--out", out)
        drawn[label] = np.load(out)
        assert code == 0 and f"label 2: {'two'}" in err
    assert drawn["two"]["classes"].tolist() == ["nine", "one", "two", "zero"] and set(drawn["two"]["label"]) == {2}
    np.testing.assert_array_equal(drawn["two"]["samples"], drawn[2]["samples"])
    code, _, err = say(capsys, "sample", here, "--label", "three", "--out", tmp_path / "x.npz")
    assert code == 2 and "label 'three': expected one of nine, one, two, zero" in err
    say(capsys, "encode", here, "--out", tmp_path / "z.npz")
    assert np.load(tmp_path / "z.npz")["classes"].tolist() == ["nine", "one", "two", "zero"]
    code, _, err = say(capsys, "decode", here, tmp_path / "z.npz", "--label", "one", "--out", tmp_path / "o.npz")
    assert code == 0 and "label 1: one" in err


def test_tables_and_pairs_of_lines():
    row = np.arange(5, dtype=np.float32)[:, None, None, None] / 5
    assert images.table(row).shape[:2] == (2, 3)
    assert images.to_bytes(images.table(row)[1, 2]) == 255
    clear = images.grid(images.table(row), zoom=1, gap=1, clear=True)
    assert clear[1::2, 1::2, 1].tolist() == [[255] * 3, [255, 255, 0]], "what fills the last line is no image"
    both = np.minimum(images.beside(row, row + 0.1, columns=3)[..., 0, 0, 0], 1)
    np.testing.assert_allclose(both, [[0, 0.2, 0.4], [0.1, 0.3, 0.5], [0.6, 0.8, 1], [0.7, 0.9, 1]], rtol=1e-6)


def test_codes_are_read_as_written_and_no_pickle_is_opened(tmp_path):
    z = np.random.default_rng(0).normal(size=(3, 2))
    content = files.npz({"z": z, "label": np.arange(3)})
    assert content == files.npz({"z": z, "label": np.arange(3)})
    (tmp_path / "a.npz").write_bytes(content)
    np.testing.assert_array_equal(files.read_codes(tmp_path / "a.npz")[0], z)
    np.save(tmp_path / "a.npy", z)
    np.testing.assert_array_equal(files.read_codes(tmp_path / "a.npy")[0], z)
    np.savez(tmp_path / "two.npz", a=z, b=z)
    np.save(tmp_path / "object.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "cut.npz").write_bytes(content[:-30])
    (tmp_path / "text.npy").write_text("1 2 3")
    (tmp_path / "empty.npy").write_bytes(b"")
    for name in ("two.npz", "object.npy", "cut.npz", "text.npy", "empty.npy", "none.npz", "."):
        with pytest.raises(InputError) as error:
            files.read_codes(tmp_path / name)
        assert "\n" not in str(error.value)


VERBS = {
    "reconstruct": ["--count", "5", "--split", "validation", "--seed", "4"],
    "sample": ["--count", "5", "--seed", "3"],
    "interpolate": ["--pair", "0", "1", "--how", "spherical", "--steps", "5", "--split", "train", "--seed", "4"],
    "traverse": [
        *["--example", "2", "--count", "2", "--span", "1.5", "--steps", "5", "--split", "validation", "--seed", "4"]
    ],
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_writes_a_picture_or_arrays_and_prints_where(finished, tmp_path, capsys, verb):
    code, out, _ = say(capsys, verb, finished, *VERBS[verb])
    assert code == 0
    Image.open(out.strip()).verify()
    code, out, _ = say(capsys, verb, finished, *VERBS[verb], "--out", tmp_path / "arrays.npz")
    assert (code, out) == (0, f"{tmp_path / 'arrays.npz'}\n")
    trained = run.load(finished)
    expected = {
        "reconstruct": lambda: artifacts.reconstruct(trained, "validation", 5, 4).reconstructions,
        "sample": lambda: artifacts.sample(trained, 5, seed=3),
        "interpolate": lambda: artifacts.interpolate(trained, [(0, 1)], 5, "spherical", "train", 4).images,
        "traverse": lambda: artifacts.traverse(trained, 2, 1.5, 5, split="validation", seed=4, most=2).images,
    }[verb]()
    with np.load(tmp_path / "arrays.npz") as arrays:
        name = {"reconstruct": "reconstructions", "sample": "samples"}.get(verb, "images")
        np.testing.assert_array_equal(arrays[name], expected)


def test_what_encode_writes_decode_reads(finished, tmp_path, capsys):
    code, out, _ = say(capsys, "encode", finished, "--count", "6", "--split", "validation")
    assert (code, out) == (0, f"{finished / 'codes.npz'}\n")
    code, out, _ = say(capsys, "decode", finished, finished / "codes.npz", "--out", tmp_path / "x.npz")
    assert code == 0
    trained = run.load(finished)
    index = artifacts.encode(trained, "validation", count=6)["index"]
    rebuilt = artifacts.reconstruct(trained, "validation", index=index).reconstructions
    with np.load(tmp_path / "x.npz") as arrays:
        close(arrays["images"], rebuilt)
    codes = (finished / "codes.npz").read_bytes()
    code, _, err = say(capsys, "decode", finished, finished / "codes.npz", "--out", finished / "." / "codes.npz")
    assert code == 2 and "these are the codes themselves" in err and (finished / "codes.npz").read_bytes() == codes


def test_a_split_smaller_than_a_picture_is_shown_whole(tmp_path, capsys):
    for name, n in (("train", 30), ("test", 7)):
        np.save(tmp_path / f"{name}.npy", np.random.default_rng(0).integers(0, 256, (n, 8, 8), np.uint8))
    np.savez(tmp_path / "x.npz", **{f"x_{name}": np.load(tmp_path / f"{name}.npy") for name in ("train", "test")})
    config = configured(data=str(tmp_path / "x.npz"), steps=1, batch_size=4, validation=5, binarize="none")
    run.train(config, tmp_path / "run")
    for verb, arrays, shown in (("reconstruct", "inputs", 7), ("interpolate", "examples", 3)):
        code, _, err = say(capsys, verb, tmp_path / "run", "--out", tmp_path / "o.npz")
        assert code == 0, err
        with np.load(tmp_path / "o.npz") as found:
            assert len(found[arrays]) == shown


WRONG = {
    "no run here": ["sample", "{tmp}/none"],
    "ends in .png or .npz": ["sample", "{run}", "--out", "{tmp}/a.gif"],
    "there is no folder": ["sample", "{run}", "--out", "{tmp}/none/a.png"],
    "is a folder": ["encode", "{run}", "--out", "{tmp}/folder.npz"],
    "count 0": ["sample", "{run}", "--count", "0"],
    "split 'tset'": ["encode", "{run}", "--split", "tset"],
    "checkpoint 'lats'": ["sample", "{run}", "--checkpoint", "lats"],
    "no such file": ["decode", "{run}", "{tmp}/none.npz"],
    "expected numbers [n, 3]": ["decode", "{run}", "{tmp}/wide.npy"],
    "expected a .npz or .npy": ["decode", "{run}", "{run}/config.json"],
    "ends in .html": ["report", "{run}", "--out", "{tmp}/report.pdf"],
    "count 3: --pair names the pairs": ["interpolate", "{run}", "--pair", "0", "1", "--count", "3"],
}


@pytest.mark.parametrize("message", WRONG)
def test_a_wrong_command_is_one_line_and_exit_2(finished, tmp_path, capsys, message):
    (tmp_path / "folder.npz").mkdir()
    np.save(tmp_path / "wide.npy", np.zeros((2, 4)))
    words = [word.format(run=finished, tmp=tmp_path) for word in WRONG[message]]
    code, out, err = say(capsys, *words)
    assert (code, out) == (2, "") and message in err and err.count("\n") == 1


def test_the_report_is_written_where_asked(finished, tmp_path, capsys):
    code, out, _ = say(capsys, "report", finished, "--out", tmp_path / "page.html")
    assert (code, out) == (0, f"{tmp_path / 'page.html'}\n")
    assert run.final_digest(run.load(finished)) in (tmp_path / "page.html").read_text()


def test_a_folder_in_the_home_folder_may_be_named_by_a_tilde(finished, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(finished.parent))
    code, out, err = say(capsys, "sample", f"~/{finished.name}", "--count", "2")
    assert (code, out) == (0, f"{finished / 'samples.png'}\n"), err
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "r").symlink_to(finished)
    code, out, err = say(capsys, "report", "~/r")
    assert (code, out) == (0, f"{tmp_path / 'r' / 'report.html'}\n"), err


def test_encode_and_score_are_of_the_split_the_seed_and_the_samples_asked_for(finished, tmp_path, capsys):
    trained = run.load(finished)
    flags = ["--split", "validation", "--seed", "4", "--out", tmp_path / "a.npz"]
    expected = {
        "encode": (["--count", "7"], artifacts.encode(trained, "validation", 4, 7)),
        "score": (["--samples", "3"], run.scores(trained, "validation", 3, 4)),
    }
    for verb, (more, arrays) in expected.items():
        assert say(capsys, verb, finished, *flags, *more)[0] == 0
        with np.load(tmp_path / "a.npz") as found:
            assert found.keys() == {name for name, value in arrays.items() if value is not None}
            for name in found:
                np.testing.assert_array_equal(found[name], arrays[name])


def test_the_table_of_methods_has_what_was_measured(tmp_path):
    file = tmp_path / "found.json"
    values = {"vae": {"nll": [100.0, 102.0], "reconstruction": [80.0, 80.0], "mse": [0.01, 0.01]}}
    file.write_text(json.dumps({"about": "Of two seeds.", "command": "python -m mine", "methods": values}))
    out = page(["vae", "ae"], file)
    assert "Of two seeds." in out and "    python -m mine" in out
    (vae,) = (line for line in out.splitlines() if line.startswith("| **vae**"))
    assert "| 101.00 ± 1.41 | 80.00 ± 0.00 | 0.01000 ± 0.00000 |" in vae
    file.write_text("{}")
    with pytest.raises(InputError, match=r"found.json: it has no about: expected what experiments/methods.py writes"):
        page(["vae"], file)


@pytest.mark.slow
def test_the_labels_that_codes_are_decoded_at_are_kept_with_them(tmp_path, capsys):
    made = run.train(configured(method="cvae", steps=4), tmp_path / "r")
    labels = made.setup.source.test.labels
    for verb, more in (("interpolate", ["--pair", 0, 5, "--steps", 5]), ("traverse", ["--example", 5, "--steps", 3])):
        assert say(capsys, verb, tmp_path / "r", *more, "--out", tmp_path / f"{verb}.npz")[0] == 0
    with np.load(tmp_path / "interpolate.npz") as found:
        assert found["label"].tolist() == [[labels[0]] * 3 + [labels[5]] * 2]
        again = artifacts.decode(made, found["z"][0], found["label"][0])
        np.testing.assert_allclose(again, found["images"][0], atol=1e-6)
    with np.load(tmp_path / "traverse.npz") as found:
        assert found["label"] == labels[5]
        again = artifacts.decode(made, found["z"][0], int(found["label"]))
        np.testing.assert_allclose(again, found["images"][0], atol=1e-6)
    np.save(tmp_path / "z.npy", np.zeros((2, 3), np.float32))
    words = ("decode", tmp_path / "r", tmp_path / "z.npy", "--label", "3", "--out", tmp_path / "d.npz")
    assert say(capsys, *words)[0] == 0
    with np.load(tmp_path / "d.npz") as found:
        assert found["label"].tolist() == [3, 3]


def test_what_is_one_number_a_batch_is_no_score_of_an_example(tmp_path):
    made = run.train(configured(method="vqvae", latent=4, steps=2), tmp_path / "r")
    found = run.scores(made, samples=2)
    assert {"reconstruction", "commitment", "mse"} < set(found) and "batch_perplexity" not in found


def test_a_file_that_holds_no_codes_is_one_line(finished, capsys):
    code, _, err = say(capsys, "decode", finished, finished / "config.json")
    assert code == 2 and err.endswith(
        "config.json: expected a .npz or .npy of numbers: it is neither, or of Python objects\n"
    )
