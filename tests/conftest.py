"""Fixtures that several test files share."""

import os
from collections import Counter
from pathlib import Path

import pytest
from workspace import SCANS

from flairprep.core import console

LONGEST = (  # a minute or more of a worker each, the longest first
    *("test_pipeline", "test_docs_commands", "test_resume", "test_predict_pipeline", "test_study"),
    *(
        "test_nifti_pipeline",
        "test_reuse",
        "test_layout_browser",
        "test_pages_browser",
        "test_crash",
        "test_two_clones",
    ),
    *("test_bench_validate", "test_train", "test_diagnosis_trained", "test_privacy_nifti", "test_validate_command"),
)
os.environ["FLAIRPREP_CACHE"] = "off"  # what a test computes must not come from the user's store, nor stay there
console.show_logged_warnings()  # as the command and the stages do


@pytest.fixture(scope="session")
def scans() -> Path:
    """Real scans beside the checkout; they are no part of the project."""
    if not SCANS.is_dir():
        pytest.skip(f"no real scans in {SCANS}")
    return SCANS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs scans or a browser; the files that take longest first, so that parallel workers end together."""
    for item in items:
        names = getattr(item, "fixturenames", ())
        if "scans" in names:
            item.add_marker("real_scans")
        if item.path.stem.endswith("_browser"):
            item.add_marker("browser")
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(item.path.stem, len(ranks)))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What became of each real scan, by the property `scan` of its test: name, verdict, differences to dcm2niix."""
    reports = [report for kind in terminalreporter.stats.values() for report in kind]
    calls = [report for report in reports if getattr(report, "when", None) == "call"]
    rows = sorted(tuple(value) for report in calls for name, value in report.user_properties if name == "scan")
    if not rows:
        return
    further = Counter((row[0].split("/")[0], row[1]) for row in rows if row[0].startswith("pydicom") and not row[2])
    shown = [row for row in rows if row[2] or not row[0].startswith("pydicom")]
    shown += [(f"{source}, {count} further", code, "", "") for (source, code), count in further.items()]
    terminalreporter.section("real scans, and how far they are from what dcm2niix makes of them")
    for name, verdict, voxels, corner in [("series", "verdict", "voxels (relative)", "corners (mm)"), *shown]:
        terminalreporter.write_line(f"{name:66} {verdict:18} {voxels:18} {corner}".rstrip())
