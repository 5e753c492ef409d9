"""What the ELBO's KL divergence over a whole split is made of, by the exact mixture of the split's posteriors."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key

from jaxae import densities, random
from jaxae.data.view import by_pieces
from jaxae.errors import InputError
from jaxae.evaluate.bench import Bench, Group, Model
from jaxae.evaluate.means import standard_error
from jaxae.evaluate.measures import NEAR
from jaxae.gaussian import reparameterise
from jaxae.types import Codes, Normal

AGGREGATED = 10_000  # posteriors that make up q(z), at most, evenly spread
AGAIN = 1000  # of them, of which two codes are drawn, at most
ROWS = 64  # codes at once
NUMBERS = 2**18  # of the table codes x posteriors x latent at once: 1 MB, which a core's cache holds
SCORED = 500  # codes at once whose log p(z) is asked for

Table = Float[np.ndarray, "_ _"] | Float[Array, "_ _"]


def decompose(
    mean: Table,
    log_var: Table,
    key: Key[Array, ""],
    log_prior: Callable[[Codes], Float[Array, " rows"]] | None = None,
) -> dict[str, float | None]:
    """KL(q(z|x) || p(z)), mean over n examples, and its parts, in nats an example; each with its `_mc_se`, the standard
    error that comes from the draws of the codes, and `_data_se`, the one that comes from these and the choice of
    examples together.

    kl = mutual_information + aggregated_kl: I_q(n; z) of example and code, and KL(q(z) || p(z)), where q(z) is the mean
    of all n posteriors: Hoffman and Johnson 2016 (ELBO surgery). aggregated_kl = total_correlation + dimension_wise_kl,
    KL(q(z) || prod_j q(z_j)) and sum_j KL(q(z_j) || p(z_j)): Chen et al. 2018 (arXiv:1802.04942), eq. 2; only for the
    prior N(0, 1), which is a product over units: for others give `log_prior`, z -> log p(z).

    Every term is the mean over the same code z ~ q(z|x) of each example, so that the sums hold to rounding; q(z) at it
    is exact. What a draw changes is known from a second code of AGAIN examples, evenly spread.
    mutual_information cannot exceed log n, `mutual_information_bound`: near it, it tells the size of the split, and
    what the codes say beyond that is counted in aggregated_kl and total_correlation.

    The cost is n (n + AGAIN) latent exponentials, about 1 ns each on one core; the memory, a few MB beside what is
    given.
    Raises InputError where mean and log_var are not of one shape [n, latent].
    """
    if len(mean.shape) != 2 or mean.shape != log_var.shape or not mean.size:
        raise InputError(f"mean {mean.shape} and log_var {log_var.shape}: expected the same shape [n, latent]")
    q = Normal(jnp.asarray(mean), jnp.asarray(log_var))
    n = len(mean)
    once = _terms(q, np.arange(n), 0, key, log_prior)
    spread = np.linspace(0, n - 1, min(n, AGAIN)).astype(np.int64)
    again = _terms(q, spread, 1, key, log_prior)
    found: dict[str, float | None] = {"mutual_information_bound": math.log(n)}
    for name, term in once.items():
        of_draws = np.mean(np.square(term[spread] - again[name])) / 2
        found |= {name: float(term.mean()), f"{name}_mc_se": math.sqrt(of_draws / n)}
        found[f"{name}_data_se"] = standard_error(term)
    return found


def _terms(
    q: Normal,
    index: Int[np.ndarray, " rows"],
    draw: int,
    key: Key[Array, ""],
    log_prior: Callable[[Codes], Float[Array, " rows"]] | None,
) -> dict[str, Float[np.ndarray, " rows"]]:
    """Of one code of each of those examples, that of its own key for that `draw`."""
    z, log_qz = _drawn(Normal(q.mean[index], q.log_var[index]), key, draw, index)
    joint, marginals = map(_to_host, _aggregate(z, q, log_prior is None))
    size = min(SCORED, len(z))
    log_pz = _to_host(densities.standard_normal(z) if log_prior is None else by_pieces(log_prior, z, size))
    own = _to_host(log_qz)
    with np.errstate(invalid="ignore"):  # of infinite ones: they are told of as not finite
        terms = {"kl": own - log_pz, "mutual_information": own - joint, "aggregated_kl": joint - log_pz}
        if log_prior is None:
            terms |= {"total_correlation": joint - marginals, "dimension_wise_kl": marginals - log_pz}
    return terms


@jax.jit
def _drawn(q: Normal, key: Key[Array, ""], draw: Array, index: Array) -> tuple[Array, Array]:
    """(z [rows, latent], log q(z|x) [rows])"""
    z = reparameterise(random.example_keys(key, draw, index), q)
    return z, densities.normal(z, q)


@partial(jax.jit, static_argnums=2)
def _aggregate(z: Codes, q: Normal, marginals: bool) -> tuple[Array, Array]:
    """(log q(z), sum_j log q(z_j)) of every row, [rows]; the second is zero unless it is asked for."""
    (rows, latent), n = z.shape, len(q.mean)
    width = max(1, min(n, NUMBERS // (ROWS * latent)))
    fill = ((0, -n % width), (0, 0))
    mean = jnp.pad(q.mean, fill).reshape(-1, 1, width, latent)
    log_var = jnp.pad(q.log_var, fill, constant_values=jnp.inf).reshape(mean.shape)  # no density anywhere: not counted

    def of_rows(z):
        def add(total, block):
            from_mean = (z - block.mean) * jnp.exp(-block.log_var / 2)
            log_q = -0.5 * (densities.LOG_2PI + block.log_var + jnp.square(from_mean))
            parts = (jnp.sum(log_q, axis=-1), log_q) if marginals else (jnp.sum(log_q, axis=-1),)
            return [jnp.logaddexp(old, jax.nn.logsumexp(part, axis=1)) for old, part in zip(total, parts)], None

        start = [jnp.full((ROWS, *shape), -jnp.inf) for shape in ([(), (latent,)] if marginals else [()])]
        joint, *each = jax.lax.scan(add, start, Normal(mean, log_var))[0]
        return joint - math.log(n), jnp.sum(each[0] - math.log(n), axis=-1) if marginals else jnp.zeros(ROWS)

    joint, product = jax.lax.map(of_rows, jnp.pad(z, ((0, -rows % ROWS), (0, 0))).reshape(-1, ROWS, 1, latent))
    return joint.reshape(-1)[:rows], product.reshape(-1)[:rows]


def _to_host(x: Array | np.ndarray) -> Float[np.ndarray, " n"]:
    return np.asarray(x, np.float64)


def decomposed(bench: Bench) -> Group:
    """The parts of the ELBO's KL over the split: see `decompose`."""
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
            parts = decompose(q["mean"], q["log_var"], jax.random.clone(key), of)
            kept = {name: part for name, part in parts.items() if name not in ("kl", "kl_mc_se", "kl_data_se")}
            found.append({**kept, "settings": {"examples": len(view)}, "notes": _saturated(kept)})
        return found

    return measure


def _saturated(parts: dict[str, float | None]) -> list[str]:
    told, most = parts["mutual_information"], parts["mutual_information_bound"]
    if told is None or most is None or told < most - NEAR:
        return []
    return [
        f"mutual information is at its bound, the log of the number of examples ({most:.2f} nats): what the codes tell "
        "beyond it is counted as aggregated KL"
    ]
