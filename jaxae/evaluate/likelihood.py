"""How likely held-out data is: the ELBO and its terms, and the importance-weighted NLL with its Monte Carlo error."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxae import random
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.means import mean, standard_error
from jaxae.evaluate.measures import TOO_HIGH
from jaxae.types import Batch, LogWeight, Method, Variables

AT_ONCE = {"cpu": (1000, 2**24)}  # images decoded, and values of all their pixels: what a CPU's cache and memory hold
TOLD = "p(x | label)"
WIDE = 16_000, 2**28  # the same for an accelerator
TERMS = ("reconstruction", "kl")  # of minus the ELBO
PARTS = 4  # of the draws, from which is seen how the error falls with their number
OF_PARTS = ("log_p_half", "log_p_quarter", "log_p_apart")
FALL = 0.5  # least power of the number of draws with which variance and bias are taken to fall: 1 for light tails


def importance(method: Method, samples: int, block: int) -> Callable[[Variables, Array, Batch], dict[str, Array]]:
    """(variables, keys, batch) -> per-example estimates from `samples` draws of z, at most `block` at a time.

    log_p: log (1/k) sum_s w_s (Burda et al. 2015, arXiv:1509.00519, eq. 8): on average below log p(x), and rising to it
    with k. log_p_var: its Monte Carlo variance by the delta method, (k sum w^2 / (sum w)^2 - 1) / (k - 1), which is too
    small where a few draws in thousands have most of the weight. log_p_half, log_p_quarter: the mean of the same from
    each half and quarter of the draws; log_p_apart: half the square of what the halves differ by. See `monte_carlo`.
    elbo and elbo_var: the mean of log w and that mean's variance; reconstruction, kl: of its terms, the same. ess:
    effective samples, (sum w)^2 / sum w^2.
    """
    log_weight = method.log_weight
    assert log_weight is not None

    def estimate(variables, keys, batch):
        def sample(number) -> LogWeight:
            return log_weight(variables, random.numbered(keys, number), batch)

        def add(carry, first):
            numbers = first + jnp.arange(block)
            parts = jax.vmap(sample)(numbers)
            used = (numbers < samples)[:, None]
            return _accumulate(carry, parts, used, numbers % PARTS), None

        names = ("s1", "s2", "count", "elbo", "spread", *(f"{term}{of}" for term in TERMS for of in ("", "_spread")))
        empty = {name: jnp.zeros(len(batch.x)) for name in names} | {"top": jnp.full(len(batch.x), -jnp.inf)}
        empty["parts"] = jnp.zeros((PARTS, len(batch.x)))
        sums, _ = jax.lax.scan(add, empty, jnp.arange(0, samples, block))
        return _summary(sums, samples)

    return estimate


def _accumulate(sums: dict, parts: LogWeight, used: Array, part: Int[Array, " block"]) -> dict[str, Array]:
    """Adds a block [block, batch] of samples, each to its part. Weights are kept relative to the largest seen (top);
    the mean of log w and the sum of squares about it (spread) are merged as in Chan et al. 1979, so float32 keeps its
    digits."""

    def total(x):
        return jnp.sum(jnp.where(used, x, 0.0), axis=0)

    log_w, new, old = parts.total, jnp.sum(used), sums["count"]

    def spread(x, mean, shift):
        return total((x - mean[None]) ** 2) + shift**2 * old * new / (old + new)

    def term(name, x):
        """Its sum, and the sum of squares about its mean."""
        mean = total(x) / new
        shift = mean - sums[name] / jnp.maximum(old, 1)
        return {name: sums[name] + total(x), f"{name}_spread": sums[f"{name}_spread"] + spread(x, mean, shift)}

    top = jnp.maximum(sums["top"], jnp.max(jnp.where(used, log_w, -jnp.inf), axis=0))
    base = jnp.where(jnp.isneginf(top), 0.0, top)  # while no weight is above zero
    shrink = jnp.exp(sums["top"] - base)
    w = jnp.exp(log_w - base[None])
    mean = total(log_w) / new
    gone = jnp.isneginf(mean) | jnp.isneginf(sums["elbo"])  # a weight of zero: the mean of log w has no way back
    shift = jnp.where(gone, 0.0, mean - sums["elbo"])
    return {
        "top": top,
        "s1": sums["s1"] * shrink + total(w),
        "s2": sums["s2"] * shrink**2 + total(w**2),
        "parts": sums["parts"] * shrink[None]
        + jnp.stack([total(jnp.where((part == p)[:, None], w, 0.0)) for p in range(PARTS)]),
        "count": old + new,
        "elbo": jnp.where(gone, -jnp.inf, sums["elbo"] + shift * new / (old + new)),
        "spread": sums["spread"] + spread(log_w, mean, shift),
        **term("reconstruction", -parts.likelihood),
        **term("kl", parts.posterior - parts.prior),
    }


def by_parts(log_w: Float[Array, "k batch"]) -> dict[str, Float[Array, " batch"]]:
    """What `monte_carlo` needs beside log_p and log_p_var: see `importance`."""

    def averaged(parts):
        each = [log_w[part::parts] for part in range(parts)]
        return jnp.stack([jax.nn.logsumexp(of, axis=0) - math.log(max(len(of), 1)) for of in each])

    halves, quarters = averaged(2), averaged(PARTS)
    return {
        "log_p_half": jnp.mean(halves, axis=0),
        "log_p_quarter": jnp.mean(quarters, axis=0),
        "log_p_apart": (halves[0] - halves[-1]) ** 2 / 2,
    }


def _summary(sums: dict, k: int) -> dict[str, Float[Array, " batch"]]:
    ess = sums["s1"] ** 2 / sums["s2"]
    counts = np.bincount(np.arange(k) % PARTS, minlength=PARTS)
    quarters = jnp.log(sums["parts"] / np.maximum(counts, 1)[:, None])
    one, other = (
        jnp.log((sums["parts"][i] + sums["parts"][i + 2]) / max(1, counts[i] + counts[i + 2])) for i in (0, 1)
    )
    return {
        "log_p": sums["top"] + jnp.log(sums["s1"]) - math.log(k),
        "log_p_half": sums["top"] + (one + other) / 2,
        "log_p_quarter": sums["top"] + jnp.mean(quarters, axis=0),
        "log_p_apart": (one - other) ** 2 / 2,
        "log_p_var": jnp.maximum(k / ess - 1, 0.0) / (k - 1),
        "elbo": sums["elbo"],
        "elbo_var": sums["spread"] / (k * (k - 1)),
        **{name: sums[name] / k for name in TERMS},
        **{f"{name}_var": sums[f"{name}_spread"] / (k * (k - 1)) for name in TERMS},
        "ess": ess,
    }


def monte_carlo(of: dict[str, np.ndarray]) -> tuple[float, float]:
    """(standard error, bias) of the mean over examples of `log_p`, from what `importance` gives of each.

    Two halves of an example's draws tell how much an estimate from so many varies. By how much the quarters' mean lies
    below the halves', and that below the estimate from all, tells how the bias falls with the number k of draws: as
    k^-a, with a = 1 for light tails and about a half where a few draws in thousands have most of the weight. The
    variance is taken to fall alike, and not to be below that of the delta method, which knows only of the draws made.
    Where one draw in thousands has nearly all the weight a is less, and the bias more than is told. A small bias of one
    model is known to a factor of three, for both differences are noisy; the mean over models is known better. Of fewer
    draws than four a is 1, and of one there is nothing to tell: the error is NaN.
    """
    n, known = len(of["log_p"]), float(np.sum(of["log_p_var"], dtype=np.float64))
    quarter, half, whole = (float(np.mean(of[f"log_p{part}"], dtype=np.float64)) for part in ("_quarter", "_half", ""))
    apart = float(np.sum(of["log_p_apart"], dtype=np.float64))
    if not np.isfinite([half, whole, apart]).all():
        return math.sqrt(known) / n, known / n / 2
    before, last = half - quarter, whole - half
    fall = min(1.0, max(FALL, math.log2(before / last))) if before > 0 and last > 0 else 1.0
    return math.sqrt(max(known, apart / 2**fall)) / n, max(known / n / 2, last / (2**fall - 1))


def likelihood(bench: Bench) -> Group:
    """Means over the split in nats an example; null where a method has no density.

    elbo = -(reconstruction + kl); nll: importance-weighted with `samples` draws. *_mc_se is the standard error that
    comes from those draws, *_data_se the one that comes from the choice of examples and the draws together. nll_bias:
    how far so few draws leave the NLL above its limit (both by `monte_carlo`). mse: mean squared error a number of the
    reconstruction from the embedded code. The densities of a method that is told the label are p(x | label): its
    settings say so.
    """
    samples, dense = bench.settings.samples, bench.method.log_weight is not None
    labels = bench.source.split(bench.split).labels
    (settings, untold), each = density_of(bench.method, labels), examples(bench)
    batches = math.ceil(len(bench.source.split(bench.split)) / bench.view(bench.split).chunk)

    def measure(models: Sequence[Model]) -> list[dict[str, Any]]:
        found = []
        for of, model in zip(each(models), models):
            squared = of.pop("mse")
            result: dict[str, Any] = {"elbo": None, "nll": None, "kl": None}
            result |= _density(of, samples) if dense else _means(of, batches)
            result |= _means({"mse": squared}) | {"step": model.step}
            found.append({**result, "notes": [*_warnings(result), *untold], "settings": settings})
        return found

    return measure


def density_of(method: Method, labels: Int[np.ndarray, " n"]) -> tuple[dict[str, str], list[str]]:
    """The settings of a density that is another than p(x), and what is to be said of it."""
    if method.given is None:
        return {}, []
    if not (untold := int(np.sum(labels < 0))):
        return {"density_of": TOLD}, []
    some = f"{untold:,} of {len(labels):,} examples have no label"
    return {"density_of": f"{TOLD}, where there is one"}, [f"{some}: their density is the one that is told none"]


def examples(bench: Bench) -> Callable[[Sequence[Model]], list[dict[str, Float[np.ndarray, " n"]]]]:
    """models -> what `importance` estimates of each example of the split, or the metrics of a method without a density;
    and its mse."""
    dense = bench.method.log_weight is not None

    def terms(method, variables, keys, batch, step):
        return method.loss(variables, keys, batch, step).metrics

    weighed = weighing(bench, bench.view(bench.split).chunk)
    held = weighed if dense else bench.over(terms)
    error = bench.over(lambda method, variables, keys, batch, step: _squared_error(method, variables, batch))

    def each(models: Sequence[Model]) -> list[dict[str, np.ndarray]]:
        view = bench.view(bench.split)
        return [of | {"mse": squared} for of, squared in zip(held(models, view), error(models, view))]

    return each


def weighing(bench: Bench, chunk: int) -> Callable[..., list[dict[str, Float[np.ndarray, " n"]]]]:
    """(models, view) -> what `importance` estimates of each example of a view of that chunk."""
    samples = bench.settings.samples
    most, values = AT_ONCE.get(jax.default_backend(), WIDE)
    block = max(1, min(samples, most // chunk, values // (chunk * math.prod(bench.source.shape))))

    def weigh(method, variables, keys, batch, step):
        return importance(method, samples, block)(variables, keys, batch)

    return bench.over(weigh, "importance")


def _squared_error(method: Method, variables: Variables, batch: Batch) -> Float[Array, " batch"]:
    return jnp.mean(jnp.square(method.reconstruct(variables, batch) - batch.x), axis=(1, 2, 3))


def _warnings(of: dict[str, Any]) -> list[str]:
    if of["nll"] is None or not of["nll_bias"] >= TOO_HIGH:
        return []
    return [
        f"{of['samples']:,} importance samples are too few: {of['effective_samples']:.1f} of an image's count (median) "
        f"and the NLL is about {of['nll_bias']:.2f} nats above its limit: take more"
    ]


def _means(of: dict[str, np.ndarray], batches: int = 0) -> dict[str, float | None]:
    """Over the examples, each with the standard error that comes from their choice; none of what is one number a batch,
    such as MMD."""
    found: dict[str, float | None] = {}
    for name, values in of.items():
        values = np.asarray(values, np.float64)
        alone = len(np.unique(values)) > batches
        found |= {name: mean(values), f"{name}_data_se": standard_error(values) if alone else None}
    return found


def _density(of: dict[str, np.ndarray], samples: int) -> dict[str, Any]:
    of = {name: np.asarray(x, np.float64) for name, x in of.items()}
    n, (nll_error, bias) = len(of["elbo"]), monte_carlo(of)
    return {
        **_means({"elbo": of["elbo"], **{name: of[name] for name in TERMS}, "nll": -of["log_p"]}),
        **{f"{name}_mc_se": float(math.sqrt(of[f"{name}_var"].sum()) / n) for name in ("elbo", *TERMS)},
        "nll_mc_se": nll_error,
        "nll_bias": bias,
        "samples": samples,
        "effective_samples": float(np.median(of["ess"])),
    }
