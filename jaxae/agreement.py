"""Whether the fields of a config fit each other: each by itself is checked in values.py. Imports no jax."""

from typing import Any

from jaxae import names, own
from jaxae.errors import InputError
from jaxae.methods import Entry

Fields = Any
"""A jaxae.Config."""


def check(config: Fields, entry: Entry) -> None:
    """Raises InputError where two fields, or a field and the method, contradict each other."""
    _rule(config)
    _network(config, entry)
    _accumulate(config, entry)
    if config.patience is not None and entry.moves:
        raise InputError(
            f"patience {config.patience}: the losses of {entry.name} at different steps do not compare, for training "
            f"moves {entry.moves}: leave it out"
        )
    _devices(config)


def _rule(config: Fields) -> None:
    """What is set of the update rule, it has."""
    if own.is_own(config.optimizer):
        taken = own.keywords(config.optimizer, names.OWN_RULE)
        rule, without = own.short(config.optimizer), [name for name in names.OF_RULES if name not in taken]
        for name, has_default in taken.items():
            if name not in names.OF_RULES or not has_default:
                wanted = f"{', '.join(names.OF_RULES)}, each with a default"
                raise InputError(
                    f"{rule}: keyword {name}{'' if has_default else ' without a default'}: expected {wanted}"
                )
    else:
        rule, without = config.optimizer, list(names.UNUSED.get(config.optimizer, ()))
        if config.weight_decay and rule not in names.DECAYING:
            known = ", ".join(names.DECAYING)
            raise InputError(f"weight_decay {config.weight_decay}: {rule} has none: expected one of {known}")
    for name in without:
        usual = names.SETTINGS.get(rule, {}).get(name)
        if (given := getattr(config, name)) not in (None, usual):
            raise InputError(f"{name} {given}: {rule} has none: leave it out")


def _network(config: Fields, entry: Entry) -> None:
    """What is set of the network, it has; one of the user's own asks for it."""
    if (config.network or entry.defaults["network"]) == "linear":
        for name in ("width", "depth", "activation"):
            if (given := getattr(config, name)) is not None:
                raise InputError(f"{name} {given!r}: the linear network has none: leave it out, or choose mlp")
    if config.network is None or not own.is_own(config.network):
        return
    asked = own.mentions(config.network, names.OWN_NETWORK)
    for name in ("width", "depth", "activation", "dtype"):
        if (given := getattr(config, name)) != getattr(type(config), name) and not asked & {name, "pair"}:
            raise InputError(f"{name} {given!r}: {own.short(config.network)} asks for no spec.{name}: leave it out")


def _accumulate(config: Fields, entry: Entry) -> None:
    """The batch divides into the pieces, and nothing couples them."""
    if config.batch_size % config.accumulate:
        raise InputError(f"accumulate {config.accumulate} does not divide the batch of {config.batch_size}")
    if config.accumulate > 1 and entry.couples:
        raise InputError(
            f"accumulate {config.accumulate}: {entry.name} needs its batch in one piece, for it couples: "
            f"{entry.couples}: expected 1; a smaller batch_size fits memory too"
        )
    if config.accumulate > 1 and config.likelihood == "gaussian_optimal":
        raise InputError(
            f"accumulate {config.accumulate}: gaussian_optimal needs its batch in one piece, for it couples: the "
            "variance, which is the batch's own: expected 1; a smaller batch_size fits memory too"
        )


def _devices(config: Fields) -> None:
    if config.parallel == "none" and config.devices > 1:
        raise InputError(f"parallel none: on one device: expected jit or pmap for {config.devices} devices")
    if config.exact:
        _exact(config)
    elif config.shards is not None:
        raise InputError(f"shards {config.shards}: it is --exact that cuts a batch into them: add --exact")
    if config.batch_size // config.accumulate % config.devices:
        each = "" if config.accumulate == 1 else f" (each of {config.accumulate} pieces)"
        raise InputError(
            f"{config.devices} devices do not divide the batch of {config.batch_size // config.accumulate}{each}: "
            "choose a batch_size that is a multiple"
        )


def _exact(config: Fields) -> None:
    """`shards` fits the batch, and the devices fit `shards`."""
    shards = config.shards or default_shards(config.batch_size)
    if shards & (shards - 1):
        raise InputError(f"shards {shards}: expected a power of two")
    if config.batch_size % shards:
        raise InputError(f"shards {shards} do not divide the batch of {config.batch_size}: choose fewer")
    if shards % config.devices:
        raise InputError(
            f"{config.devices} devices do not divide the {shards} shards of an exact batch of {config.batch_size}: "
            "choose devices, --shards or a batch_size that do"
        )
    if config.accumulate > 1:
        raise InputError(
            f"accumulate {config.accumulate}: an exact batch is computed in shards already: choose --shards instead"
        )


def default_shards(batch_size: int) -> int:
    """Eight, or the largest smaller power of two that divides the batch: whatever the number of devices."""
    return next(n for n in (8, 4, 2, 1) if batch_size % n == 0)
