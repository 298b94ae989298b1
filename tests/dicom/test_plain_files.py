"""The fast reader never gives another answer than pydicom: on real scans, on phantoms, and on damaged ones."""

import io
import warnings
from collections import deque
from pathlib import Path
from typing import Any

import mutations
import numpy as np
import phantoms
import pytest
import SimpleITK as sitk
from pydicom import filereader
from pydicom.data import get_testdata_files
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from flairprep.core.outcomes import CaseError
from flairprep.dicom import header, plain_files, reading
from flairprep.dicom.elements import PIXEL_TAGS
from flairprep.dicom.plain_files import BLOCK, read_pixels, read_plain
from flairprep.dicom.volume import read_series


def by_pydicom(content: bytes) -> tuple[Dataset, int] | None:
    """Read as pydicom does up to the pixels, without its repairs; None where it refuses."""
    file = io.BytesIO(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = filereader.read_partial(file, lambda tag, vr, length: tag in PIXEL_TAGS)
            return dataset, file.tell()
    except Exception:  # pydicom raises anything
        import traceback

        traceback.print_exc()
        return None


def parsed(dataset: Dataset, tag: BaseTag) -> Any:
    """Return the element as pydicom parses it, or the kind of its refusal."""
    try:
        return dataset.get(tag)
    except Exception as error:  # pydicom raises anything
        return type(error)


def assert_same(ours: Dataset, theirs: Dataset) -> None:
    """Compare what the file holds of each element, or its value where one of the two readers has parsed it."""
    assert list(ours.keys()) == list(theirs.keys())
    for tag in ours.keys():  # noqa: SIM118  # items() would parse
        items = [dataset.get_item(tag) for dataset in (ours, theirs)]
        if not all(isinstance(item, RawDataElement) for item in items):
            items = [parsed(ours, tag), parsed(theirs, tag)]
        fields = ("tag", "VR", "length", "value", "is_implicit_VR", "is_little_endian")
        if isinstance(items[0], type):
            assert items[0] is items[1]
            continue
        one, other = ([getattr(item, name, None) for name in fields] for item in items)
        assert one == other


def agree(content: bytes) -> bool:
    """Assert that the fast reader gives pydicom's answer or none; return whether it gives one."""
    plain = read_plain(io.BytesIO(content))
    if plain is None:
        return False
    other = by_pydicom(content)
    assert other is not None
    (ours, end, _), (theirs, stop) = plain, other
    assert_same(ours, theirs)
    assert_same(ours.file_meta, theirs.file_meta)
    assert end == stop
    assert ours.original_encoding == theirs.original_encoding
    assert ours.original_character_set == theirs.original_character_set
    return True


def phantom(syntax: Any = None, **elements: Any) -> bytes:
    (dataset,) = phantoms.slices(phantoms.noise((1, 4, 5)), PatientName="a^b", **elements)
    implicit = syntax == ImplicitVRLittleEndian
    if syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
    buffer = io.BytesIO()
    dataset.save_as(buffer, implicit_vr=implicit, little_endian=syntax != ExplicitVRBigEndian, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_ordinary_files_are_read_fast(syntax: Any) -> None:
    assert agree(phantom(syntax))
    assert agree(phantom(syntax, SpecificCharacterSet="ISO_IR 100", PatientComments="x" * 2 * BLOCK))
    assert agree(phantom(syntax, SpecificCharacterSet=["", "ISO 2022 IR 87"], SeriesNumber=None, ProtocolName=""))


def test_big_endian_undefined_lengths_and_what_has_no_preamble_are_left_to_pydicom() -> None:
    assert not agree(phantom(ExplicitVRBigEndian))
    assert not agree(phantom()[132:])
    item = Dataset()
    item.CodeValue = "1"
    content = phantom(ProcedureCodeSequence=[[item]])
    assert agree(content)
    length = (8 + 8 + 2).to_bytes(4, "little")
    start = content.index(b"\x08\x00\x32\x10SQ")
    assert content[start + 8 : start + 12] == length
    undefined = b"\xff\xff\xff\xff" + content[start + 12 : start + 12 + 18] + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert not agree(content[: start + 8] + undefined + content[start + 30 :])


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_a_file_cut_anywhere_is_read_as_pydicom_reads_it_or_not_at_all(syntax: Any) -> None:
    content = phantom(syntax)
    read = [agree(content[:end]) for end in range(len(content) + 1)]
    assert read[-1]
    assert not any(read[:132])


def test_every_real_scan_is_read_alike(scans: Path) -> None:
    paths = [path for path in sorted(scans.rglob("*")) if path.is_file() and path.stat().st_size < 2**22]
    read = [agree(path.read_bytes()) for path in paths[::3]]
    assert sum(read) > len(read) / 4


def test_pydicoms_own_files_are_read_alike() -> None:
    paths = [path for path in map(Path, get_testdata_files()) if path.is_file() and path.stat().st_size < 2**20]
    read = [agree(path.read_bytes()) for path in paths]
    assert sum(read) > 20


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=pytest.mark.slow if seed else ()) for seed in range(5)])
def test_damaged_files_are_read_alike_or_not_at_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sound = [phantom(), phantom(ImplicitVRLittleEndian), phantom(SpecificCharacterSet="ISO_IR 192", ImageComments="ä")]
    read = [agree(mutations.mutate(sound[index % 3], rng, sound)[0]) for index in range(600)]
    flipped = []
    for index in range(600):
        content = bytearray(sound[index % 3])
        for place in rng.integers(132, len(content), rng.integers(1, 4)):
            content[place] = rng.integers(256)
        flipped.append(agree(bytes(content)))
    assert sum(read) > 50
    assert 100 < sum(flipped) < 600


