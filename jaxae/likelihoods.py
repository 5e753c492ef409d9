"""The likelihoods p(x|z): how a decoder's output is read. The negative log is the reconstruction loss."""

import contextlib
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array

from jaxae import axis, densities, own, random
from jaxae.errors import InputError, known
from jaxae.names import LIKELIHOODS as NAMES
from jaxae.types import Likelihood, Variables

DECAY = 0.99  # of gaussian_optimal's running variance
FLAT = 30.0  # a scale of the discretised logistic, which then prefers no level to another by 1 %
LEAST = 1e-12  # its smallest: where every pixel is met exactly the optimum is zero, and the density infinite


def make(name: str, scale: float = 0.1) -> Likelihood:
    """The likelihood of that name, or FILE.py:NAME of the user's own; `scale` is the standard deviation of `gaussian`
    and the learned ones' start, and what a likelihood of the user's own makes of it."""
    if own.is_own(name):
        function = own.function(name)
        with own.told(own.short(name), own.split(name)[0]):
            made = function(scale)
        if not isinstance(made, Likelihood):
            raise InputError(f"{own.short(name)}: it gives a {type(made).__name__}: expected a jaxae.types.Likelihood")
        return made._replace(name=own.short(name), scale=_said(scale))
    known("likelihood", name, NAMES)
    return bernoulli() if name == "bernoulli" else globals()[name](scale)


def bernoulli() -> Likelihood:
    """Independent Bernoulli pixels; the decoder gives logits. A probability when the pixels are binary; for grey
    pixels the cross-entropy, which is no likelihood (see `Likelihood.discrete` and the data's binarisation)."""

    def bias(mean):
        return jax.scipy.special.logit(jnp.clip(mean, 0.001, 0.999))

    def log_prob(_, out, x):
        return densities.bernoulli(out, x)

    def mean(_, out):
        return jax.nn.sigmoid(out)

    def draw(_, keys, out):
        return jax.vmap(jax.random.bernoulli)(keys, jax.nn.sigmoid(out)).astype(out.dtype)

    return Likelihood("bernoulli", _nothing, bias, _keep, log_prob, mean, draw, True)


def gaussian(scale: float) -> Likelihood:
    """Gaussian pixels of one fixed standard deviation: the squared error over 2 scale^2, plus a constant."""
    log_var = 2 * jnp.log(_positive(scale))
    return _gaussian("gaussian", scale, _nothing, _keep, lambda variables: log_var)


def gaussian_learned(scale: float) -> Likelihood:
    """Gaussian pixels that share one learned log-variance."""

    start = jnp.asarray(2 * jnp.log(_positive(scale)), jnp.float32)

    def init():
        return Variables({"log_var": start})

    return _gaussian("gaussian_learned", scale, init, _keep, lambda variables: variables.params["log_var"])


def gaussian_optimal(scale: float) -> Likelihood:
    """Gaussian pixels that share the variance which maximises the batch's likelihood: its mean squared error.

    Rybkin et al. 2021 (arXiv:2006.13202), eq. 8. Training scores each (global) batch with its own optimum; a
    running mean of the optima, kept in the state, is what held-out data is scored with, so that p(x|z) stays a
    density. Of several samples an image it is the optimum of their mean, the ELBO: above that of a bound which weighs
    them (`iwae` and its kin), whose gradient is then not quite the loss's. `gaussian_learned` has neither fault.
    """
    start = jnp.asarray(2 * jnp.log(_positive(scale)), jnp.float32)

    def init():
        return Variables({}, {"variance": jnp.float32(0), "weight": jnp.float32(0)})

    def fit(variables, out, x):
        optimum = jnp.maximum(jax.lax.stop_gradient(axis.mean(jnp.mean(jnp.square(x - out)))), LEAST)
        old = variables.state
        kept = {
            "variance": DECAY * old["variance"] + (1 - DECAY) * optimum,
            "weight": DECAY * old["weight"] + (1 - DECAY),
        }
        kept = {name: value.astype(old[name].dtype) for name, value in kept.items()}
        return Variables({}, {"variance": optimum, "weight": jnp.ones(())}), kept

    def log_var(variables):
        variance, weight = variables.state["variance"], variables.state["weight"]
        seen = weight > 0
        return jnp.where(seen, jnp.log(variance) - jnp.log(jnp.where(seen, weight, 1)), start)

    return _gaussian("gaussian_optimal", scale, init, fit, log_var)


