"""Several series and sessions of a patient, from the raw folder to split: what is read, its id and its fold."""

import csv
import io
import json
import re
from pathlib import Path
from typing import Any

import archived
import nibabel as nib
import numpy as np
import phantoms
import pytest
from raw_folder import OUT, RAW, brain, damage, make_project, pseudonym, put, put_key
from ruamel.yaml import YAML
from workspace import in_this_process, write_params

from flairprep.cli import check, inspect, main, who
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_csv
from flairprep.imaging import nifti
from flairprep.nifti_input import sessions
from flairprep.runner import result_cache
from flairprep.stages import balance, ingest, split

SLOW = pytest.mark.slow
EARLY, LATE = {"AcquisitionDate": "20190304", "AcquisitionTime": "0915"}, {"StudyDate": "20200101"}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    root = make_project(tmp_path, monkeypatch)
    for module in (inspect, who, sessions):
        monkeypatch.setattr(module, "map_cases", in_this_process)
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    return root


def choose(**changed: Any) -> None:
    """Set values of section `ingest`."""
    write_params(Path(), ingest={"max_failed": 1, "min_slices": 6, **changed}, split={"folds": 2})


def rows(table: str = "ingest/cases") -> list[dict[str, str]]:
    return read_csv(Path(f"data/{table}.csv")).fillna("").to_dict("records")


def outcomes() -> dict[str, str]:
    """Case id -> code, or status where there is none, after ingest."""
    ingest.main()
    return {row["case_id"]: row["code"] or row["status"] for row in rows()}


def voxels(case_id: str) -> np.ndarray:
    return phantoms.voxels(nifti.read_volume(OUT / f"volumes/{case_id}.nii.gz"))


def shown(capfd: pytest.CaptureFixture[str], *command: str) -> str:
    capfd.readouterr()
    main.main(command)
    return capfd.readouterr().out


def inspected(capfd: pytest.CaptureFixture[str], *command: str) -> set[str]:
    """The case ids that inspect shows."""
    *lines, _ = shown(capfd, "inspect", *(command or [str(RAW)])).splitlines()
    return {re.split(" {2,}", line)[0] for line in lines[1:]}


def two_sessions(folder: Path, patient: str, seed: int, **elements: Any) -> None:
    """Two studies of one patient in one folder: the later one, of `seed`, before the earlier one, of `seed` + 1."""
    put(folder, patient, seed, **LATE, **elements)
    put(folder, patient, seed + 1, **EARLY, **elements)


def test_each_session_is_a_case_in_the_fold_of_its_patient(capfd: pytest.CaptureFixture[str]) -> None:
    two_sessions(RAW / "00001/FLAIR", "p1", 10)
    two_sessions(RAW / "00002/FLAIR", "", 20)  # whose patient id was removed
    for number in range(3, 9):
        put(RAW / f"0000{number}/FLAIR", f"p{number}", number)
    Path("data/raw/train_labels.csv").write_text(
        "BraTS21ID,MGMT_value\n" + "".join(f"0000{number},{number % 2}\n" for number in range(1, 9))
    )
    choose(session="each")
    assert inspected(capfd) == {"00001_1", "00001_2", "00002_1", "00002_2", *(f"0000{n}" for n in range(3, 9))}
    assert set(outcomes().values()) == {"ok"}
    for case_id, seed in {"00001_1": 11, "00001_2": 10, "00002_1": 21, "00002_2": 20, "00003": 3}.items():
        np.testing.assert_array_equal(voxels(case_id), brain(seed))
    assert {row["case_id"]: row["session"] for row in rows() if row["session"]} == {
        **{"00001_1": "1", "00001_2": "2", "00002_1": "1", "00002_2": "2"}
    }
    balance.main()
    report = json.loads(Path("reports/balance.json").read_text())
    assert (report["overall"]["cases"], report["unlabelled"], report["without_scan"]) == (10, [], [])
    split.main()
    table = {row["case_id"]: row for row in rows("split/split")}
    assert len(table) == 10
    for patient in ("00001", "00002"):
        both = [table[f"{patient}_{session}"] for session in (1, 2)]
        assert {(row["label"], row["group"]) for row in both} == {(str(int(patient) % 2), f"{patient}_1")}
        assert len({row["fold"] for row in both}) == 1