def layout_of(content: bytes) -> plain_files.Layout | None:
    plain = read_plain(io.BytesIO(content))
    return plain and plain.layout


DIFFERING = {  # by file of a series
    "SOPInstanceUID": ["1.2.3", "1.2.3.4.55", "1.2", "1.2.3"],
    "InstanceNumber": [9, 10, None, 100],
    "InstanceCreationTime": ["", "121314", "121314.25", "1"],
    "SliceLocation": [-1.5, 0.25, "", 33.125],
    "WindowWidth": [1000, [1000, 20], None, 5],
    "ImagePositionPatient": [[0, 0, 0], [0, 0, -1.25], [-99.75, 1, 2], ""],
}


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
@pytest.mark.parametrize("charset", [None, "ISO_IR 100"])
def test_files_of_a_series_share_their_layout_whatever_their_own_values(syntax: Any, charset: str | None) -> None:
    kinds = {"SpecificCharacterSet": charset} if charset else {"ImageType": "ORIGINAL"}  # alike in all files, and first
    series = [
        phantom(syntax, **{key: values[index] for key, values in DIFFERING.items()}, **kinds) for index in range(4)
    ]
    (layout,) = {layout_of(content) for content in series}
    assert layout is not None
    assert all(map(agree, series))
    assert {layout_of(content) for content in series} == {layout}
    assert layout_of(phantom(syntax, EchoTime=99, **kinds)) is not layout


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_a_byte_of_another_element_makes_another_layout(syntax: Any) -> None:
    content = phantom(syntax)
    plain = read_plain(io.BytesIO(content))
    assert plain is not None
    assert plain.layout is not None
    own = {
        place
        for group in (plain.dataset, plain.dataset.file_meta)
        for item in map(group.get_item, group.keys())
        if item.tag in plain_files.VARYING
        for place in range(item.value_tell, item.value_tell + item.length)
    }
    assert len(own) > 20
    for place in range(132, plain.end + 2):
        changed = bytearray(content)
        changed[place] ^= 1
        read = read_plain(io.BytesIO(changed))
        assert (read is not None and read.layout is plain.layout) == (place in own)
        plain_files._layouts.clear()
        plain_files._layouts.append(plain.layout)
        agree(bytes(changed))


