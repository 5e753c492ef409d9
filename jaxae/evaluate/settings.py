"""What an evaluation costs: without jax, so that the command line's help has its defaults at once."""

from typing import Any, NamedTuple

from jaxae.config import Config
from jaxae.errors import InputError, a_seed, whole
from jaxae.values import said


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
    given = {name: least for name, least in LEAST.items() if (name, settings.drawn) != ("drawn", None)}
    numbers: dict[str, Any] = {
        name: whole(name.replace("_", "-"), getattr(settings, name), least, 2**31 - 1) for name, least in given.items()
    }
    if not isinstance(settings.features, str):
        wanted = "classifier, pixels, or a function of your own as path/to/mine.py:features"
        raise InputError(f"features {said(settings.features)}: expected {wanted}")
    a_seed(settings.seed)
    return settings._replace(**numbers, seed=int(settings.seed))
