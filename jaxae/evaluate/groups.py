"""The groups of measures, one function each: bench -> (models -> one dict of numbers a model).

A group compiles once, whatever the number of models, and raises InputError, before anything is computed, where the
method or the data lack what it needs. Beside numbers its dicts may hold "notes", sentences for whoever reads them, and
"settings", what the numbers depend on.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import random
from jaxae.data import pixels
from jaxae.data.source import Split
from jaxae.data.view import View
from jaxae.errors import InputError
from jaxae.evaluate import annealed, decomposition, features, latents, samples
from jaxae.evaluate.bench import Bench, Model
from jaxae.evaluate.likelihood import Measure, density_of
from jaxae.evaluate.measures import NEAR
from jaxae.evaluate.units import units
from jaxae.types import Batch

PROBED = 10_000  # examples of a split that probes are fitted to and tried on, at most, evenly spread
AGGREGATED = 10_000  # posteriors that make up q(z), at most, evenly spread
DRAWN = 10_000  # samples that are judged, at most
PIECE = 500  # samples at once
ENOUGH = 10  # codes for each number of a codebook, with which its use is known
DRAWS = 16  # codes an example, of a posterior whose mean is not known
COMPARED = "the decoder's means against the split's grey levels"

LEAPFROG = 2  # at equal cost, more distributions do better than longer moves: 500 x 2 is worth 500 x 10 (MNIST, z = 50)
ANNEALED = 50  # examples whose chains run side by side
NOT_FINITE = "what the model makes is not finite: nothing to measure"


def decomposed(bench: Bench) -> Measure:
    """The parts of the ELBO's KL over the split: see `decomposition.decompose`."""
    method = bench.method
    if method.posterior is None or method.generative is None:
        raise InputError(f"{bench.name} has no Gaussian posterior under a prior with a density: nothing to take apart")
    posteriors = bench.over(lambda method, variables, keys, batch, step: method.posterior(variables, batch)._asdict())

    def log_prior(method, variables, step, z):
        return method.generative.log_prior(variables, z)

    prior = None if method.standard_prior else replace(bench, lanes="map").program(log_prior)  # each at its own z

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        view, found = bench.view(bench.split).spread(AGGREGATED), []
        key = random.stream(view.key, "decomposition")
        for model, q in zip(models, posteriors(models, view)):
            of = None if prior is None else lambda z, model=model: prior([model], z)[0]
            parts = decomposition.decompose(q["mean"], q["log_var"], jax.random.clone(key), of)
            kept = {name: part for name, part in parts.items() if name not in ("kl", "kl_mc_se")}
            found.append({**kept, "notes": _saturated(kept)})
        return found

    return measure


def annealing(bench: Bench) -> Measure:
    """-log p(x) by annealed importance sampling on some of the split, and both bounds on as many simulated images."""
    if bench.method.generative is None:
        raise InputError(f"{bench.name} has no density p(x|z) p(z) over real vectors z: nothing to anneal")
    s = bench.settings
    if s.ais_chains < 2:
        raise InputError(f"ais_chains {s.ais_chains}: expected at least 2, for one has no Monte Carlo error")

    def anneal(method, variables, keys, batch, step):
        return annealed.annealed(method.generative, s.ais_steps, s.ais_chains, LEAPFROG)(variables, keys, batch)

    def bound(method, variables, keys, batch, step):
        return annealed.bdmc(method.generative, s.ais_steps, s.ais_chains, LEAPFROG)(variables, keys, batch)

    real, simulated = bench.over(anneal, "ais"), bench.over(bound, "bdmc")

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        view = bench.view(bench.split).spread(s.ais_examples, ANNEALED)
        settings = {"examples": len(view), "chains": s.ais_chains, "steps": s.ais_steps} | density_of(bench.method)
        found = []
        for of, both in zip(real(models, view), simulated(models, view)):
            bounds = annealed.summary(both)
            known = {
                "ais_nll": -_mean(of["log_p"]),
                "ais_nll_mc_se": float(np.sqrt(np.sum(of["log_p_var"], dtype=np.float64)) / len(view)),
                "ais_nll_data_se": _error(of["log_p"]),
                "ais_acceptance": _mean(of["acceptance"]),
                **{f"bdmc_{name}": value for name, value in bounds.items()},
            }
            notes = [
                f"on {len(view)} simulated images the two bounds of AIS lie {_with_error(bounds)} nats apart on "
                "average: on images like these its estimate may be wrong by that much"
            ]
            found.append({**known, "settings": settings, "notes": notes})
        return found

    return measure


