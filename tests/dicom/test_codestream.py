"""The size that a compressed image says, against what pydicom encoded, and headers that say another one."""

from pathlib import Path

import numpy as np
import phantoms
import pytest
from pydicom.encaps import generate_frames
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom import codestream
from flairprep.dicom.volume import read_series

ENCODED = (RLELossless, JPEGLSLossless, JPEG2000Lossless)


def compressed(folder: Path, syntax: UID, **header: int) -> list[Path]:
    """Three slices of 64 x 48, whose header then says what `header` does."""
    stored = np.random.default_rng(0).integers(0, 999, (3, 64, 48)).astype(np.uint16)
    series = phantoms.slices(stored)
    for dataset in series:
        if syntax != ExplicitVRLittleEndian:
            dataset.compress(syntax)
        for keyword, value in header.items():
            setattr(dataset, keyword, value)
    return phantoms.save(series, folder)


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


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, *ENCODED])
@pytest.mark.parametrize(
    "header",
    [{"Rows": 32}, {"Rows": 63}, {"Rows": 65}, {"Columns": 47}, {"Columns": 96}, {"Rows": 48, "Columns": 32}],
    ids=str,
)
def test_header_that_says_another_size_is_refused(syntax: UID, header: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(CaseError) as caught:
        read_series(compressed(tmp_path, syntax, **header))
    assert caught.value.code is Code.DECODE_FAILED


@pytest.mark.parametrize(
    "header", [{"BitsStored": 8}, {"BitsStored": 4}, {"HighBit": 11}, {"BitsStored": 17, "HighBit": 16}], ids=str
)
def test_header_that_contradicts_itself_about_bits_is_refused(header: dict[str, int], tmp_path: Path) -> None:
    with pytest.raises(CaseError) as caught:
        read_series(compressed(tmp_path, ExplicitVRLittleEndian, **header))
    assert caught.value.code is Code.DECODE_FAILED


@pytest.mark.parametrize("syntax", ENCODED)
def test_header_that_tells_the_truth_is_believed(syntax: UID, tmp_path: Path) -> None:
    assert read_series(compressed(tmp_path, syntax)).image.GetSize() == (48, 64, 3)
