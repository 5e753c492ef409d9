"""How likely held-out data is: the ELBO and its terms, and the importance-weighted NLL with its Monte Carlo error."""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxae.data.view import View
from jaxae.types import Batch, LogWeight, Method, Variables

BLOCK = 4096  # log weights computed at once: memory is bounded whatever the number of samples


def importance(method: Method, samples: int, block: int) -> Callable[[Variables, Array, Batch], dict[str, Array]]:
    """(variables, keys, batch) -> per-example estimates from `samples` draws of z, at most `block` at a time.

    log_p: log (1/k) sum_s w_s (Burda et al. 2015, arXiv:1509.00519, eq. 8): on average below log p(x), and rising to it
    with k. log_p_var: its Monte Carlo variance by the delta method, (k sum w^2 / (sum w)^2 - 1) / (k - 1).
    elbo and elbo_var: the mean of log w and that mean's variance. ess: effective samples, (sum w)^2 / sum w^2.
    """
    log_weight = method.log_weight
    assert log_weight is not None

    def estimate(variables, keys, batch):
        def sample(number) -> LogWeight:
            return log_weight(variables, jax.vmap(jax.random.fold_in, (0, None))(keys, number), batch)

        def add(carry, first):
            numbers = first + jnp.arange(block)
            parts = jax.vmap(sample)(numbers)
            used = (numbers < samples)[:, None]
            return _accumulate(carry, parts, used), None

        names = ("s1", "s2", "count", "elbo", "spread", "likelihood")
        empty = {name: jnp.zeros(len(batch.x)) for name in names} | {"top": jnp.full(len(batch.x), -jnp.inf)}
        sums, _ = jax.lax.scan(add, empty, jnp.arange(0, samples, block))
        return _summary(sums, samples)

    return estimate


def _accumulate(sums: dict, parts: LogWeight, used: Array) -> dict[str, Array]:
    """Adds a block [block, batch] of samples. Weights are kept relative to the largest seen (top); the mean of log w
    and the sum of squares about it (spread) are merged as in Chan et al. 1979, so float32 keeps its digits."""

    def total(x):
        return jnp.sum(jnp.where(used, x, 0.0), axis=0)

    log_w = parts.total
    top = jnp.maximum(sums["top"], jnp.max(jnp.where(used, log_w, -jnp.inf), axis=0))
    shrink = jnp.exp(sums["top"] - top)
    w = jnp.exp(log_w - top[None])
    new, old = jnp.sum(used), sums["count"]
    mean = total(log_w) / new
    shift = mean - sums["elbo"]
    return {
        "top": top,
        "s1": sums["s1"] * shrink + total(w),
        "s2": sums["s2"] * shrink**2 + total(w**2),
        "count": old + new,
        "elbo": sums["elbo"] + shift * new / (old + new),
        "spread": sums["spread"] + total((log_w - mean[None]) ** 2) + shift**2 * old * new / (old + new),
        "likelihood": sums["likelihood"] + total(parts.likelihood),
    }


def _summary(sums: dict, k: int) -> dict[str, Float[Array, " batch"]]:
    ess = sums["s1"] ** 2 / sums["s2"]
    return {
        "log_p": sums["top"] + jnp.log(sums["s1"]) - math.log(k),
        "log_p_var": jnp.maximum(k / ess - 1, 0.0) / (k - 1),
        "elbo": sums["elbo"],
        "elbo_var": sums["spread"] / (k * (k - 1)),
        "reconstruction": -sums["likelihood"] / k,
        "ess": ess,
    }


class Evaluation:
    """Held-out measures, compiled once for all models of the same shapes.

    `make` gives the method for its numbers (learning rate, weights): they are arguments of the compiled programs.
    """

    def __init__(self, make: Callable[[dict[str, Any]], Method], view: View, samples: int):
        self.view, self.samples = view, samples
        self._dense = make({}).log_weight is not None
        block = max(1, min(samples, BLOCK // view.chunk))
        self._importance = jax.jit(lambda numbers, *args: importance(make(numbers), samples, block)(*args))
        self._loss = jax.jit(lambda numbers, *args: make(numbers).loss(*args).metrics)
        self._error = jax.jit(lambda numbers, *args: _squared_error(make(numbers), *args))

    def __call__(self, numbers: dict[str, Any], variables: Variables, step: int) -> dict[str, Any]:
        """Means over the split in nats an example; null where a method has no density.

        elbo = -(reconstruction + kl); nll: importance-weighted with `samples` draws. *_mc_se is the standard error that
        comes from those draws, *_data_se the one that comes from the choice of examples. mse: mean squared error a
        pixel of the reconstruction from the embedded code.
        """
        view, at = self.view, jnp.asarray(step)
        result: dict[str, Any] = {"elbo": None, "nll": None, "kl": None}
        if self._dense:
            of = view.map(lambda b: self._importance(numbers, variables, view.keys(b, "importance"), b))
            result |= _density(of, self.samples)
        else:
            terms = view.map(lambda b: self._loss(numbers, variables, view.keys(b, "noise"), b, at))
            result |= {name: float(value.mean(dtype=np.float64)) for name, value in terms.items()}
        error = view.map(lambda b: self._error(numbers, variables, b))
        result["mse"] = float(error.mean(dtype=np.float64))
        return {**result, "examples": len(view), "step": step}


def evaluate(method: Method, variables: Variables, view: View, samples: int, step: int) -> dict[str, Any]:
    """The measures of one model: see `Evaluation`."""
    return Evaluation(lambda numbers: method, view, samples)({}, variables, step)


def _squared_error(method: Method, variables: Variables, batch: Batch) -> Float[Array, " batch"]:
    return jnp.mean(jnp.square(method.reconstruct(variables, batch) - batch.x), axis=(1, 2, 3))


def _density(of: dict[str, np.ndarray], samples: int) -> dict[str, Any]:
    of = jax.tree.map(lambda x: np.asarray(x, np.float64), of)
    n = len(of["elbo"])

    def data_se(x):
        return float(x.std(ddof=1) / math.sqrt(n)) if n > 1 else None

    return {
        "elbo": float(of["elbo"].mean()),
        "elbo_mc_se": float(math.sqrt(of["elbo_var"].sum()) / n),
        "elbo_data_se": data_se(of["elbo"]),
        "reconstruction": float(of["reconstruction"].mean()),
        "kl": float(-of["elbo"].mean() - of["reconstruction"].mean()),
        "nll": float(-of["log_p"].mean()),
        "nll_mc_se": float(math.sqrt(of["log_p_var"].sum()) / n),
        "nll_data_se": data_se(of["log_p"]),
        "samples": samples,
        "effective_samples": float(np.median(of["ess"])),
    }
