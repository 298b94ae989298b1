"""Find the patient ids behind a case id."""

from pathlib import Path

from flairprep.core import params
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom.discovery import RawCase, find_cases
from flairprep.dicom.survey import survey_case
from flairprep.runner.map_cases import map_cases


def patients_of(case_id: str, dicom_dir: Path, sequence: str) -> list[str]:
    """Return the patient ids in the headers of a case's files, sorted.

    Raises:
        FlairprepError: see `find_cases`; or there is no such case, or none of its files can be read.
    """
    cases = {case.case_id: case for case in find_cases(dicom_dir, sequence)}
    if case_id not in cases:
        raise FlairprepError(f"{dicom_dir}: no case {case_id!r}; {params.suggest(case_id, tuple(cases)[:9])}")
    [patients] = map_cases(_patients, [cases[case_id]], "who", on_failure=lambda _, error: error)
    if isinstance(patients, CaseError):
        raise FlairprepError(f"case {case_id}: {patients.code}: {patients.message}")
    return patients


def _patients(case: RawCase) -> list[str] | CaseError:
    try:
        candidates = survey_case(case).candidates
    except CaseError as error:
        return error
    patients = sorted({header.patient for one in candidates for header in one.headers})
    return patients or CaseError(Code.NOT_DICOM, "none of its files can be read")
