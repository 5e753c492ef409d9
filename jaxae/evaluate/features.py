"""The spaces in which samples are measured (`jaxae.evaluate.samples`): each says in one sentence what it is, because a
number without its space says nothing, and numbers of two spaces are never compared."""

import contextlib
import hashlib
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Float

from jaxae import files, home, random
from jaxae import own as users
from jaxae.data import pixels as grey
from jaxae.data.feed import Feed, fits_on_device
from jaxae.data.source import Source, Split
from jaxae.data.view import View
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.evaluate.own import OF_JAX
from jaxae.networks.conv import Encoder
from jaxae.networks.layers import Spec
from jaxae.types import Batch, Images, PyTree

MOST_CLASSES = 10_000
RECIPE = 1  # raise it when anything below (or `Encoder`) changes what is trained
UNITS, WIDTH = 64, 16
BATCH, EPOCHS, LEAST, MOST = 128, 20, 800, 3_000  # the last two: steps
ROUNDS, HELD = 20, 2_048  # looks at the validation split, and at how many of it at most, evenly spread
log = logging.getLogger(__name__)


class Features(NamedTuple):
    space: str
    """What the space is, to be printed beside every number measured in it."""
    of: Callable[[Images], Float[Array, "batch features"]]
    """Images in [0, 1], as many at a time as fit the memory -> their features."""
    accuracy: float | None = None
    """Of the classifier whose features they are, on the validation split; None where there is none."""


def pixels() -> Features:
    """The images themselves."""
    return Features("the pixels themselves, in [0, 1]", jax.jit(lambda x: x.reshape(len(x), -1)))


def own(spec: str) -> Features:
    """The user's own function, `path/to/file.py:function`: images [batch, height, width, channels] in [0, 1] ->
    [batch, features]. It need not be jittable; where it is, `of` is too. The file is run: pass only what the user has
    named. Raises InputError where there is no such function, and `of` raises it for another shape or number.
    """
    if not users.is_own(spec):
        raise InputError(f"features {spec!r}: expected path/to/file.py:function")
    try:
        file, name = users.split(spec)
    except InputError as error:
        raise InputError(f"features {error}") from None
    function, title = getattr(users.load(spec), name, None), users.short(spec)
    if not callable(function):
        raise InputError(f"features {spec!r}: the file has no function {name}")
    space = f"the user's own features {title}, SHA-256 {users.sha256(spec)[:8]}"

    def of(images: Images) -> Float[Array, "batch features"]:
        with users.told(f"features {title}", file, but=OF_JAX):
            out = function(images)
        return _checked(out, images, title)

    return Features(space, of)


def _checked(out: Any, images: Images, title: str) -> Float[Array, "batch features"]:
    shape = getattr(out, "shape", None)
    if shape is None or len(shape) != 2 or shape[0] != len(images) or not shape[1]:
        found = f"a {type(out).__name__}" if shape is None else f"an array {tuple(shape)}"
        raise InputError(f"features {title}: {found} for {len(images)} images: expected [{len(images)}, features]")
    if isinstance(out, jax.core.Tracer):
        return out.astype(jnp.float32)
    array = np.asarray(out, np.float32)
    if np.iscomplexobj(out):
        raise InputError(f"features {title}: complex numbers: expected real ones")
    if wrong := np.count_nonzero(~np.isfinite(array).all(axis=1)):
        raise InputError(f"features {title}: not finite for {wrong} of {len(array)} images: expected finite numbers")
    return jnp.asarray(array)


def classifier(source: Source, seed: int = 0) -> Features:
    """The last hidden layer, after its activation, of a small convolutional classifier of the data's labels.

    Adam on the training split's grey levels; of ROUNDS looks, the parameters with the lowest cross-entropy on the
    validation split. They depend on these two splits, the seed and the recipe alone, never on the run or the images
    that are measured, and are trained once: the user's cache keeps them. Another machine may round its training
    otherwise: two spaces are the same where their sentences are, which tell the parameters' digest. Raises InputError
    where labels are missing.
    """
    splits = [_labelled(source, name) for name in ("train", "validation")]
    classes = 1 + max(int(split.labels.max()) for split in splits)
    if classes > MOST_CLASSES:
        raise InputError(
            f"{source.name}: labels up to {classes - 1:,}, more classes than a classifier is made for: give --features "
            "pixels or FILE:FUNCTION"
        )
    network = Classifier(source.shape, classes)
    mark = hashlib.sha256(f"{RECIPE} {seed} {source.train.digest} {source.validation.digest}".encode()).hexdigest()[:16]
    file = home.cache() / "features" / f"classifier-{mark}.npz"
    if (found := _read(file, network)) is None:
        log.info("training a classifier of %s, once: samples are measured in its last hidden layer", source.name)
        found = _train(network, source, splits, seed)
        _keep(file, *found)
    params, accuracy = found
    space = (
        f"{UNITS} penultimate units of jaxae's own classifier of {source.name} (seed {seed}, recipe {RECIPE}, "
        f"parameters {digest(params)[:8]}), validation accuracy {accuracy:.4f} on {len(splits[1]):,} images"
    )
    return Features(space, jax.jit(lambda x: network.apply(params, x)[0]), accuracy)


