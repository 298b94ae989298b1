"""diagnosis: faults planted in real trainings are named, on a few of the runs of bench/diagnosis.py."""

from types import ModuleType

import pytest
from docs_pages import DOCS, ROOT, section


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import diagnosis

    return diagnosis


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        "none",
        "none, batch norm",
        "rate far too low, 70 % label 1",
        "rate far too high",
        "averages lag",
        "stopped too early",
        "labels of noise, learned by heart",
    ],
)
def test_a_fault_of_a_training_is_named(bench: ModuleType, fault: str) -> None:
    runs = [bench.trained(fault, 60, seed) for seed in (200, 201, 202)]
    given = [bench.diagnosed(run) for run in runs]
    named = [one.diagnosis in bench.FAULTS[fault].named for one in given]
    assert sum(named) >= 2, [str(one) for one in given]
    assert all(bench.right_way(*pair) for pair in zip(runs, given, strict=True))


def test_the_table_of_the_page_is_the_one_that_was_measured() -> None:
    printed = (ROOT / "bench/results/diagnosis.txt").read_text()
    rows = [row for row in section(DOCS["metrics"], "## Diagnoses").splitlines() if " of 10 |" in row]
    assert len(rows) > 10
    assert not [row for row in rows if row not in printed]
