"""Settings against each other: the numbers by hand, and every comparison that would mean nothing refused."""

import numpy as np
import pandas
import pytest
from scipy import stats

from jaxae.compare import compare, planning, rows, table, words
from jaxae.errors import InputError
from jaxae.evaluate import measures
from jaxae.files import read_json, write_json
from tests import compared


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return table(compared.sweep(tmp_path_factory.mktemp("compare") / "s", compared.GRID))


def of(beta):
    return np.array([nll for (_, b), nll in compared.GRID.items() if b == beta])


def test_every_setting_with_its_seeds(frame):
    found = compare(frame)
    assert (found.measure, found.unit, found.better, found.baseline) == ("nll", "nats", "lower", "beta=1")
    assert [s.label for s in found.settings] == ["beta=1", "beta=2", "beta=4"]
    for setting, beta in zip(found.settings, (1.0, 2.0, 4.0)):
        assert setting.values == {"beta": beta} and setting.seeds == (0, 1, 2, 3, 4) and setting.of == tuple(of(beta))
        assert setting.summary.mean == pytest.approx(of(beta).mean()) and setting.summary.n == 5
        assert (setting.diverged, setting.missing) == ((), ())


def test_differences_are_paired_by_seed_and_corrected_within_their_table(frame):
    found = compare(frame, baseline="beta=2")
    assert [(pair.setting, pair.other) for pair in found.against] == [("beta=1", "beta=2"), ("beta=4", "beta=2")]
    raw = [stats.ttest_rel(of(beta), of(2.0)).pvalue for beta in (1.0, 4.0)]
    assert [pair.difference.p for pair in found.against] == pytest.approx(raw)
    assert [pair.p_holm for pair in found.against] == pytest.approx(
        [min(1, 2 * p) if p == min(raw) else max(2 * min(raw), p) for p in raw]
    )
    first = found.against[0]
    assert first.difference.mean == pytest.approx((of(1.0) - of(2.0)).mean())
    assert first.differences == pytest.approx(of(1.0) - of(2.0)) and first.seeds == (0, 1, 2, 3, 4)
    assert [(pair.setting, pair.other) for pair in found.pairs] == [
        ("beta=2", "beta=1"), ("beta=4", "beta=1"), ("beta=4", "beta=2"),
    ]  # fmt: skip


def test_a_comparison_is_a_table_too(frame, tmp_path):
    found = compare(frame, baseline="beta=2")
    rows = found.frame()
    assert rows["beta"].tolist() == [1.0, 2.0, 4.0] and rows["n"].tolist() == [5, 5, 5]
    for name in ("mean", "low", "high", "sd", "iqm"):
        assert rows[name].tolist() == [getattr(setting.summary, name) for setting in found.settings]
    pairs = found.differences()
    assert pairs[["setting", "other"]].to_numpy().tolist() == [["beta=1", "beta=2"], ["beta=4", "beta=2"]]
    assert pairs["mean"].tolist() == [pair.difference.mean for pair in found.against]
    assert pairs["p_holm"].tolist() == [pair.p_holm for pair in found.against]
    assert pairs["improvement_low"].tolist() == [pair.improvement.low for pair in found.against]
    lost = compared.sweep(tmp_path / "s", compared.GRID, diverged=[(seed, 4.0) for seed in range(5)])
    assert compare(table(lost)).frame()["n"].tolist() == [5, 5, 0]
    alone = compare(frame[frame["beta"] == 1])
    assert alone.frame()["mean"].tolist() == [alone.settings[0].summary.mean]
    assert alone.differences().empty and list(alone.differences()) == list(pairs)
    by_sd = compare(frame.rename(columns={"beta": "sd"})).frame()
    assert by_sd["setting_sd"].tolist() == [1.0, 2.0, 4.0] and by_sd["sd"].tolist() == rows["sd"].tolist()


def test_a_papers_table_has_the_digits_that_the_scatter_allows_and_no_bare_sign(frame, tmp_path):
    one, half = (compare(frame.assign(nll=frame["nll"] * by), "nll", level=0.9) for by in (1, -1e-3))
    about, *lines = one.latex().splitlines()
    assert about.startswith(
        "% negative log-likelihood in nats, test split: mean over n seeds, its interval by Student's t"
    )
    assert lines[0] == r"\begin{tabular}{lrrrr}" and r"beta & mean & 90 \% interval & sd & n \\" in lines
    s = one.settings[0].summary
    assert f"1 & {s.mean:.2f} & {s.low:.2f} to {s.high:.2f} & {s.sd:.2f} & 5 \\\\" in lines
    assert f"1 & $-${s.mean / 1e3:.5f} & " in half.latex() and "−" not in half.latex()
    counted = compare(frame.rename(columns={"beta": "n"})).latex()
    assert "setting\\_n & mean" in counted and "\n4 & " in counted
    both = table([compared.run(tmp_path / "a", 0, 20.0), compared.run(tmp_path / "b", 0, 21.0, clip_norm=1.0)])
    assert "clip\\_norm & mean" in compare(both).latex() and "none & 20" in compare(both).latex()
    named = frame.rename(columns={"beta": "clip_norm"}).assign(clip_norm="a_b")
    assert r"clip\_norm & mean" in compare(named[named["seed"] == 0].iloc[:1]).latex()
    assert r"a\_b & " in compare(named[named["seed"] == 0].iloc[:1]).latex()
    alone = table(compared.run(tmp_path / "r", 0, 20.0))
    assert r"setting & mean & 95 \% interval & sd & n \\" in compare(alone).latex()
    assert r"all runs & 20.000 & – & – & 1 \\" in compare(alone).latex()


