"""inspect: what ingest would do, a line a series; it says what ingest then does, and changes nothing."""

import re
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
from workspace import PARAMS, write_params

from flairprep.cli import inspect, main
from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.core.params import load
from flairprep.core.tables import read_csv
from flairprep.dicom import discovery
from flairprep.dicom.ingest_params import IngestParams
from flairprep.stages import ingest

RAW = Path("data/raw/train")
KEY = bytes(range(32))
FLAIR = {"SeriesDescription": "t2_flair", "EchoTime": 90, "InversionTime": 2500, "RepetitionTime": 9000}
T1W = {"SeriesDescription": "t1 mprage", "EchoTime": 3, "InversionTime": 900}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    RAW.mkdir(parents=True)
    write_params(tmp_path, ingest={"max_failed": 1, "min_slices": 6})
    return tmp_path


def brain(seed: int, slices: int = 6) -> np.ndarray:
    return np.pad(np.random.default_rng(seed).integers(1, 999, (slices - 2, 4, 4)), 1).astype(np.int16)


def put(folder: Path, patient: str, seed: int, slices: int = 6, **elements: Any) -> list[Path]:
    own = {"PatientID": patient, "StudyInstanceUID": f"1.2.{ord(patient[-1])}", "SeriesInstanceUID": f"1.3.{seed}"}
    series = phantoms.slices(brain(seed, slices), **own | {"SeriesNumber": seed} | FLAIR | elements)
    return phantoms.save(series, folder / f"{seed}", seed)


def cohort(place: Callable[[str], Path]) -> dict[str, str]:
    """Patients of every fate, each in place(patient): patient -> what becomes of the case."""
    put(place("secret a"), "secret a", 11)
    put(place("secret b"), "secret b", 21, PhotometricInterpretation="MONOCHROME1")
    put(place("secret c"), "secret c", 31)
    put(place("secret c"), "secret c", 32, slices=5)
    put(place("secret d"), "secret d", 41)
    put(place("secret d"), "secret d", 42)
    put(place("secret e"), "secret e", 51, **T1W)
    put(place("secret e"), "secret e", 52, EchoTime=11, InversionTime=750)  # a T1 FLAIR
    put(place("secret f"), "secret f", 61, slices=4)
    put(place("secret g"), "secret g", 71, Modality="CT")
    put(place("secret h"), "secret h", 81)
    put(place("secret h"), "secret h", 82, ImageType=["DERIVED", "PRIMARY", "MOSAIC"])
    put(place("secret i"), "secret i", 91, ContrastBolusAgent="secret agent")
    put(place("secret j"), "secret j", 101)[0].unlink()
    sorted((place("secret j") / "101").iterdir())[2].unlink()
    damaged = put(place("secret k"), "secret k", 111)[0]
    content = damaged.read_bytes()
    damaged.write_bytes(content.replace(b"\x20\x00\x0e\x00UI", b"\x20\x00\x0e\x00XX"))
    blank = phantoms.slices(np.full((6, 6, 6), 7, np.int16), PatientID="secret l", SeriesInstanceUID="1.3.12", **FLAIR)
    phantoms.save(blank, place("secret l"))
    return {
        **{"secret a": "ok", "secret b": "INVERTED", "secret c": "ok", "secret d": "AMBIGUOUS_SERIES"},
        **{"secret e": "NO_SERIES", "secret f": "TOO_FEW_SLICES", "secret g": "NOT_MR", "secret h": "ok"},
        **{"secret i": "MARKED_SERIES", "secret k": "DECODE_FAILED", "secret l": "BLANK_VOLUME"},
    }


def lines(capfd: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, str]]:
    """The rows of the table that the command prints, by its own headings."""
    capfd.readouterr()
    main.main(["inspect", *arguments])
    shown = capfd.readouterr()
    assert "secret" not in shown.out + shown.err
    head, *rows, summary = shown.out.splitlines()
    starts = [head.index(name) for name in inspect.HEADINGS]
    cells = [[row[a:b].strip() for a, b in zip(starts, [*starts[1:], None], strict=True)] for row in rows]
    table = [dict(zip(inspect.HEADINGS, row, strict=True)) for row in cells]
    read, cases = map(int, re.findall(r"\d+", summary)[:2])
    assert (read, cases) == (sum(row["verdict"] == "read" for row in table), len({row["case"] for row in table}))
    return table


