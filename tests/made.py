"""Trained runs made up for the tests of what comes after training: known weights, nothing compiled."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import small

from jaxae import methods, optim
from jaxae.config import Config
from jaxae.data import pixels
from jaxae.data.source import Source, Split
from jaxae.folder import RunFolder
from jaxae.run import Trained
from jaxae.setup import Setup
from jaxae.types import TrainState


def source(shape=(4, 5, 1), n=40, classes=10, names=(), seed=0):
    """Noise in three splits; `classes` of 0: without labels."""
    rng = np.random.default_rng(seed)

    def split(count):
        rows = rng.integers(0, 256, (count, *shape), np.uint8)
        labels = np.arange(count) % classes if classes else np.full(count, -1)
        return Split(rows, labels.astype(np.int32))

    return Source("made", shape, split(n), split(n), split(n), about="noise", classes=names)


def trained(folder, name="vae", latent=2, likelihood="bernoulli", net=None, **data):
    """A run of 10 steps in `folder` as it would lie there, of `small`'s linear networks."""
    of = source(**data)
    net = net or small.net(likelihood, latent, of.shape)
    config = Config(method=name, latent=latent, batch_size=4, steps=10, binarize="none").resolved()
    setup = Setup(
        config=config, entry=methods.entry(name), factory=methods.factory(name), update=optim.find("adam"), code={},
        source=of, net=net,
        pixels=pixels.make("none"),
        weights={**config.hyperparameters, "learning_rate": 0.1}, total=10, epoch=len(of.train) / 4,
        key=jax.random.key(0),
    )  # fmt: skip
    variables = small.variables(setup.method, small.batch(shape=of.shape))
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"step": step, "loss": 20.0 - step, "reconstruction": 18.0 - step, "kl": 2.0} for step in range(1, 11)]
    rows += [
        {"step": step, "validation_loss": 21.0 - step, "validation_reconstruction": 19.0 - step} for step in (5, 10)
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    record = {
        "command": f"jaxae train --run {folder}", "versions": {"jaxae": "0.1.0"}, "device": "1 x cpu",
        "threads": 2, "prng": "threefry2x32",
        "data": {"name": of.name, "sha256": of.digest, "sizes": of.sizes()},
    }  # fmt: skip
    (folder / "record.json").write_text(json.dumps(record))
    state = TrainState(jnp.asarray(10), variables, ())
    return Trained(setup, RunFolder(folder, by_hand=True), 10, state, variables)
