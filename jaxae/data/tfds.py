"""Any image data set that TFDS has prepared as array_record, read without TensorFlow."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxae.data import cache, names
from jaxae.data.checks import to_source
from jaxae.data.source import SPLITS, Source
from jaxae.data.splits import Held, Raw
from jaxae.errors import InputError, first_line, unknown

PIECE = 1024  # images
log = logging.getLogger(__name__)


def load(name: str, held_out: Held) -> Source:
    """`mnist`, `tfds:name/config` or `name:1.0.0`, prepared in $TFDS_DATA_DIR or TFDS's default folder.

    Splits are TFDS's own, in its order; a missing test or validation split is held out of train.
    """
    path = names.prepared(name)
    if path is None:
        known(name)
        raise InputError(
            f"data set {name!r} is not prepared in {names.data_dir()}: run `jaxae data prepare {name}`, "
            "or set TFDS_DATA_DIR to where it is"
        )
    with names.quiet():
        return read(name, path, held_out)


def known(name: str) -> tuple[str, str | None]:
    """(base, config) of a name. Raises InputError where TFDS here could not prepare it. Asks no network."""
    import tensorflow_datasets as tfds

    base, config, version = names.NAME.fullmatch(name).groups()  # type: ignore[union-attr]
    builders = tfds.list_builders(with_community_datasets=False)
    if base not in builders:
        raise unknown("data set", base, names.near(base, builders))
    current = str(tfds.builder_cls(base).VERSION or version)
    if version not in (None, current):
        raise InputError(f"{name!r}: TFDS here prepares version {current}, and no other is prepared")
    return base, config


def read(name: str, path: Path, held_out: Held) -> Source:
    """The Source in a folder that holds one prepared version."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder_from_directory(path)
        image, label = feature_names(tfds, name, builder.info)
        mark = cache.fingerprint(sorted(each for each in path.iterdir() if each.is_file()))
        raw = {}
        for split in SPLITS:
            if split in builder.info.splits and builder.info.splits[split].num_examples:
                rows, labels = read_split(f"{path} {split}", builder.as_data_source(split=split), image, label, mark)
                raw[split] = Raw(rows, labels, f"{name} {split}")
    except InputError:
        raise
    except Exception as error:  # a damaged folder can fail anywhere within TFDS and array_record
        said = f"{path} cannot be read ({first_line(error)})"
        raise InputError(f"{name}: {said}: prepare it again with array_record") from None
    if not raw:
        raise InputError(f"{name}: none of its splits is one of {', '.join(SPLITS)}")
    classes = tuple(builder.info.features[label].names or ()) if label else ()
    about = f"TFDS {builder.info.full_name}"
    return to_source(name, raw, about, held_out, classes)


def feature_names(tfds: Any, name: str, info: Any) -> tuple[str, str | None]:
    """The names of the image and of its label; a data set of several goes by its supervised pair."""
    features = {key: info.features[key] for key in sorted(info.features)}  # TFDS's own order is not fixed
    pair = info.supervised_keys or ()
    images = [key for key in features if isinstance(features[key], tfds.features.Image)]
    labels = [key for key in features if isinstance(features[key], tfds.features.ClassLabel)]
    if not images:
        raise InputError(f"{name}: not an image data set: its features are {', '.join(features)}")

    def choose(found: list[str], usual: str) -> str | None:
        best = [key for key in found if key in pair] or [key for key in found if key == usual] or found
        return best[0] if best and (len(found) == 1 or best != found) else None

    image = choose(images, "image")
    if image is None:
        raise InputError(f"{name}: several images in an example ({', '.join(images)}), none of them named image")
    if (dtype := np.dtype(features[image].np_dtype)) not in (np.uint8, np.float32):
        raise InputError(f"{name}: its images are {dtype}: only uint8 and float32 are read: make it a .npy file")
    return image, choose(labels, "label")


def read_split(what: str, examples: Any, image: str, label: str | None, mark: object) -> tuple[np.ndarray, np.ndarray]:
    """(rows [n, height, width, channels], labels [n]); by way of the cache: decoding takes 0.2 ms each."""
    first = np.asarray(examples[0][image])

    def pieces() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        log.info("reading %s (%s images), once", what, f"{len(examples):,}")
        for start in range(0, len(examples), PIECE):
            some = examples.__getitems__(list(range(start, min(start + PIECE, len(examples)))))
            for at, example in enumerate(some, start):
                if np.shape(example[image]) != first.shape:
                    a, b = (" x ".join(map(str, np.shape(each))) for each in (first, example[image]))
                    raise InputError(f"{what}: image 0 is {a} but image {at} is {b}: expected one size")
            labels = [-1 if label is None else int(example[label]) for example in some]
            yield np.stack([example[image] for example in some]), np.array(labels, np.int32)

    shape = (len(examples), *first.shape)
    return cache.kept(what, [mark, image, label], shape, first.dtype, pieces)
