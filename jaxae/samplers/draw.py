"""Images of a trained run by any sampler. Sample i comes out the same whatever the count."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxae import artifacts, random, run, samplers
from jaxae.artifacts.make import Pictures, checked_label
from jaxae.data.view import at_once
from jaxae.errors import InputError
from jaxae.evaluate.judge import judge
from jaxae.evaluate.settings import USUAL, Settings
from jaxae.run import Trained
from jaxae.run.loading import a_run
from jaxae.samplers.fitted import Fitted


class Samples(NamedTuple):
    """What a sampler has drawn, decoded."""

    samples: Pictures
    label: Int[np.ndarray, " n"] | None
    """What each sample was conditioned on; None for a method without labels."""
    measures: dict[str, float]
    """Of the sampler's fit: see `Fitted`."""


def fit(trained: Trained, sampler: str = "prior", seed: int = 0, **settings: Any) -> Fitted:
    """The sampler of that name, fitted to the run or read from its folder. Raises InputError where it cannot work."""
    entry, method = samplers.entry(sampler), a_run(trained).setup.method
    if getattr(method, entry.needs) is None:
        name = trained.setup.config.method
        lack = {"sample": "has no prior to sample from", "discrete": "has no whole-number codes"}[entry.needs]
        raise InputError(f"{name} {lack}: choose a --sampler of {', '.join(samplers.working(method))}")
    return samplers.factory(sampler)(trained, seed, **settings)


def evaluate(
    trained: Trained, sampler: str = "prior", split: str = "test", settings: Settings = USUAL
) -> dict[str, Any]:
    """The scores of samples by any sampler (`jaxae.evaluate.samples`), with what identifies them, as
    `jaxae.run.evaluate_runs` gives those of the prior."""
    bench = run.bench(a_run(trained).setup, split, settings)
    (found,) = run.evaluate_runs([trained], [], bench)
    own = judge(bench, sampler)
    drawn = sample(trained, sampler, own.draws, settings.seed).samples
    piece = at_once(trained.setup.source.shape)
    pieces = [own.features(drawn[start : start + piece]) for start in range(0, own.draws, piece)]
    scores = own.scores(np.concatenate(pieces))
    found["notes"]["samples"], found["settings"]["samples"] = scores.pop("notes", []), scores.pop("settings")
    return found | scores


def sample(
    trained: Trained, sampler: str = "prior", count: int = 64, seed: int = 0, label: int | str | None = None
) -> Samples:
    """The decoder's means at `count` draws. `seed` decides the fit, the draws, and the labels where none is given.

    label: the class of all samples, its number or name, for a method that is conditioned on labels; without it each
    sample draws its own, all classes of the training split being equally likely.
    """
    samplers.check(sampler, count, seed, label)
    label = checked_label(a_run(trained), label)
    seen = () if trained.setup.method.given is None else trained.setup.net.known
    fitted = fit(trained, sampler, seed)

    def labels(index: Array) -> Array:
        keys = random.example_keys(random.stream(random.fixed(seed), "label"), 0, index)
        drawn = jnp.asarray(seen)[random.below(keys, len(seen))]
        return drawn if label is None else jnp.full_like(drawn, label)

    def draw(keys, index):
        return fitted.draw(keys, labels(index) if seen else None)

    images = artifacts.sample(trained, count, seed, draw=draw)
    drawn = np.asarray(labels(jnp.arange(count))) if seen else None
    return Samples(images, drawn, fitted.measures)
