"""What an evaluation costs: without jax, so that the command line's help has its defaults at once."""

import numbers
from typing import NamedTuple

from jaxae.config import Config
from jaxae.errors import InputError, a_seed
from jaxae.values import plain, said


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
LEAST = {"samples": 2, "ais_examples": 1, "ais_chains": 2, "ais_steps": 1, "drawn": 1}


def checked(settings: Settings) -> Settings:
    """The settings, their numbers Python's. Raises InputError for one that no evaluation can use."""
    if not isinstance(settings, Settings):
        raise InputError(f"settings {said(settings)}: expected run.Settings(samples=5000, ...)")
    for name, least in LEAST.items():
        value, flag = getattr(settings, name), name.replace("_", "-")
        if name == "drawn" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise InputError(f"{flag} {said(value)}: expected a whole number")
        if not least <= value < 2**31:
            raise InputError(f"{flag} {value}: expected {least} to {2**31 - 1}")
    if not isinstance(settings.features, str):
        wanted = "classifier, pixels, or a function of your own as path/to/mine.py:features"
        raise InputError(f"features {said(settings.features)}: expected {wanted}")
    a_seed(settings.seed)
    return settings._replace(**{name: plain(getattr(settings, name)) for name in (*LEAST, "seed")})
