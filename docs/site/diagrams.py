"""Draw the mermaid blocks of the pages while the site is made: a reader's browser runs and loads nothing for them."""

import zlib
from typing import Any

import mermaidx
from pymdownx.superfences import SuperFencesException


def on_config(config: Any) -> Any:
    """Have the fences named mermaid drawn, by the hook of this name that MkDocs calls."""
    fence = {"name": "mermaid", "class": "diagram", "format": drawn}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def drawn(source: str, _language: str, css_class: str, *_: Any, **_options: Any) -> str:
    """Return the SVG of a diagram, with ids of its own: a page may have several.

    Raises:
        SuperFencesException: mermaid cannot read the diagram; any other exception would leave it as text, in silence.
    """
    try:
        svg = mermaidx.render(source).svg()
    except Exception as error:
        raise SuperFencesException(f"a diagram of the pages: {error}") from error
    name = f"diagram-{zlib.crc32(source.encode()):08x}"
    return f'<div class="{css_class}">{svg.replace("my-svg", name)}</div>'
