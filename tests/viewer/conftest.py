"""The viewer's pages in headless Chromium, whose WebGL needs no graphics card here."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import viewed
from browsing import CHROMIUM, Visit

from flairprep.viewer import cases
from flairprep.viewer.page import Study
from flairprep.viewer.server import LocalServer

SOFTWARE_WEBGL = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium. While it is there, its event loop runs: no test of dask could run in the process."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=list(SOFTWARE_WEBGL))
        yield chromium
        chromium.close()


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """The server of a small study, which is the working folder."""
    monkeypatch.chdir(tmp_path)
    viewed.write(tmp_path)
    with LocalServer(Study(cases.listed(), viewed.PLACES).find, f"{viewed.EXPLAINED}/") as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def look(browser: Any, served: LocalServer) -> Iterator[Callable[..., Visit]]:
    """Opens the page of a case and waits until it is drawn: look(case, width, scheme, before: a script)."""
    contexts = []

    def go(case: str = viewed.EXPLAINED, width: int = 1280, scheme: str = "light", before: str = "") -> Visit:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        context.set_default_timeout(20_000)
        contexts.append(context)
        visit = Visit(context.new_page())
        if before:
            visit.page.add_init_script(before)
        visit.page.goto(served.gate.address(served.gate.token).replace(f"{viewed.EXPLAINED}/", f"{case}/"))
        if not before:
            visit.until("Boolean(document.body.dataset.drawn)")
        return visit

    yield go
    for context in contexts:
        context.close()
