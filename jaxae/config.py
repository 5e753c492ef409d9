"""What a run is, as one frozen record with validation. Imports no jax, so `--help` and a bad flag answer at once."""

import dataclasses
import functools
import hashlib
import inspect
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from jaxae import agreement, methods, names, own, schedules, values
from jaxae.errors import InputError, unknown
from jaxae.networks import catalogue

log = logging.getLogger(__name__)


def _field(default: Any, section: str, help: str, **rules: Any) -> Any:
    """A config field. Rules: choices; low and high (allowed), above and below (not); duration; schedule; free (it
    changes no bit of the result, or only rounding, so a resumed run may change it); own (the form of a function of the
    user's own, FILE.py:NAME, that may stand there)."""
    metadata = {"section": section, "help": help, **rules}
    if isinstance(default, dict):
        return field(default_factory=dict, metadata=metadata)
    return field(default=default, metadata=metadata)


Named = TypeVar("Named")


def _told(cls: type[Named]) -> type[Named]:
    """Tells of its fields: in its documentation, and where it is made with a name that is none of them."""
    known, init = {f.name: f for f in fields(cls)}, cls.__init__  # type: ignore[arg-type]

    @functools.wraps(init)
    def checked(self: Named, **given: Any) -> None:
        for name in given:
            if name not in known:
                raise _no_field(name, given, list(known))
        init(self, **given)

    cls.__init__ = checked  # type: ignore[method-assign, assignment]
    about = [inspect.cleandoc(cls.__doc__ or ""), "", *map(_line, known.values())]
    cls.__doc__ = "\n".join(about)
    return cls


def _line(spec: dataclasses.Field) -> str:
    default = {} if spec.default is dataclasses.MISSING else spec.default
    return f"{spec.name} = {default!r}: {about(spec)}"


def about(spec: dataclasses.Field) -> str:
    """What a field is, with its choices."""
    choices, own = ", ".join(spec.metadata.get("choices", ())), spec.metadata.get("own")
    return f"{spec.metadata['help']}{choices and ': '}{choices}{', or your own FILE.py:NAME' if own else ''}"


def _no_field(name: str, given: Mapping[str, Any], known: list[str]) -> InputError:
    method = given.get("method", "vae")
    entry = methods.entry(method) if isinstance(method, str) else None
    own = [h.name for h in entry.hyperparameters] if entry else []
    if entry and name in own:
        value = values.said(given[name])
        where = f'hyperparameters={{"{name}": {value}}}'
        return InputError(f"{name} {value}: a hyperparameter of {entry.name}: expected {where}")
    return unknown("field of a Config", name, [*known, *own])


