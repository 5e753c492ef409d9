"""What has to be the same for a comparison to mean anything, refused in one line where it is not."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas

from jaxae import own
from jaxae.compare.collect import LEFT_OUT, NOT_FINITE, WITHOUT
from jaxae.compare.varied import APART, Group, fields, groups
from jaxae.errors import InputError, known
from jaxae.evaluate import measures
from jaxae.evaluate.measures import DENSITY

SAME = {
    "split": ("evaluated on different splits", "evaluate them on the same one: `jaxae evaluate RUN` measures test"),
    "data_sha256": ("trained and evaluated on different data", "compare runs of the same data"),
    "examples": ("evaluated on different numbers of examples", "evaluate them on the same ones"),
    "evaluation_seed": ("evaluated by different noise", "evaluate them by the same --seed"),
}
SAME_FOR = {
    "samples": (
        measures.OF_IMPORTANCE,
        "evaluated with different numbers of importance samples, which moves the NLL",
        "use one number for all: `jaxae evaluate RUN --samples N`",
    ),
    "density_of": (
        measures.OF_LIKELIHOOD,
        "of different densities, and p(x | label) is higher for being told the label",
        "compare conditional methods with each other, or by --measure mse",
    ),
    "binarize": (
        measures.OF_PIXELS,
        "of images binarised in different ways",
        "compare runs that share a --binarize",
    ),
    "reconstruction_of": (
        ("reconstruction",),
        "of the reconstruction of different images",
        "compare them by --measure mse",
    ),
    "annealing": (
        measures.OF_ANNEALING,
        "annealed in different ways",
        "evaluate them in the same one: `jaxae evaluate RUN --metrics ais`",
    ),
    "feature_space": (
        measures.OF_SAMPLES,
        "measured in different feature spaces",
        "evaluate them in the same one: `jaxae evaluate RUN --metrics samples --features SPACE`",
    ),
}
"""What else these measures need."""
OF_CODE = (
    "measured by different versions of your own code",
    "evaluate them by one: `jaxae evaluate RUN --metrics FILE:NAME`",
)
KINDS = {"bernoulli": "of one bit a pixel", "discretised_logistic": "of one level a pixel"}  # others are densities


def evaluated(frame: pandas.DataFrame) -> pandas.DataFrame:
    """The rows that have measures."""
    return frame[~frame["outcome"].isin(LEFT_OUT)]


def distinct(frame: pandas.DataFrame, column: str) -> list[Any]:
    """What the rows have in a column, each once; nothing where there is no such column."""
    return list(dict.fromkeys(frame[column].dropna())) if column in frame else []


def split_of(frame: pandas.DataFrame) -> str:
    """Of the images that the runs were measured on; what a table is told to hold, where none was."""
    return next(iter(distinct(evaluated(frame), "split")), frame.attrs.get("split", "test"))


def measure_names(frame: pandas.DataFrame) -> list[str]:
    """The columns that hold a measure of at least one run."""
    others = {"seed", *fields(frame)}
    names = [name for name in frame.columns if measures.is_measure(name) and name not in others]
    return [name for name in names if pandas.api.types.is_numeric_dtype(frame[name]) and frame[name].notna().any()]


def choose_measure(frame: pandas.DataFrame, wanted: str | None) -> str:
    """The measure asked for, or the first usual one that every setting has of some evaluated run, or that any has."""
    names, there = measure_names(frame), evaluated(frame)
    if there.empty:
        split = split_of(frame)
        flag = "" if split == "test" else f" --split {split}"
        raise InputError(f"no evaluated runs: expected at least one: `jaxae evaluate RUN{flag}`, or another --split")
    if wanted is None:
        there_are = [name for name in measures.DEFAULTS if name in names]
        found = [name for name in there_are if not clashes(frame, name)] or there_are
        if not found:
            have = f": they have {', '.join(names)}: choose a --measure" if names else ""
            raise InputError(f"the runs have none of {', '.join(measures.DEFAULTS)}{have}")
        return next((name for name in found if not lacking(there, name)), found[0])
    if wanted in frame and measures.is_measure(wanted) and not _finite(frame[wanted]):
        others = f": choose another --measure: {', '.join(names)}" if names else ""
        raise InputError(f"measure {wanted!r}: no run has a finite value of it{others}")
    known("measure", wanted, names)
    return wanted


def _finite(values: pandas.Series) -> bool:
    """Whether any is; words are for others to refuse."""
    if values.isna().all():
        return False
    return not pandas.api.types.is_numeric_dtype(values) or bool(np.isfinite(values.dropna().astype(float)).any())


def lacking(frame: pandas.DataFrame, name: str) -> list[str]:
    """The settings none of whose runs have the measure."""
    return [group.label for group in groups(frame) if group.rows[name].isna().all()]


def passed_over(frame: pandas.DataFrame, measure: str) -> list[str]:
    """What is to be said of the usual measures that stand before `measure`, and which the runs have, but not alike, or
    not in every setting."""
    before = [name for name in measures.DEFAULTS[: measures.DEFAULTS.index(measure)] if name in measure_names(frame)]
    clashing = {name: clash for name in before if (clash := clashes(frame, name))}
    without = {name: of for name in before if name not in clashing and (of := lacking(evaluated(frame), name))}
    return [
        *(
            f"not by {name}: {of[0]} has none{_lost(frame, name)}" + " and others have none" * (len(of) > 1)
            for name, of in without.items()
        ),
        *(f"not by {n}: {clash.runs} are {clash.what} ({clash.values}): {clash.todo}" for n, clash in clashing.items()),
    ]


def _lost(frame: pandas.DataFrame, name: str) -> str:
    return " that is finite" if not_finite(evaluated(frame), name).any() else ""


def with_measure(frame: pandas.DataFrame, measure: str) -> pandas.DataFrame:
    """The table, where the outcome of an evaluated run says so if its value is not finite, or it has none."""
    values, there = frame[measure].astype(float), ~frame["outcome"].isin(LEFT_OUT)
    infinite = there & (np.isinf(values) | (values.isna() & not_finite(frame, measure)))
    outcome = frame["outcome"].mask(infinite, NOT_FINITE)
    return frame.assign(outcome=outcome.mask(there & values.isna() & ~infinite, WITHOUT))


def not_finite(frame: pandas.DataFrame, measure: str) -> np.ndarray:
    """[runs], of which evaluation.json says that the measure was made and is not finite."""
    said = frame["not_finite"] if "not_finite" in frame else [None] * len(frame)
    return np.array([isinstance(names, str) and measure in names.split(", ") for names in said], bool)


def comparable(frame: pandas.DataFrame, measure: str) -> None:
    """Raises InputError unless the runs were measured in one way, on one set of images."""
    if clash := clashes(frame, measure):
        raise InputError(f"{clash.runs} are {clash.what} ({clash.values}): {clash.todo}")


class Clash(NamedTuple):
    """Why a measure of two runs may not be compared."""

    runs: str
    what: str
    values: str
    todo: str


def clashes(frame: pandas.DataFrame, measure: str) -> Clash | None:
    """What keeps the runs' values of the measure apart, if anything does."""
    there = evaluated(frame)
    needed = SAME | {column: words for column, (names, *words) in SAME_FOR.items() if measure in names}
    if (code := measures.code_of(measure)) in there and measure in there:
        there = there.assign(**{code: there[code].mask(there[code].isna() & there[measure].notna(), "jaxae's own")})
        needed |= {code: OF_CODE}
    if "pixels" in there and (there["pixels"] == measures.BITS).all():
        needed.pop("binarize", None)
    for column, (what, todo) in needed.items():
        if len(values := distinct(there, column)) > 1:
            one, other = (there[there[column] == value]["run"].iloc[0] for value in values[:2])
            shown = " and ".join(str(v)[: 12 if column == "data_sha256" else None] for v in values[:2])
            return Clash(f"{one} and {other}", what, shown, todo)
    if apart := _apart(there, measure):
        runs, kinds = zip(*apart)
        what = f"of likelihoods whose {measure!r} counts different things"
        return Clash(" and ".join(runs), what, " and ".join(kinds), "compare their --measure mse")
    return None


