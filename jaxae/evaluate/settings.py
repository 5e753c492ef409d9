"""What an evaluation costs: without jax, so that the command line's help has its defaults at once."""

from typing import NamedTuple

from jaxae.config import Config


class Settings(NamedTuple):
    """What an evaluation costs, and in which feature space samples are judged."""

    samples: int = Config.samples
    """Importance samples an example."""
    ais_examples: int = 100
    """Of the split, evenly spread; and as many simulated ones for the bound from above."""
    ais_chains: int = 16
    ais_steps: int = 500
    """Intermediate distributions."""
    drawn: int | None = None
    """Samples that are judged; None: as many as the split has, 10,000 at most."""
    features: str = "classifier"
    """Of the samples' scores: "classifier", "pixels", or the user's own, FILE:FUNCTION."""
    seed: int = 0


USUAL = Settings()