@_told
@dataclass(frozen=True, kw_only=True)
class Config:
    """A run. None stands for what suits the method, the network or the optimiser; `resolved` fills it in.

    Durations are steps (500), epochs ("20e") or per cent of the run ("5%"). A schedule may stand for the learning
    rate and for any real hyperparameter: "linear(0, 1, 20e)"; see `jaxae.schedules`.
    """

    method: str = _field("vae", "model", "the autoencoder: see `jaxae methods`")
    hyperparameters: Mapping[str, Any] = _field({}, "model", "the method's own, by name")
    latent: int = _field(16, "model", "size of the latent space", low=1)
    network: str | None = _field(
        None, "model", "encoder and decoder", choices=tuple(catalogue.NETWORKS), own=names.OWN_NETWORK
    )
    width: int | None = _field(None, "model", "units or channels of a hidden layer", low=1)
    depth: int | None = _field(None, "model", "hidden layers or blocks on each side", low=1)
    activation: str | None = _field(None, "model", "activation", choices=tuple(catalogue.ACTIVATIONS))
    likelihood: str | None = _field(
        None, "model", "p(x|z): the reconstruction loss", choices=names.LIKELIHOODS, own=names.OWN_LIKELIHOOD
    )
    scale: float = _field(0.1, "model", "standard deviation of `gaussian`; the start of learned ones", above=0)

    data: str = _field("digits", "data", "a name from `jaxae data list`, tfds:NAME, a file or a folder")
    binarize: str | None = _field(None, "data", "how pixels become 0 or 1, for bernoulli", choices=names.BINARIZE)
    validation: int | None = _field(None, "data", "examples held out of train, where it has no split [a sixth]", low=1)
    test: int | None = _field(None, "data", "examples held out of train, where it has no test split [a fifth]", low=1)
    size: int | None = _field(None, "data", "pixels of a side: images of a folder are cut square, and scaled", low=1)
    stream: str = _field("auto", "data", "stream rows from the host", choices=("auto", "yes", "no"), free=True)

    steps: int | str = _field("100e", "training", "length of the run", duration=True)
    batch_size: int = _field(128, "training", "examples in a (global) batch", low=1)
    seed: int = _field(0, "training", "of initialisation, noise and data order", low=0, high=2**32 - 1)
    order_seed: int | None = _field(None, "training", "of the data order alone [--seed]", low=0, high=2**32 - 1)
    start: str | None = _field(
        None,
        "training",
        "a run whose parameters it begins with, those that both have; of a sweep, its run of the same seed",
    )
    optimizer: str = _field("adam", "training", "update rule", choices=names.OPTIMIZERS, own=names.OWN_RULE)
    learning_rate: float | str = _field(1e-3, "training", "a number or a schedule", schedule=True)
    weight_decay: float | None = _field(None, "training", "of adamw, lion, lamb and muon [0]", low=0)
    b1: float | None = _field(
        None, "training", "first-moment decay, momentum [0.9; muon: 0.95; rmsprop: 0]", low=0, below=1
    )
    b2: float | None = _field(None, "training", "second-moment decay [0.999; lion, rmsprop: 0.99]", low=0, below=1)
    eps: float | None = _field(None, "training", "the update rule's epsilon [1e-8]", above=0)
    clip_norm: float | None = _field(None, "training", "largest norm of the gradient, or of each player's", above=0)
    accumulate: int = _field(1, "training", "pieces a batch is cut into, to fit memory", low=1)
    average: float | None = _field(None, "training", "decay of the averaged weights that are evaluated", low=0, below=1)
    dtype: str = _field("float32", "training", "of the computation, not the parameters", choices=names.DTYPES)
    patience: int | None = _field(
        None, "training", "stop after so many validations without a gain, once no weight moves", low=1
    )
    validate_every: int | str = _field("10%", "training", "from one validation to the next", duration=True, free=True)

    exact: bool = _field(False, "training", "bits that do not depend on the number of devices; slower")
    shards: int | None = _field(None, "training", "of --exact: pieces of the batch, a power of two", low=1)

    devices: int = _field(1, "running", "devices that share each batch", low=1, free=True)
    parallel: str = _field("jit", "running", "how devices share a batch", choices=names.PARALLEL, free=True)
    log_every: int | str = _field("1%", "running", "from one log line to the next", duration=True, free=True)
    checkpoint_every: int | str = _field("10%", "running", "from one checkpoint to the next", duration=True, free=True)
    keep: int = _field(2, "running", "latest checkpoints kept, beside the best", low=1, free=True)
    chunk: int = _field(1000, "running", "most steps in one compiled call", low=1, free=True)
    samples: int = _field(
        128, "running", "importance samples of the closing evaluation", low=2, high=2**31 - 1, free=True
    )
    evaluate: str = _field("test", "running", "split of the closing evaluation", choices=names.CLOSING, free=True)
    wandb: str | None = _field(None, "running", "Weights & Biases project to log to as well", free=True)

    def __post_init__(self) -> None:
        for spec in fields(self):
            object.__setattr__(self, spec.name, values.field(spec, getattr(self, spec.name)))
        entry = methods.entry(self.method)
        known = {h.name: h for h in entry.hyperparameters}
        if taken := sorted(known.keys() & {f.name for f in fields(self)}):
            raise InputError(
                f"hyperparameter {taken[0]} of {entry.name}: every run has a field of that name: rename it"
            )
        for name in self.hyperparameters:
            if name not in known:
                raise unknown(f"hyperparameter of {entry.name}", name, known)
        given = {n: values.hyperparameter(known[n], v) for n, v in self.hyperparameters.items()}
        object.__setattr__(self, "hyperparameters", values.Frozen(given))
        agreement.check(self, entry)

    def resolved(self) -> "Config":
        """Every None that stands for a default of the method, network or optimiser, filled in."""
        entry = methods.entry(self.method)
        filled = {k: v for k, v in entry.defaults.items() if getattr(self, k) is None}
        network = self.network or filled["network"]
        defaults = catalogue.defaults(network)
        for name in ("width", "depth", "activation"):
            if getattr(self, name) is None:
                filled[name] = getattr(defaults, name)
        if self.binarize is None and (self.likelihood or filled["likelihood"]) != "bernoulli":
            filled["binarize"] = "none"
        filled |= {k: v for k, v in names.SETTINGS.get(self.optimizer, {}).items() if getattr(self, k) is None}
        if self.exact and self.shards is None:
            filled["shards"] = agreement.default_shards(self.batch_size)
        defaults_of = {h.name: h.default for h in entry.hyperparameters}
        return dataclasses.replace(self, **filled, hyperparameters={**defaults_of, **self.hyperparameters})

    def own_functions(self) -> dict[str, str]:
        """The fields that name a function of the user's own, with its name."""
        found = {name: getattr(self, name) for name in OWN}
        return {name: value for name, value in found.items() if value and own.is_own(value)}

    def code(self) -> dict[str, str]:
        """The SHA-256 of the files that they are in, as FIELD_sha256."""
        return {f"{field}_sha256": own.sha256(name) for field, name in self.own_functions().items()}

    def allow_own(self) -> None:
        """Its user has named it: the files of their own may run from now on, also where a folder names them. Raises
        InputError for a hyperparameter that no table of runs could tell from its own columns."""
        entry = methods.entry(self.method)
        if taken := sorted({h.name for h in entry.hyperparameters} & names.OF_TABLES):
            name = f"hyperparameter {taken[0]} of {entry.name}"
            raise InputError(f"{name}: every table of runs has a column of that name: rename it")
        for name in self.own_functions().values():
            file, _ = own.split(name)
            try:
                own.allow(file)
            except InputError as error:  # of the cache: this process has heard
                log.warning("%s", error)

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self) | {"hyperparameters": dict(self.hyperparameters)}

    def result(self) -> dict[str, Any]:
        """What decides the result: everything but the free fields, and of the user's own files and runs their names
        alone: what is in them is checked by its digest."""
        free = {f.name for f in fields(self) if f.metadata.get("free")}
        if self.patience is not None:
            free.discard("validate_every")
        if self.order_seed in (None, self.seed):
            free.add("order_seed")
        if not self.takes_scale():
            free.add("scale")
        free |= {name for name in ("start", "size", "test") if getattr(self, name) is None}
        deciding = {k: v for k, v in self.resolved().to_dict().items() if k not in free}
        elsewhere = {name: own.short(value) for name, value in self.own_functions().items()}
        elsewhere["data"] = os.path.basename(self.data) if names.is_path(self.data) else self.data
        if self.start is not None:
            elsewhere["start"] = os.path.basename(self.start)
        return deciding | elsewhere

    def takes_scale(self) -> bool:
        """Whether its likelihood has a `scale`."""
        return self.resolved().likelihood != "bernoulli"

    def as_it_was(self, resolved: Mapping[str, Any]) -> "Config":
        """This config with the defaults that its run began with, where jaxae has others by now. `resolved`: what
        `result` gave then, as the run's record has it. No default is a file of the user's own, whatever a record says:
        what may run is asked for by its name."""
        now: dict[str, Any] = json.loads(json.dumps(self.result()))
        weights, then = now["hyperparameters"], resolved.get("hyperparameters", {})
        other = {k: v for k, v in then.items() if k not in self.hyperparameters and weights.get(k) != v}
        changed = {k: v for k, v in resolved.items() if k in now and getattr(self, k) is None and now[k] != v}
        changed = {k: v for k, v in changed.items() if k not in OWN or not own.is_own(str(v))}
        if not other and not changed:
            return self
        return dataclasses.replace(self, **changed, hyperparameters={**self.hyperparameters, **other})

    def reading(self) -> tuple[str, int | None, int | None, int | None]:
        """What `data.load` is called with."""
        return self.data, self.validation, self.size, self.test

    def identity(self) -> str:
        """Eight hex digits that name the result this config leads to."""
        return hashlib.sha256(json.dumps(self.result(), sort_keys=True).encode()).hexdigest()[:8]

    def structure(self) -> str:
        """What a compiled program is made for: all but the seeds and the real numbers that it takes as arguments."""
        values = self.result()
        scheduled = {h.name for h in methods.entry(self.method).hyperparameters if h.scheduled}

        def traced(value: Any) -> Any:
            return value if isinstance(value, str) else "a number"

        own = {k: traced(v) if k in scheduled else v for k, v in values["hyperparameters"].items()}
        numbers = {"learning_rate": traced(values["learning_rate"]), "hyperparameters": own}
        whole = {**self.own_functions(), "data": self.data, "start": self.start}  # two of one name are two
        fixed = {**whole, "seed": None, "order_seed": None}
        return repr(sorted({**values, **fixed, **numbers}.items()))

    def difference(self, other: "Config") -> dict[str, str]:
        """By the fields that decide the result and are not equal, a line for each: "field: mine -> other's"."""
        mine, theirs = self.result(), other.result()
        unequal = [name for name in mine | theirs if mine.get(name) != theirs.get(name)]
        return {name: f"{name}: {mine.get(name)} -> {theirs.get(name)}" for name in unequal}

    def needs_horizon(self) -> bool:
        """Whether a longer run is not this one's continuation: a schedule is stretched over the run, or it may stop
        early (the last step is validated wherever it falls)."""
        weights = [self.learning_rate, *self.resolved().hyperparameters.values()]
        return self.patience is not None or any(schedules.needs_horizon(weight) for weight in weights)


