"""`prepare("mnist")`: downloads a data set and writes it as array_record, once and apart from training."""

import importlib.util
import logging
import shutil
import time
from pathlib import Path

from jaxae import home
from jaxae.data import builders, fetch, names, tfds
from jaxae.errors import InputError
from jaxae.names import is_path

log = logging.getLogger(__name__)


def prepare(name: str, source_dir: Path | None = None, data_dir: Path | None = None) -> Path:
    """The folder of the prepared data set, made unless it is there.

    MNIST, Fashion-MNIST, KMNIST and the static binarised MNIST need no TensorFlow; `source_dir` holds their
    files where the user has them already, and manual downloads of other sets. Every file's SHA-256 is checked
    against TFDS's register. Under the final name there is a whole data set or nothing.
    """
    if name in names.BUILT_IN or is_path(name):
        raise InputError(f"{name!r} needs no preparation: only data sets of TFDS do")
    root = home.expanded(data_dir or names.data_dir()).absolute()
    done = names.prepared(name, root)
    if done is not None:
        return done
    base, config = tfds.known(name)
    if source_dir is not None and not source_dir.is_dir():
        raise InputError(f"{source_dir}: no such folder")
    try:
        root.mkdir(parents=True, exist_ok=True)
        if base in builders.FILES and config is None:
            return without_tensorflow(base, source_dir, root)
        return through_tfds(base, config, source_dir, root)
    except OSError as error:
        raise InputError(f"preparing {name} in {root} failed: {error.strerror or error}") from None


def without_tensorflow(name: str, source_dir: Path | None, root: Path) -> Path:
    """One of the four sets that our builders write, from `source_dir` or the network."""
    register = builders.registered(name)
    wanted = [file for parts in builders.FILES[name].values() for file in parts]
    folder = root / "downloads" / "jaxae" / name
    if source_dir is not None:
        files = {file: fetch.verify(source_dir / file, register[file]) for file in wanted}
    else:
        try:
            files = {file: fetch.download(folder / file, register[file], log.info) for file in wanted}
        except InputError as error:
            raise InputError(f"{error}: with the files at hand, `--from DIR` takes {', '.join(wanted)}") from None
    refuse_other_format(root / name)
    data = builders.arrays(name, files)
    try:
        with names.quiet():
            path = builders.write(name, data, root)
    except Exception as error:  # a full disk is a RuntimeError of array_record's
        raise InputError(f"preparing {name} in {root} failed: {one_line(error)}") from None
    shutil.rmtree(folder, ignore_errors=True)
    for left in (root / name).glob("incomplete.*"):  # of a preparation that was killed
        if time.time() - left.stat().st_mtime > 86_400:
            shutil.rmtree(left, ignore_errors=True)
    return path


def through_tfds(base: str, config: str | None, manual: Path | None, root: Path) -> Path:
    """Any other data set: TFDS's own builder, which needs TensorFlow."""
    if importlib.util.find_spec("tensorflow") is None:
        raise InputError(f"preparing {base!r} needs TensorFlow (training does not): pip install tensorflow")
    import tensorflow_datasets

    full = f"{base}/{config}" if config else base
    try:
        builder = tensorflow_datasets.builder(full, data_dir=root, file_format="array_record")
        refuse_other_format(Path(builder.data_dir).parent)
        if manual is None:
            for url in list(builder.url_infos or {})[:1]:
                fetch.reach(url)
        settings = tensorflow_datasets.download.DownloadConfig(try_download_gcs=False, manual_dir=manual)
        with names.quiet():
            builder.download_and_prepare(download_config=settings)
    except (InputError, OSError):
        raise
    except Exception as error:  # whatever 200 builders and their downloads may raise
        raise InputError(f"TFDS could not prepare {full!r}: {one_line(error)}") from None
    return Path(builder.data_dir)


def one_line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def refuse_other_format(folder: Path) -> None:
    """Raises where the data set is there in another file format, which TFDS would take for finished."""
    for version in names.subfolders(folder):
        if (version / "dataset_info.json").is_file() and names.newest(folder, version.name) is None:
            raise InputError(f"{version} is not in array_record form: move it away, or choose another --data-dir")
