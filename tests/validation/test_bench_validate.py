"""bench/validate.py in small: planted shifts and leaks of a demo cohort are found, a clean one is left alone."""

import os
from pathlib import Path
from types import ModuleType

import pytest
from docs_pages import ROOT
from workspace import PARAMS

from flairprep.core import params
from flairprep.demo.phantom import load_atlas
from flairprep.inference.preprocess import steps_of
from flairprep.validation.examine import Side, examine

TRAINING, NEW = 40, 16  # cases


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module bench/validate.py."""
    monkeypatch.syspath_prepend(str(ROOT / "bench"))
    import validate

    return validate


@pytest.mark.slow
def test_planted_shifts_and_leaks_are_found_and_a_clean_cohort_has_none(
    bench: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "FLAIRPREP_CACHE", "off")
    steps, atlas, known = steps_of(params.read_params(PARAMS)), load_atlas(), bench.sound(TRAINING, 0)
    training = bench.side(bench.write(atlas, tmp_path / "training", known), steps, tmp_path / "of training")
    raw = bench.write(atlas, tmp_path / "raw", bench.sound(NEW, 1))

    def measured(folder: Path) -> Side:
        side: Side = bench.side(folder, steps, tmp_path / f"of {folder.name}")
        return side

    clean = measured(raw)
    found = examine(training, clean, tmp_path)
    assert not found.shifted
    assert not found.leaked
    thick = examine(training, measured(bench.rewrite(raw, tmp_path / "thick", bench.thicker)), tmp_path)
    assert bench.families(thick) & {"geometry", "header fields"}
    bent = examine(training, measured(bench.rewrite(raw, tmp_path / "bent", bench.other_intensities)), tmp_path)
    assert bench.families(bent) & {"intensity statistics", "shading"}
    planted = bench.copies(known, seed=1)
    leaking = bench.joined(clean, measured(bench.write(atlas, tmp_path / "copied", planted)))
    assert examine(training, leaking, tmp_path).leaked == {case.case_id for case in planted}
