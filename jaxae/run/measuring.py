"""Measure trained runs on held-out data, and keep what was measured."""

import contextlib
import errno
import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Shaped

from jaxae import copies, files
from jaxae.data.view import evenly
from jaxae.errors import InputError
from jaxae.evaluate.bench import Bench, Model
from jaxae.evaluate.measures import BITS, GREY, REPRODUCED, merged, of_own
from jaxae.evaluate.settings import USUAL, Settings, checked
from jaxae.folder import RunFolder, one_at_a_time
from jaxae.progress import Progress
from jaxae.run.loading import Trained, a_run, final_digest, is_of_its_data
from jaxae.setup import Setup

OnGroup = Callable[[Trained, dict[str, Any]], object]
"""Called with a run and its measures of one group."""
LOOKED_AT = 2000  # images, by which they are found to be of bits


def bench(setup: Setup, split: str = "test", settings: Settings = USUAL, lanes: str = "map", block: int = 8) -> Bench:
    """What measures runs that differ in their seeds and numbers alone, compiled once."""
    view = partial(setup.view, seed=checked(settings).seed)
    return Bench(setup.config.method, setup.held_out, setup.source, view, split, settings, lanes, block)


def evaluate_runs(
    runs: Iterable[Trained],
    names: str | Sequence[str] = ("likelihood",),
    on: Bench | None = None,
    *,
    split: str = "test",
    settings: Settings = USUAL,
    on_group: OnGroup | None = None,
    progress: Progress | None = None,
) -> list[dict[str, Any]]:
    """The held-out measures of runs, with what identifies them. Those that differ in seeds and numbers alone are
    measured by one compiled program.

    names: groups of `jaxae.names.METRICS`, "all", or functions of the user's own, "mine.py:sharpness". Every number's
    meaning is told where it is made: `jaxae.evaluate`.
    settings: `run.Settings(samples=5000, features="pixels", ...)`. on: the `bench` of all of them, made before, in
    place of the split and the settings. on_group: called with each run and its measures of a group as soon as these
    are there, such as `run.Keeping()`, so that nothing is lost by an interruption. progress: what shows how far it is.
    """
    runs = [a_run(of) for of in runs] if isinstance(runs, Iterable) and not isinstance(runs, Trained | str) else []
    if not runs:
        raise InputError("runs: expected a list of at least one: [trained]")
    alike: dict[str, list[int]] = {}
    for n, of in enumerate(runs):
        alike.setdefault(_kind(of), []).append(n)
    if on is not None and len(alike) > 1:
        other = runs[list(alike.values())[1][0]]
        raise InputError(f"{other.folder.path} differs from {runs[0].folder.path} in more than seeds and numbers")
    found: dict[int, dict[str, Any]] = {}
    for places in alike.values():
        measure = evaluator(on or bench(runs[places[0]].setup, split, settings), names, progress)
        found |= dict(zip(places, measure([runs[n] for n in places], on_group)))
    return [found[n] for n in range(len(runs))]


def _kind(of: Trained) -> str:
    """The same for runs that one program measures."""
    setup = of.setup
    return repr((setup.config.structure(), setup.code, setup.source.digest, setup.modules))


def evaluator(
    on: Bench, names: Sequence[str], progress: Progress | None
) -> Callable[[Sequence[Trained], OnGroup | None], list[dict[str, Any]]]:
    """`evaluate_runs`, compiled once for as many calls as are wanted."""
    from jaxae.evaluate import metrics  # not before a run is trained

    track = progress.track if progress else metrics.unseen
    parts = metrics.measures([names] if isinstance(names, str) else names, on, track)

    def evaluate(runs: Sequence[Trained], on_group: OnGroup | None = None) -> list[dict[str, Any]]:
        tell = _tells(runs, on)
        shared = {"split": on.split, "evaluation_seed": on.settings.seed}
        mine = [
            {"step": of.step, "examples": len(of.setup.source.split(on.split)), "digest": final_digest(of), **shared}
            for of in runs
        ]
        found = [merged({}, {}) for _ in runs]
        for part in parts([Model(of.setup.numbers(), of.variables, of.step) for of in runs]):
            for n, of in enumerate(runs):
                measures = merged({}, tell(of, part[n]))
                found[n] = merged(found[n], measures)
                if on_group:
                    on_group(of, measures | mine[n])
        return [measures | of for measures, of in zip(found, mine)]

    return evaluate


