"""Render pages of one file: a jinja2 template with its style and script inside, that loads nothing from elsewhere."""

import base64
import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
STYLES, SCRIPTS = ("style.css", "cases.css"), ("script.js", "cases.js")


def render(template: str, folder: Path = TEMPLATES, /, **values: Any) -> str:
    """Render the file `template` of `folder` with `values`; it may extend and include those of TEMPLATES.

    Values that are not Markup show as text. The content security policy allows SCRIPTS alone, by their hash, what they
    load, and pictures from the page's own folder.

    Raises:
        jinja2.UndefinedError: a value of the template is missing.
    """
    environment = Environment(
        loader=FileSystemLoader([folder, TEMPLATES]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"percent": percent, "number": number, "anchor": anchor, "css": css}
    style, script = (
        "\n".join((TEMPLATES / name).read_text(encoding="utf-8") for name in names) for names in (STYLES, SCRIPTS)
    )
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    fixed = {"style": Markup(style), "script": Markup(script), "script_hash": digest}
    return environment.get_template(template).render(**fixed, **values)


def percent(value: float | None, digits: int = 1) -> str:
    """Format a share as "54.7 %", a dash without one."""
    return "-" if value is None else f"{100 * value:.{digits}f} %"


def number(value: float | None, digits: int = 3) -> str:
    """Format `value` with so many significant digits, a dash without one."""
    if value is None:
        return "-"
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:.{digits}g}"


def anchor(text: str) -> str:
    """Turn `text` into the name of a place in the page and the part of an address: no space, no quote."""
    return quote(text, safe="")


def css(text: str) -> Markup:
    """Turn `text` into a string of CSS, in which only letters and digits stand for themselves."""
    escaped = (char if char.isascii() and char.isalnum() else f"\\{ord(char):x} " for char in text)
    return Markup(f'"{"".join(escaped)}"')
