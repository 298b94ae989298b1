"""Interpret the header of a DICOM file: series, times, faults, and the columns of cases.csv.

Modules and attributes: DICOM PS3.3. No free text of a header leaves the process.
"""

import re
from collections.abc import Hashable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.pixels import get_decoder
from pydicom.uid import JPEGExtended12Bit

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.archives import stem_of
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
from flairprep.dicom.reading import Opened, open_file, undamaged

LONGEST_NAME = 200  # characters of a description that are searched; LO allows 64, PS3.5 6.2
MAX_LENGTH = 32767  # voxels along one axis: NIfTI-1 counts them in 16 bits
STORAGE = r"1\.2\.840\.10008\.5\.1\.4\.1\.1\."  # SOP classes, PS3.4 B.5
MOST_KNOWN = 64  # headers that are kept for the next files
_KNOWN: dict[Hashable, "Header"] = {}
NO_IMAGES = re.compile(STORAGE + r"(11\.|66|88\.|104\.)")  # presentation states, raw data, reports, documents
IMAGES = re.compile(STORAGE + r"(2(\.[12])?|4(\.[134])?|7(\.[1-4])?)$")  # CT, MR, captures: damaged without pixels
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # PS3.4 B.5, with the multi-frame classes below it
# Modalities that a message may name, PS3.3 C.7.3.1.1.1: other text may identify a patient.
MODALITIES = {"CR", "CT", "DX", "KO", "MG", "NM", "OT", "PR", "PT", "RF", "SC", "SEG", "SR", "US", "XA"}
NO_AGENT = {"", "NO", "NONE", "N", "0", "-", "N/A", "NA", "NIL", "OHNE"}
PARTS = {"P", "PHASE", "PHASE MAP", "R", "REAL", "I", "IMAGINARY"}  # Image Type of a complex image's other parts
MANUFACTURERS = {  # how the header's text starts, lower case -> the name in cases.csv
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
    """Fields of one file's header. Text that may identify a patient (patient to names) stays inside the process.

    names: of the folder, series, protocol and pulse sequence, lower case. number: Series Number. fault: why the file
    cannot be a slice of a volume. frames: how many slices it holds, 0 for non-images. Times are in ms; None or () where
    they are absent, or zero, which scanners write for "none". size: rows, columns. position, orientation: of the first
    frame, as in `Frame`; () where they are absent. when: date and time of acquisition, else of series or study, as 20
    digits; zeros for an absent time, "" for an absent date.
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
    size: tuple[int, ...] = ()
    position: tuple[float, ...] = ()
    orientation: tuple[float, ...] = ()
    when: str = ""
    opened: "Opened | None" = field(default=None, compare=False, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        """Return what travels to another process: the fields without the data set."""
        return self.__dict__ | {"opened": None}


def read_header(path: Path, *, any_modality: bool = False) -> Header | None:
    """Read the header of a file; None where it is not DICOM.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `reading.undamaged`.
    """
    opened = open_file(path, pixels=False)
    if opened is None:
        return None
    with undamaged():
        if opened.layout is None:
            return _header(opened, path, any_modality)
        # All that a header takes but the position, its files share.
        key = (opened.layout, opened.has_pixels, path.parent.name, any_modality)
        known = _KNOWN.get(key)
        if known is None:
            if len(_KNOWN) >= MOST_KNOWN:
                _KNOWN.clear()
            known = _KNOWN[key] = replace(_header(opened, path, any_modality), opened=None)
        position = _numbers(find(levels(opened.dataset), "PlanePositionSequence", "ImagePositionPatient"), 3)
        return replace(known, path=path, position=position, opened=opened)


def _header(opened: Opened, path: Path, any_modality: bool) -> Header:
    dataset = opened.dataset
    image = is_image(dataset, has_pixels=opened.has_pixels)
    if image and not opened.has_pixels and not text(dataset, "SeriesInstanceUID"):
        raise CaseError(Code.DECODE_FAILED, "a file ends too early")
    groups = levels(dataset)
    words = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")
    times = find(groups, "MRModifierSequence", "InversionTimes") or find(groups, "", "InversionTime") or ()
    number = plausible_number(value(dataset, "SeriesNumber"))
    return Header(
        path=path,
        patient=patient_id(dataset),
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        names=(stem_of(path.parent.name).lower(), *(text(dataset, word).lower()[:LONGEST_NAME] for word in words)),
        number=None if number is None else int(number),
        fault=fault(dataset, any_modality=any_modality, has_pixels=opened.has_pixels),
        frames=min(max(1, number_of_frames(dataset)), MAX_LENGTH) if image else 0,
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
        size=tuple(int(number) for key in ("Rows", "Columns") if (number := value(dataset, key)) is not None),
        position=_numbers(find(groups, "PlanePositionSequence", "ImagePositionPatient"), 3),
        orientation=_numbers(find(groups, "PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        when=_when(dataset),
        opened=opened,
    )


def _when(dataset: Dataset) -> str:
    """Return `Header.when`: as YYYYMMDD, HHMMSS and microseconds, PS3.5 6.2."""
    stored = text(dataset, "AcquisitionDateTime").split("+")[0].split("-")[0]
    pairs = [(stored[:8], stored[8:])]
    pairs += [(text(dataset, f"{one}Date"), text(dataset, f"{one}Time")) for one in ("Acquisition", "Series", "Study")]
    for date, time in pairs:
        day = re.sub(r"[.\-]", "", date)  # of older files: 2001.02.03
        if re.fullmatch(r"\d{8}", day):
            clock = re.fullmatch(r"(\d{2,6})(?:\.(\d{1,6}))?", time.replace(":", ""))
            seconds, fraction = (clock[1], clock[2] or "") if clock else ("", "")
            return f"{day}{seconds:0<6}{fraction:0<6}"
    return ""


def _scanning(dataset: Dataset, groups: tuple[Dataset, ...]) -> frozenset[str]:
    """Return the words of Scanning Sequence (SE, IR, GR, EP); of enhanced files from the MR Pulse Sequence module.

    MR Image, PS3.3 C.8.3.1; MR Pulse Sequence, C.8.13.4.
    """
    echo = str(find(groups, "", "EchoPulseSequence"))
    enhanced = {
        "SE": echo in ("SPIN", "BOTH"),
        "GR": echo in ("GRADIENT", "BOTH"),
        "EP": find(groups, "", "EchoPlanarPulseSequence") == "YES",
        "IR": find(groups, "MRModifierSequence", "InversionRecovery") == "YES",
    }
    return words_of(dataset, "ScanningSequence") | {word for word, holds in enhanced.items() if holds}


def _numbers(stored: Any, count: int) -> tuple[float, ...]:
    """Return `count` plausible numbers, () for anything else."""
    numbers = tuple(number for one in values_of(stored) if (number := plausible_number(one)) is not None)
    return numbers if len(numbers) == count else ()


def is_image(dataset: Dataset, *, has_pixels: bool) -> bool:
    """Return whether a data set is an image; many series hold reports, raw data or vendors' private objects too.

    An image has pixels. One of a class of images that has none is a damaged image.
    """
    kind = text(dataset, "SOPClassUID")
    return not NO_IMAGES.match(kind) and (has_pixels or not kind or IMAGES.match(kind) is not None)


def fault(dataset: Dataset, *, any_modality: bool = False, has_pixels: bool = True) -> CaseError | None:
    """Return why the header of a data set rules it out as a slice of an MR volume; None where it does not.

    Image Type, PS3.3 C.7.6.1.1.2 and C.8.3.1.1.1; Complex Image Component, C.8.13.3.1.3; MOSAIC is Siemens's own.

    any_modality: accept other modalities than MR.
    """
    image_type = words_of(dataset, "ImageType")
    part = text(dataset, "ComplexImageComponent")
    if (modality := text(dataset, "Modality")) != "MR" and not any_modality:
        word = modality if modality in MODALITIES else "other" if modality else "not given"
        return CaseError(Code.NOT_MR, f"modality {word}")
    if not is_image(dataset, has_pixels=has_pixels) or "Rows" not in dataset:
        return CaseError(Code.NO_PIXEL_DATA, "a file holds no image")
    if not has_pixels:
        return CaseError(Code.NO_PIXEL_DATA, "an image without its pixels")
    gray = text(dataset, "PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
    if not gray or value(dataset, "SamplesPerPixel") not in (None, 1):
        return CaseError(Code.NOT_GRAYSCALE, "the pixels are not gray values")
    if text(dataset, "SOPClassUID").startswith(SECONDARY_CAPTURE):
        return CaseError(Code.SECONDARY_CAPTURE, "a capture of a screen or a film (Secondary Capture)")
    if "MOSAIC" in image_type:
        return CaseError(Code.MOSAIC, "a Siemens mosaic: slices side by side in one image")
    if "LOCALIZER" in image_type or "SCOUT" in image_type:
        return CaseError(Code.LOCALIZER, "a localizer")
    if image_type & PARTS or part in ("PHASE", "REAL", "IMAGINARY"):
        return CaseError(Code.NOT_MAGNITUDE, "a phase, real or imaginary image, not a magnitude")
    if text(dataset, "BurnedInAnnotation").upper() == "YES":
        return CaseError(Code.BURNED_IN, "text is burned into the pixels and may name the patient")
    if number_of_frames(dataset) > MAX_LENGTH:
        return CaseError(Code.TOO_LARGE, f"over {MAX_LENGTH} frames; NIfTI holds no more")
    if "LUTData" in first(dataset, "ModalityLUTSequence"):
        return CaseError(Code.DECODE_FAILED, "Modality LUT Sequence, a table of values, is not supported")
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        available = get_decoder(syntax).is_available
    except NotImplementedError:
        available = False
    if syntax == JPEGExtended12Bit and (value(dataset, "BitsStored") or 8) > 8:
        available = "pylibjpeg" in get_decoder(syntax).available_plugins  # the others read 8 bits of it alone
    if not available:
        name = syntax.name if syntax.name != str(syntax) else "unknown"
        return CaseError(Code.UNSUPPORTED_TRANSFER_SYNTAX, f"transfer syntax: {name}")
    return None


def has_contrast_agent(dataset: Dataset) -> bool:
    """Return whether the header names a contrast agent."""
    agent = text(dataset, "ContrastBolusAgent").upper()
    return agent not in NO_AGENT or bool(value(dataset, "ContrastBolusAgentSequence"))


def age_band(age: str) -> str:
    """Convert an Age String ("063Y", PS3.5 6.2) to a 10-year band ("60-69"; "90+" from 90 on), "" without one."""
    if not re.fullmatch("[0-9]{3}[YMWD]", age):
        return ""
    years = int(int(age[:3]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[age[3]])
    return "90+" if years >= 90 else f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def columns(dataset: Dataset) -> dict[str, Any]:
    """Return the columns of cases.csv that come from a header: numbers and words of closed lists, no free text.

    Echo, repetition and inversion time in ms, field strength in T; "" where the header does not give them.
    """
    manufacturer = f"{text(dataset, 'Manufacturer').lower()} "
    known = [name for start, name in MANUFACTURERS.items() if manufacturer.startswith(start)]
    sex = text(dataset, "PatientSex")
    acquisition = text(dataset, "MRAcquisitionType")
    groups = levels(dataset)

    def cell(sequence: str, *keywords: str) -> str:
        for keyword in keywords:
            first_value = next(iter(values_of(find(groups, sequence, keyword))), None)
            if (number := plausible_number(first_value)) is not None:
                return f"{number:g}"
        return ""

    return {
        "manufacturer": known[0] if known else "other",
        "field_strength": cell("", "MagneticFieldStrength"),
        "echo_time": cell("MREchoSequence", "EchoTime", "EffectiveEchoTime"),
        "repetition_time": cell("MRTimingAndRelatedParametersSequence", "RepetitionTime"),
        "inversion_time": cell("MRModifierSequence", "InversionTime", "InversionTimes"),
        "acquisition_type": acquisition if acquisition in ("2D", "3D") else "",
        "contrast_agent": "yes" if has_contrast_agent(dataset) else "no",
        "sex": sex if sex in ("M", "F", "O") else "",
        "age_band": age_band(text(dataset, "PatientAge")),
    }
