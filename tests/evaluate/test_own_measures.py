"""Measures of the user's own: a number an example, of any method, kept, shown and compared like jaxae's."""

import hashlib
import json

import jax
import numpy as np
import pandas
import pytest
from test_metrics import EVERY, bench, measured, models

from jaxae import compare, report, run, sweep
from jaxae.errors import InputError
from jaxae.evaluate import metrics
from jaxae.evaluate.own import own
from jaxae.files import read_json
from jaxae.purity import is_apart
from tests import compared
from tests.runs import configured, say

MINE = """
import jax
import jax.numpy as jnp
import numpy as np

def sharpness(method, variables, keys, batch):
    made = method.reconstruct(variables, batch)
    return jnp.mean(jnp.abs(jnp.diff(made, axis=2)), axis=(1, 2, 3))

def both(method, variables, keys, batch):
    ink = jnp.mean(batch.x, axis=(1, 2, 3))
    return {"ink": ink, "dark": ink < 0.5, "luck": jax.vmap(jax.random.uniform)(keys)}

def whole(method, variables, keys, batch):
    return jnp.mean(batch.x)

def images(method, variables, keys, batch):
    return batch.x

def imaginary(method, variables, keys, batch):
    return 1j * batch.index

def text(method, variables, keys, batch):
    return "sharp"

def none(method, variables, keys, batch):
    return {}

def elbo(method, variables, keys, batch):
    return jnp.zeros(len(batch.x))

def odd(method, variables, keys, batch):
    return {"a-b": batch.index}

def error_se(method, variables, keys, batch):
    return batch.index

def branches(method, variables, keys, batch):
    return batch.index if batch.x.sum() > 0 else -batch.index

def breaks(method, variables, keys, batch):
    return {}["missing"]

def broken(method, variables, keys, batch):
    return jnp.log(-1.0 - batch.index)

def short(method, variables, batch):
    return batch.index

def foo_code(method, variables, keys, batch):
    return batch.index

def nothing(method, variables, keys, batch):
    pass

def likelihood(method, variables, keys, batch):
    return batch.index

def centred(method, variables, keys, batch):
    return jnp.abs(batch.x - jnp.mean(batch.x, axis=0)[None]).sum((1, 2, 3))

def one_key(method, variables, keys, batch):
    return jax.random.uniform(keys[0], (len(batch.x),))

def drawn(method, variables, keys, batch):
    return batch.index + np.random.rand()
"""


@pytest.fixture(scope="module")
def mine(tmp_path_factory):
    file = tmp_path_factory.mktemp("own") / "mine.py"
    file.write_text(MINE)
    return file


