"""Pages in headless Chromium, opened from disk."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, FEW, MANY, Visit, all_measured, made


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 585 cases."""
    return made(tmp_path_factory.mktemp("many"), MANY, measure=all_measured)


@pytest.fixture(scope="session")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a dozen cases."""
    return made(tmp_path_factory.mktemp("few"), FEW)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a dozen cases whose texts want to be more than texts."""
    return made(tmp_path_factory.mktemp("hostile"), FEW, hostile=True)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium. While it is there, its event loop runs: no test of dask could run in the process."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Any]:
    """Opens a page: visit(path, hash, width, scheme, **of the context)."""
    contexts = []

    def go(path: Path, place: str = "", width: int = 1280, scheme: str = "light", **options: Any) -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, **options)
        context.set_default_timeout(20_000)
        contexts.append(context)
        visit = Visit(context.new_page())
        visit.page.goto(path.as_uri() + place)
        return visit

    yield go
    for context in contexts:
        context.close()
