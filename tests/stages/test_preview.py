"""preview: pictures, captions and quality of the cases, each made again only where its volume changed."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import SimpleITK as sitk
from workspace import contents, in_this_process, write_params

import reports
from flairprep.imaging import nifti
from flairprep.imaging.quality import Quality
from flairprep.report import case_pictures, previews
from flairprep.runner import result_cache
from flairprep.stages import preview

KINDS = ("before", "after", "slices", "outlines/before", "outlines/after")
OUT = Path("reports/preview")
CASES = ["00001", "00002", "00003"]


@pytest.fixture(autouse=True)
def project(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Three cases with volumes, and one that failed."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    write_params(tmp_path)
    table = pd.DataFrame({"case_id": ["00000", *CASES], "label": [0, 1, 0, 1], "fold": [0, 0, 1, 1]})
    table["status"] = ["failed", "ok", "ok", "warned"]
    reports.write_cases(table)
    reports.write_volumes(CASES)


def test_each_case_that_goes_on_has_its_pictures_and_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    preview.main()
    files = {path.relative_to(OUT).as_posix() for path in OUT.rglob("*") if path.is_file()}
    assert files == {"captions.json", "quality.csv"} | {f"{kind}/{case}.webp" for kind in KINDS for case in CASES}
    assert pd.read_csv(OUT / "quality.csv", dtype=str)["case_id"].tolist() == CASES
    assert "3 cases" in capsys.readouterr().out


def test_what_was_written_is_read_again() -> None:
    preview.main()
    drawn = case_pictures.read(OUT)
    assert list(drawn.acquired) == list(drawn.seen) == CASES
    one = drawn.acquired["00001"]
    assert isinstance(one.quality, Quality)
    assert isinstance(one.shown, previews.Shown)
    assert one.shown.window[0] < one.shown.window[1]
    assert sum(one.shown.histogram.counts) > 0
    assert len({shown.window for shown in drawn.seen.values()}) == 1
    assert case_pictures.read(Path("elsewhere")) == case_pictures.Drawn({}, {})


def test_bytes_are_stable_and_do_not_depend_on_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    preview.main()
    first = contents(OUT)
    for cache in (tmp_path / "store", tmp_path / "store"):
        monkeypatch.setenv("FLAIRPREP_CACHE", str(cache))
        shutil.rmtree(OUT)
        preview.main()
        assert contents(OUT) == first


def test_pictures_are_drawn_again_only_where_the_volume_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "store"))
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    drawn: list[str] = []
    write = previews.write
    monkeypatch.setattr(previews, "write", lambda picture, path: (drawn.append(path.stem), write(picture, path)))
    preview.main()
    assert sorted(drawn) == sorted(CASES * len(KINDS))
    drawn.clear()
    preview.main()
    assert drawn == []
    changed = nifti.read_volume(Path("data/select_slices/00003.nii.gz"))
    changed[0, 0, 0] = 2.0
    nifti.write_volume(changed, Path("data/select_slices/00003.nii.gz"))
    preview.main()
    assert drawn == ["00003"] * 3  # what the network sees, the outline of its mask, and all its slices


def test_a_case_that_cannot_be_drawn_is_warned_of_and_the_others_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    sitk.WriteImage(sitk.Image(4, 4, sitk.sitkInt16), "data/ingest/volumes/00001.nii.gz")  # no z
    preview.main()
    assert list(case_pictures.read(OUT).acquired) == CASES[1:]
    assert list(case_pictures.read(OUT).seen) == CASES
    assert "warning: preview: case 00001: no picture: CRASHED" in capsys.readouterr().err


def test_a_case_without_a_volume_has_no_picture() -> None:
    Path("data/select_slices/00002.nii.gz").unlink()
    preview.main()
    assert list(case_pictures.read(OUT).seen) == ["00001", "00003"]
    assert not (OUT / "after/00002.webp").exists()


def test_with_no_case_left_there_is_no_picture_and_no_fault() -> None:
    reports.write_cases(pd.DataFrame({"case_id": ["a"], "label": [0], "fold": [0], "status": ["failed"]}))
    preview.main()
    assert case_pictures.read(OUT) == case_pictures.Drawn({}, {})
    assert pd.read_csv(OUT / "quality.csv").empty
