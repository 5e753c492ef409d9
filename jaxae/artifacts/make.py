"""The artifacts as functions of a trained run. Images are the decoder's means, in data space."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from jaxae import memory, random
from jaxae.artifacts import paths, pieces
from jaxae.data.in_memory import without_bfloat
from jaxae.data.view import PIECE, View, at_once, by_pieces, evenly
from jaxae.errors import InputError, a_seed, whole
from jaxae.evaluate.units import Units, units
from jaxae.run import Trained
from jaxae.run.loading import a_run

MOST = 10_000  # examples that a traversal's statistics are taken over, evenly spread
FARTHEST = 1e6  # standard deviations of a traversal: what is further has no finite image

Pictures = Float[np.ndarray, "n height width channels"]


class Reconstructions(NamedTuple):
    """Images, as evaluation sees them, and what is decoded of their codes."""

    inputs: Pictures
    reconstructions: Pictures
    label: Int[np.ndarray, " n"]
    examples: Int[np.ndarray, " n"]
    """Which of the split, by number."""


class Interpolations(NamedTuple):
    """The ways from the code of one example to another's, and what is decoded on them."""

    images: Float[np.ndarray, "pairs steps height width channels"]
    z: Float[np.ndarray, "pairs steps latent"]
    examples: Int[np.ndarray, "pairs 2"]
    """Which of the split are joined, by number."""
    label: Int[np.ndarray, "pairs steps"]
    """Of the nearer end: what a conditional method decodes each code at."""


class Traversals(NamedTuple):
    """An example's code with one unit moved at a time, and what is decoded of it."""

    images: Float[np.ndarray, "rows steps height width channels"]
    z: Float[np.ndarray, "rows steps latent"]
    unit: Int[np.ndarray, " rows"]
    """The latent unit that the row moves."""
    offset: Float[np.ndarray, " steps"]
    """In the unit's own standard deviations."""
    label: Int[np.ndarray, ""]
    """The example's: what a conditional method decodes its codes at."""


def reconstruct(
    trained: Trained, split: str = "test", count: int = 32, seed: int = 0, index: Any = None
) -> Reconstructions:
    """`count` examples, evenly spread through the split, or those of `index`, beside their reconstructions.

    Where binarisation is dynamic, `seed` draws it.
    """
    view, method = pieces.view_of(trained, split, seed), trained.setup.method
    index = pieces.spread(view, split, count) if index is None else pieces.numbers(view, split, index)
    rebuilt = jax.jit(method.reconstruct)

    def both(batch):
        return batch.x, rebuilt(trained.variables, batch), batch.label

    inputs, reconstructions, label = pieces.over(view, index, both)
    return Reconstructions(inputs, reconstructions, label, index)


def sample(
    trained: Trained, count: int = 64, seed: int = 0, draw: Callable[[Array, Array], Any] | None = None
) -> Pictures:
    """The decoder's means at `count` draws from the prior. Raises InputError where the method has none.

    draw: (keys, the samples' numbers) -> images, in place of the prior: what `jaxae.samplers` fits.
    """
    prior, variables = a_run(trained).setup.method.sample, trained.variables
    if draw is None and prior is None:
        raise InputError(
            f"{trained.setup.config.method} has no prior to sample from: `jaxae sample --sampler mixture` fits one to "
            "its codes; `interpolate` and `decode` show what lies between them"
        )
    a_seed(seed)
    needed = 4 * whole("count", count, 1) * math.prod(trained.setup.source.shape)
    if needed > memory.free():
        size = f"{needed / 1e9:,.0f} GB"
        raise InputError(
            f"count {count}: the images take {size}, more than is free: draw fewer at a time, by other seeds"
        )
    images: Any = draw or (lambda keys, index: prior(variables, keys))  # type: ignore[misc]  # there is one
    key = random.stream(random.fixed(seed), "sample")
    drawn = jax.jit(lambda index: images(random.example_keys(key, 0, index), index))
    return by_pieces(drawn, np.arange(count, dtype=np.int32), at_once(trained.setup.source.shape, PIECE))


