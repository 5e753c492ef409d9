"""`jaxae evaluate`: of a run, a member and a whole sweep; what it prints, keeps and refuses."""

import errno
import json
import os
import shutil

import numpy as np
import pandas
import pytest

from jaxae import compare, data, run, sweep
from jaxae.config import Config
from jaxae.errors import InputError
from jaxae.evaluate.bench import Settings
from jaxae.files import read_json
from jaxae.folder import SweepFolder
from jaxae.progress import Progress
from jaxae.samplers import draw
from tests import made
from tests.runs import SMALL, configured, say

WANTED = (
    "elbo", "nll", "ais", "active_units", "mutual_information", "linear_probe", "frechet", "precision", "recall",
)  # fmt: skip


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """Two members of a sweep."""
    plan = sweep.Plan(configured(steps=20), (0, 1), {})
    return sweep.sweep(plan, tmp_path_factory.mktemp("evaluate") / "s").folder


def test_a_whole_sweep_is_measured_member_by_member_and_kept(swept, capsys):
    before = read_json(swept.member("seed=0").evaluation_file())
    code, out, _ = say(capsys, "evaluate", swept.path, "--metrics", "latents,probes", "--json")
    found = json.loads(out)["members"]
    assert code == 0 and list(found) == ["seed=0", "seed=1"]
    kept = read_json(swept.member("seed=0").evaluation_file())
    both = {kind: before[kind] | found["seed=0"][kind] for kind in ("notes", "settings")}
    assert {**before, **found["seed=0"], **both} == kept  # beside the likelihood of the same parameters
    assert found["seed=0"]["digest"] != found["seed=1"]["digest"]
    table = pandas.read_csv(swept.table)
    probes = [measures["linear_probe"] for measures in found.values()]
    assert table["linear_probe"].tolist() == pytest.approx(probes, rel=1e-15)  # pandas 2 reads to the last bit but one
    assert not {"notes", "settings", "kl_of_units"} & set(table)


def test_a_member_is_measured_as_it_is_in_its_sweep(swept, capsys):
    words = "--metrics", "latents", "--json"
    whole = json.loads(say(capsys, "evaluate", swept.path, *words)[1])["members"]["seed=1"]
    assert json.loads(say(capsys, "evaluate", swept.path, "--member", "seed=1", *words)[1]) == whole
    found = json.loads(say(capsys, "evaluate", swept.path, "--member", "seed=1", "--metrics", "probes", "--json")[1])
    assert pandas.read_csv(swept.table)["linear_probe"][1] == pytest.approx(found["linear_probe"], rel=1e-15)


def test_a_member_whose_outcome_is_damaged_keeps_no_other_from_being_measured(swept, tmp_path, capsys):
    folder = SweepFolder(shutil.copytree(swept.path, tmp_path / "s"))
    damaged = folder.member("seed=0").outcome_file
    damaged.write_text("{")
    code, out, err = say(capsys, "evaluate", folder.path, "--metrics", "latents", "--json")
    assert code == 2 and list(json.loads(out)["members"]) == ["seed=1"] and str(damaged) in err.splitlines()[-1]


def test_a_sweep_whose_own_file_contradicts_its_members_is_no_success(swept, tmp_path, capsys):
    folder = SweepFolder(shutil.copytree(swept.path, tmp_path / "s"))
    folder.sweep_file.write_text(json.dumps(read_json(folder.sweep_file) | {"seeds": [0]}))
    code, out, err = say(capsys, "evaluate", folder.path, "--metrics", "latents", "--json")
    assert code == 2 and "seed=0" in json.loads(out)["members"] and "seed=1" in err.splitlines()[-1]


@pytest.mark.slow
def test_a_page_that_does_not_show_what_was_measured_is_told_of(swept, capsys):
    samples = iter(range(5, 99))

    def said(*words):
        return say(capsys, "evaluate", swept.path, *words)[2]

    for words, page in (((), swept.report), (("--member", "seed=1"), swept.member("seed=1").report)):
        wanted = f"jaxae report {page.parent}"
        assert wanted not in said(*words, "--samples", next(samples)), "there is no page"
        page.write_text("")
        new = "--samples", next(samples)
        assert wanted in said(*words, *new)
        assert wanted not in said(*words, *new), "it may well show these"
        assert wanted not in said(*words, "--split", "validation"), "the page is of the test split"
        assert wanted not in said(*words, "--samples", next(samples), "--seed", "1"), "these are not kept"
        page.unlink()
    swept.report.write_text("")
    assert f"jaxae report {swept.path}" in said("--member", "seed=0", "--samples", next(samples)), "its sweep's page"
    swept.report.unlink()


