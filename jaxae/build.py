"""From a Config to the objects it names."""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxae import data, fits, forms, likelihoods, methods, networks, optim, own, purity, random, schedules
from jaxae.config import Config
from jaxae.data import pixels
from jaxae.data.source import Source
from jaxae.data.view import View, at_once
from jaxae.errors import InputError
from jaxae.names import IN_MEMORY, LIKELIHOODS, OF_NETWORKS
from jaxae.setup import Setup, weights
from jaxae.types import Net
from jaxae.values import plain

MEAN_EXAMPLES = 10_000  # of the training split, evenly spread, for the decoder's first bias


def build(config: Config, net: Net | None = None, source: Source | None = None) -> Setup:
    """Reads the data and makes the network. `net` takes the place of the config's: your own linen modules; `source` is
    the data where it has been read before."""
    if not jax.config.values.get("jax_threefry_partitionable", True):
        raise InputError("JAX_THREEFRY_PARTITIONABLE=0: every draw is another then: expected 1, JAX's default")
    config = of_net(config, net).resolved()
    code, generators = config.code(), purity.generators()  # before any of it runs
    fits.check_source(source)
    source = source or data.load(*config.reading())
    fits.check_data(config, source)
    epoch = len(source.train) / config.batch_size
    total = schedules.duration(config.steps, None, epoch)
    assert config.binarize is not None  # resolved
    entry = methods.entry(config.method)
    setup = Setup(
        config=config,
        entry=entry,
        factory=methods.factory(config.method),
        update=optim.find(config.optimizer),
        source=source,
        net=_informed(net or _network(config, source), source),
        pixels=pixels.make(config.binarize, source.decode),
        weights=weights(config, entry, total, epoch),
        total=total,
        epoch=epoch,
        key=jax.random.key(config.seed),
        code=code,
        own_net=net is not None,
    )
    fits.check_weights(setup)
    fits.check_sizes(setup)
    if net is not None or config.own_functions():
        forms.check_parts(setup, generators)
    if setup.method.given is not None:
        fits.check_labels(setup)
    return setup


def of_net(config: Config, net: Net | None) -> Config:
    """The config of a run of the user's own `net`, which decides the latent size, the likelihood, and so what becomes
    of the pixels. Raises InputError for what only a network of jaxae's would heed."""
    if net is None:
        return config
    forms.check_net(net)
    usual = Config()
    if config.latent not in (usual.latent, net.latent):
        raise InputError(f"latent {config.latent}: the net's is {net.latent}: leave it out")
    for name in ("network", *OF_NETWORKS, "dtype"):
        if (given := getattr(config, name)) not in (getattr(usual, name), net.likelihood.name, net.likelihood.scale):
            raise InputError(f"{name} {given!r}: net= takes its place, or says another: leave it out")
    kind = net.likelihood.name if net.likelihood.name in LIKELIHOODS else None
    binarize = config.binarize or ("dynamic" if kind == "bernoulli" else "none")
    scale = net.likelihood.scale or config.scale
    return dataclasses.replace(config, latent=net.latent, likelihood=kind, scale=scale, binarize=binarize)


def of_source(config: Config, source: Source | None) -> Config:
    """The config of a run on a `source` that has been read, which decides the data where it is of arrays."""
    if source is None:
        return config
    fits.check_source(source)
    if Path(config.data).name == source.name:
        return config
    if not source.name.startswith(IN_MEMORY) or config.reading() != Config().reading():
        given = {name: getattr(config, name) for name in ("validation", "size", "test")}
        said = "".join(f", {name} {value}" for name, value in given.items() if value is not None)
        raise InputError(f"data {config.data!r}{said}: source= is {source.name!r}: leave out what it decides")
    return dataclasses.replace(config, data=source.name)


def _network(config: Config, source: Source) -> Net:
    assert config.network and config.likelihood and config.binarize  # resolved
    likelihood = likelihoods.make(config.likelihood, config.scale)
    if own.is_own(config.likelihood):
        forms.check_likelihood(likelihood, config.likelihood, source.shape)
    net = networks.make(
        config.network,
        source.shape,
        config.latent,
        likelihood,
        mean=training_mean(source, config.binarize),
        width=config.width,
        depth=config.depth,
        activation=config.activation,
        dtype=jnp.dtype(config.dtype),
    )
    forms.check_net(net, own.short(config.network))
    return net


def _informed(net: Net, source: Source) -> Net:
    """With what a loss may need to know of the data, where the user has not said it, and numbers that are Python's."""
    labels = source.train.labels
    seen = tuple(np.unique(labels[labels >= 0]).tolist())
    return net._replace(
        latent=plain(net.latent),
        likelihood=net.likelihood._replace(scale=plain(net.likelihood.scale)),
        examples=net.examples or len(labels),
        classes=net.classes or int(labels.max()) + 1,
        seen=net.seen or seen,
    )


def training_mean(source: Source, binarize: str) -> np.ndarray:
    """The mean image of the training split, [height, width, channels] in [0, 1]."""
    whole = source.train
    spread = np.linspace(0, len(whole) - 1, min(MEAN_EXAMPLES, len(whole))).astype(np.int64)
    grey = pixels.make("threshold" if binarize == "threshold" else "none", source.decode)
    view = View(whole, grey, random.fixed(0), 2 * at_once(source.shape), spread)
    total = np.zeros(source.shape)
    for done, batch in enumerate(view.batches()):
        total += np.asarray(batch.x)[: len(view) - done * view.chunk].sum(axis=0, dtype=np.float64)
    return np.asarray(total / len(view), np.float32)
