"""Pages from templates, with the words and style that they share."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2


def fill(name: str, context: Mapping[str, Any], folder: Path = Path(__file__).parent) -> str:
    """The template `name` of that folder with `context`: text from outside is escaped, and a missing name is an error.
    What it includes may lie here, too. No line ends between a number and its per cent sign."""
    loader = jinja2.ChoiceLoader([jinja2.FileSystemLoader(folder), jinja2.PackageLoader("jaxae.report", "")])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["comma"] = lambda value: f"{value:,}"
    return re.sub(r"(?<=\d) %", "\u00a0%", environment.get_template(name).render(context))