class Classifier(nn.Module):
    """x -> (features [batch, UNITS], logits [batch, classes])"""

    shape: tuple[int, ...]
    classes: int

    @nn.compact
    def __call__(self, x: Images) -> tuple[Float[Array, "batch features"], Float[Array, "batch classes"]]:
        spec = Spec(self.shape, WIDTH, None, "relu", jnp.float32, nn.initializers.zeros)
        features = nn.relu(Encoder(spec, UNITS, name="encoder")(x))
        return features, nn.Dense(self.classes, name="classes")(features)


def _labelled(source: Source, name: str) -> Split:
    """The examples of a split that have labels."""
    split = source.split(name)
    index = np.flatnonzero(split.labels >= 0)
    if name == "train" and len(np.unique(split.labels[index])) == 1:
        raise InputError(f"{source.name}: its {name} split has one class alone: give --features FILE:FUNCTION")
    if not len(index):
        raise InputError(f"{source.name}: its {name} split has no labels to learn: give --features FILE:FUNCTION")
    return split if len(index) == len(split) else Split(split.rows[index], split.labels[index])


def _judge(network: Classifier, params: PyTree, batch: Batch) -> tuple[Array, Array]:
    """Each example's (cross-entropy, whether the likeliest class is its own)."""
    logits: Any = network.apply(params, batch.x)[1]
    return optax.softmax_cross_entropy_with_integer_labels(logits, batch.label), logits.argmax(axis=1) == batch.label


def _train(network: Classifier, source: Source, splits: list[Split], seed: int) -> tuple[PyTree, float]:
    """The parameters, and the validation accuracy."""
    (train, held), key = splits, random.fixed(seed)
    to_pixels = grey.make("none", source.decode)
    every = -(-int(np.clip(EPOCHS * len(train) // BATCH, LEAST, MOST)) // ROUNDS)
    tx = optax.adam(optax.cosine_decay_schedule(2e-3, every * ROUNDS))
    feed = Feed(train, to_pixels, seed, BATCH, every, resident=fits_on_device(train))
    view = View(held, to_pixels, key, BATCH).spread(HELD)
    judge = jax.jit(partial(_judge, network))

    @jax.jit
    def go_on(key, now, first, count, data, rows):
        def step(number, now):
            params, opt_state = now
            batch = feed.fetch(key, first + number, data, jax.tree.map(lambda leaf: leaf[number], rows))
            grads = jax.grad(lambda p: jnp.mean(_judge(network, p, batch)[0]))(params)
            updates, opt_state = tx.update(grads, opt_state, params)
            return optax.apply_updates(params, updates), opt_state

        return jax.lax.fori_loop(0, count, step, now)

    params = jax.jit(network.init)(random.stream(key, "init"), jnp.zeros((1, *network.shape)))
    best, now = (np.inf, params), (params, jax.jit(tx.init)(params))
    with contextlib.closing(feed):
        for end in range(every, every * ROUNDS + 1, every):
            for first in range(end - every, end, feed.capacity):
                count = min(feed.capacity, end - first)
                now = go_on(key, now, first, count, feed.data, feed.at(first, count))
            nats = view.map(partial(judge, now[0]))[0].mean(dtype=np.float64)
            best = min(best, (nats, now[0]), key=lambda pair: pair[0])
    right = View(held, to_pixels, key, BATCH).map(partial(judge, best[1]))[1]
    return best[1], float(right.mean())


def _keep(file: Path, params: PyTree, accuracy: float) -> None:
    """A cache that cannot be written costs a warning, and the classifier is trained again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.whole(file, files.npz({"accuracy": np.asarray(accuracy), **flatten_dict(params, sep="/")}))
    except OSError as error:
        log.warning("%s cannot be written (%s): the classifier is trained again in every run", file, error)


def _read(file: Path, network: Classifier) -> tuple[PyTree, float] | None:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            flat = {name: arrays[name] for name in arrays.files}
        accuracy, params = float(flat.pop("accuracy")), jax.tree.map(jnp.asarray, unflatten_dict(flat, sep="/"))
        jax.eval_shape(network.apply, params, jax.ShapeDtypeStruct((1, *network.shape), jnp.float32))
        return params, accuracy
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # numpy, zipfile, zlib and flax each raise their own
        log.warning("%s is damaged and made again: %s", file, " ".join(str(error).split())[:200])
        return None
