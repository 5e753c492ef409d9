"""jaxae: autoencoders as pure functions, with numbers that repeat bit for bit.

    from jaxae import Config, run
    trained = run.train(Config(method="vae", data="digits", latent=2), "runs/first")
    run.evaluate_run(trained)["nll"]

`import jaxae` alone starts no jax; the submodules are imported when they are asked for. Where JAX finds GPUs it tells
XLA to keep its bits (`jaxae.gpu`), so it comes before the first use of a device.
"""

from jaxae import gpu
from jaxae.config import Config
from jaxae.errors import Diverged, InputError, Interrupted

__all__ = ["Config", "Diverged", "InputError", "Interrupted"]

gpu.prepare()


def __getattr__(name: str) -> str:
    if name == "__version__":
        from importlib.metadata import version

        return version("jaxae")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
