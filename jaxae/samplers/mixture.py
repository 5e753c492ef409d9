import warnings

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from jaxae import random
from jaxae.densities import LOG_2PI
from jaxae.errors import InputError, at_least_one
from jaxae.run import Trained
from jaxae.samplers.codes import VECTORS
from jaxae.samplers.density import Density, standardised
from jaxae.samplers.fitted import Fitted, fitted

NEEDS = "decode"


def mixture(trained: Trained, seed: int = 0, *, components: int = 10) -> Fitted:
    """A mixture of Gaussians with full covariances, fitted to the codes by expectation maximisation.

    Ghosh et al. 2019 (arXiv:1903.12436), section 4: ex-post density estimation.

    components: Gaussians in the mixture
    """
    at_least_one(components=components)
    density = standardised(gaussians(components))
    return fitted(trained, seed, "mixture", {"components": components}, density, VECTORS)


def gaussians(components: int) -> Density:
    """sklearn's GaussianMixture. `root` is a Cholesky factor of a covariance, `whiten` one of its inverse."""

    def fit(seed, codes):
        if len(codes.train) < 2:
            raise InputError("one code of the training split: expected at least 2 to fit a density to")
        count = min(components, len(codes.train))
        found = GaussianMixture(count, covariance_type="full", max_iter=200, random_state=seed)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # near the optimum is good enough to sample from
            found.fit(codes.train.astype(np.float64))
        roots = np.linalg.cholesky(found.covariances_)
        model = {"log_share": np.log(found.weights_), "mean": found.means_, "root": roots}
        model["whiten"] = found.precisions_cholesky_
        return jax.tree.map(np.float32, model)

    def log_prob(model, keys, z):
        whitened = jnp.einsum("bcl,clk->bck", z[:, None] - model["mean"][None], model["whiten"], precision="highest")
        log_det = jnp.sum(jnp.log(jnp.diagonal(model["whiten"], axis1=1, axis2=2)), axis=-1)
        log_normal = -0.5 * jnp.sum(jnp.square(whitened) + LOG_2PI, axis=-1) + log_det[None]
        return jax.nn.logsumexp(model["log_share"][None] + log_normal, axis=-1)

    def draw(model, keys):
        for_component, for_noise = random.split(keys)
        which = jax.vmap(lambda key: jax.random.categorical(key, model["log_share"]))(for_component)
        noise = random.normal(for_noise, model["mean"].shape[1:])
        mean, root = (jnp.asarray(model[name])[which] for name in ("mean", "root"))
        return mean + jnp.einsum("bkl,bl->bk", root, noise, precision="highest")

    return Density(fit, log_prob, draw)
