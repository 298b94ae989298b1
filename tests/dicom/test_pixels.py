"""Decode pixels: headers that contradict them, inversion, and geometry that is missing or malformed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import phantoms
import pytest
from phantoms import noise, refusal, voxels
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
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


@pytest.mark.parametrize(
    ("dtype", "low", "high", "inverted"),
    [(np.uint16, 0, 4096, lambda x: 4095 - x), (np.int16, -2048, 2048, lambda x: -1 - x)],
)
def test_monochrome1_of_12_bits_is_inverted_before_rescaling(
    dtype: Any, low: int, high: int, inverted: Callable[[np.ndarray], np.ndarray], tmp_path: Path
) -> None:
    stored = noise((3, 4, 5), dtype, low, high)
    stored[0, 0, :2] = low, high - 1
    bits = {"BitsStored": 12, "HighBit": 11, "PhotometricInterpretation": "MONOCHROME1"}
    paths = phantoms.files(tmp_path, stored, **bits, RescaleSlope=0.5, RescaleIntercept=10.0)
    series = read_series(paths)
    np.testing.assert_array_equal(voxels(series.image), inverted(stored.astype(np.int64)) * 0.5 + 10)
    assert [code for code, _ in series.warnings] == [Code.INVERTED]


@pytest.mark.parametrize("bits", [16, 12])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_pixels_that_may_be_signed_or_not_are_not_guessed(photometric: str, bits: int, tmp_path: Path) -> None:
    series = phantoms.slices(noise((3, 4, 6), np.int16, -100, 900), PhotometricInterpretation=photometric)
    for dataset in series:
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        del dataset.PixelRepresentation
    assert refusal(read_series, phantoms.save(series, tmp_path)).code is Code.DECODE_FAILED


@pytest.mark.parametrize("text", [b"nan\\1.125", b"1.125\\inf", b"CANARY", b"1.25", b"1\\2\\3"])
def test_malformed_spacing_is_no_geometry_and_is_not_quoted(
    text: bytes, tmp_path: Path, recwarn: pytest.WarningsRecorder
) -> None:
    path = phantoms.files(tmp_path, spacing=(1, 1.125, 1.125))[0]
    phantoms.patch(path, b"1.125\\1.125", text)
    error = refusal(read_series, sorted(tmp_path.iterdir()))
    assert error.code is Code.NO_GEOMETRY
    assert "CANARY" not in error.message
    assert not recwarn.list


@pytest.mark.parametrize("text", [b"nan", b"CANARY"])
def test_malformed_rescale_is_refused(text: bytes, tmp_path: Path) -> None:
    path = phantoms.files(tmp_path, RescaleSlope=1.0625, RescaleIntercept=0)[0]
    phantoms.patch(path, b"1.0625", text)
    assert refusal(read_series, sorted(tmp_path.iterdir())).code is Code.DECODE_FAILED


def test_enhanced_file_that_describes_too_few_frames_is_refused(tmp_path: Path) -> None:
    whole = phantoms.enhanced(phantoms.slices(noise()))
    del whole.PerFrameFunctionalGroupsSequence[-1]
    assert refusal(read_series, phantoms.save([whole], tmp_path)).code is Code.NO_GEOMETRY
