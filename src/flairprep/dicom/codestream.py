"""What a compressed image says of its own size, before a decoder believes the DICOM header.

Decoders take rows and columns from the header or from the stream, and where these differ some read past the end.
"""

import struct

from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

JPEG_FRAMES = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # start of frame, ITU-T T.81 B.1.1.3, T.87 C.1.1
JPEG_BARE = {0x01, *range(0xD0, 0xD9)}  # markers that no length follows


def size(stream: bytes, syntax: UID) -> tuple[int, int, int] | None:
    """Read (rows, columns, components) of a JPEG, JPEG-LS or JPEG 2000 code stream; None without such a header.

    Only called with these syntaxes; others say nothing of their size.
    """
    if syntax in JPEG2000TransferSyntaxes:
        return _jpeg_2000(stream)
    return _jpeg(stream) if syntax in (*JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes) else None


def says_its_size(syntax: UID) -> bool:
    """Return whether `size` knows the syntax."""
    return syntax in (*JPEG2000TransferSyntaxes, *JPEGTransferSyntaxes, *JPEGLSTransferSyntaxes)


def _jpeg(stream: bytes) -> tuple[int, int, int] | None:
    place = 2  # behind the start of image
    while place + 10 <= len(stream):
        if stream[place] != 0xFF:
            return None
        marker = stream[place + 1]
        if marker in JPEG_FRAMES:
            _, _, rows, columns, components = struct.unpack_from(">HBHHB", stream, place + 2)
            return rows, columns, components
        place += 1 if marker == 0xFF else 2
        if marker not in JPEG_BARE and marker != 0xFF:
            place += struct.unpack_from(">H", stream, place)[0]
    return None


def _jpeg_2000(stream: bytes) -> tuple[int, int, int] | None:
    place = stream.find(b"\xff\x4f\xff\x51")  # start of the code stream and its SIZ marker, ISO/IEC 15444-1 A.5.1
    if place < 0 or place + 42 > len(stream):
        return None
    right, bottom, left, top = struct.unpack_from(">4I", stream, place + 8)
    return bottom - top, right - left, struct.unpack_from(">H", stream, place + 40)[0]
