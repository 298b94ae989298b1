"""Open DICOM files safely: nothing in a file is trusted before it is checked, and no text of it leaves the process.

Whatever pydicom raises on a damaged file becomes a CaseError. Files and encodings: DICOM PS3.10 and PS3.5.
"""

import logging
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydicom import filereader
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from zlib_ng import gzip_ng

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom.archives import MAX_FILE, open_raw
from flairprep.dicom.elements import PIXEL_TAGS, UNDEFINED, holds
from flairprep.dicom.plain_files import Layout, Plain, read_pixels, read_plain

logging.getLogger("pydicom").disabled = True  # it quotes values, which may identify a patient
MAX_INFLATED = 2**29  # bytes that a deflated or gzipped file may become
GZIP = b"\x1f\x8b"
MAX_ELEMENTS = 100_000  # of one data set, not counting those inside its sequences
MAX_META = 2**10  # bytes of a file in which its meta information names the transfer syntax, PS3.10 7.1


class Opened(NamedTuple):
    """A data set without its pixels, the byte of its file where they begin, whether there are any, and its layout."""

    dataset: Dataset
    end: int
    has_pixels: bool
    layout: Layout | None


@contextmanager
def undamaged() -> Iterator[None]:
    """Turn whatever a damaged file raises, on reading or when an element is first asked for, into a CaseError.

    Raises:
        CaseError: DECODE_FAILED with the kind of error, never its text.
        FlairprepError: the machine could not read the file. Another attempt may succeed, so the stage ends.
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
        raise FlairprepError(f"a raw file cannot be read ({error.strerror}); fix that and run again") from error
    except Exception as error:  # anything, a RecursionError included
        raise CaseError(Code.DECODE_FAILED, f"a file is damaged ({type(error).__name__})") from error


def read_dataset(path: Path, *, pixels: bool) -> Dataset | None:
    """Read the data set of a file, pixels only if asked for; None where it is not DICOM or a DICOMDIR.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    opened = open_file(path, pixels=pixels)
    return opened and opened.dataset


def open_file(path: Path, *, pixels: bool) -> Opened | None:
    """Read a file as `read_dataset` does and keep the byte at which its pixels begin.

    Files without the 128-byte preamble and "DICM" (PS3.10 7.1) count as DICOM where they begin as old ones do.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    with undamaged():
        with _opened(path) as file:
            bare = False
            if pixels or (read := read_plain(file)) is None:
                file.seek(0)
                start = file.read(132)
                bare = _is_bare(start)
                if (read := _by_pydicom(file, start, pixels)) is None:
                    return None
            dataset, end, layout = read
            file.seek(end)
            next_bytes = file.read(12)
        if layout is None:
            _check_end(dataset)
        if holds(dataset, "DirectoryRecordSequence"):
            return None
        if not holds(dataset, "SOPClassUID") and not holds(dataset, "Rows"):  # pydicom returns what came before the end
            if bare:
                return None
            raise CaseError(Code.DECODE_FAILED, "a file ends too early")
        _settle_syntax(dataset)
        return Opened(dataset, end, _has_pixels(dataset, next_bytes), layout)


def _by_pydicom(file: BinaryIO, start: bytes, pixels: bool) -> Plain | None:
    """Read a file, which begins with `start`, by pydicom, up to where it stopped; None where it is not DICOM."""
    file.seek(0)
    _check_inflated(file, start)
    try:
        dataset = filereader.read_partial(file, _stop_before(pixels), force=_is_bare(start))
    except (InvalidDicomError, EOFError):
        return None
    dataset.buffer = None  # it would keep a file that was in memory
    return Plain(dataset, file.tell(), None)


def _has_pixels(dataset: Dataset, next_bytes: bytes) -> bool:
    """Return whether a file holds pixels, in the data set or where reading stopped; next_bytes: 12, from there on."""
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:  # the place is not one of the file
        return any(tag in dataset for tag in PIXEL_TAGS) or "BitsAllocated" in dataset
    if any(tag in dataset and dataset.get_item(tag).value for tag in PIXEL_TAGS):
        return True
    implicit, little = dataset.original_encoding
    length = next_bytes[4:8] if implicit else next_bytes[8:]  # explicit: behind VR and two bytes, PS3.5 7.1.2
    return len(length) == 4 and int.from_bytes(length, "little" if little else "big") > 0


def complete(path: Path, opened: Opened | None) -> Dataset | None:
    """Read the pixels of a file that `open_file` opened without them, and only what it left where possible.

    Args:
        path: the file.
        opened: its data set, which gains the pixels; None, as after a copy to another process, reads the whole file.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    if opened is None or opened.dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        return read_dataset(path, pixels=True)
    dataset, end, has_pixels, _ = opened
    implicit, little = dataset.original_encoding
    with undamaged():
        with _opened(path) as file:
            if little and (element := read_pixels(file, dataset, end)) is not None:
                dataset[element.tag] = element
                return dataset
            file.seek(end)
            stop = _stop_before(pixels=True)
            dataset.update(filereader.read_dataset(file, bool(implicit), bool(little), stop_when=stop))
        _check_end(dataset)
        if has_pixels and not any(tag in dataset for tag in PIXEL_TAGS):  # pydicom left out what has no end
            raise CaseError(Code.DECODE_FAILED, "a file ends too early")
    return dataset


