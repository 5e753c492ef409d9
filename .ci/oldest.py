"""Prints pip's constraints for the oldest series that pyproject.toml allows: "pandas==2.2.*" for "pandas>=2.2"."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
for each in [*project["dependencies"], *project["optional-dependencies"]["test"]]:
    if floor := re.fullmatch(r"([\w.-]+)>=([\w.]+)", each):
        print(f"{floor[1]}=={floor[2]}.*")
