"""DICOM files opened, and what their headers say: nothing in them is trusted, none of their text leaves the process.

Reading never raises what a damaged file makes pydicom raise, only a CaseError. Modules and elements: DICOM PS3.3.
"""

import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import filereader
from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.elements import (
    find,
    first,
    levels,
    number_of_frames,
    patient_id,
    plausible_number,
    text,
    value,
    values_of,
    words_of,
)
from flairprep.dicom.reading import Opened, check_end, open_file, read_dataset, stop_before, undamaged

logging.getLogger("pydicom").disabled = True  # it quotes values, which may identify a patient
LONGEST_NAME = 200  # characters of a description that are looked at; the standard allows 64
MAX_LENGTH = 32767  # voxels along one axis: NIfTI-1 counts them in 16 bits
MAX_VOXELS = 2**27  # of one volume: 512 x 512 x 512
NO_IMAGES = re.compile(  # SOP classes without pixels: presentation states, raw data, reports, documents
    r"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(11\.|66|88\.|104\.)"
)
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # and its multi-frame kinds below it
MODALITIES = {"CR", "CT", "DX", "KO", "MG", "NM", "OT", "PR", "PT", "RF", "SC", "SEG", "SR", "US", "XA"}
NO_AGENT = {"", "NO", "NONE", "N", "0", "-", "N/A", "NA", "NIL", "OHNE"}
PARTS = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}  # of a complex image, beside the magnitude
MANUFACTURERS = {  # the start of the header's text, lower case -> the name that leaves the raw folder
    "siemens": "siemens",
    "philips": "philips",
    "ge ": "ge",
    "ge_": "ge",
    "general electric": "ge",
    "toshiba": "canon",
    "canon": "canon",
    "hitachi": "hitachi",
    "fujifilm": "hitachi",
    "hyperfine": "hyperfine",
    "united imaging": "united imaging",
    "uih": "united imaging",
}


@dataclass(frozen=True)
class Header:
    """What one file says of itself. Text that may identify a patient (patient to names) stays inside the process.

    fault: why it can be no slice of a volume. frames: how many slices it holds, 0 where it is no image. number: of the
    series. names: of its folder, series, protocol and pulse sequence, lower case. Times are in ms, None or () where
    they are not given (or zero, which scanners write for "none").
    """

    path: Path
    patient: str
    study: str
    series: str
    names: tuple[str, ...]
    number: int | None
    fault: CaseError | None
    frames: int
    image_type: frozenset[str]
    scanning: frozenset[str]
    acquisition_contrast: str
    volumetric: bool
    contrast_agent: bool
    echo_time: float | None
    repetition_time: float | None
    inversion_times: tuple[float, ...]
    opened: "Opened | None" = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another process: the fields, without the data set."""
        return self.__dict__ | {"opened": None}


def read_header(path: Path, *, any_modality: bool = False) -> Header | None:
    """Read what a file says of itself; None where it is not DICOM.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    opened = open_file(path, pixels=False)
    if opened is None:
        return None
    with undamaged():
        return _header(opened, path, any_modality)


def _header(opened: Opened, path: Path, any_modality: bool) -> Header:
    dataset = opened.dataset
    if not text(dataset, "SeriesInstanceUID"):
        raise CaseError(Code.DECODE_FAILED, "a file names no series, or ends too early")
    groups = levels(dataset)
    words = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
    times = find(groups, "MRModifierSequence", "InversionTimes") or find(groups, "", "InversionTime") or ()
    number = plausible_number(value(dataset, "SeriesNumber"))
    return Header(
        path=path,
        patient=patient_id(dataset),
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        names=(path.parent.name.lower(), *(text(dataset, word).lower()[:LONGEST_NAME] for word in words)),
        number=None if number is None else int(number),
        fault=fault(dataset, any_modality=any_modality),
        frames=min(max(1, number_of_frames(dataset)), MAX_LENGTH) if is_image(dataset) else 0,
        image_type=words_of(dataset, "ImageType"),
        scanning=_scanning(dataset, groups),
        acquisition_contrast=str(find(groups, "MRImageFrameTypeSequence", "AcquisitionContrast") or "").strip(),
        volumetric=text(dataset, "MRAcquisitionType") == "3D",
        contrast_agent=has_contrast_agent(dataset),
        echo_time=plausible_number(find(groups, "MREchoSequence", "EffectiveEchoTime") or value(dataset, "EchoTime"))
        or None,
        repetition_time=plausible_number(find(groups, "MRTimingAndRelatedParametersSequence", "RepetitionTime"))
        or None,
        inversion_times=tuple(sorted({t for v in values_of(times) if (t := plausible_number(v))})),
        opened=opened,
    )