def test_a_papers_table_says_what_it_lost_and_every_caveat(frame):
    lost = frame.assign(nll_bias=0.2)
    lost.loc[(lost["beta"] == 4) & (lost["seed"] < 2), "outcome"] = "diverged"
    found = compare(lost)
    assert found.caveats and "".join(f"% {caveat}\n" for caveat in found.caveats) in found.latex()
    assert r"sd & n & diverged \\" in found.latex() and r"& 3 & 2 \\" in found.latex()
    assert found.frame()[["n", "diverged", "missing"]].to_numpy().tolist()[-1] == [3, 2, 0]


def test_each_setting_has_the_digits_of_its_own_scatter(frame):
    """One number of decimals for all would show a scatter of 1e-6 as none, or digits that are noise."""
    narrow = frame.copy()
    near = narrow["beta"] == 1
    narrow.loc[near, "nll"] = 20 + (narrow.loc[near, "nll"] - 20) * 1e-5
    shown, wide = rows.setting_rows(compare(narrow))[:2]
    assert float(shown["sd"]) == pytest.approx(narrow.loc[near, "nll"].std(), rel=0.05)
    assert len(wide["mean"].partition(".")[2]) <= 2
    (cell, *_), *_ = (row["cells"] for row in rows.other_measures(narrow)["rows"])
    assert float(cell["sd"]) == pytest.approx(narrow.loc[near, "nll"].std(), rel=0.05)


def test_seeds_are_planned_at_the_level_that_the_correction_leaves(frame):
    found = compare(frame, level=0.99)
    for pair in found.against:
        assert pair.seeds_needed == planning.seeds_needed(pair.difference, 0.01 / len(found.against))
        assert pair.seeds_needed > planning.seeds_needed(pair.difference)


def test_a_difference_that_the_bias_of_few_samples_makes_is_said(tmp_path):
    def settings(bias, first=None):
        for seed in range(4):
            for beta, nll, own in ((1.0, 20.0, first), (4.0, 20.03, bias)):
                known = {} if own is None else {"nll_bias": own}
                of = compared.measures(nll + 1e-3 * (-1) ** seed * beta, **known)
                compared.run(tmp_path / f"{bias} {first} {seed} {beta}", seed, of, beta=beta)
        return compare(table([*tmp_path.glob(f"{bias} {first} *")]), measure).caveats

    measure = "bits_per_dim"
    assert settings(0.045, 0.001) == (), "the bias is in nats"
    measure = None
    (caveat,) = settings(0.04, 0.002)
    assert caveat.startswith("want of importance samples alone may set beta=4 and beta=1 0.038 nats apart")
    assert settings(0.01, 0.002) == ()
    assert "up to about 0.3 nats too high" in settings(0.3)[0], "of one setting it is not known"


def test_better_is_lower_or_higher_as_the_measure_says(frame):
    lower = compare(frame, "nll").against[1].improvement
    higher = compare(frame, "elbo").against[1].improvement
    assert lower.probability == higher.probability == 0.0
    assert compare(frame, "nll", "beta=4").against[0].improvement.probability == 1.0
    assert compare(frame, "kl").better is None and compare(frame, "kl").against[0].improvement.probability == 0.5


def test_the_order_of_runs_changes_nothing(frame):
    assert compare(frame.sample(frac=1, random_state=0)) == compare(frame)


def test_pairs_use_the_seeds_both_have_and_what_is_left_out_is_counted(tmp_path):
    where = compared.sweep(
        tmp_path / "s", compared.GRID, diverged=[(1, 4.0)], untrained=[(2, 2.0), (4, 4.0)], unevaluated=[(0, 2.0)]
    )
    found = compare(table(where))
    base, middle, last = found.settings
    assert (base.diverged, base.missing) == ((), ()) and (middle.missing, middle.summary.n) == ((0, 2), 3)
    assert (last.diverged, last.missing, last.seeds) == ((1,), (4,), (0, 2, 3))
    assert [pair.seeds for pair in found.against] == [(1, 3, 4), (0, 2, 3)]
    assert found.pairs[2].seeds == (3,) and found.pairs[2].difference.p is None and found.pairs[2].p_holm is None


