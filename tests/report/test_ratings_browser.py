"""Ratings in headless Chromium: kept, handed out, taken up by flairprep exclude; quality; outlines on request."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from browsing import NEEDS_CHROMIUM, Visit, made
from ruamel.yaml import YAML

from flairprep.cli.main import main
from flairprep.imaging.quality import Quality
from flairprep.report import previews
from flairprep.report.previews import Upright

pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

CASES = 14
SNRS = [9.5, 100.25, 10.0, 10.5, 11.0, 11.5, 12.0, 12.5, 9.0, 8.5, 8.0, 7.5, 7.0]


def measure_once(cases: list[str], out: Path) -> dict[str, Quality]:
    """SNRS, and the outline of everything."""
    folder = out / "outlines/before"
    folder.mkdir(parents=True)
    picture = previews.outline(Upright(np.ones((4, 4, 4), bool), (1.0, 1.0, 1.0)))
    for case in cases:
        previews.write(picture, folder / f"{case}{previews.SUFFIX}")
    return {case: Quality(snr=snr) for case, snr in zip(cases, SNRS, strict=True)}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a dozen cases with a quality; the first failed and has none."""
    return made(tmp_path_factory.mktemp("rated"), CASES, measure=measure_once)


def rate(visit: Visit, case: str, rating: str, comment: str = "") -> None:
    row = visit.page.locator(f"#case-list > [data-id='{case}']")
    row.locator(".rating select").select_option(rating)
    row.locator(".rating input").fill(comment)
    row.locator(".rating input").blur()


def test_ratings_come_back_and_become_params(
    page: Path, visit: Callable[..., Visit], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = visit(page)
    rate(there, "00002", "exclude", '=moved, "a lot"')
    rate(there, "00003", "doubtful", "dim")
    rate(there, "00004", "exclude")
    rate(there, "00004", "")
    there.page.reload()
    kept = there.page.locator("#case-list > [data-id='00002'] .rating input").input_value()
    assert kept == '=moved, "a lot"'
    there.choose("rating", "exclude")
    assert there.shown() == ["00002"]
    with there.page.expect_download() as download:
        there.page.locator(".ratings button").click()
    assert there.errors == []
    project = page.parent.parent
    monkeypatch.chdir(project)
    download.value.save_as(project / "ratings.csv")
    main(["exclude", "ratings.csv"])
    values = YAML(typ="safe").load(project / "params.yaml")
    assert values["ingest"]["exclude"] == {"00002": '=moved, "a lot"'}


def test_cases_are_sorted_by_number_and_outliers_filtered(page: Path, visit: Callable[..., Visit]) -> None:
    there = visit(page)
    there.choose("sort", "snr")
    ids = [f"{index:05d}" for index in range(1, CASES)]
    assert there.shown() == [*sorted(ids, key=lambda case: SNRS[ids.index(case)]), "00000"]
    there.choose("quality", "outlier")
    assert there.shown() == ["00002"]


def test_outlines_are_loaded_on_request_alone(page: Path, visit: Callable[..., Visit]) -> None:
    there = visit(page, "#case-00001")
    outline = there.page.locator("#case-list .outline").first
    assert not outline.is_visible()
    assert not any("outlines" in url for url in there.asked)
    there.page.locator("[data-outlines]").check()
    there.until("document.querySelector('#case-list .outline').naturalWidth === 528")
    box, picture = outline.bounding_box(), there.page.locator("#case-list .picture > img").first.bounding_box()
    assert box == picture


def test_a_point_of_quality_leads_to_its_case(page: Path, visit: Callable[..., Visit]) -> None:
    there = visit(page)
    there.page.locator("#quality-chart [data-chart]").hover()
    point = "#quality-chart .live-chart .mark-symbol path"
    there.until(f"document.querySelectorAll('{point}').length === {len(SNRS)}")
    there.page.locator(point).nth(SNRS.index(100.25)).click()
    there.until("location.hash === '#case-00002'")
    assert there.page.evaluate("document.activeElement.id") == "case-00002"
    assert there.errors == []