@pytest.mark.slow
def test_row_of_a_session_comes_before_that_of_its_patient_and_an_empty_group_keeps_sessions_together() -> None:
    two_sessions(RAW / "a/FLAIR", "", 10)
    two_sessions(RAW / "b/FLAIR", "", 20)
    for number in range(3, 9):
        put(RAW / f"{number}/FLAIR", f"p{number}", number)
    others = "".join(f"{number},{number % 2},site\n"[:-6] + "\n" for number in range(3, 9))
    Path("data/raw/train_labels.csv").write_text(f"BraTS21ID,MGMT_value,site\na,1,\na_2,0,\nb,1,\nb_1,,\n{others}")
    write_params(
        Path(), ingest={"max_failed": 1, "min_slices": 6, "session": "each"}, split={"folds": 2, "group_column": "site"}
    )
    ingest.main()
    split.main()
    table = {row["case_id"]: row for row in rows("split/split")}
    assert {case: row["label"] for case, row in table.items() if case[0] in "ab"} == {
        "a_1": "1",
        "a_2": "0",
        "b_2": "1",
    }
    assert table["a_1"]["group"] == table["a_2"]["group"] == "a_1"


@pytest.mark.parametrize(("session", "seed"), [("first", 11), ("last", 10)])
def test_first_and_last_are_by_date_and_leave_other_cases_alone(session: str, seed: int) -> None:
    two_sessions(RAW / "a/FLAIR", "p1", 10)
    put(RAW / "b/FLAIR", "p2", 30)
    choose(session=session)
    assert outcomes() == {"a": "ok", "b": "ok"}
    np.testing.assert_array_equal(voxels("a"), brain(seed))
    verdicts = {row["session"]: row["verdict"] for row in rows("ingest/series") if row["case_id"] == "a"}
    assert (
        verdicts == {"1": "read", "2": "another session"}
        if session == "first"
        else {**{"1": "another session", "2": "read"}}
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({}, {}),
        ({"StudyDate": "20190101"}, {}),
        ({"StudyDate": "20190101"}, {"StudyDate": "20190101", "StudyTime": "120000"}),
        ({"StudyDate": "20190101", "StudyTime": "1200"}, {"StudyDate": "20190101", "StudyTime": "120000"}),
    ],
)
def test_first_is_refused_where_nothing_tells_the_order_and_each_is_not(
    one: dict[str, str], other: dict[str, str]
) -> None:
    put(RAW / "a/FLAIR", "p1", 10, **one)
    put(RAW / "a/FLAIR", "p1", 11, **other)
    choose(session="first")
    assert outcomes() == {"a": "AMBIGUOUS_SERIES"}
    choose(session="each")
    assert outcomes() == {"a_1": "ok", "a_2": "ok"}


@pytest.mark.slow
@pytest.mark.parametrize("session", ["first", "last", "each"])
def test_two_people_in_one_folder_are_no_sessions(session: str) -> None:
    put(RAW / "a/FLAIR", "p1", 10, **LATE)
    put(RAW / "a/FLAIR", "p2", 11, **EARLY)
    choose(session=session)
    assert outcomes() == {"a": "AMBIGUOUS_SERIES"}


def picks_of(message: str) -> list[Any]:
    """The values of ingest.pick that a message names, as YAML reads them."""
    return [YAML(typ="safe", pure=True).load(text) for text in re.findall(r'\{"[^"]+": \d+\}', message)]


@pytest.mark.parametrize("elements", [pytest.param({}, marks=SLOW), {"SeriesNumber": 5}])
@pytest.mark.parametrize("study", [{}, pytest.param({"StudyInstanceUID": "1.2.9"}, marks=SLOW)])
def test_remedies_of_the_message_work_word_by_word(
    elements: dict[str, Any], study: dict[str, str], capfd: pytest.CaptureFixture[str]
) -> None:
    """Two series of one study or of two, whose Series Numbers are absent or the same."""
    put(RAW / "00001/FLAIR/x", "p1", 10, **elements, **study)
    put(RAW / "00001/FLAIR/y", "p1", 11, **elements, **study)
    choose()
    assert outcomes() == {"00001": "AMBIGUOUS_SERIES"}
    (row,) = rows()
    [command] = re.findall(r"flairprep (who \S+ --files)", row["message"])
    lines = shown(capfd, *command.split()).splitlines()
    places = [re.match(r"series (\d+) .*: (.*)$", line) for line in lines[1:]]
    assert lines[0] == "p1"
    folder_of = {int(place[1]): place[2] for place in places if place}
    picks = picks_of(row["message"])
    assert [pick["00001"] for pick in picks] == sorted(folder_of)
    assert ("ingest.session: first" in row["message"]) == (not study)
    for pick in picks:
        choose(pick=pick)
        assert [fault for fault in check.check() if "pick" in fault] == []
        assert outcomes() == {"00001": "ok"}
        seed = {"x": 10, "y": 11}[Path(folder_of[pick["00001"]]).name]
        np.testing.assert_array_equal(voxels("00001"), brain(seed))