def test_settings_without_a_common_seed(tmp_path):
    paths = [compared.run(tmp_path / f"{seed}", seed, 20.0 + seed, beta=1.0 + seed // 3) for seed in range(6)]
    (pair,) = compare(table(paths)).against
    assert pair.seeds == () and pair.difference.mean is None and pair.seeds_needed is None and pair.p_holm is None
    assert pair.improvement.probability == 0.0


def test_one_setting_is_summed_up_and_compared_with_nothing(tmp_path):
    frame = table([compared.run(tmp_path / f"{seed}", seed, 20.0 + seed) for seed in range(3)])
    found = compare(frame)
    assert found.settings[0].label == found.baseline == "all runs" and not found.against and not found.pairs
    with pytest.raises(InputError, match="all 3 runs are of one setting"):
        compare(frame, baseline="beta=1")


def test_the_first_measure_that_all_have(tmp_path):
    bare = compared.measures(20.0, nll=None, elbo=None, kl=None, samples=None)
    paths = [compared.run(tmp_path / "a", 0, bare, method="ae"), compared.run(tmp_path / "b", 0, 20.0)]
    frame = table([compared.run(tmp_path / "c", 0, compared.measures(20.0, nll=None), latent=2), paths[1]])
    assert compare(frame).measure == "elbo"
    ae = table([paths[0], compared.run(tmp_path / "d", 0, bare, method="ae", latent=2)])
    assert compare(ae).measure == "mse"


def test_a_run_without_the_measure_is_left_out_and_counted(tmp_path):
    """Its value was not finite, or its method has none."""
    nothing = compared.measures(20.0, nll=None, elbo=None, mse=None)
    values = {(0, 1.0): 20.0, (1, 1.0): 21.0, (0, 2.0): 19.0, (1, 2.0): nothing, (0, 4.0): nothing, (1, 4.0): nothing}
    frame = table(compared.sweep(tmp_path / "s", values))
    for found in (compare(frame), compare(frame, "nll")):
        assert found.measure == "nll" and [s.seeds for s in found.settings] == [(0, 1), (0,), ()]
        assert [s.missing for s in found.settings] == [(), (1,), (0, 1)]
    with pytest.raises(InputError, match="unknown measure 'mig'"):
        compare(frame, "mig")
    with pytest.raises(InputError, match="the runs have none of nll, elbo, mse"):
        compare(frame[frame["nll"].isna()])
    with pytest.raises(InputError, match="measure 'nll': no run has a finite value of it: choose another --measure: "):
        compare(frame[frame["nll"].isna()], "nll")
    with pytest.raises(InputError, match="no run has a finite value of it"):
        compare(frame.assign(nll=np.inf), "nll")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"measure": "nl"}, "unknown measure 'nl': did you mean 'nll'"),
        ({"measure": "digest"}, "unknown measure 'digest'"),
        ({"baseline": "bta=1"}, "unknown field of the baseline 'bta': did you mean 'beta'"),
        ({"baseline": "beta=3"}, "no run has it: expected one of: beta=1; beta=2; beta=4"),
        ({"baseline": "beta=one"}, "no run has it"),
        ({"baseline": "two"}, "expected a setting such as beta=1"),
        ({"level": 95.0}, "level 95.0: expected a share between 0 and 1"),
        ({"level": "0.9"}, "level '0.9': expected a share between 0 and 1"),
    ],
)
def test_what_was_asked_amiss(frame, asked, message):
    with pytest.raises(InputError, match=message):
        compare(frame, **asked)


def test_a_baseline_of_several_fields(tmp_path):
    grid = [(latent, optimizer) for latent in (2, 4) for optimizer in ("adam", "sgd")]
    paths = [compared.run(tmp_path / f"{i}", 0, 20.0, latent=a, optimizer=b) for i, (a, b) in enumerate(grid)]
    frame = table(paths)
    assert compare(frame, baseline="optimizer=sgd, latent=4").baseline == "latent=4, optimizer=sgd"
    with pytest.raises(InputError, match="2 settings have it"):
        compare(frame, baseline="latent=4")
    paths = [compared.run(tmp_path / f"r{i}", 0, 20.0, clip_norm=i + 1.0, latent=8) for i in (0, 1)]
    found = compare(table([*paths, tmp_path / "1"]), baseline="latent=8,clip-norm=2")
    assert found.baseline == compare(table([*paths, tmp_path / "1"]), baseline="clip-norm=2,latent=8").baseline