def _tells(runs: Sequence[Trained], on: Bench) -> Callable[[Trained, dict[str, Any]], dict[str, Any]]:
    """tell(a run, its measures of a group) -> these, with what the data and the likelihood make of them."""
    seen = np.asarray(next(on.view(on.split).batches()).x)
    cross_entropy = _is_of_bits(runs[0].setup) and not _bits(seen)
    rows = on.source.split(on.split).rows
    bits = _bits(seen) and _bits(_grey(rows[evenly(len(rows), LOOKED_AT)], on.source.decode))
    of_what = runs[0].setup.entry.reconstruction

    def tell(of: Trained, measures: dict[str, Any]) -> dict[str, Any]:
        notes = {group: [*said] for group, said in measures["notes"].items()}
        settings = {group: {**said} for group, said in measures["settings"].items()}
        if of_what and "reconstruction" in measures:
            notes["likelihood"].append(REPRODUCED + of_what)
        for group, name in (("likelihood", "nll"), ("ais", "ais_nll")):
            if measures.get(name) is not None and cross_entropy:
                notes[group].append(GREY)
        if measures.get("nll") is not None and of.setup.likelihood.discrete and not cross_entropy:
            scale = int(np.prod(of.setup.source.shape)) * float(np.log(2))
            of_nll = {name: measures.get(f"nll{name}") for name in ("", "_mc_se", "_data_se")}
            measures = measures | {f"bits_per_dim{k}": v if v is None else v / scale for k, v in of_nll.items()}
        if bits and "likelihood" in settings:
            settings["likelihood"]["pixels"] = BITS
        return measures | {"notes": notes, "settings": settings}

    return tell


def _is_of_bits(setup: Setup) -> bool:
    """Whether its likelihood is of zeros and ones alone; one of the user's own is what it draws."""
    likelihood = setup.likelihood
    if not setup.own_likelihood or not likelihood.discrete:
        return likelihood.name == "bernoulli"
    keys = jax.random.split(jax.random.key(0), 3)
    return _bits(np.asarray(likelihood.draw(likelihood.init(), keys, jnp.zeros((3, *setup.source.shape)))))


def _bits(x: np.ndarray) -> bool:
    return bool(np.isin(x, (0.0, 1.0)).all())


def _grey(rows: np.ndarray, decode: Callable | None) -> np.ndarray:
    """The images as they are, whatever becomes of their pixels."""
    raw = np.asarray(rows if decode is None else decode(rows))
    return raw / 255 if raw.dtype == np.uint8 else raw


def evaluate_run(trained: Trained, split: str = "test", samples: int = USUAL.samples, seed: int = 0) -> dict[str, Any]:
    """ELBO and its terms, NLL and MSE of one run: see `jaxae.evaluate.likelihood.likelihood`."""
    return evaluate_runs([trained], on=bench(a_run(trained).setup, split, Settings(samples, seed=seed)))[0]


def scores(
    trained: Trained, split: str = "test", samples: int = USUAL.samples, seed: int = 0
) -> dict[str, Shaped[np.ndarray, " n"]]:
    """Of each example of a split, in its order, in nats: nll and elbo, with their Monte Carlo variances nll_var (by
    the delta method) and elbo_var, and effective_samples; reconstruction and kl, the same; mse, a number of the image;
    label; row, where the example stands in the data as they were read (splits are held out by a permutation). Of a
    method without a density: its metrics in place of the first, but for those that are one number a batch. What
    `evaluate_run` gives are their means (of effective_samples, the median)."""
    from jaxae.evaluate.likelihood import OF_PARTS, examples

    on = bench(a_run(trained).setup, split, Settings(samples, seed=seed))
    (of,) = examples(on)([Model(trained.setup.numbers(), trained.variables, trained.step)])
    if "log_p" in of:
        of = {name: values for name, values in of.items() if name not in OF_PARTS}
        of |= {"nll": -of.pop("log_p"), "nll_var": of.pop("log_p_var"), "effective_samples": of.pop("ess")}
    elif trained.setup.entry.couples:  # some of its metrics are one number a batch
        n, chunk = len(trained.setup.source.split(split)), on.view(split).chunk
        one = {name for name, values in of.items() if len(np.unique(values)) <= math.ceil(n / chunk) < n}
        of = {name: values for name, values in of.items() if name not in one - {"mse", "reconstruction"}}
    examples_of = trained.setup.source.split(split)
    return of | {"label": examples_of.labels, "row": examples_of.rows_read()}


def measured(trained: Trained, samples: int, split: str = "test") -> dict[str, Any] | None:
    """The measures that the folder has of these very parameters, by at least so many importance samples."""
    try:
        there = trained.folder.evaluation(split)
    except InputError:
        return None
    mine = {"digest": final_digest(trained), "step": trained.step, "split": split, "evaluation_seed": 0}
    if any(there.get(name) != value for name, value in mine.items()) or not is_measured(there, samples):
        return None
    return there


