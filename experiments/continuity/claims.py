"""From measured values to statements: intervals over seeds, and verdicts that follow from them alone."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.continuity.measures import TAIL
from jaxae.compare.statistics import t_interval

Values = Mapping[str, Float[np.ndarray, " seeds"]]
HOLDS, FAILS, OPEN = "holds", "does not hold", "not settled"


class Interval(NamedTuple):
    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        """Decimals that show two digits of the half width; a dash where seeds without scatter give none."""
        half = (self.high - self.low) / 2
        places = min(5, max(0, 1 - int(np.floor(np.log10(half))))) if 0 < half < np.inf else 3
        width = f"{half:.{places}f}" if half < np.inf else "–"
        return f"{self.mean:.{places}f} ± {width}".replace("-", "−")


def interval(values: Sequence[float] | np.ndarray) -> Interval:
    """The mean over seeds and its `t_interval`; the whole line where there is none."""
    x = np.asarray(values, np.float64)
    low, high = t_interval(x)
    return Interval(float(x.mean()), -np.inf if low is None else low, np.inf if high is None else high, len(x))


def verdict(difference: Interval) -> str:
    """A claim says that a difference is above zero: it is, or it is below, or zero is in the interval."""
    return HOLDS if difference.low > 0 else FAILS if difference.high < 0 else OPEN


class Measure(NamedTuple):
    """`claim` is true where sign * (AE - VAE) > 0."""

    key: str
    group: str
    title: str
    claim: str
    sign: int

    @property
    def short(self) -> str:
        """The group's words leave only this to be said."""
        return SHORT[self.key.split("_")[-1]]


GROUPS = {
    "price": "Reconstruction of test images",
    "midpoint": "Distance of decoded midpoints to training images, relative to reconstructions",
    "cycle": "Cycle error: how far e(d(z)) lands from z, in spreads of the codes",
    "echo": "Echo: how much of d(z) is lost in d(e(d(z))), in variances of the test images",
    "sure": "Share of decoded images that the classifier is sure of",
    "holes": "Share of a region that is farther from every code than the region's own law would leave it",
}
REGIONS = {
    "midpoint": "midpoints of pairs of different class",
    "standard": "draws from N(0, 1)",
    "fitted": "draws from a Gaussian fitted to the codes",
    "box": "uniform draws in the box of the codes",
}
SHORT = {
    "mse": "squared error a pixel",
    "any": "any pairs",
    "midpoint": "midpoints",
    "standard": "N(0, 1)",
    "fitted": "fitted Gaussian",
    "box": "box",
}
PLACES = ("midpoints", "any pairs", "N(0, 1)", "fitted Gaussian", "box")
PLAIN = {
    "midpoint": "strays farther from real images, in units of how far its reconstructions do",
    "cycle": "lands farther from a code when it encodes what it decoded there",
    "echo": "loses more of a decoded image when that goes through a second time",
    "sure": "less often decodes to what a classifier of real digits is sure of",
    "holes": "leaves more of the region without a code nearby",
}
WORDS = {
    "midpoint": "distance to the data",
    "cycle": "cycle error",
    "echo": "echo",
    "sure": "classifier",
    "holes": "holes",
}
MEASURES = (
    Measure("mse", "price", "squared error a pixel", "the VAE reconstructs worse", -1),
    Measure("midpoint", "midpoint", "pairs of different class",
            "between codes of different class, the AE decodes farther from the data", 1),
    Measure("midpoint_any", "midpoint", "any pairs",
            "between any two codes, the AE decodes farther from the data", 1),
    *(Measure(f"cycle_{r}", "cycle", text, f"the AE loses the code of {text} more", 1)
      for r, text in REGIONS.items()),
    *(Measure(f"echo_{r}", "echo", text, f"a second pass loses more of the AE's {text}", 1)
      for r, text in REGIONS.items()),
    *(Measure(f"sure_{r}", "sure", text, f"the classifier is less often sure of the AE's {text}", -1)
      for r, text in REGIONS.items()),
    *(Measure(f"holes_{r}", "holes", text, f"the AE's codes leave more holes under {text}", 1)
      for r, text in REGIONS.items() if r != "midpoint"),
)  # fmt: skip

