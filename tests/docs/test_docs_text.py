"""The pages as text: which there are, their blocks, links and snippets."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import exports
import numpy as np
import pytest
from docs_pages import DOCS, PAGES, PIPELINE, README, ROOT, SHIPPED, blocks, model_of, prose, rows, section
from ruamel.yaml import YAML

from flairprep.core import params


def test_the_pages_are_those_that_the_readme_lists() -> None:
    assert {f"docs/{name}.md" for name in DOCS} == set(re.findall(r"^\| \[.*?\]\((docs/\w[\w-]*\.md)\)", README, re.M))


def test_the_readme_has_a_row_for_each_stage() -> None:
    told = [row[0] for row in rows(section(README, "## Stages")) if row[0] in PIPELINE["stages"]]
    assert told == list(PIPELINE["stages"])


@pytest.mark.parametrize("page", PAGES)
def test_each_block_says_what_it_is(page: str) -> None:
    """So that no command hides in a block that the tests below do not read."""
    assert {kind for kind, _ in blocks(PAGES[page])} <= {"sh", "text", "python", "yaml", "mermaid"}
    assert not re.search(r"\n\n    \S", prose(PAGES[page])), "an indented block"


def anchors(text: str) -> set[str]:
    """Return the anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page])):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert path.exists(), target
        assert path.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


def test_the_snippets_read_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    labels = {0: "0101", 1: "01010", 2: "1100"}
    exports.write_export(tmp_path, labels, lambda rng, label, _: exports.brain(rng, label, 1.0), per_shard=3)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for kind, content in blocks(DOCS["shards"]):
        if kind == "python" and not (content.startswith("import torch") and find_spec("torch") is None):
            exec(content, names)
    assert "p_selection" in capsys.readouterr().out
    shards, tf_data = names["Shards"], names["tf_data"]
    read = shards("data/export", [0, 1, 2], shape=(8, 12, 12))
    plain = [read[index] for index in range(len(read))]
    for (image, label, case_id), case in zip(plain, tf_data.dataset("data/export").as_numpy_iterator(), strict=True):
        assert image.dtype == np.float32
        assert np.array_equal(image[0], case["image"][..., 0].astype(np.float32))
        assert (label, case_id) == (case["label"], case["case_id"].decode())


@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_parses(page: str) -> None:
    for kind, content in blocks(PAGES[page]):
        if kind == "python":
            ast.parse(content)
        if kind == "yaml":
            for name, values in YAML(typ="safe", pure=True).load(content).items():
                params.validate(model_of(name), {**SHIPPED[name], **values}, name)