@pytest.mark.slow
def test_a_page_of_another_split_than_the_usual_is_told_of(tmp_path, capsys):
    trained = run.train(configured(steps=4, evaluate="none"), tmp_path / "r")
    measured = "evaluate", trained.folder.path, "--split", "validation"
    say(capsys, *measured, "--metrics", "latents")
    trained.folder.report.write_text("")
    assert "does not show them yet" in say(capsys, *measured, "--samples", "3")[2]


def test_a_sweep_in_the_home_folder_may_be_named_by_a_tilde(swept, capsys, monkeypatch):
    monkeypatch.setenv("HOME", str(swept.path.parent))
    code, out, err = say(capsys, "evaluate", f"~/{swept.path.name}", "--metrics", "latents", "--json")
    assert code == 0 and list(json.loads(out)["members"]) == ["seed=0", "seed=1"], err


def test_measures_of_other_parameters_are_not_kept_beside_new_ones(swept, tmp_path):
    trained = run.load(swept.member("seed=0").path)
    trained = trained._replace(folder=type(trained.folder)(tmp_path, by_hand=True))
    now = {"split": "test", "evaluation_seed": 0, "step": 20, "digest": "new", "elbo": -1.0}
    empty = {"notes": {}, "settings": {}}
    run.store(trained, {**now, "digest": "old", "nll": 1.0, "notes": {"likelihood": ["too few"]}})
    run.store(trained, now)
    assert read_json(tmp_path / "evaluation.json") == {**now, **empty}
    run.store(trained, {**now, "mse": 0.5, "notes": {"likelihood": ["too few"]}})
    run.store(trained, {**now, "notes": {"likelihood": []}})
    assert read_json(tmp_path / "evaluation.json") == {**now, "mse": 0.5, **empty, "notes": {"likelihood": []}}


@pytest.mark.slow
def test_all_of_a_run_has_the_keys_that_scripts_rely_on(swept, capsys):
    words = "--metrics", "all", "--samples", 8, "--ais-examples", 5, "--ais-steps", 10
    code, out, _ = say(capsys, "evaluate", swept.path, "--member", "seed=0", *words, "--json")
    found = json.loads(out)
    assert code == 0
    for wanted in WANTED:
        assert any(wanted in name and found[name] is not None for name in found), wanted
    assert "classifier of digits" in found["settings"]["samples"]["feature_space"]
    assert "FID" not in out and "Inception" not in out
    said = say(capsys, "evaluate", swept.path, "--member", "seed=0", *words)[1]
    assert "disentanglement: not measured: digits has no known factors" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--metrics", "latnts"], "unknown metrics 'latnts': did you mean 'latents'?"),
        (["--metrics", "codebook"], "vae has no finite latent space"),
        (["--metrics", "disentanglement"], "digits has no known factors: choose data that has, such as sprites"),
        (["--ais-chains", "1"], "ais-chains 1: expected a whole number from 2 to 2147483647"),
        (["--checkpoint", "5"], "of a sweep's members the usual one is measured: name a --member"),
        (["--metrics", "samples", "--features", "nowhere.py:of"], "nowhere.py"),
    ],
)
def test_what_cannot_be_is_one_line(swept, capsys, words, said):
    code, out, err = say(capsys, "evaluate", swept.path, *words)
    assert (code, out) == (2, "")
    assert said in err and err.strip().count("\n") == 0 and "Traceback" not in err


def test_so_few_draws_are_refused_by_their_number(swept):
    trained = run.load(swept.member("seed=0").path)
    with pytest.raises(InputError, match=r"^drawn 29: expected at least 30"):
        run.evaluate_runs([trained], "samples", settings=run.Settings(drawn=29, features="pixels"))


def test_each_group_is_kept_as_soon_as_it_is_measured(swept, tmp_path):
    folder = SweepFolder(shutil.copytree(swept.path, tmp_path / "s")).member("seed=0")
    folder.evaluation_file().unlink()

    def stop(of, measures):
        run.store(of, measures)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.evaluate_runs([run.load(folder.path)], ["latents", "probes"], on_group=stop)
    kept = read_json(folder.evaluation_file())
    (whole,) = run.evaluate_runs([run.load(folder.path)], ["latents"])
    assert kept == whole


