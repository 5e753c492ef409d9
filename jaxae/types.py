"""The types everything else is made of: a method is a NamedTuple of pure functions over these.

Shapes: an image batch is [batch, height, width, channels] with pixels in [0, 1]; a code is [batch, latent].
Units: every log-probability, KL and loss is in nats an example: summed over pixels and latents, never averaged.
"""

import ast
import contextlib
import inspect
import itertools
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from flax import linen as nn
from jaxtyping import Array, Float, Int, Key

PyTree = Any
Keys = Key[Array, " batch"]
Images = Float[Array, "batch height width channels"]
Codes = Float[Array, "batch latent"]
Metrics = dict[str, Float[Array, " batch"]]
Weight = float | Array | Callable[[Array], Array]
"""A method's own weight: a number (or a tracer, under a sweep), or a schedule: step -> number."""


class Batch(NamedTuple):
    """Examples, in the order of the global batch.

    `label` is -1 where the data has none. `index` numbers the examples: the place in the global batch when
    training, the place in the split when evaluating. Noise is drawn from (seed, step, index), so neither the
    number of devices nor the size of an evaluation chunk changes it.
    """

    x: Images
    label: Int[Array, " batch"]
    index: Int[Array, " batch"]  # type: ignore[assignment]  # the field's own word, over a tuple's method


class Variables(NamedTuple):
    """All that a model has learned."""

    params: PyTree
    """What the optimiser updates."""
    state: PyTree = ()
    """What the loss updates: an EMA codebook, a running variance, a Lagrange multiplier; () when there is none."""


class Objective(NamedTuple):
    """What a loss returns. Per example, so that every mean (ragged, masked, sharded) is taken in one place.

    `state` is the new `Variables.state`. A term that couples the batch or regularises the parameters is a
    scalar broadcast to [batch]. `adversary` is what a second player descends, with stop_gradient between the two: it
    is added before the gradient is taken, and no part of the loss that is reported and validated.
    """

    loss: Float[Array, " batch"]
    state: PyTree
    metrics: Metrics
    adversary: Float[Array, " batch"] | None = None


class LogWeight(NamedTuple):
    """The three parts of log w = log p(x, z) - log q(z|x) for one sample z ~ q(z|x) an example, in nats."""

    likelihood: Float[Array, "*samples batch"]
    """log p(x|z)"""
    prior: Float[Array, "*samples batch"]
    """log p(z)"""
    posterior: Float[Array, "*samples batch"]
    """log q(z|x)"""

    @property
    def total(self) -> Float[Array, "*samples batch"]:
        return self.likelihood + self.prior - self.posterior


class Normal(NamedTuple):
    """A diagonal Gaussian: mean and log-variance, both [..., latent]."""

    mean: Float[Array, "*shape latent"]
    log_var: Float[Array, "*shape latent"]


class Likelihood(NamedTuple):
    """p(x|z) given the decoder's output, one natural parameter a pixel: [batch, height, width, channels]."""

    name: str
    init: Callable[[], Variables]
    """() -> its own Variables: a learned log-variance in `params`, a running one in `state`."""
    bias: Callable[[Float[Array, "height width channels"]], Float[Array, "height width channels"]]
    """The training mean -> the decoder output whose mean is that image, at the start."""
    fit: Callable[[Variables, Images, Images], tuple[Variables, PyTree]]
    """(variables, out, x) -> (the variables this training batch is scored with, the state to keep). What it finds of a
    batch it finds by `jaxae.axis.mean`: `out` and `x` may be one device's share."""
    log_prob: Callable[[Variables, Images, Images], Float[Array, " batch"]]
    """(variables, out, x) -> log p(x|z) in nats, summed over pixels."""
    mean: Callable[[Variables, Images], Images]
    """(variables, out) -> E[x|z] in data space."""
    draw: Callable[[Variables, Keys, Images], Images]
    """(variables, keys, out) -> x ~ p(x|z), as log_prob tells it: a Gaussian's may lie outside [0, 1]."""
    discrete: bool
    """True where log_prob is a log-probability (so bits/dim mean something), False where it is a density."""
    scale: float | None = None
    """Its standard deviation, or where a learned one starts: with the name, what tells a likelihood from another."""


class Net(NamedTuple):
    """A deterministic encoder and decoder, and the likelihood that reads the decoder's output.

    Your own linen modules go here: `Net(MyEncoder, MyDecoder(), bernoulli(), latent=8)`.
    """

    encoder: Callable[[int], nn.Module]
    """outputs -> a module x -> [batch, outputs]: a method asks for the outputs it needs (2 * latent for a VAE)."""
    decoder: nn.Module
    """A module z -> out [batch, height, width, channels]."""
    likelihood: Likelihood
    latent: int
    examples: int = 0
    """In the training split: what an estimate of the aggregated posterior must know; 0 where it is not known."""
    classes: int = 0
    """Labels run from 0 to classes - 1; 0 where the data has none."""
    seen: tuple[int, ...] = ()
    """Those of them that a training example has; empty where that is not known."""

    @property
    def known(self) -> tuple[int, ...]:
        """The classes to draw from: those that are seen, else all."""
        return self.seen or tuple(range(self.classes))


