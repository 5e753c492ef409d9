"""Many seeds of one configuration from one compiled program, as functions of numpy arrays."""

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from experiments.continuity.measures import Images, Model
from jaxae import random
from jaxae.build import build
from jaxae.config import Config
from jaxae.data.feed import Feed
from jaxae.errors import Diverged, InputError
from jaxae.optim import evaluated
from jaxae.setup import Setup
from jaxae.train import init_state, make_train_chunk, make_train_step
from jaxae.types import Batch, Variables

REFERENCES = 10_000
CALL = 500


def train_seeds(config: Config, seeds: Sequence[int]) -> Iterator[Model]:
    """Trains each seed as `jaxae.run.train` would. The seed is an input of the compiled chunk, so one serves."""
    setup = build(config)
    apply = _apply(setup)
    first = setup.view("train").take(np.arange(config.batch_size))
    start = jax.jit(lambda key: init_state(setup.method, setup.tx, key, first))
    train, chunk = setup.source.train, None
    for seed in seeds:
        key = jax.random.key(seed)
        feed = Feed(train, setup.pixels, seed, config.batch_size, min(CALL, setup.total), resident=True)
        step = make_train_step(setup.method, setup.tx)
        chunk = chunk or jax.jit(make_train_chunk(step, feed.fetch), donate_argnums=1)
        state = start(random.stream(key, "init"))
        for at in range(0, setup.total, feed.capacity):
            count = min(feed.capacity, setup.total - at)
            result = chunk(key, state, feed.data, feed.at(at, count), count)
            state = result.state
            if not np.isfinite(result.metrics["loss"][int(result.done) - 1]):
                raise Diverged(f"{config.method}, seed {seed}: the loss is not finite by step {int(state.step)}")
        feed.close()
        yield apply(evaluated(state))


def images_of(config: Config) -> Images:
    """The test images and up to REFERENCES training images, evenly spread, as the models see them."""
    setup = build(config)
    if setup.source.test.labels.min() < 0:
        raise InputError(f"{setup.source.name} has no labels: the lesson needs them to pair and to classify")
    test = setup.view("test").map(lambda batch: (batch.x, batch.label))
    return Images(pixels_of(setup, "train", REFERENCES)[0], *test)


def pixels_of(setup: Setup, split: str, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(images, labels) of a split; at most that many, evenly spread."""
    view = setup.view(split)
    return (view if most is None else view.spread(most)).map(lambda batch: (batch.x, batch.label))


def _apply(setup: Setup):
    """variables -> Model, whose programs are compiled once for all seeds."""
    method = setup.method

    def batch(x):
        n = len(x)
        return Batch(jnp.asarray(x), jnp.full(n, -1), jnp.arange(n))

    embed = jax.jit(lambda variables, x: method.embed(variables, batch(x)))
    decode = jax.jit(method.decode)
    posterior = method.posterior and jax.jit(lambda variables, x: method.posterior(variables, batch(x)))

    def model(variables: Variables) -> Model:
        def sample_codes(rng, x):
            if posterior is None:
                return np.asarray(embed(variables, x))
            q = jax.tree.map(np.asarray, posterior(variables, x))
            return q.mean + np.exp(q.log_var / 2) * rng.standard_normal(q.mean.shape)

        return Model(
            lambda x: np.asarray(embed(variables, x)),
            lambda z: np.asarray(decode(variables, jnp.asarray(z, jnp.float32))),
            sample_codes,
        )

    return model
