"""Draw the mermaid blocks of the pages while the site is made: a reader's browser runs and loads nothing for them."""

from typing import Any

import mermaidx


def on_config(config: Any) -> Any:
    """Have the fences named mermaid drawn, by the hook of this name that MkDocs calls."""
    fence = {"name": "mermaid", "class": "diagram", "format": drawn}
    config.mdx_configs.setdefault("pymdownx.superfences", {})["custom_fences"] = [fence]
    return config


def drawn(source: str, _language: str, css_class: str, *_: Any, **_options: Any) -> str:
    """Return the SVG of a diagram, its ids made its own: a page may have several."""
    name = f"diagram-{abs(hash(source)):x}"
    return f'<div class="{css_class}">{mermaidx.render(source).svg().replace("my-svg", name)}</div>'
