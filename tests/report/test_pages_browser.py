"""The pages of compare and validate at every width, in light, dark and print."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import comparisons
import numpy as np
import pytest
from browsing import NEEDS_CHROMIUM
from comparisons import Repository
from test_layout_browser import BEYOND, CUT, CUT_TEXTS, MARGINS, MEDIA, WIDTHS, shown
from validations import made as validated

from flairprep.experiments.run_reports import Laid
from flairprep.report import interactive
from flairprep.report.provenance import Changed, Commit, Identity
from flairprep.validation import page as validation_page

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe looks for barriers")
pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

REVISION = "0123456789abcdef0123456789abcdef01234567"
PAGES = ("few", "many", "validation", "clean")


@pytest.fixture(scope="session")
def there(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("there"))


def external(out: Path, *, clean: bool) -> Path:
    """Write the page of a made-up validation into `out`; return its path."""
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(60) % 2)
    y_prob = np.clip(0.25 + 0.2 * labels + rng.normal(0, 0.15, 60), 0.01, 0.99)
    validation = validated(labels, y_prob, clean=clean)
    bounds = {"auc_low": 0.8, "auc_high": 0.96, "accuracy": 0.8, "accuracy_low": 0.7, "accuracy_high": 0.9, "nir": 0.5}
    validation.content["development"] |= bounds
    changed = (Changed("lr", "1e-05", "0.0001"),)
    identity = Identity("A cohort, 2026", Commit(REVISION, "2026-11-28", ()), "lower", "0.2.0", changed)
    drawn = validation_page.draw(validation)
    with interactive.folder(out / validation_page.ASSETS) as folder:
        interactive.write(drawn, folder)
    report = Laid("", "its report is neither in git nor in the cache", "dvc exp apply lower && dvc repro report")
    network = validation_page.Network("lower", identity, report)
    path = out / validation_page.PAGE
    path.write_text(validation_page.render(validation, drawn, network), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def pages(there: Repository, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A comparison of three settings, one of 30 with long names, and two validations."""
    few = comparisons.written(there.root, comparisons.few(there), there.root / "reports/few", {"lost": "failed"})
    many = comparisons.written(there.root, comparisons.many(there), there.root / "reports/many")
    found, clean = (external(tmp_path_factory.mktemp(name), clean=name == "clean") for name in ("validation", "clean"))
    return {"few": few, "many": many, "validation": found, "clean": clean}


def unfolded(visit: Any, path: Path, width: int, medium: str) -> Any:
    """The page, with all that folds open."""
    page = shown(visit, path, width, medium).page
    for folded in page.locator("details").all():
        folded.evaluate("(e) => { e.open = true; }")
    return page


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_or_overflows_on_the_pages_of_commands(
    name: str, width: int, medium: str, pages: dict[str, Path], visit: Any
) -> None:
    page = unfolded(visit, pages[name], width, medium)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate(BEYOND, width) == []
    assert page.evaluate(CUT) == []
    assert page.evaluate(CUT_TEXTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_no_serious_fault_on_the_pages_of_commands(
    name: str, width: int, scheme: str, pages: dict[str, Path], visit: Any
) -> None:
    page = unfolded(visit, pages[name], width, scheme)
    found = axe.Axe().run(page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []


@pytest.mark.parametrize("name", PAGES)
def test_the_first_screen_holds_the_answer(name: str, pages: dict[str, Path], visit: Any) -> None:
    page = shown(visit, pages[name], 1280).page
    charts = page.locator("#answer .chart").all()
    assert len(charts) == 2
    for place in [*map(page.locator, ("#answer-title", "#answer .lead", "#identity")), *charts]:
        box = place.bounding_box()
        assert box["y"] >= 0
        assert box["y"] + box["height"] <= 800
    for counter in page.locator(".counter").all():
        box = counter.bounding_box()
        assert box["y"] + box["height"] <= 800
        assert page.locator(counter.get_attribute("href")).count() == 1, "it leads to its place"
    assert re.search(r"\b[0-9a-f]{10}\b.*", page.locator("#identity").inner_text())
    assert page.evaluate(MARGINS).count(page.title().split(": ")[0]) == 1, "a printed page says what it is of"


def test_the_drawings_name_every_setting_and_the_best_first(pages: dict[str, Path], visit: Any) -> None:
    page = shown(visit, pages["few"], 1280).page
    names = ["lr=0.0001", "lr=5e-05", "lr=1e-05"]
    drawn = page.locator("#first-auc-chart svg text").all_text_contents()
    assert [text for text in drawn if text.startswith("lr=")] == names
    assert set(names) <= set(page.locator("#all-accuracy-chart svg text").all_text_contents())
    assert page.locator("#settings tbody tr").count() == 3
    assert page.locator("#runs tbody tr").count() == 6


def test_links_open_the_reports_of_runs_with_their_pictures(
    pages: dict[str, Path], there: Repository, visit: Any
) -> None:
    seen = shown(visit, pages["few"], 1280)
    page = seen.page
    links = {
        row.locator("th").inner_text(): row.locator("a").get_attribute("href")
        for row in page.locator("#runs tbody tr").all()
        if row.locator("a").count()
    }
    assert set(links) == {"good-0", "good-1", "middling-0", "middling-1", "poor-0"}
    for name in ("good-1", "middling-0"):
        page.locator("#runs tbody tr", has_text=name).locator("a").click()
        assert page.title() == f"report of {name}"
        assert page.evaluate("document.images[0].naturalWidth") == 2
        page.go_back()
    page.locator("#settings a", has_text="middling-1").click()
    assert page.title() == "report of middling-1"
    page.go_back()
    page.locator("#runs tbody tr", has_text="good-0").locator("a").click()
    assert Path(unquote(urlparse(page.url).path)) == there.root / "reports/index.html", "the workspace's own"
    page.go_back()
    missing = page.locator("#runs .faults").inner_text()
    assert "dvc exp apply poor-1 && dvc repro report" in missing
    assert "poor-0" in missing
    assert "good-1" not in missing
    assert seen.errors == []


@pytest.mark.parametrize("name", PAGES)
def test_charts_come_to_life_from_the_pages_own_folder(name: str, pages: dict[str, Path], visit: Any) -> None:
    seen = shown(visit, pages[name], 1280)
    for index, place in enumerate(seen.page.locator("[data-chart]").all()):
        place.hover()
        seen.until(f"document.querySelectorAll('[data-chart]')[{index}].querySelector('.live-chart svg') !== null")
    assert seen.errors == []
    for url in seen.asked:
        parts = urlparse(url)
        assert parts.scheme == "data" or unquote(parts.path).startswith(str(pages[name].parent)), url