KINDS = ("ae", "vae", "cvae", "vqvae", "hvae2", "poincare_vae")
"""Of methods, by what they decode: the others' turn comes with the slow tests."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=[] if n in KINDS else [pytest.mark.slow]) for n in EVERY])
def test_of_any_method_it_is_the_mean_of_the_functions_values(name, mine):
    of = bench(name)
    (model,) = models(of, 1)
    (found,) = measured([f"{mine}:sharpness"], of, [model])
    view = of.view("test")
    each = [np.asarray(of.method.reconstruct(model.variables, view.take(np.arange(n, n + 20)))) for n in (0, 20, 40)]
    values = np.abs(np.diff(np.concatenate(each), axis=2)).mean((1, 2, 3))
    assert found["sharpness"] == pytest.approx(values.mean(), rel=1e-4)
    assert found["sharpness_data_se"] == pytest.approx(values.std(ddof=1) / np.sqrt(len(values)), rel=1e-3, abs=1e-9)
    said = {"measures": "sharpness", "sha256": hashlib.sha256(MINE.encode()).hexdigest(), "file": f"{mine}:sharpness"}
    assert found["settings"] == {"mine.py:sharpness": said}


def test_several_measures_by_name_and_their_noise_is_each_examples(mine):
    of = bench()
    (found, again) = measured([f"{mine}:both"], of, models(of, 2))
    view = of.view("test")
    every = view.take(np.arange(60))
    ink = np.asarray(every.x).mean((1, 2, 3))
    noise = np.asarray(jax.vmap(jax.random.uniform)(view.keys(every, "noise")))
    assert found["ink"] == pytest.approx(ink.mean()) and found["dark"] == np.mean(ink < 0.5)
    assert found["luck"] == pytest.approx(noise.mean(), rel=1e-6)
    assert again["luck"] == found["luck"], "every model is measured by one noise"


def test_members_side_by_side_are_measured_as_alone(mine):
    names = ["likelihood", f"{mine}:sharpness"]
    alone, beside = (measured(names, of, models(of)) for of in (bench(), bench(lanes="vmap")))
    assert len({one["sharpness"] for one in alone}) == 3
    for one, other in zip(alone, beside, strict=True):
        assert one["sharpness"] == pytest.approx(other["sharpness"], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("whole", r"mine.py:whole: whole: float32\[\] for 25 examples: expected \[25\], a real number each"),
        ("images", r"images: float32\[25, 4, 4, 1\] for 25 examples"),
        ("imaginary", r"imaginary: complex64\[25\] for 25 examples"),
        ("text", "mine.py:text: Value 'sharp'"),
        ("none", "mine.py:none: no measure: expected at least one"),
        ("elbo", "measure 'elbo': there is one of that name: expected another"),
        ("odd", "measure 'a-b': no name of a measure"),
        ("error_se", "measure 'error_se': no name of a measure"),
        ("branches", "mine.py:branches: not to be compiled: expected jax.numpy"),
        ("breaks", r"mine.py:breaks \(mine.py, line 42\): 'missing'"),
        ("nothing", "mine.py:nothing: nothing: a NoneType: expected a number an example"),
        ("likelihood", "measure 'likelihood': there is one of that name"),
        ("short", r"mine.py: short: expected short\(method, variables, keys, batch\)"),
        ("foo_code", "measure 'foo_code': no name of a measure"),
        ("absent", r"mine.py: expected a function absent\(method, variables, keys, batch\)"),
    ],
)
def test_what_is_no_measure_is_one_line_before_anything_is_computed(mine, name, said):
    with pytest.raises(InputError, match=said) as caught:
        own(f"{mine}:{name}", bench())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("centred", "mine.py:centred: of 3 examples together it is not what it is of each alone"),
        ("one_key", "mine.py:one_key: of 3 examples together it is not what it is of each alone"),
        ("drawn", "mine.py:drawn: each time that it is compiled it is another program, as numpy.random"),
    ],
)
def test_what_is_not_of_an_example_and_its_key_is_refused(mine, name, said):
    of = bench()
    with pytest.raises(InputError, match=said):
        measured([f"{mine}:{name}"], of, models(of, 1))


def test_what_is_next_to_nothing_is_rounding():
    near, far, tiny = (np.array([1.0, value]) for value in (2.0, 2.2, 0.0))
    assert is_apart(near, near + 0.01, 5e-2) and not is_apart(near, far, 5e-2)
    assert is_apart(1e-9 * near, tiny * 1e-9, 5e-2)


def test_two_measures_of_one_name_are_refused(mine, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(MINE)
    with pytest.raises(InputError, match=r"other\.py:sharpness: measure 'sharpness': there is one of that name"):
        metrics.measures([f"{mine}:sharpness", f"{other}:sharpness"], bench())
    (tmp_path / "mine.py").write_text(MINE)
    with pytest.raises(InputError, match=r"another file's mine\.py:both is among them"):
        metrics.measures([f"{mine}:both", f"{tmp_path}/mine.py:both"], bench())


def test_it_is_measured_beside_all_others(mine, monkeypatch):
    monkeypatch.setattr(metrics, "METRICS", ("latents",))  # the others take long
    (found,) = measured(["all", f"{mine}:sharpness"], bench(), models(bench(), 1))
    assert found["sharpness"] > 0 and found["active_units"] >= 0


def test_one_that_is_not_finite_is_null_with_a_note(mine):
    of = bench()
    (found,) = measured([f"{mine}:broken", "latents"], of, models(of, 1))
    assert found["broken"] is None and found["notes"]["mine.py:broken"] == ["not finite: broken, broken_data_se"]
    assert found["active_units"] >= 0


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    plan = sweep.Plan(configured(steps=20), (0, 1), {})
    return sweep.sweep(plan, tmp_path_factory.mktemp("measures") / "s").folder


@pytest.mark.slow
def test_a_sweeps_members_keep_it_and_it_is_compared_and_shown(swept, tmp_path, capsys):
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    before = read_json(swept.member("seed=0").evaluation_file())
    code, out, err = say(capsys, "evaluate", swept.path, "--metrics", f"latents,{file}:sharpness", "--json")
    found = json.loads(out)["members"]
    assert code == 0, err
    kept = read_json(swept.member("seed=0").evaluation_file())
    assert kept["sharpness"] == found["seed=0"]["sharpness"] and kept["nll"] == before["nll"]
    assert pandas.read_csv(swept.table)["sharpness"].tolist() == pytest.approx(
        [measures["sharpness"] for measures in found.values()], rel=1e-15
    )
    page = report.write_report(run.load(swept.member("seed=0").path), out=tmp_path / "page.html").read_text()
    sha256 = hashlib.sha256(MINE.encode()).hexdigest()[:12]
    assert ">sharpness <small>" in page and f"SHA-256 of mine.py:sharpness {sha256}" in page
    assert f"--metrics likelihood,latents,{file}:sharpness" in page
    code, out, _ = say(capsys, "compare", swept.path, "--measure", "sharpness", "--json")
    assert (swept.path / "code" / sha256 / "mine.py").read_text() == MINE
    assert code == 0 and f"{np.mean([m['sharpness'] for m in found.values()]):.4g}"[:5] in out

    # another version of the file, of one member: no comparison, and what the old one had is gone
    file.write_text(MINE.replace("axis=2)), axis", "axis=1)), axis"))
    one = "evaluate", swept.path, "--member", "seed=1", "--metrics"
    assert say(capsys, *one, f"{file}:sharpness")[0] == 0
    code, _, err = say(capsys, "compare", swept.path, "--measure", "sharpness")
    assert code == 2 and "measured by different versions of your own code" in err
    file.write_text(
        MINE.replace("return jnp.mean(jnp.abs", "return {'steepness': jnp.zeros(len(made))} or jnp.mean(jnp.abs")
    )
    assert say(capsys, *one, f"{file}:sharpness")[0] == 0
    kept = read_json(swept.member("seed=1").evaluation_file())
    assert kept["steepness"] == 0 and not {"sharpness", "sharpness_data_se"} & kept.keys()
    assert kept["settings"]["mine.py:sharpness"]["measures"] == "steepness" and "nll" in kept


@pytest.mark.slow
def test_only_what_is_measured_anew_takes_the_place_of_what_was_there(swept, tmp_path, capsys):
    (tmp_path / "a.py").write_text(MINE)
    (tmp_path / "b.py").write_text(
        MINE.replace("def both", "def ink").replace('{"ink": ink, "dark"', '{"ink": ink, "pale"')
    )
    one = "evaluate", swept.path, "--member", "seed=0", "--metrics"
    assert say(capsys, *one, f"{tmp_path}/a.py:both")[0] == 0
    before = read_json(swept.member("seed=0").evaluation_file())
    code, _, err = say(capsys, *one, f"{tmp_path}/b.py:ink")
    kept = read_json(swept.member("seed=0").evaluation_file())
    assert code == 0 and "no longer" not in err and kept["dark"] == before["dark"] and "pale" in kept
    assert [kept["settings"][group]["measures"] for group in ("a.py:both", "b.py:ink")] == ["dark", "ink, luck, pale"]
    (tmp_path / "a.py").write_text(MINE.replace('"dark": ink < 0.5', '"black": ink < 0.5'))
    code, _, err = say(capsys, *one, f"{tmp_path}/a.py:both")
    kept = read_json(swept.member("seed=0").evaluation_file())
    assert code == 0 and "dark of another a.py:both are no longer there" in err
    assert "dark" not in kept and kept["settings"]["b.py:ink"]["measures"] == "pale" and "likelihood" in kept["notes"]


def test_a_wrong_name_or_file_is_one_line_of_the_command(swept, mine, capsys):
    for spec, said in (
        (f"{mine}:sharp", "expected a function sharp(method, variables, keys, batch)"),
        ("none.py:sharpness", "no file"),
        ("sharpness", "unknown metrics 'sharpness'"),
    ):
        code, _, err = say(capsys, "evaluate", swept.path, "--metrics", spec)
        assert code == 2 and said in err and err.count("\n") == 1, err


def test_a_file_that_fails_when_it_is_read_is_one_line(swept, tmp_path, capsys):
    (tmp_path / "bad.py").write_text("def f(method, variables, keys, batch):\n    return batch.index\n\n1 / 0\n")
    code, _, err = say(capsys, "evaluate", swept.path, "--metrics", f"{tmp_path}/bad.py:f")
    assert code == 2 and "bad.py (bad.py, line 4): division by zero" in err and err.count("\n") == 1


def test_only_values_of_one_version_are_compared(tmp_path):
    def of(seed, sha256, group="mine.py:ink"):
        settings = {group: {"measures": "ink", "sha256": sha256}}
        return compared.run(
            tmp_path / f"{seed}-{sha256}", seed, compared.measures(80.0 + seed, ink=seed, settings=settings)
        )

    same = compare.table([of(0, "aa"), of(1, "aa")])
    assert same["ink_code"].tolist() == ["mine.py:ink aa"] * 2
    assert compare.compare(same, "ink").settings[0].summary.mean == 0.5
    mixed = compare.table([tmp_path / "0-aa", of(2, "bb")])
    with pytest.raises(
        InputError, match=r"different versions of your own code \(mine\.py:ink aa and mine\.py:ink bb\)"
    ):
        compare.compare(mixed, "ink")
    assert compare.compare(mixed, "nll").settings[0].summary.mean == 81.0
    jaxaes = compared.run(tmp_path / "jaxae's", 3, compared.measures(83.0, ink=5))
    with pytest.raises(InputError, match=r"\(mine\.py:ink aa and jaxae's own\)"):
        compare.compare(compare.table([tmp_path / "0-aa", jaxaes]), "ink")
