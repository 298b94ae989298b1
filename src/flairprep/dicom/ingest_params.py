"""The section `ingest` of params.yaml, which the stage and the commands that look at raw scans read."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from flairprep.core import params
from flairprep.dicom.classify import MRSequence
from flairprep.dicom.copies import Volume
from flairprep.dicom.sessions import Session


def _quoted(case_id: Any) -> Any:
    """Refuse a case id that YAML read as a number, which has lost its zeros."""
    if isinstance(case_id, int) and not isinstance(case_id, bool):
        raise ValueError(f'{case_id}: put quotes around a case id of digits, with its zeros, as in {{"00002": ...}}')
    return case_id


CaseId = Annotated[str, BeforeValidator(_quoted)]


class IngestParams(params.Section):
    """Section `ingest` of params.yaml."""

    dicom_dir: params.InsidePath
    """`CASE/FLAIR/*`, NIfTI files, or an export of any folders; see [your own data](own-data.md#two-layouts)."""
    sequence: MRSequence
    """Which series of a case is read."""
    exclude: dict[CaseId, str]
    """Known bad cases, id: reason."""
    pick: dict[CaseId, Annotated[int, Field(ge=0)]]
    """Which series of a case is read, id: number as `flairprep inspect` shows it; see
    [several series](own-data.md#several-series-or-sessions-per-case)."""
    session: Session | None
    """Which of several sessions of a patient is read, by date: first, last, or each as a case of its own, PATIENT_1 and
    so on; null: such a case fails."""
    max_failed: float = Field(ge=0, le=1)
    """Largest share of the cases that may fail, excluded ones aside."""
    min_slices: int = Field(ge=1)
    """A series with fewer slices fails."""
    volume: Volume | None
    """Which of several volumes at the same positions is read (echoes, time points, copies); null: such a series
    fails."""