Both = Callable[[Values, Values], np.ndarray]
ALONE: tuple[tuple[str, Both], ...] = (
    ("The AE's codes leave holes in the Gaussian fitted to them.", lambda a, v: a["holes_fitted"] - TAIL),
    ("The VAE's codes leave holes in its prior too.", lambda a, v: v["holes_standard"] - TAIL),
    ("The AE's midpoints lie farther from the data than its reconstructions.",
     lambda a, v: a["midpoint"] - 1),
    ("So do the VAE's.", lambda a, v: v["midpoint"] - 1),
    ("The AE's midpoints are nearer to the data than crossfades of its reconstructions.",
     lambda a, v: a["midpoint_crossfade"] - a["midpoint"]),
    ("The classifier is less often sure of the VAE's draws from its prior than of its reconstructions.",
     lambda a, v: v["sure_reconstruction"] - v["sure_standard"]),
    ("Fitting a Gaussian to its codes makes the AE's draws more convincing than drawing from N(0, 1).",
     lambda a, v: a["sure_fitted"] - a["sure_standard"]),
    ("Even then the classifier is less often sure of them than of the VAE's draws from its prior.",
     lambda a, v: v["sure_standard"] - a["sure_fitted"]),
    ("From its reconstructions to those draws, the AE loses more of the classifier's sureness than the VAE.",
     lambda a, v: (a["sure_reconstruction"] - a["sure_fitted"])
     - (v["sure_reconstruction"] - v["sure_standard"])),
)  # fmt: skip


class Comparison(NamedTuple):
    measure: Measure
    ae: Interval
    vae: Interval
    difference: Interval
    """AE - VAE, paired by seed."""
    verdict: str


class Statement(NamedTuple):
    text: str
    difference: Interval
    """What the statement says is above zero."""
    verdict: str


def columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """One mapping a seed to one list a measure."""
    return {key: [row[key] for row in rows] for key in rows[0]}


def arrays(values: Mapping[str, Sequence[float]]) -> Values:
    return {key: np.array(each) for key, each in values.items()}


def compare(ae: Values, vae: Values) -> list[Comparison]:
    """The textbook claim, one measure at a time."""
    found = []
    for m in MEASURES:
        a, v = ae[m.key], vae[m.key]
        says = verdict(interval(m.sign * (a - v)))
        found.append(Comparison(m, interval(a), interval(v), interval(a - v), says))
    return found


def statements(ae: Values, vae: Values) -> list[Statement]:
    """What is true of each model by itself, and of the way out that a plain autoencoder has."""
    measured = [(text, interval(of(ae, vae))) for text, of in ALONE]
    return [Statement(text, difference, verdict(difference)) for text, difference in measured]


def counts(comparisons: Sequence[Comparison]) -> dict[str, int]:
    """How many have each verdict; the reconstruction is the price of the claim, no part of it."""
    said = [c.verdict for c in comparisons if c.measure.group != "price"]
    return {which: said.count(which) for which in (HOLDS, FAILS, OPEN)}


def matrix(comparisons: Sequence[Comparison]) -> dict[str, list[str]]:
    """Verdicts: a row for each group in plain words, a column for each of PLACES."""
    said = {(c.measure.group, c.measure.short): c.verdict for c in comparisons}
    return {words: [said.get((group, place), "") for place in PLACES] for group, words in PLAIN.items()}


def summary(comparisons: Sequence[Comparison]) -> str:
    """The counts in one sentence, with what is counted."""
    said = [c for c in comparisons if c.measure.group != "price"]

    def count(which: str) -> str:
        own = [c.measure for c in said if c.verdict == which]
        by = {group: [m.short for m in own if m.group == group] for group in WORDS}
        named = "; ".join(f"{WORDS[group]}: {', '.join(names)}" for group, names in by.items() if names)
        return f"{len(own)} ({named})" if own else "none"

    return (
        f"Of {len(said)} comparisons the claim holds in {count(HOLDS)}; "
        f"the opposite is measured in {count(FAILS)}; not settled: {count(OPEN)}."
    )