def test_a_setting_that_lacks_what_another_has_is_named_for_it(tmp_path):
    grid = [(beta, clip) for beta in (1.0, 4.0) for clip in (None, 1.0)]
    paths = [
        compared.run(tmp_path / f"{i}", seed, 20.0 + seed, hyperparameters={"beta": beta}, clip_norm=clip)
        for i, (beta, clip, seed) in enumerate((*each, seed) for each in grid for seed in (0, 1))
    ]
    found = compare(table(paths))
    labels = [setting.label for setting in found.settings]
    assert labels == ["beta=1, clip_norm=none", "beta=1, clip_norm=1", "beta=4, clip_norm=none", "beta=4, clip_norm=1"]
    assert found.settings[0].values == {"beta": 1.0, "clip_norm": None}
    for asked in (*labels, "clip-norm=None, beta=4"):
        assert compare(table(paths), baseline=asked).baseline in (asked, labels[2])
    two = compare(table(paths[:4]))
    assert [setting.label for setting in two.settings] == ["clip_norm=none", "clip_norm=1"]
    assert compare(table(paths[:4]), baseline="clip_norm=none").baseline == two.baseline == "clip_norm=none"


def test_one_run_without_finite_nats_does_not_change_the_measure_of_all(tmp_path):
    """Null in evaluation.json: what was not finite. Its setting has others that have it; one without any is told of."""
    lost = compared.measures(20.0) | dict.fromkeys(("nll", "elbo", "kl", "reconstruction"))
    values = {(seed, beta): 20 + beta + seed / 8 for seed in range(3) for beta in (1.0, 4.0)} | {(1, 4.0): lost}
    found = compare(table(compared.sweep(tmp_path / "s", values)))
    assert found.measure == "nll" and [s.seeds for s in found.settings] == [(0, 1, 2), (0, 2)]
    assert [(s.missing, s.not_finite) for s in found.settings] == [((), ()), ((1,), ())]
    nothing = "what the model makes is not finite: nothing to measure"
    for number, note in enumerate(("not finite: kl, nll", "not finite: kl, nll_mc", nothing)):
        told = values | {(1, 4.0): lost | {"notes": {"likelihood": ["of others"], "samples": [note]}}}
        setting = compare(table(compared.sweep(tmp_path / f"{number}", told))).settings[1]
        assert (setting.missing, setting.not_finite) == (((1,), ()) if number else ((), (1,)))
    values |= {(seed, 4.0): lost for seed in range(3)}
    found = compare(table(compared.sweep(tmp_path / "t", values)))
    assert found.measure == "mse"
    assert found.caveats[:2] == ("not by nll: beta=4 has none", "not by elbo: beta=4 has none")


def test_what_could_not_be_made_of_what_is_not_finite_is_not_finite(tmp_path):
    nothing = compared.measures(20.0) | {
        "notes": {"samples": ["what the model makes is not finite: nothing to measure"]}
    }
    there = compared.measures(20.0, recall=0.5, ais_nll=19.0)
    frame = table(compared.sweep(tmp_path / "s", {(0, 1.0): there, (1, 1.0): nothing}))
    for measure, lost in (("recall", ((), (1,))), ("ais_nll", ((1,), ())), ("nll", ((), ()))):
        (setting,) = compare(frame, measure).settings
        assert (setting.missing, setting.not_finite) == lost
    again = pandas.concat([frame.iloc[:1], frame.iloc[1:].set_axis([0])])  # two tables, each numbered from 0
    assert compare(again, "recall").settings[0].not_finite == (1,)


def test_a_setting_of_which_nothing_is_finite_is_said_to_be(tmp_path):
    lost = compared.measures(20.0, nll=None, notes={"likelihood": ["of others", "not finite: nll"]})
    values = {(seed, beta): lost if beta == 4 else 20.0 + seed for seed in range(2) for beta in (1.0, 4.0)}
    found = compare(table(compared.sweep(tmp_path / "s", values)))
    assert found.measure == "elbo" and found.caveats[0] == "not by nll: beta=4 has none that is finite"


@pytest.mark.parametrize("column", [1.0, 2, True, "nll of mine"])
def test_a_column_of_ones_own_called_not_finite_is_one_of_ones_own(frame, column):
    assert compare(frame.assign(not_finite=column), "nll").settings[0].seeds == (0, 1, 2, 3, 4)


def test_means_over_different_seeds_are_said_to_be(frame):
    apart = frame[(frame["beta"] == 1) & (frame["seed"] < 2) | (frame["beta"] == 2) & (frame["seed"].isin([1, 2]))]
    assert compare(apart).caveats[-1].startswith("the settings' means are over different seeds")
    assert not [caveat for caveat in compare(frame).caveats if "different seeds" in caveat]