class Generative(NamedTuple):
    """The model p(z) p(x|z) without its encoder, where z is any real vectors: what annealing and simulation need.

    `latents` are a tree of arrays [batch, ...]: one array, or one a layer. Every log-probability is in nats an example,
    and an example's depends on its own latents alone.
    """

    draw: Callable[[Variables, Keys], PyTree]
    """(variables, keys) -> latents ~ p(z)"""
    log_prior: Callable[[Variables, PyTree], Float[Array, " batch"]]
    """(variables, latents) -> log p(z)"""
    log_likelihood: Callable[[Variables, PyTree, Batch], Float[Array, " batch"]]
    """(variables, latents, batch) -> log p(x|z), given the labels where the method is conditioned on them"""
    simulate: Callable[[Variables, Keys, PyTree, Batch], Images]
    """(variables, keys, latents, batch) -> x ~ p(x|z); of the batch only the labels are read"""


class Discrete(NamedTuple):
    """The codes of a method whose latent space is finite: `positions` numbers from 0 to `size` - 1 an example."""

    encode: Callable[[Variables, Batch], Int[Array, "batch positions"]]
    decode: Callable[[Variables, Int[Array, "batch positions"]], Images]
    """(variables, codes) -> the mean of p(x|z)"""
    size: int
    draw: Callable[[Variables, Keys, Batch], Int[Array, "batch positions"]] | None = None
    """(variables, keys, batch) -> codes ~ q(z|x), where that is no single code"""


class Method(NamedTuple):
    """An autoencoder. `keys` hold one key an example; nothing else is random."""

    init: Callable[[Array, Batch], Variables]
    """(key, batch) -> Variables"""
    loss: Callable[[Variables, Keys, Batch, Array], Objective]
    """(variables, keys, batch, step) -> Objective"""
    embed: Callable[[Variables, Batch], Codes]
    """(variables, batch) -> z, without noise"""
    reconstruct: Callable[[Variables, Batch], Images]
    """(variables, batch) -> the mean of p(x|z) at the embedded z, in data space"""
    decode: Callable[[Variables, Codes], Images]
    """(variables, z) -> the mean of p(x|z)"""
    sample: Callable[[Variables, Keys], Images] | None = None
    """(variables, keys) -> the decoder's mean at z ~ p(z); None where the method has no prior"""
    posterior: Callable[[Variables, Batch], Normal] | None = None
    """(variables, batch) -> q(z|x), where it is a diagonal Gaussian"""
    draw: Callable[[Variables, Keys, Batch], Codes] | None = None
    """(variables, keys, batch) -> z ~ q(z|x), as log_weight takes it, where that is no diagonal Gaussian nor a point"""
    log_weight: Callable[[Variables, Keys, Batch], LogWeight] | None = None
    """(variables, keys, batch) -> the parts of log w for one z ~ q(z|x); None where there is no density"""
    generative: Generative | None = None
    """p(z) and p(x|z) as functions of z; None where there is no density, or z is a sphere's or a finite code"""
    discrete: Discrete | None = None
    """The codes as whole numbers, where the latent space is finite"""
    given: "Callable[[Int[Array, '...']], Method] | None" = None
    """label (one, or [batch]) -> the method whose `decode` and `sample` are conditioned on it; None without labels.
    The conditional method's own `decode` and `sample` take the mean over labels, and draw one"""
    standard_prior: bool = True
    """Whether p(z) is N(0, 1), which is what the KL of each latent unit and the lattice of a report are about"""
    optimizers: Mapping[str, Mapping[str, Any]] = {}
    """Entries of `params` with an optimiser of their own: name -> what differs of `optim.make`'s arguments"""


class TrainState(NamedTuple):
    """The whole of what a checkpoint must hold: no key, no apply_fn, no optimiser object inside."""

    step: Int[Array, ""]
    variables: Variables
    opt_state: PyTree


def _document() -> None:
    """The text under a field, or else its annotation, becomes what `help` says of it."""
    for of in ast.parse(inspect.getsource(sys.modules[__name__])).body:
        if isinstance(of, ast.ClassDef):
            for node, below in itertools.pairwise([*of.body, ast.Pass()]):
                if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                    text = getattr(getattr(below, "value", None), "value", None)
                    text = text if isinstance(text, str) else ast.unparse(node.annotation)
                    getattr(globals()[of.name], node.target.id).__doc__ = text


with contextlib.suppress(OSError, TypeError):  # where there is no source
    _document()
