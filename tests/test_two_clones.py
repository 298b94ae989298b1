"""Two clones at other places, with other numbers of workers and caches of their own, give the same bytes."""

import hashlib
from pathlib import Path

import miniature
import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


def digests(root: Path) -> dict[str, str]:
    """Digests of all that the stages wrote, and of dvc.lock."""
    made = [path for folder in ("data", "reports") for path in (root / folder).rglob("*") if path.is_file()]
    made = [path for path in made if "raw" not in path.relative_to(root).parts]
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in [*made, root / "dvc.lock"]
    }


def test_every_out_is_the_same_with_other_workers_and_elsewhere(tmp_path: Path) -> None:
    found = []
    for place, workers in (("one", "1"), ("somewhere/else", "3")):
        root = tmp_path / place
        root.mkdir(parents=True)
        project = miniature.make(root, FLAIRPREP_WORKERS=workers, FLAIRPREP_CACHE=str(tmp_path / f"cache {workers}"))
        project.repro()
        found.append(digests(root))
    first, second = found
    assert {"data/train/model.keras", "reports/index.html", "reports/metrics.json", "data/audit/baselines.csv"} < set(
        first
    )
    assert {name for name in first if first[name] != second.get(name)} == set()
    assert set(first) == set(second)