def is_gzipped(file: BinaryIO) -> bool:
    """Return whether a file is gzipped, and go back to its start.

    Raises:
        CaseError: TOO_LARGE.
    """
    if (size := file.seek(0, 2)) > MAX_FILE:
        raise CaseError(Code.TOO_LARGE, f"a file of {size >> 20} MB; {MAX_FILE >> 20} can be read")
    file.seek(0)
    zipped = file.read(2) == GZIP
    file.seek(0)
    return zipped


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file, or a member of an archive; inflate it where it is gzipped and DICOM."""
    with open_raw(path) as file:
        if not is_gzipped(file):
            yield file
            return
        with gzip_ng.GzipNGFile(fileobj=file, mode="rb") as inflater:
            content = inflater.read(132)
            if _is_bare(content) or content[128:] == b"DICM":
                content += inflater.read(MAX_INFLATED)
        if len(content) > MAX_INFLATED:
            raise CaseError(Code.TOO_LARGE, f"a file that inflates to over {MAX_INFLATED >> 20} MB")
    yield BytesIO(content)


def _is_bare(start: bytes) -> bool:
    """Return whether a file begins as old ones do: with their first element, of group 2 or 8, in either byte order."""
    return start[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08") and start[128:] != b"DICM"


def _settle_syntax(dataset: Dataset) -> None:
    """Make the transfer syntax a UID where it is missing, empty or has another value representation."""
    meta = dataset.file_meta
    syntax = meta.get("TransferSyntaxUID")
    if isinstance(syntax, UID) and syntax:
        return
    implicit, little = dataset.original_encoding
    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
    meta.pop("TransferSyntaxUID", None)  # with its VR, which a new value would keep
    meta.TransferSyntaxUID = UID(str(syntax)) if syntax else ImplicitVRLittleEndian if implicit else explicit


def _stop_before(pixels: bool) -> Callable[[BaseTag, str | None, int], bool]:
    """Return the function that pydicom asks before each element whether to stop: at the pixels unless wanted."""
    elements = count()

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if next(elements) > MAX_ELEMENTS:
            raise CaseError(Code.TOO_LARGE, f"a file of over {MAX_ELEMENTS} elements")
        return not pixels and tag in PIXEL_TAGS

    return stop


def _check_end(dataset: Dataset) -> None:
    """Refuse a file that ends inside an element: pydicom would take half of a UID for a whole one."""
    if not len(dataset):
        return
    last = dataset.get_item(list(dataset.keys())[-1])
    if not isinstance(last, RawDataElement) or last.value is None or last.length == UNDEFINED:
        return
    if len(last.value) < last.length:
        raise CaseError(Code.DECODE_FAILED, "a file ends too early")


def _check_inflated(file: BinaryIO, start: bytes) -> None:
    """Refuse a deflated data set that inflates to more than MAX_INFLATED; pydicom knows no limit."""
    if start[128:132] != b"DICM" or DeflatedExplicitVRLittleEndian.encode() not in file.read(MAX_META):
        file.seek(0)
        return
    file.seek(128 + 4 + 8)  # the first element is the length of group 2, which is not deflated, PS3.10 7.1
    file.seek(int.from_bytes(file.read(4), "little"), 1)
    inflater, size = zlib.decompressobj(wbits=-zlib.MAX_WBITS), 0
    while not inflater.eof and (chunk := inflater.unconsumed_tail or file.read(2**16)):
        size += len(inflater.decompress(chunk, 2**20))
        if size > MAX_INFLATED:
            raise CaseError(Code.TOO_LARGE, f"a file that inflates to over {MAX_INFLATED >> 20} MB")
    file.seek(0)
