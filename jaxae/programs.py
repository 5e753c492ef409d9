"""What a run or a sweep compiles: the chunk of training steps, and the score of a held-out batch."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from jaxae import axis, compiler, hosts
from jaxae.config import Config
from jaxae.data import feed as feeds
from jaxae.networks.catalogue import defaults
from jaxae.parallel import Layout
from jaxae.setup import Setup
from jaxae.train import Chunk, make_eval_step, make_train_chunk, make_train_step

WIDE = 500  # rows of a product, from which on `compiler.products` pays
FEED_BYTES = 2**26  # of the order of the data, in one call of all lanes


class Programs(NamedTuple):
    """What the loop compiles, for any number of lanes: made once, they serve all waves of a sweep."""

    chunk: Callable[..., Chunk]
    score: Callable[[Any, Any], dict[str, jax.Array]]


def make_feed(setup: Setup, layout: Layout, lanes: int = 1) -> feeds.Feed:
    """The training split's batches: on the devices where they fit; streamed, each process its own part, where not."""
    config, split = setup.config, setup.source.train
    resident = feeds.fits_on_device(split) and hosts.count() == 1 if config.stream == "auto" else config.stream == "no"
    cadence = (setup.every(every) for every in (config.log_every, config.validate_every, config.checkpoint_every))
    capacity = max(1, min(config.chunk, setup.total, FEED_BYTES // (4 * config.batch_size * lanes), *cadence))
    return feeds.Feed(
        split, setup.pixels, setup.order_seed, config.batch_size, capacity, resident=resident, lanes=lanes,
        place=layout.shard, columns=layout.columns(config.batch_size),
    )  # fmt: skip


def make_programs(setup: Setup, layout: Layout) -> Programs:
    chunk = make_chunk(setup, make_feed(setup, layout).fetch, layout.axis_name)
    options = compiler.in_place() | (compiler.products() if wide(setup.config) else {})
    return Programs(layout.training(chunk, options), layout.reading(make_score(setup)))


def make_chunk(setup: Setup, fetch: Callable, axis_name: str | None):
    """chunk(((state, (numbers, key, count)), feed), data) -> Chunk. The learning rate and the method's weights are
    arguments, not constants: one program for all their values, with the same arithmetic wherever it is transformed."""

    def chunk(own, data):
        state, (numbers, key, count), feed = own
        method, tx = setup.make(numbers)
        config = setup.config
        shards = config.shards if config.exact else None
        step = make_train_step(method, tx, axis_name, microbatches=config.accumulate, shards=shards)
        with axis.over(axis_name):
            return make_train_chunk(step, fetch)(key, state, data, feed, count)

    return chunk


def wide(config: Config) -> bool:
    """Whether a step lives by products of many rows in dense layers: then `products` are its compiler's options."""
    assert config.network  # resolved
    samples = (config.hyperparameters.get(name) for name in ("k", "groups"))
    rows = config.batch_size * math.prod(n for n in samples if isinstance(n, int))
    return defaults(config.network).file == "dense" and rows >= WIDE


def make_score(setup: Setup):
    """score((variables, numbers), (keys, batch, step)) -> per-example metrics of held-out data [batch]."""

    def score(own, shared):
        (variables, numbers), (keys, batch, step) = own, shared
        keys = jax.random.clone(keys)  # on purpose every lane draws the same
        return make_eval_step(setup.held_out(numbers))(variables, keys, batch, step)

    return score