def test_a_usual_measure_that_is_passed_over_is_said_to_be(tmp_path):
    paths = [
        compared.run(tmp_path / f"{beta} {seed}", seed, compared.measures(20.0 + seed, samples=100 * beta), beta=beta)
        for beta in (1, 2) for seed in (0, 1)
    ]  # fmt: skip
    found = compare(table(paths))
    assert found.measure == "elbo" and found.caveats[0].startswith("not by nll: ")
    assert "evaluated with different numbers of importance samples" in found.caveats[0]
    assert not [caveat for caveat in compare(table(paths), "elbo").caveats if "not by" in caveat]


def test_what_is_no_table_is_one_line(frame):
    for what in ("runs/s", [frame]):
        with pytest.raises(InputError, match=r"expected a table, such as compare.table\(\[...\]\) gives"):
            compare(what)
    with pytest.raises(InputError, match=r"baseline \{'beta': 1\}: expected text, such as"):
        compare(frame, baseline={"beta": 1})


def test_a_table_by_way_of_a_file_knows_its_split(tmp_path):
    paths = [compared.run(tmp_path / f"{seed}", seed, compared.measures(20.0, split="validation")) for seed in (0, 1)]
    for path in paths:
        (path / "evaluation.json").rename(path / "evaluation.validation.json")
    frame = table(paths, "validation")
    frame.to_csv(tmp_path / "t.csv", index=False)
    assert compare(pandas.read_csv(tmp_path / "t.csv")).split == compare(frame).split == "validation"


CLASHES = {
    "evaluated on different splits": {"nll": compared.measures(20.0, split="validation")},
    "different numbers of importance samples": {"nll": compared.measures(20.0, samples=5000)},
    "different numbers of examples": {"nll": compared.measures(20.0, examples=39)},
    "on different data": {"data": {**compared.DATA, "sha256": "e" * 64}},
    "binarised in different ways": {"binarize": "threshold"},
    r"counts different things \(bernoulli and discretised_logistic\)": {
        "likelihood": "discretised_logistic", "binarize": "dynamic",
    },
}  # fmt: skip


@pytest.mark.parametrize("message", CLASHES)
def test_runs_that_were_not_measured_alike(tmp_path, message):
    other = {"nll": 21.0} | CLASHES[message]
    paths = [compared.run(tmp_path / "a", 0, 20.0), compared.run(tmp_path / "b", 1, **other)]
    with pytest.raises(InputError, match=message) as refused:
        compare(table(paths), "nll")
    assert "\n" not in str(refused.value)


def test_a_seed_twice_in_a_setting_is_no_replicate(tmp_path):
    paths = [compared.run(tmp_path / name, 7, 20.0) for name in "ab"]
    with pytest.raises(InputError, match=r"a and .*b are both seed 7 of all runs"):
        compare(table(paths))


def test_tables_that_were_joined_pool_no_runs_of_different_settings(tmp_path):
    runs = {(seed, rate): tmp_path / f"{seed}-{rate}" for seed, rate in ((0, 1e-3), (1, 1e-3), (2, 1e-2), (3, 1e-2))}
    for (seed, rate), path in runs.items():
        compared.run(path, seed, 20.0 + seed, learning_rate=rate)
    one, other = (table([runs[seed, rate] for seed in seeds]) for seeds, rate in (((0, 1), 1e-3), ((2, 3), 1e-2)))
    with pytest.raises(InputError, match=r"0-0.001 and .*2-0.01 are both all runs here, as in tables that were joined"):
        compare(pandas.concat([one, other]))
    varied = table([runs[0, 1e-3], runs[2, 1e-2]])
    with pytest.raises(InputError, match=r"are of one setting, and here of learning_rate=0.001 and learning_rate=none"):
        compare(pandas.concat([varied, table([runs[1, 1e-3]])]))
    both = table([runs[0, 1e-3], runs[1, 1e-3]]), table([compared.run(tmp_path / "4", 4, 24.0, learning_rate=1e-3)])
    assert compare(pandas.concat(both)).settings[0].seeds == (0, 1, 4), "of one setting, though in two tables"


def test_a_baseline_that_was_never_measured(tmp_path):
    where = compared.sweep(tmp_path / "s", {(0, 1.0): 20.0, (0, 2.0): 21.0}, diverged=[(0, 1.0)])
    with pytest.raises(InputError, match="baseline 'beta=1': none of its runs has a value of nll: choose another"):
        compare(table(where), baseline="beta=1")
    found = compare(table(where))
    assert found.baseline == "beta=2" and found.settings[0].summary is None and found.against[0].improvement is None


