"""The demo cohort that the tests of its parts share."""

from pathlib import Path

import pytest
from demo_series import CASES, SEED, Series, make_cohort, read_series

from flairprep.demo import phantom, plan
from flairprep.demo.plan import DemoCase, Fault


@pytest.fixture(scope="session")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_cohort(tmp_path_factory.mktemp("demo") / "raw", workers=2)


@pytest.fixture(scope="session")
def atlas() -> phantom.Atlas:
    return phantom.load_atlas()


@pytest.fixture(scope="session")
def planned() -> list[DemoCase]:
    return plan.plan(CASES, SEED)


@pytest.fixture(scope="session")
def scanned(out: Path, planned: list[DemoCase]) -> list[Series]:
    return [read_series(out / "train", case) for case in planned if case.fault is not Fault.NO_SCAN]
