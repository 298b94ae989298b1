"""DICOM files opened, and what their headers say: nothing in them is trusted, none of their text leaves the process.

Reading never raises what a damaged file makes pydicom raise, only a CaseError. Modules and elements: DICOM PS3.3.
"""

import logging
import re
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_partial
from pydicom.pixels import get_decoder
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError, Code

logging.getLogger("pydicom").disabled = True  # it quotes values, which may identify a patient

MAX_FILE = 2**31  # bytes of one file; an enhanced FLAIR of 512 x 512 x 400 has a tenth of it
LONGEST_NAME = 200  # characters of a description that are looked at; the standard allows 64
MAX_INFLATED = 2**29  # bytes that a deflated file may become
MAX_ELEMENTS = 100_000  # of one data set, those of its sequences aside
UNDEFINED = 0xFFFFFFFF  # a length that is not told, PS3.5 7.1.1
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})  # of floats, doubles, integers
MAX_LENGTH = 32767  # voxels along one axis: NIfTI-1 counts them in 16 bits
MAX_TIME = 1e5  # ms, and whatever other unit; a larger number may be a date
MAX_META = 2**10  # bytes in which a file names its transfer syntax
MAX_VOXELS = 2**27  # of one volume: 512 x 512 x 512
NOTHING = Dataset()
PLAIN_VRS = {"CS", "LO", "SH", "UI"}
ESCAPE = 0x1B

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


class Opened(NamedTuple):
    """A data set without its pixels, and the byte of its file where they begin."""

    dataset: Dataset
    end: int


@contextmanager
def undamaged() -> Iterator[None]:
    """Makes a CaseError of what a damaged file raises, when it is read or when an element is first asked for.

    Raises:
        FlairprepError: the machine could not read the file; that is no property of the file, so it ends the stage.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pydicom quotes values, which may identify a patient
            yield
    except (CaseError, FlairprepError, MemoryError):
        raise
    except OSError as error:
        if error.errno is None:  # pydicom's own way to say that the content is damaged
            raise CaseError(Code.DECODE_FAILED, "a file is damaged (OSError)") from error
        raise FlairprepError(f"a raw file cannot be read ({error.strerror}); mend that and run again") from error
    except Exception as error:  # it can be anything, a RecursionError included; the case gets the kind, never the text
        raise CaseError(Code.DECODE_FAILED, f"a file is damaged ({type(error).__name__})") from error


def read(path: Path, *, pixels: bool) -> Dataset | None:
    """The data set of a file, without its pixels unless they are asked for; None where it is no DICOM, or a DICOMDIR.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    opened = _open(path, pixels=pixels)
    return opened and opened.dataset


