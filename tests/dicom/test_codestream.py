"""Read the size of compressed images, compared with what pydicom encoded."""

import numpy as np
import phantoms
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGLSLossless,
)

from flairprep.dicom import codestream


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_size_is_that_of_the_encoded_image(syntax: UID) -> None:
    dataset = phantoms.slices(np.zeros((1, 80, 96), np.uint16))[0]
    dataset.compress(syntax)
    (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
    assert codestream.size(stream, syntax) == (80, 96, 1)


@pytest.mark.parametrize("stream", [b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x02", b"\xff\x4f\xff\x51" + bytes(9)])
@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_stream_without_a_size_says_none(stream: bytes, syntax: UID) -> None:
    assert codestream.size(stream, syntax) is None
