"""Many runs as one compiled program: seeds times a grid of settings.

from jaxae import Config, sweep
plan = sweep.Plan(Config(steps=500), seeds=tuple(range(8)), grid={"beta": (1.0, 4.0)})
swept = sweep.sweep(plan, "runs/beta")
swept.table.groupby("beta")["nll"].mean()
"""

from jaxae.sweep.plan import Member, Plan
from jaxae.sweep.run import Group, How, Swept, Unread, evaluate, sweep

__all__ = ["Group", "How", "Member", "Plan", "Swept", "Unread", "evaluate", "sweep"]