def one_run_a_seed(group: Group) -> None:
    """Raises InputError where a setting has a seed twice: its runs would count as replicates that they are not."""
    again = group.rows[group.rows["seed"].duplicated(keep=False)]
    if len(again):
        seed = again["seed"].iloc[0]
        one, other = again[again["seed"] == seed]["run"].iloc[:2]
        raise InputError(f"{one} and {other} are both seed {seed} of {group.label}: expected each seed once a setting")


def whole_settings(found: Sequence[Group]) -> None:
    """Raises InputError where runs that differ in what the table does not tell are of one setting here, or runs that
    differ in nothing are of two."""
    first: dict[str, Group] = {}
    for group in found:
        here = distinct(group.rows, "setting_sha256")
        if len(here) > 1:
            raise _joined(_run_of(group, here[0]), _run_of(group, here[1]), f"are both {group.label} here")
        for digest in here:
            other = first.setdefault(digest, group)
            unlike = {name for name, value in group.values.items() if value != other.values.get(name)}
            unlike |= other.values.keys() - group.values.keys()
            if unlike - {*APART}:
                what = f"are of one setting, and here of {other.label} and {group.label}"
                raise _joined(_run_of(other, digest), _run_of(group, digest), what)


def _run_of(group: Group, digest: str) -> str:
    return str(group.rows[group.rows["setting_sha256"] == digest]["run"].iloc[0])


def _joined(one: str, other: str, what: str) -> InputError:
    return InputError(
        f"{one} and {other} {what}, as in tables that were joined, whose columns leave out what their runs have in "
        "common: expected one table of both, jaxae.compare.table([...])"
    )


def _apart(frame: pandas.DataFrame, measure: str) -> list[tuple[str, str]]:
    """Two runs with likelihoods of different kinds, and what these are, where the measure depends on the kind: a
    density's nats are no bit's. What of the user's own is no density is of a kind of its own."""
    columns = [column for column in ("likelihood", "likelihood_sha256", "nats_of") if column in frame]
    if not columns or measure not in measures.OF_LIKELIHOOD:
        return []
    found: dict[str, tuple[str, str]] = {}
    for run, *said in frame[["run", *columns]].itertuples(index=False):
        of = {column: text for column, text in zip(columns, said) if isinstance(text, str)}
        nats = of.pop("nats_of", None)
        label = " ".join(of.values()) or nats or "the others'"
        theirs = own.is_own(of.get("likelihood", "")) or "likelihood_sha256" in of or nats is not None
        kind = nats if nats == DENSITY else label if theirs else KINDS.get(of.get("likelihood", ""), DENSITY)
        found.setdefault(kind, (run, label))
    return list(found.values())[:2] if len(found) > 1 else []