def is_measured(there: dict[str, Any], samples: int) -> bool:
    """Whether evaluation.json has the likelihood, by at least so many importance samples where it takes any."""
    return "mse" in there and there.get("samples", samples) >= samples


class Keeping:
    """`store`, for groups of measures as they come: it says each warning once, and knows which groups are kept."""

    def __init__(self) -> None:
        self.groups: dict[str, None] = {}
        self._said: set[str] = set()

    def __call__(self, trained: Trained, measures: dict[str, Any]) -> None:
        heard: list[str] = []
        store(trained, measures, heard.append)
        self.groups |= {} if heard else dict.fromkeys(measures["settings"])
        for text in heard:
            if text not in self._said:
                Progress().warn(text)
        self._said |= set(heard)


def store(trained: Trained, measures: dict[str, Any], warn: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Keeps measures in the run's folder, those of the test split in evaluation.json, of another in
    evaluation.SPLIT.json: beside those that are there, where they are of the same parameters. All that there is
    now. A file that cannot be written, in somebody else's run or on a full disk, costs a warning. Raises InputError
    for those by other noise, and where the run's folder has gone. `warn` hears the warnings, in place of standard
    error."""
    if not isinstance(measures, dict) or "evaluation_seed" not in measures:
        raise InputError("measures: expected those of one run, which evaluate_run gives, or evaluate_runs in its list")
    if measures["evaluation_seed"] != USUAL.seed:
        raise InputError(f"measures by the noise of seed {measures['evaluation_seed']}: only those of seed 0 are kept")
    if not is_of_its_data(a_run(trained)):
        raise InputError(f"measures of other data than {trained.folder.path} has: they are not kept there")
    trained.folder.check_there()
    with one_at_a_time(trained.folder.path):
        return _stored(trained, measures, warn or Progress().warn)


def _stored(trained: Trained, measures: dict[str, Any], warn: Callable[[str], None]) -> dict[str, Any]:
    file = trained.folder.evaluation_file(measures["split"])
    there = _read_or_set_aside(trained.folder, measures["split"])
    if there.get("step", 0) > measures["step"] and trained.setup.config.patience is None:
        warn(f"{file} has the measures of step {there['step']:,}: those of step {measures['step']:,} are not kept")
        return measures
    if any(there.get(name) != measures[name] for name in ("digest", "step", "split", "evaluation_seed")):
        there = {}
    there = _without_replaced(there, measures, file)
    whole = merged(there, measures)
    for group in there.get("settings", {}).keys() - measures.get("settings", {}).keys():  # it was possible before
        whole["notes"][group] = there["notes"].get(group, [])
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(file, whole)
        where = trained.folder.sweep_path() or trained.folder.path
        for group in of_own(measures.get("settings", {})):
            copies.keep(where, group, measures["settings"][group]["sha256"])
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT):
            raise
        warn(f"{file} is not written: {error.strerror}")
    return whole


def _without_replaced(there: dict[str, Any], measures: dict[str, Any], file: Path) -> dict[str, Any]:
    """What is there, less what groups of the user's own had that are measured anew, or whose measures others replace.
    What nothing takes the place of is told."""
    kept, settings = dict(there), dict(there.get("settings", {}))
    for group, names in of_own(settings).items():
        again = group in measures.get("settings", {})
        gone = names if again else [name for name in names if name in measures]
        for name in gone:
            kept.pop(name, None)
            kept.pop(f"{name}_data_se", None)
        if lost := [name for name in gone if name not in measures]:
            Progress().warn(f"{file}: {', '.join(lost)} of another {group} are no longer there")
        settings[group] = settings[group] | {"measures": ", ".join(name for name in names if name not in gone)}
        if again or len(gone) == len(names):
            del settings[group]
    if "settings" not in there:
        return kept
    over = there["settings"].keys() - settings.keys()
    notes = {name: said for name, said in there.get("notes", {}).items() if name not in over}
    return kept | {"notes": notes, "settings": settings}


def _read_or_set_aside(folder: RunFolder, split: str) -> dict[str, Any]:
    file = folder.evaluation_file(split)
    try:
        return folder.evaluation(split)
    except InputError as error:
        Progress().warn(str(error))
        with contextlib.suppress(OSError):  # where it cannot be moved it cannot be overwritten either
            aside = file.replace(file.with_name(f"{file.name}.damaged"))
            Progress().warn(f"set aside as {aside.name}")
        return {}
