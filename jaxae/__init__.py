"""jaxae: autoencoders as pure functions, with numbers that repeat bit for bit.

    from jaxae import Config, run
    trained = run.train(Config(method="vae", data="digits", latent=2), "runs/first")
    run.evaluate_run(trained)["nll"]

`import jaxae` alone starts no jax; a submodule, such as `jaxae.run`, is imported when it is first asked for. Where JAX
finds GPUs it tells XLA to keep its bits (`jaxae.gpu`), so it comes before the first use of a device.
"""

from typing import TYPE_CHECKING, Any

from jaxae import gpu
from jaxae.config import Config
from jaxae.errors import Diverged, InputError, Interrupted
from jaxae.home import keep_compiled

if TYPE_CHECKING:
    from jaxae import (  # isort: skip
        artifacts, axis, bounds, build, codebooks, compare, data, densities, digest, divergences, evaluate,
        flows, gaussian, hyperbolic, join, likelihoods, methods, networks, optim, parallel, parts, progress,
        quantize, random, report, run, samplers, schedules, similarity, sphere, sweep, train, types,
    )  # fmt: skip

__all__ = [
    "Config", "Diverged", "InputError", "Interrupted", "artifacts", "axis", "bounds", "build", "codebooks",
    "compare", "data", "densities", "digest", "divergences", "evaluate", "flows", "gaussian", "hyperbolic", "join",
    "keep_compiled", "likelihoods", "methods", "networks", "optim", "parallel", "parts", "progress", "quantize",
    "random", "report", "run", "samplers", "schedules", "similarity", "sphere", "sweep", "train", "types",
]  # fmt: skip

gpu.prepare()


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("jaxae")
    if name in __all__:  # a submodule
        from importlib import import_module

        return import_module(f"jaxae.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
