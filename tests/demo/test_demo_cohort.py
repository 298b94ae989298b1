"""cohort: its layout and bytes, and what is refused."""

import sys
from pathlib import Path

import pytest
from demo_series import CASES, SEED, SIGNAL, Series, faulty, make_cohort
from workspace import contents

from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_csv
from flairprep.demo import cohort, phantom
from flairprep.demo.plan import Fault


@pytest.mark.slow
def test_same_arguments_same_bytes_with_any_number_of_workers(out: Path, tmp_path: Path) -> None:
    assert contents(make_cohort(tmp_path / "again", workers=1)) == contents(out)


def test_layout_and_labels(out: Path, scanned: list[Series]) -> None:
    ids = [f"{index:05d}" for index in range(CASES + 5)]
    assert sorted(path.name for path in out.iterdir()) == ["train", "train_labels.csv"]
    assert sorted(path.name for path in (out / "train").iterdir()) == ids[:-1]
    assert b"\r" not in (out / "train_labels.csv").read_bytes()
    labels = read_csv(out / "train_labels.csv")
    assert list(labels.columns) == ["BraTS21ID", "MGMT_value"]
    without_label = faulty(scanned, Fault.NO_LABEL).case.case_id
    assert list(labels["BraTS21ID"]) == [case_id for case_id in ids if case_id != without_label]
    assert list(labels["MGMT_value"].iloc[:CASES]).count("1") == 5
    assert {path.suffix for series in scanned for path in series.paths} == {".dcm"}
    assert [s.case.fault for s in scanned[:CASES]] == [Fault.NONE] * CASES


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        *(
            ({"signal": 2.0}, "signal=2.0"),
            ({"signal": -0.1}, "signal"),
            ({"cases": 3}, "cases=3"),
            ({"seed": -1}, "seed"),
        ),
        *(({"shortcut": 1.5}, "shortcut=1.5"), ({"shortcut": -0.1}, "shortcut"), ({"duplicates": -1}, "duplicates=-1")),
        ({"duplicates": CASES + 1}, "duplicates=11"),
    ],
)
def test_refuses_what_is_out_of_range(tmp_path: Path, arguments: dict, named: str) -> None:
    with pytest.raises(FlairprepError, match=named):
        cohort.make(tmp_path, **{"cases": CASES, "signal": SIGNAL, "seed": SEED, **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["train", "train_labels.csv"])
def test_refuses_to_touch_existing_data(tmp_path: Path, name: str) -> None:
    kept = tmp_path / "train" / "00000" if name == "train" else tmp_path / name
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(FlairprepError, match=rf"{name}: "):
        cohort.make(tmp_path, cases=CASES, signal=SIGNAL, seed=SEED)
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupted_run_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atlas: phantom.Atlas
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cohort, "load_atlas", lambda: atlas)
    monkeypatch.setattr(cohort, "map_cases", stop)
    with pytest.raises(KeyboardInterrupt):
        cohort.make(tmp_path, cases=CASES, signal=SIGNAL, seed=SEED)
    assert list(tmp_path.iterdir()) == []


def test_says_what_to_install_where_nilearn_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(FlairprepError, match=r"pip install 'flairprep\[demo\]'"):
        cohort.make(tmp_path, cases=CASES, signal=SIGNAL, seed=SEED)
    assert list(tmp_path.iterdir()) == []
