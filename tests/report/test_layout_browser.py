"""The page at every width, in light, dark and print: what the first screen holds, and that nothing is cut."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse
from xml.etree import ElementTree

import pytest
from browsing import NEEDS_CHROMIUM, Visit, all_measured, made

from flairprep.report import interactive

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe looks for barriers")
pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

WIDTHS = (1920, 1280, 800, 400)
MEDIA = ("light", "dark", "print")
COHORT = "A cohort of glioblastomas, 2026"
BEYOND = """(width) => [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  if (!box.width || !box.height || e.closest(".skip") || style.visibility === "hidden") return false;
  if (e.closest(".scroll") && !e.matches(".scroll")) return false; // what scrolls by itself is looked at below
  return box.left < -0.5 || box.right > width + 0.5;
}).map((e) => e.outerHTML.slice(0, 120))"""
CUT = """() => [...document.querySelectorAll("main *, header *")].filter((e) => {
  const style = getComputedStyle(e);
  return e.clientWidth && style.display !== "inline" && !e.closest("svg") && e.scrollWidth > e.clientWidth + 1;
}).map((e) => e.outerHTML.slice(0, 120))"""
CUT_TEXTS = """() => [...document.querySelectorAll(".chart svg")].flatMap((svg) => {
  const all = svg.getBoundingClientRect();
  return [...svg.querySelectorAll("text")].filter((text) => {
    const box = text.getBoundingClientRect();
    return box.width && (box.left < all.left - 1 || box.right > all.right + 1 || box.top < all.top - 1
      || box.bottom > all.bottom + 1);
  }).map((text) => text.textContent);
})"""
MARGINS = """() => [...document.styleSheets].flatMap((sheet) => [...sheet.cssRules])
  .filter((rule) => rule instanceof CSSPageRule).map((rule) => rule.cssText).join(" ")"""


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a committed run of 60 cases."""
    return made(tmp_path_factory.mktemp("run"), 60, committed=True, measure=all_measured, cohort=COHORT)


def shown(visit: Any, page: Path, width: int, medium: str = "light") -> Visit:
    """`page` on a screen of 800 pixels of height, or as it is printed."""
    seen = visit(page, width=width, scheme="light" if medium == "print" else medium)
    seen.page.set_viewport_size({"width": width, "height": 800})
    if medium == "print":
        seen.page.emulate_media(media="print")
    return seen


@pytest.mark.parametrize("medium", MEDIA)
@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_cut_and_nothing_overflows(width: int, medium: str, run: Path, hostile: Path, visit: Any) -> None:
    for page in (run, hostile):
        seen = shown(visit, page, width, medium)
        assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
        assert seen.page.evaluate(BEYOND, width) == []
        assert seen.page.evaluate(CUT) == []
        assert seen.page.evaluate(CUT_TEXTS) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", WIDTHS)
