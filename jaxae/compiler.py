"""Options of XLA's compiler, for programs of some kinds; and the threads that its programs have on a CPU."""

import os
from functools import cache

import jax

from jaxae.errors import InputError

Options = dict[str, str | bool]


def products() -> Options:
    """Compiler options of a program that lives by matrix products of many rows: on a CPU, XLA's newer library for them
    (YNN) takes up to a quarter longer than its older one (Eigen)."""
    return _known("xla_cpu_experimental_ynn_fusion_type", "")


def in_place() -> Options:
    """Compiler options of a program that updates what it also reads: on a CPU, XLA else copies parameters that the
    backward pass reads before they change. Only where values lie changes, no bit of any."""
    return _known("xla_cpu_copy_insertion_use_region_analysis", True)


def quick() -> Options:
    """Compiler options of a program that is light beside its compilation: on a CPU, LLVM spends a third of the time on
    it. No bit of what draws pixels changes, and they take as long."""
    return _known("xla_backend_optimization_level", "1")


def threads() -> int:
    """Of the CPU backend's pool, whose size changes bits: as asked for, or one a device where that is more."""
    return max(threads_asked(), jax.local_device_count() if jax.default_backend() == "cpu" else 1)


def threads_asked() -> int:
    """$NPROC, or the cores that this process may use."""
    if pinned := os.environ.get("NPROC"):
        if not pinned.isdecimal() or pinned == "0":
            raise InputError(f"NPROC {pinned!r}: expected a whole number of threads, at least 1, or no such variable")
        return int(pinned)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