OWN = ("method", *(f.name for f in fields(Config) if f.metadata.get("own")))
"""Fields that may name a function of the user's own."""


def from_dict(parsed: Mapping[str, Any], where: str = "config") -> Config:
    """A Config from parsed JSON, in the file `where`. Files of the user's own that it names they must have named
    before; one that is not where it was is looked for beside `where`."""
    known = {f.name for f in fields(Config)}
    for name in parsed:
        if name not in known:
            raise InputError(f"{where}: unknown field {name!r}: written by another version of jaxae?")
    if not isinstance(parsed.get("hyperparameters", {}), Mapping):
        raise InputError(f"{where}: hyperparameters {parsed['hyperparameters']!r}: expected an object: restore it")
    return Config(**{name: named_in(where, name, value) for name, value in parsed.items()})


def named_in(where: str, name: str, value: Any) -> Any:
    """The value of a field or an axis, as the file `where` has it. Raises InputError where it is a function of the
    user's own whose file is not there, or was never named by them; one that is not where it was is looked for beside
    `where`."""
    if name not in OWN or not own.is_own(str(value)):
        return value
    value = value if own.is_there(value) else own.moved(value, where)
    if not own.is_there(value):
        raise InputError(
            f"{where} names the {name} {value}, whose file is not there: put it back, or write there where it is now: "
            "its SHA-256 is checked"
        )
    own.must_be_allowed(value, where)
    return value
