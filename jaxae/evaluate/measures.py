"""What is known of each measure of evaluation.json: its name in words, its unit, and which way is better."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple


class Measure(NamedTuple):
    words: str
    unit: str
    better: str | None
    """lower or higher; None where neither is better in itself."""


# kl is neither: it buys the reconstruction, and only their sum (minus the ELBO) has a better end
MEASURES = {
    "nll": Measure("negative log-likelihood", "nats", "lower"),
    "bits_per_dim": Measure("negative log-likelihood a dimension", "bits/dim", "lower"),
    "elbo": Measure("ELBO", "nats", "higher"),
    "reconstruction": Measure("reconstruction loss", "nats", "lower"),
    "kl": Measure("KL divergence", "nats", None),
    "mse": Measure("mean squared error", "a dimension", "lower"),
    "ais_nll": Measure("negative log-likelihood, annealed", "nats", "lower"),
    "bdmc_gap": Measure("gap of the two AIS bounds", "nats", "lower"),
    "mutual_information": Measure("mutual information of image and code", "nats", None),
    "aggregated_kl": Measure("KL of the aggregated posterior", "nats", "lower"),
    "total_correlation": Measure("total correlation of the code", "nats", "lower"),
    "dimension_wise_kl": Measure("dimension-wise KL", "nats", "lower"),
    "active_units": Measure("active units", "", None),
    "linear_probe": Measure("linear probe's accuracy", "", "higher"),
    "nearest_neighbours": Measure("nearest neighbours' accuracy", "", "higher"),
    "codebook_use": Measure("share of the codes in use", "", "higher"),
    "position_use": Measure("share of each position's codes in use", "", "higher"),
    "codebook_perplexity": Measure("perplexity of the codes' use", "", "higher"),
    "position_perplexity": Measure("perplexity of each position's codes", "", "higher"),
    "beta_vae_score": Measure("beta-VAE score", "", "higher"),
    "factor_vae_score": Measure("FactorVAE score", "", "higher"),
    "mig": Measure("mutual information gap", "", "higher"),
    "dci_disentanglement": Measure("DCI disentanglement", "", "higher"),
    "dci_completeness": Measure("DCI completeness", "", "higher"),
    "dci_informativeness": Measure("DCI informativeness", "", "higher"),
    "sap": Measure("SAP", "", "higher"),
    "modularity": Measure("modularity", "", "higher"),
    "irs": Measure("interventional robustness (IRS)", "", "higher"),
    "frechet": Measure("Fréchet distance", "", "lower"),
    "precision": Measure("precision of the samples", "", "higher"),
    "recall": Measure("recall of the samples", "", "higher"),
    "density": Measure("density of the samples (of real images: 1)", "", None),
    "coverage": Measure("coverage of the samples", "", "higher"),
}
DEFAULTS = ("nll", "elbo", "mse")  # the first that every run has
OF_LIKELIHOOD = ("nll", "bits_per_dim", "elbo", "reconstruction", "ais_nll")
"""Compared only where they are of one likelihood."""
DENSITY, PROBABILITIES = "a density", "probabilities"  # of which the nats of the user's own likelihood are
USUAL_DENSITY = "p(x)"  # of images; what else nats may be of, the settings of a likelihood say
SHOWN = 12  # digits of a SHA-256
TOO_HIGH = 0.05  # nats of nll_bias that are worth a word
NEAR = 0.1  # nats from its bound, where mutual information tells the number of examples
GREY = (
    "grey pixels under a Bernoulli likelihood: these nats are a cross-entropy and no likelihood of the images; "
    "--binarize dynamic, or another likelihood, has one"
)
UNTOLD = "codes of the encoder at no label"
EVERY_FACTOR = "disentanglement is of every combination of the factors, training images among them, whatever the split"
BITS = "bits"  # what pixels are, that none of the ways to binarise changes
NOT_FINITE = "not finite: "  # a note that begins so names the measures whose values are None for it
REPRODUCED = "reconstruction: "  # a note that begins so says of what, where that is not the image that was encoded
OF_IMPORTANCE = ("nll", "bits_per_dim")
"""Compared only where they are of one number of importance samples."""
OF_ANNEALING = ("ais_nll", "bdmc_gap")
"""Compared only where they are of the same images and as much annealing."""
OF_SAMPLES = ("frechet", "precision", "recall", "density", "coverage")
"""Compared only where they are of one feature space."""
OF_THE_KL = ("mutual_information", "aggregated_kl", "total_correlation", "dimension_wise_kl")  # its parts
OF_THE_CODE = ("kl", *OF_THE_KL)
OF_PIXELS = (*OF_LIKELIHOOD, *OF_THE_CODE, "mse", "bdmc_gap")
"""They depend on what is made of a pixel."""
OF_PROBES = ("linear_probe", "nearest_neighbours")
OF_FACTORS = (
    "beta_vae_score", "factor_vae_score", "mig", "dci_disentanglement", "dci_completeness", "dci_informativeness",
    "sap", "modularity", "irs",
)  # fmt: skip
OF_FEWER = {
    "ais": OF_ANNEALING,
    "decomposition": OF_THE_KL,
    "probes": OF_PROBES,
    "samples": OF_SAMPLES,
}
"""The groups that measure a part of a large split: how many examples, their settings say."""
NOT_MEASURES = (
    "samples", "examples", "step", "split", "digest", "evaluation_seed", "effective_samples", "nll_bias",
    "ais_acceptance", "ais_importance_nll", "bdmc_lower", "bdmc_upper", "mutual_information_bound", "frechet_floor",
    "coverage_expected", "codebook_use_expected", *(f"{group}_examples" for group in OF_FEWER),
)  # fmt: skip
NOT_NUMBERS = ("settings", "notes", "kl_of_units")
"""Of evaluation.json: for readers, and no columns of a table."""


def about(name: str) -> Measure:
    """A measure that some method adds of its own has no unit that we know, and no better end."""
    return MEASURES.get(name, Measure(name.replace("_", " "), "", None))


def said_of(group: str, settings: Mapping[str, Any]) -> str:
    """Which code has made the measures of a group of the user's own."""
    return f"{group} {settings['sha256'][:SHOWN]}"


def code_of(name: str) -> str:
    """The column that says which code has made a measure of the user's own."""
    return f"{name}_code"


def of_own(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The groups of the user's own among those whose `settings` evaluation.json has, and the measures of each."""
    return {
        group: said["measures"].split(", ")
        for group, said in settings.items()
        if all(isinstance(said.get(name), str) for name in ("sha256", "measures"))
    }


def merged(whole: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """What was measured before and now, the latter where both have it."""
    words = {kind: whole.get(kind, {}) | part.get(kind, {}) for kind in ("notes", "settings")}
    return {name: value for name, value in (whole | part).items() if name not in words} | words


def shown(value: float, places: int = 3) -> str:
    """With so many decimals, or more where they would not show three digits."""
    if value and math.isfinite(value):
        places = min(12, max(places, 2 - math.floor(math.log10(abs(value)))))
    return f"{value:,.{places}f}"


def error(value: float) -> str:
    """A standard error with two digits that count, or all before the point, and no exponent but for the smallest."""
    if not value or not math.isfinite(value) or abs(value) < 1e-8:
        return f"{value:.2g}"
    return f"{value:,.{max(0, 1 - math.floor(math.log10(abs(float(f'{value:.1e}')))))}f}"


def is_measure(name: str) -> bool:
    return name not in NOT_MEASURES and not name.endswith("_se")
