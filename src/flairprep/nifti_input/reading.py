"""Read NIfTI files safely: .nii, .hdr with .img, each also gzipped (RFC 1952); nothing is read without a limit.

Whether a file is gzipped is decided by its first bytes, not by its name.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from zlib_ng import zlib_ng

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.archives import MAX_FILE, open_raw
from flairprep.dicom.reading import GZIP, is_gzipped, undamaged
from flairprep.nifti_input.header import LENGTH, NiftiFields, interpret

CHUNK = 2**20  # bytes that are read, or inflated, at a time
MAX_REST = 2**24  # bytes behind the voxels; more is a decompression bomb or another kind of file
SUFFIXES = (".nii", ".hdr", ".img")


def parts_of(name: str) -> tuple[str, str]:
    """Split the name of a NIfTI file into its stem and one of SUFFIXES, lower case; ("", "") for another file."""
    plain = name[:-3] if name.lower().endswith(".gz") else name
    suffix = plain[-4:].lower()
    return (plain[:-4], suffix) if suffix in SUFFIXES else ("", "")


def read_header(path: Path) -> NiftiFields:
    """Read the header of a .nii or .hdr file, or member of an archive.

    Raises:
        CaseError: see `header.interpret`; TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `dicom.reading.undamaged`.
    """
    with undamaged(), open_raw(path) as file:
        start = bytearray()
        for chunk in _chunks(file):
            start += chunk
            if len(start) >= LENGTH:
                break
        return interpret(bytes(start[:LENGTH]), alone=parts_of(path.name)[1] == ".nii")


def read_voxels(path: Path, fields: NiftiFields, place: int = 0) -> memoryview:
    """Read the bytes of the voxels of one volume, and the file to its end, so that its checksum is compared.

    path: of the .nii or .img. place: of the volume, among those in the file.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `dicom.reading.undamaged`.
    """
    start = fields.offset + place * fields.bytes
    end, last = start + fields.bytes, fields.offset + fields.volumes * fields.bytes
    if last > MAX_FILE:
        raise CaseError(Code.TOO_LARGE, f"volumes of {last >> 20} MB; {MAX_FILE >> 20} can be read")
    content, position = bytearray(), 0
    with undamaged(), open_raw(path) as file:
        for chunk in _chunks(file):
            content += chunk[max(0, start - position) : max(0, end - position)]
            position += len(chunk)
            if position > last + MAX_REST:
                raise CaseError(Code.TOO_LARGE, f"over {MAX_REST >> 20} MB behind the voxels")
    if position < last:
        raise CaseError(Code.DECODE_FAILED, "a file ends too early")
    return memoryview(content)


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file, inflated where it is gzipped, in pieces of at most CHUNK bytes."""
    if not is_gzipped(file):
        while chunk := file.read(CHUNK):
            yield chunk
        return
    waiting = file.read(CHUNK)
    while waiting.startswith(GZIP):  # several members follow each other in what pigz and bgzip write
        inflater = zlib_ng.decompressobj(wbits=31)
        while not inflater.eof:
            if not waiting:
                raise CaseError(Code.DECODE_FAILED, "a file ends too early")
            yield inflater.decompress(waiting, CHUNK)
            waiting = inflater.unconsumed_tail or (b"" if inflater.eof else file.read(CHUNK))
        waiting = inflater.unused_data or file.read(CHUNK)
        if len(waiting) == 1:
            waiting += file.read(CHUNK)
    while waiting:
        if waiting.strip(b"\0"):  # padding is allowed
            raise CaseError(Code.DECODE_FAILED, "a gzipped file goes on after its end")
        waiting = file.read(CHUNK)
