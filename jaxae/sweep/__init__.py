"""Many runs as one compiled program: seeds times a grid of settings.

from jaxae import Config, sweep
plan = sweep.Plan(Config(steps=500), seeds=tuple(range(8)), grid={"beta": (1.0, 4.0)})
swept = sweep.sweep(plan, "runs/beta")
swept.table.groupby("beta")["nll"].mean()
"""

from typing import TYPE_CHECKING, Any

from jaxae.plan import How, Member, Plan

if TYPE_CHECKING:
    from jaxae.sweep.measuring import Unread, evaluate
    from jaxae.sweep.run import sweep
    from jaxae.sweep.swept import Group, Swept, load

__all__ = ["Group", "How", "Member", "Plan", "Swept", "Unread", "evaluate", "load", "sweep"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # these need jax: imported on first use, so that a wrong plan is told at once
        from jaxae.sweep import measuring, run, swept

        return next(getattr(part, name) for part in (run, swept, measuring) if hasattr(part, name))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
