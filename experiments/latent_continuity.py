"""The lesson: "a vanilla autoencoder's latent space has holes, a VAE's has not", shown and measured.

    python -m experiments.latent_continuity                 # digits, which scikit-learn brings along
    python -m experiments.latent_continuity --data mnist

Digits: 860 s on 2 busy cores (465 s of computing); MNIST, five epochs of it: 1,924 s (1,312 s). It writes one page and
one JSON file; latent_continuity.json beside this file holds both, {"digits": ..., "mnist": ...}, with every seed's
values, made by commit bd527b8: a seed's order of the data has changed since, and so have its values. Expected, as means
over 10 seeds with 95 % t intervals, the AE then the VAE:

                                                   digits                          MNIST
    2 latent units
      squared error a pixel        0.0345 ± 0.0013  0.03248 ± 0.00038  0.03920 ± 0.00027  0.03961 ± 0.00028
      midpoints, off the data       1.330 ± 0.029    1.325 ± 0.018      1.087 ± 0.031      1.135 ± 0.018
      echo, fitted Gaussian         0.074 ± 0.011   0.0335 ± 0.0038    0.0153 ± 0.0018    0.0244 ± 0.0031
      sure of draws, N(0, 1)        0.680 ± 0.022   0.7691 ± 0.0077     0.510 ± 0.065      0.651 ± 0.031
      sure, fitted Gaussian        0.7899 ± 0.0042   0.768 ± 0.010      0.752 ± 0.017      0.675 ± 0.027
      holes, fitted Gaussian       0.0888 ± 0.0075  0.0591 ± 0.0060     0.153 ± 0.022     0.0981 ± 0.0054
    8 latent units
      squared error a pixel       0.01399 ± 0.00022 0.02286 ± 0.00036  0.01753 ± 0.00010  0.01862 ± 0.00015
      midpoints, off the data       1.667 ± 0.049    1.599 ± 0.034      1.284 ± 0.013      1.231 ± 0.014
      echo, fitted Gaussian        0.1012 ± 0.0029  0.0408 ± 0.0017    0.0349 ± 0.0013    0.0276 ± 0.0012
      sure of draws, N(0, 1)        0.091 ± 0.014    0.656 ± 0.011     0.0397 ± 0.0054     0.524 ± 0.012
      sure, fitted Gaussian        0.5100 ± 0.0083   0.658 ± 0.014     0.5304 ± 0.0094    0.5756 ± 0.0088
      holes, fitted Gaussian       0.0791 ± 0.0070  0.0483 ± 0.0020    0.1568 ± 0.0053    0.0900 ± 0.0058

Where the claim holds: the AE's codes leave more of every region empty, in all four. With 8 units its midpoints stray
farther from the data, and of draws from the same kind of law the classifier is less often sure. Where it does not:
with 2 units, midpoints are as near to the data as the VAE's (digits) or nearer (MNIST), and draws from a Gaussian
fitted to the codes convince the classifier more often than the VAE's from its prior; with 8 units and MNIST, the two
are not told apart. It is N(0, 1), which an AE was never told of, that fails, and fitting a Gaussian mends most of it.
Nor is the VAE free of holes: of MNIST's prior it leaves 0.09 without a code, where 0.05 would be chance. And the cycle
error |e(d(z)) - z| is mostly the larger for the VAE; a unit that it leaves idle counts there, in the echo it does not.
"""

import argparse
import dataclasses
import json
import os
import platform
import re
import shlex
import sys
import time
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from experiments.continuity import claims, classifier, models, page
from experiments.continuity.measures import CONFIDENT, Images, Model, measure
from experiments.ledger import commit
from jaxae.build import build
from jaxae.cli import finish
from jaxae.config import Config
from jaxae.errors import InputError
from jaxae.names import BINARIZE, LIKELIHOODS

METHODS = ("ae", "vae")
# The same networks, pixels and loss for both, none of them a method's own default. Cross-entropy of grey
# pixels is what the textbook comparison trains with; it is no likelihood, and nothing here reads it as one.
PRESET = Config(
    network="mlp",
    width=256,
    depth=2,
    likelihood="bernoulli",
    binarize="none",
    latent=2,
    steps=2000,
    batch_size=128,
)


def run(config: Config, latents: Sequence[int], seeds: Sequence[int], out: Path, command: str) -> dict[str, Any]:
    """Trains, measures, and writes latent_continuity.json and .html in `out`; both quote `command`."""
    begun = time.perf_counter()
    configs = {(n, m): dataclasses.replace(config, method=m, latent=n) for n in latents for m in METHODS}
    out.mkdir(parents=True, exist_ok=True)
    images, setup = models.images_of(config), build(config)
    judge = classifier.train(models.pixels_of(setup, "train"), models.pixels_of(setup, "validation"), setup.total)
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    first: dict[str, Model] = {}
    for (size, method), each in configs.items():
        rows = []
        for seed, model in zip(seeds, models.train_seeds(each, seeds)):
            rows.append(_rounded(measure(model, images, judge.probabilities, seed)))
            first.setdefault(method, model)
            _progress(f"{size} latent units, {method}, seed {seed}: {time.perf_counter() - begun:.0f} s")
        values.setdefault(str(size), {})[method] = claims.columns(rows)
    result = {
        "command": command,
        **_record(config, setup.source, images, time.perf_counter() - begun),
        "seeds": list(seeds),
        "classifier": _rounded(classifier.assess(judge, images.test, images.labels, CONFIDENT)),
        "values": values,
        "verdicts": verdicts(values),
    }
    (out / "latent_continuity.json").write_text(to_json(result))
    shown = page.Shown(first, images, judge, setup.source.classes)
    (out / "latent_continuity.html").write_text(page.render(result, shown))
    return result