def fates(table: list[dict[str, str]]) -> dict[str, str]:
    """Case -> what ingest would make of it, by the lines of its series."""
    by_case: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in table:
        by_case[row["case"]].append(row)
    fate_of = {}
    for case, rows in by_case.items():
        read = [row["code"].split(",")[0] for row in rows if row["verdict"] == "read"]
        failing = [row["code"] for row in rows if row["verdict"] == "would fail"]
        assert len(read) <= 1
        assert not (read and failing)
        assert len(set(failing)) <= 1
        fate_of[case] = ("ok" if read == ["-"] else read[0]) if read else failing[0] if failing else "NO_SERIES"
    return fate_of


def ingested() -> dict[str, str]:
    ingest.main()
    rows = read_csv(Path("data/ingest/cases.csv")).to_dict("records")
    # That a whole head warns is found out by looking at the voxels, not at the series.
    return {row["case_id"]: "ok" if row["code"] in ("", "WHOLE_HEAD") else row["code"] for row in rows}


def listing() -> dict[str, tuple[int, int]]:
    """Everything on disk with its size and when it was changed."""
    return {str(path): (path.lstat().st_size, path.lstat().st_mtime_ns) for path in sorted(Path().rglob("*"))}


def test_what_inspect_says_of_folders_of_cases_is_what_ingest_does(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = cohort(lambda patient: RAW / patient.replace("secret ", "case-") / "FLAIR")
    (RAW / "empty/FLAIR").mkdir(parents=True)
    before = listing()
    said = fates(lines(capfd, str(RAW)))
    assert listing() == before
    assert said == ingested()
    expected = {patient.replace("secret ", "case-"): fate for patient, fate in made.items()}
    assert {case: said[case] for case in expected} == expected
    assert said["empty"] == "NO_SERIES"


@pytest.mark.slow
def test_what_inspect_says_of_an_export_is_what_ingest_does(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = cohort(lambda patient: RAW / f"export/{patient}")
    (RAW / "flairprep.key").write_text(KEY.hex())
    (RAW / "export/secret.txt").write_text("no DICOM")
    before = listing()
    said = fates(lines(capfd, str(RAW)))
    assert listing() == before
    assert said == ingested()
    (RAW / "flairprep.key").unlink()
    before = listing()
    numbered = fates(lines(capfd, str(RAW)))
    assert listing() == before
    assert list(numbered) == [f"case {number}" for number in range(1, len(numbered) + 1)]
    assert [
        numbered[f"case {number}"] for number, patient in enumerate(sorted({*made, "secret j"}), 1) if patient in made
    ] == [made[patient] for patient in sorted(made)]
    assert sorted(numbered.values()) == sorted(said.values())


def test_each_series_of_a_case_has_a_line_with_what_decides(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a/FLAIR", "secret a", 1)
    put(RAW / "a/FLAIR", "secret a", 2, slices=5)
    put(RAW / "a/FLAIR", "secret a", 3, **T1W)
    put(RAW / "a/FLAIR", "secret a", 4, ImageType=["ORIGINAL", "PRIMARY", "PHASE"])
    rows = lines(capfd, str(RAW))
    assert [(row["series"], row["verdict"], row["code"]) for row in rows] == [
        ("series 1 (FLAIR)", "read", "-"),
        ("series 2 (FLAIR)", "5 slices, not 6", "TOO_FEW_SLICES"),
        ("series 3 (not recognised)", "TI 900 ms is no FLAIR's", "-"),
        ("series 4 (FLAIR)", "NOT_MAGNITUDE", "NOT_MAGNITUDE"),
    ]
    assert rows[0].items() >= {"slices": "6", "size": "6x6x6", "spacing (mm)": "1x1x1", "plane": "axial"}.items()


def test_folder_of_one_case_has_its_id_and_one_of_files_has_none(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    put(RAW / "a/FLAIR", "secret a", 1, SeriesDescription="secret")
    put(RAW / "a/T1w", "secret a", 2, **T1W)
    rows = lines(capfd, str(RAW / "a"))
    assert [(row["case"], row["series"], row["verdict"]) for row in rows] == [
        ("a", "series 1 (FLAIR)", "read"),  # as ingest, which looks at no other folder of the case
    ]
    (row,) = lines(capfd, str(RAW / "a/FLAIR/1"))
    assert (row["case"], row["series"], row["verdict"]) == ("case 1", "series 1 (FLAIR)", "read")


def test_only_series_of_a_case_with_a_damaged_file_is_not_said_to_have_a_rival(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    damaged = put(RAW / "a/FLAIR", "secret a", 1)[0]
    damaged.write_bytes(damaged.read_bytes().replace(b"\x20\x00\x0e\x00UI", b"\x20\x00\x0e\x00XX"))
    rows = lines(capfd, str(RAW))
    assert not [row["verdict"] for row in rows if "another" in row["verdict"]]


@pytest.mark.parametrize("make", [lambda: None, lambda: (RAW / "a").mkdir(), lambda: RAW.rmdir()])
def test_folder_without_a_file_is_refused(
    make: Callable[[], None], project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    make()
    with pytest.raises(SystemExit) as end:
        main.main(["inspect", str(RAW)])
    assert end.value.code == 1
    assert capfd.readouterr().err.startswith(f"error: {RAW}: ")


def test_other_sequence_is_inspected_where_params_name_it(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a/x", "secret a", 1)
    put(RAW / "a/x", "secret a", 2, **T1W)
    write_params(project, ingest={"sequence": "T1w", "min_slices": 6})
    assert [row["verdict"] for row in lines(capfd, str(RAW))] == ["FLAIR, not T1w", "read"]


FAILING = "vendors-cutouts/tests/data/failing"
GEOMETRY = {"GANTRY_TILT", "MULTIPLE_VOLUMES", "MISSING_SLICES", "UNEVEN_SPACING"}


@pytest.mark.parametrize(
    ("folder", "options", "codes"),
    [
        ("gantrytilting", [], {"NOT_MR"}),
        ("notavolume", [], {"NOT_MR"}),
        ("sliceincrement/001", [], {"NOT_MR"}),
        ("sliceincrement/002", [], {"NOT_MR"}),
        ("gantrytilting", ["--any-modality"], {"GANTRY_TILT"}),
        ("notavolume", ["--any-modality"], GEOMETRY),
        ("sliceincrement/001", ["--any-modality"], {"MISSING_SLICES", "UNEVEN_SPACING"}),
        ("sliceincrement/002", ["--any-modality"], {"MISSING_SLICES", "UNEVEN_SPACING"}),
        ("slicecount", [], {"TOO_FEW_SLICES"}),
        ("sliceorientation", [], {"MIXED_SIZE", "MIXED_ORIENTATION"}),
    ],
)
def test_real_series_that_is_no_volume_has_its_code(
    folder: str, options: list[str], codes: set[str], scans: Path, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = lines(capfd, str(scans / FAILING / folder), *options)
    assert rows
    for row in rows:
        assert row["code"] in codes
        assert row["verdict"] != "read"
        assert row["remark"]


def test_table_of_a_case_that_is_lost_has_its_code() -> None:
    case = discovery.RawCase("a", (), "FLAIR", stray=2)
    lost = CaseError(Code.LINK_OUTSIDE, "2 links")
    [(line, one, _)] = inspect.plan(case, lost, load(IngestParams, "ingest", PARAMS))
    assert one is None
    assert (line.case, line.verdict, line.code) == ("a", "would fail", "LINK_OUTSIDE")


def test_folder_named_as_a_sequence_says_what_its_series_is(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a/FLAIR", "p", 1, SeriesDescription="", EchoTime=None, InversionTime=None)
    for path in (RAW / "a", RAW / "a/FLAIR"):
        (row,) = lines(capfd, str(path))
        assert (row["series"], row["verdict"]) == ("series 1 (FLAIR)", "read")


def test_excluded_case_is_not_said_to_be_read(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "a/FLAIR", "p", 1)
    write_params(project, ingest={"exclude": {"a": "dark"}})
    rows = lines(capfd, str(RAW))
    assert [row["code"] for row in rows if row["verdict"] == "would fail"] == ["EXCLUDED"]
    assert "read" not in {row["verdict"] for row in rows}
