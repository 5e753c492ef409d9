"""jaxae: autoencoders as pure functions, with numbers that repeat bit for bit.

import jaxae
trained = jaxae.train(jaxae.Config(method="vae", data="digits", latent=2), "runs/first")
jaxae.evaluate(trained)["nll"]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jaxae.build import build as build
    from jaxae.config import Config as Config
    from jaxae.errors import Diverged as Diverged
    from jaxae.errors import InputError as InputError
    from jaxae.errors import Interrupted as Interrupted
    from jaxae.run import Trained as Trained
    from jaxae.run import evaluate_run as evaluate  # noqa: F401
    from jaxae.run import load as load
    from jaxae.run import train as train

_PUBLIC = {
    "Config": ("config", "Config"),
    "train": ("run", "train"),
    "load": ("run", "load"),
    "evaluate": ("run", "evaluate_run"),
    "Trained": ("run", "Trained"),
    "build": ("build", "build"),
    "InputError": ("errors", "InputError"),
    "Diverged": ("errors", "Diverged"),
    "Interrupted": ("errors", "Interrupted"),
}
__all__ = [*_PUBLIC]


def __getattr__(name: str) -> Any:
    """Imports on first use: `import jaxae` alone starts no jax."""
    if name in _PUBLIC:
        module, attribute = _PUBLIC[name]
        return getattr(import_module(f"jaxae.{module}"), attribute)
    raise AttributeError(f"module 'jaxae' has no attribute {name!r}")
