"""Pages from templates, with the words and style that they share."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2


def fill(name: str, context: Mapping[str, Any], folder: Path = Path(__file__).parent) -> str:
    """The template `name` of that folder with `context`: text from outside is escaped, and a missing name is an error.
    What it includes may lie here, too. No line ends between a number and its per cent sign, but in commands."""
    loader = jinja2.ChoiceLoader([jinja2.FileSystemLoader(folder), jinja2.PackageLoader("jaxae.report", "")])
    environment = jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["comma"] = lambda value: f"{value:,}"
    parts = re.split(r"(<pre>.*?</pre>|<code>.*?</code>)", environment.get_template(name).render(context), flags=re.S)
    return "".join(re.sub(r"(?<=\d) %", "\u00a0%", part) if n % 2 == 0 else part for n, part in enumerate(parts))