def discretised_logistic(scale: float) -> Likelihood:
    """256 grey levels under a logistic whose log-scale is learned and shared by the pixels; needs uint8 data."""

    start = jnp.asarray(jnp.log(_positive(scale)), jnp.float32)

    def init():
        return Variables({"log_scale": start})

    def bias(mean):
        mean, s = jnp.clip(mean, 0.001, 0.999), jnp.exp(start)
        return mean + s * (jnp.log(-jnp.expm1(-mean / s)) - jnp.log(-jnp.expm1((mean - 1) / s)))

    def log_prob(variables, out, x):
        return densities.discretised_logistic(out, variables.params["log_scale"], x)

    def mean(variables, out):
        """That of the logistic whose tails lie on 0 and 1, before it is rounded to a level: half a level away at most.
        It moves with `out` outside of [0, 1] too."""
        scale, softplus = jnp.exp(variables.params["log_scale"]), jax.nn.softplus
        s = jnp.minimum(scale, FLAT)
        from_black = s * (softplus(out / s) - softplus((out - 1) / s))
        from_white = 1 + s * (softplus(-out / s) - softplus((1 - out) / s))  # the same, with the digits elsewhere
        flat = jax.nn.sigmoid((out - 0.5) / scale)  # the same to 1e-6, where those have lost their digits
        return jnp.where(scale > FLAT, flat, jnp.where(out < 0.5, from_black, from_white))

    def draw(variables, keys, out):
        """The level nearest to a draw of the logistic: a bin is what lies nearer to its level than to any other."""
        noise = jax.vmap(lambda key: jax.random.logistic(key, out.shape[1:], jnp.float32))(keys)
        x = out + jnp.exp(variables.params["log_scale"]) * noise
        return jnp.clip(jnp.round(255 * x), 0, 255) / 255

    return Likelihood("discretised_logistic", init, bias, _keep, log_prob, mean, draw, True, _said(scale))


def held_out(likelihood: Likelihood) -> Likelihood:
    """The same, with nothing fitted to the batch it scores: what training has found is what counts."""
    return likelihood._replace(fit=_keep)


def _gaussian(
    name: str, scale: float, init: Callable, fit: Callable, log_var: Callable[[Variables], Array]
) -> Likelihood:
    """Gaussian pixels about the decoder's output, which share the variance exp(log_var(variables))."""

    def log_prob(variables, out, x):
        return densities.gaussian(out, log_var(variables), x)

    def draw(variables, keys, out):
        return out + jnp.exp(log_var(variables) / 2) * random.normal(keys, out.shape[1:])

    return Likelihood(name, init, _identity, fit, log_prob, lambda _, out: out, draw, False, _said(scale))


def _nothing() -> Variables:
    return Variables({})


def _keep(variables: Variables, out: Array, x: Array) -> tuple[Variables, object]:
    return variables, variables.state


def _identity(out: Array) -> Array:
    return out


def _positive(scale: float) -> float:
    if isinstance(scale, jax.core.Tracer):
        return scale
    with contextlib.suppress(TypeError, ValueError):
        if not isinstance(scale, str) and 0 < float(scale) < math.inf:
            return scale
    told = repr(scale) if isinstance(scale, str | float | int) else f"(a {type(scale).__name__})"
    raise InputError(f"scale {told}: expected a standard deviation above 0, one for all pixels")


def _said(scale: float) -> float | None:
    """The number, where it is one yet."""
    return None if isinstance(scale, jax.core.Tracer) else float(scale)
