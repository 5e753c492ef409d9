"""What a model draws, judged against a split in a feature space: the images, what they are seen as, and the scores."""

import contextlib
import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import random
from jaxae.data import pixels
from jaxae.data.view import View, at_once
from jaxae.errors import InputError
from jaxae.evaluate import features
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.means import if_finite
from jaxae.evaluate.measures import OF_SAMPLES
from jaxae.evaluate.samples import LEAST, scorer

DRAWN = 10_000  # samples that are judged, at most
TRIED = 16  # images by which own features are tried
REPEATED, BESIDE = 1e-4, 1e-2  # of their largest number: by how much one may move, asked again, and beside others
COMPARED = "the decoder's means against the split's grey levels"
_WITH_ERRORS = [f"{name}{of}" for name in (*OF_SAMPLES, "frechet_floor") for of in ("", "_se")]
NONE: dict[str, Any] = dict.fromkeys([*_WITH_ERRORS, "coverage_expected"])
"""In place of what other draws had, where there is nothing to measure."""


class Judge(NamedTuple):
    """What judges draws against the split that is measured."""

    draws: int
    """That it is to be given."""
    features: Callable[[np.ndarray], np.ndarray]
    """Of images in [0, 1]."""
    scores: Callable[[np.ndarray], dict[str, Any]]
    """The draws' features -> their scores, and "settings"."""


def judge(bench: Bench, sampler: str = "prior") -> Judge:
    """`sampler`: what draws, for the settings. Raises InputError where there are too few images."""
    others, wanted = "test" if bench.split == "train" else "train", bench.settings.drawn
    count = min(DRAWN, len(bench.source.split(bench.split))) if wanted is None else wanted
    if wanted is not None and wanted < LEAST:
        raise InputError(f"drawn {wanted}: expected at least {LEAST}, for fewer samples tell nothing")
    if min(count, *(len(bench.source.split(name)) for name in (bench.split, others))) < LEAST:
        raise InputError(f"{bench.source.name} has fewer than {LEAST} images a split: too few to judge samples by")
    space = _space(bench)

    def features(images: np.ndarray) -> np.ndarray:
        return np.asarray(space.of(jnp.asarray(images)))

    @cache
    def real(split: str) -> np.ndarray:
        plain = pixels.make("none", bench.source.decode)
        grey = View(bench.source.split(split), plain, random.fixed(0), at_once(bench.source.shape))
        return grey.spread(count).map(lambda batch: space.of(batch.x))

    @cache
    def score() -> Callable[[np.ndarray], dict[str, float]]:
        return scorer(real(bench.split), count, real(others))

    def scores(drawn: np.ndarray) -> dict[str, Any]:
        against = real(bench.split)
        settings = {"feature_space": space.space, "drawn": count, "examples": len(against), "images": COMPARED}
        settings |= {} if sampler == "prior" else {"sampler": sampler}
        return NONE | if_finite(lambda drawn: score()(drawn), drawn) | {"settings": settings}

    return Judge(count, features, scores)


def sampled(bench: Bench) -> Group:
    """Fréchet distance, precision, recall, density and coverage of draws from the prior, in a stated feature space."""
    if bench.method.sample is None:
        raise InputError(f"{bench.name} has no prior to draw samples from: evaluate it by a --sampler")
    own = judge(bench)
    index, piece = jnp.arange(own.draws, dtype=jnp.int32), at_once(bench.source.shape)
    draw = bench.program(lambda method, variables, step, keys: method.sample(variables, keys))

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        key, made = random.stream(random.fixed(bench.settings.seed), "sample"), []
        with contextlib.closing(bench.track(range(0, own.draws, piece), math.ceil(own.draws / piece))) as starts:
            for start in starts:
                keys = random.example_keys(jax.random.clone(key), 0, index[start : start + piece])
                made.append([own.features(drawn) for drawn in draw(models, keys)])
        return [own.scores(np.concatenate(of)) for of in zip(*made)]

    return measure


def _space(bench: Bench) -> features.Features:
    wanted = bench.settings.features
    if wanted == "classifier":
        return features.classifier(bench.source)
    return features.pixels() if wanted == "pixels" else _tried(features.own(wanted), bench)


def _tried(space: features.Features, bench: Bench) -> features.Features:
    """The user's own space, where a few images say that it is one: numbers of each alone, that tell them apart."""
    view = View(bench.source.split(bench.split), pixels.make("none", bench.source.decode), random.fixed(0))
    few = jnp.asarray(view.spread(TRIED).map(lambda batch: batch.x))
    first, again, half, rest = (np.asarray(space.of(x)) for x in (few, few, few[: TRIED // 2], few[TRIED // 2 :]))
    name = space.space.partition(",")[0]
    if np.abs(first - again).max() > REPEATED * np.abs(first).max():
        raise InputError(f"{name}: other numbers for the same images each time: expected a function of the image alone")
    if np.abs(first - np.concatenate([half, rest])).max() > BESIDE * np.abs(first).max():
        raise InputError(
            f"{name}: an image's numbers depend on those beside it: expected a function of the image alone"
        )
    if not np.ptp(first, axis=0).any():
        raise InputError(f"{name}: the same for {TRIED} images: expected numbers that tell images apart")
    return space