def test_axe_finds_no_serious_fault_at_any_width(width: int, scheme: str, run: Path, visit: Any) -> None:
    seen = shown(visit, run, width, scheme)
    for folded in seen.page.locator("details").all()[-3:]:
        folded.evaluate("(e) => { e.open = true; }")
    found = axe.Axe().run(seen.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []


def test_the_first_screen_holds_the_run_at_a_glance(run: Path, visit: Any) -> None:
    page = shown(visit, run, 1280).page
    places = ["#verdict-title", "#verdict .lead", "#outcome-chart", "#null-chart", "#cohort", "#identity"]
    counters = page.locator(".counter").all()
    assert len(counters) == 3
    for place in [*map(page.locator, places), *counters]:
        box = place.bounding_box()
        assert box is not None
        assert box["y"] >= 0, place
        assert box["y"] + box["height"] <= 800, place
        assert box["x"] + box["width"] <= 1280, place
    top = page.locator("header").bounding_box()
    title = page.locator("#verdict-title").bounding_box()
    assert title["y"] >= top["y"] + top["height"], "the contents hide nothing"
    identity = page.locator("#identity").inner_text()
    assert COHORT in identity
    assert re.search(r"\b20\d\d-\d\d-\d\d\b", identity)
    assert re.search(r"\b[0-9a-f]{10}\b", identity)
    assert "evaluate.permutations 99" in identity, "which is not the default"
    drawn = page.locator("#outcome-chart svg").text_content()
    for told in ("accuracy", "AUC", "header fields"):
        assert told in drawn
    assert "this run" in page.locator("#null-chart svg").text_content()
    text = page.locator("#cohort").inner_text()
    assert text.startswith("59 cases")
    assert len(page.locator(".bar > li").all()) == 3


@pytest.mark.parametrize(("index", "place"), [(0, "audit"), (1, "audit"), (2, "attention")])
def test_a_counter_counts_and_leads_to_its_place(index: int, place: str, run: Path, visit: Any) -> None:
    page = shown(visit, run, 1280).page
    counter = page.locator(".counter").nth(index)
    assert counter.locator("b").inner_text() == ("1", "1", "2")[index]  # a case and a check failed
    counter.click()
    page.wait_for_timeout(200)
    box = page.locator(f"#{place}").bounding_box()
    assert 0 <= box["y"] <= 60


@pytest.mark.parametrize(("width", "columns"), [(1920, 3), (1280, 3), (800, 2), (400, 1)])
def test_the_charts_fill_the_width(width: int, columns: int, run: Path, visit: Any) -> None:
    page = shown(visit, run, width).page
    boxes = [chart.bounding_box() for chart in page.locator("#training .charts > .chart").all()]
    assert len({round(box["x"]) for box in boxes}) == columns
    whole = page.locator("main").bounding_box()
    right = max(box["x"] + box["width"] for box in boxes)
    assert right == pytest.approx(whole["x"] + whole["width"], abs=2)
    assert min(box["x"] for box in boxes) == pytest.approx(whole["x"], abs=2)
    last_row = [box for box in boxes if box["y"] == boxes[-1]["y"]]
    assert columns == 2 or len(last_row) == columns, "no hole at the end"
    for chart in page.locator("#training .chart svg").all():
        room, box = chart.locator("xpath=..").bounding_box(), chart.bounding_box()
        assert box["width"] == pytest.approx(room["width"], abs=1)


def test_the_parts_come_in_the_order_of_the_reader(run: Path, visit: Any) -> None:
    page = shown(visit, run, 1280).page
    order = page.evaluate("[...document.querySelectorAll('main section')].map((section) => section.id)")
    happened, looks, went_in = ["verdict", "training", "groups", "wrong"], ["looks"], ["labels", "cases"]
    assert order == [*happened, *looks, *went_in, "attention", "audit", "sanity", "data"]


@pytest.mark.parametrize("width", WIDTHS)
def test_the_contents_stay_and_say_what_is_read(width: int, run: Path, visit: Any) -> None:
    page = shown(visit, run, width).page
    for place in ("cases", "audit", "training"):
        page.evaluate(f"location.hash = '{place}'")
        page.wait_for_timeout(200)
        header, target = page.locator("header").bounding_box(), page.locator(f"#{place} h2").bounding_box()
        assert header["y"] == 0
        assert target["y"] >= header["height"], "the contents hide no title"
        assert page.locator("nav a[aria-current]").get_attribute("href") == f"#{place}"


def test_what_passed_is_one_line_that_opens_and_what_did_not_is_open(run: Path, visit: Any) -> None:
    page = shown(visit, run, 1280).page
    for place, told in (("audit", "1 of 4 clean"), ("sanity", "1 of 3 passed")):
        section = page.locator(f"#{place}")
        assert told in section.inner_text()
        rows = {row.get_attribute("id"): row.is_visible() for row in section.locator("tbody tr").all()}
        assert sorted(rows.values()) == [False, *[True] * (len(rows) - 1)]
        section.locator("summary").focus()
        page.keyboard.press("Enter")
        assert all(row.is_visible() for row in section.locator("tbody tr").all())


def test_in_print_what_is_folded_is_open_and_every_page_says_which_run_it_is_of(run: Path, visit: Any) -> None:
    page = shown(visit, run, 800, "print").page
    assert all(row.is_visible() for row in page.locator("#audit tbody tr, #sanity tbody tr").all())
    revision = page.locator("#identity code").first.inner_text()[:7]
    for place in (page.title(), page.evaluate(MARGINS)):
        assert COHORT in place
        assert revision in place


def test_a_pointer_brings_a_chart_to_life_and_tells_its_numbers(run: Path, visit: Any) -> None:
    seen = shown(visit, run, 1280)
    page = seen.page
    assert not [url for url in seen.asked if url.endswith(".js")], "nothing before a pointer comes"
    for name in ("outcome-chart", "null-chart", "accuracy-chart", "roc-chart", "calibration-chart", "decision-chart"):
        place = page.locator(f"#{name} [data-chart]")
        before = place.bounding_box()
        place.hover()
        seen.until(f"document.querySelector('#{name} .live-chart svg')?.getBoundingClientRect().width > 0")
        after = place.bounding_box()
        assert after["height"] == pytest.approx(before["height"], rel=0.05)
        assert len([svg for svg in place.locator("svg").all() if svg.is_visible()]) == 1
    point = page.locator("#outcome-chart .live-chart .mark-symbol path").first.bounding_box()
    page.evaluate("scrollTo(0, 0)")
    point = page.locator("#outcome-chart .live-chart .mark-symbol path").first.bounding_box()
    page.mouse.move(point["x"] + point["width"] / 2, point["y"] + point["height"] / 2)
    seen.until("document.querySelector('#vg-tooltip-element.visible') !== null")
    told = page.locator("#vg-tooltip-element").inner_text()
    assert re.search(r"reached\s+0\.\d{3}", told), told
    page.emulate_media(media="print")
    assert not page.locator(".live-chart").first.is_visible()
    assert page.locator("#outcome-chart [data-chart] > svg").is_visible()
    assert seen.errors == []
    for url in seen.asked:
        parts = urlparse(url)
        assert parts.scheme == "data" or unquote(parts.path).startswith(str(run.parent)), url
    assert {Path(url).name for url in seen.asked if url.endswith(".js")} == {
        *(interactive.LIBRARY, interactive.SPECIFICATIONS)
    }


def test_without_scripts_or_their_files_the_charts_are_pictures(run: Path, visit: Any, tmp_path: Path) -> None:
    page = visit(run, java_script_enabled=False).page
    assert page.locator("#roc-chart svg").is_visible()
    alone = tmp_path / "index.html"
    alone.write_bytes(run.read_bytes())
    seen = shown(visit, alone, 1280)
    seen.page.locator("#null-chart [data-chart]").hover()
    seen.page.wait_for_timeout(500)
    assert seen.page.locator("#null-chart svg").is_visible()
    assert not [error for error in seen.errors if "ERR_FILE_NOT_FOUND" not in error]


def test_a_chart_can_be_had_as_a_file_that_stands_alone(run: Path, visit: Any, tmp_path: Path) -> None:
    seen = shown(visit, run, 1280, "dark")
    drawn = seen.page.locator("#roc-chart [data-chart] > svg path").count()
    with seen.page.expect_download() as download:
        seen.page.locator("#roc-chart .save").press("Enter")
    download.value.save_as(tmp_path / download.value.suggested_filename)
    root = ElementTree.parse(tmp_path / "roc-chart.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("color"), float(root.get("width", 0)) > 0, float(root.get("height", 0)) > 0) == (
        "black",
        True,
        True,
    )
    assert len(list(root.iter("{http://www.w3.org/2000/svg}path"))) == drawn > 0
    assert seen.errors == []
