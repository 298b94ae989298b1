"""The pages of the documentation and how they are read: blocks, tables, sections, and the keys of params.yaml."""

import re
from pathlib import Path

from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.cli import sections
from flairprep.core import params

ROOT = Path(__file__).resolve().parents[1]


README = (ROOT / "README.md").read_text(encoding="utf-8")


DOCS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}


PAGES = {"README.md": README, **{f"docs/{name}.md": text for name, text in DOCS.items()}}


PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")


SHIPPED = YAML(typ="safe", pure=True).load(PARAMS)


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page: (language, content)."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[list[str]]:
    """Return the cells of every row of every table, headings and rulers too."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def section(text: str, heading: str) -> str:
    """Return the text between a heading and the next one of its rank or above."""
    level = heading.split(" ")[0]
    after = re.split(rf"^{re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def quoted(text: str) -> list[str]:
    """Return the texts in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def table(text: str, first: str) -> list[list[str]]:
    """Return the rows of all tables whose first column has the heading `first`."""
    below, inside = [], False
    for row in rows(text):
        if row[0] == first:
            inside = True
        elif re.fullmatch(r":?-+:?", row[0]):
            continue
        elif inside and row[0].startswith("`"):
            below.append(row)
        else:
            inside = False
    return below


def model_of(name: str | None) -> type[params.Section]:
    """Return the model of a section; None: of the swept values at the top."""
    return sections.SWEPT if name is None else sections.SECTIONS[name]


def flat() -> dict[str, tuple[str | None, str]]:
    """Return every key of params.yaml, dotted: its section and its name in it."""
    swept = {key: (None, key) for key in params.SWEPT}
    nested = {f"{name}.{key}": (name, key) for name in params.SECTIONS for key in SHIPPED[name]}
    return {**swept, **nested}


KEYS = flat()


def first_columns(text: str, first: str) -> list[str]:
    """Return the names in the first columns of the tables whose first column has the heading `first`."""
    return [name for row in table(text, first) for name in quoted(row[0])]


def typed(text: str) -> list[str]:
    """Return the commands in a page's shell blocks, one per line."""
    return [line for kind, content in blocks(text) if kind == "sh" for line in content.splitlines()]
