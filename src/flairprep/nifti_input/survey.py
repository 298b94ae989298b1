"""Survey the files of a case, DICOM, NIfTI or both; choose its series and read it.

NIfTI scans become candidates beside the DICOM series and are judged by the same rules. Where DICOM has the sequence,
it is read, since its headers tell more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import series
from flairprep.dicom import survey as dicom_survey
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.header import MODALITIES, PARTS, Header
from flairprep.dicom.series import CandidateSeries
from flairprep.dicom.survey import Survey
from flairprep.dicom.volume import SeriesVolume
from flairprep.nifti_input.names import ScanName, patient_of, scan_name
from flairprep.nifti_input.reading import parts_of, read_header
from flairprep.nifti_input.sidecar import NUMBERS, Sidecar, read_sidecars, sidecars_of
from flairprep.nifti_input.volume import read_scan, voxels_path


@dataclass(frozen=True)
class ScanHeader(Header):
    """The header of a NIfTI scan, as that of a series of one file; columns: of cases.csv, from its sidecars."""

    columns: dict[str, str] = field(default_factory=dict, compare=False)


def survey_case(case: RawCase, *, any_modality: bool = False) -> Survey:
    """Survey a case as `dicom.survey.survey_case` does; NIfTI scans of sequences that DICOM lacks are candidates.

    Raises:
        CaseError, FlairprepError: see `dicom.survey.survey_case`.
    """
    scans = scans_of(case.paths)
    if not scans:
        return dicom_survey.survey_case(case, any_modality=any_modality)
    sidecars = [path for path in case.paths if path.suffix == ".json"]
    apart = {path for path in case.paths if parts_of(path.name)[1] and not (path in scans and _may_be_dicom(path))}
    others = tuple(str(path) for path in case.paths if path not in apart and path not in sidecars)
    surveyed = dicom_survey.survey_case(replace(case, files=others), any_modality=any_modality)
    if surveyed.candidates:
        scans = [scan for scan in scans if not _may_be_dicom(scan)]
    candidates = [
        _candidate(place, scan, case, sidecars_of(scan, sidecars), any_modality) for place, scan in enumerate(scans, 1)
    ]
    of_dicom = {one.sequence for one in surveyed.candidates if one.sequence}
    kept = [one for one in candidates if one.sequence not in of_dicom]
    foreign = surveyed.foreign + len(candidates) - len(kept) if surveyed.candidates else 0
    return Survey([*surveyed.candidates, *kept], surveyed.damaged, foreign)


def scans_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files among `paths` that stand for a NIfTI scan each: .nii, .hdr, and .img without its .hdr."""
    parts = [(path, *parts_of(path.name)) for path in paths]
    headed = {(path.parent, stem) for path, stem, suffix in parts if suffix == ".hdr"}
    return [
        path
        for path, stem, suffix in parts
        if suffix in (".nii", ".hdr") or (suffix == ".img" and (path.parent, stem) not in headed)
    ]


def _may_be_dicom(path: Path) -> bool:
    """Return whether a file is called .img, as DICOM files are, too; that of an .hdr is none."""
    return parts_of(path.name)[1] == ".img"


def choose_series(case: RawCase, survey: Survey, sequence: str) -> tuple[CandidateSeries, list[tuple[Code, str]]]:
    """Choose the series to read as `dicom.survey.choose_series` does, but one of several NIfTI scans only by its name.

    How many slices a NIfTI file has says little: it may have been resampled.

    Raises:
        CaseError: see `dicom.survey.choose_series`.
    """
    best, notes = dicom_survey.choose_series(case, survey, sequence)
    if isinstance(best.headers[0], ScanHeader):
        equal = [one.title for one in survey.candidates if one.sequence == sequence and one.rank[:3] == best.rank[:3]]
        if len(equal) > 1:
            raise CaseError(Code.AMBIGUOUS_SERIES, f"{len(equal)} NIfTI files are {sequence}, equally good by name")
    return best, notes


def read_candidate(best: CandidateSeries) -> SeriesVolume:
    """Read the volume of a candidate.

    Raises:
        CaseError: its fault; see `dicom.survey.read_candidate` and `volume.read_scan`.
    """
    header = best.headers[0]
    if best.fault or not isinstance(header, ScanHeader):
        return dicom_survey.read_candidate(best)
    volume = read_scan(header.path)
    columns = dict.fromkeys(dicom_survey.CASE_COLUMNS, "") | header.columns | volume.header
    return replace(volume, header=columns, identity=volume.identity | {"patient": header.patient})


def _candidate(place: int, scan: Path, case: RawCase, sidecars: Sequence[Path], any_modality: bool) -> CandidateSeries:
    """Make the candidate of one scan, from its name, header and sidecars."""
    name = scan_name(scan, case.case_id)
    slices, fault, sidecar = 0, None, Sidecar({})
    try:
        voxels_path(scan)
        slices = read_header(scan).size[2]
        sidecar = read_sidecars(sidecars)
        fault = _fault(sidecar, name, any_modality)
    except CaseError as error:
        fault = error
    times = {field: sidecar.number(field) for field in NUMBERS}
    inversion = times["InversionTime"]
    header = ScanHeader(
        path=scan,
        patient=patient_of(case.case_id),
        study=name.session,
        series=str(scan),
        names=("", name.words, *sidecar.names) if not name.mask else ("",),
        number=place,
        fault=fault,
        frames=max(1, slices),
        image_type=sidecar.words("ImageType") | ({"DERIVED"} if name.processed else set()),
        scanning=frozenset(),
        acquisition_contrast="",
        volumetric=sidecar.text("MRAcquisitionType") == "3D",
        contrast_agent=name.contrast or sidecar.contrast_agent,
        echo_time=times["EchoTime"],
        repetition_time=times["RepetitionTime"],
        inversion_times=() if inversion is None else (inversion,),
        columns=sidecar.columns | ({"contrast_agent": "yes"} if name.contrast else {}),
    )
    if name.mask:
        title = f"series {place} (a mask)"
        return CandidateSeries(title, (header,), "", "", (), fault)
    [candidate] = series.group([header], name.sequence or case.folder)
    return candidate


def _fault(sidecar: Sidecar, name: ScanName, any_modality: bool) -> CaseError | None:
    """Return why the sidecar or the name rules a scan out as a magnitude of MR; None where they do not."""
    modality = sidecar.text("Modality")
    if modality not in ("", "MR") and not any_modality:
        return CaseError(Code.NOT_MR, f"modality {modality if modality in MODALITIES else 'other'}")
    if name.part or sidecar.words("ImageType") & PARTS:
        return CaseError(Code.NOT_MAGNITUDE, "a phase, real or imaginary image, not a magnitude")
    if sidecar.text("BurnedInAnnotation").upper() == "YES":
        return CaseError(Code.BURNED_IN, "text is burned into the pixels and may name the patient")
    return None
