"""What is known of each measure of evaluation.json: its name in words, its unit, and which way is better."""

from typing import NamedTuple


class Measure(NamedTuple):
    words: str
    unit: str
    better: str | None
    """lower or higher; None where neither is better in itself."""


# kl is neither: it buys the reconstruction, and only their sum (minus the ELBO) has a better end
MEASURES = {
    "nll": Measure("negative log-likelihood", "nats", "lower"),
    "bits_per_dim": Measure("negative log-likelihood a pixel", "bits/dim", "lower"),
    "elbo": Measure("ELBO", "nats", "higher"),
    "reconstruction": Measure("reconstruction loss", "nats", "lower"),
    "kl": Measure("KL divergence", "nats", None),
    "mse": Measure("mean squared error", "a pixel", "lower"),
}
DEFAULTS = ("nll", "elbo", "mse")  # the first that every run has
OF_LIKELIHOOD = ("nll", "bits_per_dim", "elbo", "reconstruction")  # nats of p(x|z): of one likelihood, or no comparison
NOT_MEASURES = ("samples", "examples", "step", "split", "digest", "effective_samples")


def about(name: str) -> Measure:
    """A measure that some method adds of its own has no unit that we know, and no better end."""
    return MEASURES.get(name, Measure(name.replace("_", " "), "", None))


def is_measure(name: str) -> bool:
    return name not in NOT_MEASURES and not name.endswith("_se")