def test_samples_judged_in_different_spaces_are_no_comparison(tmp_path):
    of = {1.0: "one", 2.0: "another"}
    for beta, space in of.items():
        kept = compared.measures(20.0, frechet=3.0, settings={"samples": {"feature_space": space}}, notes={})
        compared.run(tmp_path / space, 0, kept, beta=beta)
    frame = table([tmp_path / space for space in of.values()])
    assert frame["feature_space"].tolist() == ["one", "another"] and "settings" not in frame
    with pytest.raises(InputError, match=r"measured in different feature spaces \(one and another\)"):
        compare(frame, "frechet")
    assert compare(frame, "nll").measure == "nll"


def test_annealing_of_another_length_or_likelihood_is_no_comparison(tmp_path):
    """And what does not come from importance samples may be compared whatever their number."""
    of, other = {"bernoulli": 500, "levels": 500, "short": 1}, {"likelihood": "discretised_logistic"}
    for name, steps in of.items():
        settings = {"ais": {"examples": 100, "chains": 16, "steps": steps}}
        kept = compared.measures(20.0, ais_nll=19.0, bdmc_gap=0.1, samples=64 + steps, settings=settings, notes={})
        compared.run(tmp_path / name, len(name), kept, binarize="dynamic", **(other if name == "levels" else {}))
    ways = r"annealed in different ways \(100 examples, 16 chains, 500 steps and 100 examples, 16 chains, 1 steps\)"
    frame = table([tmp_path / name for name in ("bernoulli", "short")])
    for measure in ("ais_nll", "bdmc_gap"):
        with pytest.raises(InputError, match=ways):
            compare(frame, measure)
    assert compare(frame, "mse").measure == "mse"
    with pytest.raises(InputError, match="different numbers of importance samples"):
        compare(frame, "nll")
    with pytest.raises(InputError, match=r"'ais_nll' counts different things \(bernoulli and discretised_logistic\)"):
        compare(table([tmp_path / name for name in ("bernoulli", "levels")]), "ais_nll")


def test_a_density_that_is_told_the_label_is_not_ranked_among_others(tmp_path):
    told = compared.measures(19.0, settings={"likelihood": {"density_of": "p(x | label)"}})
    runs = [compared.run(tmp_path / "vae", 0, 20.0), compared.run(tmp_path / "cvae", 0, told, method="cvae")]
    with pytest.raises(InputError, match=r"are of different densities, .*\(p\(x\) and p\(x \| label\)\)"):
        compare(table(runs), "nll")
    assert compare(table(runs), "mse").measure == "mse"


def test_nats_of_methods_without_a_density_are_apart_from_those_that_are_told_the_label(tmp_path):
    told = compared.measures(19.0, settings={"likelihood": {"density_of": "p(x | label)"}})
    plain = {"reconstruction": 70.0, "mse": 0.1, "split": "test", "examples": 40, "step": 10}
    runs = [
        compared.run(tmp_path / "ae", 0, plain, method="ae", binarize="dynamic"),
        compared.run(tmp_path / "cvae", 0, told, method="cvae"),
    ]
    with pytest.raises(InputError, match=r"are of different densities, .*\(p\(x\) and p\(x \| label\)\)"):
        compare(table(runs), "reconstruction")
    noisy = {**plain, "notes": {"likelihood": ["reconstruction: of corrupted images, held-out ones too"]}}
    runs[1] = compared.run(tmp_path / "dae", 0, noisy, method="denoising_ae", binarize="dynamic")
    ways = r"reconstruction of different images \(the encoded images and of corrupted images, held-out ones too\)"
    with pytest.raises(InputError, match=ways):
        compare(table(runs), "reconstruction")
    assert compare(table(runs), "mse").measure == "mse"


def test_what_became_of_the_pixels_decides_nats_and_errors_and_no_other_measure(tmp_path):
    kept = compared.measures(20.0, frechet=3.0, linear_probe=0.5, settings={"samples": {"feature_space": "pixels"}})
    for seed, binarize in enumerate(("dynamic", "threshold")):
        compared.run(tmp_path / binarize, seed, kept, binarize=binarize)
    frame = table([tmp_path / "dynamic", tmp_path / "threshold"])
    for measure in ("nll", "mse", "kl", "reconstruction"):
        with pytest.raises(InputError, match=r"binarised in different ways \(dynamic and threshold\)"):
            compare(frame, measure)
    with pytest.raises(InputError, match=r"binarised in different ways"):
        compare(frame)
    assert compare(frame, "frechet").measure == "frechet" and compare(frame, "linear_probe").measure == "linear_probe"


