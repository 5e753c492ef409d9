"""Runs against runs, with seeds as the replicates: `table` reads the folders, `compare` does the statistics."""

from jaxae.compare.collect import table
from jaxae.compare.contrast import Comparison, Pair, Setting, compare

__all__ = ["Comparison", "Pair", "Setting", "compare", "table"]