def codes_in_use(bench: Bench) -> Measure:
    """Active units and the KL of each unit; whether the posterior has collapsed, in words."""
    codes, method = bench.over(_codes), bench.method
    dense = method.log_weight is not None and method.discrete is None

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        found = []
        for of in codes(models, bench.view(bench.split)):
            statistics = units(of, method.standard_prior)
            kl = None if statistics.kl is None else [float(value) for value in statistics.kl]
            told = None if "kl" not in of else _mean(of["kl"])
            finite = all(np.isfinite(value).all() for value in of.values())
            found.append(
                {
                    "active_units": statistics.active if dense else None,
                    **({} if kl is None else {"kl_of_units": kl}),
                    "notes": [latents.diagnosis(statistics, told) if finite else NOT_FINITE],
                }
            )
        return found

    return measure


def probes(bench: Bench) -> Measure:
    """What a linear probe and the nearest neighbours read off the codes: fitted to the training split."""
    if bench.split == "train":
        raise InputError("the probes of split train are fitted to it: expected validation or test")
    train, test = (bench.view(split).spread(PROBED) for split in ("train", bench.split))
    if min(train.labels.min(), test.labels.min()) < 0:
        raise InputError(f"{bench.source.name} has no labels to probe the codes for")
    if len(np.unique(train.labels)) < 2:
        raise InputError(f"{bench.source.name} has one label alone: no classes to tell apart by the codes")

    def embed(method, variables, keys, batch, step):
        """Of a conditional method at no label: its code would else tell the label that it was told."""
        untold = batch if method.given is None else batch._replace(label=jnp.full_like(batch.label, -1))
        return method.embed(variables, untold)

    codes = bench.over(embed)

    def scores(fitted: np.ndarray, tried: np.ndarray) -> dict[str, Any]:
        both = (fitted, train.labels), (tried, test.labels)
        return latents.linear_probe(*both) | latents.nearest_neighbours(*both)

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        notes = {} if bench.method.given is None else {"notes": ["codes of the encoder at no label"]}
        return [_if_finite(scores, *of) | notes for of in zip(codes(models, train), codes(models, test))]

    return measure


def codebook(bench: Bench) -> Measure:
    """How much of a finite latent space the split uses."""
    if (discrete := bench.method.discrete) is None:
        raise InputError(f"{bench.name} has no finite latent space: no codebook whose use could be counted")
    codes = bench.over(lambda method, variables, keys, batch, step: method.discrete.encode(variables, batch))

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        return [_use(of, discrete.size) for of in codes(models, bench.view(bench.split))]

    return measure


def _use(codes: np.ndarray, size: int) -> dict[str, Any]:
    found = latents.codebook_use(codes, size)
    if codes.size >= ENOUGH * size:
        return found
    return found | {
        "notes": [
            f"{codes.size:,} codes tell little of a codebook of {size:,}: used evenly by chance they would be "
            f"{found['codebook_use_expected']:.3f} of it, and a perplexity too is bounded by their number"
        ]
    }


def disentangled(bench: Bench) -> Measure:
    """The disentanglement scores, on the data's whole grid of factors."""
    from jaxae.evaluate import disentanglement  # scikit-learn, a second: not for whoever asks for another group
    from jaxae.evaluate.factors import Table

    sizes = bench.source.factor_sizes
    if not sizes or bench.source.decode is None:
        raise InputError(f"{bench.source.name} has no known factors: choose data that has, such as sprites")
    embed = bench.over(lambda method, variables, keys, batch, step: method.embed(variables, batch))

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        grid = np.indices(sizes, dtype=np.uint8).reshape(len(sizes), -1).T
        view = bench.view(bench.split).like(Split(grid, np.full(len(grid), -1, np.int32)))

        def scores(codes: np.ndarray) -> dict[str, Any]:
            return disentanglement.scores(Table(codes, grid.astype(np.int64)), sizes, bench.settings.seed)

        return [_if_finite(scores, codes) for codes in embed(models, view)]

    return measure