def test_a_tables_settings_are_told_by_their_names_and_not_by_the_order_of_its_columns(tmp_path):
    runs = [
        compared.run(tmp_path / f"{seed}-{beta}", seed, 20.0 + beta, beta=beta) for seed in (0, 1) for beta in (1, 4)
    ]
    whole = table(runs)
    expected = [setting.label for setting in compare(whole).settings]
    assert len(expected) == 2
    others = [name for name in whole.columns if name not in ("beta", "seed")]
    for changed in (whole[["beta", "seed", *others]], whole.set_index(["seed", "beta"]).reset_index()):
        assert [setting.label for setting in compare(changed).settings] == expected
    more = whole.copy()
    more.insert(list(more).index("outcome"), "hours", [0.1, 0.2, 0.3, 0.4])
    assert [setting.label for setting in compare(more).settings] == expected
    assert compare(more, "hours").measure == "hours"
    for name in ("beta", "seed", "outcome", "run"):
        with pytest.raises(InputError, match=f"the table has no column '{name}': expected all those that"):
            compare(whole.drop(columns=name))
    ones_own = pandas.DataFrame(whole.to_dict("list"))
    assert [setting.label for setting in compare(ones_own).settings] == expected


def test_the_usual_measure_is_one_that_may_be_compared(tmp_path):
    told = compared.measures(19.0, settings={"likelihood": {"density_of": "p(x | label)"}})
    runs = [compared.run(tmp_path / "vae", 0, 20.0), compared.run(tmp_path / "cvae", 0, told, method="cvae")]
    assert compare(table(runs)).measure == "mse"


def test_one_schedule_in_two_spellings_is_one_setting(tmp_path):
    ways = ("linear(0, 1, 20e)", "linear(0,1.0,20.0e)", "linear(0, 2, 20e)")
    for seed, beta in enumerate(ways):
        compared.run(tmp_path / str(seed), seed, 20.0 + seed, beta=beta, steps=("10e", "10.0e", "10e")[seed])
    frame = table([tmp_path / str(seed) for seed in range(3)])
    assert [s.seeds for s in compare(frame).settings] == [(0, 1), (2,)]
    assert "steps" not in frame
    assert compare(frame, baseline="beta=linear(0,2,20e)").baseline == "beta=linear(0, 2, 20e)"


def test_what_probes_read_of_codes_without_a_label_is_said(tmp_path):
    told = compared.measures(19.0, linear_probe=0.5, notes={"probes": [measures.UNTOLD]})
    (caveat,) = compare(table(compared.run(tmp_path / "cvae", 0, told)), "linear_probe").caveats
    assert caveat == "of conditional methods, codes of the encoder at no label"


def annealed(nll, **settings):
    """Of a run of which nothing else has been measured."""
    of = {"ais": {"examples": 100, "chains": 16, "steps": 500, **settings}}
    kept = compared.measures(nll, ais_nll=nll, bdmc_gap=0.3, settings=of, notes={"ais": []})
    return {name: value for name, value in kept.items() if name not in ("elbo", "nll", "kl", "bits_per_dim")}


def test_annealed_densities_that_are_told_the_label_are_not_ranked_among_others(tmp_path):
    told = annealed(19.0, density_of="p(x | label)")
    runs = [compared.run(tmp_path / "vae", 0, annealed(20.0)), compared.run(tmp_path / "cvae", 0, told, method="cvae")]
    with pytest.raises(InputError, match=r"are of different densities, .*\(p\(x\) and p\(x \| label\)\)"):
        compare(table(runs), "ais_nll")
    assert "these nats are of p(x | label)" in compare(table(runs[1:]), "ais_nll").caveats


def test_runs_evaluated_by_other_noise_are_refused(tmp_path):
    runs = [
        compared.run(tmp_path / str(s), s, compared.measures(20.0, evaluation_seed=s), beta=1.0 + s) for s in (0, 1)
    ]
    with pytest.raises(InputError, match=r"evaluated by different noise \(0 and 1\): evaluate them by the same --seed"):
        compare(table(runs), "mse")


def with_modules(path, seed, nll, **modules):
    compared.run(path, seed, nll)
    record = read_json(path / "record.json")
    del record["command"]
    known = {"encoder": "Encoder(width = 4)", "decoder": "Decoder(width = 4)", "likelihood": "bernoulli", "latent": 2}
    write_json(path / "record.json", {**record, "network": "the user's own modules", "modules": known | modules})
    return path


def test_runs_of_ones_own_modules_are_one_setting_only_where_these_are_the_same(tmp_path):
    same = [with_modules(tmp_path / f"{seed}", seed, 20.0 + seed) for seed in (0, 1)]
    assert [s.seeds for s in compare(table(same)).settings] == [(0, 1)]
    wider = with_modules(tmp_path / "wider", 0, 19.0, decoder="Decoder(width = 9)")
    labels = [s.label for s in compare(table([*same, wider])).settings]
    assert len(labels) == 2 and all(label.startswith("network=Encoder and Decoder ") for label in labels)
    built_in = compared.run(tmp_path / "built-in", 2, 25.0)
    assert len(compare(table([*same, built_in])).settings) == 2
    with pytest.raises(InputError, match="likelihoods"):
        compare(table([*same, with_modules(tmp_path / "g", 0, 19.0, likelihood="gaussian")]), "nll")