@pytest.mark.parametrize("seed", range(3))
def test_damaged_files_behind_a_sound_one_of_their_series_are_read_alike(seed: int) -> None:
    rng = np.random.default_rng([7, seed])
    sound = [phantom(), phantom(ImplicitVRLittleEndian), phantom(SpecificCharacterSet="ISO_IR 192", ImageComments="ä")]
    read = []
    for index in range(300):
        assert agree(sound[index % 3])
        read.append(agree(mutations.mutate(sound[index % 3], rng, sound)[0]))
    assert 20 < sum(read) < 300


PER_SLICE: dict[str, dict[str, Any]] = {
    "alike": {},
    "window": {"WindowCenter": [1.0, 20.0, 300.0, 4.0, 5.0, 6.0]},
    "slope": {"RescaleSlope": [1.0, 2.0, 1.5, 1.0, 1.0, 1.0], "RescaleIntercept": [0.0, 3.0, 0.0, 1.0, 0.0, 0.0]},
    "inverted": {"PhotometricInterpretation": "MONOCHROME1"},
    "padding": {"PixelPaddingValue": 7},
    "without a number": {"InstanceNumber": [None, 1, 2, None, 4, 5]},
    "without a place": {"ImagePositionPatient": [None, *([0.0, 0.0, float(z)] for z in range(1, 6))]},
    "foreign": {"ImageType": [["ORIGINAL", "PRIMARY", "M"]] * 5 + [["ORIGINAL", "PRIMARY", "P"]]},
}


@pytest.mark.parametrize("kind", PER_SLICE)
def test_a_series_becomes_the_same_with_and_without_layouts(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = np.random.default_rng(0).integers(0, 60, (6, 7, 8)).astype(np.int16)
    series = phantoms.slices(stored, InversionTime=2500, EchoTime=120, **PER_SLICE[kind])
    paths = phantoms.save(series, tmp_path / "series")

    def read() -> Any:
        headers = [repr(header.read_header(path)) for path in paths]
        try:
            volume = read_series(paths)
        except CaseError as error:
            return headers, error.code
        values = sitk.GetArrayFromImage(volume.image).tolist(), volume.image.GetOrigin(), volume.image.GetSpacing()
        return headers, values, volume.header, volume.identity, volume.warnings, volume.region

    with_layouts = read()
    monkeypatch.setattr(plain_files, "_layouts", deque(maxlen=0))
    monkeypatch.setattr(plain_files, "_learn", lambda *_: None)
    assert with_layouts == read()


@pytest.mark.parametrize("syntax", [None, ImplicitVRLittleEndian])
def test_pixels_come_from_the_last_element_or_from_pydicom(syntax: Any, tmp_path: Path) -> None:
    content = phantom(syntax)
    whole = reading.read_dataset(_written(tmp_path / "whole", content), pixels=True)
    assert whole is not None
    opened = reading.open_file(tmp_path / "whole", pixels=False)
    assert opened is not None
    element = read_pixels(io.BytesIO(content), opened.dataset, opened.end)
    assert element is not None
    assert element.value == whole.PixelData
    completed = reading.complete(tmp_path / "whole", opened)
    assert completed is not None
    assert completed.PixelData == whole.PixelData
    # Elements behind the pixels, or less of them than their length says, are for pydicom.
    behind = b"\xfc\xff\xfc\xff" + (b"OB\0\0\x04\0\0\0" if syntax is None else b"\x04\0\0\0") + b"\0\0\0\0"
    assert read_pixels(io.BytesIO(content + behind), opened.dataset, opened.end) is None
    assert read_pixels(io.BytesIO(content[:-1]), opened.dataset, opened.end) is None
    opened = reading.open_file(_written(tmp_path / "behind", content + behind), pixels=False)
    completed = reading.complete(tmp_path / "behind", opened)
    assert completed is not None
    assert completed.PixelData == whole.PixelData
    opened = reading.open_file(_written(tmp_path / "cut", content[:-1]), pixels=False)
    with pytest.raises(CaseError):
        reading.complete(tmp_path / "cut", opened)


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path