def interpolate(
    trained: Trained, pairs: Any = 8, steps: int = 11, how: str = "linear", split: str = "test", seed: int = 0
) -> Interpolations:
    """Decoded paths between the codes of two examples; the ends are their reconstructions.

    pairs: how many, spread through the split, or [pairs, 2] numbers of examples. how: of `paths.PATHS`. A conditional
    method decodes each code at the label of the nearer end.
    """
    view = pieces.view_of(trained, split, seed)
    whole("steps", steps, 2)
    if np.ndim(pairs) == 0:
        most = max(1, len(view) // 2)
        count = whole("count", pairs, 1)
        if count > most:
            raise InputError(f"count {count}: {split} has {len(view)} examples: expected 1 to {most} pairs")
        index = np.resize(evenly(len(view), 2 * count).astype(np.int32), (2, count)).T
    else:
        index = pieces.numbers(view, split, pairs)
        if index.ndim != 2 or index.shape[1] != 2:
            raise InputError(f"pairs of shape {list(index.shape)}: expected [pairs, 2] numbers of examples")
    codes = _embedded(trained, view, index.ravel()).reshape(*index.shape, -1)
    z = paths.between(codes[:, 0], codes[:, 1], steps, how)
    ends = np.asarray(view.take(index.ravel()).label).reshape(index.shape)
    label = np.repeat(ends, [steps - steps // 2, steps // 2], axis=1)
    return Interpolations(_decoded(trained, z, label), z, index, label)


def traverse(
    trained: Trained,
    example: int = 0,
    span: float = 3.0,
    steps: int = 11,
    *,
    split: str = "test",
    seed: int = 0,
    most: int | None = None,
    over: Units | None = None,
) -> Traversals:
    """Moves one unit of an example's code at a time, from -span to +span of the unit's standard deviations.

    One row a unit, the busiest first, `most` of them; the middle column is the reconstruction. `over`:
    statistics taken before; by default those of the split (of 10,000 examples at most).
    """
    view = pieces.view_of(trained, split, seed)
    if whole("steps", steps, 3) % 2 == 0:
        raise InputError(f"steps {steps}: expected an odd number: the middle one is the reconstruction")
    if not 0 < span <= FARTHEST:
        raise InputError(f"span {span}: expected standard deviations above 0, {FARTHEST:g} at most")
    if most is not None:
        whole("count", most, 1)
    over = over or units(encode(trained, split, seed, count=min(MOST, len(view))), trained.setup.method.standard_prior)
    one = pieces.numbers(view, split, [example])
    code, label = _embedded(trained, view, one)[0], view.take(one).label[0]
    offset = np.linspace(-span, span, steps).astype(np.float32)
    offset[steps // 2] = 0
    rows = over.order[:most]
    z = np.tile(code, (len(rows), steps, 1))
    with np.errstate(over="ignore", invalid="ignore"):  # a unit may have no finite deviation
        z[np.arange(len(rows)), :, rows] += offset * over.sd[rows, None].astype(np.float32)
    return Traversals(_decoded(trained, z, np.full(z.shape[:-1], label)), z, rows, offset, np.asarray(label))


def encode(trained: Trained, split: str = "test", seed: int = 0, count: int | None = None) -> dict[str, np.ndarray]:
    """z [n, latent], label [n] (-1: none), index [n] in the split, row [n] in the data as they were read (splits are
    held out by a permutation); mean and log_var where there is a Gaussian posterior.

    Of the whole split, or of `count` examples evenly spread through it.
    """
    view, method = pieces.view_of(trained, split, seed), trained.setup.method
    embed, posterior = method.embed, method.posterior
    index = pieces.spread(view, split, len(view) if count is None else count)

    @jax.jit
    def codes(variables, batch):
        of = {"z": embed(variables, batch), "label": batch.label, "index": batch.index}
        return of if posterior is None else of | posterior(variables, batch)._asdict()

    found = pieces.over(view, index, lambda batch: codes(trained.variables, batch))
    return found | {"row": trained.setup.source.split(split).rows_read()[index]}


def decode(trained: Trained, z: Any, label: Any = None) -> Pictures:
    """The images at z [n, latent]; of a conditional method at `label` (one, or [n] with -1 where there is none), or
    their mean over all labels. Raises InputError where z is of another shape or not finite, or a label is none of the
    data's."""
    z = without_bfloat(z)
    latent = latent_size(trained)
    if z.dtype.kind not in "fiu" or z.ndim != 2 or z.shape[1] != latent or not len(z):
        raise InputError(f"z of shape {list(z.shape)} and type {z.dtype}: expected numbers [n, {latent}]")
    with np.errstate(over="ignore"):
        z = z.astype(np.float32)
    if not np.isfinite(z).all():
        row = int(np.argmin(np.isfinite(z).all(axis=1)))
        raise InputError(f"z has a value that is not finite as a 32-bit float, in row {row}")
    if label is None:
        return _decoded(trained, z)
    labels = np.asarray(label)
    if labels.shape not in ((), (len(z),)):
        raise InputError(f"label of shape {list(labels.shape)}: expected one, or [{len(z)}] as there are codes")
    number = {}
    for each in dict.fromkeys(labels.ravel().tolist()):
        number[each] = -1 if labels.ndim and str(each) == "-1" else checked_label(trained, each)
    numbers = np.array([number[each] for each in labels.ravel().tolist()], np.int32)
    return _decoded(trained, z, np.broadcast_to(numbers.reshape(labels.shape), len(z)))


def latent_size(trained: Trained) -> int:
    """Numbers in a code."""
    batch = a_run(trained).setup.view("test").take(np.zeros(1))
    return jax.eval_shape(trained.setup.method.embed, trained.variables, batch).shape[-1]


def _embedded(trained: Trained, view: View, index: np.ndarray) -> np.ndarray:
    embed = jax.jit(trained.setup.method.embed)
    return pieces.over(view, index, lambda batch: embed(trained.variables, batch))


def _decoded(trained: Trained, z: np.ndarray, label: np.ndarray | None = None) -> np.ndarray:
    """Codes [..., latent] -> images [..., height, width, channels]; `label` [...] is for conditional methods."""
    method, codes = trained.setup.method, z.reshape(-1, z.shape[-1])
    piece = at_once(trained.setup.source.shape, PIECE)
    told = method.given
    if told is None or label is None:
        to_image = jax.jit(method.decode)
        images = by_pieces(lambda part: to_image(trained.variables, part), codes, piece)
    else:
        at, labels = jax.jit(lambda of, z, y: told(y).decode(of, z)), np.asarray(label, np.int32).reshape(-1)
        images = by_pieces(lambda i: at(trained.variables, codes[i], labels[i]), np.arange(len(codes)), piece)
    return images.reshape(*z.shape[:-1], *images.shape[1:])


def checked_label(trained: Trained, label: int | str | None) -> int | None:
    """Its number, where it is a class's name. Raises InputError where the method takes none, or no training example has
    it."""
    if label is None:
        return None
    if np.ndim(label):
        raise InputError(f"labels of shape {list(np.shape(label))}: expected one, for all images")
    if trained.setup.method.given is None:
        raise InputError(f"label {label}: this method is not conditioned on labels: leave it out, or train a cvae")
    if isinstance(label, str):
        classes = trained.setup.source.classes
        if label not in classes and not re.fullmatch(r"-?\d+", label):
            raise InputError(
                f"label {label!r}: expected one of {', '.join(classes) or 'the labels, which are numbers'}"
            )
        label = classes.index(label) if label in classes else int(label)
    if label not in (seen := trained.setup.net.known):
        gapless = len(seen) == seen[-1] - seen[0] + 1
        known = f"{seen[0]} to {seen[-1]}" if gapless else f"one of {', '.join(map(str, seen))}"
        raise InputError(f"label {label}: expected {known}, of which there are training examples")
    return label