def _record(config: Config, source: Any, images: Images, seconds: float) -> dict[str, Any]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "data": {"name": source.name, "sha256": source.digest, "sizes": source.sizes()},
        "references": len(images.references),
        "config": {k: v for k, v in config.resolved().result().items() if k not in ("method", "seed", "latent")},
        "commit": commit(),
        "machine": f"{platform.machine()}, {cores} cores",
        "versions": {name: version(name) for name in ("jax", "flax", "optax", "scikit-learn")},
        "seconds": round(seconds),
        "cpu_seconds": round(time.process_time()),
    }


def to_json(result: dict[str, Any]) -> str:
    """Indented, but each list of numbers on its own line."""
    text = json.dumps(result, indent=1)
    return re.sub(r"\[[^][{}]*\]", lambda found: " ".join(found[0].split()), text) + "\n"


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {key: float(f"{value:.5g}") if isinstance(value, float) else value for key, value in values.items()}


def verdicts(values: dict[str, Any]) -> dict[str, dict[str, str]]:
    """By latent size: what each claim and statement comes to."""
    found: dict[str, dict[str, str]] = {}
    for size, methods in values.items():
        both = {name: claims.arrays(each) for name, each in methods.items()}
        said = {c.measure.claim: c.verdict for c in claims.compare(**both)}
        found[size] = said | {s.text: s.verdict for s in claims.statements(**both)}
    return found


def tell(result: dict[str, Any]) -> str:
    """The tables as text: means over seeds with their 95 % intervals, and what follows from them."""
    judge, lines = result["classifier"], []
    n = len(result["seeds"])
    lines.append(f"classifier: test accuracy {judge['accuracy']:.3f}, sure of {judge['sure']:.3f} of the test images")
    for size, methods in result["values"].items():
        both = {name: claims.arrays(each) for name, each in methods.items()}
        compared = claims.compare(**both)
        lines += ["", f"{result['data']['name']}, {size} latent units, {n} seeds: mean ± 95 % t interval"]
        lines.append(f"{'':52}{'AE':>19}{'VAE':>19}{'AE - VAE':>21}  the claim")
        for c in compared:
            title = f"{c.measure.group}: {c.measure.title}"
            lines.append(f"{title:52}{c.ae!s:>19}{c.vae!s:>19}{c.difference!s:>21}  {c.verdict}")
        lines += ["", claims.summary(compared)]
        lines += [f"{s.verdict + ':':15} {s.text} ({s.difference})" for s in claims.statements(**both)]
    return "\n".join(lines)


def _progress(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m experiments.latent_continuity",
        description="The lesson: does a latent space have holes?",
    )
    parser.add_argument("--data", default=PRESET.data, help="a labelled data set, see `jaxae data list`")
    parser.add_argument("--latent", type=int, nargs="+", default=[2, 8], help="sizes; the pictures are of the first")
    parser.add_argument("--seeds", type=int, default=10, help="how many, from 0")
    parser.add_argument("--steps", default=str(PRESET.steps), help="of training: 2000, or 100e for epochs")
    parser.add_argument("--batch-size", type=int, default=PRESET.batch_size)
    parser.add_argument("--width", type=int, default=PRESET.width, help="units of a hidden layer")
    parser.add_argument("--likelihood", choices=LIKELIHOODS, default=PRESET.likelihood)
    parser.add_argument("--binarize", choices=BINARIZE, default=PRESET.binarize)
    parser.add_argument("--out", type=Path, default=Path("runs/latent_continuity"), help="folder of the page")
    return parser


def _command(asked: dict[str, Any]) -> str:
    """What repeats the run: every flag that is not at its default, but for the folder."""
    words = ["python", "-m", "experiments.latent_continuity"]
    for name, value in asked.items():
        if value != _parser().get_default(name) and name != "out":
            words += [f"--{name.replace('_', '-')}", *map(str, value if isinstance(value, list) else [value])]
    return shlex.join(words)


def main(argv: Sequence[str] | None = None) -> None:
    asked = vars(_parser().parse_args(argv))
    command = _command(asked)
    latents, seeds, out = (asked.pop(name) for name in ("latent", "seeds", "out"))
    if seeds < 1:
        raise InputError(f"seeds {seeds}: expected at least 1 (and 2 for an interval)")
    config = dataclasses.replace(PRESET, latent=latents[0], **asked)
    result = run(config, latents, range(seeds), out, command)
    print(tell(result))
    print(f"\n{result['seconds']} s ({result['cpu_seconds']} s of computing) on {result['machine']}")
    print(f"page: {out / 'latent_continuity.html'}")


if __name__ == "__main__":
    finish(main)
