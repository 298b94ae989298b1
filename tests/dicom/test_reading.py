"""Open damaged files: nothing but a CaseError leaves the reader."""

import struct
from pathlib import Path

import phantoms
import pytest
from phantoms import assert_same_image, noise, refusal
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
)

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import reading
from flairprep.dicom.header import read_header
from flairprep.dicom.volume import read_series, read_surveyed


def damaged_files() -> dict[str, bytes]:
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    return {
        "nested sequences": (struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"SQ", 0, 0xFFFFFFFF) + item) * 3000,
        "unknown kind of value": struct.pack("<HH2sH", 0x7FE1, 0x1010, b"\x8e\x44", 2) + b"ab",
        "length beyond the end": struct.pack("<HH2sHI", 0x7FE1, 0x1010, b"OB", 0, 2**31) + b"ab",
    }


@pytest.mark.parametrize("damage", damaged_files())
def test_damage_behind_the_pixels_stops_no_more_than_the_case(damage: str, tmp_path: Path) -> None:
    paths = phantoms.files(tmp_path)
    paths[3].write_bytes(paths[3].read_bytes() + damaged_files()[damage])
    try:
        assert read_series(paths).image.GetSize() == (5, 4, 10)
    except CaseError as error:
        assert error.code is Code.DECODE_FAILED  # noqa: PT017


@pytest.mark.parametrize(
    "kind",
    [
        *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS"),
        *("LO", "LT", "PN", "SH", "SL", "SS", "ST", "TM", "UL", "US"),
    ],
)
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, UID("1.2.3.4")], ids=str)
def test_transfer_syntax_of_another_kind_is_taken_as_it_reads_or_fails_the_case(
    kind: str, syntax: UID, tmp_path: Path
) -> None:
    paths = phantoms.files(tmp_path)
    for path in paths:
        phantoms.patch(path, b"\x02\x00\x10\x00UI", b"\x02\x00\x10\x00" + kind.encode())
        if syntax != ExplicitVRLittleEndian:  # of other pixels than there are
            old = ExplicitVRLittleEndian.encode()
            length = struct.pack("<H", len(old) + 1)
            phantoms.patch(path, length + old + b"\0", length + b"1.2.3.4")
    try:
        headers = [header for path in paths if (header := read_header(path))]
        if fault := headers[0].fault:
            raise fault
        after = read_surveyed(headers).image
    except CaseError as error:
        assert error.code in (Code.DECODE_FAILED, Code.UNSUPPORTED_TRANSFER_SYNTAX)  # noqa: PT017
    else:
        assert syntax == ExplicitVRLittleEndian
        assert_same_image(after, read_series(phantoms.files(tmp_path / "sound")).image)


@pytest.mark.parametrize("value", [b"", b"\x00", b"S", b"\xff"])  # b"": the file ends there
def test_damaged_byte_never_raises_anything_but_a_case_error(value: bytes, tmp_path: Path) -> None:
    original = phantoms.files(tmp_path, noise((1, 4, 5)), PatientAge="061Y", EchoTime=90.0)[0].read_bytes()
    [whole] = phantoms.save([phantoms.enhanced(phantoms.slices(noise((2, 4, 5))))], tmp_path / "enhanced")
    for content, step in ((original, 3), (whole.read_bytes(), 7)):
        path = tmp_path / "damaged.dcm"
        for byte in range(128, len(content), step):
            path.write_bytes(content[:byte] + value + (content[byte + 1 :] if value else b""))
            try:
                read_series([path])
            except CaseError as error:
                assert error.code in Code  # noqa: PT017


@pytest.mark.parametrize("length", [1, 100, 240])
def test_file_that_got_shorter_after_its_header_was_read_costs_the_case(length: int, tmp_path: Path) -> None:
    paths = phantoms.files(tmp_path, noise((3, 8, 15)))
    headers = [header for path in paths if (header := read_header(path))]
    paths[1].write_bytes(paths[1].read_bytes()[:-length])
    assert refusal(read_surveyed, headers).code is Code.DECODE_FAILED


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian], ids=str)
def test_completed_file_equals_one_read_at_once(syntax: UID, tmp_path: Path) -> None:
    series = phantoms.slices(noise((1, 4, 6)))
    series[0].file_meta.TransferSyntaxUID = syntax
    [path] = phantoms.save(series, tmp_path)
    opened, whole = reading.open_file(path, pixels=False), reading.read_dataset(path, pixels=True)
    assert opened is not None
    assert "PixelData" not in opened.dataset
    assert reading.complete(path, opened) == whole
    assert reading.complete(path, None) == whole


@pytest.mark.parametrize(("limit", "value"), [("MAX_FILE", 500), ("MAX_ELEMENTS", 9), ("MAX_INFLATED", 500)])
def test_file_beyond_a_limit_is_too_large(
    limit: str, value: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    series = phantoms.slices(noise((1, 20, 30)))
    if limit == "MAX_INFLATED":
        series[0].file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    [path] = phantoms.save(series, tmp_path)
    assert reading.read_dataset(path, pixels=True) is not None
    monkeypatch.setattr(reading, limit, value)
    with pytest.raises(CaseError) as caught:
        reading.read_dataset(path, pixels=True)
    assert caught.value.code is Code.TOO_LARGE


@pytest.mark.parametrize("content", [b"", b"text", bytes(200)])
def test_file_that_is_not_dicom_is_none(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    assert reading.read_dataset(tmp_path / "file", pixels=True) is None


def test_file_that_the_machine_cannot_read_ends_the_stage(tmp_path: Path) -> None:
    with pytest.raises(FlairprepError):
        reading.read_dataset(tmp_path / "absent", pixels=True)
