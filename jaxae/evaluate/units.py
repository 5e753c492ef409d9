"""What each latent unit does over a data set."""

from collections.abc import Mapping
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from jaxae.densities import kl_to_standard
from jaxae.types import Normal

ACTIVE = 0.01
CHANCE = 4  # standard deviations of an estimate


class Units(NamedTuple):
    """Statistics of each latent unit, in the network's order; `order` sorts them, the busiest first."""

    order: Int[np.ndarray, " latent"]
    """By mean KL where the prior is N(0, 1), else by the variance of the codes."""
    variance: Float[np.ndarray, " latent"]
    """Var_x(E_q[z]), or the variance of the codes where they are deterministic."""
    sd: Float[np.ndarray, " latent"]
    """Standard deviation of the unit under the codes of the whole data set, posterior noise included."""
    kl: Float[np.ndarray, " latent"] | None
    """Mean KL(q(z|x) || N(0, 1)), nats."""
    noise: Float[np.ndarray, " latent"] | None = None
    """Standard deviation of `variance` where the unit is the same for every example, if it is estimated from draws."""
    largest: Float[np.ndarray, " latent"] | float = 0.0
    """The largest absolute value of the codes, or of their means."""

    @property
    def active(self) -> int:
        """Units with Var_x(E_q[z]) > 0.01: Burda et al. 2015 (arXiv:1509.00519), section 5.2; where that is estimated,
        and by more than chance alone would give."""
        least = ACTIVE if self.noise is None else np.maximum(ACTIVE, CHANCE * self.noise)
        return int(np.sum(self.variance > least))


def units(codes: Mapping[str, np.ndarray], standard_prior: bool = True) -> Units:
    """The statistics of what `encode` returns. Where the prior is not N(0, 1) there is no KL of a unit by itself.

    Of a posterior that is no diagonal Gaussian: "draws" [n, k, latent], k codes of it an example, from which
    Var_x(E_q[z]) is estimated without the bias that their own scatter adds.
    """
    z = codes["z"].astype(np.float64)
    if "draws" in codes:
        draws = codes["draws"].astype(np.float64)
        (n, k), scatter = draws.shape[:2], draws.var(axis=1, ddof=1)
        own, squared = scatter.mean(axis=0), np.square(scatter).mean(axis=0) * (k - 1) / (k + 1)
        variance = np.maximum(draws.mean(axis=1).var(axis=0) - own / k, 0.0)
        noise = np.sqrt(2 * squared / n * (1 + 1 / (k - 1))) / k  # the scatter is known from k draws an example, too
        return Units(_descending(variance), variance, np.sqrt(variance + own), None, noise)
    if "log_var" not in codes:
        variance = z.var(axis=0)
        return Units(_descending(variance), variance, np.sqrt(variance), None, largest=np.abs(z).max(axis=0))
    mean, log_var = (codes[name].astype(np.float64) for name in ("mean", "log_var"))
    variance = mean.var(axis=0)
    with np.errstate(over="ignore"):  # an infinite variance is one
        sd = np.sqrt(variance + np.exp(log_var).mean(axis=0))
    if not standard_prior:
        return Units(_descending(variance), variance, sd, None, largest=np.abs(mean).max(axis=0))
    kl = np.asarray(kl_to_standard(Normal(jnp.asarray(mean), jnp.asarray(log_var))), np.float64).mean(axis=0)
    return Units(_descending(kl), variance, sd, kl, largest=np.abs(mean).max(axis=0))


def _descending(values: np.ndarray) -> np.ndarray:
    return np.argsort(-values, kind="stable")