def complete(found: Header) -> Dataset | None:
    """Read the pixels of a file whose header is known, only what follows it where that can be done.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    if found.opened is None or found.opened.dataset.file_meta.TransferSyntaxUID.is_deflated:
        return read_dataset(found.path, pixels=True)
    dataset, end = found.opened
    implicit, little = dataset.original_encoding
    with undamaged():
        with found.path.open("rb") as file:
            file.seek(end)
            dataset.update(filereader.read_dataset(file, bool(implicit), bool(little), stop_when=stop_before(True)))
        check_end(dataset)
    return dataset


def _scanning(dataset: Dataset, groups: tuple[Dataset, ...]) -> frozenset[str]:
    """Scanning Sequence as in classic files (SE, IR, GR, EP), from what enhanced ones say instead, PS3.3 C.8.13.4."""
    echo = str(find(groups, "", "EchoPulseSequence"))
    said = {
        "SE": echo in ("SPIN", "BOTH"),
        "GR": echo in ("GRADIENT", "BOTH"),
        "EP": find(groups, "", "EchoPlanarPulseSequence") == "YES",
        "IR": find(groups, "MRModifierSequence", "InversionRecovery") == "YES",
    }
    return words_of(dataset, "ScanningSequence") | {word for word, holds in said.items() if holds}


def is_image(dataset: Dataset) -> bool:
    """Return whether a data set should hold an image; non-images lie beside the images of many series."""
    return not NO_IMAGES.match(text(dataset, "SOPClassUID"))


def fault(dataset: Dataset, *, any_modality: bool = False) -> CaseError | None:
    """Return why the header of a data set rules it out as a slice of an MR volume; None where it does not.

    Image Type, PS3.3 C.7.6.1.1.2 and C.8.3.1.1.1; Complex Image Component, C.8.13.3.1.3; MOSAIC is Siemens's own.
    """
    image_type = words_of(dataset, "ImageType")
    part = text(dataset, "ComplexImageComponent")
    if (modality := text(dataset, "Modality")) != "MR" and not any_modality:
        word = modality if modality in MODALITIES else "other" if modality else "not given"
        return CaseError(Code.NOT_MR, f"modality {word}")
    if not is_image(dataset) or "Rows" not in dataset:
        return CaseError(Code.NO_PIXEL_DATA, "a file holds no image")
    gray = text(dataset, "PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
    if not gray or value(dataset, "SamplesPerPixel") not in (None, 1):
        return CaseError(Code.NOT_GRAYSCALE, "the pixels are not gray values")
    if text(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE):
        return CaseError(Code.SECONDARY_CAPTURE, "a picture of a screen or a film, not of a scanner")
    if "MOSAIC" in image_type:
        return CaseError(Code.MOSAIC, "a Siemens mosaic: the slices lie side by side in one image")
    if "LOCALIZER" in image_type or "SCOUT" in image_type:
        return CaseError(Code.LOCALIZER, "a localizer")
    if image_type & PARTS or part in ("PHASE", "REAL", "IMAGINARY"):
        return CaseError(Code.NOT_MAGNITUDE, "the phase, or another part of a complex image")
    if text(dataset, "BurnedInAnnotation").upper() == "YES":
        return CaseError(Code.BURNED_IN, "text is burned into the pixels; it may name the patient")
    if number_of_frames(dataset) > MAX_LENGTH:
        return CaseError(Code.TOO_LARGE, f"over {MAX_LENGTH} frames, more than NIfTI holds")
    if "LUTData" in first(dataset, "ModalityLUTSequence"):
        return CaseError(Code.DECODE_FAILED, "a table of values (Modality LUT Sequence), which is not read")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if not available:
        name = syntax.name if syntax.name != str(syntax) else "an unknown one"
        return CaseError(Code.UNSUPPORTED_TRANSFER_SYNTAX, f"transfer syntax: {name}")
    return None


def has_contrast_agent(dataset: Dataset) -> bool:
    """Return whether the header names a contrast agent."""
    agent = text(dataset, "ContrastBolusAgent").upper()
    return agent not in NO_AGENT or bool(value(dataset, "ContrastBolusAgentSequence"))


def age_band(age: str) -> str:
    """Convert a DICOM Age String ("063Y") to a 10-year band ("60-69"; "90+" from 90 on), "" without one."""
    if not re.fullmatch("[0-9]{3}[YMWD]", age):
        return ""
    years = int(int(age[:3]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[age[3]])
    return "90+" if years >= 90 else f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def columns(dataset: Dataset) -> dict[str, Any]:
    """Fill the columns of cases.csv that come from a header: numbers and words of closed lists, no free text."""
    maker = text(dataset, "Manufacturer").lower()
    known = [name for start, name in MANUFACTURERS.items() if f"{maker} ".startswith(start)]
    sex = text(dataset, "PatientSex")
    acquisition = text(dataset, "MRAcquisitionType")
    groups = levels(dataset)

    def number(sequence: str, *keywords: str) -> str:
        for keyword in keywords:
            found = plausible_number(next(iter(values_of(find(groups, sequence, keyword))), None))
            if found is not None:
                return f"{found:g}"
        return ""

    return {
        "manufacturer": known[0] if known else "other",
        "field_strength": number("", "MagneticFieldStrength"),
        "echo_time": number("MREchoSequence", "EchoTime", "EffectiveEchoTime"),
        "repetition_time": number("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        "inversion_time": number("MRModifierSequence", "InversionTime", "InversionTimes"),
        "acquisition_type": acquisition if acquisition in ("2D", "3D") else "",
        "contrast_agent": "yes" if has_contrast_agent(dataset) else "no",
        "sex": sex if sex in ("M", "F", "O") else "",
        "age_band": age_band(text(dataset, "PatientAge")),
    }
