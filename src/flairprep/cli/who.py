"""Print the patient ids behind a case, and where the files of its series lie."""

import argparse
from functools import partial
from pathlib import Path

from flairprep.cli.check import ingest_section
from flairprep.cli.places import places_of
from flairprep.core import console, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.ingest_params import IngestParams
from flairprep.dicom.survey import Survey
from flairprep.nifti_input import discovery, sessions
from flairprep.nifti_input.survey import ScanHeader
from flairprep.runner.map_cases import map_cases


def run(options: argparse.Namespace) -> None:
    """Print one line per patient id of a case; with --files one per series, too.

    Raises:
        FlairprepError: see `find_cases`; or there is no such case, or none of its files can be read.
    """
    section: IngestParams = ingest_section()
    case = _find(options.case, section)
    [surveyed] = map_cases(partial(_look, sequence=section.sequence), [case], "who", on_failure=_lost)
    if isinstance(surveyed, CaseError):
        raise FlairprepError(f"case {case.case_id}: {surveyed.code}: {surveyed.message}")
    patients = sorted({header.patient for one in surveyed.candidates for header in one.headers})
    if not patients:
        raise FlairprepError(f"case {case.case_id}: NOT_DICOM: none of its files can be read")
    for patient in patients:
        console.say((patient if patient.isprintable() else ascii(patient)) or _nobody(surveyed))
    if options.files:
        for one in surveyed.candidates:
            session = f", session {one.session}" if one.session else ""
            console.say(f"{one.title}{session}, {console.plural(one.slices, 'slice')}: {places_of(one)}")


def _nobody(surveyed: Survey) -> str:
    """Return what to print where no file names the patient."""
    if all(isinstance(header, ScanHeader) for one in surveyed.candidates for header in one.headers):
        return "(no patient id: NIfTI files name none; the id of the case is all there is)"
    return "(no patient id)"


def _find(case_id: str, section: IngestParams) -> RawCase:
    """Return a case by its id: of a whole patient, or of one session."""
    dicom_dir = Path(section.dicom_dir)
    whole = {case.case_id: case for case in discovery.find_cases(dicom_dir, section.sequence)}
    patient = case_id.rpartition("_")[0]
    if case_id not in whole and patient in whole:
        parts = sessions.split_sessions([whole[patient]], section, dicom_dir)
        whole |= {case.case_id: case for case in parts}
    if case_id not in whole:
        raise FlairprepError(f"{dicom_dir}: no case {case_id!r}; {params.suggest(case_id, tuple(whole)[:9])}")
    return whole[case_id]


def _lost(_: RawCase, error: CaseError) -> CaseError:
    return error


def _look(case: RawCase, *, sequence: str) -> Survey | CaseError:
    try:
        return sessions.survey(case, sequence)
    except CaseError as error:
        return error
