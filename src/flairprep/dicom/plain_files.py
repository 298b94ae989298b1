"""Read the elements of plain DICOM files in one pass over their bytes: pydicom's raw elements, ten times sooner.

Plain are files of PS3.10 in little-endian order whose elements before the pixels all have a defined length: nearly all
that scanners write. Whatever is unusual is left to pydicom, which also converts the values, so the answer is the same.

The next file of a series has the same bytes but for a few values. Where it does, its elements are those of the former
one with these values, and their bytes need no walk.
"""

from collections import deque
from dataclasses import dataclass
from functools import lru_cache
from struct import Struct
from typing import BinaryIO, NamedTuple

from pydicom.charset import convert_encodings, default_encoding
from pydicom.dataelem import DataElement, RawDataElement, empty_value_for_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.tag import BaseTag
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLETransferSyntaxes,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, VR

from flairprep.dicom.elements import CHARACTER_SET, PIXEL_TAGS, SINGLE, UNDEFINED

PREAMBLE = 132  # bytes, "DICM" included
BLOCK = 2**14  # bytes read at first: most headers are shorter
LONGEST_HEADER = 2**24  # bytes before the pixels; a longer one is unusual
MOST_ELEMENTS = 10_000
IMPLICIT = str(ImplicitVRLittleEndian)
EXPLICIT = {ExplicitVRLittleEndian, *RLETransferSyntaxes, *JPEGTransferSyntaxes}
EXPLICIT_SYNTAXES = {str(syntax) for syntax in (*EXPLICIT, *JPEGLSTransferSyntaxes, *JPEG2000TransferSyntaxes)}
SHORT = {vr.value.encode(): str(vr.value) for vr in VR if vr not in EXPLICIT_VR_LENGTH_32}  # length in 16 bits
SHORT_NAMES = frozenset(SHORT.values())
LONG = {vr.value.encode(): str(vr.value) for vr in VR if vr in EXPLICIT_VR_LENGTH_32}  # and in 32; PS3.5 7.1.2
TAG_VR_LENGTH, TAG_LENGTH, LENGTH = Struct("<HH2sH"), Struct("<HHL"), Struct("<L")
META = {BaseTag(0x00020000), BaseTag(0x00020003)}  # the length of group 2, Media Storage SOP Instance UID
VARYING = SINGLE | META
LAYOUTS = 4  # of the last files, that are kept
META_LENGTH = b"\x02\0\0\0UL\x04\0"  # how the first element begins, PS3.10 7.1
FILE_META, ITEM = 2, 0xFFFE  # groups
TRANSFER_SYNTAX = 0x00020010

Elements = dict[BaseTag, DataElement | RawDataElement]


class Varying(NamedTuple):
    """An element in which files of a layout may differ.

    before: the bytes before its length. size: bytes of its length. meta: whether it is of group 2.
    """

    before: bytes
    size: int
    tag: BaseTag
    vr: str | None
    meta: bool


@dataclass(frozen=True, eq=False)
class Layout:
    """What files share whose bytes before the pixels are the same but for the values of VARYING elements.

    after: the bytes from the last of these to the tag of the pixels. elements, meta: of one of the files, the rest of
    each other one's. encoding: of the character set.
    """

    varying: tuple[Varying, ...]
    after: bytes
    elements: Elements
    meta: Elements
    implicit: bool
    encoding: str | list[str]


class Plain(NamedTuple):
    """A data set, with its file_meta, the byte at which the pixels, or the file, end it, and its layout, if known."""

    dataset: Dataset
    end: int
    layout: Layout | None


_layouts: deque[Layout] = deque(maxlen=LAYOUTS)  # the last one first


class Unusual(Exception):  # noqa: N818  # no error: pydicom reads the file instead
    """The file is not plain."""


