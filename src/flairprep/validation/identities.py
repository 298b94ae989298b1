"""Read who was scanned from the headers of a case, as pseudonyms under one secret for both cohorts."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flairprep.cohort.identity import pseudonymise
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.ingest_params import IngestParams
from flairprep.nifti_input import sessions
from flairprep.runner.result_cache import ResultCache

UID = re.compile(r"[0-9.]{10,64}")  # a study that DICOM names; that of NIfTI is a folder, the same in every data set
SERIAL = re.compile(r"[^0-9]{0,12}0*[0-9]{0,5}")  # 00002, sub-07, Patient 3: a number that every study gives


class Identity(NamedTuple):
    """Pseudonyms of a case's patient id and study, "" for none; serial: the id is a short running number."""

    patient: str = ""
    study: str = ""
    serial: bool = False


def identify(case: RawCase, *, params: IngestParams, secret: bytes) -> Identity:
    """Read the identity of the series that ingest reads; nothing of a case that fails there."""
    try:
        surveyed = sessions.survey(case, params.sequence)
        _, best, _ = sessions.choose(case, surveyed, params)
    except CaseError:
        return Identity()
    header = best.headers[0]
    plain = {"patient": header.patient, "study": header.study if UID.fullmatch(header.study) else ""}
    return Identity(**pseudonymise(plain, secret), serial=is_serial(header.patient))


def is_serial(patient: str) -> bool:
    """Return whether a patient id may be a running number, which two cohorts share by chance."""
    return bool(patient) and bool(SERIAL.fullmatch(patient))


def naming_nobody(values: Collection[str]) -> set[str]:
    """Return the values that name nobody: "" and what more than half of the cases have, as overwritten ids do."""
    counts = Counter(values)
    return {"", *(value for value, count in counts.items() if count > max(2, len(values) / 2))}


def patients_of(cases: Sequence[RawCase], identities: Mapping[str, Identity]) -> dict[str, str]:
    """Return the patient of each case by its id: a pseudonym, else the case itself, for sessions their patient's."""
    unknown = naming_nobody([identity.patient for identity in identities.values()])
    pseudonyms = {case: identity.patient for case, identity in identities.items() if identity.patient not in unknown}
    return {case.case_id: pseudonyms.get(case.case_id, case.patient or case.case_id) for case in cases}


def identities_of(cases: list[RawCase], params: IngestParams) -> dict[str, Identity]:
    """Return the identity of each case by its id, read in worker processes; known results come from the cache.

    With the result cache the secret is that of the cache, so that both cohorts and later runs share it.
    """
    cache = ResultCache("identities", __file__, params.model_dump(include={"sequence", "session"}))
    function = partial(identify, params=params, secret=_secret(cache))
    inputs = partial(sessions.inputs, params=params)
    found = cache.map(function, cases, inputs=inputs, on_failure=lambda *_: Identity())
    return dict(zip((case.case_id for case in cases), found, strict=True))


_SECRETS: list[bytes] = []  # of this process: without the cache each ResultCache would have one of its own


def _secret(cache: ResultCache) -> bytes:
    if not _SECRETS:
        _SECRETS.append(cache.secret)
    return _SECRETS[0]


def of_training(params: IngestParams, kept: Iterable[str]) -> dict[str, Identity] | None:
    """Return the identities of the training cohort's cases `kept`, None where their raw files are not here."""
    folder = Path(params.dicom_dir)
    if not folder.is_dir():
        return None
    try:
        cases = sessions.find_cases(params)
    except FlairprepError:
        return None  # the raw folder is no longer that of the run
    names = set(kept)
    return identities_of([case for case in cases if case.case_id in names], params)