def test_what_must_be_said_of_the_nats(tmp_path):
    grey = compared.measures(20.0, notes={"likelihood": [measures.GREY]})
    assert compare(table(compared.run(tmp_path / "grey", 0, grey))).caveats == (measures.GREY,)
    few = compared.measures(20.0, nll_bias=0.31)
    (caveat,) = compare(table(compared.run(tmp_path / "few", 0, few))).caveats
    assert "up to about 0.31 nats too high" in caveat
    compared.run(tmp_path / "fewer", 1, compared.measures(20.0, nll_bias=0.11))
    compared.run(tmp_path / "enough", 0, compared.measures(20.0, nll_bias=0.01), beta=4.0)
    caveat = compare(table([tmp_path / "few", tmp_path / "fewer", tmp_path / "enough"])).caveats[0]
    assert "up to about 0.21 nats too high" in caveat, "what is told of one run is noisy: the mean of each setting"
    assert compare(table(tmp_path / "few"), "mse").caveats == ()
    told = compared.measures(19.0, settings={"likelihood": {"density_of": "p(x | label)"}})
    assert compare(table(compared.run(tmp_path / "cvae", 0, told))).caveats == ("these nats are of p(x | label)",)
    assert compare(table(compared.run(tmp_path / "well", 0, 20.0))).caveats == ()
    (caveat,) = compare(table(compared.run(tmp_path / "ais", 0, annealed(20.0))), "ais_nll").caveats
    assert "bounds of AIS may lie 0.3 nats apart" in caveat
    vague = annealed(20.0) | {"bdmc_gap": 0.01, "bdmc_gap_se": 0.3}
    (caveat,) = compare(table(compared.run(tmp_path / "vague", 0, vague)), "ais_nll").caveats
    assert "bounds of AIS may lie 0.61 nats apart" in caveat
    grey = annealed(20.0) | {"notes": {"ais": [measures.GREY]}}
    assert measures.GREY in compare(table(compared.run(tmp_path / "grey ais", 0, grey)), "ais_nll").caveats


def test_mutual_information_at_its_bound_is_said(tmp_path):
    for seed, told in enumerate((3.0, 8.45, 8.5)):
        kept = compared.measures(20.0, mutual_information=told, mutual_information_bound=8.517)
        compared.run(tmp_path / str(seed), seed, kept)
    (caveat,) = compare(table([tmp_path / str(seed) for seed in range(3)]), "mutual_information").caveats
    assert caveat.startswith("2 of 3 runs are at the bound")
    assert compare(table(tmp_path / "0"), "mutual_information").caveats == ()


def test_a_value_that_is_no_number_is_left_out(frame):
    spoilt = frame.assign(nll=frame["nll"].where(frame["seed"] != 2, np.inf))
    assert all(s.seeds == (0, 1, 3, 4) and s.not_finite == (2,) for s in compare(spoilt).settings)


@pytest.mark.parametrize(
    ("spreads", "values", "decimals"),
    [
        ([34.0, 30.0], [500.0], 0), ([0.031], [0.3], 3), ([1.7e-17], [0.1], 3), ([], [0.00031, 0.00062, 0.00093], 6),
        ([], [27.2, 21.0], 3), ([None, float("nan")], [0.0, None], 3), ([1e-30], [], 12), ([], [3e-10], 12),
    ],
)  # fmt: skip
def test_decimals_show_two_digits_of_the_scatter_or_three_of_the_value(spreads, values, decimals):
    assert words.places(spreads, values) == decimals


def test_an_interval_that_leaves_out_zero_shows_it():
    assert words.interval(-0.1, -0.00109, 2, sign=True) == "−0.100 to −0.001"
    assert words.interval(-0.1, 0.00109, 2, sign=True) == "−0.10 to 0.00"
    assert words.interval(0.0003, 0.36, 2) == "0.00 to 0.36", "no difference, which has no sign"


def test_a_p_value_is_not_rounded_over_the_level():
    assert [words.p_value(p) for p in (0.0499, 0.0501, 0.05, 0.012, 0.4, 3e-5)] == [
        "0.0499", "0.05", "0.05", "0.012", "0.40", "< 0.0001",
    ]  # fmt: skip


def test_what_the_code_tells_beside_a_label_is_said_to_be_that(tmp_path):
    told = compared.measures(19.0, settings={"likelihood": {"density_of": "p(x | label)"}})
    paths = [compared.run(tmp_path / "told", 0, told, method="cvae"), compared.run(tmp_path / "plain", 0, 20.0)]
    said = "of conditional methods, this is of what the code tells beside the label"
    assert said in compare(table(paths), "kl").caveats
    assert said not in compare(table(paths), "mse").caveats and said not in compare(table(paths[1:]), "kl").caveats
