"""On the CPU with four virtual devices, rank promotion refused and annotated shapes checked; where something is drawn,
key reuse refused."""

import gc
import logging
import os
from pathlib import Path

DEVICES = 4
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "jaxae" / "tests"

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("NPROC", str(DEVICES))  # threads: their number changes bits; fewer than devices may hang
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))  # the tests' child processes share it
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")  # of each operation: nobody reads them here

import jax  # noqa: E402
import pytest  # noqa: E402
from jaxtyping import install_import_hook  # noqa: E402

gc.set_threshold(200_000, 20, 100)  # tracing makes many objects and few cycles: a twentieth of the time
jax.config.update("jax_num_cpu_devices", DEVICES)
jax.config.update("jax_numpy_rank_promotion", "raise")

# Every annotated shape is checked as a test passes it, in the modules that annotate shapes; an int may stand for a
# float. In all modules it took a fifth of the time.
PACKAGE = Path(__file__).parents[1] / "jaxae"
CHECKED = [
    ".".join(("jaxae", *file.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
    for file in PACKAGE.rglob("*.py")
    if "from jaxtyping import" in file.read_text()
]
install_import_hook(CHECKED, "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


DRAWING = {
    "methods", "samplers", "evaluate", "test_methods", "test_train", "test_chunk", "test_flows", "test_sphere",
    "test_quantize", "test_random", "test_pixels",
}  # fmt: skip
"""Folders and modules of tests of what takes keys. What comes after draws by the same functions: there the check would
take a tenth of the time."""


@pytest.fixture(autouse=True, scope="module")
def keys_are_used_once(request):
    jax.config.update("jax_debug_key_reuse", not DRAWING.isdisjoint({request.path.parent.name, request.path.stem}))


@pytest.fixture(autouse=True, scope="module")
def compiled_briefly(request):
    """Most tests compile much and run it once: LLVM's passes are left out, which halves their time. Modules that are
    marked `optimised` promise bits, or run for long, and compile as the user's programs do."""
    jax.config.update("jax_disable_most_optimizations", request.node.get_closest_marker("optimised") is None)


@pytest.fixture
def caplog(caplog, monkeypatch):
    """Hears the library also where a command has kept its lines from the root logger."""
    monkeypatch.setattr(logging.getLogger("jaxae"), "propagate", True)
    return caplog


@pytest.fixture(scope="session")
def digits():
    """The embedded data set, read once."""
    from jaxae.data import load

    return load("digits")