def sampled(bench: Bench) -> Measure:
    """Fréchet distance, precision, recall, density and coverage of draws from the prior, in a stated feature space."""
    if bench.method.sample is None:
        raise InputError(f"{bench.name} has no prior to draw samples from")
    others = "test" if bench.split == "train" else "train"
    count = min(DRAWN, len(bench.source.split(bench.split)))
    if min(count, len(bench.source.split(others))) < samples.LEAST:
        raise InputError(
            f"{bench.source.name} has fewer than {samples.LEAST} images a split: too few to judge samples by"
        )
    space = feature_space(bench)
    index = jnp.arange(count, dtype=jnp.int32)
    draw = bench.program(lambda method, variables, step, keys: method.sample(variables, keys))

    def images(split: str) -> np.ndarray:
        grey = View(bench.source.split(split), pixels.make("none", bench.source.decode), jax.random.key(0))
        return grey.spread(count).map(lambda batch: space.of(batch.x))

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        real, other = images(bench.split), images(others)
        key, made = random.stream(jax.random.key(bench.settings.seed), "sample"), []
        for start in range(0, count, PIECE):
            keys = random.example_keys(jax.random.clone(key), 0, index[start : start + PIECE])
            made.append([np.asarray(space.of(drawn)) for drawn in draw(models, keys)])
        settings = {"feature_space": space.space, "drawn": count, "images": COMPARED}
        each = (np.concatenate(of) for of in zip(*made))
        scores = partial(samples.sample_scores, real, other=other)
        return [_if_finite(scores, of) | {"settings": settings} for of in each]

    return measure


def feature_space(bench: Bench) -> features.Features:
    wanted = bench.settings.features
    if wanted == "classifier":
        return features.classifier(bench.source)
    return features.pixels() if wanted == "pixels" else features.own(wanted)


def _codes(method: Any, variables: Any, keys: Any, batch: Batch, step: Any) -> dict[str, Any]:
    """What `units` wants to know, and "kl", log q(z|x) - log p(z) at one code, where no unit has a KL of its own."""
    for_kl, for_draws = random.split(keys)
    of = {"z": method.embed(variables, batch)}
    if method.log_weight is not None and not (method.standard_prior and method.posterior is not None):
        weight = method.log_weight(variables, for_kl, batch)
        of["kl"] = weight.posterior - weight.prior
    if method.posterior is not None:
        return of | method.posterior(variables, batch)._asdict()
    if method.draw is None or method.discrete is not None:
        return of

    def drawn(number):
        return method.draw(variables, random.numbered(for_draws, number), batch)

    return of | {"draws": jnp.moveaxis(jax.lax.map(drawn, jnp.arange(DRAWS)), 0, 1)}


def _with_error(bounds: dict[str, float | None]) -> str:
    se = bounds["gap_se"]
    return f"{bounds['gap']:.3f}" + ("" if se is None else f" ± {se:.3f}")


def _saturated(parts: dict[str, float | None]) -> list[str]:
    told, most = parts["mutual_information"], parts["mutual_information_bound"]
    if told is None or most is None or told < most - NEAR:
        return []
    return [
        f"mutual information is at its bound, the log of the number of examples ({most:.2f} nats): what the codes tell "
        "beyond it is counted as aggregated KL"
    ]


def _if_finite(scores: Callable[..., dict[str, Any]], *arrays: np.ndarray) -> dict[str, Any]:
    """scores(*arrays), which knows no other numbers than finite ones."""
    return scores(*arrays) if all(np.isfinite(array).all() for array in arrays) else {"notes": [NOT_FINITE]}


def _mean(x: np.ndarray) -> float:
    return float(np.mean(x, dtype=np.float64))


def _error(x: np.ndarray) -> float | None:
    return float(np.std(x, ddof=1, dtype=np.float64) / np.sqrt(len(x))) if len(x) > 1 else None
