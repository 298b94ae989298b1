"""One case through all steps gives the tensor that the stages give, whatever kind of input holds it."""

import os
from pathlib import Path
from typing import Any

import archived
import numpy as np
import phantoms
import psutil
import pytest
import SimpleITK as sitk
from workspace import in_this_process, write_params

from flairprep.core import params
from flairprep.core.outcomes import Status
from flairprep.core.tables import read_rows
from flairprep.dicom.discovery import RawCase
from flairprep.imaging import nifti
from flairprep.inference import preprocess
from flairprep.inference.preprocess import Steps, network_input, preprocess_cases, steps_of
from flairprep.inference.scans import cases_at
from flairprep.runner import result_cache
from flairprep.stages import export, ingest, normalize, select_slices

RAW = Path("data/raw/train")
KEY = bytes(range(32))
SETTINGS: dict[str, dict[str, Any]] = {"ingest": {"max_failed": 1}, "select_slices": {"count": 6, "size": 16}}
OBLIQUE = (0.9950042, 0.0998334, 0.0, -0.0998334, 0.9950042, 0.0)  # a head turned by a tenth of a radian


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the current folder, whose cases run in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    write_params(tmp_path, **SETTINGS)
    return tmp_path


def put(folder: Path, case: int, **elements: Any) -> None:
    """A skull-stripped head that lies askew, so that the geometry is no whole number."""
    values = np.pad(np.random.default_rng(case).integers(300, 999, (10, 14, 12)), ((1, 1), (3, 3), (3, 3)))
    own = {
        **{"PatientID": f"patient {case}", "StudyInstanceUID": f"1.2.{case}", "SeriesInstanceUID": f"1.2.{case}.1"},
        **{"SeriesDescription": "ax flair", "EchoTime": 90, "InversionTime": 2500, "RepetitionTime": 9000},
    }
    series = phantoms.slices(
        values.astype(np.int16),
        spacing=(2.7, 1.03, 1.03),
        orientation=OBLIQUE,
        origin=(-7.3, 9.1, 3.7),
        **own | elements,
    )
    phantoms.save(series, folder, seed=case)


def by_the_stages() -> dict[str, tuple[str, np.ndarray | None]]:
    """Case id -> code, and the tensor of data/select_slices, by the stages' own main functions."""
    for stage in (ingest, normalize, select_slices):
        stage.main()
    made = {}
    for row in read_rows(Path("data/select_slices/cases.csv")):
        file = Path(f"data/select_slices/{row['case_id']}.nii.gz")
        image = export.tensor(nifti.read_volume(file)).astype(np.float32) if file.is_file() else None
        made[row["case_id"]] = (row["code"], image)
    return made


def test_what_params_say_of_single_cases_is_no_other_preprocessing_and_stays_with_their_folder(project: Path) -> None:
    whole = steps_of(params.read_params())
    write_params(project, **SETTINGS | {"ingest": {"max_failed": 0.5, "exclude": {"1": "x"}, "pick": {"00002": 1}}})
    single = steps_of(params.read_params())
    assert single.decisive == whole.decisive
    assert single.applied_to(RAW).ingest.pick == {"00002": 1}
    assert single.applied_to(Path("elsewhere")).ingest.pick == {}
    write_params(project, **SETTINGS | {"ingest": {"session": "last"}})
    assert steps_of(params.read_params()).decisive != whole.decisive


def by_one_pass(path: Path, key: bytes | None = None) -> dict[str, tuple[str, np.ndarray | None]]:
    steps = steps_of(params.read_params())
    cases, folder = cases_at(path, steps.ingest.sequence, key)
    return {
        outcome.case_id: (outcome.code, None if volume is None else network_input(volume))
        for outcome, volume in preprocess_cases(cases, steps.applied_to(folder))
    }


def same(one: dict[str, tuple[str, np.ndarray | None]], other: dict[str, tuple[str, np.ndarray | None]]) -> None:
    """Compare the tensors bit by bit, and the codes of the cases without one."""
    assert list(one) == list(other)
    for case_id, (code, image) in one.items():
        assert (image is None) == (other[case_id][1] is None)
        if image is None:
            assert code == other[case_id][0]
        else:
            np.testing.assert_array_equal(image, other[case_id][1])


def as_folders() -> None:
    for case in (1, 2, 3):
        put(RAW / f"{case:05d}/FLAIR", case)


def as_archives() -> None:
    as_folders()
    for case in ("00001", "00002", "00003"):
        archived.replace_folder(RAW / case, ".zip")


def as_nifti() -> None:
    as_folders()
    ingest.main()
    for case in ("00001", "00002", "00003"):
        for file in (RAW / case / "FLAIR").iterdir():
            file.unlink()
        (RAW / case / "FLAIR").rmdir()
        image = sitk.Cast(sitk.ReadImage(f"data/ingest/volumes/{case}.nii.gz"), sitk.sitkFloat64)
        sitk.WriteImage(image + 0.25, str(RAW / case / f"{case}_flair.nii"))


def as_export() -> None:
    for case in (1, 2, 3):
        put(RAW / f"study/{case}", case)
    (RAW / "flairprep.key").write_text(KEY.hex() + "\n")


SLOW = [pytest.param(write, marks=pytest.mark.slow) for write in (as_archives, as_nifti, as_export)]