def read_plain(file: BinaryIO) -> Plain | None:
    """Read the elements before the pixels of a file that is open at its start; None where pydicom has to read it."""
    content = file.read(BLOCK)
    if content[PREAMBLE - 4 : PREAMBLE] != b"DICM":
        return None
    for layout in _layouts:
        if (read := _by_layout(layout, content)) is not None:
            return read
    try:
        return _read(content)
    except Unusual:
        return None
    except IndexError:  # the header goes on behind the block
        pass
    rest = file.read(LONGEST_HEADER)
    try:
        return _read(content + rest, whole=len(rest) < LONGEST_HEADER)
    except (Unusual, IndexError):
        return None


def read_pixels(file: BinaryIO, dataset: Dataset, end: int) -> RawDataElement | None:
    """Read the pixels that begin at byte `end` of a file and are the last thing in it.

    Args:
        file: open anywhere.
        dataset: its elements before the pixels, in little-endian order.
        end: where they end.

    Returns:
        The element; None where pydicom has to read it.
    """
    size = file.seek(0, 2)
    file.seek(end)
    start = file.read(12)
    implicit = bool(dataset.original_encoding[0])
    if len(start) < 12:
        return None
    if implicit:
        group, element, length = TAG_LENGTH.unpack_from(start)
        vr, place = None, end + 8
    else:
        group, element, name, _ = TAG_VR_LENGTH.unpack_from(start)
        (length,) = LENGTH.unpack_from(start, 8)
        if (vr := LONG.get(name)) is None:
            return None
        place = end + 12
    tag = group << 16 | element
    if tag not in PIXEL_TAGS or not length or place + length != size:
        return None
    file.seek(place)
    value = file.read(length)
    return RawDataElement(_base_tag(tag), vr, length, value, place, implicit, True) if len(value) == length else None


def _by_layout(layout: Layout, content: bytes) -> Plain | None:
    """Return the data set in the first bytes of a file of this layout; None where they are not, or go on behind."""
    at = PREAMBLE
    elements, meta = layout.elements.copy(), layout.meta.copy()
    for before, size, tag, vr, of_meta in layout.varying:
        if not content.startswith(before, at):
            return None
        place = at + len(before) + size
        length = int.from_bytes(content[place - size : place], "little")
        if length == UNDEFINED:
            return None
        at = place + length
        value = content[place:at] if length else _empty(vr)
        item = RawDataElement(tag, vr, length, value, place, layout.implicit and not of_meta, True)
        (meta if of_meta else elements)[tag] = item
    if not content.startswith(layout.after, at):
        return None
    end = at + len(layout.after) - 4
    if end + 12 > len(content):
        return None
    return Plain(_dataset(elements, meta, layout.implicit, layout.encoding), end, layout)


def _learn(
    content: bytes, dataset: Elements, meta: Elements, end: int, implicit: bool, encoding: str | list[str]
) -> Layout | None:
    """Remember the layout of a file whose elements before the pixels, at byte `end`, were read."""
    if end + 12 > min(len(content), BLOCK):
        return None
    if implicit and next(iter(dataset), None) in VARYING:  # whose length tells that the VR is implicit, see `_implicit`
        return None
    found = [item for group in (meta, dataset) for tag, item in group.items() if tag in VARYING]
    own = [item for item in found if isinstance(item, RawDataElement) and (item.VR is None or item.VR in SHORT_NAMES)]
    varying, at = [], PREAMBLE
    for item in sorted(own, key=lambda item: item.value_tell):
        size = 4 if item.is_implicit_VR else 2
        varying.append(Varying(content[at : item.value_tell - size], size, item.tag, item.VR, item.tag in META))
        at = item.value_tell + item.length
    layout = Layout(tuple(varying), content[at : end + 4], dataset.copy(), meta.copy(), implicit, encoding)
    _layouts.appendleft(layout)
    return layout


