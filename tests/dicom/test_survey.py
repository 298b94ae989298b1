"""Survey a case's files, damaged ones among them, and say what became of each series."""

from pathlib import Path

import pytest
from raw_folder import (
    OUT,
    RAW,
    brain,
    damage,
    ingested,
    make_project,
    pseudonym,
    put,
    put_damaged,
    put_key,
)

from flairprep.core.outcomes import CaseError
from flairprep.core.tables import read_csv
from flairprep.dicom import discovery, survey
from flairprep.stages import ingest


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


def test_damaged_slice_of_an_export_is_not_left_out_of_its_volume() -> None:
    paths = put(RAW / "a", "p1", 1, values=brain(1, 8))
    damage(paths[-1])
    put_key()
    assert ingested() == {pseudonym("p1"): "DECODE_FAILED"}


@pytest.mark.parametrize("layout", ["p1/FLAIR", "a"])
@pytest.mark.parametrize("left", [140, 200, 400, 600, 800, -40])
def test_slice_that_a_download_cut_off_is_not_left_out_of_its_volume(left: int, layout: str) -> None:
    """The last slice: without it the rest would be a sound volume, one slice too short."""
    path = put(RAW / layout, "p1", 1, values=brain(1, 8))[-1]
    path.write_bytes(path.read_bytes()[:left])
    put_key()
    ingest.main()
    (row,) = read_csv(OUT / "cases.csv").to_dict("records")
    assert row["status"] == "failed", row["message"]


@pytest.mark.slow
def test_file_that_ends_anywhere_in_its_header_is_not_another_series() -> None:
    uid = f"1.2.{'3' * 50}"  # as long as real ones: half of it is an UID too
    paths = put(RAW / "p1/FLAIR", "p1", 1, values=brain(1, 8), SeriesInstanceUID=uid)
    whole = paths[-1].read_bytes()
    case = discovery.RawCase("p1", tuple(paths), "FLAIR")
    for length in range(140, whole.index(b"\xe0\x7f\x10\x00")):
        paths[-1].write_bytes(whole[:length])
        with pytest.raises(CaseError):  # noqa: PT012
            best, _ = survey.choose_series(case, survey.survey_case(case), "FLAIR")
            survey.read_candidate(best)


def test_series_that_was_chosen_and_fails_has_its_code_for_a_verdict() -> None:
    put(RAW / "few/FLAIR", "p1", 1, values=brain(1, 5))
    ingest.main()
    (row,) = read_csv(OUT / "series.csv").to_dict("records")
    assert row["verdict"] == "TOO_FEW_SLICES"


def test_numbers_and_codes_that_may_be_a_date_or_a_name_are_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    put(RAW / "frames/FLAIR", "p1", 1, NumberOfFrames=19680229)
    put(RAW / "letters/FLAIR", "p2", 2, Modality="JD")
    put(RAW / "time/FLAIR", "p3", 3, InversionTime=19680229.0)
    assert ingested() == {"frames": "TOO_LARGE", "letters": "NOT_MR", "time": "ok"}
    shown = "".join(capfd.readouterr()) + "".join(path.read_text() for path in OUT.glob("*.csv"))
    assert "1968" not in shown
    assert "1.968" not in shown
    assert "JD" not in shown


def test_empty_file_among_slices_is_warned_of() -> None:
    path = put(RAW / "p1/FLAIR", "p1", 1, values=brain(1, 8))[-1]
    path.write_bytes(b"")
    assert ingested() == {"p1": "NOT_DICOM"}


def test_a_damaged_file_does_not_make_its_series_one_of_several() -> None:
    """What series.csv says of the only FLAIR of a case that failed for another reason."""
    put(RAW / "p1/FLAIR", "p1", 1)
    put_damaged(RAW / "p1/FLAIR/IM999")
    assert ingested() == {"p1": "DECODE_FAILED"}
    (row,) = read_csv(OUT / "series.csv").to_dict("records")
    assert row["verdict"] != "read"
    assert "another" not in row["verdict"]
