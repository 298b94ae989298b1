"""Read elements, compared with pydicom."""

import warnings
from collections import Counter
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from flairprep.core.outcomes import CaseError
from flairprep.dicom import elements, reading


@pytest.mark.parametrize("text", [b"1.5", b" 1.5 ", b"-2e3", b"+.5", b"1\\2\\3", b"0.1\\ -7 ", b"1.5\0", b"", b"  "])
@pytest.mark.parametrize("implicit", [True, False])
def test_decimals_are_what_pydicom_reads(implicit: bool, text: bytes) -> None:
    tag = Tag("EchoTime")
    dataset = Dataset()
    dataset[tag] = RawDataElement(tag, None if implicit else "DS", len(text), text, 0, implicit, True)
    value = elements.value(dataset, "EchoTime")
    assert (value or None) == (dataset.EchoTime or None)


def test_values_read_quickly_are_those_of_pydicom() -> None:
    """Over every element of pydicom's own files whose kind of value is not left to pydicom."""

    def plain(values: object) -> list[str]:
        return [str(float(v)) if isinstance(v, (int, float)) else str(v) for v in elements.values_of(values)]

    compared: Counter[str] = Counter()
    for path in sorted((Path(pydicom.__file__).parent / "data/test_files").rglob("*.dcm")):
        try:
            ours, theirs = reading.read_dataset(path, pixels=False), reading.read_dataset(path, pixels=False)
        except CaseError:
            continue
        if ours is None or theirs is None:
            continue
        for tag in list(ours.keys()):
            keyword, item = keyword_for_tag(tag), ours.get_item(tag)
            if keyword and tag_for_keyword(keyword) == tag and isinstance(item, RawDataElement) and item.VR != "SQ":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of values that break the standard
                    value, expected = elements.value(ours, keyword), theirs[tag].value
                if not isinstance(expected, bytes):
                    assert plain(value) == plain(expected), (path.name, keyword)
                    compared[str(item.VR)] += 1
    assert min(compared[kind] for kind in ("CS", "DS", "IS", "LO", "SH", "UI", "US")) > 100


@pytest.mark.parametrize("kind", ["CS", "LO", "SH", "UI"])
@pytest.mark.parametrize("stored", [b"A", b"A ", b"A\\B", b"A \\B ", b" A\\ B", b"A\\", b"\\", b"A\0", b"1.2\\3.4\0"])
def test_words_are_what_pydicom_reads(kind: str, stored: bytes) -> None:
    tag = Tag({"CS": "ImageType", "LO": "PatientID", "SH": "StationName", "UI": "StudyInstanceUID"}[kind])
    dataset = Dataset()
    dataset[tag] = RawDataElement(tag, kind, len(stored), stored, 0, False, True)
    values = elements.values_of(elements.value(dataset, keyword_for_tag(tag)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert values == [str(value) for value in elements.values_of(dataset[tag].value)]