def _read(content: bytes, *, whole: bool = False) -> Plain:
    """Return the data set in the first bytes of a file.

    whole: whether these are all bytes of the file.

    Raises:
        Unusual: pydicom has to read the file.
        IndexError: the data set goes on behind `content`.
    """
    if not content.startswith(META_LENGTH, PREAMBLE):
        raise Unusual
    meta, start = _explicit(content, PREAMBLE, whole, meta=True)
    syntax = meta.get(_base_tag(TRANSFER_SYNTAX))
    if syntax is None or syntax.VR != VR.UI:
        raise Unusual
    name = bytes(syntax.value or b"").decode("ascii", "replace").rstrip(" \0")
    implicit = name == IMPLICIT
    if not implicit and name not in EXPLICIT_SYNTAXES:
        raise Unusual
    elements, end = (_implicit if implicit else _explicit)(content, start, whole)
    if (stored := elements.get(_base_tag(CHARACTER_SET))) is not None and stored.VR not in (None, VR.CS):
        raise Unusual
    character_set = Dataset(elements).get(_base_tag(CHARACTER_SET))  # parses it within the elements
    encoding = default_encoding if character_set is None else convert_encodings(character_set.value)
    dataset = _dataset(elements, meta, implicit, encoding)
    dataset.file_meta.get(_base_tag(TRANSFER_SYNTAX))  # parses it within `meta`
    return Plain(dataset, end, _learn(content, elements, meta, end, implicit, encoding))


def _dataset(elements: Elements, meta: Elements, implicit: bool, encoding: str | list[str]) -> Dataset:
    dataset = Dataset(elements)
    dataset.set_original_encoding(implicit, True, encoding)
    dataset.file_meta = FileMetaDataset(meta)
    dataset.file_meta.set_original_encoding(False, True, default_encoding)
    return dataset


def _explicit(content: bytes, at: int, whole: bool, *, meta: bool = False) -> tuple[Elements, int]:
    """Return the elements of explicit VR from byte `at` on, to the pixels or, of `meta`, to the end of group 2."""
    elements: Elements = {}
    size = len(content)
    while at + 8 <= size:
        group, element, name, length = TAG_VR_LENGTH.unpack_from(content, at)
        if meta and group != FILE_META:
            return elements, at
        tag = group << 16 | element
        if tag in PIXEL_TAGS:
            return elements, _with_length(at, size)
        if (vr := SHORT.get(name)) is not None:
            place = at + 8
        elif (vr := LONG.get(name)) is not None:
            place = at + 12
            if place > size:
                raise IndexError
            (length,) = LENGTH.unpack_from(content, at + 8)
        else:
            raise Unusual
        at = _add(elements, content, tag, vr, place, length, implicit=False)
    return _at_end(elements, at, size, whole and not meta)


def _implicit(content: bytes, at: int, whole: bool) -> tuple[Elements, int]:
    """Return the elements of implicit VR from byte `at` on, to the pixels."""
    elements: Elements = {}
    size = len(content)
    first = at
    while at + 8 <= size:
        group, element, length = TAG_LENGTH.unpack_from(content, at)
        tag = group << 16 | element
        if at == first and content[at + 4 : at + 6].isupper():
            raise Unusual  # it may be explicit VR nevertheless
        if tag in PIXEL_TAGS:
            return elements, _with_length(at, size)
        at = _add(elements, content, tag, None, at + 8, length, implicit=True)
    return _at_end(elements, at, size, whole)


def _add(
    elements: Elements, content: bytes, tag: int, vr: str | None, place: int, length: int, *, implicit: bool
) -> int:
    """Add the element whose value begins at byte `place`, and return where the next one begins."""
    end = place + length
    if length == UNDEFINED or tag < FILE_META << 16 or tag >> 16 == ITEM or len(elements) > MOST_ELEMENTS:
        raise Unusual
    if end > len(content):
        raise IndexError
    value = content[place:end] if length else _empty(vr)
    known = _base_tag(tag)
    elements[known] = RawDataElement(known, vr, length, value, place, implicit, True)
    return end


def _with_length(at: int, size: int) -> int:
    if at + 12 > size:
        raise IndexError
    return at


def _at_end(elements: Elements, at: int, size: int, whole: bool) -> tuple[Elements, int]:
    if not whole:
        raise IndexError
    if at != size:
        raise Unusual
    return elements, at


@lru_cache(maxsize=64)
def _empty(vr: str | None) -> bytes | None:
    return empty_value_for_VR(vr, raw=True)  # type: ignore[return-value]


@lru_cache(maxsize=4096)
def _base_tag(tag: int) -> BaseTag:
    return BaseTag(tag)
