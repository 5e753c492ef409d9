"""What a run's folder tells of how and where it was made: record.json."""

import hashlib
import importlib.metadata
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any

import jax

from jaxae import command, compiler
from jaxae.config import Config
from jaxae.evaluate.measures import DENSITY, PROBABILITIES
from jaxae.names import OF_PROBABILITIES
from jaxae.setup import Setup

LIBRARIES = ("jaxae", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy")


def made(config: Config, folder: Path, setup: Setup) -> dict[str, Any]:
    """What it takes to repeat the run of `config`, as it was asked for, and to know where it ran. With modules of the
    user's own no command does: what tells their net from another is kept instead."""
    devices, source = jax.devices(), setup.source
    how: dict[str, Any] = {"command": command.of_run(config, folder)}
    if setup.modules:
        how = {"network": "the user's own modules", "modules": setup.modules}
    return {
        **how,
        "resolved": config.result(),
        "versions": versions(),
        "device": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "threads": compiler.threads(),
        **numerics(),
        "data": {"name": source.name, "about": source.about, "sha256": source.digest, "sizes": source.sizes()},
        **setup.code,
        **_nats(setup),
        **({"start": setup.start.facts} if setup.start else {}),
    }


def _nats(setup: Setup) -> dict[str, str]:
    """What the nats of a likelihood of the user's own are of, where its name does not tell."""
    of, usual = setup.likelihood, setup.likelihood.name in OF_PROBABILITIES
    if setup.own_likelihood and (of.discrete != usual or not setup.own_net):
        return {"nats_of": PROBABILITIES if of.discrete else DENSITY}
    return {}


def versions() -> dict[str, str]:
    found = {name: _version(name) for name in LIBRARIES} | {"python": platform.python_version()}
    return found | {"jaxae": f"{found['jaxae']} ({_code()})"}


@cache
def _code() -> str:
    """The start of a SHA-256 of jaxae's own files: tells commits of one version apart."""
    package, sha = Path(__file__).parent, hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        sha.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
    return sha.hexdigest()[:12]


def numerics() -> dict[str, Any]:
    """The environment's part in the arithmetic: what is drawn, in how many bits, by what compiler's rules."""
    return {
        "prng": str(jax.random.key_impl(jax.random.key(0))),
        "x64": bool(jax.config.values["jax_enable_x64"]),
        "matmul_precision": jax.config.values["jax_default_matmul_precision"],
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
