"""Read the size of a compressed image from its code stream, before a decoder believes the DICOM header.

Decoders take rows and columns from either; where the two differ, some read past the end of memory.
"""

import struct

from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start of frame, ITU-T T.81 B.1.1.3, T.87 C.1.1
JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers without a length, T.81 B.1.1.3


def size(stream: bytes, syntax: UID) -> tuple[int, int, int] | None:
    """Read (rows, columns, components) of a JPEG, JPEG-LS or JPEG 2000 code stream; None where it holds no size."""
    if syntax in JPEG2000TransferSyntaxes:
        return _jpeg_2000(stream)
    return _jpeg(stream) if syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes) else None


def holds_size(syntax: UID) -> bool:
    """Return whether code streams of a transfer syntax hold the image's size, so that `size` can read it."""
    return syntax in (*JPEG2000TransferSyntaxes, *JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes)


def _jpeg(stream: bytes) -> tuple[int, int, int] | None:
    offset = 2  # behind the start of image
    while offset + 10 <= len(stream):
        if stream[offset] != 0xFF:
            return None
        marker = stream[offset + 1]
        if marker in JPEG_FRAMES:
            _, _, rows, columns, components = struct.unpack_from(">HBHHB", stream, offset + 2)
            return rows, columns, components
        offset += 1 if marker == 0xFF else 2
        if marker not in JPEG_BARE and marker != 0xFF:
            offset += struct.unpack_from(">H", stream, offset)[0]
    return None


def _jpeg_2000(stream: bytes) -> tuple[int, int, int] | None:
    offset = stream.find(b"\xff\x4f\xff\x51")  # start of the code stream and its SIZ marker, ISO/IEC 15444-1 A.5.1
    if offset < 0 or offset + 42 > len(stream):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", stream, offset + 8)
    return bottom - top, right - left, struct.unpack_from(">H", stream, offset + 40)[0]
