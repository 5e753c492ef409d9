"""Options of XLA's compiler, for programs of some kinds."""

from functools import cache

import jax

Options = dict[str, str | bool]


def products() -> Options:
    """Compiler options of a program that lives by matrix products of many rows: on a CPU, XLA's newer library for them
    (YNN) takes up to a quarter longer than its older one (Eigen)."""
    return _known("xla_cpu_experimental_ynn_fusion_type", "")


def in_place() -> Options:
    """Compiler options of a program that updates what it also reads: on a CPU, XLA else copies parameters that the
    backward pass reads before they change. Only where values lie changes, no bit of any."""
    return _known("xla_cpu_copy_insertion_use_region_analysis", True)


@cache
def _known(option: str, value: str | bool) -> Options:
    """The option, on a CPU whose XLA knows it; else none."""
    if jax.default_backend() != "cpu":
        return {}
    try:
        jax.jit(lambda: (), compiler_options={option: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return {option: value}