def _open(path: Path, *, pixels: bool) -> Opened | None:
    with undamaged():
        with path.open("rb") as file:
            if (size := file.seek(0, 2)) > MAX_FILE:
                raise CaseError(Code.TOO_LARGE, f"a file of {size >> 20} MB")
            file.seek(0)
            start = file.read(132)
            file.seek(0)
            _check_inflated(file, start)
            # Old files begin with their first element, of group 2 or 8, in either byte order.
            bare = start[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08") and start[128:] != b"DICM"
            try:
                dataset, end = read_partial(file, _limit(pixels), force=bare), file.tell()
            except (InvalidDicomError, EOFError):
                return None
        _check_end(dataset)
        if "DirectoryRecordSequence" in dataset:
            return None
        if "SOPClassUID" not in dataset and "Rows" not in dataset:  # pydicom gives what was read before the end
            if bare:
                return None
            raise CaseError(Code.DECODE_FAILED, "a file ends too early")
        _settle_syntax(dataset)
        return Opened(dataset, end)


def _settle_syntax(dataset: Dataset) -> None:
    """Makes the transfer syntax an UID also where it is none, or stands in the file as another kind of value."""
    meta = dataset.file_meta
    said = meta.get("TransferSyntaxUID")
    if isinstance(said, UID) and said:
        return
    implicit, little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    meta.pop("TransferSyntaxUID", None)  # with its kind, which a new value would keep
    meta.TransferSyntaxUID = UID(str(said)) if said else ImplicitVRLittleEndian if implicit else explicit


def _limit(pixels: bool) -> Callable[[BaseTag, str | None, int], bool]:
    """What read_partial asks at each element: whether to stop there, before the pixels, unless they are asked for."""
    elements = count()

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if next(elements) > MAX_ELEMENTS:
            raise CaseError(Code.TOO_LARGE, f"a file of over {MAX_ELEMENTS} elements")
        return not pixels and tag in PIXEL_TAGS

    return stop


def _check_end(dataset: Dataset) -> None:
    """Refuses a file that ends inside an element: pydicom takes what there is of it, such as half of an UID."""
    if not len(dataset):
        return
    last = dataset.get_item(list(dataset.keys())[-1])
    if not isinstance(last, RawDataElement) or last.value is None or last.length == UNDEFINED:
        return
    if len(last.value) < last.length:
        raise CaseError(Code.DECODE_FAILED, "a file ends too early")


def _check_inflated(file: BinaryIO, start: bytes) -> None:
    """Refuses a deflated data set that inflates to more than MAX_INFLATED, which pydicom would do without a limit."""
    if start[128:132] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in file.read(MAX_META):
        file.seek(0)
        return
    file.seek(128 + 4 + 8)  # the first element is the length of the others, group 2, which are not deflated
    file.seek(int.from_bytes(file.read(4), "little"), 1)
    inflater, size = zlib.decompressobj(wbits=-zlib.MAX_WBITS), 0
    while not inflater.eof and (piece := inflater.unconsumed_tail or file.read(2**16)):
        size += len(inflater.decompress(piece, 2**20))
        if size > MAX_INFLATED:
            raise CaseError(Code.TOO_LARGE, f"a file that inflates to over {MAX_INFLATED >> 20} MB")
    file.seek(0)


def header(path: Path, *, any_modality: bool = False) -> Header | None:
    """What a file says of itself, None where it is no DICOM.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    opened = _open(path, pixels=False)
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
    number = _number(value(dataset, "SeriesNumber"))
    return Header(
        path=path,
        patient=patient_id(dataset),
        study=text(dataset, "StudyInstanceUID"),
        series=text(dataset, "SeriesInstanceUID"),
        names=(path.parent.name.lower(), *(text(dataset, word).lower()[:LONGEST_NAME] for word in words)),
        number=None if number is None else int(number),
        fault=fault(dataset, any_modality=any_modality),
        frames=min(max(1, number_of_frames(dataset)), MAX_LENGTH) if is_image(dataset) else 0,
        image_type=_words(dataset, "ImageType"),
        scanning=_scanning(dataset, groups),
        acquisition_contrast=str(find(groups, "MRImageFrameTypeSequence", "AcquisitionContrast") or "").strip(),
        volumetric=text(dataset, "MRAcquisitionType") == "3D",
        contrast_agent=has_contrast_agent(dataset),
        echo_time=_number(find(groups, "MREchoSequence", "EffectiveEchoTime") or value(dataset, "EchoTime")) or None,
        repetition_time=_number(find(groups, "MRTimingAndRelatedParametersSequence", "RepetitionTime")) or None,
        inversion_times=tuple(sorted({t for v in _values(times) if (t := _number(v))})),
        opened=opened,
    )


def whole(found: Header) -> Dataset | None:
    """The data set of a file with its pixels: only what follows the header is read, where that can be done; see `read`.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    if found.opened is None or found.opened.dataset.file_meta.TransferSyntaxUID.is_deflated:
        return read(found.path, pixels=True)
    dataset, end = found.opened
    implicit, little = dataset.original_encoding
    with undamaged():
        with found.path.open("rb") as file:
            file.seek(end)
            dataset.update(read_dataset(file, bool(implicit), bool(little), stop_when=_limit(True)))
        _check_end(dataset)
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
    return _words(dataset, "ScanningSequence") | {word for word, holds in said.items() if holds}


def is_image(dataset: Dataset) -> bool:
    """Whether it should hold an image; what is known to hold none is beside the images of many series."""
    return not NO_IMAGES.match(text(dataset, "SOPClassUID"))


def fault(dataset: Dataset, *, any_modality: bool = False) -> CaseError | None:
    """Why a data set can be no slice of an MR volume, by what its header says it is; None where it can.

    Image Type, PS3.3 C.7.6.1.1.2 and C.8.3.1.1.1; Complex Image Component, C.8.13.3.1.3; MOSAIC is Siemens's own.
    """
    image_type = _words(dataset, "ImageType")
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


def levels(dataset: Dataset) -> tuple[Dataset, ...]:
    """Where to look for an element, in this order: the first frame's functional groups, the shared ones, the file."""
    groups = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
    return (*(level for group in groups if (level := first(dataset, group))), dataset)


def value(dataset: Dataset, keyword: str) -> Any:
    """The value of an element, None where there is none; what is missing, numbers and ASCII quicker than pydicom."""
    tag = _tag(keyword)
    item = dataset.get_item(tag)
    if item is None:
        return None
    if isinstance(item, RawDataElement) and item.value and item.length != UNDEFINED:
        if item.VR == "US" and len(item.value) == 2:
            return int.from_bytes(item.value, "little" if item.is_little_endian else "big")
        if item.VR == "IS" and item.value.strip(b" ").isdigit():
            return int(item.value)
        if item.VR == "DS":
            with suppress(ValueError):  # as of padding with zeros, which pydicom knows more of
                numbers = [float(number) for number in item.value.split(b"\\")]
                return numbers if len(numbers) > 1 else numbers[0]
        # The same in every character set, but for what switches to another one.
        if item.VR in PLAIN_VRS and item.value.isascii() and ESCAPE not in item.value:
            words = item.value.decode("ascii").rstrip(" \0")
            if "\\" not in words:
                return words
            if item.VR == "CS":  # of the others each is stripped
                return words.split("\\")
    return dataset[tag].value


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def first(dataset: Dataset, keyword: str) -> Dataset:
    """The first item of a sequence, or an empty data set, which is to be left empty."""
    sequence = value(dataset, keyword) if keyword else None
    return sequence[0] if sequence else NOTHING


def find(groups: tuple[Dataset, ...], sequence: str, keyword: str) -> Any:
    """The value from the first level that has it, inside `sequence` or beside it; None where none has."""
    for level in groups:
        for holder in (first(level, sequence), level):
            if holder is not NOTHING and (found := value(holder, keyword)) is not None:
                return found
    return None


def text(dataset: Dataset, keyword: str) -> str:
    """The value as text without the padding, "" where there is none."""
    values = _values(value(dataset, keyword))  # of text that holds a backslash, which parts values
    return "\\".join(map(str, values)).replace("\0", "").strip()


def patient_id(dataset: Dataset) -> str:
    """The patient id, taken as Latin-1 where it is not in the file's character set, so that two stay two."""
    item = dataset.get_item("PatientID")
    stored = item.value if item is not None else None
    found = text(dataset, "PatientID")
    if "\ufffd" in found and isinstance(stored, bytes):
        return stored.decode("latin-1").replace("\0", "").strip()
    return found


def number_of_frames(dataset: Dataset) -> int:
    """How many frames a data set claims, 1 where it does not say."""
    return int(value(dataset, "NumberOfFrames") or 1)


def has_contrast_agent(dataset: Dataset) -> bool:
    """Whether the header names a contrast agent."""
    agent = text(dataset, "ContrastBolusAgent").upper()
    return agent not in NO_AGENT or bool(value(dataset, "ContrastBolusAgentSequence"))


def age_band(age: str) -> str:
    """A DICOM Age String ("063Y") as a 10-year band ("60-69"; "90+" from 90 on), "" where there is none."""
    if not re.fullmatch("[0-9]{3}[YMWD]", age):
        return ""
    years = int(int(age[:3]) / {"Y": 1, "M": 12, "W": 52.18, "D": 365.25}[age[3]])
    return "90+" if years >= 90 else f"{years // 10 * 10}-{years // 10 * 10 + 9}"


def columns(dataset: Dataset) -> dict[str, Any]:
    """The columns of cases.csv that a header fills: numbers and words from closed lists, no free text."""
    maker = text(dataset, "Manufacturer").lower()
    known = [name for start, name in MANUFACTURERS.items() if f"{maker} ".startswith(start)]
    sex = text(dataset, "PatientSex")
    acquisition = text(dataset, "MRAcquisitionType")
    groups = levels(dataset)

    def number(sequence: str, *keywords: str) -> str:
        for keyword in keywords:
            found = _number(next(iter(_values(find(groups, sequence, keyword))), None))
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


def _values(value: Any) -> list[Any]:
    """One or several values of an element as a list."""
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else [value]


def _words(dataset: Dataset, keyword: str) -> frozenset[str]:
    return frozenset(str(word).strip().upper() for word in _values(value(dataset, keyword)))


def _number(value: Any) -> float | None:
    """A plausible number, None for what is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < MAX_TIME else None  # neither nan nor infinity is
