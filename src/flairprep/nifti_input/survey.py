"""Survey the files of a case, DICOM, NIfTI or both; choose its series and read it.

NIfTI scans become candidates beside the DICOM series and are judged by the same rules. Where DICOM has the sequence,
it is read, since its headers tell more.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, field, replace
from pathlib import Path

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import archives, series
from flairprep.dicom import survey as dicom_survey
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.header import MODALITIES, PARTS, Header
from flairprep.dicom.series import CandidateSeries
from flairprep.dicom.survey import Survey
from flairprep.dicom.volume import SeriesVolume
from flairprep.nifti_input.members import Members
from flairprep.nifti_input.names import ScanName, patient_of, scan_name
from flairprep.nifti_input.reading import parts_of
from flairprep.nifti_input.sidecar import NUMBERS, Sidecar, read_sidecars, sidecars_of
from flairprep.nifti_input.volume import read_scan, voxels_path


@dataclass(frozen=True)
class ScanHeader(Header):
    """The header of a NIfTI scan, as that of a series of one file.

    columns: of cases.csv, from its sidecars. voxels: the file that holds them. volumes: how many it holds.
    """

    columns: dict[str, str] = field(default_factory=dict, compare=False)
    voxels: Path = field(default_factory=Path, compare=False)
    volumes: int = 1


def survey_case(case: RawCase, *, any_modality: bool = False) -> Survey:
    """Survey a case as `dicom.survey.survey_case` does; NIfTI scans of sequences that DICOM lacks are candidates.

    Raises:
        CaseError, FlairprepError: see `dicom.survey.survey_case`.
    """
    files = case.paths
    scans = scans_of(files)
    apart = {path for path in files if parts_of(path.name)[1] and not (path in scans and _may_be_dicom(path))}
    apart |= {path for path in files if scans and path.suffix == ".json"}
    others = tuple(file for file, path in zip(case.files, files, strict=True) if path not in apart)
    members = Members()
    surveyed = dicom_survey.survey_case(replace(case, files=others), any_modality=any_modality, beside=members.note)
    of_series = {path for one in surveyed.candidates for path in one.paths}
    inside = members.keep_inside(case.inner, (*of_series, *surveyed.damaged))
    paths = {*files, *members.paths} - of_series
    scans = [scan for scan in scans_of(sorted(paths)) if not (surveyed.candidates and _may_be_dicom(scan))]
    if not scans:
        return surveyed
    folder = case.inner if inside else case.folder
    candidates = _without_several(
        [_candidate(place, scan, case, folder, paths, members, any_modality) for place, scan in enumerate(scans, 1)]
    )
    of_dicom = {one.sequence for one in surveyed.candidates if one.sequence}
    kept = [one for one in candidates if one.sequence not in of_dicom]
    told = {*members.paths} - {scan for scan in members.paths if _may_be_dicom(scan) and scan not in scans}
    damaged = {path: error for path, error in surveyed.damaged.items() if path not in told}
    skipped = surveyed.foreign - len(told - {*surveyed.damaged}) + len(candidates) - len(kept)
    return Survey([*surveyed.candidates, *kept], damaged, max(0, skipped) if surveyed.candidates else 0)


def scans_of(paths: Sequence[Path]) -> list[Path]:
    """Return the files among `paths` that stand for a NIfTI scan each: .nii, .hdr, and .img without its .hdr."""
    parts = [(path, *parts_of(path.name)) for path in paths]
    headed = {(path.parent, stem) for path, stem, suffix in parts if suffix == ".hdr"}
    return [
        path
        for path, stem, suffix in parts
        if suffix in (".nii", ".hdr") or (suffix == ".img" and (path.parent, stem) not in headed)
    ]


def _without_several(candidates: list[CandidateSeries]) -> list[CandidateSeries]:
    """Return the candidates, those of several volumes with a fault where another one of their sequence is one volume.

    The others wait for `ingest.volume`, which the survey does not know.
    """
    one_volume = {one.sequence for one in candidates if not one.fault and _volumes(one) == 1}
    several = CaseError(Code.MULTIPLE_VOLUMES, "several volumes in one file")
    return [
        replace(one, fault=several) if not one.fault and _volumes(one) > 1 and one.sequence in one_volume else one
        for one in candidates
    ]


def _volumes(one: CandidateSeries) -> int:
    header = one.headers[0]
    return header.volumes if isinstance(header, ScanHeader) else 1


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
    with archives.loaded({header.path, header.voxels}):
        volume = read_scan(header.path, header.voxels, best.volume)
    columns = dict.fromkeys(dicom_survey.CASE_COLUMNS, "") | header.columns | volume.header
    return replace(volume, header=columns, identity=volume.identity | {"patient": header.patient})


def _candidate(
    place: int, scan: Path, case: RawCase, folder: str, paths: Set[Path], members: Members, any_modality: bool
) -> CandidateSeries:
    """Make the candidate of one scan, from its name, header and sidecars.

    folder: the sequence that names its folder. paths: of the case.
    """
    name = scan_name(scan, case.case_id)
    slices, volumes, holder, fault, sidecar = 0, 1, scan, None, Sidecar({})
    try:
        holder = voxels_path(scan, paths.__contains__)
        fields = members.header(scan)
        slices, volumes = fields.size[2], fields.volumes
        sidecar = read_sidecars(sidecars_of(scan, [path for path in paths if path.suffix == ".json"]), members.fields)
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
        voxels=holder,
        volumes=volumes,
    )
    if name.mask:
        title = f"series {place} (a mask)"
        return CandidateSeries(title, (header,), "", "", (), fault)
    [candidate] = series.group([header], name.sequence or folder)
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
