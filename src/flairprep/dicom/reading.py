"""Open DICOM files safely: nothing in them is trusted before it is checked."""

import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import BinaryIO, NamedTuple

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_partial
from pydicom.tag import BaseTag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom.elements import UNDEFINED

MAX_FILE = 2**31  # bytes of one file; an enhanced FLAIR of 512 x 512 x 400 has a tenth of it
MAX_INFLATED = 2**29  # bytes that a deflated file may become
MAX_ELEMENTS = 100_000  # of one data set, those of its sequences aside
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})  # of floats, doubles, integers
MAX_META = 2**10  # bytes in which a file names its transfer syntax


class Opened(NamedTuple):
    """A data set without its pixels, and the byte of its file where they begin."""

    dataset: Dataset
    end: int


@contextmanager
def undamaged() -> Iterator[None]:
    """Turn whatever a damaged file raises, on reading or when an element is first asked for, into a CaseError.

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
        raise FlairprepError(f"a raw file cannot be read ({error.strerror}); fix that and run again") from error
    except Exception as error:  # it can be anything, a RecursionError included; the case gets the kind, never the text
        raise CaseError(Code.DECODE_FAILED, f"a file is damaged ({type(error).__name__})") from error


def read_dataset(path: Path, *, pixels: bool) -> Dataset | None:
    """Read the data set of a file, pixels only if asked for; None where it is not DICOM, or a DICOMDIR.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `undamaged`.
    """
    opened = open_file(path, pixels=pixels)
    return opened and opened.dataset


def open_file(path: Path, *, pixels: bool) -> Opened | None:
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
                dataset, end = read_partial(file, stop_before(pixels), force=bare), file.tell()
            except (InvalidDicomError, EOFError):
                return None
        check_end(dataset)
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


def stop_before(pixels: bool) -> Callable[[BaseTag, str | None, int], bool]:
    """Return what read_partial asks at each element: whether to stop, before the pixels unless they are wanted."""
    elements = count()

    def stop(tag: BaseTag, vr: str | None, length: int) -> bool:
        if next(elements) > MAX_ELEMENTS:
            raise CaseError(Code.TOO_LARGE, f"a file of over {MAX_ELEMENTS} elements")
        return not pixels and tag in PIXEL_TAGS

    return stop


def check_end(dataset: Dataset) -> None:
    """Refuse a file that ends inside an element: pydicom takes what there is of it, such as half of a UID."""
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