def test_a_table_names_its_runs_as_they_were_asked_for(swept, tmp_path, monkeypatch, capsys):
    shutil.copytree(swept.path, tmp_path / "s")
    monkeypatch.chdir(tmp_path)
    for words in (["s"], ["s", "--member", "seed=0"]):
        assert say(capsys, "evaluate", *words, "--metrics", "latents")[0] == 0
        assert pandas.read_csv("s/table.csv")["run"].tolist() == ["s/members/seed=0", "s/members/seed=1"]


@pytest.mark.slow
def test_what_an_interrupted_evaluation_has_kept_is_in_the_table(swept, tmp_path, monkeypatch, capsys):
    path = tmp_path / "s"
    shutil.copytree(swept.path, path)
    for seed in (0, 1):  # other tests have measured them
        SweepFolder(path).member(f"seed={seed}").evaluation_file().unlink()

    def interrupted(folder, *_):
        trained = run.load(SweepFolder(folder).member("seed=0").path)
        run.store(trained, run.evaluate_runs([trained], ["latents"])[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(sweep, "evaluate", interrupted)
    assert say(capsys, "evaluate", path, "--metrics", "latents")[0] == 130
    first, second = pandas.read_csv(path / "table.csv")["active_units"]
    assert first > 0 and np.isnan(second)


def test_a_warning_is_said_once_and_nothing_claimed_that_is_not_kept(swept, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("jaxae.files.write_json", full)
    keeping = run.Keeping()
    run.evaluate_runs([run.load(swept.member("seed=0").path)], ["latents", "probes"], on_group=keeping)
    assert capsys.readouterr().err.count("is not written") == 1 and not keeping.groups
    monkeypatch.undo()
    run.evaluate_runs([run.load(swept.member("seed=0").path)], ["latents", "probes"], on_group=keeping)
    assert list(keeping.groups) == ["latents", "probes"]


def test_whoever_waits_is_told(swept, capsys, monkeypatch):
    monkeypatch.setattr("jaxae.progress.PATIENCE", -1)
    _, out, err = say(capsys, "evaluate", swept.path, "--member", "seed=1", "--metrics", "likelihood,latents", "--json")
    assert json.loads(out)["nll"] and err.splitlines()[:2] == ["likelihood: 1 of 1", "likelihood: 1 of 1"]
    assert err.splitlines()[2:] == ["latents: 1 of 1"]
    assert list(Progress(quiet=True).track("likelihood", "ab", 2)) == ["a", "b"] and capsys.readouterr().err == ""


def test_measures_of_a_sweep_by_another_noise_are_not_kept(swept, capsys):
    before = swept.member("seed=0").evaluation_file().read_bytes()
    code, out, _ = say(capsys, "evaluate", swept.path, "--metrics", "likelihood", "--samples", 3, "--seed", 1, "--json")
    assert code == 0 and json.loads(out)["members"]["seed=0"]["evaluation_seed"] == 1
    assert swept.member("seed=0").evaluation_file().read_bytes() == before


def test_a_dimension_has_its_share_of_the_errors_too(swept):
    (found,) = run.evaluate_runs([run.load(swept.member("seed=0").path)], settings=run.Settings(samples=4))
    assert found["bits_per_dim"] / found["nll"] == pytest.approx(1 / (64 * np.log(2)))
    for error in ("mc_se", "data_se"):
        share = found[f"bits_per_dim_{error}"] / found[f"nll_{error}"]
        assert share == pytest.approx(found["bits_per_dim"] / found["nll"])


@pytest.mark.slow
def test_bits_stay_bits_however_they_are_binarised(tmp_path):
    x = (np.random.default_rng(0).random((60, 4, 4)) < 0.3).astype(np.uint8) * 255
    source = data.arrays(x, test=20, validation=10)
    small = {**SMALL, "steps": 2, "batch_size": 20}
    ways = {"vae": {}, "wae_mmd": {}, "ae": {"binarize": "threshold", "network": "mlp"}}
    for seed, (method, changes) in enumerate(ways.items()):
        of = run.train(Config(method=method, seed=seed, **small, **changes), tmp_path / method, source=source)
        run.store(of, run.evaluate_run(of, samples=2))
    frame = compare.table([tmp_path / method for method in ways])
    assert set(frame["binarize"]) == {"dynamic", "none", "threshold"} and set(frame["pixels"]) == {"bits"}
    assert len(compare.compare(frame, "mse").settings) == 3
    grey = run.train(Config(**small), tmp_path / "grey", source=data.arrays(x // 2, test=20, validation=10))
    assert "pixels" not in run.evaluate_run(grey, samples=2)["settings"]["likelihood"]


@pytest.mark.slow
def test_grey_pixels_have_no_bits_under_a_bernoulli(tmp_path):
    grey, bits = (run.train(configured(steps=2, binarize=b), tmp_path / b) for b in ("none", "dynamic"))
    found = run.evaluate_run(grey, samples=2)
    assert "bits_per_dim" not in found and "cross-entropy and no likelihood" in found["notes"]["likelihood"][-1]
    assert run.evaluate_run(bits, samples=2)["bits_per_dim"] > 0


@pytest.mark.slow
def test_what_annealing_is_of_is_told_where_nothing_else_is_measured(tmp_path):
    settings = Settings(ais_examples=4, ais_chains=2, ais_steps=2)

    def measured(name):
        trained = made.trained(tmp_path / name, name)
        return run.evaluate_runs([trained], ["ais"], run.bench(trained.setup, settings=settings))[0]

    of_grey, of_told = measured("vae"), measured("cvae")
    assert "cross-entropy and no likelihood" in of_grey["notes"]["ais"][-1]
    assert of_told["settings"]["ais"]["density_of"] == "p(x | label)" and "density_of" not in of_grey["settings"]["ais"]


def test_a_reconstruction_of_other_than_what_is_encoded_is_told(tmp_path):
    found = run.evaluate_run(run.train(configured(steps=2, method="denoising_ae"), tmp_path / "run"), samples=2)
    assert "reconstruction: of corrupted images, held-out ones too" in found["notes"]["likelihood"]


def test_measures_of_another_split_are_not_kept_for_those_of_the_test_split(tmp_path):
    trained = made.trained(tmp_path / "run")
    found = run.evaluate_run(trained, "validation", samples=2)
    run.store(trained, found)
    assert trained.folder.evaluation() == {} and trained.folder.evaluation("validation")["nll"] == found["nll"]
    found = run.evaluate_run(trained, "validation", samples=2, seed=1)
    with pytest.raises(InputError, match="measures by the noise of seed 1: only those of seed 0 are kept"):
        run.store(trained, found)
    with pytest.raises(InputError, match="samples 99999999999: expected a whole number from 2 to"):
        run.scores(trained, samples=99999999999)


def test_settings_are_chosen_by_the_validation_split(swept, capsys):
    code, out, _ = say(capsys, "evaluate", swept.path, "--split", "validation", "--json")
    found = json.loads(out)["members"]
    assert code == 0 and {of["split"] for of in found.values()} == {"validation"}
    chosen, tested = (compare.table(swept.path, split) for split in ("validation", "test"))
    assert chosen["nll"].tolist() == [of["nll"] for of in found.values()]
    assert (chosen["nll"] != tested["nll"]).all() and chosen["examples"].tolist() == [180] * 2
    code, out, _ = say(capsys, "compare", swept.path, "--split", "validation", "--json")
    assert code == 0 and json.loads(out)["settings"][0]["of"] == sorted(chosen["nll"], key=chosen["nll"].tolist().index)
    code, _, err = say(capsys, "compare", swept.path, "--split", "train")
    assert code == 2 and "`jaxae evaluate RUN --split train`" in err
    _, out, _ = say(capsys, "compare", swept.path, "--split", "validation")
    assert "negative log-likelihood (validation split, nats" in out


@pytest.mark.slow
def test_samples_by_any_sampler_are_judged_alike(swept, capsys):
    trained, settings = run.load(swept.member("seed=0").path), run.Settings(features="pixels", drawn=70)
    names = ("frechet", "precision", "recall", "density", "coverage")
    (usual,) = run.evaluate_runs([trained], ["samples"], settings=settings)
    same = draw.evaluate(trained, "prior", settings=settings)
    assert [same[name] for name in names] == pytest.approx([usual[name] for name in names], rel=1e-4)
    assert same["settings"] == usual["settings"] and usual["settings"]["samples"]["drawn"] == 70
    words = "--metrics", "samples", "--features", "pixels", "--drawn", 70, "--sampler", "gaussian", "--json"
    members = json.loads(say(capsys, "evaluate", swept.path, *words)[1])["members"]
    fitted = draw.evaluate(trained, "gaussian", settings=settings)
    for found in (members["seed=0"], swept.member("seed=0").evaluation()):
        assert [found[name] for name in names] == [fitted[name] for name in names] != [same[name] for name in names]
        assert found["settings"]["samples"]["sampler"] == "gaussian"
    sampler, floor = compare.compare(compare.table(swept.path), "frechet").caveats
    assert sampler == "samples are drawn by the sampler gaussian"
    assert floor.startswith(f"real images of the two splits are {fitted['frechet_floor']:.3g} apart")
    (cover,) = compare.compare(compare.table(swept.path), "coverage").caveats[1:]
    assert cover.endswith(f"would cover {fitted['coverage_expected']:.3g}")
    alone = json.loads(say(capsys, "evaluate", swept.path, "--member", "seed=0", *words)[1])
    assert [alone[name] for name in names] == [fitted[name] for name in names]


@pytest.mark.slow
def test_what_a_sampler_cannot_do_costs_nothing_that_was_measured(tmp_path, capsys):
    base = configured(steps=4, binarize="dynamic", likelihood="bernoulli", network="mlp", latent=8)
    plan = sweep.Plan(base, (0,), {"method": ("ae", "categorical_vae")})
    folder = sweep.sweep(plan, tmp_path / "s").folder
    words = "--features", "pixels", "--sampler", "autoregressive", "--drawn", 40
    code, out, err = say(capsys, "evaluate", folder.path, "--metrics", "latents,samples", *words)
    assert code == 2 and "seed=0,method=ae: ae has no whole-number codes" in err and "frechet" in out
    assert folder.member("seed=0,method=categorical_vae").evaluation()["frechet"] > 0
    code, out, _ = say(
        capsys, "evaluate", folder.path, "--member", "seed=0,method=ae", "--metrics", "all", *words, "--json"
    )
    assert code == 0 and "linear_probe" in json.loads(out)
    assert "not measured by the sampler autoregressive: ae has no" in json.loads(out)["notes"]["samples"][-1]


def test_draws_that_are_not_finite_leave_no_scores_of_others(swept, monkeypatch):
    trained, settings = run.load(swept.member("seed=1").path), run.Settings(features="pixels", drawn=40)
    run.store(trained, draw.evaluate(trained, "prior", settings=settings))
    assert trained.folder.evaluation()["frechet"] > 0
    monkeypatch.setattr(draw, "sample", lambda *_: draw.Samples(np.full((40, 8, 8, 1), np.nan), None, {}))
    kept = run.store(trained, draw.evaluate(trained, "gaussian", settings=settings))
    assert kept["settings"]["samples"]["sampler"] == "gaussian"
    scores = ("frechet", "frechet_se", "frechet_floor", "precision", "recall", "density", "coverage")
    assert [kept[name] for name in scores] == [None] * len(scores)


def test_flags_that_nothing_asked_for_would_heed_are_refused(swept, capsys):
    for flag, value in (("sampler", "gaussian"), ("drawn", "70"), ("features", "pixels")):
        code, _, err = say(capsys, "evaluate", swept.path, f"--{flag}", value)
        assert code == 2 and f"{flag} " in err and "it is of --metrics samples" in err
    code, _, err = say(capsys, "evaluate", swept.path, "--metrics", "samples", "--drawn", "0")
    assert code == 2 and "drawn 0: expected a whole number from 1 to" in err


def test_a_group_that_is_not_possible_now_keeps_what_was_said_of_its_numbers(tmp_path):
    trained = made.trained(tmp_path / "run")
    mine = {"digest": "a", "step": 10, "split": "test", "evaluation_seed": 0}
    run.store(trained, {**mine, "frechet": 3.0, "notes": {"samples": ["few"]}, "settings": {"samples": {"n": 1}}})
    left_out = {"samples": ["not measured: no labels"], "latents": []}
    whole = run.store(trained, {**mine, "active_units": 2, "notes": left_out, "settings": {"latents": {}}})
    assert whole == read_json(tmp_path / "run" / "evaluation.json")
    assert (whole["frechet"], whole["active_units"], whole["notes"]["samples"]) == (3.0, 2, ["few"])


def test_a_sweep_that_cannot_be_written_is_measured_all_the_same(swept, capsys, monkeypatch):
    before = say(capsys, "evaluate", swept.path, "--samples", "2", "--json")[1]

    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr("jaxae.files.write_json", refused)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refused)
    code, out, err = say(capsys, "evaluate", swept.path, "--samples", "2", "--json")
    assert (code, out) == (0, before)
    assert "evaluation.json is not written" in err and "table.csv: cannot be written" in err