def test_picked_series_of_another_kind_is_read_with_a_warning() -> None:
    put(RAW / "a/x", "p1", 10, SeriesDescription="head", InversionTime=None, EchoTime=None, SeriesNumber=4)
    put_key()
    case_id = pseudonym("p1")
    assert outcomes() == {case_id: "NO_SERIES"}
    choose(pick={case_id: 4})
    assert outcomes() == {case_id: "OTHER_SEQUENCE"}
    np.testing.assert_array_equal(voxels(case_id), brain(10))


def test_unknown_number_and_unknown_case_are_refused_by_check_and_ingest() -> None:
    put(RAW / "00001/FLAIR", "p1", 10, SeriesNumber=5)
    choose(pick={"00001": 6})
    assert outcomes() == {"00001": "NO_SERIES"}
    assert '{"00001": 6}' in rows()[0]["message"]
    assert "series 5" in rows()[0]["message"]
    assert [fault for fault in check.check() if '{"00001": 6}' in fault and "series 5" in fault]
    choose(pick={"00002": 5})
    assert [fault for fault in check.check() if '{"00002": 5}' in fault and "'00001'" in fault]
    with pytest.raises(FlairprepError, match=r'ingest\.pick: \{"00002": 5\}.*00001'):
        ingest.main()


@pytest.mark.parametrize("kind", [pytest.param("", marks=SLOW), ".zip", pytest.param(".tar.gz", marks=SLOW)])
def test_export_of_several_patients_has_sessions_as_folder_and_as_archive(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    two_sessions(RAW / "x/one", "p1", 10)
    put(RAW / "x/two", "p2", 30)
    if kind:
        archived.replace_folder(RAW / "x", kind)
    put_key()
    choose(session="each")
    first, last, other = f"{pseudonym('p1')}_1", f"{pseudonym('p1')}_2", pseudonym("p2")
    assert outcomes() == dict.fromkeys(sorted([first, last, other]), "ok")
    assert inspected(capfd) == {first, last, other}
    for case_id, seed in {first: 11, last: 10, other: 30}.items():
        np.testing.assert_array_equal(voxels(case_id), brain(seed))
    Path("data/raw/train_labels.csv").write_text("BraTS21ID,MGMT_value\np1,1\np2,0\n")
    balance.main()
    assert json.loads(Path("reports/balance.json").read_text())["overall"]["label_1"] == 2


@pytest.mark.parametrize("inside", ["", pytest.param("FLAIR/", marks=SLOW), pytest.param("deep/FLAIR/", marks=SLOW)])
def test_archive_of_a_case_has_sessions_and_inspect_takes_it_as_its_path(
    inside: str, capfd: pytest.CaptureFixture[str]
) -> None:
    two_sessions(RAW / "00001", "p1", 10)
    packed = archived.replace_folder(RAW / "00001", ".zip", inside)
    assert inspected(capfd, str(packed)) == {"00001"}
    assert str(packed) in shown(capfd, "inspect", str(packed), "--files")
    choose(session="each")
    assert inspected(capfd, str(packed)) == {"00001_1", "00001_2"}
    assert outcomes() == {"00001_1": "ok", "00001_2": "ok"}
    np.testing.assert_array_equal(voxels("00001_1"), brain(11))
    assert shown(capfd, "who", "00001_2", "--files").splitlines()[0] == "p1"


def put_scan(name: str, seed: int) -> np.ndarray:
    """Write a NIfTI scan; return its voxels (x, y, z)."""
    path = RAW / name
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.ascontiguousarray(brain(seed, 8).T)
    image = nib.Nifti1Image(values, np.diag([-1, -1, 1, 1]))
    image.set_qform(image.affine, 1)
    nib.save(image, path)
    return values


@pytest.mark.parametrize("name", ["{0}/ses-{1}/anat/{0}_ses-{1}_FLAIR.nii.gz", "{0}/ses-{1}/FLAIR.nii.gz"])
def test_sessions_of_nifti_are_in_the_order_of_their_names(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    scans = {session: put_scan(name.format("sub-01", session), int(session)) for session in ("10", "2")}
    scans["1"] = put_scan(name.format("sub-02", "1"), 1)
    choose()
    assert outcomes() == {"sub-01": "AMBIGUOUS_SERIES", "sub-02": "ok"}
    assert len(picks_of(rows()[0]["message"])) == 2
    choose(session="last")
    assert outcomes() == {"sub-01": "ok", "sub-02": "ok"}
    np.testing.assert_array_equal(nib.load(OUT / "volumes/sub-01.nii.gz").dataobj, scans["10"])
    choose(session="each")
    assert outcomes() == {"sub-01_1": "ok", "sub-01_2": "ok", "sub-02": "ok"}
    assert inspected(capfd) == {"sub-01_1", "sub-01_2", "sub-02"}
    for case_id, session in {"sub-01_1": "2", "sub-01_2": "10", "sub-02": "1"}.items():
        np.testing.assert_array_equal(nib.load(OUT / f"volumes/{case_id}.nii.gz").dataobj, scans[session])
    same = {row["case_id"]: row["patient"] for row in rows("ingest/same_as")}
    assert same == {"sub-01_1": "sub-01_1", "sub-01_2": "sub-01_1", "sub-02": "sub-02"}


@pytest.mark.slow
def test_damaged_file_fails_the_session_beside_it_or_both_in_one_folder() -> None:
    for case, places in {"a": ("x", "y"), "b": ("x", "x")}.items():
        paths = [
            put(RAW / case / "FLAIR" / place, case, seed, values=brain(seed, 8), **date)[-1]
            for place, seed, date in zip(places, (10, 11), (EARLY, LATE), strict=True)
        ]
        damage(paths[0])
    choose(session="each")
    assert outcomes() == {**{"a_1": "DECODE_FAILED", "a_2": "ok", "b_1": "DECODE_FAILED", "b_2": "DECODE_FAILED"}}


@pytest.mark.slow
def test_excluded_and_picked_patients_stay_whole_and_one_session_may_be_excluded() -> None:
    for seed, case in enumerate("abc", 1):
        two_sessions(RAW / case / "FLAIR", case, seed * 10, SeriesNumber=5)
    choose(session="each", exclude={"a": "dark", "c_1": "moved"}, pick={"b": 100005})
    assert outcomes() == {"a": "EXCLUDED", "b": "ok", "c_1": "EXCLUDED", "c_2": "ok"}


def test_session_whose_id_another_case_has_is_refused() -> None:
    two_sessions(RAW / "a/FLAIR", "p1", 10)
    put(RAW / "a_1/FLAIR", "p2", 30)
    choose(session="each")
    with pytest.raises(FlairprepError, match=r"ingest\.session: each.*'a_1'"):
        ingest.main()


def test_tables_tell_sessions_apart_without_a_date_a_uid_or_a_place() -> None:
    two_sessions(RAW / "x", "p1", 10)
    put(RAW / "x/CANARY", "p1", 12, StudyInstanceUID="1.2.777", SeriesDescription="t2 tse", InversionTime=None)
    put_key()
    choose()
    assert outcomes() == {pseudonym("p1"): "AMBIGUOUS_SERIES"}
    content = (OUT / "series.csv").read_text()
    assert sorted(row["session"] for row in csv.DictReader(io.StringIO(content))) == ["", "1", "2"]
    written = content + (OUT / "cases.csv").read_text()
    assert [text for text in ("2019", "2020", "1.2.", "CANARY", "IM") if text in written] == []


@pytest.mark.slow
def test_columns_of_labels_go_by_their_own_names_in_stratify_by() -> None:
    for number in range(8):
        put(RAW / f"{number}/FLAIR", f"p{number}", number)
    table = "".join(f"{number},{number % 2},{number // 4}\n" for number in range(8))
    Path("data/raw/train_labels.csv").write_text(f"BraTS21ID,MGMT_value,site\n{table}")
    ingest.main()
    found = []
    for by in (["label", "site"], ["MGMT_value", "site"]):
        write_params(Path(), split={"folds": 2, "stratify_by": by})
        split.main()
        found.append(rows("split/split"))
    assert found[0] == found[1]