@pytest.mark.parametrize("write", [as_folders, *SLOW], ids=lambda write: write.__name__)
def test_every_kind_of_input_gives_the_tensors_of_the_stages(project: Path, write: Any) -> None:
    write()
    made = by_one_pass(RAW)
    assert sum(image is not None for _, image in made.values()) == 3
    assert all(image.dtype == np.float32 and image.shape == (6, 16, 16, 1) for _, image in made.values())
    same(made, by_the_stages())


def test_one_case_alone_gives_the_tensor_that_it_has_in_its_cohort(project: Path) -> None:
    as_folders()
    expected = by_the_stages()["00002"]
    for path in (RAW / "00002", RAW / "00002/FLAIR"):
        same(by_one_pass(path), {"00002": expected})
    archived.replace_folder(RAW / "00002", ".tar.gz")
    same(by_one_pass(RAW / "00002.tar.gz"), {"00002": expected})


@pytest.mark.slow
def test_export_gets_its_ids_from_the_projects_key_where_it_has_none(project: Path) -> None:
    as_export()
    with_key = by_one_pass(RAW)
    (RAW / "flairprep.key").unlink()
    same(by_one_pass(RAW, KEY), with_key)
    same(dict(enumerate(by_one_pass(RAW).values())), dict(enumerate(_by_patient(with_key))))


def _by_patient(made: dict[str, Any]) -> list[Any]:
    """The results in the order of the patient ids, which the pseudonyms do not keep."""
    from flairprep.cohort.case_ids import pseudonym

    return [made[pseudonym(f"patient {case}", KEY)] for case in (1, 2, 3)]


def test_what_fails_has_the_code_that_the_stages_give(project: Path) -> None:
    put(RAW / "00001/FLAIR", 1)
    put(RAW / "00002/T1w", 2)  # NO_SERIES, by ingest
    few = np.pad(np.random.default_rng(0).integers(1, 9, (10, 2, 2)), 1).astype(np.int16)  # EMPTY_FOREGROUND
    phantoms.save(phantoms.slices(few), RAW / "00003/FLAIR")
    write_params(project, **SETTINGS | {"ingest": {"max_failed": 1, "exclude": {"00004": "dark"}}})
    put(RAW / "00004/FLAIR", 4)
    made = by_one_pass(RAW)
    same(made, by_the_stages())
    assert made["00004"][0] == "EXCLUDED"
    RAW.rename("elsewhere")  # where the case of this name is another one
    assert by_one_pass(Path("elsewhere"))["00004"][1] is not None


@pytest.mark.slow
def test_values_that_float16_cannot_hold_fail(project: Path) -> None:
    put(RAW / "00001/FLAIR", 1, RescaleSlope=100, RescaleIntercept=0)
    write_params(project, **SETTINGS, normalize={"intensity": "none"})
    assert by_one_pass(RAW) == {"00001": ("OUT_OF_RANGE", None)}


@pytest.mark.slow
def test_cached_results_are_taken_and_other_params_are_not(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    as_folders()
    monkeypatch.setenv("FLAIRPREP_CACHE", str(project / "store"))
    ran: list[str] = []
    whole = preprocess.ingest.ingest

    def counted(case: RawCase, **options: Any) -> Any:
        ran.append(case.case_id)
        return whole(case, **options)

    def serial(function: Any, items: Any, *_: Any, **__: Any) -> Any:
        yield from map(function, items)

    monkeypatch.setattr(preprocess.ingest, "ingest", counted)
    monkeypatch.setattr(result_cache, "run_cases", serial)
    first = by_one_pass(RAW)
    assert ran == ["00001", "00002", "00003"]
    same(by_one_pass(RAW), first)
    assert len(ran) == 3
    write_params(project, **SETTINGS, normalize={"clip": 1.5})
    assert len(by_one_pass(RAW)) == 3
    assert len(ran) == 6
    write_params(project, **SETTINGS | {"ingest": {"max_failed": 0.5}})
    by_one_pass(RAW)
    assert len(ran) == 6


PEAK = "VmHWM"


def peaks(count: int) -> tuple[int, int, list[int]]:
    """The number of cases, and the peak memory in kB of this process's workers while `count` cases pass."""
    case = RawCase("00001", tuple(str(file) for file in sorted((RAW / "00001/FLAIR").iterdir())), "FLAIR")
    cases = [RawCase(f"{number:05d}", case.files, "FLAIR") for number in range(count)]
    steps: Steps = steps_of(params.read_params()).applied_to(RAW)
    alive, done, held = 0, 0, []
    for outcome, volume in preprocess_cases(cases, steps):
        assert outcome.status is not Status.FAILED
        assert volume is not None
        done += 1
        if done == count:
            held = [_peak(child.pid) for child in psutil.Process().children(recursive=True)]
        alive = max(alive, _volumes_under(Path(os.environ["TMPDIR"])))
    return done, alive, held


def _volumes_under(folder: Path) -> int:
    """Count the volumes, while workers remove folders: os.walk passes over one that has gone, as rglob does not."""
    return sum(file.endswith(".nii.gz") for _, _, files in os.walk(folder) for file in files)


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(PEAK)).split()[1])


@pytest.mark.slow
def test_memory_and_disk_do_not_grow_with_the_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "2")
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", None)
    write_params(tmp_path, **SETTINGS)
    put(RAW / "00001/FLAIR", 1)
    few, waiting, held = peaks(20)
    many, waiting_of_many, held_of_many = peaks(200)
    assert (few, many) == (20, 200)
    assert waiting_of_many <= waiting + 4
    assert max(held_of_many) <= 1.2 * max(held)
    assert not list((tmp_path / "tmp").iterdir())
