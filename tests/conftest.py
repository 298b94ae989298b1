"""Fixtures that several test files share."""

from pathlib import Path

import pytest

SCANS = Path(__file__).resolve().parents[2] / "shared/scans"


@pytest.fixture(scope="session")
def scans() -> Path:
    """Real scans beside the checkout; they are no part of the project."""
    if not SCANS.is_dir():
        pytest.skip(f"no real scans in {SCANS}")
    return SCANS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest first, so that parallel workers end together."""
    items.sort(key=lambda item: item.path.stem != "test_pipeline")
