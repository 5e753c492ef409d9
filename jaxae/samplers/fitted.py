"""What a sampler hands over, and how a fit is kept in the run's folder: arrays alone, read without a pickle."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from jaxtyping import Array, Int

from jaxae import files, random
from jaxae.data.view import by_pieces
from jaxae.digest import digest
from jaxae.errors import InputError
from jaxae.evaluate.means import mean, standard_error
from jaxae.folder import RunFolder
from jaxae.progress import Progress
from jaxae.run import Trained
from jaxae.samplers.codes import Space
from jaxae.samplers.density import Density, Model
from jaxae.types import Images, Keys, Method

FLAT = 1e-5  # least eigenvalue of the codes' correlations, below which they lie in a plane; of their norms, on a sphere
OFTEN = 0.01  # of the codes: a unit that has one value so often has it for a reason
FORMAT = 4  # raise it when a fit changes its meaning


class Fitted(NamedTuple):
    """A sampler, ready to draw."""

    draw: Callable[[Keys, Int[Array, " batch"] | None], Images]
    """(keys, labels; None for a method without them) -> the decoder's means"""
    measures: dict[str, float]
    """log_likelihood: the mean of log p(codes) over the test split, in nats an example, and its standard error, _se:
    comparable between the samplers that draw vectors, of one run; log_likelihood_bound where it lies below that. Empty
    where nothing is fitted, or where the codes fill no volume."""


def fitted(trained: Trained, seed: int, name: str, settings: dict[str, Any], density: Density, space: Space) -> Fitted:
    """The density fitted to the run's codes in `space`; or read, where the run's folder has this fit."""
    file = place(trained, seed, name, settings)
    model, measures = _read(file, density) or _fit(trained, seed, name, density, space, file)
    method, variables = trained.setup.method, trained.variables

    def draw(keys, label):
        of = method if label is None or method.given is None else method.given(label)
        return space.decode(of, variables, density.draw(model, keys))

    return Fitted(draw, measures)


def place(trained: Trained, seed: int, name: str, settings: dict[str, Any]) -> Path:
    """RUN/samplers/NAME-HASH.npz, by all that decides the fit: the parameters, the data, the seed, the settings."""
    decides = [FORMAT, name, settings, seed, digest(trained.variables), trained.setup.source.digest]
    mark = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:16]
    return trained.folder.path / "samplers" / f"{name}-{mark}.npz"


def _fit(
    trained: Trained, seed: int, name: str, density: Density, space: Space, file: Path
) -> tuple[Model, dict[str, float]]:
    codes = space.read(trained, seed)
    Progress().say(f"fitting {name} to {len(codes.train):,} codes of the training split")
    model = density.fit(seed, codes)
    if not _fill_a_volume(trained.setup.method, codes.train):
        _keep(trained.folder, file, model, {})
        return model, {}
    score, key = jax.jit(density.log_prob), random.stream(random.fixed(seed), "measure")

    def log_prob(index):
        return score(model, random.example_keys(key, 0, jnp.asarray(index)), codes.test[index])

    of_codes = by_pieces(log_prob, np.arange(len(codes.test), dtype=np.int32))
    name = "log_likelihood_bound" if density.bound else "log_likelihood"
    measures = {name: mean(of_codes)}
    if (se := standard_error(of_codes)) is not None:
        measures[f"{name}_se"] = se
    if np.issubdtype(codes.test.dtype, np.integer):
        measures["nats_per_code"] = -measures[name] / codes.test.shape[1]
    _keep(trained.folder, file, model, measures)
    return model, measures


def _fill_a_volume(method: Method, codes: np.ndarray) -> bool:
    """Whether a density of the codes means anything: of finitely many points, of a sphere, of a plane, of a unit that
    often is exactly zero it has no upper bound, and what a fit reaches is its own regularisation. Whole numbers have
    probabilities instead."""
    if np.issubdtype(codes.dtype, np.integer):
        return True
    norms = np.linalg.norm(codes, axis=1)
    on_a_sphere = np.ptp(norms) <= FLAT * norms.mean()
    often = max(np.unique(unit, return_counts=True)[1].max() for unit in codes.T)
    if method.discrete is not None or on_a_sphere or often > max(1, OFTEN * len(codes)):
        return False
    correlation = np.atleast_2d(np.corrcoef(codes, rowvar=False))
    return bool(np.linalg.eigvalsh(correlation)[0] > FLAT)


def _keep(folder: RunFolder, file: Path, model: Model, measures: dict[str, float]) -> None:
    """A folder that cannot be written costs a warning, and the next `sample` fits again."""
    arrays = flatten_dict({"model": jax.device_get(model), "measures": measures}, sep="/")
    try:
        folder.check_there()
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write(file, files.npz({name: np.asarray(array) for name, array in arrays.items()}))
    except (InputError, OSError) as error:
        Progress().warn(f"the fit is not kept: {error}")


def _read(file: Path, density: Density) -> tuple[Model, dict[str, float]] | None:
    """What is kept there; None, with a warning, where it is not a fit of this density."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            tree: Any = unflatten_dict({name: arrays[name] for name in arrays.files}, sep="/")
        if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree)):
            raise ValueError("a number that is not finite")
        keys = jax.eval_shape(lambda: random.example_keys(random.fixed(0), 0, jnp.arange(2)))
        jax.eval_shape(density.draw, tree["model"], keys)
        return tree["model"], {name: float(value) for name, value in tree.get("measures", {}).items()}
    except FileNotFoundError:
        return None
    except Exception as error:  # numpy, zipfile, zlib and flax each raise their own
        Progress().warn(f"{file} is damaged and made again: {' '.join(str(error).split())[:200]}")
        return None
