"""Read the elements of a DICOM data set: the values that pydicom returns, faster."""

from contextlib import suppress
from functools import cache
from typing import Any

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag

UNDEFINED = 0xFFFFFFFF  # undefined length of an element, PS3.5 7.1.1
# Float, double, integer; PS3.3 C.7.6.24, 25 and 3.
PIXEL_TAGS = frozenset(map(BaseTag, (0x7FE00008, 0x7FE00009, 0x7FE00010)))
CHARACTER_SET = 0x00080005
MAX_NUMBER = 1e5  # ms, T or any other unit of a header; a larger number may be a date
NOTHING = Dataset()
SINGLE = frozenset(  # elements in which the files of a series differ
    map(
        Tag,
        (
            *("SOPInstanceUID", "InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"),
            *("InstanceNumber", "ImagePositionPatient", "SliceLocation", "WindowCenter", "WindowWidth"),
            *("SmallestImagePixelValue", "LargestImagePixelValue"),
        ),
    )
)
PLAIN_VRS = {"CS", "DA", "DT", "LO", "SH", "TM", "UI"}  # text whose ASCII is that of every character set
ESCAPE = 0x1B  # switches to another character set, PS3.5 6.1.2.5


def levels(dataset: Dataset) -> tuple[Dataset, ...]:
    """Return where to look for an element, in order: first frame's groups, shared groups, file; PS3.3 C.7.6.16."""
    groups = ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
    return (*(level for group in groups if (level := first(dataset, group))), dataset)


def holds(dataset: Dataset, keyword: str) -> bool:
    """Return whether a data set has an element."""
    return tag_of(keyword) in dataset


def value(dataset: Dataset, keyword: str) -> Any:
    """Return the value of an element, None without one; pydicom's value, but faster for numbers and ASCII."""
    tag = tag_of(keyword)
    item = dataset.get_item(tag)
    if item is None:
        return None
    if isinstance(item, RawDataElement) and item.value and item.length != UNDEFINED:
        if item.VR == "US" and len(item.value) == 2:
            return int.from_bytes(item.value, "little" if item.is_little_endian else "big")
        if item.VR == "IS" and item.value.strip(b" ").isdigit():
            return int(item.value)
        if item.VR == "DS":
            with suppress(ValueError):  # such as zeros for padding, which pydicom handles
                numbers = [float(number) for number in item.value.split(b"\\")]
                return numbers if len(numbers) > 1 else numbers[0]
        if item.VR in PLAIN_VRS and item.value.isascii() and ESCAPE not in item.value:
            words = item.value.decode("ascii").rstrip(" \0")
            if "\\" not in words:
                return words
            if item.VR == "CS":  # pydicom strips each value of the others
                return words.split("\\")
    return dataset[tag].value


@cache
def tag_of(keyword: str) -> BaseTag:
    """Return the tag of an element."""
    return Tag(keyword)


def first(dataset: Dataset, keyword: str) -> Dataset:
    """Return the first item of a sequence, or an empty data set, which callers must not fill."""
    sequence = value(dataset, keyword) if keyword else None
    return sequence[0] if sequence else NOTHING


def find(groups: tuple[Dataset, ...], sequence: str, keyword: str) -> Any:
    """Return the value from the first of `levels` that has it, inside `sequence` or beside it; None where none has."""
    for level in groups:
        for holder in (first(level, sequence), level):
            if holder is not NOTHING and (stored := value(holder, keyword)) is not None:
                return stored
    return None


def text(dataset: Dataset, keyword: str) -> str:
    """Return the value as text without padding, "" without one."""
    values = values_of(value(dataset, keyword))  # several where the text holds a backslash, PS3.5 6.4
    return "\\".join(map(str, values)).replace("\0", "").strip()


def patient_id(dataset: Dataset) -> str:
    """Return the patient id, decoded as Latin-1 where it is not in the file's character set: two ids stay two."""
    item = dataset.get_item("PatientID")
    stored = item.value if item is not None else None
    patient = text(dataset, "PatientID")
    if "\ufffd" in patient and isinstance(stored, bytes):
        return stored.decode("latin-1").replace("\0", "").strip()
    return patient


def number_of_frames(dataset: Dataset) -> int:
    """Return Number of Frames, 1 where it is absent."""
    return int(value(dataset, "NumberOfFrames") or 1)


def values_of(value: Any) -> list[Any]:
    """Return one or several values of an element as a list."""
    if value is None or value == "":
        return []
    return list(value) if hasattr(value, "__iter__") and not isinstance(value, (str, bytes)) else [value]


def words_of(dataset: Dataset, keyword: str) -> frozenset[str]:
    """Return the values of an element as upper-case words."""
    return frozenset(str(word).strip().upper() for word in values_of(value(dataset, keyword)))


def plausible_number(value: Any) -> float | None:
    """Return a number below MAX_NUMBER in magnitude, None for anything else."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if abs(number) < MAX_NUMBER else None  # false for nan, too
