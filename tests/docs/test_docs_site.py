"""The pages as a site: its navigation, and that it asks the network for nothing. `make site` checks the links."""

import re
from typing import Any

import pytest
from docs_pages import PAGES, README, ROOT, prose
from ruamel.yaml import YAML

OTHERS = ["CONTRIBUTING.md", "CHANGELOG.md"]


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    """The settings of MkDocs; its tags of Python stay tags."""
    return YAML().load(ROOT / "mkdocs.yml")


def test_the_navigation_is_the_table_of_the_readme(site: dict[str, Any]) -> None:
    listed = re.findall(r"^\| \[(.*?)\]\((docs/\w[\w-]*\.md)\)", README, re.M)
    pages = [next(iter(one.items())) for one in site["nav"]]
    assert pages[1 : 1 + len(listed)] == listed
    assert [path for _, path in pages] == ["README.md", *(path for _, path in listed), *OTHERS]


def test_the_site_needs_no_network(site: dict[str, Any]) -> None:
    """What the theme would load from elsewhere: fonts, a worker for files, a forge's stars, a picture of mermaid's."""
    assert site["theme"]["font"] is False
    assert not {"repo_url", "extra_javascript"} & set(site)
    assert "offline" in site["plugins"]
    assert any("iframe-worker" in path for path in site["extra"]["polyfills"])
    assert site["hooks"] == ["docs/site/diagrams.py"]
    for path in (*site["extra"]["polyfills"], *site["extra_css"], *site["hooks"]):
        assert "://" not in (ROOT / path).read_text(encoding="utf-8")


def test_the_site_holds_what_the_pages_link_to() -> None:
    """MkDocs sees the files of PAGES and bench/results, and no folder is a page."""
    [held] = re.findall(r"^PAGES := (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    places = [*(ROOT / name for name in held.split()), ROOT / "bench/results"]
    pages = {**PAGES, **{name: (ROOT / name).read_text(encoding="utf-8") for name in OTHERS}}
    for name, text in pages.items():
        for target in re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", prose(text)):
            path = ((ROOT / name).parent / target).resolve()
            assert path.is_file(), (name, target)
            assert any(path.is_relative_to(place) for place in places), (name, target)


@pytest.mark.parametrize("page", PAGES)
def test_a_list_is_a_list_to_mkdocs_too(page: str) -> None:
    """Git hosts take a list right below a paragraph, and two spaces before one within another; Python-Markdown not."""
    text = prose(PAGES[page])
    assert not re.search(r"^ {1,3}[-*+] ", text, re.M), "four spaces"
    assert not re.search(r"^(?![-*+ |]|\d+\.).+\n([-*+]|\d+\.) ", text, re.M), "a blank line"
